/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pin table's limits, what it takes of memory, and what failures leave.
 */
#include "iommu/pin_leaf.h"

#include "failnth.h"
#include "leaks.h"
#include "unit.h"

#include "base/range.h"

#include <errno.h>
#include <string.h>

#define TIB_PAGES (UINT64_C(1) << 28)
#define SPAN      (UINT64_C(1) << 16) /* pages of a leaf that is not dense */

static uint64_t fresh[PIN_WORDS], freed[PIN_WORDS], written[PIN_WORDS];
static uint32_t bus[PIN_MAX_PAGES], freed_bus[PIN_MAX_PAGES];

static struct pin_table *table_new(uint64_t npages, bool with_bus)
{
    struct pin_table *table;

    assert_int_equal(pin_table_new(npages, with_bus, &table), 0);
    for (size_t i = 0; i < PIN_MAX_PAGES; i++)
        bus[i] = (uint32_t)(1000 + i);
    return table;
}

static void pin(struct pin_table *table, uint64_t first, size_t count)
{
    assert_int_equal(pin_table_pin(table, first, count, false, bus, fresh), 0);
}

static size_t unpin(struct pin_table *table, uint64_t first, size_t count)
{
    return pin_table_unpin(table, first, count, freed, freed_bus, written);
}

static void test_sizes(void **state)
{
    struct pin_table *table;

    (void)state;
    assert_int_equal(pin_table_new(0, false, &table), -EINVAL);
    assert_int_equal(pin_table_new(PIN_TABLE_MAX + 1, false, &table), -EINVAL);
    pin_table_free(NULL);
}

static void test_last_pages(void **state)
{
    static const uint64_t sizes[] = {1,        512,      513,       SPAN,
                                     SPAN + 1, SPAN * 2, TIB_PAGES, PIN_TABLE_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct pin_table *table = table_new(sizes[i], true);
        size_t count = MIN(sizes[i], PIN_MAX_PAGES);
        uint64_t first = sizes[i] - count;
        size_t idle = pin_table_bytes(table);
        struct pin_page page;
        struct pin_run run;

        pin(table, sizes[i] - 1, 1);
        pin(table, first, count);
        assert_true(pin_table_get(table, sizes[i] - 1, &page));
        assert_int_equal(page.count, 2);
        assert_int_equal(page.bus, 1000);
        assert_true(pin_table_next(table, 0, &run));
        assert_int_equal(run.first, first);
        assert_false(pin_table_next(table, sizes[i], &run));
        assert_false(pin_table_next(table, UINT64_MAX, &run));
        assert_int_equal(unpin(table, sizes[i] - 1, 1), 0);
        assert_int_equal(unpin(table, first, count), 0);
        assert_int_equal(pin_table_bytes(table), idle);
        pin_table_free(table);
    }
}

/* 512 pages over the border of two blocks, and of two nodes. */
static void test_borders(void **state)
{
    static const uint64_t borders[] = {512, SPAN, SPAN << 7, SPAN << 14};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(borders); i++) {
        struct pin_table *table = table_new(SPAN << 15, true);
        uint64_t first = borders[i] - 100;

        pin(table, first, PIN_MAX_PAGES);
        for (size_t word = 0; word < PIN_WORDS; word++)
            assert_true(fresh[word] == UINT64_MAX);
        assert_int_equal(pin_table_count_new(table, first - 1, PIN_MAX_PAGES), 1);
        assert_int_equal(pin_table_get_bus(table, first - 1, PIN_MAX_PAGES, freed_bus), 511);
        assert_memory_equal(freed_bus, bus, 511 * sizeof(*bus));
        assert_int_equal(unpin(table, first, PIN_MAX_PAGES), 0);
        assert_memory_equal(freed_bus, bus, sizeof(bus));
        assert_int_equal(unpin(table, first, PIN_MAX_PAGES), PIN_MAX_PAGES);
        pin_table_free(table);
    }
}

/* Up to the limit and back; a neighbour in the block before is not touched by the failure. */
static void test_count_limit(void **state)
{
    struct pin_table *table = table_new(TIB_PAGES, true);
    size_t idle = pin_table_bytes(table);
    struct pin_page page;

    (void)state;
    for (uint32_t i = 0; i < PIN_MAX_COUNT; i++)
        if (pin_table_pin(table, 512, 1, i == 5, bus, fresh))
            fail_msg("pin %u failed", i);
    pin(table, 511, 1);
    assert_int_equal(pin_table_pin(table, 511, 2, false, bus, fresh), -EOVERFLOW);
    assert_int_equal(pin_table_pin(table, 512, 1, false, bus, fresh), -EOVERFLOW);
    assert_true(pin_table_get(table, 511, &page));
    assert_int_equal(page.count, 1);
    assert_true(pin_table_get(table, 512, &page));
    assert_int_equal(page.count, PIN_MAX_COUNT);
    assert_true(page.write);
    for (uint32_t i = 1; i < PIN_MAX_COUNT; i++)
        if (unpin(table, 512, 1) || freed[0])
            fail_msg("unpin %u failed", i);
    assert_int_equal(unpin(table, 511, 2), 0);
    assert_int_equal(freed[0], 3);
    assert_int_equal(written[0], 2);
    assert_int_equal(pin_table_pinned(table), 0);
    assert_int_equal(pin_table_bytes(table), idle);
    pin_table_free(table);
}

/* A byte's limit, with and without neighbours. */
static void test_counts_above_a_byte(void **state)
{
    (void)state;
    for (size_t neighbours = 0; neighbours < 512; neighbours += 73) {
        struct pin_table *table = table_new(TIB_PAGES, true);
        size_t bytes;
        struct pin_page page;

        if (neighbours > 0)
            pin(table, 0, neighbours);
        pin(table, neighbours, 1);
        bytes = pin_table_bytes(table);
        for (unsigned i = 1; i < 300; i++) {
            pin(table, neighbours, 1);
            assert_true(pin_table_get(table, neighbours, &page));
            assert_int_equal(page.count, i + 1);
        }
        for (unsigned i = 300; i-- > 1;) {
            assert_int_equal(unpin(table, neighbours, 1), 0);
            assert_true(pin_table_get(table, neighbours, &page));
            assert_int_equal(page.count, i);
            assert_int_equal(page.bus, 1000);
        }
        for (size_t i = 0; i < neighbours; i++) {
            assert_true(pin_table_get(table, i, &page));
            assert_int_equal(page.bus, 1000 + i);
        }
        assert_int_equal(pin_table_pinned(table), neighbours + 1);
        if (neighbours > 0)
            assert_int_equal(unpin(table, 0, neighbours), 0);
        if (neighbours == 0)
            assert_true(pin_table_bytes(table) >= bytes);
        assert_int_equal(unpin(table, neighbours, 1), 0);
        pin_table_free(table);
    }
}

/* The flag for writes stays as long as the page is pinned, and ends with it. */
static void test_write_is_sticky(void **state)
{
    struct pin_table *table = table_new(1024, false);
    struct pin_page page;

    (void)state;
    assert_int_equal(pin_table_pin(table, 3, 1, true, NULL, fresh), 0);
    assert_int_equal(pin_table_pin(table, 2, 3, false, NULL, fresh), 0);
    assert_int_equal(fresh[0], 5);
    assert_int_equal(unpin(table, 3, 1), 0);
    assert_int_equal(freed[0], 0);
    assert_true(pin_table_get(table, 3, &page));
    assert_true(page.write);
    assert_int_equal(unpin(table, 2, 3), 0);
    assert_int_equal(freed[0], 7);
    assert_int_equal(written[0], 2);
    assert_int_equal(pin_table_pin(table, 3, 1, false, NULL, fresh), 0);
    assert_true(pin_table_get(table, 3, &page));
    assert_false(page.write);
    pin_table_free(table);
}

static void test_runs(void **state)
{
    struct pin_table *table = table_new(TIB_PAGES, true);
    struct pin_run run;

    (void)state;
    assert_false(pin_table_next(table, 0, &run));
    pin(table, 10, 20);
    assert_int_equal(pin_table_pin(table, 15, 5, true, bus, fresh), 0);
    pin(table, TIB_PAGES - 7, 7);
    assert_true(pin_table_next(table, 0, &run));
    assert_true(run.first == 10 && run.count == 5 && !run.write);
    assert_true(pin_table_next(table, 15, &run));
    assert_true(run.first == 15 && run.count == 5 && run.write);
    assert_true(pin_table_next(table, 20, &run));
    assert_true(run.first == 20 && run.count == 10 && !run.write);
    assert_true(pin_table_next(table, 30, &run));
    assert_true(run.first == TIB_PAGES - 7 && run.count == 7 && !run.write);
    pin_table_free(table);
}

/* ------------------------------------------------------------------ memory */

/* More pins page by page, then fewer: memory follows them both ways. */
static void grow_and_shrink(bool with_bus, uint64_t step)
{
    enum { PINS = 600 };
    struct pin_table *table = table_new(TIB_PAGES, with_bus);
    size_t idle = pin_table_bytes(table), most = 0;

    for (uint64_t i = 0; i < PINS; i++) {
        pin(table, i * step, 1);
        assert_int_equal(pin_table_pinned(table), i + 1);
        most = MAX(most, pin_table_bytes(table));
    }
    for (uint64_t i = PINS; i-- > 0;) {
        assert_int_equal(unpin(table, i * step, 1), 0);
        assert_int_equal(freed[0], 1);
        assert_true(pin_table_bytes(table) <= most);
        /* A few pins are in one array again: nodes of three levels above it, and of their table. */
        if (i == 20 && step * PINS < SPAN)
            assert_true(pin_table_bytes(table) - idle < 1800);
    }
    assert_int_equal(pin_table_bytes(table), idle);
    pin_table_free(table);
}

static void test_grow_and_shrink(void **state)
{
    static const uint64_t steps[] = {1, 2, 3, 100, 511, 513, 1 << 12, 1 << 17};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        grow_and_shrink(true, steps[i]);
        grow_and_shrink(false, steps[i]);
    }
}

static void test_idle_takes_nothing(void **state)
{
    static const uint64_t sizes[] = {1, SPAN, TIB_PAGES, PIN_TABLE_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct pin_table *table = table_new(sizes[i], true);

        assert_true(pin_table_bytes(table) <= 100);
        pin_table_free(table);
    }
}

static void test_dense_bytes(void **state)
{
    const uint64_t pages = 1 << 20;

    (void)state;
    for (int with_bus = 0; with_bus < 2; with_bus++) {
        struct pin_table *table = table_new(TIB_PAGES, with_bus);

        for (uint64_t page = 0; page < pages; page += PIN_MAX_PAGES)
            pin(table, page, PIN_MAX_PAGES);
        assert_true(pin_table_bytes(table) * 100 < pages * (with_bus ? 506 : 106));
        pin_table_free(table);
    }
}

/* One page of a hundred, anywhere. */
static void test_sparse_bytes(void **state)
{
    const uint64_t pages = 1 << 22;
    struct pin_table *table = table_new(pages, true);
    uint64_t random = 1;

    (void)state;
    for (uint64_t i = 0; i < pages / 100; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        pin(table, (random >> 32) % pages, 1);
    }
    assert_true(pin_table_bytes(table) < pin_table_pinned(table) * 16);
    pin_table_free(table);
}

/* ------------------------------------------------------------------ failures */

struct failing {
    struct pin_table *table;
    uint64_t first;
    size_t bytes;
    uint64_t pinned;
};

static int failing_pin(void *opaque)
{
    struct failing *failing = opaque;
    int ret = pin_table_pin(failing->table, failing->first, PIN_MAX_PAGES, false, bus, fresh);

    if (ret)
        assert_int_equal(pin_table_pinned(failing->table), failing->pinned);
    return ret;
}

static void failing_unpin(void *opaque)
{
    struct failing *failing = opaque;

    assert_int_equal(unpin(failing->table, failing->first, PIN_MAX_PAGES), 0);
    assert_int_equal(pin_table_pinned(failing->table), failing->pinned);
}

/* Over two nodes, with no pins there before: what a failure left would be found. */
static void test_pin_fails(void **state)
{
    struct failing failing = {.table = table_new(TIB_PAGES, true), .first = 3 * SPAN - 200};

    (void)state;
    failing.bytes = pin_table_bytes(failing.table);
    assert_true(failnth_run(failing_pin, failing_unpin, &failing) >= 6);
    assert_int_equal(pin_table_bytes(failing.table), failing.bytes);
    pin_table_free(failing.table);
}

/* With pins that are to be moved: none is lost, none is pinned once more. */
static void test_pin_fails_on_the_way(void **state)
{
    enum { PINS = 100 };

    (void)state;
    for (unsigned n = 1;; n++) {
        struct pin_table *table = table_new(TIB_PAGES, true);
        const uint64_t base = 5 * SPAN;
        struct pin_page page;
        bool failed;
        int ret;

        for (uint64_t i = 0; i < PINS; i++) {
            pin(table, base + i * 600, 1);
            pin(table, base - 1 - i * 5, 1);
        }
        failnth_arm(n);
        ret = pin_table_pin(table, base - 256, PIN_MAX_PAGES, true, bus, fresh);
        failed = failnth_disarm();
        assert_int_equal(ret, failed ? -ENOMEM : 0);
        for (uint64_t i = 0; failed && i < PINS; i++) {
            assert_true(pin_table_get(table, base + i * 600, &page));
            assert_true(page.count == 1 && !page.write && page.bus == 1000);
            assert_true(pin_table_get(table, base - 1 - i * 5, &page));
            assert_true(page.count == 1 && !page.write && page.bus == 1000);
        }
        if (failed)
            assert_int_equal(pin_table_pinned(table), 2 * PINS);
        pin_table_free(table);
        if (!failed)
            break;
    }
}

static int make_table(void *opaque)
{
    return pin_table_new(TIB_PAGES, true, opaque);
}

static void free_table(void *opaque)
{
    pin_table_free(*(struct pin_table **)opaque);
}

static void test_new_fails(void **state)
{
    struct pin_table *table;

    (void)state;
    assert_int_equal(failnth_run(make_table, free_table, &table), 1);
}

/* What would be smaller stays as it is, and is made smaller the next time. */
static void test_unpin_without_memory(void **state)
{
    struct pin_table *table = table_new(TIB_PAGES, true);
    size_t idle = pin_table_bytes(table);
    struct pin_page page;

    (void)state;
    pin(table, 0, PIN_MAX_PAGES);
    for (uint64_t i = PIN_MAX_PAGES; i-- > 1;) {
        failnth_arm(1);
        assert_int_equal(unpin(table, i, 1), 0);
        failnth_disarm();
        assert_true(pin_table_get(table, i - 1, &page));
        assert_int_equal(page.bus, 1000 + i - 1);
    }
    assert_true(pin_table_bytes(table) > 2500);
    pin(table, 1, 1);
    assert_int_equal(unpin(table, 1, 1), 0);
    assert_true(pin_table_bytes(table) < 2500);
    assert_int_equal(unpin(table, 0, 1), 0);
    assert_int_equal(pin_table_bytes(table), idle);
    pin_table_free(table);
}

/* Whatever it holds, it gives back. */
static void test_free_gives_all_back(void **state)
{
    struct pin_table *table;

    (void)state;
    leaks_begin();
    table = table_new(PIN_TABLE_MAX, true);
    for (uint64_t page = 1; page < PIN_TABLE_MAX / 2; page = page * 3 + 1)
        pin(table, page, page % 2 ? 1 : 300);
    pin_table_free(table);
    assert_int_equal(leaks_end("pin table"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_last_pages),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_count_limit),
        cmocka_unit_test(test_counts_above_a_byte),
        cmocka_unit_test(test_write_is_sticky),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_grow_and_shrink),
        cmocka_unit_test(test_idle_takes_nothing),
        cmocka_unit_test(test_dense_bytes),
        cmocka_unit_test(test_sparse_bytes),
        cmocka_unit_test(test_pin_fails),
        cmocka_unit_test(test_pin_fails_on_the_way),
        cmocka_unit_test(test_new_fails),
        cmocka_unit_test(test_unpin_without_memory),
        cmocka_unit_test(test_free_gives_all_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
