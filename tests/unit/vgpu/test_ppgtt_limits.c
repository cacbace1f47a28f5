/* SPDX-License-Identifier: BSD-3-Clause */
/* Page tables in guest memory: what fails, and what hostile ones cost. */
#include "failnth.h"
#include "random.h"
#include "tables.h"
#include "unit.h"

#include <errno.h>

#define VRAM ((uint64_t)1 << 20)

/* Pages: tables of two levels, and what the first of their pages are. */
#define ROOT   2u
#define LEAVES 1u
#define DATA   16u

/* What a table of level 1 is for. */
#define BLOCK ((uint64_t)VGPU_PPGTT_ENTRIES * PAGE)

static int setup(void **state)
{
    static struct machine machine;

    machine_init(&machine, VRAM, false, random_seed());
    tables_set(&machine, ROOT, 0, table_entry(LEAVES));
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

/* The first page. */
static enum vgpu_error fill(struct machine *machine)
{
    struct vgpu_ppgtt_set set = ppgtt_packet(ROOT, 2);

    machine_emit(machine, &set, sizeof(set));
    return tables_fill(machine, 0, PAGE, 1);
}

/*
 * Between the driver's word in an unmap and the end of it: a table there is not tracked again, for
 * nobody would say when that ends.
 */
static void test_unmap_under_way(void **state)
{
    struct machine *machine = *state;

    assert_int_equal(fill(machine), 0);
    vgpu_ppgtt_unmap(&machine->ppgtt, iova_of(LEAVES), iova_of(LEAVES) + PAGE - 1);
    machine->guest.leaving = iova_of(LEAVES);
    assert_int_equal(fill(machine), VGPU_ERR_DMA_UNMAPPED);
    assert_int_equal(machine->guest.tracked[LEAVES], 0);
    machine->guest.leaving = 0;
    assert_int_equal(fill(machine), 0);
}

/* Tables that can't be tracked, and no memory for any of them: it is said, and nothing is left. */
static void test_failures(void **state)
{
    struct machine *machine = *state;
    static const struct {
        int error;
        enum vgpu_error code;
    } cases[] = {
        {-EFAULT, VGPU_ERR_DMA_UNMAPPED}, {-EOPNOTSUPP, VGPU_ERR_DMA_NO_FILE},
        {-ENOMEM, VGPU_ERR_DMA_NO_ROOM},  {-EOVERFLOW, VGPU_ERR_DMA_NO_ROOM},
        {-ENODEV, VGPU_ERR_DMA_DISABLED},
    };
    unsigned refused = 0;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        machine->guest.track_error = cases[i].error;
        assert_int_equal(fill(machine), cases[i].code);
        assert_int_equal(machine->ppgtt.tables, 0);
    }
    machine->guest.track_error = 0;
    for (unsigned n = 1, done = 0; !done; n++) {
        enum vgpu_error code;

        vgpu_ppgtt_clear(&machine->ppgtt);
        failnth_arm(n);
        code = fill(machine);
        done = !failnth_disarm();
        if (code) {
            assert_int_equal(code, VGPU_ERR_DMA_NO_ROOM);
            assert_int_equal(machine->ppgtt.pinned, 0);
            refused++;
        }
        assert_true(!done || !code);
    }
    assert_int_equal(machine->ppgtt.tables, 2);
    assert_true(refused >= 2);
}

/* Wherever tables lie, one is found without a look at many others. */
static void test_buckets(void **state)
{
    struct machine *machine = *state;
    const unsigned tables = 512;
    unsigned longest = 0;
    struct vgpu_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
        .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, (uint32_t)BLOCK, 1, tables, 0},
        .rect = {0, 0, 1, tables},
        .value = 1,
    };

    machine->guest.aliases = true;
    for (uint64_t i = 0; i < tables; i++)
        tables_set(machine, ROOT, (unsigned)i, table_entry(LEAVES) | i << 48);
    tables_select(machine, ROOT, 2);
    machine_do(machine, &packet, sizeof(packet));
    assert_int_equal(machine->ppgtt.tables, 1 + tables);
    for (unsigned i = 0; i < VGPU_PPGTT_BUCKETS; i++) {
        const struct vgpu_table *table;
        unsigned length = 0;

        LIST_FOREACH(table, &machine->ppgtt.buckets[i], same_bucket) length++;
        longest = length > longest ? length : longest;
    }
    assert_in_range(longest, 1, 32);
}

/* The more is to be looked through for each table, the fewer are loaded at a time. */
static void test_turns(void **state)
{
    struct machine *machine = *state;
    const unsigned tables = 512;
    uint64_t before = 0, most[2] = {0};

    /* Each table has pinned a page below and one above all tables. */
    for (unsigned i = 0; i < tables; i++) {
        tables_set(machine, ROOT, i, table_entry(200 + i));
        tables_set(machine, 200 + i, 0, page_entry(DATA));
        tables_set(machine, 200 + i, 1, page_entry(900));
    }
    tables_select(machine, ROOT, 2);
    for (unsigned i = 0; i < 2; i++) {
        struct vgpu_fill packet = {
            .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
            .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, (uint32_t)BLOCK, PAGE + 1, tables / 2,
                    i * BLOCK * tables / 2},
            .rect = {0, 0, PAGE + 1, tables / 2},
        };
        enum vgpu_step step;

        machine_emit(machine, &packet, sizeof(packet));
        do {
            step = vgpu_ring_step(&machine->ring, machine->tail, machine->scratch,
                                  &machine->interrupts);
            before = machine->ppgtt.tables;
            if (step == VGPU_STEP_WAIT)
                assert_int_equal(vgpu_ring_serve(&machine->ring), VGPU_STEP_MORE);
            if (machine->ppgtt.tables - before > most[i])
                most[i] = machine->ppgtt.tables - before;
        } while (step != VGPU_STEP_IDLE);
        vgpu_pins_drop(&machine->pins);
    }
    assert_int_equal(machine->ppgtt.tables, 1 + tables);
    assert_int_equal(most[0], 64);
    assert_in_range(most[1], 1, 64 / (tables / 2 / 64));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(unmap_under_way),
        TEST(failures),
        TEST(buckets),
        TEST(turns),
    };

    return cmocka_run_group_tests_name("vgpu ppgtt limits", tests, NULL, NULL);
}
