/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/lookup.h"

const struct iommu_entry *iommu_section_search(const struct iommu_section *section, uint64_t iova)
{
    const struct iommu_entry *found = iommu_directory_find(section->root, iova);
    struct iommu_slot *slot = section->slot;
    struct iommu_entry *cached;

    if (!found)
        return NULL;
    if (slot->cached_version != section->root->version) {
        for (unsigned i = 0; i < IOMMU_SLOT_CACHED; i++)
            slot->cached[i] = (struct iommu_entry){.first = 1, .last = 0};
        slot->cached_version = section->root->version;
    }
    cached = &slot->cached[slot->cached_next];
    slot->cached_next = (slot->cached_next + 1) % IOMMU_SLOT_CACHED;
    *cached = *found;
    return cached;
}

int iommu_section_range_rest(const struct iommu_section *section, struct range range, unsigned prot)
{
    struct iommu_place place = iommu_place_at(section->root, range.first);
    const struct iommu_entry *entry = iommu_place_entry(&place);
    uint64_t last = entry->last;

    /* `last` is below range.last here: no sum can wrap. */
    while (last < range.last) {
        int ret;

        iommu_place_next(&place);
        entry = iommu_place_entry(&place);
        if (!entry || entry->first != last + 1)
            return -EFAULT;
        ret = iommu_entry_check(entry, prot);
        if (ret)
            return ret;
        last = entry->last;
    }
    return 0;
}

/*
 * Somebody waits for the slot, or gave up. Inside the lock: after it the waiting unmap may end, and
 * the iommu's owner free it.
 */
void iommu_slot_release_waited(struct iommu *iommu, struct iommu_slot *slot, uintptr_t held)
{
    uint64_t state;

    pthread_mutex_lock(&iommu->windows);
    /* The flags are set under the lock: this is the last word. */
    state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    atomic_store(&slot->state,
                 (state & ~(IOMMU_SLOT_FLAGS | IOMMU_SLOT_BUSY)) + IOMMU_SLOT_SEQUENCE);
    pthread_cond_broadcast(&iommu->drained);
    pthread_mutex_unlock(&iommu->windows);
    if (state & IOMMU_SLOT_ORPHAN) {
        iommu_mapping_put((struct iommu_mapping *)(held & ~IOMMU_HOLDS_WINDOW));
        iommu_put(iommu);
    }
}
