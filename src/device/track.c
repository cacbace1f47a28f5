/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write tracking: what of it is the device's.
 */
#include "device/device_priv.h"

static int read_page(void *opaque, uint64_t iova, void *page)
{
    struct umdev_device *dev = opaque;
    int ret = iommu_peek_page(dev->iommu, iova, page);

    device_dma_check_lost(dev);
    return ret;
}

static void page_written(void *opaque, struct range range)
{
    struct umdev_device *dev = opaque;
    SERIALISE_FOR_SCOPE(dev);

    dev->driver->page_written(dev, umdev_iova(range.first), umdev_iova(range.last));
}

int device_make_track(struct umdev_device *dev, const struct device_setup *setup)
{
    const struct track_ops ops = {
        .read = read_page,
        .written = dev->driver->page_written ? page_written : NULL,
    };
    struct track_hub *hub = setup->track_hub;
    int ret = 0;

    if (!hub) {
        ret = track_hub_new(&dev->own_hub);
        hub = dev->own_hub;
    }
    if (!ret)
        ret = track_new(hub, &ops, dev, &dev->track);
    if (!ret)
        iommu_set_track(dev->iommu, hub, dev->track);
    return ret;
}

void device_track_end(struct umdev_device *dev)
{
    if (!dev->track)
        return;
    iommu_track_end(dev->iommu);
    track_end(dev->track);
}

void device_free_track(struct umdev_device *dev)
{
    track_free(dev->track);
    track_hub_free(dev->own_hub);
}

/* ------------------------------------------------------------------ for the client */

bool device_track_wants_notice(struct umdev_device *dev)
{
    struct track_stats stats;

    track_get_stats(dev->track, &stats);
    return stats.mode == UMDEV_TRACK_NOTIFY;
}

int device_track_give(struct umdev_device *dev, int uffd, int pagemap, bool sync)
{
    return track_give(dev->track, uffd, pagemap, sync);
}

int device_dma_map_at(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, int fd,
                      uint64_t offset, unsigned prot, uint64_t hva)
{
    if (!track_has_space(dev->track) || hva >= TRACK_FILE_KEYS)
        return -EINVAL;
    return iommu_map_at(dev->iommu, iova, size, fd, offset, prot, hva);
}

/* ------------------------------------------------------------------ for the driver */

static int check(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, struct range *range)
{
    if (!atomic_load_explicit(&dev->has_client, memory_order_acquire))
        return -ENODEV;
    return range_make(iova.value, size, range) ? -EINVAL : 0;
}

int umdev_track_set_mode(struct umdev_device *dev, enum umdev_track_mode mode)
{
    return track_set_mode(dev->track, mode);
}

int umdev_track_add(struct umdev_device *dev, umdev_iova_t iova, uint64_t size)
{
    struct range range;
    int ret = check(dev, iova, size, &range);

    if (!ret)
        ret = iommu_track_begin(dev->iommu);
    return ret ? ret : track_add(dev->track, range);
}

int umdev_track_remove(struct umdev_device *dev, umdev_iova_t iova, uint64_t size)
{
    struct range range;
    int ret = check(dev, iova, size, &range);

    return ret ? ret : track_remove(dev->track, range);
}

int umdev_track_seen(struct umdev_device *dev, umdev_iova_t iova, const void *page)
{
    struct range range;
    int ret = check(dev, iova, PAGE_SIZE_4K, &range);

    return ret ? ret : track_seen(dev->track, range, page);
}

int umdev_track_collect(struct umdev_device *dev, const struct umdev_track_range **ranges,
                        size_t *count)
{
    if (!atomic_load_explicit(&dev->has_client, memory_order_acquire))
        return -ENODEV;
    return track_collect(dev->track, ranges, count);
}
