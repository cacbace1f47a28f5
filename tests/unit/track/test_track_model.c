/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write tracking against a reference that knows every write.
 *
 * Three devices of one hub see a client's pages: two of one process, which has given its
 * userfaultfd, and one that nobody helps, and that compares. At random pages are mapped, moved,
 * unmapped, protected, added, removed, written by the client and by each device in each way, and
 * collected. Each report must have all IOVAs of each page that was written, and nothing else; each
 * page that lost its last IOVA once. The seed is printed; UMDEV_TEST_SEED gives it, and
 * UMDEV_TEST_STEPS how long it takes.
 */
#include "rig.h"

#include "base/range.h"
#include "random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES   24u /* of memory */
#define SLOTS   40u /* pages of IOVAs */
#define DEVICES 3u
#define STEPS   2000000u
#define BASE    UINT64_C(0x100000)

/* What one device should know. */
struct view {
    struct rig_device device;
    bool helped;
    int slots[SLOTS];      /* the memory page; −1: none */
    unsigned begin[SLOTS]; /* of its mapping */
    unsigned sizes[SLOTS]; /* of the mapping that begins there */
    unsigned counts[PAGES];
    bool written[PAGES];
    bool trapped[PAGES]; /* the client wrote it since it was added or reported */
};

struct model {
    struct rig rig;
    struct view views[DEVICES];
    uint64_t value;
    uint64_t random;
    bool notify;
    unsigned long writes, reports, losses;
};

static unsigned pick(struct model *m, unsigned n)
{
    return (unsigned)random_next(&m->random) % n;
}

static uint64_t iova_of(unsigned slot)
{
    return BASE + slot * PAGE;
}

static bool has_name(const struct view *view, unsigned page)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (view->slots[slot] == (int)page)
            return true;
    return false;
}

static void note_write(struct model *m, unsigned page)
{
    m->writes++;
    for (unsigned i = 0; i < DEVICES; i++)
        if (m->views[i].counts[page])
            m->views[i].written[page] = true;
}

/* A callback for each name, or none: another device's report makes it come again. */
static void check_told(struct view *view, unsigned page, unsigned told)
{
    unsigned names = 0;

    for (unsigned slot = 0; slot < SLOTS; slot++)
        names += view->slots[slot] == (int)page;
    told = atomic_load(&view->device.told) - told;
    if (!view->counts[page])
        assert_int_equal(told, 0);
    else if (told != 0 || !view->trapped[page])
        assert_int_equal(told, names);
    view->trapped[page] = true;
}

static void cpu_write(struct model *m, unsigned page)
{
    struct view *view = &m->views[0];
    unsigned told = atomic_load(&view->device.told);

    /* It may wait for the daemon, which is another thread. */
    *(volatile uint64_t *)(void *)(m->rig.memory + page * PAGE + 16) = ++m->value;
    if (m->notify)
        check_told(view, page, told);
    note_write(m, page);
}

/* ------------------------------------------------------------------ steps */

static void step_map(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS), count = 1 + pick(m, 4), page = pick(m, PAGES);

    if (slot + count > SLOTS || page + count > PAGES)
        return;
    for (unsigned i = 0; i < count; i++)
        if (view->slots[slot + i] >= 0)
            return;
    assert_int_equal(rig_map(&m->rig, &view->device, iova_of(slot), page, count, view->helped), 0);
    view->sizes[slot] = count;
    for (unsigned i = 0; i < count; i++) {
        view->slots[slot + i] = (int)(page + i);
        view->begin[slot + i] = slot;
    }
}

static void forget_mapping(struct view *view, unsigned slot)
{
    for (unsigned i = slot; i < slot + view->sizes[slot]; i++)
        view->slots[i] = -1;
}

static void step_unmap(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS);

    if (view->slots[slot] < 0)
        return;
    slot = view->begin[slot];
    rig_unmap(&view->device, iova_of(slot), view->sizes[slot]);
    forget_mapping(view, slot);
}

/* As a guest's IOMMU does it: the same memory under another IOVA. */
static void step_move(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS), to = pick(m, SLOTS), page, count;

    if (view->slots[slot] < 0)
        return;
    slot = view->begin[slot];
    page = (unsigned)view->slots[slot];
    count = view->sizes[slot];
    if (to + count > SLOTS)
        return;
    for (unsigned i = to; i < to + count; i++)
        if (view->slots[i] >= 0 && view->begin[i] != slot)
            return;
    rig_unmap(&view->device, iova_of(slot), count);
    forget_mapping(view, slot);
    if (pick(m, 2))
        cpu_write(m, page);
    assert_int_equal(rig_map(&m->rig, &view->device, iova_of(to), page, count, view->helped), 0);
    view->sizes[to] = count;
    for (unsigned i = 0; i < count; i++) {
        view->slots[to + i] = (int)(page + i);
        view->begin[to + i] = to;
    }
}

static void step_protect(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS);

    if (view->slots[slot] < 0)
        return;
    slot = view->begin[slot];
    assert_int_equal(iommu_protect(view->device.iommu, IOVA(iova_of(slot)),
                                   view->sizes[slot] * PAGE, UMDEV_READ),
                     0);
    assert_int_equal(
        iommu_protect(view->device.iommu, IOVA(iova_of(slot)), view->sizes[slot] * PAGE, UMDEV_RW),
        0);
}

static bool all_mapped(const struct view *view, unsigned slot, unsigned count)
{
    for (unsigned i = slot; i < slot + count; i++)
        if (i >= SLOTS || view->slots[i] < 0)
            return false;
    return true;
}

static void step_add(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS), count = 1 + pick(m, 6);
    struct range range = {iova_of(slot), iova_of(slot + count) - 1};
    bool mapped = all_mapped(view, slot, count);

    assert_int_equal(track_add(view->device.track, range), mapped ? 0 : -EFAULT);
    for (unsigned i = slot; mapped && i < slot + count; i++) {
        unsigned page = (unsigned)view->slots[i];

        if (view->counts[page]++ == 0)
            view->written[page] = view->trapped[page] = false;
    }
}

static void step_remove(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS), count = 1 + pick(m, 6);
    struct range range = {iova_of(slot), iova_of(slot + count) - 1};
    int expected = all_mapped(view, slot, count) ? 0 : -EFAULT;

    for (unsigned i = slot; !expected && i < slot + count; i++)
        if (!view->counts[view->slots[i]])
            expected = -ENOENT;
    assert_int_equal(track_remove(view->device.track, range), expected);
    for (unsigned i = slot; !expected && i < slot + count; i++) {
        unsigned page = (unsigned)view->slots[i];

        if (view->counts[page] && --view->counts[page] == 0)
            view->written[page] = false;
    }
}

static void step_cpu_write(struct model *m)
{
    cpu_write(m, pick(m, PAGES));
}

static void write_by_copy(struct model *m, struct view *view, unsigned slot)
{
    unsigned from = pick(m, SLOTS);

    m->value++;
    assert_int_equal(
        iommu_write(view->device.iommu, IOVA(iova_of(slot) + 24), &m->value, sizeof(m->value)), 0);
    note_write(m, (unsigned)view->slots[slot]);
    /* What is copied may be what was there: seen by whom it is told, not by whom compares. */
    if (view->slots[from] < 0)
        return;
    assert_int_equal(iommu_copy(view->device.iommu, IOVA(iova_of(slot)), IOVA(iova_of(from)), 64),
                     0);
}

static void write_by_window(struct model *m, struct view *view, unsigned slot)
{
    void *ptr, *hold;
    size_t got;

    assert_int_equal(
        iommu_acquire(view->device.iommu, IOVA(iova_of(slot)), 64, UMDEV_WRITE, &ptr, &got, &hold),
        0);
    *(uint64_t *)ptr = ++m->value;
    iommu_release(view->device.iommu, hold);
    note_write(m, (unsigned)view->slots[slot]);
}

static void write_by_pin(struct model *m, struct view *view, unsigned slot)
{
    umdev_bus_t bus;

    assert_int_equal(iommu_pin(view->device.iommu, IOVA(iova_of(slot)), 1, UMDEV_WRITE, &bus), 0);
    *(uint64_t *)(uintptr_t)(bus.value + 32) = ++m->value;
    assert_int_equal(iommu_unpin(view->device.iommu, IOVA(iova_of(slot)), 1), 0);
    note_write(m, (unsigned)view->slots[slot]);
}

static void step_device_write(struct model *m, struct view *view)
{
    unsigned slot = pick(m, SLOTS);

    if (view->slots[slot] < 0)
        return;
    switch (pick(m, 3)) {
    case 0:
        write_by_copy(m, view, slot);
        break;
    case 1:
        write_by_window(m, view, slot);
        break;
    default:
        write_by_pin(m, view, slot);
        break;
    }
}

/* ------------------------------------------------------------------ reports */

static void check_range(struct view *view, const struct umdev_track_range *range, uint8_t *seen)
{
    for (uint64_t at = 0; at < range->size; at += PAGE) {
        uint64_t slot = (range->iova.value + at - BASE) / PAGE;

        assert_in_range(slot, 0, SLOTS - 1);
        seen[slot] |= (uint8_t)range->flags;
        (void)view;
    }
}

static uint64_t lost_pages(const struct umdev_track_range *ranges, size_t count)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < count; i++)
        pages += ranges[i].flags == UMDEV_TRACK_LOST ? ranges[i].size / PAGE : 0;
    return pages;
}

static void step_collect(struct model *m, struct view *view)
{
    uint8_t seen[SLOTS] = {0}, expected[SLOTS] = {0};
    uint64_t lost = 0;
    const struct umdev_track_range *ranges;
    size_t count = rig_collect(&view->device, &ranges);

    for (size_t i = 0; i < count; i++)
        check_range(view, &ranges[i], seen);
    for (unsigned page = 0; page < PAGES; page++) {
        if (view->counts[page] && !has_name(view, page)) {
            lost++;
            view->counts[page] = 0;
            view->written[page] = false;
            m->losses++;
        }
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (view->slots[slot] >= 0 && view->written[view->slots[slot]])
            expected[slot] |= UMDEV_TRACK_WRITTEN;
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        assert_int_equal(seen[slot] & UMDEV_TRACK_WRITTEN, expected[slot] & UMDEV_TRACK_WRITTEN);
    /* The IOVA of a lost page is one that it had. */
    assert_int_equal(lost_pages(ranges, count), lost);
    memset(view->written, 0, sizeof(view->written));
    memset(view->trapped, 0, sizeof(view->trapped));
    m->reports++;
}

static void step(struct model *m)
{
    struct view *view = &m->views[pick(m, DEVICES)];

    switch (pick(m, 16)) {
    case 0:
        step_map(m, view);
        break;
    case 1:
        pick(m, 2) ? step_unmap(m, view) : step_protect(m, view);
        break;
    case 2:
        step_move(m, view);
        break;
    case 3:
    case 4:
        step_add(m, view);
        break;
    case 5:
        step_remove(m, view);
        break;
    case 6:
    case 7:
        step_collect(m, view);
        break;
    case 8:
    case 9:
    case 10:
        step_device_write(m, view);
        break;
    default:
        step_cpu_write(m);
        break;
    }
}

static void model_begin(struct model *m, bool sync, bool notify, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->random = seed;
    m->notify = notify;
    rig_begin(&m->rig, PAGES);
    rig_register(&m->rig, sync);
    for (unsigned i = 0; i < DEVICES; i++) {
        struct view *view = &m->views[i];

        view->helped = i < 2;
        rig_add_device(&m->rig, &view->device, notify && i == 0);
        if (view->helped)
            rig_give(&m->rig, &view->device);
        memset(view->slots, 0xff, sizeof(view->slots));
        assert_int_equal(iommu_track_begin(view->device.iommu), 0);
    }
}

static void model_end(struct model *m)
{
    for (unsigned i = 0; i < DEVICES; i++)
        rig_remove_device(&m->views[i].device);
    rig_end(&m->rig);
}

static void run(bool sync, bool notify, unsigned long divisor)
{
    unsigned long steps = random_steps(STEPS) / divisor;
    struct model *m = malloc(sizeof(*m));

    assert_non_null(m);
    if (!rig_can_track()) {
        free(m);
        skip();
    }
    model_begin(m, sync, notify, random_seed());
    for (unsigned long i = 0; i < steps; i++)
        step(m);
    for (unsigned i = 0; i < DEVICES; i++)
        step_collect(m, &m->views[i]);
    printf("# %lu steps, %lu writes, %lu reports, %lu pages lost\n", steps, m->writes, m->reports,
           m->losses);
    model_end(m);
    free(m);
}

static void test_async(void **state)
{
    (void)state;
    run(false, false, 1);
}

/* Each first write waits for another thread. */
static void test_sync(void **state)
{
    (void)state;
    run(true, false, 4);
}

static void test_notify(void **state)
{
    (void)state;
    run(true, true, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_notify),
    };

    return cmocka_run_group_tests_name("track model", tests, NULL, NULL);
}
