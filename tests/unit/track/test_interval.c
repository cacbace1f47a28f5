/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Overlapping ranges in order: random sets against a search of all.
 */
#include "track/interval.h"

#include "random.h"
#include "unit.h"

#include <stdlib.h>

#define NODES 200
#define STEPS 200000

struct model {
    struct interval nodes[NODES];
    bool in[NODES];
    struct interval *root;
    uint64_t random;
};

static unsigned pick(struct model *m, unsigned n)
{
    return random_below(&m->random, n);
}

static bool before(const struct interval *a, const struct interval *b)
{
    return a->range.first < b->range.first || (a->range.first == b->range.first && a < b);
}

/* The first overlapping one behind `after`. */
static struct interval *expected(struct model *m, const struct interval *after, struct range range)
{
    struct interval *best = NULL;

    for (unsigned i = 0; i < NODES; i++) {
        struct interval *node = &m->nodes[i];

        if (m->in[i] && range_overlaps(node->range, range) && (!after || before(after, node)) &&
            (!best || before(node, best)))
            best = node;
    }
    return best;
}

static void step_query(struct model *m)
{
    struct range range = {pick(m, 1000), 0};
    struct interval *node;

    range.last = range.first + pick(m, 50);
    node = interval_first(m->root, range);
    assert_ptr_equal(node, expected(m, NULL, range));
    for (unsigned i = 0; node && i < 4; i++) {
        struct interval *next = interval_next(m->root, node, range);

        assert_ptr_equal(next, expected(m, node, range));
        node = next;
    }
}

static void test_random(void **state)
{
    struct model *m = calloc(1, sizeof(*m));

    (void)state;
    assert_non_null(m);
    m->random = random_seed();
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = pick(m, NODES);

        if (m->in[i]) {
            interval_remove(&m->root, &m->nodes[i]);
        } else {
            uint64_t first = pick(m, 1000);

            m->nodes[i].range = (struct range){first, first + (pick(m, 8) ? pick(m, 10) : 300)};
            interval_insert(&m->root, &m->nodes[i]);
        }
        m->in[i] = !m->in[i];
        if (step % 16 == 0)
            step_query(m);
    }
    free(m);
}

static void test_last_address(void **state)
{
    struct interval a = {.range = {UINT64_MAX - 1, UINT64_MAX}}, b = {.range = {0, UINT64_MAX}};
    struct interval *root = NULL;
    struct range last = {UINT64_MAX, UINT64_MAX};

    (void)state;
    interval_insert(&root, &a);
    interval_insert(&root, &b);
    assert_ptr_equal(interval_first(root, last), &b);
    assert_ptr_equal(interval_next(root, &b, last), &a);
    assert_null(interval_next(root, &a, last));
    interval_remove(&root, &b);
    assert_null(interval_first(root, (struct range){0, UINT64_MAX - 2}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_last_address),
    };

    return cmocka_run_group_tests_name("track interval", tests, NULL, NULL);
}
