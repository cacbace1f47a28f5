/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From an IOVA range to the mappings under it. Called with the iommu's `lock` held for reading.
 */
#ifndef IOMMU_LOOKUP_H
#define IOMMU_LOOKUP_H

#include "iommu/private.h"

#include <errno.h>

/* Whether the device may access the mapping like that. */
static inline int iommu_lookup_check(const struct iommu_mapping *mapping, unsigned prot)
{
    if (prot & ~mapping->prot)
        return -EPERM;
    return mapping->bytes ? 0 : -EOPNOTSUPP;
}

/* The rest of iommu_lookup(), for a range that goes on after the mapping at `index`. */
int iommu_lookup_rest(struct iommu *iommu, struct range range, unsigned prot, size_t index);

/*
 * The whole range is mapped with `prot`, and all of it has bytes here; *index: the table's entry of
 * its first byte, the others follow. EFAULT, EPERM, EOPNOTSUPP: of the first byte that is not so.
 */
static inline int iommu_lookup(struct iommu *iommu, struct range range, unsigned prot,
                               size_t *index)
{
    const struct iommu_mapping *mapping;
    int ret;

    if (!iommu_table_find(&iommu->table, range.first, index))
        return -EFAULT;
    mapping = iommu->table.entries[*index].mapping;
    ret = iommu_lookup_check(mapping, prot);
    if (ret || range.last <= mapping->range.last)
        return ret;
    return iommu_lookup_rest(iommu, range, prot, *index);
}

/*
 * EIO: the client has taken memory away. After a lookup that succeeded. Meant for the end of an
 * access: the fault comes in its middle.
 */
static inline int iommu_lookup_lost(const struct iommu *iommu)
{
    /* The flag may be set by a signal in this thread, at any access before this line. */
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&iommu->loss->lost, memory_order_relaxed) ? -EIO : 0;
}

#endif
