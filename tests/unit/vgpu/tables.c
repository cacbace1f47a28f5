/* SPDX-License-Identifier: BSD-3-Clause */
#include "tables.h"

#include "unit.h"

void tables_set(struct machine *machine, uint64_t table, unsigned index, uint64_t entry)
{
    machine_poke(machine, iova_of(table) + index * sizeof(entry), &entry, sizeof(entry));
}

struct vgpu_ppgtt_set ppgtt_packet(uint64_t root_page, uint32_t levels)
{
    return (struct vgpu_ppgtt_set){
        .header = {VGPU_HEADER(VGPU_OP_PPGTT, 0, sizeof(struct vgpu_ppgtt_set)), levels},
        .root = levels ? iova_of(root_page) : 0,
    };
}

struct vgpu_fill fill_packet(uint32_t space, uint64_t address, uint32_t bytes, uint8_t value)
{
    return (struct vgpu_fill){
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(struct vgpu_fill)),
        .dst = {VGPU_FORMAT_R8 | space, bytes, bytes, 1, address},
        .rect = {0, 0, bytes, 1},
        .value = value,
    };
}

void tables_select(struct machine *machine, uint64_t root_page, uint32_t levels)
{
    struct vgpu_ppgtt_set set = ppgtt_packet(root_page, levels);

    machine_do(machine, &set, sizeof(set));
}

enum vgpu_error tables_fill(struct machine *machine, uint64_t address, uint32_t bytes,
                            uint8_t value)
{
    struct vgpu_fill fill = fill_packet(VGPU_SPACE_VIRTUAL, address, bytes, value);
    enum vgpu_error code;

    machine_emit(machine, &fill, sizeof(fill));
    if (machine_run(machine) == VGPU_STEP_IDLE)
        return VGPU_ERR_NONE;
    code = machine->ring.fault.code;
    assert_int_not_equal(code, VGPU_ERR_NONE);
    machine_restart(machine);
    return code;
}
