/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/mapping.h"

#include <errno.h>
#include <stdlib.h>

int iommu_mapping_new(struct range range, struct iommu_mapping **mapping)
{
    struct iommu_mapping *made = malloc(sizeof(*made));

    if (!made)
        return -ENOMEM;
    *made = (struct iommu_mapping){.range = range, .hva = IOMMU_NO_HVA, .refs = 1};
    *mapping = made;
    return 0;
}

int iommu_mapping_new_file(struct range range, struct iommu_view *view, uint64_t offset,
                           struct iommu_mapping **mapping)
{
    int ret = iommu_mapping_new(range, mapping);

    if (ret) {
        iommu_view_put(view);
        return ret;
    }
    (*mapping)->view = view;
    (*mapping)->bytes = iommu_view_at(view, offset);
    return 0;
}

void iommu_mapping_free(struct iommu_mapping *mapping)
{
    if (mapping->view)
        iommu_view_put(mapping->view);
    free(mapping);
}

void iommu_mapping_put(struct iommu_mapping *mapping)
{
    if (atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_acq_rel) == 1)
        iommu_mapping_free(mapping);
}
