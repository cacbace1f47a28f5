/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_DEVICE_FEATURE: what there is, and the rules for asking.
 */
#include "device/device_priv.h"

#define OPERATIONS (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)

static const struct feature {
    uint32_t index, operations;
    size_t size; /* of the fixed part of its data */
} features[] = {
    {VFIO_DEVICE_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET,
     sizeof(struct vfio_device_feature_dma_logging_control) - sizeof(uint64_t)},
    {VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, VFIO_DEVICE_FEATURE_SET, 0},
    {VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, VFIO_DEVICE_FEATURE_GET,
     sizeof(struct vfio_device_feature_dma_logging_report) - sizeof(uint64_t)},
};

static const struct feature *feature_find(uint32_t index)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (features[i].index == index)
            return &features[i];
    }
    return NULL;
}

int device_feature_check(uint32_t flags, size_t size)
{
    const struct feature *feature = feature_find(flags & VFIO_DEVICE_FEATURE_MASK);
    bool probe = flags & VFIO_DEVICE_FEATURE_PROBE;
    uint32_t operations = flags & OPERATIONS;

    if (flags & ~(uint32_t)(VFIO_DEVICE_FEATURE_MASK | VFIO_DEVICE_FEATURE_PROBE | OPERATIONS) ||
        (operations == OPERATIONS && !probe))
        return -EINVAL;
    if (!feature)
        return -ENOTTY;
    if (operations & ~feature->operations)
        return -EINVAL;
    if (probe)
        return 0;
    return operations && size >= feature->size ? 1 : -EINVAL;
}

struct dirty_log *device_dirty_log(struct umdev_device *dev)
{
    return iommu_dirty_log(dev->iommu);
}
