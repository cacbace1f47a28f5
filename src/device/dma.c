/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client memory: mapping it for a client, reaching it for a driver.
 */
#include "device/device_priv.h"
#include "iommu/dirty_log.h"

#include <inttypes.h>

/* ------------------------------------------------------------------ for the client */

int device_dma_map(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, int fd,
                   uint64_t offset, unsigned prot)
{
    return iommu_map(dev->iommu, iova, size, fd, offset, prot);
}

static void driver_dma_unmap(struct umdev_device *dev, struct range range)
{
    SERIALISE_FOR_SCOPE(dev);

    if (dev->driver->dma_unmap)
        dev->driver->dma_unmap(dev, umdev_iova(range.first), umdev_iova(range.last));
}

/* The driver kept a window too long: without the client nobody waits for that memory. */
static void unmap_timed_out(struct umdev_device *dev, struct range range)
{
    umdev_device_log(dev, UMDEV_LOG_ERROR,
                     "driver %s still uses client memory in [0x%" PRIx64 ", 0x%" PRIx64
                     "] %d s after its unmap: the client is cut off",
                     dev->driver->name, range.first, range.last, dev->unmap_timeout_ms / 1000);
    device_disconnect(dev);
}

/* The windows are gone: the driver's threads may wait for the client again. */
static void unmap_waited(struct umdev_device *dev)
{
    if (atomic_exchange(&dev->unmap_waited, false))
        device_dma_resume(dev);
}

int device_dma_unmap(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, uint64_t *unmapped)
{
    struct range range;
    int ret = iommu_unmap_begin(dev->iommu, iova, size);

    if (ret)
        return ret;
    if (range_make(iova.value, size, &range) < 0)
        return -EINVAL;
    driver_dma_unmap(dev, range);
    ret = iommu_unmap(dev->iommu, iova, size, dev->unmap_timeout_ms, unmapped);
    unmap_waited(dev);
    device_check_torn(dev);
    if (ret == -ETIMEDOUT)
        unmap_timed_out(dev, range);
    return ret;
}

int device_dma_unmap_dirty(struct umdev_device *dev, umdev_iova_t iova, uint64_t size,
                           uint64_t page_size, uint64_t *bitmap, uint64_t *unmapped)
{
    struct dirty_log *log = iommu_dirty_log(dev->iommu);
    uint64_t bytes;
    int ret = dirty_log_check(log, iova.value, size, page_size, &bytes);

    if (!ret)
        ret = device_dma_unmap(dev, iova, size, unmapped);
    return ret ? ret : dirty_log_report(log, iova.value, size, page_size, bitmap);
}

int device_dma_unmap_all(struct umdev_device *dev, uint64_t *unmapped)
{
    const struct range all = {0, UINT64_MAX};
    struct iommu_stats stats;
    int ret;

    iommu_unmap_begin_all(dev->iommu);
    driver_dma_unmap(dev, all);
    iommu_get_stats(dev->iommu, &stats);
    ret = iommu_unmap_all(dev->iommu, dev->unmap_timeout_ms);
    unmap_waited(dev);
    device_check_torn(dev);
    if (ret == -ETIMEDOUT)
        unmap_timed_out(dev, all);
    if (ret == 0)
        *unmapped = stats.mapped_bytes;
    return ret;
}

/* What the driver holds may need what is taken away: it is asked to let go, as for an unmap. */
int device_dma_protect(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, unsigned prot)
{
    struct range range;
    int ret;

    if (prot != UMDEV_RW) {
        ret = iommu_protect_begin(dev->iommu, iova, size, prot);
        if (ret)
            return ret;
        if (!range_make(iova.value, size, &range))
            driver_dma_unmap(dev, range);
    }
    ret = iommu_protect(dev->iommu, iova, size, prot);
    device_check_torn(dev);
    return ret;
}

/* ------------------------------------------------------------------ for the driver */

int device_dma_check(const struct umdev_device *dev)
{
    if (!atomic_load_explicit(&dev->has_client, memory_order_acquire) ||
        !(pci_config_command(dev->config) & PCI_CONFIG_COMMAND_MASTER))
        return -ENODEV;
    return atomic_load_explicit(&dev->failed, memory_order_relaxed) ? -EIO : 0;
}

void device_dma_check_lost(struct umdev_device *dev)
{
    if (!iommu_lost(dev->iommu) || atomic_exchange(&dev->lost_reported, true))
        return;
    umdev_device_log(dev, UMDEV_LOG_WARNING,
                     "the client truncated a file it had mapped for DMA: it is cut off");
    device_disconnect(dev);
}

/* Memory that has a file all the way; EOPNOTSUPP: it may have not. */
static int dma_move(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len)
{
    int ret = device_dma_check(dev);

    if (ret < 0)
        return ret;
    ret = write ? iommu_write(dev->iommu, iova, buf, len) : iommu_read(dev->iommu, iova, buf, len);
    device_dma_check_lost(dev);
    return ret;
}

int umdev_dma_read(struct umdev_device *dev, umdev_iova_t iova, void *buf, size_t len)
{
    int ret = dma_move(dev, false, iova, buf, len);

    return ret == -EOPNOTSUPP ? device_dma_wait(dev, false, iova, buf, len) : ret;
}

int umdev_dma_write(struct umdev_device *dev, umdev_iova_t iova, const void *buf, size_t len)
{
    int ret = dma_move(dev, true, iova, (void *)buf, len);

    return ret == -EOPNOTSUPP ? device_dma_wait(dev, true, iova, (void *)buf, len) : ret;
}

static int dma_post(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len,
                    umdev_dma_done_fn *done, void *opaque)
{
    int ret = dma_move(dev, write, iova, buf, len);

    if (ret == -EOPNOTSUPP)
        return device_dma_post(dev, write, iova, buf, len, done, opaque);
    if (ret == 0)
        done(dev, 0, opaque);
    return ret;
}

int umdev_dma_read_async(struct umdev_device *dev, umdev_iova_t iova, void *buf, size_t len,
                         umdev_dma_done_fn *done, void *opaque)
{
    return dma_post(dev, false, iova, buf, len, done, opaque);
}

int umdev_dma_write_async(struct umdev_device *dev, umdev_iova_t iova, const void *buf, size_t len,
                          umdev_dma_done_fn *done, void *opaque)
{
    return dma_post(dev, true, iova, (void *)buf, len, done, opaque);
}

/*
 * A copy by way of this process, a piece at a time, from the end where the ranges overlap so that
 * the target would overwrite what is still to be read.
 */
static int dma_copy_pieces(struct umdev_device *dev, uint64_t dst, uint64_t src, size_t len)
{
    CLEANUP_FREE void *buf = malloc(MIN(len, DEVICE_DMA_CHUNK));
    bool backward = dst > src && dst - src < len;
    size_t piece;
    int ret = buf ? 0 : -ENOMEM;

    for (size_t moved = 0; !ret && moved < len; moved += piece) {
        size_t at;

        piece = MIN(len - moved, DEVICE_DMA_CHUNK);
        at = backward ? len - moved - piece : moved;
        ret = umdev_dma_read(dev, umdev_iova(src + at), buf, piece);
        if (!ret)
            ret = umdev_dma_write(dev, umdev_iova(dst + at), buf, piece);
    }
    return ret;
}

int umdev_dma_copy(struct umdev_device *dev, umdev_iova_t dst, umdev_iova_t src, size_t len)
{
    bool remote;
    int ret = device_dma_check(dev);

    if (ret < 0)
        return ret;
    ret = iommu_copy(dev->iommu, dst, src, len);
    device_dma_check_lost(dev);
    if (ret != -EOPNOTSUPP)
        return ret;
    ret = iommu_check(dev->iommu, src, len, UMDEV_READ, &remote);
    if (!ret)
        ret = iommu_check(dev->iommu, dst, len, UMDEV_WRITE, &remote);
    if (!ret && device_dma_would_deadlock(dev))
        ret = -EDEADLK;
    return ret ? ret : dma_copy_pieces(dev, dst.value, src.value, len);
}

int umdev_dma_acquire(struct umdev_device *dev, umdev_iova_t iova, size_t len, unsigned prot,
                      struct umdev_dma_window *window)
{
    int ret = device_dma_check(dev);

    if (ret < 0)
        return ret;
    return iommu_acquire(dev->iommu, iova, len, prot, &window->ptr, &window->len, &window->hold);
}

void umdev_dma_release(struct umdev_device *dev, struct umdev_dma_window *window)
{
    iommu_release(dev->iommu, window->hold);
    *window = (struct umdev_dma_window){0};
    device_dma_check_lost(dev);
}
