/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins and the error state: what a driver's engine may reach by bus addresses, and the end of it.
 */
#include "device/device_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* ------------------------------------------------------------------ the domain's callbacks */

static int domain_map(void *opaque, uint64_t bus, void *memory, uint64_t size, unsigned prot)
{
    struct umdev_device *dev = opaque;

    return driver_result(dev->domain_ops->map(dev, umdev_bus(bus), memory, size, prot));
}

static void domain_unmap(void *opaque, uint64_t bus, uint64_t size)
{
    struct umdev_device *dev = opaque;

    dev->domain_ops->unmap(dev, umdev_bus(bus), size);
}

static void domain_flush(void *opaque)
{
    struct umdev_device *dev = opaque;

    dev->domain_ops->flush(dev);
}

void device_set_pinning(struct umdev_device *dev, const struct device_setup *setup)
{
    struct iommu_pinning pinning = {
        .domain = setup->domain,
        .opaque = dev,
        .all = dev->type->pin_mode == UMDEV_PIN_ALL,
        .limit = dev->type->pin_limit,
    };

    dev->domain_ops = setup->domain_ops;
    if (dev->domain_ops && dev->domain_ops->map)
        pinning.ops.map = domain_map;
    if (dev->domain_ops && dev->domain_ops->unmap)
        pinning.ops.unmap = domain_unmap;
    if (dev->domain_ops && dev->domain_ops->flush)
        pinning.ops.flush = domain_flush;
    iommu_set_pinning(dev->iommu, &pinning);
}

/* ------------------------------------------------------------------ for the driver */

int umdev_dma_pin(struct umdev_device *dev, umdev_iova_t iova, size_t count, unsigned prot,
                  umdev_bus_t *bus)
{
    int ret;

    if (!dev->driver->dma_unmap)
        return -EINVAL;
    ret = device_dma_check(dev);
    if (!ret)
        ret = iommu_pin(dev->iommu, iova, count, prot, bus);
    device_dma_check_lost(dev);
    return ret;
}

void umdev_dma_unpin(struct umdev_device *dev, umdev_iova_t iova, size_t count)
{
    size_t unknown = iommu_unpin(dev->iommu, iova, count);

    /* What was torn is no mistake of the unpin. */
    if (unknown && !atomic_load_explicit(&dev->failed, memory_order_relaxed))
        umdev_device_log(dev, UMDEV_LOG_ERROR,
                         "driver %s unpins %zu pages from IOVA 0x%" PRIx64
                         " on, of which %zu are not pinned",
                         dev->driver->name, count, iova.value, unknown);
}

/* ------------------------------------------------------------------ the error state */

void umdev_device_fail(struct umdev_device *dev, const char *reason)
{
    if (atomic_exchange(&dev->failed, true))
        return;
    umdev_device_log(dev, UMDEV_LOG_ERROR, "the device has failed: %s", reason);
    irqs_trigger(dev->irqs, UMDEV_IRQ_ERR, 0);
}

void device_check_torn(struct umdev_device *dev)
{
    uint64_t torn = iommu_take_torn(dev->iommu);
    char reason[128];

    if (!torn)
        return;
    snprintf(reason, sizeof(reason),
             "driver %s left %" PRIu64 " pins in client memory that was taken back",
             dev->driver->name, torn);
    umdev_device_fail(dev, reason);
}
