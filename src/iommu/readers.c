/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/readers.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often a slot is looked at before its owner is taken to be asleep. */
#define SPINS  200
#define YIELDS 20

static struct iommu_slot_block *block_new(void)
{
    struct iommu_slot_block *block =
        aligned_alloc(_Alignof(struct iommu_slot_block), sizeof(*block));

    if (block)
        memset(block, 0, sizeof(*block));
    return block;
}

void iommu_readers_fini(struct iommu_readers *readers)
{
    struct iommu_slot_block *block = readers->first;

    while (block) {
        struct iommu_slot_block *next = block->next;

        free(block);
        block = next;
    }
}

static struct iommu_slot *block_claim(struct iommu_slot_block *block, unsigned index)
{
    for (unsigned i = 0; i < IOMMU_BLOCK_SLOTS; i++) {
        struct iommu_slot *slot = &block->slots[(index + i) % IOMMU_BLOCK_SLOTS];

        if (iommu_slot_try(slot))
            return slot;
    }
    return NULL;
}

/* Puts a new block at the end: one that somebody else put there will do as well. */
static struct iommu_slot_block *block_append(struct iommu_slot_block *_Atomic *end)
{
    struct iommu_slot_block *made = block_new();
    struct iommu_slot_block *other = NULL;

    if (made && !atomic_compare_exchange_strong(end, &other, made)) {
        free(made);
        made = other;
    }
    return made;
}

struct iommu_slot *iommu_slot_claim_other(struct iommu_readers *readers, unsigned index)
{
    struct iommu_slot_block *_Atomic *link = &readers->first;
    struct iommu_slot_block *block = readers->current;
    struct iommu_slot *slot = block ? block_claim(block, index) : NULL;

    /* Every window that is held has one: look everywhere, and stay where there is room. */
    while (!slot) {
        block = *link;
        if (!block)
            block = block_append(link);
        if (!block)
            return NULL;
        slot = block_claim(block, index);
        if (slot)
            readers->current = block;
        link = &block->next;
    }
    return slot;
}

/* Whether the slot's owner of now may see a table of before. */
static bool slot_reads(struct iommu_slot *slot, uint64_t *state)
{
    *state = atomic_load(&slot->state);
    return (*state & IOMMU_SLOT_BUSY) && !(*state & IOMMU_SLOT_ORPHAN) &&
           atomic_load_explicit(&slot->holds, memory_order_acquire) == 0;
}

static bool slot_passed(struct iommu_slot *slot, bool wait)
{
    uint64_t seen;
    uint64_t now;

    if (!slot_reads(slot, &seen))
        return true;
    for (unsigned i = 0; wait || i < SPINS; i++) {
        const struct timespec moment = {.tv_nsec = 50000};

        if (!slot_reads(slot, &now) || (now & ~IOMMU_SLOT_FLAGS) != (seen & ~IOMMU_SLOT_FLAGS))
            return true;
        if (i >= SPINS + YIELDS)
            nanosleep(&moment, NULL);
        else if (i >= SPINS)
            sched_yield();
    }
    return false;
}

static bool readers_pass(struct iommu_readers *readers, bool wait)
{
    for (struct iommu_slot_block *block = iommu_block_first(readers); block;
         block = iommu_block_next(block)) {
        for (unsigned i = 0; i < IOMMU_BLOCK_SLOTS; i++) {
            if (!slot_passed(&block->slots[i], wait))
                return false;
        }
    }
    return true;
}

bool iommu_readers_passed(struct iommu_readers *readers)
{
    return readers_pass(readers, false);
}

void iommu_readers_wait(struct iommu_readers *readers)
{
    readers_pass(readers, true);
}
