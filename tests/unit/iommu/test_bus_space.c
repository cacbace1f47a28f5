/* SPDX-License-Identifier: BSD-3-Clause */
/* Bus address spaces: their edges, the fit, single pages, memory that runs out. */
#include "bus_fixture.h"

#include "failnth.h"
#include "leaks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOP   UINT64_MAX
#define MSI   ((struct range){0xfee00000, 0xfeefffff})
#define TIB   (UINT64_C(1) << 40)
#define CHUNK 512u

static void assert_chunk_pages(struct bus_space *space, uint64_t pages)
{
    struct bus_space_stats stats;

    bus_space_get_stats(space, &stats);
    assert_int_equal(stats.chunk_pages, pages);
}

static struct bus_range *alloc(struct bus_space *space, uint64_t pages, uint64_t align_pages)
{
    struct bus_range *range = NULL;

    assert_int_equal(bus_space_alloc(space, pages * PAGE, align_pages * PAGE, &range), 0);
    assert_int_equal(range_size_minus_1(range->range), pages * PAGE - 1);
    assert_true(is_aligned(range->range.first, align_pages * PAGE));
    return range;
}

static void assert_no_fit(struct bus_space *space, uint64_t pages, uint64_t align_pages)
{
    struct bus_range *range = NULL;

    assert_int_equal(bus_space_alloc(space, pages * PAGE, align_pages * PAGE, &range), -ENOSPC);
}

/* ------------------------------------------------------------------ apertures, windows */

static void assert_refused(struct range aperture, const struct range *reserved, size_t n,
                           const char *words)
{
    const struct bus_space_config config = {aperture, reserved, n};
    struct bus_space *space = NULL;
    struct umdev_error error = {""};

    assert_int_equal(bus_space_new(&config, &space, &error), -EINVAL);
    assert_non_null(strstr(error.message, words));
    assert_int_equal(bus_space_new(&config, &space, NULL), -EINVAL);
    assert_null(space);
}

static void test_bad_spaces_are_refused(void **state)
{
    const struct range all[] = {{0x3000, 0x4fff}, {0, 0x2fff}, {0x5000, TOP}};
    const struct range backwards = {2, 1};

    (void)state;
    assert_refused((struct range){1, 0xfff}, NULL, 0, "whole pages");
    assert_refused((struct range){0, 0xffe}, NULL, 0, "whole pages");
    assert_refused((struct range){0, 0x1000}, NULL, 0, "whole pages");
    assert_refused((struct range){0x2000, 0xfff}, NULL, 0, "whole pages");
    assert_refused((struct range){0, TOP - 1}, NULL, 0, "whole pages");
    assert_refused((struct range){0, TOP}, &backwards, 1, "ends before it begins");
    assert_refused((struct range){0, TOP}, all, 3, "leave nothing");
    assert_refused((struct range){0x1000, 0x1fff}, &(struct range){0x1fff, 0x1fff}, 1,
                   "leave nothing");
}

static void test_bad_arguments_are_refused(void **state)
{
    struct bus_space *space = space_new(SPACE(16), NULL, 0);
    struct bus_range *range = NULL;

    (void)state;
    assert_int_equal(bus_space_alloc(space, 0, PAGE, &range), -EINVAL);
    assert_int_equal(bus_space_alloc(space, PAGE - 1, PAGE, &range), -EINVAL);
    assert_int_equal(bus_space_alloc(space, PAGE + 1, PAGE, &range), -EINVAL);
    assert_int_equal(bus_space_alloc(space, PAGE, 0, &range), -EINVAL);
    assert_int_equal(bus_space_alloc(space, PAGE, 2048, &range), -EINVAL);
    assert_int_equal(bus_space_alloc(space, PAGE, 3 * PAGE, &range), -EINVAL);
    assert_null(range);
    assert_int_equal(bus_space_alloc_pages(space, 0, NULL), 0);
    bus_space_release_pages(space, 0, NULL);
    assert_stats(space, 16, 16, 1);
    bus_space_free(space);
    bus_space_free(NULL);
}

static void test_the_whole_address_space(void **state)
{
    const uint64_t all = UINT64_C(1) << 52;
    struct bus_space *space = space_new((struct range){0, TOP}, NULL, 0);
    struct bus_range *low, *high;
    uint32_t page;

    (void)state;
    assert_stats(space, all, all, 1);
    low = alloc(space, all / 2, all / 2);
    high = alloc(space, all / 2, all / 2);
    assert_int_equal(low->range.first, 0);
    assert_int_equal(high->range.last, TOP);
    assert_no_fit(space, 1, 1);
    assert_int_equal(bus_space_alloc_pages(space, 1, &page), -ENOSPC);
    assert_stats(space, 0, 0, 0);
    bus_space_release(space, low);
    bus_space_release(space, high);
    assert_stats(space, all, all, 1);
    low = alloc(space, all - 1, 1);
    high = alloc(space, 1, 1);
    assert_int_equal(high->range.first, TOP - PAGE + 1);
    bus_space_release(space, high);
    assert_no_fit(space, 1, 2);
    bus_space_release(space, low);
    assert_stats(space, all, all, 1);
    bus_space_free(space);
}

static void test_the_last_page_alone(void **state)
{
    struct bus_space *space = space_new((struct range){TOP - PAGE + 1, TOP}, NULL, 0);
    struct bus_range *range = alloc(space, 1, 1);
    uint32_t page = 1;

    (void)state;
    assert_int_equal(range->range.last, TOP);
    assert_int_equal(bus_space_alloc_pages(space, 1, &page), -ENOSPC);
    bus_space_release(space, range);
    assert_int_equal(bus_space_alloc_pages(space, 1, &page), 0);
    assert_int_equal(page, 0);
    assert_int_equal(bus_space_page_address(space, page), TOP - PAGE + 1);
    assert_no_fit(space, 1, 1);
    bus_space_release_pages(space, 1, &page);
    assert_no_fit(space, 2, 1);
    assert_no_fit(space, 1, 2);
    bus_space_free(space);
}

static void test_reserved_windows(void **state)
{
    const struct range windows[] = {
        {0x9000, 0x9000},                     /* a byte: its page */
        MSI,                                  /* in the middle */
        {0xfeef0000, 0xfef00fff},             /* overlaps it, one page more */
        {0, 0xfff},                           /* before the aperture */
        {0x1000, 0x1fff},                     /* its first page */
        {0xfee00000, 0xfee00fff},             /* inside another */
        {UINT64_C(0x1fffffff0), 0x200000000}, /* its last page, and beyond */
        {UINT64_C(0x300000000), TOP},         /* after it */
        {UINT64_C(0x1ffffe000), 0x1ffffefff}, /* touches the next */
    };
    const struct range expected[] = {
        {0x2000, 0x8fff}, {0xa000, 0xfedfffff}, {0xfef01000, UINT64_C(0x1ffffdfff)}};
    struct bus_space *space =
        space_new((struct range){0x1000, UINT64_C(0x1ffffffff)}, windows, ARRAY_SIZE(windows));
    struct bus_range *ranges[ARRAY_SIZE(expected)];
    uint64_t pages = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        uint64_t size = range_size_minus_1(expected[i]) / PAGE + 1;

        pages += size;
        ranges[i] = alloc(space, size, 1);
        assert_int_equal(ranges[i]->range.first, expected[i].first);
        assert_int_equal(ranges[i]->range.last, expected[i].last);
    }
    assert_stats(space, 0, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        bus_space_release(space, ranges[i]);
    assert_stats(space, pages, range_size_minus_1(expected[2]) / PAGE + 1, 3);
    bus_space_free(space);
}

static void test_windows_at_the_very_edges(void **state)
{
    const struct range windows[] = {{TOP, TOP}, {0, 0}};
    struct bus_space *space = space_new((struct range){0, TOP}, windows, 2);
    struct bus_range *range = alloc(space, (UINT64_C(1) << 52) - 2, 1);

    (void)state;
    assert_int_equal(range->range.first, PAGE);
    assert_int_equal(range->range.last, TOP - PAGE);
    bus_space_release(space, range);
    bus_space_free(space);
}

/* ------------------------------------------------------------------ the fit */

/* Take all of SPACE(n) page by page. */
static void take_all(struct bus_space *space, struct bus_range **ranges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ranges[i] = alloc(space, 1, 1);
        assert_int_equal(ranges[i]->range.first, BASE + i * PAGE);
    }
}

static void give(struct bus_space *space, struct bus_range **ranges, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        bus_space_release(space, ranges[i]);
        ranges[i] = NULL;
    }
}

static void test_the_smallest_hole_is_taken(void **state)
{
    struct bus_range *ranges[64], *range;
    struct bus_space *space = space_new(SPACE(64), NULL, 0);

    (void)state;
    take_all(space, ranges, 64);
    give(space, ranges, 3, 9);
    give(space, ranges, 20, 4);
    give(space, ranges, 40, 4);
    assert_stats(space, 17, 9, 3);
    range = alloc(space, 3, 1);
    assert_int_equal(range->range.first, BASE + 20 * PAGE);
    bus_space_release(space, range);
    range = alloc(space, 5, 1);
    assert_int_equal(range->range.first, BASE + 3 * PAGE);
    bus_space_release(space, range);
    assert_no_fit(space, 10, 1);
    assert_stats(space, 17, 9, 3);
    bus_space_free(space);
}

/* The holes that are large enough lie badly, more of them than are tried in a row. */
static void test_an_aligned_place_is_found(void **state)
{
    enum { PAGES = 1024, STRIDE = 8 };
    struct bus_range *ranges[PAGES], *range;
    struct bus_space *space = space_new(SPACE(PAGES), NULL, 0);
    size_t odd = 0;

    (void)state;
    take_all(space, ranges, PAGES);
    for (size_t i = 1; i + STRIDE < PAGES; i += STRIDE) {
        give(space, ranges, i, 4);
        odd++;
    }
    assert_true(odd > 100);
    assert_no_fit(space, 4, 4);
    /* The same size, and the last in order of address. */
    give(space, ranges, PAGES - 4, 4);
    assert_stats(space, (odd + 1) * 4, 4, odd + 1);
    range = alloc(space, 4, 4);
    assert_int_equal(range->range.first, BASE + (PAGES - 4) * PAGE);
    bus_space_release(space, range);
    /* One that is large enough wherever it lies. */
    give(space, ranges, 501, 4);
    assert_stats(space, (odd + 2) * 4, 12, odd);
    range = alloc(space, 4, 4);
    assert_int_equal(range->range.first, BASE + 500 * PAGE);
    bus_space_release(space, range);
    bus_space_free(space);
}

static void test_alignment_is_of_the_address(void **state)
{
    struct range aperture = {0x7000, 0x7000 + 64 * PAGE - 1};
    struct bus_space *space = space_new(aperture, NULL, 0);
    struct bus_range *range = alloc(space, 16, 16);

    (void)state;
    assert_int_equal(range->range.first, 0x10000);
    assert_stats(space, 48, 64 - 9 - 16, 2);
    bus_space_release(space, range);
    assert_stats(space, 64, 64, 1);
    assert_no_fit(space, 64, 2);
    bus_space_free(space);
}

/* ------------------------------------------------------------------ single pages */

static void assert_all_different(const uint32_t *pages, size_t count, size_t limit)
{
    bool *seen = calloc(limit, sizeof(*seen));

    assert_non_null(seen);
    for (size_t i = 0; i < count; i++) {
        assert_true(pages[i] < limit && !seen[pages[i]]);
        seen[pages[i]] = true;
    }
    free(seen);
}

static void test_pages_to_the_last(void **state)
{
    enum { PAGES = 3 * CHUNK + 77 };
    static uint32_t pages[PAGES + 1];
    struct bus_space *space = space_new(SPACE(PAGES), NULL, 0);

    (void)state;
    assert_int_equal(bus_space_alloc_pages(space, PAGES + 1, pages), -ENOSPC);
    assert_stats(space, PAGES, PAGES, 1);
    assert_int_equal(bus_space_alloc_pages(space, PAGES, pages), 0);
    assert_all_different(pages, PAGES, PAGES);
    assert_stats(space, 0, 0, 0);
    assert_chunk_pages(space, 0);
    assert_int_equal(bus_space_page_address(space, 5), BASE + 5 * PAGE);
    for (size_t i = 0; i < 100; i++) {
        uint32_t page, two[2], *released = &pages[(i * 61) % PAGES];

        bus_space_release_pages(space, 1, released);
        assert_chunk_pages(space, 1);
        assert_int_equal(bus_space_alloc_pages(space, 2, two), -ENOSPC);
        assert_int_equal(bus_space_alloc_pages(space, 1, &page), 0);
        assert_int_equal(page, *released);
    }
    bus_space_release_pages(space, PAGES, pages);
    assert_stats(space, PAGES, PAGES, 1);
    assert_chunk_pages(space, 0);
    bus_space_free(space);
}

/* No hole has 512 pages: smaller ones do, the largest first, down to single pages. */
static void test_pages_of_a_fragmented_space(void **state)
{
    enum { PAGES = 64 };
    struct bus_range *ranges[PAGES];
    uint32_t pages[PAGES];
    struct bus_space *space = space_new(SPACE(PAGES), NULL, 0);

    (void)state;
    take_all(space, ranges, PAGES);
    give(space, ranges, 7, 1);
    give(space, ranges, 30, 5);
    give(space, ranges, 63, 1);
    assert_int_equal(bus_space_alloc_pages(space, 8, pages), -ENOSPC);
    assert_stats(space, 7, 5, 3);
    assert_int_equal(bus_space_alloc_pages(space, 1, pages), 0);
    assert_int_equal(pages[0], 30);
    assert_chunk_pages(space, 4);
    assert_int_equal(bus_space_alloc_pages(space, 6, pages + 1), 0);
    assert_all_different(pages, 7, PAGES);
    bus_space_release_pages(space, 7, pages);
    assert_stats(space, 7, 5, 3);
    bus_space_free(space);
}

/* What a chunk has free is no range's; with its last page it goes back. */
static void test_chunks_come_and_go(void **state)
{
    enum { PAGES = 2 * CHUNK };
    uint32_t pages[CHUNK + 1];
    struct bus_range *range;
    struct bus_space *space = space_new(SPACE(PAGES), NULL, 0);

    (void)state;
    assert_int_equal(bus_space_alloc_pages(space, CHUNK + 1, pages), 0);
    assert_stats(space, 0, 0, 0);
    assert_chunk_pages(space, CHUNK - 1);
    assert_no_fit(space, 1, 1);
    bus_space_release_pages(space, CHUNK - 1, pages + 1);
    assert_chunk_pages(space, PAGES - 2);
    /* Of the two chunks, the one that was full is used: the other can be emptied. */
    assert_int_equal(bus_space_alloc_pages(space, 1, pages + 1), 0);
    assert_true(pages[1] < CHUNK);
    bus_space_release_pages(space, 1, pages + CHUNK);
    assert_stats(space, CHUNK, CHUNK, 1);
    range = alloc(space, CHUNK, 1);
    bus_space_release_pages(space, 2, pages);
    bus_space_release(space, range);
    assert_stats(space, PAGES, PAGES, 1);
    bus_space_free(space);
}

/* The space goes with all that is still out. */
static void test_free_takes_all(void **state)
{
    uint32_t pages[CHUNK + 1];
    struct bus_space *space;

    (void)state;
    leaks_begin();
    space = space_new(SPACE(4 * CHUNK), NULL, 0);
    assert_int_equal(bus_space_alloc_pages(space, CHUNK + 1, pages), 0);
    alloc(space, 3, 2);
    bus_space_free(space);
    assert_int_equal(leaks_end("free"), 0);
}

/* Page numbers end at 16 TiB from the aperture's first page; ranges do not. */
static void test_pages_beyond_their_numbers(void **state)
{
    const struct range below = {0, BASE + 16 * TIB - 3 * PAGE - 1};
    const struct range aperture = {BASE, BASE + 64 * TIB - 1};
    const uint64_t all = 48 * TIB / PAGE + 3;
    struct bus_space *space = space_new(aperture, &below, 1);
    struct bus_range *range;
    uint32_t pages[4];

    (void)state;
    assert_stats(space, all, all, 1);
    assert_int_equal(bus_space_alloc_pages(space, 4, pages), -ENOSPC);
    assert_stats(space, all, all, 1);
    assert_int_equal(bus_space_alloc_pages(space, 3, pages), 0);
    assert_int_equal(pages[2], UINT32_MAX);
    assert_int_equal(bus_space_page_address(space, pages[2]), BASE + 16 * TIB - PAGE);
    range = alloc(space, 48 * TIB / PAGE, 1);
    assert_int_equal(range->range.first, BASE + 16 * TIB);
    bus_space_release_pages(space, 3, pages);
    assert_stats(space, 3, 3, 1);
    bus_space_release(space, range);
    assert_stats(space, all, all, 1);
    range = alloc(space, all, 1);
    bus_space_release(space, range);
    bus_space_free(space);
}

/* ------------------------------------------------------------------ memory that runs out */

struct use {
    struct bus_space *space;
    struct bus_range *ranges[2];
    uint32_t pages[2 * CHUNK];
};

static int use_new(void *opaque)
{
    const struct range windows[] = {MSI, {0, 0xfff}};
    const struct bus_space_config config = {{0, TOP}, windows, 2};
    struct use *use = opaque;

    return bus_space_new(&config, &use->space, NULL);
}

static void use_free(void *opaque)
{
    struct use *use = opaque;

    bus_space_free(use->space);
}

static void test_new_without_memory(void **state)
{
    struct use use;

    (void)state;
    /* The space, the windows in order, and two holes. */
    assert_int_equal(failnth_run(use_new, use_free, &use), 4);
}

static int use_ranges(void *opaque)
{
    struct use *use = opaque;
    int ret = bus_space_alloc(use->space, 4 * PAGE, 16 * PAGE, &use->ranges[0]);

    if (ret)
        return ret;
    ret = bus_space_alloc(use->space, 5 * PAGE, PAGE, &use->ranges[1]);
    if (ret)
        bus_space_release(use->space, use->ranges[0]);
    return ret;
}

static void undo_ranges(void *opaque)
{
    struct use *use = opaque;

    bus_space_release(use->space, use->ranges[0]);
    bus_space_release(use->space, use->ranges[1]);
    assert_stats(use->space, 64 + 2, 64 + 2, 1);
}

static void test_ranges_without_memory(void **state)
{
    struct use use = {.space = space_new((struct range){0x1000, 67 * PAGE - 1}, NULL, 0)};

    (void)state;
    /* A hole on either side of the first, then one after the second. */
    assert_int_equal(failnth_run(use_ranges, undo_ranges, &use), 3);
    assert_stats(use.space, 66, 66, 1);
    bus_space_free(use.space);
}

static int use_pages(void *opaque)
{
    struct use *use = opaque;

    return bus_space_alloc_pages(use->space, CHUNK + 1, use->pages);
}

static void undo_pages(void *opaque)
{
    struct use *use = opaque;

    bus_space_release_pages(use->space, CHUNK + 1, use->pages);
    assert_stats(use->space, 4 * CHUNK, 4 * CHUNK, 1);
}

static void test_pages_without_memory(void **state)
{
    struct use use = {.space = space_new(SPACE(4 * CHUNK), NULL, 0)};

    (void)state;
    /* Twice a chunk and the hole after it. */
    assert_int_equal(failnth_run(use_pages, undo_pages, &use), 4);
    assert_stats(use.space, 4 * CHUNK, 4 * CHUNK, 1);
    assert_chunk_pages(use.space, 0);
    bus_space_free(use.space);
}

/* Nothing is allocated by giving back: no call can fail there. */
static void test_release_takes_no_memory(void **state)
{
    struct use use = {.space = space_new(SPACE(4 * CHUNK), NULL, 0)};

    (void)state;
    assert_int_equal(use_ranges(&use), 0);
    assert_int_equal(use_pages(&use), 0);
    failnth_arm(1);
    bus_space_release(use.space, use.ranges[0]);
    bus_space_release_pages(use.space, CHUNK + 1, use.pages);
    bus_space_release(use.space, use.ranges[1]);
    assert_false(failnth_disarm());
    assert_stats(use.space, 4 * CHUNK, 4 * CHUNK, 1);
    bus_space_free(use.space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_spaces_are_refused),
        cmocka_unit_test(test_bad_arguments_are_refused),
        cmocka_unit_test(test_the_whole_address_space),
        cmocka_unit_test(test_the_last_page_alone),
        cmocka_unit_test(test_reserved_windows),
        cmocka_unit_test(test_windows_at_the_very_edges),
        cmocka_unit_test(test_the_smallest_hole_is_taken),
        cmocka_unit_test(test_an_aligned_place_is_found),
        cmocka_unit_test(test_alignment_is_of_the_address),
        cmocka_unit_test(test_pages_to_the_last),
        cmocka_unit_test(test_pages_of_a_fragmented_space),
        cmocka_unit_test(test_chunks_come_and_go),
        cmocka_unit_test(test_free_takes_all),
        cmocka_unit_test(test_pages_beyond_their_numbers),
        cmocka_unit_test(test_new_without_memory),
        cmocka_unit_test(test_ranges_without_memory),
        cmocka_unit_test(test_pages_without_memory),
        cmocka_unit_test(test_release_takes_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
