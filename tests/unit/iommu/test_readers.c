/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Readers against a table in change: protections, neighbours that come and go, unmaps that give up,
 * more windows than a block has slots.
 */
#include "fixture.h"

#include "failnth.h"
#include "guard.h"
#include "iommu/private.h"
#include "random.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define NUM_WORKERS 3
#define ROUNDS      1000

/* Pages that are mapped all the time, one by one, at every other page of a range. */
#define NUM_STEADY  400
#define STEADY_BASE UINT64_C(0x100000)
/* And a row of pages without holes. */
#define NUM_ROW  40
#define ROW_BASE UINT64_C(0x8000000)

struct shared {
    struct iommu *iommu;
    int fd; /* each page begins with its number */
    atomic_bool stop;
    atomic_uint rounds; /* of all workers */
    atomic_uint wrong;
};

struct worker {
    struct shared *shared;
    uint64_t random;
    pthread_t thread;
};

static uint64_t steady_iova(uint64_t page)
{
    return STEADY_BASE + page * 2 * PAGE;
}

static void setup(struct fixture *f, struct shared *shared)
{
    *shared = (struct shared){.iommu = f->iommu, .fd = fixture_memfd(NUM_STEADY * PAGE)};
    for (uint64_t i = 0; i < NUM_STEADY; i++) {
        assert_int_equal(pwrite(shared->fd, &i, sizeof(i), (off_t)(i * PAGE)), sizeof(i));
        assert_int_equal(
            iommu_map(f->iommu, IOVA(steady_iova(i)), PAGE, shared->fd, i * PAGE, UMDEV_READ), 0);
    }
    for (uint64_t i = 0; i < NUM_ROW; i++)
        assert_int_equal(
            iommu_map(f->iommu, IOVA(ROW_BASE + i * PAGE), PAGE, shared->fd, i * PAGE, UMDEV_READ),
            0);
}

static void start(struct worker workers[NUM_WORKERS], struct shared *shared,
                  void *(*run)(void *worker))
{
    for (unsigned i = 0; i < NUM_WORKERS; i++) {
        workers[i] = (struct worker){.shared = shared, .random = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
}

static void stop(struct worker workers[NUM_WORKERS], struct shared *shared)
{
    shared->stop = true;
    for (unsigned i = 0; i < NUM_WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    close(shared->fd);
    assert_int_equal(shared->wrong, 0);
}

static void read_one(struct worker *w)
{
    uint64_t page = random_next(&w->random) % NUM_STEADY;
    uint64_t found = ~page;
    int ret = iommu_read(w->shared->iommu, IOVA(steady_iova(page)), &found, sizeof(found));

    w->shared->wrong += ret != 0 || found != page;
}

static void read_row(struct worker *w)
{
    static _Thread_local uint8_t bytes[NUM_ROW * PAGE];
    uint64_t found;

    if (iommu_read(w->shared->iommu, IOVA(ROW_BASE), bytes, sizeof(bytes)))
        w->shared->wrong++;
    memcpy(&found, bytes + (NUM_ROW - 1) * PAGE, sizeof(found));
    w->shared->wrong += found != NUM_ROW - 1;
}

static void hold_one(struct worker *w)
{
    uint64_t page = random_next(&w->random) % NUM_STEADY;
    uint64_t found;
    size_t got;
    void *hold;
    void *ptr;

    if (iommu_acquire(w->shared->iommu, IOVA(steady_iova(page)), 8, UMDEV_READ, &ptr, &got,
                      &hold)) {
        w->shared->wrong++;
        return;
    }
    memcpy(&found, ptr, sizeof(found));
    w->shared->wrong += found != page;
    iommu_release(w->shared->iommu, hold);
}

static void *work(void *opaque)
{
    struct worker *w = opaque;

    while (!w->shared->stop) {
        for (int i = 0; i < 20; i++) {
            read_one(w);
            hold_one(w);
        }
        read_row(w);
        atomic_fetch_add_explicit(&w->shared->rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

/* The leaves that readers look into are replaced all the time, split and joined. */
static void test_neighbours_come_and_go(void **state)
{
    struct fixture *f = *state;
    struct worker workers[NUM_WORKERS];
    struct shared shared;
    uint64_t random = 5;

    setup(f, &shared);
    start(workers, &shared, work);
    for (unsigned i = 0; i < ROUNDS || shared.rounds < 100; i++) {
        uint64_t page = random_next(&random) % NUM_STEADY;
        uint64_t unmapped;

        iommu_map(f->iommu, IOVA(steady_iova(page) + PAGE), PAGE, i % 2 ? shared.fd : -1, 0,
                  UMDEV_RW);
        if (i % 3 == 0)
            assert_int_equal(
                iommu_unmap(f->iommu, IOVA(steady_iova(random_next(&random) % NUM_STEADY) + PAGE),
                            PAGE, 60000, &unmapped),
                0);
    }
    stop(workers, &shared);
}

/* Reading is allowed all the time. */
static void test_protect_leaves_no_gap(void **state)
{
    struct fixture *f = *state;
    struct worker workers[NUM_WORKERS];
    struct shared shared;

    setup(f, &shared);
    start(workers, &shared, work);
    for (unsigned i = 0; i < ROUNDS / 4 || shared.rounds < 100; i++) {
        unsigned prot = i % 2 ? UMDEV_READ : UMDEV_RW;

        assert_int_equal(iommu_protect(f->iommu, IOVA(0), UINT64_C(1) << 40, prot), 0);
    }
    stop(workers, &shared);
}

/* After a protection that takes writing away nothing is written any more. */
static void *write_on(void *opaque)
{
    struct worker *w = opaque;

    for (uint64_t word = 1; !w->shared->stop; word++) {
        int ret = iommu_write(w->shared->iommu, IOVA(steady_iova(0) + 8 * w->random), &word, 8);

        w->shared->wrong += ret != 0 && ret != -EPERM;
        atomic_fetch_add_explicit(&w->shared->rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static void test_protect_waits_for_copies(void **state)
{
    struct fixture *f = *state;
    struct worker workers[NUM_WORKERS];
    struct shared shared;

    setup(f, &shared);
    start(workers, &shared, write_on);
    for (unsigned i = 0; i < ROUNDS / 8 || shared.rounds < 100; i++) {
        uint64_t before[4];
        uint64_t after[4];

        assert_int_equal(iommu_protect(f->iommu, IOVA(steady_iova(0)), PAGE, UMDEV_RW), 0);
        if (i % 8 == 0)
            sched_yield();
        assert_int_equal(iommu_protect(f->iommu, IOVA(steady_iova(0)), PAGE, UMDEV_READ), 0);
        assert_int_equal(pread(shared.fd, before, sizeof(before), 0), sizeof(before));
        if (i % 8 == 0)
            sched_yield();
        assert_int_equal(pread(shared.fd, after, sizeof(after), 0), sizeof(after));
        assert_memory_equal(before, after, sizeof(before));
    }
    stop(workers, &shared);
}

/* Windows that are held for longer than the unmap is patient. */
static void *hold_long(void *opaque)
{
    struct worker *w = opaque;

    while (!w->shared->stop) {
        uint64_t number;
        size_t got;
        void *hold;
        void *ptr;

        if (iommu_acquire(w->shared->iommu, IOVA(0), 8, UMDEV_READ, &ptr, &got, &hold))
            continue;
        for (uint64_t i = random_next(&w->random) % 30; i > 0; i--)
            sched_yield();
        memcpy(&number, ptr, sizeof(number));
        w->shared->wrong += number >= NUM_STEADY;
        iommu_release(w->shared->iommu, hold);
        atomic_fetch_add_explicit(&w->shared->rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static void test_unmaps_give_up(void **state)
{
    struct fixture *f = *state;
    struct worker workers[NUM_WORKERS];
    struct shared shared;
    unsigned maps;

    setup(f, &shared);
    maps = fixture_count_maps();
    start(workers, &shared, hold_long);
    for (unsigned i = 0; i < ROUNDS / 4 || shared.rounds < 100; i++) {
        uint64_t unmapped;
        int ret;

        assert_int_equal(
            iommu_map(f->iommu, IOVA(0), PAGE, shared.fd, i % NUM_STEADY * PAGE, UMDEV_READ), 0);
        if (i % 4 == 0)
            sched_yield();
        ret = iommu_unmap(f->iommu, IOVA(0), PAGE, (int)(i % 2), &unmapped);
        assert_true(ret == 0 || ret == -ETIMEDOUT);
        assert_int_equal(unmapped, PAGE);
    }
    stop(workers, &shared);
    assert_int_equal(fixture_count_maps(), maps);
}

#define MANY (3 * IOMMU_BLOCK_SLOTS + 5)

static void test_many_windows(void **state)
{
    struct fixture *f = *state;
    struct iommu_stats stats;
    void *holds[MANY];
    uint64_t unmapped;
    uint8_t byte;
    size_t got;
    void *ptr;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x2000, PAGE, PAGE, UMDEV_RW);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(iommu_acquire(f->iommu, IOVA(0x1000 + i % 2 * PAGE), 8, UMDEV_READ, &ptr,
                                       &got, &holds[i]),
                         0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), &byte, 1), 0);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.bytes_read, MANY * 8 + 1);
    /* Those of the other mapping delay nobody. */
    for (size_t i = 0; i < MANY; i += 2)
        iommu_release(f->iommu, holds[i]);
    fixture_unmap(f, 0x1000, PAGE, PAGE);
    assert_int_equal(iommu_unmap(f->iommu, IOVA(0x2000), PAGE, 0, &unmapped), -ETIMEDOUT);
    for (size_t i = 1; i < MANY; i += 2)
        iommu_release(f->iommu, holds[i]);
    assert_int_equal(fixture_count_maps(), 0);
}

static void test_no_memory_for_one_more(void **state)
{
    struct fixture *f = *state;
    void *holds[IOMMU_BLOCK_SLOTS];
    bool remote;
    uint8_t byte;
    size_t got;
    void *hold;
    void *ptr;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    for (size_t i = 0; i < IOMMU_BLOCK_SLOTS; i++)
        assert_int_equal(iommu_acquire(f->iommu, IOVA(0x1000), 8, UMDEV_RW, &ptr, &got, &holds[i]),
                         0);
    failnth_arm(1);
    assert_int_equal(iommu_acquire(f->iommu, IOVA(0x1000), 8, UMDEV_RW, &ptr, &got, &hold),
                     -ENOMEM);
    failnth_arm(1);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), &byte, 1), -ENOMEM);
    failnth_arm(1);
    assert_int_equal(iommu_check(f->iommu, IOVA(0x1000), 1, UMDEV_READ, &remote), -ENOMEM);
    failnth_disarm();
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), &byte, 1), 0);
    for (size_t i = 0; i < IOMMU_BLOCK_SLOTS; i++)
        iommu_release(f->iommu, holds[i]);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define TEST_UNWATCHED(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, fixture_setup_unwatched, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST_UNWATCHED(test_neighbours_come_and_go),
        TEST_UNWATCHED(test_protect_leaves_no_gap),
        TEST_UNWATCHED(test_protect_waits_for_copies),
        TEST_UNWATCHED(test_unmaps_give_up),
        TEST(test_many_windows),
        TEST(test_no_memory_for_one_more),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
