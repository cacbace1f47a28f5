/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random pins and unpins, each compared with an array that has every page: of the library's pin
 * table, and of those that the benchmarks compare it with.
 *
 * A run is made of rounds, each with a new table of another size. What is pinned lies in windows of
 * the mapping: at its ends and over the borders of blocks and nodes. Times of pinning and of
 * unpinning alternate, so that everything converts both ways. Now and then an allocation fails.
 * UMDEV_TEST_SEED repeats a run, UMDEV_TEST_STEPS makes it longer.
 */
#include "failnth.h"
#include "pin_tracker.h"
#include "random.h"
#include "unit.h"

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STEPS 1000000
#define OTHERS_STEPS  (DEFAULT_STEPS / 4) /* of the trackers that the library does not use */
#define ROUND_STEPS   20000
#define TIDE_STEPS    3000
#define WINDOW        1600
#define MAX_WINDOWS   4

struct model {
    const struct pin_tracker *tracker;
    uint64_t random;
    void *table;
    bool with_bus;
    uint64_t largest, npages, idle_bytes;
    size_t num_windows, window; /* pages of each */
    uint64_t base[MAX_WINDOWS]; /* in order */
    struct pin_page pages[MAX_WINDOWS][WINDOW];
    uint64_t pinned;
};

/* One call's pages. */
struct span {
    uint64_t first;
    size_t count;
    struct pin_page *pages;
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return random_next(&m->random) % limit;
}

static struct span random_span(struct model *m)
{
    static const size_t most[] = {1, 1, 1, 1, 8, 8, 70, PIN_MAX_PAGES};
    size_t window = below(m, m->num_windows);
    size_t at = below(m, m->window);
    size_t count = 1 + below(m, most[below(m, ARRAY_SIZE(most))]);

    if (below(m, 50) == 0)
        count = PIN_MAX_PAGES;
    return (struct span){m->base[window] + at, MIN(count, m->window - at), &m->pages[window][at]};
}

static bool bit(const uint64_t *map, size_t at)
{
    return map[at / 64] >> (at % 64) & 1;
}

static void assert_no_more_bits(const uint64_t *map, size_t from)
{
    for (size_t i = from; i < PIN_MAX_PAGES; i++)
        assert_false(bit(map, i));
}

static size_t count_new(const struct span *span)
{
    size_t fresh = 0;

    for (size_t i = 0; i < span->count; i++)
        fresh += span->pages[i].count == 0;
    return fresh;
}

static void step_pin(struct model *m, const struct span *span)
{
    bool write = below(m, 3) == 0, over = false, failed;
    uint64_t fresh[PIN_WORDS];
    uint32_t bus[PIN_MAX_PAGES];
    size_t taken = 0;
    int ret;

    assert_int_equal(m->tracker->count_new(m->table, span->first, span->count), count_new(span));
    for (size_t i = 0; i < span->count; i++) {
        bus[i] = (uint32_t)below(m, UINT64_C(1) << 32);
        over |= span->pages[i].count == m->tracker->max_count;
    }
    if (below(m, 8) == 0)
        failnth_arm(1 + (unsigned)below(m, 6));
    ret =
        m->tracker->pin(m->table, span->first, span->count, write, m->with_bus ? bus : NULL, fresh);
    failed = failnth_disarm();
    if (failed && ret == -ENOMEM)
        return;
    assert_int_equal(ret, over ? -EOVERFLOW : 0);
    if (ret)
        return;
    for (size_t i = 0; i < span->count; i++) {
        struct pin_page *page = &span->pages[i];

        assert_int_equal(bit(fresh, i), page->count == 0);
        if (page->count == 0)
            *page = (struct pin_page){0, false, m->with_bus ? bus[taken++] : 0};
        m->pinned += page->count == 0;
        page->count++;
        page->write |= write;
    }
    assert_no_more_bits(fresh, span->count);
}

static void step_unpin(struct model *m, const struct span *span)
{
    uint64_t freed[PIN_WORDS], written[PIN_WORDS];
    uint32_t bus[PIN_MAX_PAGES];
    size_t missing = count_new(span), found, given = 0;
    bool wanted = m->with_bus && below(m, 8) > 0;

    if (below(m, 8) == 0)
        failnth_arm(1 + (unsigned)below(m, 3));
    found =
        m->tracker->unpin(m->table, span->first, span->count, freed, wanted ? bus : NULL, written);
    failnth_disarm();
    assert_int_equal(found, missing);
    for (size_t i = 0; i < span->count; i++) {
        struct pin_page *page = &span->pages[i];

        assert_int_equal(bit(freed, i), page->count == 1);
        assert_int_equal(bit(written, i), page->count == 1 && page->write);
        if (page->count == 1 && wanted)
            assert_int_equal(bus[given++], page->bus);
        m->pinned -= page->count == 1;
        if (page->count > 0)
            page->count--;
        if (page->count == 0)
            *page = (struct pin_page){0};
    }
    assert_no_more_bits(freed, span->count);
    assert_no_more_bits(written, span->count);
}

static void step_look(struct model *m, const struct span *span)
{
    uint32_t bus[PIN_MAX_PAGES];
    struct pin_page page;
    size_t given = 0, found;

    assert_int_equal(m->tracker->get(m->table, span->first, &page), span->pages[0].count > 0);
    if (span->pages[0].count > 0) {
        assert_int_equal(page.count, span->pages[0].count);
        assert_int_equal(page.write, span->pages[0].write);
        assert_int_equal(page.bus, span->pages[0].bus);
    }
    if (!m->with_bus)
        return;
    found = m->tracker->get_bus(m->table, span->first, span->count, bus);
    assert_int_equal(found, span->count - count_new(span));
    for (size_t i = 0; i < span->count; i++)
        if (span->pages[i].count > 0)
            assert_int_equal(bus[given++], span->pages[i].bus);
}

/* Often enough that a byte does not hold the count, then back. */
static void step_often(struct model *m)
{
    struct span span = random_span(m);
    size_t times = 100 + below(m, 300);

    span.count = MIN(span.count, 3);
    for (size_t i = 0; i < times; i++)
        step_pin(m, &span);
    step_look(m, &span);
    for (size_t i = 0; i < times; i++)
        step_unpin(m, &span);
}

/* Every page, by iteration, from anywhere. */
static void check_all(struct model *m)
{
    uint64_t from = below(m, 2) ? 0 : m->base[below(m, m->num_windows)];
    struct pin_run run = {0};
    bool more = m->tracker->next(m->table, from, &run);

    assert_int_equal(m->tracker->pinned(m->table), m->pinned);
    for (size_t w = 0; w < m->num_windows; w++) {
        for (size_t i = 0; i < m->window; i++) {
            uint64_t page = m->base[w] + i;

            if (page < from || m->pages[w][i].count == 0)
                continue;
            while (more && page - run.first >= run.count) {
                uint64_t end = run.first + run.count;

                more = m->tracker->next(m->table, end, &run);
                assert_true(!more || (run.first >= end && run.count > 0));
                assert_true(!more || run.first == page);
            }
            assert_true(more && run.count <= PIN_MAX_PAGES);
            assert_true(page >= run.first);
            assert_int_equal(run.write, m->pages[w][i].write);
        }
    }
    if (more)
        assert_false(m->tracker->next(m->table, run.first + run.count, &run));
    assert_false(m->tracker->next(m->table, m->npages, &run));
}

static void add_window(struct model *m, uint64_t base)
{
    if (m->num_windows > 0 && base < m->base[m->num_windows - 1] + m->window)
        return;
    if (base + m->window > m->npages)
        return;
    m->base[m->num_windows++] = base;
}

static void round_begin(struct model *m)
{
    static const uint64_t sizes[] = {1,       100,     512,     513,          1600,
                                     4096,    40000,   65536,   1 << 17,      1 << 20,
                                     1 << 22, 1 << 23, 1 << 28, PIN_TABLE_MAX};
    const uint64_t border = 1 << 16;

    m->npages = sizes[below(m, ARRAY_SIZE(sizes))];
    m->npages = MIN(m->npages, m->largest);
    m->with_bus = below(m, 3) > 0;
    m->window = MIN(WINDOW, m->npages);
    m->num_windows = 0;
    m->pinned = 0;
    memset(m->pages, 0, sizeof(m->pages));
    add_window(m, 0);
    add_window(m, border - m->window / 2);
    add_window(m, m->npages / 2 - m->window / 2);
    add_window(m, m->npages - m->window);
    assert_int_equal(m->tracker->create(m->npages, m->with_bus, &m->table), 0);
    m->idle_bytes = m->tracker->bytes(m->table);
}

/* Sometimes with all unpinned before, sometimes with what there is. */
static void round_end(struct model *m)
{
    check_all(m);
    for (size_t w = 0; w < m->num_windows && m->random % 2; w++)
        for (size_t i = 0; i < m->window; i++)
            while (m->pages[w][i].count > 0)
                step_unpin(m, &(struct span){m->base[w] + i, 1, &m->pages[w][i]});
    if (m->pinned == 0 && m->tracker == &pin_hybrid_tracker)
        assert_int_equal(m->tracker->bytes(m->table), m->idle_bytes);
    check_all(m);
    m->tracker->destroy(m->table);
}

static void run_round(struct model *m)
{
    round_begin(m);
    for (unsigned i = 0; i < ROUND_STEPS; i++) {
        struct span span = random_span(m);
        unsigned pins = (i / TIDE_STEPS) % 2 ? 30 : 60;
        uint64_t choice = below(m, 100);

        if (choice < pins)
            step_pin(m, &span);
        else if (choice < 90)
            step_unpin(m, &span);
        else
            step_look(m, &span);
        if (below(m, 5000) == 0)
            step_often(m);
        if (below(m, 500) == 0)
            check_all(m);
    }
    round_end(m);
}

/* `largest`: of all sizes of mappings, so that those who look at every page do not take for ever.
 */
static void run_model(const struct pin_tracker *tracker, uint64_t largest, uint64_t steps)
{
    static struct model m;

    m = (struct model){.tracker = tracker, .largest = largest, .random = random_seed()};
    steps = random_steps(steps);
    for (uint64_t i = 0; i < steps; i += ROUND_STEPS)
        run_round(&m);
}

static void test_hybrid(void **state)
{
    (void)state;
    run_model(&pin_hybrid_tracker, PIN_TABLE_MAX, DEFAULT_STEPS);
}

static void test_flat(void **state)
{
    (void)state;
    run_model(&pin_flat_tracker, 1 << 22, OTHERS_STEPS);
}

static void test_rbtree(void **state)
{
    (void)state;
    run_model(&pin_rbtree_tracker, PIN_TABLE_MAX, OTHERS_STEPS);
}

static void test_twolevel(void **state)
{
    (void)state;
    run_model(&pin_twolevel_tracker, 1 << 28, OTHERS_STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_rbtree),
        cmocka_unit_test(test_twolevel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
