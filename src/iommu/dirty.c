/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An iommu's log of what the device has written.
 */
#include "iommu/private.h"

struct dirty_log *iommu_dirty_log(struct iommu *iommu)
{
    return &iommu->dirty;
}

/* What the driver made of ptr and len in the meantime may be wrong: no more than the mapping. */
static struct range window_range(const struct iommu_mapping *mapping, const uint8_t *ptr,
                                 size_t len)
{
    uint64_t offset = (uintptr_t)ptr - (uintptr_t)mapping->bytes;
    uint64_t size_minus_1 = range_size_minus_1(mapping->range);

    if (len == 0 || offset > size_minus_1 || len - 1 > size_minus_1 - offset)
        return mapping->range;
    return (struct range){mapping->range.first + offset, mapping->range.first + offset + (len - 1)};
}

void iommu_note_window(struct iommu *iommu, void *hold, const void *ptr, size_t len)
{
    if (iommu_hold_writes(hold))
        iommu_note_write(iommu, window_range(iommu_hold_mapping(hold), ptr, len));
}
