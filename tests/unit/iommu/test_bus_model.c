/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random allocations and releases, each compared with a naive model that keeps a byte for every
 * page: reserved, free, or taken.
 *
 * A run is many epochs. Each has a small space of its own, with random windows and at times at the
 * very end of the address space, which is filled, fragmented, and in the end given back whole.
 * Where an epoch has ranges and single pages, only the allocator knows which free pages are
 * chunks': there the model judges ranges by the statistics. UMDEV_TEST_SEED repeats a run,
 * UMDEV_TEST_STEPS makes it longer.
 */
#include "iommu/bus_space.h"

#include "random.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_STEPS 1000000
#define EPOCH_STEPS   1500
#define PAGE          PAGE_SIZE_4K
#define MAX_PAGES     1600
#define MAX_WINDOWS   6

enum page_state { RESERVED, FREE, TAKEN };

struct model {
    uint64_t random;
    struct bus_space *space;
    uint64_t base;
    size_t num_pages;
    uint8_t page[MAX_PAGES];
    bool has_ranges, has_pages;
    size_t max_pages; /* of an allocation */
    struct bus_range *ranges[MAX_PAGES];
    size_t num_ranges;
    uint32_t singles[MAX_PAGES];
    size_t num_singles;
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return random_next(&m->random) % limit;
}

/* The free pages from `at` on. */
static size_t hole_at(const struct model *m, size_t at)
{
    size_t end = at;

    while (end < m->num_pages && m->page[end] == FREE)
        end++;
    return end - at;
}

struct holes {
    size_t pages, largest, count;
    size_t best_at, best; /* the smallest of at least `wanted` pages; best 0: none */
    bool fits;            /* an aligned place exists */
};

static struct holes survey(const struct model *m, size_t wanted, size_t align)
{
    struct holes holes = {0};
    size_t size;

    for (size_t at = 0; at < m->num_pages; at += size + 1) {
        size_t aligned = at;

        size = hole_at(m, at);
        if (size == 0)
            continue;
        holes.pages += size;
        holes.count++;
        holes.largest = MAX(holes.largest, size);
        if (size >= wanted && (holes.best == 0 || size < holes.best)) {
            holes.best = size;
            holes.best_at = at;
        }
        while (aligned < at + size && (m->base / PAGE + aligned) % align != 0)
            aligned++;
        holes.fits |= aligned + wanted <= at + size;
    }
    return holes;
}

static void check_stats(const struct model *m)
{
    struct holes holes = survey(m, 1, 1);
    struct bus_space_stats stats;

    bus_space_get_stats(m->space, &stats);
    assert_int_equal(stats.free_pages + stats.chunk_pages, holes.pages);
    assert_true(stats.largest_pages <= holes.largest);
    if (m->num_singles > 0)
        return;
    assert_int_equal(stats.chunk_pages, 0);
    assert_int_equal(stats.largest_pages, holes.largest);
    assert_int_equal(stats.free_ranges, holes.count);
}

static void mark(struct model *m, uint64_t address, size_t pages, enum page_state from,
                 enum page_state to)
{
    size_t at = (address - m->base) / PAGE;

    assert_true(address >= m->base && at + pages <= m->num_pages);
    for (size_t i = at; i < at + pages; i++) {
        assert_int_equal(m->page[i], from);
        m->page[i] = (uint8_t)to;
    }
}

/* ------------------------------------------------------------------ steps */

static void step_alloc(struct model *m)
{
    size_t pages = 1 + below(m, below(m, 8) ? m->max_pages : 2 * m->num_pages);
    size_t align = below(m, 2) ? 1 : (size_t)1 << below(m, 8);
    struct holes holes = survey(m, pages, align);
    struct bus_range *range = NULL;
    struct bus_space_stats stats;
    int ret;

    if (m->num_ranges == MAX_PAGES)
        return;
    bus_space_get_stats(m->space, &stats);
    ret = bus_space_alloc(m->space, pages * PAGE, align * PAGE, &range);
    if (m->num_singles == 0)
        assert_int_equal(ret, holes.fits ? 0 : -ENOSPC);
    else if (align == 1)
        assert_int_equal(ret, stats.largest_pages >= pages ? 0 : -ENOSPC);
    else
        assert_true(ret == 0 || ret == -ENOSPC);
    if (ret)
        return;
    assert_true(is_aligned(range->range.first, align * PAGE));
    assert_int_equal(range_size_minus_1(range->range), pages * PAGE - 1);
    if (align == 1 && m->num_singles == 0)
        assert_int_equal(range->range.first, m->base + holes.best_at * PAGE);
    mark(m, range->range.first, pages, FREE, TAKEN);
    m->ranges[m->num_ranges++] = range;
}

static void step_release(struct model *m)
{
    size_t i;
    struct bus_range *range;

    if (m->num_ranges == 0)
        return;
    i = below(m, m->num_ranges);
    range = m->ranges[i];
    m->ranges[i] = m->ranges[--m->num_ranges];
    mark(m, range->range.first, range_size_minus_1(range->range) / PAGE + 1, TAKEN, FREE);
    bus_space_release(m->space, range);
}

static void step_alloc_pages(struct model *m)
{
    size_t count = below(m, below(m, 8) ? m->max_pages : 2 * m->num_pages);
    struct holes holes = survey(m, 1, 1);
    static uint32_t pages[2 * MAX_PAGES];
    int ret = bus_space_alloc_pages(m->space, count, pages);

    assert_int_equal(ret, count <= holes.pages ? 0 : -ENOSPC);
    if (ret)
        return;
    for (size_t i = 0; i < count; i++) {
        mark(m, bus_space_page_address(m->space, pages[i]), 1, FREE, TAKEN);
        m->singles[m->num_singles++] = pages[i];
    }
}

static void step_release_pages(struct model *m)
{
    size_t count = below(m, MIN(m->num_singles, 2 * m->max_pages) + 1);

    for (size_t i = 0; i < count; i++) {
        size_t from = m->num_singles - count + i;
        size_t pick = below(m, from + 1);
        uint32_t page = m->singles[pick];

        /* Half of them in the order in which they came. */
        if (count % 2) {
            m->singles[pick] = m->singles[from];
            m->singles[from] = page;
        }
    }
    m->num_singles -= count;
    for (size_t i = 0; i < count; i++)
        mark(m, bus_space_page_address(m->space, m->singles[m->num_singles + i]), 1, TAKEN, FREE);
    bus_space_release_pages(m->space, count, m->singles + m->num_singles);
}

/* ------------------------------------------------------------------ epochs */

static void epoch_begin(struct model *m)
{
    struct range windows[MAX_WINDOWS];
    struct bus_space_config config = {.reserved = windows, .nreserved = below(m, MAX_WINDOWS)};
    uint64_t kind = below(m, 3);
    uint64_t top;

    m->num_pages = 1 + below(m, below(m, 2) ? 100 : MAX_PAGES);
    m->base = kind == 0   ? 0
              : kind == 1 ? -(m->num_pages * PAGE)
                          : below(m, UINT64_C(1) << 40) * PAGE;
    top = m->base + (m->num_pages * PAGE - 1);
    config.aperture = (struct range){m->base, top};
    memset(m->page, FREE, sizeof(m->page));
    for (size_t i = 0; i < config.nreserved; i++) {
        uint64_t first = m->base + below(m, m->num_pages * PAGE);
        uint64_t size = 1 + below(m, 10 * PAGE);

        if (below(m, 4) == 0)
            first = below(m, 2) ? m->base : top - PAGE + 1;
        windows[i].first = first;
        if (ADD_OVERFLOW(first, size - 1, &windows[i].last))
            windows[i].last = UINT64_MAX;
        for (size_t k = 0; k < m->num_pages; k++) {
            struct range page = {m->base + k * PAGE, m->base + k * PAGE + (PAGE - 1)};

            if (range_overlaps(page, windows[i]))
                m->page[k] = RESERVED;
        }
    }
    if (survey(m, 1, 1).pages == 0) {
        assert_int_equal(bus_space_new(&config, &m->space, NULL), -EINVAL);
        config.nreserved = 0;
        memset(m->page, FREE, sizeof(m->page));
    }
    assert_int_equal(bus_space_new(&config, &m->space, NULL), 0);
    kind = below(m, 3);
    m->has_ranges = kind != 0;
    m->has_pages = kind != 1;
    m->max_pages = 1 + below(m, below(m, 2) ? 6 : m->num_pages / 4 + 1);
}

static void epoch_end(struct model *m)
{
    while (m->num_ranges > 0)
        step_release(m);
    bus_space_release_pages(m->space, m->num_singles, m->singles);
    for (size_t i = 0; i < m->num_pages; i++) {
        if (m->page[i] == TAKEN)
            m->page[i] = FREE;
    }
    m->num_singles = 0;
    check_stats(m);
    bus_space_free(m->space);
}

/* Phases in which more is taken than given back, and the other way round. */
static void step(struct model *m, bool filling)
{
    bool takes = below(m, 100) < (filling ? 65 : 35);

    if (m->has_ranges && (!m->has_pages || below(m, 2)))
        (takes ? step_alloc : step_release)(m);
    else
        (takes ? step_alloc_pages : step_release_pages)(m);
    check_stats(m);
}

static void test_against_the_model(void **state)
{
    static struct model m;
    uint64_t steps = random_steps(DEFAULT_STEPS);

    (void)state;
    m.random = random_seed();
    for (uint64_t done = 0; done < steps; done += EPOCH_STEPS) {
        epoch_begin(&m);
        for (uint64_t i = 0; i < EPOCH_STEPS; i++)
            step(&m, i / 250 % 3 != 2);
        epoch_end(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
