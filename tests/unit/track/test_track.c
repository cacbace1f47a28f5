/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write tracking, rule by rule.
 */
#include "rig.h"

#include "failnth.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 256
#define BASE  UINT64_C(0x100000)

static struct range pages_at(uint64_t iova, size_t count)
{
    return (struct range){iova, iova + count * PAGE - 1};
}

static void write_page(const struct rig *rig, size_t page)
{
    ((volatile uint64_t *)(void *)(rig->memory + page * PAGE))[3]++;
}

/* A client and a device; `sync` < 0: nobody helps it. */
static void begin(struct rig *rig, struct rig_device *device, int sync, bool notify)
{
    if (!rig_can_track())
        skip();
    rig_begin(rig, PAGES);
    if (sync >= 0)
        rig_register(rig, sync);
    rig_add_device(rig, device, notify);
    if (sync >= 0)
        rig_give(rig, device);
}

static void end(struct rig *rig, struct rig_device *device)
{
    rig_remove_device(device);
    rig_end(rig);
}

static void test_counts_end(void **state)
{
    struct rig_device device = {0};
    struct rig rig;

    (void)state;
    begin(&rig, &device, 0, false);
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 2, true), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    for (unsigned i = 0; i < UINT16_MAX; i++)
        assert_int_equal(track_add(device.track, pages_at(BASE + PAGE, 1)), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 2)), -EOVERFLOW);
    assert_int_equal(track_remove(device.track, pages_at(BASE, 1)), -ENOENT);
    for (unsigned i = 0; i < UINT16_MAX; i++)
        assert_int_equal(track_remove(device.track, pages_at(BASE + PAGE, 1)), 0);
    assert_int_equal(track_remove(device.track, pages_at(BASE + PAGE, 1)), -ENOENT);
    end(&rig, &device);
}

/* Read between two reports, and back at the second to what it was at the first. */
static void test_seen(void **state)
{
    for (int sync = -1; sync <= 1; sync++) {
        struct rig_device device = {0};
        struct rig rig;
        uint8_t before[PAGE], content[PAGE];

        (void)state;
        begin(&rig, &device, sync, false);
        assert_int_equal(rig_map(&rig, &device, BASE, 0, 4, sync >= 0), 0);
        assert_int_equal(iommu_track_begin(device.iommu), 0);
        memcpy(before, rig.memory + PAGE, PAGE);
        assert_int_equal(track_seen(device.track, pages_at(BASE + PAGE, 1), before), -ENOENT);
        assert_int_equal(track_add(device.track, pages_at(BASE + PAGE, 1)), 0);
        write_page(&rig, 1);
        memcpy(content, rig.memory + PAGE, PAGE);
        assert_int_equal(track_seen(device.track, pages_at(BASE + PAGE, 1), content), 0);
        memcpy(rig.memory + PAGE, before, PAGE);
        rig_expect(&device, BASE + PAGE, PAGE, UMDEV_TRACK_WRITTEN);
        assert_int_equal(track_seen(device.track, pages_at(BASE + PAGE, 1), before), 0);
        rig_expect(&device, 0, 0, 0);
        assert_int_equal(track_seen(device.track, pages_at(BASE + 8 * PAGE, 1), before), -EFAULT);
        assert_int_equal(track_seen(device.track, (struct range){BASE + 1, BASE + PAGE}, before),
                         -EINVAL);
        end(&rig, &device);
    }
}

/* Two readings by two names, with a write between them: the first one is told, too. */
static void test_seen_by_two_names(void **state)
{
    for (int sync = -1; sync <= 1; sync++) {
        const struct umdev_track_range *ranges;
        struct rig_device device = {0};
        struct rig rig;
        uint8_t before[PAGE], content[PAGE];

        (void)state;
        begin(&rig, &device, sync, false);
        assert_int_equal(rig_map(&rig, &device, BASE, 0, 1, sync >= 0), 0);
        assert_int_equal(rig_map(&rig, &device, 2 * BASE, 0, 1, sync >= 0), 0);
        assert_int_equal(iommu_track_begin(device.iommu), 0);
        assert_int_equal(track_add(device.track, pages_at(BASE, 1)), 0);
        memcpy(before, rig.memory, PAGE);
        write_page(&rig, 0);
        memcpy(content, rig.memory, PAGE);
        assert_int_equal(track_seen(device.track, pages_at(BASE, 1), content), 0);
        memcpy(rig.memory, before, PAGE);
        assert_int_equal(track_seen(device.track, pages_at(2 * BASE, 1), before), 0);
        assert_int_equal(rig_collect(&device, &ranges), 2);
        assert_int_equal(rig_collect(&device, &ranges), 0);
        end(&rig, &device);
    }
}

static void test_modes(void **state)
{
    struct rig_device device = {0};
    struct track_stats stats;
    struct rig rig;

    (void)state;
    begin(&rig, &device, 0, false);
    assert_int_equal(track_set_mode(device.track, UMDEV_TRACK_NOTIFY), -EINVAL);
    assert_int_equal(track_set_mode(device.track, (enum umdev_track_mode)7), -EINVAL);
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 2, true), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 2)), 0);
    assert_int_equal(track_set_mode(device.track, UMDEV_TRACK_COLLECT), -EBUSY);
    track_get_stats(device.track, &stats);
    assert_int_equal(stats.method, TRACK_UFFD_ASYNC);
    assert_int_equal(stats.pages, 2);
    assert_int_equal(stats.compared, 0);
    end(&rig, &device);
}

/* Memory with and without a known place are different pages, and both are found. */
static void test_mixed_keys(void **state)
{
    struct rig_device device = {0};
    struct track_stats stats;
    struct rig rig;

    (void)state;
    begin(&rig, &device, 0, false);
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 1, true), 0);
    assert_int_equal(rig_map(&rig, &device, BASE + PAGE, 1, 1, false), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 2)), 0);
    track_get_stats(device.track, &stats);
    assert_int_equal(stats.compared, 1);
    write_page(&rig, 0);
    rig_expect(&device, BASE, PAGE, UMDEV_TRACK_WRITTEN);
    write_page(&rig, 1);
    rig_expect(&device, BASE + PAGE, PAGE, UMDEV_TRACK_WRITTEN);
    rig_expect(&device, 0, 0, 0);
    end(&rig, &device);
}

/* In each report for as long as it is held, and once more after it. */
static void test_pins_of_another_device(void **state)
{
    struct rig_device device = {0}, other = {0};
    umdev_bus_t bus;
    struct rig rig;

    (void)state;
    begin(&rig, &device, 0, false);
    rig_add_device(&rig, &other, false);
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 4, true), 0);
    assert_int_equal(rig_map(&rig, &other, 0, 2, 1, false), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 4)), 0);
    assert_int_equal(iommu_pin(other.iommu, IOVA(0), 1, UMDEV_RW, &bus), 0);
    for (unsigned i = 0; i < 3; i++)
        rig_expect(&device, BASE + 2 * PAGE, PAGE, UMDEV_TRACK_WRITTEN);
    assert_int_equal(iommu_unpin(other.iommu, IOVA(0), 1), 0);
    rig_expect(&device, BASE + 2 * PAGE, PAGE, UMDEV_TRACK_WRITTEN);
    rig_expect(&device, 0, 0, 0);
    rig_remove_device(&other);
    end(&rig, &device);
}

/* A window that began before the page was tracked, and ends after. */
static void test_late_window(void **state)
{
    struct rig_device device = {0};
    void *ptr, *hold;
    struct rig rig;
    size_t got;

    (void)state;
    begin(&rig, &device, 0, false);
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 1, true), 0);
    assert_int_equal(iommu_acquire(device.iommu, IOVA(BASE), PAGE, UMDEV_WRITE, &ptr, &got, &hold),
                     0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 1)), 0);
    rig_expect(&device, 0, 0, 0);
    memset(ptr, 5, 8);
    iommu_release(device.iommu, hold);
    rig_expect(&device, BASE, PAGE, UMDEV_TRACK_WRITTEN);
    end(&rig, &device);
}

/* A client that maps and unmaps for ever has a bounded past. */
static void test_many_ghosts(void **state)
{
    struct rig_device device = {0};
    const struct umdev_track_range *ranges;
    uint64_t lost = 0;
    struct rig rig;
    size_t count;

    (void)state;
    begin(&rig, &device, 0, false);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    for (unsigned i = 0; i < 5000; i++) {
        size_t page = i % (PAGES - 8), pages = 1 + i % 7;

        assert_int_equal(rig_map(&rig, &device, BASE, page, pages, true), 0);
        assert_int_equal(track_add(device.track, pages_at(BASE, pages)), 0);
        rig_unmap(&device, BASE, pages);
    }
    count = rig_collect(&device, &ranges);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ranges[i].flags, UMDEV_TRACK_LOST);
        lost += ranges[i].size / PAGE;
    }
    assert_true(lost >= PAGES - 8);
    rig_expect(&device, 0, 0, 0);
    end(&rig, &device);
}

/* ------------------------------------------------------------------ the callback */

/* See rig.c, written(). */
__attribute__((no_sanitize("thread"))) static void remove_it(struct rig_device *device,
                                                             struct range range)
{
    const struct rig *rig = device->opaque;

    /* What was there is there still. */
    assert_int_equal(((uint64_t *)(void *)rig->memory)[3], 0);
    assert_int_equal(track_remove(device->track, range), 0);
}

static void collect_it(struct rig_device *device, struct range range)
{
    const struct umdev_track_range *ranges;
    size_t count;

    (void)range;
    assert_int_equal(track_collect(device->track, &ranges, &count), 0);
    assert_int_equal(count, 0);
}

static void test_calls_in_the_callback(void **state)
{
    struct rig_device device = {0};
    struct rig rig;

    (void)state;
    begin(&rig, &device, 1, true);
    device.opaque = &rig;
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 2, true), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 2)), 0);
    device.on_written = remove_it;
    write_page(&rig, 0);
    assert_int_equal(device.told, 1);
    rig_expect(&device, 0, 0, 0);
    /* A report while the writer waits does not have its write; the next one has. */
    device.on_written = collect_it;
    write_page(&rig, 1);
    assert_int_equal(device.told, 2);
    rig_expect(&device, BASE + PAGE, PAGE, UMDEV_TRACK_WRITTEN);
    end(&rig, &device);
}

static void *write_first(void *opaque)
{
    write_page(opaque, 0);
    return NULL;
}

static pthread_barrier_t entered;

static void be_slow(struct rig_device *device, struct range range)
{
    (void)range;
    pthread_barrier_wait(&entered);
    usleep(20000);
    /* The pages may be gone by now; what counts is that it ends. */
    (void)track_remove(device->track, pages_at(BASE, 2));
}

/* The client's end waits for the callback, and the writer for nobody any more. */
static void test_end_in_the_callback(void **state)
{
    struct rig_device device = {0};
    struct rig rig;
    pthread_t thread;

    (void)state;
    begin(&rig, &device, 1, true);
    pthread_barrier_init(&entered, NULL, 2);
    device.on_written = be_slow;
    assert_int_equal(rig_map(&rig, &device, BASE, 0, 2, true), 0);
    assert_int_equal(iommu_track_begin(device.iommu), 0);
    assert_int_equal(track_add(device.track, pages_at(BASE, 2)), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_first, &rig), 0);
    pthread_barrier_wait(&entered);
    close(rig.uffd);
    rig.uffd = -1;
    rig_remove_device(&device);
    assert_int_equal(device.told, 1);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&entered);
    rig_end(&rig);
}

/* ------------------------------------------------------------------ no memory */

/* Without an iommu, which keeps memory of its own. */
struct use {
    struct rig rig;
    struct track *track;
    bool helped;
};

static int use_read(void *opaque, uint64_t iova, void *page)
{
    const struct use *use = opaque;

    memcpy(page, use->rig.memory + (iova - BASE), PAGE);
    return 0;
}

static int use_give(struct use *use)
{
    int uffd = dup(use->rig.uffd), pagemap = dup(use->rig.pagemap);
    int ret = -EMFILE;

    if (uffd >= 0 && pagemap >= 0)
        ret = track_give(use->track, uffd, pagemap, false);
    if (ret && uffd >= 0)
        close(uffd);
    if (ret && pagemap >= 0)
        close(pagemap);
    return ret;
}

static int use_report(struct use *use)
{
    const struct umdev_track_range *ranges;
    bool told = false;
    size_t count;
    int ret;

    write_page(&use->rig, 5);
    write_page(&use->rig, 90);
    ret = track_collect(use->track, &ranges, &count);
    /* Nothing is lost by it: the next call tells. */
    if (ret)
        assert_int_equal(track_collect(use->track, &ranges, &count), 0);
    for (size_t i = 0; i < count; i++)
        told |= ranges[i].iova.value == BASE + 90 * PAGE;
    assert_true(told && count >= 2);
    assert_int_equal(track_remove(use->track, pages_at(BASE + PAGE, 100)), 0);
    return ret;
}

static int use_memory(struct use *use)
{
    const struct track_memory memory = {
        .has_hva = use->helped,
        .hva = (uintptr_t)use->rig.memory,
        .has_file = true,
        .device = 1,
        .inode = 2,
    };
    int ret = use->helped ? use_give(use) : 0;

    if (!ret)
        ret = track_map(use->track, pages_at(BASE, 200), &memory);
    if (ret)
        return ret;
    ret = track_add(use->track, pages_at(BASE + PAGE, 100));
    if (!ret)
        ret = use_report(use);
    track_unmap(use->track, pages_at(BASE, 200));
    return ret;
}

static int use_all(void *opaque)
{
    const struct track_ops ops = {.read = use_read};
    struct use *use = opaque;
    int ret = track_new(use->rig.hub, &ops, use, &use->track);

    if (ret)
        return ret;
    track_begin(use->track);
    ret = use_memory(use);
    track_end(use->track);
    track_free(use->track);
    return ret;
}

static void test_fail_nth(void **state)
{
    struct use use = {0};

    (void)state;
    if (!rig_can_track())
        skip();
    rig_begin(&use.rig, PAGES);
    rig_register(&use.rig, false);
    assert_true(failnth_run(use_all, NULL, &use) >= 10);
    use.helped = true;
    assert_true(failnth_run(use_all, NULL, &use) >= 10);
    rig_end(&use.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_end),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_seen_by_two_names),
        cmocka_unit_test(test_mixed_keys),
        cmocka_unit_test(test_pins_of_another_device),
        cmocka_unit_test(test_late_window),
        cmocka_unit_test(test_many_ghosts),
        cmocka_unit_test(test_calls_in_the_callback),
        cmocka_unit_test(test_end_in_the_callback),
        cmocka_unit_test(test_fail_nth),
    };

    return cmocka_run_group_tests_name("track", tests, NULL, NULL);
}
