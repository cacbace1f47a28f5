/* SPDX-License-Identifier: BSD-3-Clause */
/* Page tables in guest memory: what they map, what is wrong with them, and when changes count. */
#include "random.h"
#include "tables.h"
#include "unit.h"

#include <string.h>

#define VRAM ((uint64_t)1 << 20)

/* Pages of the tables: level n of the page tables that setup() makes is page n. Data lie behind. */
#define ROOT(levels) ((uint64_t)(levels))
#define LEAVES       1u
#define SPARE        8u /* pages for more tables */
#define DATA         16u

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

static int setup(void **state)
{
    static struct machine machine;

    machine_init(&machine, VRAM, false, random_seed());
    for (unsigned level = 2; level <= 4; level++)
        tables_set(&machine, level, 0, table_entry(level - 1));
    for (unsigned i = 0; i < 64; i++)
        tables_set(&machine, LEAVES, i, page_entry(DATA + i));
    *state = &machine;
    return 0;
}

static int teardown(void **state)
{
    machine_free(*state);
    return 0;
}

/* The first byte of a page of data. */
static uint8_t byte_of(const struct machine *machine, uint64_t page)
{
    uint8_t byte;

    machine_peek(machine, iova_of(page), &byte, 1);
    return byte;
}

static uint64_t fault_address;

/* tables_fill() by tables that were chosen for it; keeps the error's address. */
static enum vgpu_error fill(struct machine *machine, unsigned levels, uint64_t address,
                            uint32_t bytes, uint8_t value)
{
    struct vgpu_ppgtt_set set = ppgtt_packet(ROOT(levels), levels);
    struct vgpu_fill packet = fill_packet(VGPU_SPACE_VIRTUAL, address, bytes, value);
    enum vgpu_error code;

    machine_emit(machine, &set, sizeof(set));
    machine_emit(machine, &packet, sizeof(packet));
    if (machine_run(machine) == VGPU_STEP_IDLE)
        return VGPU_ERR_NONE;
    code = machine->ring.fault.code;
    fault_address = machine->ring.fault.address;
    machine_restart(machine);
    return code;
}

/* ------------------------------------------------------------------ what they map */

static void test_levels(void **state)
{
    struct machine *machine = *state;

    for (unsigned levels = 2; levels <= 4; levels++) {
        unsigned page = levels * 7;

        assert_int_equal(fill(machine, levels, page * PAGE, PAGE, (uint8_t)levels), 0);
        assert_int_equal(byte_of(machine, DATA + page), levels);
        assert_int_equal(byte_of(machine, DATA + page - 1), 0);
        assert_int_equal(byte_of(machine, DATA + page + 1), 0);
    }
    /* Three tops, each with its own copy of what is below. */
    assert_int_equal(machine->ppgtt.tables, 2 + 3 + 4);
}

/* Across pages, from the middle of one to the middle of another; and backwards in memory. */
static void test_scattered(void **state)
{
    struct machine *machine = *state;
    uint8_t bytes[4 * PAGE];

    for (unsigned i = 0; i < 4; i++)
        tables_set(machine, LEAVES, i, page_entry(DATA + 40 - i));
    assert_int_equal(fill(machine, 2, 100, 3 * PAGE, 9), 0);
    for (unsigned i = 0; i < 4; i++)
        machine_peek(machine, iova_of(DATA + 40 - i), bytes + i * PAGE, PAGE);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], i >= 100 && i < 100 + 3 * PAGE ? 9 : 0);
}

static void test_large(void **state)
{
    struct machine *machine = *state;
    const uint64_t large = MACHINE_IOVA | RW | GUEST | VGPU_PPGTT_LARGE;

    tables_set(machine, 2, 5, large);
    assert_int_equal(fill(machine, 2, MIB(10) + 300 * PAGE, PAGE, 1), 0);
    assert_int_equal(byte_of(machine, 300), 1);
    /* A gigabyte, of which most is nowhere. */
    tables_set(machine, 3, 1, large);
    assert_int_equal(fill(machine, 3, GIB(1) + MIB(2) + 17 * PAGE, PAGE, 2), 0);
    assert_int_equal(byte_of(machine, 512 + 17), 2);
    assert_int_equal(fill(machine, 3, GIB(1) + MIB(4), PAGE, 2), VGPU_ERR_DMA_UNMAPPED);
    assert_int_equal(fault_address, MACHINE_IOVA + MIB(4));
    /* One is one: what is not aligned is none. */
    tables_set(machine, 2, 5, large + PAGE);
    assert_int_equal(fill(machine, 2, MIB(10), PAGE, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, 3, 1, large + MIB(2));
    assert_int_equal(fill(machine, 3, GIB(1), PAGE, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, 4, 0, large);
    assert_int_equal(fill(machine, 4, 0, PAGE, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, LEAVES, 1, large);
    assert_int_equal(fill(machine, 2, PAGE, PAGE, 1), VGPU_ERR_VIRT_ENTRY);
}

static void test_vram(void **state)
{
    struct machine *machine = *state;

    tables_set(machine, LEAVES, 0, 3 * PAGE | RW);
    tables_set(machine, LEAVES, 1, 4 * PAGE | RW);
    assert_int_equal(fill(machine, 2, 8, 2 * PAGE - 8, 0x77), 0);
    assert_int_equal(machine->vram[3 * PAGE + 7], 0);
    assert_int_equal(machine->vram[3 * PAGE + 8], 0x77);
    assert_int_equal(machine->vram[5 * PAGE - 1], 0x77);
    assert_int_equal(machine->vram[5 * PAGE], 0);
    assert_int_equal(machine->ppgtt.pinned, 0);
    tables_set(machine, LEAVES, 1, VRAM | RW);
    assert_int_equal(fill(machine, 2, PAGE, PAGE, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, LEAVES, 1, (UINT64_MAX - PAGE + 1) | RW);
    assert_int_equal(fill(machine, 2, PAGE, PAGE, 1), VGPU_ERR_VIRT_ENTRY);
}

/* ------------------------------------------------------------------ what is wrong with them */

static void test_faults(void **state)
{
    struct machine *machine = *state;

    assert_int_equal(fill(machine, 2, 64 * PAGE + 5, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(fault_address, 64 * PAGE + 5);
    assert_int_equal(fill(machine, 2, 63 * PAGE, 2 * PAGE, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(fault_address, 64 * PAGE);
    assert_int_equal(fill(machine, 2, MIB(2), 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(fill(machine, 2, GIB(1), 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(fill(machine, 4, (uint64_t)1 << 48, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(fill(machine, 4, UINT64_MAX, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    tables_set(machine, LEAVES, 1, iova_of(DATA) | VGPU_GGTT_VALID | GUEST);
    assert_int_equal(fill(machine, 2, PAGE, 1, 1), VGPU_ERR_VIRT_PROTECTION);
    for (unsigned bit = 2; bit < 12; bit++) {
        if (1u << bit == GUEST)
            continue;
        tables_set(machine, LEAVES, 2, page_entry(DATA) | 1u << bit);
        assert_int_equal(fill(machine, 2, 2 * PAGE, 1, 1), VGPU_ERR_VIRT_ENTRY);
        /* A large page may be that; all else not. */
        tables_set(machine, 2, 3, table_entry(SPARE) | 1u << bit);
        assert_int_equal(fill(machine, 2, MIB(6), 1, 1), VGPU_ERR_VIRT_ENTRY);
    }
    /* Tables are in guest memory, and there is nothing to be writable. */
    tables_set(machine, 2, 3, iova_of(SPARE) | VGPU_GGTT_VALID);
    assert_int_equal(fill(machine, 2, MIB(6), 1, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, 2, 3, table_entry(SPARE) | VGPU_GGTT_WRITABLE);
    assert_int_equal(fill(machine, 2, MIB(6), 1, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, 2, 3, table_entry(MACHINE_PAGES));
    assert_int_equal(fill(machine, 2, MIB(6), 1, 1), VGPU_ERR_DMA_UNMAPPED);
    assert_int_equal(fault_address, iova_of(MACHINE_PAGES));
    assert_int_equal(fill(machine, 2, 0, 1, 1), 0);
}

/* A page is one thing in a process. */
static void test_loops(void **state)
{
    struct machine *machine = *state;

    for (unsigned level = 2; level <= 4; level++) {
        tables_set(machine, 4, 1, table_entry(level));
        assert_int_equal(fill(machine, 4, 0, 1, 1), 0);
        assert_int_equal(fill(machine, 4, GIB(512), 1, 1), VGPU_ERR_VIRT_ENTRY);
    }
    /* In two places of one level. */
    tables_set(machine, 2, 1, table_entry(LEAVES));
    assert_int_equal(fill(machine, 2, 0, 1, 1), 0);
    assert_int_equal(fill(machine, 2, MIB(2), 1, 1), VGPU_ERR_VIRT_ENTRY);
    /* It moves: that is fine. */
    tables_set(machine, 2, 0, 0);
    assert_int_equal(fill(machine, 2, MIB(2), 1, 5), 0);
    assert_int_equal(fill(machine, 2, 0, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    /* A table as memory, and memory in use as a table. */
    tables_set(machine, LEAVES, 9, page_entry(2));
    assert_int_equal(fill(machine, 2, MIB(2) + 9 * PAGE, 1, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, 2, 2, table_entry(DATA));
    assert_int_equal(fill(machine, 2, MIB(4) + 7 * PAGE, 1, 1), VGPU_ERR_VIRT_ENTRY);
    tables_set(machine, LEAVES, 0, 0);
    assert_int_equal(fill(machine, 2, MIB(4) + 7 * PAGE, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
}

/* Rows that are 2 MiB from each other: a large entry for each, and more than there may be. */
static void test_too_many(void **state)
{
    struct machine *machine = *state;
    struct vgpu_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
        .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, (uint32_t)MIB(4), 1, 8192, 0},
        .rect = {0, 0, 1, 8192},
    };
    struct vgpu_ppgtt_set set = ppgtt_packet(3, 3);

    for (unsigned i = 0; i < 32; i++)
        tables_set(machine, 3, i, GIB(i) | RW | GUEST | VGPU_PPGTT_LARGE);
    assert_int_equal(fill(machine, 4, MIB(1), 1, 1), VGPU_ERR_DMA_UNMAPPED);
    machine_emit(machine, &set, sizeof(set));
    machine_expect(machine, &packet, sizeof(packet), VGPU_ERR_VIRT_TABLES);
    assert_true(machine->ppgtt.tables <= VGPU_PPGTT_TABLES_MAX);
    /* Others make room. */
    assert_int_equal(fill(machine, 2, 0, 1, 1), 0);
    assert_true(machine->ppgtt.tables < 8);
}

/* ------------------------------------------------------------------ when changes count */

static void test_doorbell(void **state)
{
    struct machine *machine = *state;
    uint64_t pins;

    tables_select(machine, ROOT(2), 2);
    assert_int_equal(tables_fill(machine, 0, 4 * PAGE, 1), 0);
    assert_int_equal(machine->ppgtt.pinned, 4);
    pins = machine->guest.pin_calls;
    /* Nothing changes: nothing is pinned or read, but the ring itself. */
    assert_int_equal(tables_fill(machine, 0, 4 * PAGE, 2), 0);
    assert_int_equal(machine->guest.pin_calls, pins + 1);
    assert_int_equal(machine->ppgtt.tables_read, 2);
    /* One entry does. */
    tables_set(machine, LEAVES, 1, page_entry(DATA + 50));
    assert_int_equal(machine->guest.pins[DATA + 1], 1);
    assert_int_equal(tables_fill(machine, 0, 4 * PAGE, 3), 0);
    assert_int_equal(machine->guest.pins[DATA + 1], 0);
    assert_int_equal(byte_of(machine, DATA + 1), 2);
    assert_int_equal(byte_of(machine, DATA + 50), 3);
    assert_int_equal(machine->ppgtt.tables_read, 3);
    assert_int_equal(machine->ppgtt.entries_changed, 1);
    assert_int_equal(machine->guest.pin_calls, pins + 4);
    /* One that is written with what it says costs a look. */
    tables_set(machine, LEAVES, 2, page_entry(DATA + 2));
    assert_int_equal(tables_fill(machine, 0, 4 * PAGE, 4), 0);
    assert_int_equal(machine->ppgtt.entries_changed, 1);
    assert_int_equal(machine->guest.pin_calls, pins + 6);
}

/* What is written behind a doorbell waits for the next one, though the ring goes on. */
static void test_between_doorbells(void **state)
{
    struct machine *machine = *state;
    struct vgpu_fill first = fill_packet(VGPU_SPACE_VIRTUAL, 0, 1, 1), second = first;

    tables_select(machine, ROOT(2), 2);
    assert_int_equal(tables_fill(machine, 0, 1, 9), 0);
    second.value = 2;
    machine_emit(machine, &first, sizeof(first));
    machine_emit(machine, &second, sizeof(second));
    vgpu_ppgtt_collect(&machine->ppgtt);
    tables_set(machine, LEAVES, 0, page_entry(DATA + 60));
    for (;;) {
        enum vgpu_step step =
            vgpu_ring_step(&machine->ring, machine->tail, machine->scratch, &machine->interrupts);

        assert_int_not_equal(step, VGPU_STEP_WAIT);
        if (step == VGPU_STEP_IDLE)
            break;
    }
    vgpu_pins_drop(&machine->pins);
    assert_int_equal(byte_of(machine, DATA), 2);
    assert_int_equal(byte_of(machine, DATA + 60), 0);
    assert_int_equal(tables_fill(machine, 0, 1, 3), 0);
    assert_int_equal(byte_of(machine, DATA), 2);
    assert_int_equal(byte_of(machine, DATA + 60), 3);
}

/* A device that writes into a table, this one by its ring. */
static void test_device_writes(void **state)
{
    struct machine *machine = *state;
    struct vgpu_fill zero = fill_packet(VGPU_SPACE_GUEST, iova_of(LEAVES), 8, 0);

    tables_select(machine, ROOT(2), 2);
    assert_int_equal(tables_fill(machine, 0, 1, 1), 0);
    machine_do(machine, &zero, sizeof(zero));
    assert_int_equal(tables_fill(machine, 0, 1, 1), VGPU_ERR_VIRT_UNMAPPED);
    assert_int_equal(machine->ppgtt.pinned, 0);
}

/* A table that was used a moment ago is not any more, though nothing else was put in force. */
static void test_table_goes(void **state)
{
    struct machine *machine = *state;

    tables_select(machine, ROOT(2), 2);
    assert_int_equal(tables_fill(machine, 0, 1, 1), 0);
    tables_set(machine, 2, 0, table_entry(SPARE));
    tables_set(machine, SPARE, 0, page_entry(DATA + 5));
    assert_int_equal(tables_fill(machine, 0, 1, 2), 0);
    assert_int_equal(byte_of(machine, DATA), 1);
    assert_int_equal(byte_of(machine, DATA + 5), 2);
    tables_set(machine, 2, 0, 0);
    assert_int_equal(tables_fill(machine, 0, 1, 3), VGPU_ERR_VIRT_UNMAPPED);
}

/* Rights that were enough to read are not to write; the page stays pinned once. */
static void test_upgrade(void **state)
{
    struct machine *machine = *state;
    struct vgpu_copy copy = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(copy)),
        .dst = {VGPU_FORMAT_R8, PAGE, PAGE, 1, 0},
        .src = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, PAGE, PAGE, 1, 0},
        .width = PAGE,
        .height = 1,
    };

    machine_protect(machine, iova_of(DATA), 1, UMDEV_READ);
    tables_select(machine, ROOT(2), 2);
    machine_do(machine, &copy, sizeof(copy));
    assert_int_equal(machine->guest.pins[DATA], 1);
    assert_int_equal(tables_fill(machine, 0, 1, 1), VGPU_ERR_DMA_PROTECTION);
    assert_int_equal(machine->guest.pins[DATA], 1);
    machine->guest.prot[DATA] = UMDEV_RW;
    tables_select(machine, ROOT(2), 2);
    assert_int_equal(tables_fill(machine, 0, 1, 1), 0);
    assert_int_equal(machine->guest.pins[DATA], 1);
    machine_do(machine, &copy, sizeof(copy));
    assert_int_equal(machine->guest.pins[DATA], 1);
}

/* The client takes away a page of data, a table, the top. */
static void test_unmap(void **state)
{
    struct machine *machine = *state;
    static const uint64_t pages[] = {DATA + 3, LEAVES, 3};

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fill(machine, 3, 0, 4 * PAGE, 1), 0);
        assert_true(machine->ppgtt.pinned > 0);
        machine_protect(machine, iova_of(pages[i]), 1, 0);
        assert_int_equal(machine->guest.pins[pages[i]], 0);
        assert_int_equal(fill(machine, 3, 0, 4 * PAGE, 1), VGPU_ERR_DMA_UNMAPPED);
        assert_int_equal(fault_address, iova_of(pages[i]));
        machine_protect(machine, iova_of(pages[i]), 1, UMDEV_RW);
    }
    assert_int_equal(fill(machine, 3, 0, 4 * PAGE, 1), 0);
    machine_protect(machine, MACHINE_IOVA, MACHINE_PAGES - 2, 0);
    assert_int_equal(machine->ppgtt.tables, 0);
    assert_int_equal(machine->ppgtt.pinned, 0);
}

/* More written pages than are noted one by one. */
static void test_many_notes(void **state)
{
    struct machine *machine = *state;
    const unsigned tables = VGPU_PPGTT_NOTES + 20;
    struct vgpu_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
        .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, (uint32_t)MIB(4), 1, tables / 2, 0},
        .rect = {0, 0, 1, tables / 2},
        .value = 1,
    };

    /* Of two levels 2: each covers a gigabyte. */
    tables_set(machine, 3, 0, table_entry(2));
    tables_set(machine, 3, 1, table_entry(SPARE));
    for (unsigned i = 0; i < tables; i++) {
        unsigned table = 200 + i;

        tables_set(machine, i < 512 ? 2 : SPARE, i % 512, table_entry(table));
        tables_set(machine, table, 0, page_entry(DATA));
    }
    tables_select(machine, ROOT(3), 3);
    packet.dst.pitch = (uint32_t)MIB(2);
    packet.dst.height = packet.rect.height = tables;
    machine_do(machine, &packet, sizeof(packet));
    assert_int_equal(byte_of(machine, DATA), 1);
    for (unsigned i = 0; i < tables; i++)
        tables_set(machine, 200 + i, 0, page_entry(DATA + 1));
    packet.value = 2;
    machine_do(machine, &packet, sizeof(packet));
    assert_int_equal(byte_of(machine, DATA), 1);
    assert_int_equal(byte_of(machine, DATA + 1), 2);
    assert_int_equal(machine->guest.pins[DATA], 0);
    assert_int_equal(machine->ppgtt.entries_changed, tables);
}

/* ------------------------------------------------------------------ processes */

/* More than are remembered, all with the same tables below their tops. */
static void test_processes(void **state)
{
    struct machine *machine = *state;

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES + 4; i++) {
            tables_set(machine, 100 + i, 0, table_entry(LEAVES));
            tables_select(machine, 100 + i, 2);
            assert_int_equal(tables_fill(machine, (i % 8) * PAGE, 1, (uint8_t)i), 0);
            assert_int_equal(byte_of(machine, DATA + i % 8), (uint8_t)i);
            assert_true(machine->ppgtt.tables <= 2 * VGPU_PPGTT_PROCESSES);
        }
    }
    /* All of them learn of one change. */
    for (unsigned i = 0; i < 8; i++)
        tables_set(machine, LEAVES, i, page_entry(DATA + 20 + i));
    for (unsigned i = 8; i < 12; i++) {
        tables_select(machine, 100 + i, 2);
        assert_int_equal(tables_fill(machine, (i % 8) * PAGE, 1, 99), 0);
        assert_int_equal(byte_of(machine, DATA + 20 + i % 8), 99);
    }
}

static void put_batch(struct machine *machine, const void *packet, uint32_t bytes)
{
    struct vgpu_batch batch = {
        .header = {VGPU_HEADER(VGPU_OP_BATCH, 0, sizeof(batch)), VGPU_SPACE_VIRTUAL},
        .address = 32 * PAGE,
        .bytes = bytes,
    };

    machine_poke(machine, iova_of(DATA + 32), packet, bytes);
    machine_emit(machine, &batch, sizeof(batch));
}

/* A batch of a process reaches what its tables map; the ring, everything. */
static void test_confined(void **state)
{
    struct machine *machine = *state;
    struct vgpu_ppgtt_set set = ppgtt_packet(ROOT(2), 2);
    struct vgpu_fence fence = {
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_WRITE, sizeof(fence)),
        .address = iova_of(DATA + 9),
        .value = 0x1111222233334444,
    };
    const struct vgpu_ggtt_fill ggtt = {
        .header.word = VGPU_HEADER(VGPU_OP_GGTT_FILL, 0, sizeof(ggtt)),
        .count = 1,
    };
    const struct vgpu_alloc alloc = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, 0, sizeof(alloc)),
        .address = VRAM,
        .bytes = PAGE,
    };
    const struct vgpu_fill fills[] = {
        fill_packet(VGPU_SPACE_GUEST, iova_of(DATA), 1, 1),
        fill_packet(VGPU_SPACE_VRAM, 0, 1, 1),
        fill_packet(VGPU_SPACE_VIRTUAL, 0, 1, 1),
    };
    uint64_t value;

#define REFUSED(packet)                                                                            \
    do {                                                                                           \
        machine_emit(machine, &set, sizeof(set));                                                  \
        put_batch(machine, &(packet), sizeof(packet));                                             \
        assert_int_equal(machine_run(machine), VGPU_STEP_FAULT);                                   \
        assert_int_equal(machine->ring.fault.code, VGPU_ERR_SPACE);                                \
        machine_restart(machine);                                                                  \
    } while (0)
    REFUSED(fills[0]);
    REFUSED(fills[1]);
    REFUSED(fence);
    REFUSED(ggtt);
    REFUSED(alloc);
#undef REFUSED
    machine_emit(machine, &set, sizeof(set));
    put_batch(machine, &set, sizeof(set));
    assert_int_equal(machine_run(machine), VGPU_STEP_FAULT);
    assert_int_equal(machine->ring.fault.code, VGPU_ERR_NESTED);
    machine_restart(machine);
    /* Nothing in force: nothing virtual. */
    machine_expect(machine, &fills[2], sizeof(fills[2]), VGPU_ERR_SPACE);
    /* The ring may do both at once. */
    machine_emit(machine, &set, sizeof(set));
    machine_emit(machine, &fills[0], sizeof(fills[0]));
    machine_do(machine, &fence, sizeof(fence));
    machine_peek(machine, iova_of(DATA + 9), &value, sizeof(value));
    assert_true(value == fence.value);
    /* And a batch its own. */
    fence.header.arg = VGPU_SPACE_VIRTUAL;
    fence.address = 10 * PAGE + 8;
    put_batch(machine, &fence, sizeof(fence));
    assert_int_equal(machine_run(machine), VGPU_STEP_IDLE);
    machine_peek(machine, iova_of(DATA + 10) + 8, &value, sizeof(value));
    assert_true(value == fence.value);
}

/* A batch that lies in two pages far from each other is read to its end. */
static void test_batch_across(void **state)
{
    struct machine *machine = *state;
    const struct vgpu_fill packet = fill_packet(VGPU_SPACE_VIRTUAL, 3 * PAGE, 1, 0x55);
    const struct vgpu_batch batch = {
        .header = {VGPU_HEADER(VGPU_OP_BATCH, 0, sizeof(batch)), VGPU_SPACE_VIRTUAL},
        .address = 2 * PAGE - 24,
        .bytes = sizeof(packet),
    };

    tables_set(machine, LEAVES, 2, page_entry(DATA + 44));
    machine_poke(machine, iova_of(DATA + 1) + PAGE - 24, &packet, 24);
    machine_poke(machine, iova_of(DATA + 44), (const uint8_t *)&packet + 24, sizeof(packet) - 24);
    tables_select(machine, ROOT(2), 2);
    machine_do(machine, &batch, sizeof(batch));
    assert_int_equal(byte_of(machine, DATA + 3), 0x55);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(levels),
        TEST(scattered),
        TEST(large),
        TEST(vram),
        TEST(faults),
        TEST(loops),
        TEST(too_many),
        TEST(doorbell),
        TEST(upgrade),
        TEST(table_goes),
        TEST(between_doorbells),
        TEST(device_writes),
        TEST(unmap),
        TEST(many_notes),
        TEST(processes),
        TEST(confined),
        TEST(batch_across),
    };

    return cmocka_run_group_tests_name("vgpu ppgtt", tests, NULL, NULL);
}
