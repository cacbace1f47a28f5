/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that may lie, wholly or in part, in memory without a file: this folder can tell where they
 * are and what is allowed, others move the bytes.
 */
#include "iommu/lookup.h"
#include "iommu/private.h"

/* The piece of a mapped range that begins with it. */
static int lookup_piece(const struct iommu_entry *entry, struct range range, unsigned prot,
                        size_t *piece, bool *remote)
{
    if (!entry)
        return -EFAULT;
    if (prot & ~iommu_entry_prot(entry))
        return -EPERM;
    *piece = (size_t)(MIN(entry->last, range.last) - range.first) + 1;
    *remote = entry->bytes == NULL;
    return 0;
}

int iommu_piece(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, size_t *piece,
                bool *remote)
{
    struct iommu_section section;
    struct range range;
    int ret = range_make(iova.value, len, &range);

    if (!ret)
        ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    ret = lookup_piece(iommu_section_find(&section, range.first), range, prot, piece, remote);
    iommu_section_end(iommu, &section);
    return ret;
}

int iommu_check(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, bool *remote)
{
    struct iommu_section section;
    struct range range;
    size_t piece;
    bool here;
    int ret = range_make(iova.value, len, &range);

    if (!ret)
        ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    *remote = false;
    for (;;) {
        ret = lookup_piece(iommu_section_find(&section, range.first), range, prot, &piece, &here);
        if (ret)
            break;
        *remote |= here;
        if (range_size_minus_1(range) == piece - 1)
            break;
        range.first += piece;
    }
    iommu_section_end(iommu, &section);
    return ret;
}

void iommu_count_remote(struct iommu *iommu, uint64_t read, uint64_t written)
{
    struct iommu_slot *slot = iommu_slot_claim(&iommu->readers);

    /* Without memory the count is a little short. */
    if (!slot)
        return;
    iommu_slot_count(slot, read, written);
    iommu_slot_release(iommu, slot);
}

void iommu_on_wait(struct iommu *iommu, void (*waiting)(void *opaque), void *opaque)
{
    iommu->waiting = waiting;
    iommu->waiting_opaque = opaque;
}
