/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that may lie, wholly or in part, in memory without a file: this folder can tell where they
 * are and what is allowed, others move the bytes.
 */
#include "iommu/lookup.h"
#include "iommu/private.h"

/* The piece of a mapped range that begins with it. With `lock` held. */
static int lookup_piece(struct iommu *iommu, struct range range, unsigned prot, size_t *piece,
                        bool *remote)
{
    const struct iommu_mapping *mapping;
    uint64_t left;
    size_t index;

    if (!iommu_table_find(&iommu->table, range.first, &index))
        return -EFAULT;
    mapping = iommu->table.entries[index].mapping;
    if (prot & ~mapping->prot)
        return -EPERM;
    left = MIN(mapping->range.last, range.last) - range.first;
    *piece = (size_t)left + 1;
    *remote = mapping->bytes == NULL;
    return 0;
}

int iommu_piece(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, size_t *piece,
                bool *remote)
{
    struct range range;
    int ret = range_make(iova.value, len, &range);

    if (ret)
        return ret;
    pthread_rwlock_rdlock(&iommu->lock);
    ret = lookup_piece(iommu, range, prot, piece, remote);
    pthread_rwlock_unlock(&iommu->lock);
    return ret;
}

int iommu_check(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, bool *remote)
{
    struct range range;
    size_t piece;
    bool here;
    int ret = range_make(iova.value, len, &range);

    if (ret)
        return ret;
    *remote = false;
    pthread_rwlock_rdlock(&iommu->lock);
    for (;;) {
        ret = lookup_piece(iommu, range, prot, &piece, &here);
        if (ret)
            break;
        *remote |= here;
        if (range.last - range.first == piece - 1)
            break;
        range.first += piece;
    }
    pthread_rwlock_unlock(&iommu->lock);
    return ret;
}

void iommu_count_remote(struct iommu *iommu, uint64_t read, uint64_t written)
{
    iommu_count(iommu, read, written);
}

void iommu_on_wait(struct iommu *iommu, void (*waiting)(void *opaque), void *opaque)
{
    iommu->waiting = waiting;
    iommu->waiting_opaque = opaque;
}
