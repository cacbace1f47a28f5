/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include "base/uffd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

bool rig_can_track(void)
{
    int fd;

    if (uffd_open_tracking(false, &fd)) {
        print_message("no userfaultfd here that can protect memory\n");
        return false;
    }
    close(fd);
    return true;
}

int rig_uffd(bool sync)
{
    int fd;

    assert_int_equal(uffd_open_tracking(sync, &fd), 0);
    return fd;
}

int rig_pagemap(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

void rig_begin(struct rig *rig, size_t pages)
{
    *rig = (struct rig){.pages = pages, .uffd = -1, .pagemap = -1};
    rig->log.level = UMDEV_LOG_ERROR;
    assert_int_equal(track_hub_new(&rig->hub), 0);
    rig->fd = memfd_create("client", MFD_CLOEXEC);
    assert_true(rig->fd >= 0);
    assert_int_equal(ftruncate(rig->fd, (off_t)(pages * PAGE)), 0);
    rig->memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fd, 0);
    assert_ptr_not_equal(rig->memory, MAP_FAILED);
}

void rig_register(struct rig *rig, bool sync)
{
    rig->sync = sync;
    rig->uffd = rig_uffd(sync);
    rig->pagemap = rig_pagemap();
    assert_int_equal(uffd_register_wp(rig->uffd, rig->memory, rig->pages * PAGE), 0);
}

void rig_end(struct rig *rig)
{
    if (rig->uffd >= 0)
        close(rig->uffd);
    if (rig->pagemap >= 0)
        close(rig->pagemap);
    munmap(rig->memory, rig->pages * PAGE);
    close(rig->fd);
    track_hub_free(rig->hub);
}

static int read_page(void *opaque, uint64_t iova, void *page)
{
    const struct rig_device *device = opaque;

    return iommu_peek_page(device->iommu, iova, page);
}

/* The kernel makes the writer wait, which the sanitizer does not know. */
__attribute__((no_sanitize("thread"))) static void written(void *opaque, struct range range)
{
    struct rig_device *device = opaque;

    atomic_fetch_add(&device->told, (unsigned)((range.last - range.first + 1) / PAGE));
    if (device->on_written)
        device->on_written(device, range);
}

void rig_add_device(struct rig *rig, struct rig_device *device, bool notify)
{
    device->ops = (struct track_ops){.read = read_page, .written = notify ? written : NULL};
    assert_int_equal(iommu_new(&rig->log, "device", &device->iommu), 0);
    assert_int_equal(track_new(rig->hub, &device->ops, device, &device->track), 0);
    if (notify)
        assert_int_equal(track_set_mode(device->track, UMDEV_TRACK_NOTIFY), 0);
    iommu_set_track(device->iommu, rig->hub, device->track);
}

void rig_give(struct rig *rig, struct rig_device *device)
{
    assert_int_equal(track_give(device->track, dup(rig->uffd), dup(rig->pagemap), rig->sync), 0);
}

void rig_remove_device(struct rig_device *device)
{
    iommu_track_end(device->iommu);
    track_end(device->track);
    iommu_free(device->iommu);
    track_free(device->track);
}

int rig_map(struct rig *rig, struct rig_device *device, uint64_t iova, size_t page, size_t count,
            bool at)
{
    if (!at)
        return iommu_map(device->iommu, IOVA(iova), count * PAGE, rig->fd, page * PAGE, UMDEV_RW);
    return iommu_map_at(device->iommu, IOVA(iova), count * PAGE, rig->fd, page * PAGE, UMDEV_RW,
                        (uintptr_t)rig->memory + page * PAGE);
}

void rig_unmap(struct rig_device *device, uint64_t iova, size_t count)
{
    uint64_t unmapped;

    assert_int_equal(iommu_unmap(device->iommu, IOVA(iova), count * PAGE, 1000, &unmapped), 0);
    assert_int_equal(unmapped, count * PAGE);
}

size_t rig_collect(struct rig_device *device, const struct umdev_track_range **ranges)
{
    size_t count;

    assert_int_equal(track_collect(device->track, ranges, &count), 0);
    return count;
}

void rig_expect(struct rig_device *device, uint64_t iova, uint64_t size, uint64_t flags)
{
    const struct umdev_track_range *ranges;
    size_t count = rig_collect(device, &ranges);

    assert_int_equal(count, size ? 1 : 0);
    if (!size)
        return;
    assert_int_equal(ranges[0].iova.value, iova);
    assert_int_equal(ranges[0].size, size);
    assert_int_equal(ranges[0].flags, flags);
}
