/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads of a device at work while the client maps, unmaps and takes memory away.
 *
 * The bytes themselves are nobody's to protect, so each test gives every thread memory that no
 * other thread writes: what a race detector then finds is the iommu's.
 */
#include "fixture.h"

#include "guard.h"
#include "random.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * To a race detector the zeros that take the place of lost memory are a write under the feet of
 * whoever reads there. That is what they are for.
 */
UMDEV_API const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:map_zeros\n";
}

#define NUM_WORKERS 3
#define ROUNDS      3000

/* Slots of 16 pages in IOVA space; each, when mapped, shows file page 0 and the next three. */
#define NUM_SLOTS  16
#define SLOT_PAGES 4
#define SLOT_BASE  UINT64_C(0x100000)
#define OWN_BASE   UINT64_C(0x80000000) /* a page a worker, mapped all the time */

struct shared {
    struct iommu *iommu;
    int fd;
    atomic_bool stop;
    atomic_uint hits; /* accesses that found a mapping */
    atomic_uint wrong;
};

struct worker {
    struct shared *shared;
    unsigned index;
    uint64_t random;
    pthread_t thread;
};

static uint64_t slot_iova(uint64_t slot)
{
    return SLOT_BASE + slot * 16 * PAGE;
}

/* Every 8 bytes of a file page hold its number. */
static void fill_pages(int fd)
{
    for (uint64_t page = 0; page < SLOT_PAGES; page++) {
        uint64_t words[PAGE / 8];

        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            words[i] = page;
        assert_int_equal(pwrite(fd, words, PAGE, (off_t)(page * PAGE)), PAGE);
    }
}

/* An access may find the mapping or not, but nothing else. */
static void judge(struct shared *shared, int ret, uint64_t found, uint64_t expected)
{
    if (ret == 0) {
        atomic_fetch_add_explicit(&shared->hits, 1, memory_order_relaxed);
        if (found != expected)
            shared->wrong++;
    } else if (ret != -EFAULT) {
        shared->wrong++;
    }
}

static void work_read(struct worker *w, uint64_t iova, uint64_t page)
{
    uint64_t words[32];
    int ret = iommu_read(w->shared->iommu, IOVA(iova), &words[0], 8);

    judge(w->shared, ret, words[0], page);
    ret = iommu_read(w->shared->iommu, IOVA(align_down(iova, 4096)), words, sizeof(words));
    judge(w->shared, ret, words[31], page);
}

static void work_copy(struct worker *w, uint64_t iova, uint64_t page)
{
    uint64_t own = OWN_BASE + w->index * PAGE;
    uint64_t word = 0;
    int ret = iommu_copy(w->shared->iommu, IOVA(own), IOVA(align_down(iova, PAGE)), PAGE);

    if (iommu_read(w->shared->iommu, IOVA(own + PAGE - 8), &word, 8))
        w->shared->wrong++;
    judge(w->shared, ret, word, page);
    if (iommu_write(w->shared->iommu, IOVA(own), &word, 8))
        w->shared->wrong++;
}

static void work_window(struct worker *w, uint64_t iova, uint64_t page)
{
    uint64_t word = page;
    void *ptr;
    size_t got;
    void *hold;
    int ret = iommu_acquire(w->shared->iommu, IOVA(iova), 8, UMDEV_READ, &ptr, &got, &hold);

    if (ret == 0) {
        if (random_next(&w->random) % 4 == 0)
            sched_yield();
        memcpy(&word, ptr, 8);
        iommu_release(w->shared->iommu, hold);
    }
    judge(w->shared, ret, word, page);
}

static void *work(void *opaque)
{
    struct worker *w = opaque;

    while (!w->shared->stop) {
        uint64_t page = random_next(&w->random) % SLOT_PAGES;
        uint64_t iova = slot_iova(random_next(&w->random) % NUM_SLOTS) + page * PAGE +
                        random_next(&w->random) % (PAGE / 8) * 8;

        switch (random_next(&w->random) % 4) {
        case 0:
            work_copy(w, iova, page);
            break;
        case 1:
            work_window(w, iova, page);
            break;
        default:
            work_read(w, iova, page);
        }
    }
    return NULL;
}

static void start(struct worker workers[NUM_WORKERS], struct shared *shared,
                  void *(*run)(void *worker))
{
    for (unsigned i = 0; i < NUM_WORKERS; i++) {
        workers[i] = (struct worker){.shared = shared, .index = i, .random = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
}

static void stop(struct worker workers[NUM_WORKERS], struct shared *shared)
{
    shared->stop = true;
    for (unsigned i = 0; i < NUM_WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
}

static void change_slots(struct shared *shared, uint64_t *random)
{
    uint64_t slot = random_next(random) % NUM_SLOTS;
    uint64_t unmapped;
    int ret;

    ret = iommu_map(shared->iommu, IOVA(slot_iova(slot)), SLOT_PAGES * PAGE, shared->fd, 0,
                    UMDEV_READ);
    assert_true(ret == 0 || ret == -EEXIST);
    slot = random_next(random) % NUM_SLOTS;
    assert_int_equal(
        iommu_unmap(shared->iommu, IOVA(slot_iova(slot)), 2 * 16 * PAGE, 60000, &unmapped), 0);
}

static void count_one(void *opaque, struct range range)
{
    (void)range;
    ++*(unsigned *)opaque;
}

static void test_access_while_the_client_maps(void **state)
{
    struct fixture *f = *state;
    struct shared shared = {.iommu = f->iommu, .fd = f->fd};
    struct worker workers[NUM_WORKERS];
    uint64_t random = 99;

    fill_pages(f->fd);
    fixture_map(f, OWN_BASE, NUM_WORKERS * PAGE, 8 * PAGE, UMDEV_RW);
    start(workers, &shared, work);
    /* Changes are quick: threads may need many before they have begun. */
    for (int i = 0; i < ROUNDS || shared.hits < ROUNDS; i++) {
        struct iommu_stats stats;
        unsigned count = 0;

        change_slots(&shared, &random);
        if (i % 64 == 0) {
            assert_int_equal(iommu_for_each(f->iommu, count_one, &count), 0);
            iommu_get_stats(f->iommu, &stats);
            assert_int_equal(stats.maps, count);
            assert_false(iommu_lost(f->iommu));
        }
    }
    stop(workers, &shared);
    assert_int_equal(shared.wrong, 0);
    assert_true(shared.hits > 0);
}

/* Several threads map and unmap, each in slots of its own. */
static void *change(void *opaque)
{
    struct worker *w = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t iova = slot_iova(w->index * 4 + random_next(&w->random) % 4);
        uint64_t unmapped;
        int ret = iommu_map(w->shared->iommu, IOVA(iova), SLOT_PAGES * PAGE, w->shared->fd, 0,
                            UMDEV_READ);

        w->shared->wrong += ret != 0 && ret != -EEXIST;
        ret = iommu_unmap(w->shared->iommu, IOVA(slot_iova(w->index * 4)), 32 * PAGE, 60000,
                          &unmapped);
        w->shared->wrong += ret != 0;
    }
    return NULL;
}

static void test_several_threads_map(void **state)
{
    struct fixture *f = *state;
    struct shared shared = {.iommu = f->iommu, .fd = f->fd};
    struct worker workers[NUM_WORKERS];
    struct iommu_stats stats;

    start(workers, &shared, change);
    stop(workers, &shared);
    assert_int_equal(shared.wrong, 0);
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.maps, 0);
}

/* Windows come and go without a pause; each unmap waits for those of its mapping only. */
static void *open_windows(void *opaque)
{
    struct worker *w = opaque;

    while (!w->shared->stop)
        work_window(w, slot_iova(0) + 8, 0);
    return NULL;
}

static void test_unmap_under_windows(void **state)
{
    struct fixture *f = *state;
    struct shared shared = {.iommu = f->iommu, .fd = f->fd};
    struct worker workers[NUM_WORKERS];

    fill_pages(f->fd);
    start(workers, &shared, open_windows);
    for (int i = 0; i < ROUNDS / 4; i++) {
        uint64_t unmapped;

        fixture_map(f, slot_iova(0), SLOT_PAGES * PAGE, 0, UMDEV_READ);
        if (i % 8 == 0)
            sched_yield();
        if (i % 2 == 0)
            assert_int_equal(
                iommu_unmap(f->iommu, IOVA(slot_iova(0)), SLOT_PAGES * PAGE, 60000, &unmapped), 0);
        else
            assert_in_range(-iommu_unmap_all(f->iommu, 0), 0, ETIMEDOUT);
    }
    stop(workers, &shared);
    assert_int_equal(shared.wrong, 0);
}

/* Large reads and copies while the client shrinks the file below them. */
static void *read_until_lost(void *opaque)
{
    struct worker *w = opaque;
    static const size_t size = FIXTURE_PAGES * PAGE;
    uint8_t *buf = malloc(size);
    int ret = 0;

    while (buf && ret == 0) {
        ret = iommu_read(w->shared->iommu, IOVA(SLOT_BASE), buf, size);
        atomic_fetch_add(&w->shared->hits, 1);
    }
    if (ret != -EIO)
        w->shared->wrong++;
    free(buf);
    return NULL;
}

static void test_truncated_under_copies(void **state)
{
    struct fixture *f = *state;

    guard_take_over();
    for (int i = 0; i < 50; i++) {
        struct shared shared = {.iommu = f->iommu, .fd = f->fd};
        struct worker workers[NUM_WORKERS];

        assert_int_equal(ftruncate(f->fd, FIXTURE_PAGES * PAGE), 0);
        fixture_map(f, SLOT_BASE, FIXTURE_PAGES * PAGE, 0, UMDEV_RW);
        start(workers, &shared, read_until_lost);
        while (shared.hits < NUM_WORKERS)
            sched_yield();
        assert_int_equal(ftruncate(f->fd, (off_t)(i % FIXTURE_PAGES * PAGE)), 0);
        stop(workers, &shared);
        assert_int_equal(shared.wrong, 0);
        assert_true(iommu_lost(f->iommu));
        assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
        assert_false(iommu_lost(f->iommu));
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_access_while_the_client_maps),
        TEST(test_several_threads_map),
        TEST(test_unmap_under_windows),
        TEST(test_truncated_under_copies),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
