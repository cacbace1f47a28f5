/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections: from an IOVA range to the mappings under it, without locks.
 *
 * A section has a slot and a table. Until it ends, or its slot is said to hold one mapping
 * (iommu_slot_hold), the table stays as it is and an unmap of anything in it waits; so it waits for
 * nothing itself but the end of a copy. The walk over all mappings of a range:
 *
 *   struct iommu_place place = iommu_place_at(section.root, range.first);
 *   while ((entry = iommu_place_entry(&place)) && entry->first <= range.last) {
 *       …
 *       iommu_place_next(&place);
 *   }
 */
#ifndef IOMMU_LOOKUP_H
#define IOMMU_LOOKUP_H

#include "iommu/private.h"

#include <errno.h>

struct iommu_section {
    struct iommu_slot *slot;
    const struct iommu_directory *root; /* NULL: nothing is mapped */
};

/* −ENOMEM. */
static inline int iommu_section_begin(struct iommu *iommu, struct iommu_section *section)
{
    section->slot = iommu_slot_claim(&iommu->readers);
    if (__builtin_expect(!section->slot, 0))
        return -ENOMEM;
    /* Sequentially consistent: after the claim (iommu/readers.h). */
    section->root = atomic_load(&iommu->table.root);
    return 0;
}

/* The rest of iommu_slot_release(). */
void iommu_slot_release_waited(struct iommu *iommu, struct iommu_slot *slot, uintptr_t held);

static inline void iommu_slot_release(struct iommu *iommu, struct iommu_slot *slot)
{
    uintptr_t held = atomic_load_explicit(&slot->holds, memory_order_relaxed);

    if (__builtin_expect(!iommu_slot_try_release(slot), 0))
        iommu_slot_release_waited(iommu, slot, held);
}

static inline void iommu_section_end(struct iommu *iommu, const struct iommu_section *section)
{
    iommu_slot_release(iommu, section->slot);
}

/* The rest of iommu_section_find(). */
const struct iommu_entry *iommu_section_search(const struct iommu_section *section, uint64_t iova);

/* The entry over `iova`, good until the slot is given back; NULL: none. */
static inline const struct iommu_entry *iommu_section_find(const struct iommu_section *section,
                                                           uint64_t iova)
{
    const struct iommu_slot *slot = section->slot;

    if (!section->root)
        return NULL;
    for (unsigned i = 0; i < IOMMU_SLOT_CACHED; i++) {
        const struct iommu_entry *entry = &slot->cached[i];

        if (entry->first <= iova && iova <= entry->last &&
            slot->cached_version == section->root->version)
            return entry;
    }
    return iommu_section_search(section, iova);
}

/* Whether the device may access the memory like that. */
static inline int iommu_entry_check(const struct iommu_entry *entry, unsigned prot)
{
    if (prot & ~iommu_entry_prot(entry))
        return -EPERM;
    return entry->bytes ? 0 : -EOPNOTSUPP;
}

/* The rest of iommu_section_range(), for a range that goes on after its first entry. */
int iommu_section_range_rest(const struct iommu_section *section, struct range range,
                             unsigned prot);

/*
 * The whole range is mapped with `prot`, and all of it has bytes here; *entry: that of its first
 * byte. EFAULT, EPERM, EOPNOTSUPP: of the first byte that is not so.
 */
static inline int iommu_section_range(const struct iommu_section *section, struct range range,
                                      unsigned prot, const struct iommu_entry **entry)
{
    int ret;

    *entry = iommu_section_find(section, range.first);
    if (!*entry)
        return -EFAULT;
    ret = iommu_entry_check(*entry, prot);
    if (ret || range.last <= (*entry)->last)
        return ret;
    return iommu_section_range_rest(section, range, prot);
}

static inline uint8_t *iommu_entry_at(const struct iommu_entry *entry, uint64_t iova)
{
    return entry->bytes + (iova - entry->first);
}

/* The bytes from `iova`, an address inside, to the entry's end. */
static inline uint64_t iommu_entry_left(const struct iommu_entry *entry, uint64_t iova)
{
    /* Where bytes are asked for there is a file, and sizes are below 2^64. */
    return entry->last - iova + 1;
}

/*
 * EIO: the client has taken memory away. `loss` is that of the section's table, where a file was
 * found. Meant for the end of an access: the fault comes in its middle.
 */
static inline int iommu_loss_check(const struct iommu_loss *loss)
{
    /* The flag may be set by a signal in this thread, at any access before this line. */
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&loss->lost, memory_order_relaxed) ? -EIO : 0;
}

#endif
