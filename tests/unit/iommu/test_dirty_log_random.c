/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of written pages under random marks and reports, compared with a naive set; and under
 * threads: no mark is lost to other marks, reports, coarse pages, starts and stops.
 * UMDEV_TEST_SEED repeats a run, UMDEV_TEST_STEPS makes it longer.
 */
#include "dirty_fixture.h"

#include "random.h"

#include <sched.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ the model */

#define MODEL_STEPS 20000
#define MODEL_PAGES 2048 /* four times a part of the address space, around borders of the tree */

static const uint64_t model_bases[] = {0, LEAF - 300 * PAGE, (UINT64_C(1) << 37) - 700 * PAGE,
                                       -(uint64_t)MODEL_PAGES / 4 * PAGE};

struct model {
    uint64_t random;
    bool dirty[MODEL_PAGES];
    bool exact; /* memory is enough */
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return random_next(&m->random) % limit;
}

/* Some pages of one part: their first number in the model, how many. */
static size_t model_span(struct model *m, size_t *count)
{
    size_t part = below(m, 4), page = below(m, MODEL_PAGES / 4);

    *count = 1 + below(m, below(m, 4) ? 8 : 512);
    *count = MIN(*count, MODEL_PAGES / 4 - page);
    return part * (MODEL_PAGES / 4) + page;
}

static uint64_t model_iova(size_t page)
{
    return model_bases[page / (MODEL_PAGES / 4)] + page % (MODEL_PAGES / 4) * PAGE;
}

static void model_mark(struct model *m)
{
    size_t count, page = model_span(m, &count);
    uint64_t first = model_iova(page) + below(m, PAGE);
    uint64_t last = model_iova(page) + (count - 1) * PAGE + below(m, PAGE);

    dirty_log_mark(&log_, (struct range){MIN(first, last), MAX(first, last)});
    memset(&m->dirty[page], true, count);
}

static void model_report(struct model *m)
{
    size_t count, page = model_span(m, &count);
    uint64_t pages_a_bit = UINT64_C(1) << (below(m, 3) ? 0 : below(m, 19));

    assert_int_equal(report(model_iova(page), count * PAGE, pages_a_bit * PAGE), 0);
    for (size_t bit = 0; bit * pages_a_bit < count; bit++) {
        bool expected = false;

        for (size_t i = bit * pages_a_bit; i < MIN(count, (bit + 1) * pages_a_bit); i++)
            expected |= m->dirty[page + i];
        if (m->exact ? reported(bit) != expected : expected && !reported(bit))
            fail_msg("bit %zu of page %zu is %d", bit, page, reported(bit));
    }
    for (size_t bit = (count - 1) / pages_a_bit + 1; bit % 64; bit++)
        assert_false(reported(bit));
    memset(&m->dirty[page], false, count);
}

static void model_run(size_t max_bytes, bool exact)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t left = random_steps(MODEL_STEPS);

    m->random = random_seed();
    m->exact = exact;
    log_.max_bytes = max_bytes;
    start_all();
    while (left-- > 0) {
        if (below(m, 3) == 0)
            model_report(m);
        else
            model_mark(m);
    }
    free(m);
}

static void test_against_the_model(void **state)
{
    (void)state;
    model_run(DIRTY_LOG_MAX_BYTES, true);
}

/* With memory for a part of it nothing is lost, either. */
static void test_against_the_model_in_little_memory(void **state)
{
    (void)state;
    model_run(6 * 4500 + 2 * LEAF_COST, false);
}

/* ------------------------------------------------------------------ threads */

#define NUM_WRITERS  3
#define WRITER_PAGES 512u
#define ROUNDS       40000u /* at least, and until there were so many reports: */
#define REPORTS      20u

/* A page of client memory, as far as it matters: how often it was written. */
struct written {
    atomic_uint value[NUM_WRITERS * WRITER_PAGES];
    unsigned seen[NUM_WRITERS * WRITER_PAGES];
    atomic_uint running, reports;
};

struct writer {
    struct written *written;
    unsigned index;
    pthread_t thread;
};

/* Neighbouring pages belong to different writers: they meet in every word. */
static void *writer_run(void *opaque)
{
    struct writer *writer = opaque;

    for (unsigned round = 0; round < ROUNDS || writer->written->reports < REPORTS; round++) {
        unsigned page = round * 7 % WRITER_PAGES * NUM_WRITERS + writer->index;

        atomic_store_explicit(&writer->written->value[page], round + 1, memory_order_relaxed);
        mark(page * PAGE + round % PAGE, 1);
    }
    atomic_fetch_sub(&writer->written->running, 1);
    return NULL;
}

/* The client: copies the pages that a report names. */
static void copy_reported(struct written *written, uint64_t page, uint64_t pages)
{
    assert_int_equal(report(page * PAGE, pages * PAGE, PAGE), 0);
    for (uint64_t i = 0; i < pages; i++) {
        if (reported(i))
            written->seen[page + i] =
                atomic_load_explicit(&written->value[page + i], memory_order_relaxed);
    }
}

/* After the last report the client has what was written last, everywhere. */
static void test_marks_during_reports(void **state)
{
    struct written *written = calloc(1, sizeof(*written));
    struct writer writers[NUM_WRITERS];

    (void)state;
    start_all();
    atomic_store(&written->running, NUM_WRITERS);
    for (unsigned i = 0; i < NUM_WRITERS; i++) {
        writers[i] = (struct writer){.written = written, .index = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
    }
    for (unsigned i = 0; atomic_load(&written->running) > 0; i++) {
        copy_reported(written, i % 97, 1000);
        copy_reported(written, 0, NUM_WRITERS * WRITER_PAGES);
        atomic_fetch_add(&written->reports, 1);
    }
    for (unsigned i = 0; i < NUM_WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    copy_reported(written, 0, NUM_WRITERS * WRITER_PAGES);
    for (size_t i = 0; i < NUM_WRITERS * WRITER_PAGES; i++)
        assert_int_equal(written->seen[i], written->value[i]);
    free(written);
}

static void *mark_everywhere(void *opaque)
{
    atomic_bool *end = opaque;

    for (uint64_t i = 0; !atomic_load(end); i++)
        mark(i % 64 * LEAF, i % 5 ? 1 : 3 * LEAF / 2);
    return NULL;
}

/* Starts and stops under marks, reports among them, with little memory now and then. */
static void test_stop_during_marks(void **state)
{
    pthread_t threads[NUM_WRITERS];
    atomic_bool end = false;

    (void)state;
    for (unsigned i = 0; i < NUM_WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mark_everywhere, &end), 0);
    for (unsigned round = 0; round < 200; round++) {
        log_.max_bytes = round % 2 ? DIRTY_LOG_MAX_BYTES : 40000;
        start_all();
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(report(round % 7 * LEAF, LEAF, 16 * PAGE), 0);
            sched_yield();
        }
        dirty_log_stop(&log_);
    }
    atomic_store(&end, true);
    for (unsigned i = 0; i < NUM_WRITERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_against_the_model),
        TEST(test_against_the_model_in_little_memory),
        TEST(test_marks_during_reports),
        TEST(test_stop_during_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
