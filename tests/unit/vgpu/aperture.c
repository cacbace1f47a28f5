/* SPDX-License-Identifier: BSD-3-Clause */
#include "aperture.h"

#include "touch.h"
#include "unit.h"

#include <string.h>

/* Guest memory behind the ring, for results. */
#define RESULT 0x2000

uint8_t *aperture_map(const struct rig *rig)
{
    struct umdev_region_info info;
    uint8_t *view;

    assert_int_equal(umdev_client_get_region(rig->client, VGPU_BAR_APERTURE, &info), 0);
    assert_true(info.size == APERTURE);
    assert_true(info.flags & UMDEV_REGION_FAULT_MAPPED);
    view = umdev_client_map_region(rig->client, VGPU_BAR_APERTURE, 0, APERTURE);
    assert_non_null(view);
    return view;
}

bool aperture_read(const uint8_t *view, uint64_t page, uint64_t *value)
{
    return touch_read(view + page * PAGE, value);
}

bool aperture_write(uint8_t *view, uint64_t page, uint64_t value)
{
    return touch_write(view + page * PAGE, value);
}

void aperture_set(const struct rig *rig, uint32_t index, uint64_t entry)
{
    rig_write32(rig, VGPU_REG_GGTT_INDEX, index);
    rig_write64(rig, VGPU_REG_GGTT, entry);
}

uint64_t aperture_get(const struct rig *rig, uint32_t index)
{
    rig_write32(rig, VGPU_REG_GGTT_INDEX, index);
    return rig_read64(rig, VGPU_REG_GGTT);
}

void aperture_emit_fill(struct rig *rig, uint32_t first, uint32_t count, uint64_t entry,
                        uint32_t flags)
{
    const struct vgpu_ggtt_fill p = {
        .header.word = VGPU_HEADER(VGPU_OP_GGTT_FILL, flags, sizeof(p)),
        .first = first,
        .count = count,
        .entry = entry,
    };

    rig_emit(rig, &p, sizeof(p));
}

static uint64_t next_fence(struct rig *rig)
{
    return rig_read64(rig, VGPU_REG_FENCE) + 1;
}

uint64_t aperture_alloc(struct rig *rig, uint64_t page, uint64_t pages)
{
    const struct vgpu_alloc p = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, VGPU_ALLOC_RESULT, sizeof(p)),
        .address = rig_read64(rig, VGPU_REG_VRAM_SIZE) + page * PAGE,
        .bytes = pages * PAGE,
        .result = RIG_IOVA + RESULT,
    };
    uint64_t result = UINT64_MAX;

    memcpy(rig->memory + RESULT, &result, sizeof(result));
    rig_emit(rig, &p, sizeof(p));
    rig_finish(rig, next_fence(rig));
    memcpy(&result, rig->memory + RESULT, sizeof(result));
    return result;
}

void aperture_free(struct rig *rig, uint64_t page, uint64_t pages)
{
    const struct vgpu_free p = {
        .header.word = VGPU_HEADER(VGPU_OP_FREE, 0, sizeof(p)),
        .address = rig_read64(rig, VGPU_REG_VRAM_SIZE) + page * PAGE,
        .bytes = pages * PAGE,
    };

    rig_emit(rig, &p, sizeof(p));
    rig_finish(rig, next_fence(rig));
}
