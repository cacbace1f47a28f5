/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that allocate and release bus addresses of one space: no page ever has two owners. */
#include "bus_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, THREAD_PAGES = 1500, ROUNDS = 4000, BATCH = 40 };

struct shared {
    struct bus_space *space;
    /* A plain byte a page, which its owner writes: a page with two owners is a race, too. */
    uint8_t owner[THREAD_PAGES];
    atomic_uint wrong, served;
};

struct worker {
    struct shared *shared;
    pthread_t thread;
    uint8_t number;
};

static void own(struct worker *worker, uint64_t address, uint8_t from, uint8_t to)
{
    uint8_t *owner = &worker->shared->owner[(address - BASE) / PAGE];

    if (*owner != from)
        worker->shared->wrong++;
    *owner = to;
}

static void work_pages(struct worker *worker, size_t count)
{
    struct bus_space *space = worker->shared->space;
    uint32_t pages[BATCH];
    int ret = bus_space_alloc_pages(space, count, pages);

    if (ret) {
        worker->shared->wrong += ret != -ENOSPC;
        return;
    }
    worker->shared->served++;
    for (size_t i = 0; i < count; i++)
        own(worker, bus_space_page_address(space, pages[i]), 0, worker->number);
    for (size_t i = 0; i < count; i++)
        own(worker, bus_space_page_address(space, pages[i]), worker->number, 0);
    bus_space_release_pages(space, count, pages);
}

static void work_range(struct worker *worker, size_t count)
{
    struct bus_space *space = worker->shared->space;
    struct bus_range *range;
    int ret = bus_space_alloc(space, count * PAGE, PAGE << count % 4, &range);

    if (ret) {
        worker->shared->wrong += ret != -ENOSPC;
        return;
    }
    worker->shared->served++;
    for (size_t i = 0; i < count; i++)
        own(worker, range->range.first + i * PAGE, 0, worker->number);
    for (size_t i = 0; i < count; i++)
        own(worker, range->range.first + i * PAGE, worker->number, 0);
    bus_space_release(space, range);
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    struct bus_space_stats stats;

    for (size_t i = 0; i < ROUNDS; i++) {
        work_pages(worker, 1 + (i * 7 + worker->number) % BATCH);
        work_range(worker, 1 + (i * 13 + worker->number) % 200);
        bus_space_get_stats(worker->shared->space, &stats);
        worker->shared->wrong += stats.free_pages + stats.chunk_pages > THREAD_PAGES;
    }
    return NULL;
}

static void test_threads(void **state)
{
    static struct shared shared;
    struct worker workers[THREADS];

    (void)state;
    shared.space = space_new(SPACE(THREAD_PAGES), NULL, 0);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .number = (uint8_t)(i + 1)};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(shared.wrong, 0);
    assert_true(shared.served > THREADS * ROUNDS);
    assert_stats(shared.space, THREAD_PAGES, THREAD_PAGES, 1);
    bus_space_free(shared.space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
