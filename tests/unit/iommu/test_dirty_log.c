/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of written pages, by itself: its arguments, what it reports, what it costs, and that no
 * mark is lost for want of memory. test_dirty_log_random.c goes on.
 */
#include "dirty_fixture.h"
#include "failnth.h"
#include "iommu/dirty_tree.h"

#include <errno.h>
#include <string.h>

static int start(uint64_t iova, uint64_t length)
{
    const struct dirty_log_range range = {iova, length};

    return dirty_log_start(&log_, PAGE, &range, 1);
}

/* How many bits a report has set. */
static unsigned report_count(uint64_t iova, uint64_t length, uint64_t page_size)
{
    uint64_t bytes = 0;
    unsigned bits = 0;

    assert_int_equal(report(iova, length, page_size), 0);
    assert_int_equal(dirty_log_check(&log_, iova, length, page_size, &bytes), 0);
    for (size_t i = 0; i < bytes / 8; i++)
        bits += (unsigned)__builtin_popcountll(words[i]);
    return bits;
}

/* ------------------------------------------------------------------ arguments */

static void test_start_arguments(void **state)
{
    static const struct {
        struct dirty_log_range ranges[3];
        size_t n;
        uint64_t page_size;
        int ret;
    } cases[] = {
        {{{0, PAGE}}, 1, 0, -EINVAL},
        {{{0, PAGE}}, 1, 3 * PAGE, -EINVAL},
        {{{0, PAGE}}, 1, UINT64_MAX, -EINVAL},
        {{{0, PAGE}}, 1, 1, 0}, /* finer than ours: a hint is a hint */
        {{{0, PAGE}}, 1, 2 * PAGE, -EINVAL},
        {{{PAGE, 2 * PAGE}}, 1, 2 * PAGE, -EINVAL},
        {{{0, UINT64_C(1) << 63}}, 1, UINT64_C(1) << 63, 0},
        {{{0, 0}}, 1, PAGE, -EINVAL},
        {{{1, PAGE}}, 1, 1, -EINVAL},
        {{{0, PAGE + 1}}, 1, 1, -EINVAL},
        {{{0, 2048}}, 1, 2048, -EINVAL},
        {{{-PAGE, PAGE}}, 1, PAGE, 0},
        {{{-PAGE, 2 * PAGE}}, 1, PAGE, -EINVAL},
        {{{0, -PAGE}}, 1, PAGE, 0},
        {{{0, PAGE}, {PAGE, PAGE}}, 2, PAGE, 0},
        {{{PAGE, PAGE}, {0, PAGE}}, 2, PAGE, 0},
        {{{0, PAGE}, {0, PAGE}}, 2, PAGE, -EINVAL},
        {{{0, 9 * PAGE}, {4 * PAGE, PAGE}}, 2, PAGE, -EINVAL},
        {{{0, PAGE}, {-PAGE, PAGE}, {PAGE, -2 * PAGE}}, 3, PAGE, 0},
        {{{0, PAGE}, {-PAGE, PAGE}, {PAGE, -PAGE}}, 3, PAGE, -EINVAL},
        {{{0}}, 0, PAGE, 0},
        {{{0}}, 0, 3, -EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int ret = dirty_log_start(&log_, cases[i].page_size, cases[i].ranges, cases[i].n);

        if (ret != cases[i].ret)
            fail_msg("case %zu gave %d", i, ret);
        assert_int_equal(report(cases[i].ranges[0].iova, PAGE, PAGE), ret ? -EINVAL : 0);
        /* And off again: that is no error. */
        dirty_log_stop(&log_);
        dirty_log_stop(&log_);
    }
}

static void test_number_of_ranges(void **state)
{
    struct dirty_log_range ranges[DIRTY_LOG_MAX_RANGES + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        ranges[i] = (struct dirty_log_range){(ARRAY_SIZE(ranges) - i) * 2 * PAGE, PAGE};
    assert_int_equal(dirty_log_start(&log_, PAGE, ranges, ARRAY_SIZE(ranges)), -E2BIG);
    assert_int_equal(dirty_log_start(&log_, PAGE, ranges, ARRAY_SIZE(ranges) - 1), 0);
    /* All are logged, and nothing between them. */
    mark(0, 2048 * PAGE);
    for (size_t i = 0; i < ARRAY_SIZE(ranges) - 1; i++) {
        assert_int_equal(report_count(ranges[i].iova, PAGE, PAGE), 1);
        assert_int_equal(report(ranges[i].iova + PAGE, PAGE, PAGE), -EINVAL);
    }
}

static void test_started_twice(void **state)
{
    (void)state;
    assert_int_equal(start(0, PAGE), 0);
    mark(0, 1);
    assert_int_equal(start(0, PAGE), -EINVAL);
    assert_int_equal(dirty_log_start(&log_, PAGE, NULL, 0), -EINVAL);
    assert_int_equal(report_count(0, PAGE, PAGE), 1);
    mark(0, 1);
    dirty_log_stop(&log_);
    assert_int_equal(report(0, PAGE, PAGE), -EINVAL);
    mark(0, 1);
    assert_int_equal(start(0, PAGE), 0);
    assert_int_equal(report_count(0, PAGE, PAGE), 0);
}

static void test_report_arguments(void **state)
{
    static const struct {
        uint64_t iova, length, page_size;
        int ret;
    } cases[] = {
        {GIB, GIB, PAGE, 0},
        {GIB, PAGE, PAGE, 0},
        {2 * GIB - PAGE, PAGE, PAGE, 0},
        {GIB, PAGE, GIB, 0},
        {GIB + PAGE, 3 * PAGE, 2 * PAGE, 0}, /* aligned to our pages is enough */
        {GIB, 0, PAGE, -EINVAL},
        {GIB, GIB, 0, -EINVAL},
        {GIB, GIB, 2048, -EINVAL},
        {GIB, GIB, 2 * GIB, -EINVAL},
        {GIB, GIB, UINT64_C(1) << 63, -EINVAL},
        {GIB, GIB, 3 * PAGE, -EINVAL},
        {GIB, GIB, PAGE + 1, -EINVAL},
        {GIB + 1, PAGE, PAGE, -EINVAL},
        {GIB, PAGE + 1, PAGE, -EINVAL},
        {GIB, 512, PAGE, -EINVAL},
        {GIB - PAGE, PAGE, PAGE, -EINVAL},
        {GIB - PAGE, 2 * PAGE, PAGE, -EINVAL},
        {2 * GIB, PAGE, PAGE, -EINVAL},
        {2 * GIB - PAGE, 2 * PAGE, PAGE, -EINVAL},
        {GIB, -GIB, PAGE, -EINVAL},
        {GIB, UINT64_C(0) - PAGE, PAGE, -EINVAL},
        {-PAGE, GIB, PAGE, -EINVAL},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, -EINVAL},
    };

    (void)state;
    assert_int_equal(start(GIB, GIB), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int ret;

        mark(GIB, 1);
        ret = report(cases[i].iova, cases[i].length, cases[i].page_size);
        if (ret != cases[i].ret)
            fail_msg("case %zu gave %d", i, ret);
        /* What fails takes nothing away. */
        if (ret)
            assert_int_equal(report_count(GIB, PAGE, PAGE), 1);
    }
}

static void test_bitmap_sizes(void **state)
{
    uint64_t bytes = 0;

    (void)state;
    start_all();
    assert_int_equal(dirty_log_check(&log_, 0, PAGE, PAGE, &bytes), 0);
    assert_int_equal(bytes, 8);
    assert_int_equal(dirty_log_check(&log_, 0, 64 * PAGE, PAGE, &bytes), 0);
    assert_int_equal(bytes, 8);
    assert_int_equal(dirty_log_check(&log_, 0, 65 * PAGE, PAGE, &bytes), 0);
    assert_int_equal(bytes, 16);
    assert_int_equal(dirty_log_check(&log_, PAGE, 129 * PAGE, 2 * PAGE, &bytes), 0);
    assert_int_equal(bytes, 16);
    assert_int_equal(dirty_log_check(&log_, 0, -PAGE, PAGE, &bytes), 0);
    assert_true(bytes == UINT64_C(1) << 49);
    assert_int_equal(dirty_log_check(&log_, 0, -PAGE, GIB, &bytes), 0);
    assert_true(bytes == UINT64_C(1) << 31);
}

/* ------------------------------------------------------------------ what is reported */

static void test_pages_of_a_write(void **state)
{
    (void)state;
    start_all();
    mark(5 * PAGE + 4095, 1);
    mark(7 * PAGE + 4095, 2);
    assert_int_equal(report_count(0, 64 * PAGE, PAGE), 3);
    assert_true(words[0] == (1 << 5 | 1 << 7 | 1 << 8));
    assert_int_equal(report_count(0, 64 * PAGE, PAGE), 0);
}

/* The first and the last page of all, and everything at once. */
static void test_ends_of_the_address_space(void **state)
{
    (void)state;
    start_all();
    mark(0, 1);
    mark(UINT64_MAX, 1);
    assert_int_equal(report_count(0, PAGE, PAGE), 1);
    assert_int_equal(report_count(-64 * PAGE, 64 * PAGE, PAGE), 1);
    assert_true(reported(63));
    dirty_log_mark(&log_, (struct range){0, UINT64_MAX});
    assert_int_equal(report_count(-GIB, GIB, 2 * PAGE), GIB / PAGE / 2);
    assert_int_equal(report_count(-GIB, GIB, 2 * PAGE), 0);
    assert_int_equal(report_count(-2 * GIB, 2 * GIB, 2 * PAGE), GIB / PAGE / 2);
    assert_int_equal(report_count(0, GIB, PAGE), GIB / PAGE);
}

/* A part of a word that stays is found again, from either side. */
static void test_parts_of_a_word(void **state)
{
    (void)state;
    start_all();
    mark(0, 64 * PAGE);
    assert_int_equal(report_count(3 * PAGE, 5 * PAGE, PAGE), 5);
    assert_true(words[0] == 0x1f);
    assert_int_equal(report_count(3 * PAGE, 5 * PAGE, PAGE), 0);
    assert_int_equal(report_count(63 * PAGE, PAGE, PAGE), 1);
    assert_int_equal(report_count(0, 64 * PAGE, PAGE), 58);
}

static void test_coarse_pages(void **state)
{
    (void)state;
    start_all();
    mark(0, 1);
    mark(511 * PAGE, PAGE);
    mark(513 * PAGE, PAGE);
    mark(2 * GIB - 1, 1);
    assert_int_equal(report_count(0, 4 * GIB, 512 * PAGE), 3);
    assert_true(reported(0) && reported(1) && reported(1023));
    assert_int_equal(report_count(0, 4 * GIB, PAGE << 4), 0);
    /* The range's own pages: the second begins at page 5, and the last is cut short. */
    mark(4 * PAGE, 1);
    mark(7 * PAGE, 1);
    assert_int_equal(report_count(PAGE, 7 * PAGE, 4 * PAGE), 2);
    mark(8 * PAGE, 1);
    assert_int_equal(report_count(PAGE, 7 * PAGE, 4 * PAGE), 0);
    assert_int_equal(report_count(8 * PAGE, PAGE, GIB), 1);
}

/* Writes outside the ranges are not logged, and take no memory. */
static void test_only_the_ranges(void **state)
{
    (void)state;
    assert_int_equal(start(LEAF, PAGE), 0);
    mark(0, LEAF);
    mark(LEAF + PAGE, LEAF);
    assert_int_equal(report_count(LEAF, PAGE, PAGE), 0);
    mark(LEAF - 1, PAGE * 3);
    assert_int_equal(report_count(LEAF, PAGE, PAGE), 1);
}

static void mark_held(void *opaque, struct range range)
{
    unsigned *calls = opaque;

    ++*calls;
    if (range_has(range, 10 * PAGE))
        mark(10 * PAGE, PAGE);
}

/* What may be written without notice is dirty from the start, and after each report again. */
static void test_held_pages(void **state)
{
    const struct dirty_log_range ranges[] = {{0, 64 * PAGE}, {GIB, PAGE}};
    unsigned calls = 0;

    (void)state;
    dirty_log_on_report(&log_, mark_held, &calls);
    assert_int_equal(dirty_log_start(&log_, PAGE, ranges, 2), 0);
    assert_int_equal(calls, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(report_count(0, 64 * PAGE, PAGE), 1);
    assert_int_equal(report_count(0, 10 * PAGE, PAGE), 0);
    assert_int_equal(report_count(GIB, PAGE, PAGE), 0);
    assert_int_equal(calls, 7);
    dirty_log_on_report(&log_, NULL, NULL);
    assert_int_equal(report_count(0, 64 * PAGE, PAGE), 1);
    assert_int_equal(report_count(0, 64 * PAGE, PAGE), 0);
}

/* ------------------------------------------------------------------ memory */

/* A terabyte that nobody writes costs nothing; a page written costs a leaf and its nodes. */
static void test_memory(void **state)
{
    struct dirty_tree *tree = dirty_tree_new(1 << 20);
    const struct dirty_bits bits = {.words = words};
    size_t empty, one;

    (void)state;
    empty = dirty_tree_bytes(tree);
    assert_true(empty < 8192);
    dirty_tree_mark(tree, (struct range){5, 5});
    one = dirty_tree_bytes(tree) - empty;
    assert_true(one < 32768);
    dirty_tree_mark(tree, (struct range){6, 0xfff});
    assert_int_equal(dirty_tree_bytes(tree) - empty, one);
    /* Whole leaves, and whole slots of leaves, take none. */
    dirty_tree_mark(tree, (struct range){0, DIRTY_LAST_PAGE});
    assert_int_equal(dirty_tree_bytes(tree) - empty, one);
    dirty_tree_take(tree, (struct range){0, 4095}, &bits);
    for (size_t i = 0; i < 64; i++)
        assert_true(words[i] == UINT64_MAX);
    dirty_tree_free(tree);
}

/* A client that has pages written all over the place gets coarser answers, not more memory. */
static void test_memory_limit(void **state)
{
    struct dirty_tree *tree = dirty_tree_new(1 << 20);

    (void)state;
    for (uint64_t i = 0; i < 4096; i++) {
        dirty_tree_mark(tree, (struct range){i << 40 | i, i << 40 | i});
        assert_true(dirty_tree_bytes(tree) <= 1 << 20);
    }
    for (uint64_t i = 0; i < 4096; i++) {
        const struct dirty_bits bits = {.words = words, .first = i << 40 | i};

        words[0] = 0;
        dirty_tree_take(tree, (struct range){i << 40 | i, i << 40 | i}, &bits);
        assert_true(words[0] == 1);
        assert_true(dirty_tree_bytes(tree) <= 1 << 20);
    }
    dirty_tree_free(tree);
}

/* Without memory for a leaf all of it is dirty; a report of all of it is the end of that. */
static void test_no_memory_for_a_leaf(void **state)
{
    (void)state;
    log_.max_bytes = 0;
    assert_int_equal(start(0, 64 * LEAF), 0);
    mark(LEAF + 5 * PAGE, 1);
    assert_int_equal(report_count(LEAF + 5 * PAGE, PAGE, PAGE), 1);
    assert_int_equal(report_count(LEAF, 64 * PAGE, PAGE), 64);
    mark(LEAF + 5 * PAGE, 1);
    assert_int_equal(report_count(LEAF, 64 * PAGE, PAGE), 64);
    dirty_log_stop(&log_);
    /* Enough for the nodes, but no leaf. */
    log_.max_bytes = 4 * 4500;
    assert_int_equal(start(0, 64 * LEAF), 0);
    mark(LEAF + 5 * PAGE, 1);
    assert_int_equal(report_count(0, LEAF, PAGE), 0);
    assert_int_equal(report_count(LEAF, LEAF, PAGE), LEAF / PAGE);
    assert_int_equal(report_count(LEAF, LEAF, PAGE), 0);
    dirty_log_stop(&log_);
    /* And one leaf. */
    log_.max_bytes += LEAF_COST;
    assert_int_equal(start(0, 64 * LEAF), 0);
    mark(5 * PAGE, 1);
    mark(LEAF + 5 * PAGE, 1);
    assert_int_equal(report_count(0, LEAF, PAGE), 1);
    assert_int_equal(report_count(LEAF, LEAF, PAGE), LEAF / PAGE);
    assert_int_equal(report_count(LEAF, LEAF, PAGE), 0);
}

/* A part of what is wholly dirty is reported, and the rest another time. */
static void test_part_of_a_whole_leaf(void **state)
{
    (void)state;
    start_all();
    mark(0, 4 * LEAF);
    assert_int_equal(report_count(LEAF + PAGE, 64 * PAGE, PAGE), 64);
    assert_int_equal(report_count(LEAF + PAGE, 64 * PAGE, PAGE), 0);
    assert_int_equal(report_count(LEAF, LEAF, PAGE), LEAF / PAGE - 64);
    assert_int_equal(report_count(0, 4 * LEAF, PAGE), 3 * LEAF / PAGE);
}

static int mark_and_report(void *opaque)
{
    int ret = start(0, 64 * LEAF);

    (void)opaque;
    if (ret)
        return ret;
    mark(5 * PAGE, 1);
    mark(LEAF - 1, LEAF + 2);
    /* Each mark is there, however little memory there was. */
    assert_int_equal(report(LEAF, 64 * PAGE, PAGE), 0);
    assert_true(words[0] == UINT64_MAX);
    assert_int_equal(report(2 * LEAF - PAGE, 2 * PAGE, PAGE), 0);
    assert_true(words[0] == 3);
    assert_int_equal(report(0, 64 * PAGE, PAGE), 0);
    assert_true(reported(5));
    return 0;
}

static void stop(void *opaque)
{
    (void)opaque;
    dirty_log_stop(&log_);
}

/* Start fails as a whole; marks and reports never do. */
static void test_fail_nth(void **state)
{
    (void)state;
    assert_true(failnth_run(mark_and_report, stop, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_arguments),
        TEST(test_number_of_ranges),
        TEST(test_started_twice),
        TEST(test_report_arguments),
        TEST(test_bitmap_sizes),
        TEST(test_pages_of_a_write),
        TEST(test_ends_of_the_address_space),
        TEST(test_parts_of_a_word),
        TEST(test_coarse_pages),
        TEST(test_only_the_ranges),
        TEST(test_held_pages),
        TEST(test_memory),
        TEST(test_memory_limit),
        TEST(test_no_memory_for_a_leaf),
        TEST(test_part_of_a_whole_leaf),
        TEST(test_fail_nth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
