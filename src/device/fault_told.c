/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the client was told of: a bit for each page of each region that faults.
 *
 * The bits are there from the client's first fault channel on, and begin anew with each one.
 */
#include "device/device_priv.h"

#define WORD_BITS 64u

/* The words of a region, and the bits of its last one beyond the region are never set. */
static uint64_t told_words(const struct region *region)
{
    return (region->size / PAGE_SIZE_4K + WORD_BITS - 1) / WORD_BITS;
}

int fault_told_reset(struct umdev_device *dev)
{
    for (unsigned i = 0; i < dev->nregions; i++) {
        struct region *region = &dev->regions[i];

        if (!(region->flags & UMDEV_BAR_FAULT))
            continue;
        free(region->told);
        region->told = calloc(told_words(region), sizeof(*region->told));
        if (!region->told)
            return -ENOMEM;
    }
    return 0;
}

/* The pages of one word that lie in [page, last], and where the next word begins. */
static uint64_t told_mask(uint64_t page, uint64_t last, uint64_t *next)
{
    uint64_t first_bit = page % WORD_BITS;
    uint64_t count = MIN(last - page + 1, WORD_BITS - first_bit);
    uint64_t mask = count == WORD_BITS ? UINT64_MAX : ((UINT64_C(1) << count) - 1) << first_bit;

    *next = page + count;
    return mask;
}

void fault_told_add(struct umdev_device *dev, unsigned index, struct range range)
{
    uint64_t *told = dev->regions[index].told;
    uint64_t page = range.first / PAGE_SIZE_4K, last = range.last / PAGE_SIZE_4K, next;

    for (; told && page <= last; page = next) {
        uint64_t mask = told_mask(page, last, &next);

        told[page / WORD_BITS] |= mask;
    }
}

bool fault_told_any(const struct umdev_device *dev, unsigned index, struct range range)
{
    const uint64_t *told = dev->regions[index].told;
    uint64_t page = range.first / PAGE_SIZE_4K, last = range.last / PAGE_SIZE_4K, next;

    for (; told && page <= last; page = next)
        if (told[page / WORD_BITS] & told_mask(page, last, &next))
            return true;
    return false;
}

uint64_t fault_told_remove(struct umdev_device *dev, unsigned index, struct range range)
{
    uint64_t *told = dev->regions[index].told;
    uint64_t page = range.first / PAGE_SIZE_4K, last = range.last / PAGE_SIZE_4K, next, count = 0;

    for (; told && page <= last; page = next) {
        uint64_t mask = told_mask(page, last, &next);

        count += (uint64_t)__builtin_popcountll(told[page / WORD_BITS] & mask);
        told[page / WORD_BITS] &= ~mask;
    }
    return count;
}
