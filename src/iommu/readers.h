/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who reads the table, or holds memory that it led to: slots, without locks.
 *
 * Data model. A reader claims a *slot* for the time of its work, a window for its whole life: one
 * atomic operation on a cache line that other threads rarely touch. The slot then stands for
 * everything, until its owner says which mapping it has come down to (`holds`). From there on it
 * reads the table no more. One atomic operation gives the slot back and counts its sequence on.
 *
 * A writer publishes a new table first and looks at the slots then. Both sides' operations are
 * sequentially consistent: a slot that it finds free, or taken anew, reads the new table. One that
 * is taken is waited for where it holds everything or what the writer wants to be quiet.
 *
 * Slots lie in blocks, the first of which comes with the first reader; when all are taken there is
 * one more. None is freed before the end.
 *
 * Rules of a slot's state word. BUSY and the sequence change by the owner only. A waiter sets
 * WAITED or ORPHAN under the iommu's `windows` lock, in a slot that is still the one it saw; from
 * then on its owner gives it back under that lock. So who has waited may free what was waited for,
 * and the slots themselves, once it has had the lock.
 */
#ifndef IOMMU_READERS_H
#define IOMMU_READERS_H

#include "iommu/table.h"

#include <pthread.h>

#define IOMMU_SLOT_BUSY     UINT64_C(1)
#define IOMMU_SLOT_WAITED   UINT64_C(2) /* an unmap waits for it */
#define IOMMU_SLOT_ORPHAN   UINT64_C(4) /* an unmap gave up: the window has a mapping's reference */
#define IOMMU_SLOT_FLAGS    (IOMMU_SLOT_WAITED | IOMMU_SLOT_ORPHAN)
#define IOMMU_SLOT_SEQUENCE UINT64_C(8)

/* In `holds`, beside the mapping: held by the driver, not by a copy, which ends by itself. */
#define IOMMU_HOLDS_WINDOW ((uintptr_t)1)

#define IOMMU_SLOT_CACHED 2

/*
 * Two cache lines, since processors fetch them in pairs. What is not atomic is the owner's alone.
 * The entries found last are kept for who claims the slot next, most likely the same thread: device
 * accesses come in runs. They are those of one version of the table.
 */
struct iommu_slot {
    _Alignas(128) atomic_uint_least64_t state;
    atomic_uintptr_t holds; /* a mapping; 0: everything, or nothing when not BUSY */
    atomic_uint_least64_t bytes_read, bytes_written; /* by all owners ever */
    struct range window;                             /* of the last window */
    uint64_t cached_version;
    struct iommu_entry cached[IOMMU_SLOT_CACHED];
    unsigned cached_next; /* to be overwritten */
    bool window_writes;   /* it is for writing */
};

#define IOMMU_BLOCK_SLOTS 64

struct iommu_slot_block {
    struct iommu_slot slots[IOMMU_BLOCK_SLOTS];
    struct iommu_slot_block *_Atomic next;
};

struct iommu_readers {
    struct iommu_slot_block *_Atomic current; /* where a free slot was found last; or NULL */
    struct iommu_slot_block *_Atomic first;
};

/* Nobody reads any more. All zeros before the first. */
void iommu_readers_fini(struct iommu_readers *readers);

/* The rest of iommu_slot_claim(). */
struct iommu_slot *iommu_slot_claim_other(struct iommu_readers *readers, unsigned index);

/*
 * Whether all readers that may still see a table of before are gone; looks, but does not wait for
 * more than a moment. Windows and copies in one mapping see none.
 */
bool iommu_readers_passed(struct iommu_readers *readers);
/* Waits until they are. They are copies, which end. */
void iommu_readers_wait(struct iommu_readers *readers);

static inline bool iommu_slot_try(struct iommu_slot *slot)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

    return !(state & IOMMU_SLOT_BUSY) &&
           atomic_compare_exchange_strong_explicit(&slot->state, &state, state | IOMMU_SLOT_BUSY,
                                                   memory_order_seq_cst, memory_order_relaxed);
}

/* NULL: all are taken and there is no memory for more. */
static inline struct iommu_slot *iommu_slot_claim(struct iommu_readers *readers)
{
    /* Threads' descriptors lie at equal distances: the upper bits of a product are spread. */
    uint64_t hash = (uint64_t)pthread_self() * UINT64_C(0x9e3779b97f4a7c15);
    unsigned index = (unsigned)(hash >> 58);
    struct iommu_slot_block *block = atomic_load_explicit(&readers->current, memory_order_acquire);

    if (__builtin_expect(block && iommu_slot_try(&block->slots[index]), 1))
        return &block->slots[index];
    return iommu_slot_claim_other(readers, index);
}

/* Of a slot that holds everything: from now on it holds the mapping, and sees the table no more. */
static inline void iommu_slot_hold(struct iommu_slot *slot, struct iommu_mapping *mapping,
                                   uintptr_t window)
{
    atomic_store_explicit(&slot->holds, (uintptr_t)mapping | window, memory_order_release);
}

/* False: somebody waits for it; nothing has changed but `holds`. */
static inline bool iommu_slot_try_release(struct iommu_slot *slot)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

    atomic_store_explicit(&slot->holds, 0, memory_order_relaxed);
    return !(state & IOMMU_SLOT_FLAGS) &&
           atomic_compare_exchange_strong_explicit(&slot->state, &state,
                                                   (state & ~IOMMU_SLOT_BUSY) + IOMMU_SLOT_SEQUENCE,
                                                   memory_order_release, memory_order_relaxed);
}

static inline void iommu_slot_count(struct iommu_slot *slot, uint64_t read, uint64_t written)
{
    /* Only the owner adds: no atomic addition is needed. */
    uint64_t before = atomic_load_explicit(&slot->bytes_read, memory_order_relaxed);

    atomic_store_explicit(&slot->bytes_read, before + read, memory_order_relaxed);
    before = atomic_load_explicit(&slot->bytes_written, memory_order_relaxed);
    atomic_store_explicit(&slot->bytes_written, before + written, memory_order_relaxed);
}

/*
 * For loops over all slots. Sequentially consistent: who has claimed a slot in a block that is not
 * there yet reads the new table.
 */
static inline struct iommu_slot_block *iommu_block_first(const struct iommu_readers *readers)
{
    return atomic_load(&readers->first);
}

static inline struct iommu_slot_block *iommu_block_next(const struct iommu_slot_block *block)
{
    return atomic_load(&block->next);
}

#endif
