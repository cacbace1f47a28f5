/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A shadow that must be right in the end: threads of the client and of another device write, one
 * moves the IOVAs, and one collects and reads what it is told to. When all have stopped, and after
 * a last report, the shadow is the memory.
 */
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGES  64
#define GROUP  8 /* pages of a mapping */
#define BASE   UINT64_C(0x100000)
#define MILLIS 700

struct shared {
    struct rig rig;
    struct rig_device device, writer;
    atomic_bool over;
    uint64_t shadow[PAGES];
    atomic_ulong writes, reports;
};

static bool is_over(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000 > MILLIS;
}

static atomic_uint_least64_t *word_of(struct shared *s, size_t page)
{
    return (atomic_uint_least64_t *)(void *)(s->rig.memory + page * PAGE);
}

static void *write_by_cpu(void *opaque)
{
    struct shared *s = opaque;
    unsigned seed = 1;

    while (!atomic_load(&s->over)) {
        atomic_fetch_add(word_of(s, (size_t)rand_r(&seed) % PAGES), 1);
        atomic_fetch_add(&s->writes, 1);
    }
    return NULL;
}

/* Its own half of the pages' second words, by another view of the file. */
static void *write_by_device(void *opaque)
{
    struct shared *s = opaque;
    unsigned seed = 2;

    for (uint64_t n = 1; !atomic_load(&s->over); n++) {
        uint64_t iova = (uint64_t)rand_r(&seed) % PAGES * PAGE + 8;

        assert_int_equal(iommu_write(s->writer.iommu, IOVA(iova), &n, sizeof(n)), 0);
        atomic_fetch_add(&s->writes, 1);
    }
    return NULL;
}

/* Each group has two places, and is in one of them but for moments. */
static void *move(void *opaque)
{
    struct shared *s = opaque;
    uint64_t places[PAGES / GROUP] = {0};
    unsigned seed = 3;

    while (!atomic_load(&s->over)) {
        unsigned group = (unsigned)rand_r(&seed) % (PAGES / GROUP);
        uint64_t iova = BASE + group * GROUP * PAGE;

        rig_unmap(&s->device, iova + places[group] * 16 * BASE, GROUP);
        places[group] ^= 1;
        assert_int_equal(rig_map(&s->rig, &s->device, iova + places[group] * 16 * BASE,
                                 group * GROUP, GROUP, s->rig.uffd >= 0),
                         0);
    }
    return NULL;
}

/* Sum of the page's two words, which only grow. */
static uint64_t content(struct shared *s, size_t page)
{
    return atomic_load(word_of(s, page)) * 1000003 + atomic_load(word_of(s, page) + 1);
}

static void track_group(struct shared *s, uint64_t iova)
{
    /* It may be elsewhere just now. */
    if (track_add(s->device.track, (struct range){iova, iova + GROUP * PAGE - 1}))
        return;
    for (size_t i = 0; i < GROUP; i++) {
        size_t page = (iova % (16 * BASE) - BASE) / PAGE + i;

        s->shadow[page] = content(s, page);
    }
}

static void follow(struct shared *s)
{
    const struct umdev_track_range *ranges;
    size_t count = rig_collect(&s->device, &ranges);

    for (size_t i = 0; i < count; i++) {
        for (uint64_t at = 0; at < ranges[i].size; at += PAGE) {
            size_t page = ((ranges[i].iova.value + at) % (16 * BASE) - BASE) / PAGE;

            /* Lost in the moment between two places: to be tracked again. */
            s->shadow[page] = ranges[i].flags == UMDEV_TRACK_LOST ? UINT64_MAX : content(s, page);
        }
    }
    atomic_fetch_add(&s->reports, 1);
}

static void track_all(struct shared *s)
{
    for (size_t page = 0; page < PAGES; page += GROUP) {
        bool lost = false;

        for (size_t i = page; i < page + GROUP; i++)
            lost |= s->shadow[i] == UINT64_MAX;
        if (!lost)
            continue;
        track_group(s, BASE + page * PAGE);
        track_group(s, 17 * BASE + page * PAGE);
    }
}

static void run(int sync)
{
    struct shared *s = calloc(1, sizeof(*s));
    struct timespec start;
    pthread_t threads[3];

    assert_non_null(s);
    if (!rig_can_track()) {
        free(s);
        skip();
    }
    rig_begin(&s->rig, PAGES);
    if (sync >= 0)
        rig_register(&s->rig, sync);
    rig_add_device(&s->rig, &s->device, sync == 1);
    rig_add_device(&s->rig, &s->writer, false);
    if (sync >= 0)
        rig_give(&s->rig, &s->device);
    for (size_t page = 0; page < PAGES; page += GROUP)
        assert_int_equal(rig_map(&s->rig, &s->device, BASE + page * PAGE, page, GROUP, sync >= 0),
                         0);
    assert_int_equal(rig_map(&s->rig, &s->writer, 0, 0, PAGES, false), 0);
    assert_int_equal(iommu_track_begin(s->device.iommu), 0);
    memset(s->shadow, 0xff, sizeof(s->shadow));
    assert_int_equal(pthread_create(&threads[0], NULL, write_by_cpu, s), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, write_by_device, s), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, move, s), 0);
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!is_over(&start)) {
        track_all(s);
        follow(s);
    }
    atomic_store(&s->over, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    follow(s);
    track_all(s);
    printf("# %lu writes, %lu reports\n", (unsigned long)s->writes, (unsigned long)s->reports);
    for (size_t page = 0; page < PAGES; page++)
        assert_int_equal(s->shadow[page], content(s, page));
    rig_remove_device(&s->device);
    rig_remove_device(&s->writer);
    rig_end(&s->rig);
    free(s);
}

static void test_async(void **state)
{
    (void)state;
    run(0);
}

static void test_notify(void **state)
{
    (void)state;
    run(1);
}

static void test_compare(void **state)
{
    (void)state;
    run(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_compare),
    };

    return cmocka_run_group_tests_name("track threads", tests, NULL, NULL);
}
