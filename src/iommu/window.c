/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows, and the unmap that waits for them.
 */
#include "base/clock.h"
#include "iommu/lookup.h"
#include "iommu/private.h"

#include <errno.h>
#include <sched.h>

/* Most windows and nearly all copies are gone before it is worth going to sleep. */
#define SPINS  200
#define YIELDS 20

/* The mapping that a window lies in, which it keeps. */
static const struct iommu_mapping *window_mapping(const struct iommu_slot *slot)
{
    uintptr_t holds = atomic_load_explicit(&slot->holds, memory_order_relaxed);

    return (const struct iommu_mapping *)(holds & ~IOMMU_HOLDS_WINDOW);
}

int iommu_acquire(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, void **ptr,
                  size_t *got, void **hold)
{
    const struct iommu_entry *entry;
    struct iommu_section section;
    struct range range;
    int ret;

    if (len == 0 || !iommu_prot_is_valid(prot))
        return -EINVAL;
    ret = range_make(iova.value, len, &range);
    if (!ret)
        ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    /* The rest of the range is looked at when it is asked for. */
    ret = iommu_section_range(&section, (struct range){range.first, range.first}, prot, &entry);
    if (!ret)
        ret = iommu_loss_check(section.root->loss);
    if (ret) {
        iommu_section_end(iommu, &section);
        return ret;
    }
    iommu_slot_hold(section.slot, iommu_entry_mapping(entry), IOMMU_HOLDS_WINDOW);
    range.last = MIN(range.last, entry->last);
    *ptr = iommu_entry_at(entry, iova.value);
    *got = (size_t)(range.last - range.first + 1);
    *hold = section.slot;
    section.slot->window = range;
    section.slot->window_writes = prot & UMDEV_WRITE;
    if (prot & UMDEV_WRITE)
        iommu_note_mapping(iommu, window_mapping(section.slot), range);
    iommu_slot_count(section.slot, prot & UMDEV_READ ? *got : 0, prot & UMDEV_WRITE ? *got : 0);
    return 0;
}

void iommu_release(struct iommu *iommu, void *hold)
{
    struct iommu_slot *slot = hold;

    if (!slot)
        return;
    if (slot->window_writes)
        iommu_note_mapping(iommu, window_mapping(slot), slot->window);
    iommu_slot_release(iommu, slot);
}

/* ------------------------------------------------------------------ waiting */

/* A slot as it was found, with what it held. */
struct seen {
    struct iommu_slot *slot;
    uint64_t state;
    uintptr_t holds;
};

/* Whether the slot has the same owner still and tells no more of what it holds. */
static bool seen_is_same(const struct seen *seen)
{
    uint64_t state = atomic_load(&seen->slot->state);

    return !((state ^ seen->state) & ~IOMMU_SLOT_FLAGS) &&
           (seen->holds || !atomic_load_explicit(&seen->slot->holds, memory_order_acquire));
}

/* Whether a drain has to wait for the slot's owner. With `windows` held. */
static bool drain_concerns(const struct iommu_drain *drain, struct iommu_slot *slot,
                           struct seen *seen)
{
    const struct iommu_mapping *mapping;

    seen->slot = slot;
    seen->state = atomic_load(&slot->state);
    if (!(seen->state & IOMMU_SLOT_BUSY) || (seen->state & IOMMU_SLOT_ORPHAN))
        return false;
    seen->holds = atomic_load_explicit(&slot->holds, memory_order_acquire);
    mapping = (const struct iommu_mapping *)(seen->holds & ~IOMMU_HOLDS_WINDOW);
    return !mapping || atomic_load_explicit(&mapping->drain, memory_order_relaxed) == drain;
}

/* Whether it went by itself, soon. */
static bool seen_goes(const struct seen *seen)
{
    for (unsigned i = 0; i < SPINS + YIELDS; i++) {
        if (!seen_is_same(seen))
            return true;
        if (i >= SPINS)
            sched_yield();
    }
    return false;
}

/* Set a flag in the slot, for its owner to find. False: it has gone. With `windows` held. */
static bool seen_mark(struct seen *seen, uint64_t flag)
{
    uint64_t state = atomic_load(&seen->slot->state);

    while (!((state ^ seen->state) & ~IOMMU_SLOT_FLAGS)) {
        if (atomic_compare_exchange_weak(&seen->slot->state, &state, state | flag))
            return true;
    }
    return false;
}

static struct timespec deadline_in(int timeout_ms)
{
    uint64_t ns = timeout_ms > 0 ? (uint64_t)timeout_ms * 1000000u : 0;

    return clock_timespec(clock_now_ns() + ns);
}

/* Nobody waits for the window any more: its release frees the mapping, and the iommu where the
 * owner has left, too. */
static void drain_give_up(struct iommu_drain *drain, struct seen *seen)
{
    struct iommu_mapping *mapping = (struct iommu_mapping *)(seen->holds & ~IOMMU_HOLDS_WINDOW);

    atomic_fetch_add_explicit(&drain->iommu->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&mapping->refs, 1, memory_order_relaxed);
    if (seen_mark(seen, IOMMU_SLOT_ORPHAN)) {
        drain->timed_out = true;
        return;
    }
    /* Neither is the last one. */
    atomic_fetch_sub_explicit(&drain->iommu->refs, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_relaxed);
}

/* Sleep until the slot is given back; a window only until the deadline. With `windows` held. */
static void drain_sleep(struct iommu_drain *drain, struct seen *seen)
{
    bool is_window = seen->holds & IOMMU_HOLDS_WINDOW;
    /* What an owner holds it says without waking anybody: that is looked for again. */
    struct timespec deadline = is_window ? drain->deadline : deadline_in(1);
    int ret = 0;

    if (!seen_mark(seen, IOMMU_SLOT_WAITED))
        return;
    while (ret == 0 && seen_is_same(seen))
        ret = pthread_cond_timedwait(&drain->iommu->drained, &drain->iommu->windows, &deadline);
    if (is_window && seen_is_same(seen))
        drain_give_up(drain, seen);
}

/* With `windows` held, which is let go of meanwhile. */
static void drain_wait(struct iommu_drain *drain, struct seen *seen)
{
    struct iommu *iommu = drain->iommu;
    bool is_gone;

    pthread_mutex_unlock(&iommu->windows);
    is_gone = seen_goes(seen);
    if (!is_gone && (seen->holds & IOMMU_HOLDS_WINDOW) && !drain->has_told) {
        drain->has_told = true;
        if (iommu->waiting)
            iommu->waiting(iommu->waiting_opaque);
    }
    pthread_mutex_lock(&iommu->windows);
    if (!is_gone)
        drain_sleep(drain, seen);
}

static void drain_slots(struct iommu_drain *drain, bool copies_only)
{
    struct iommu_slot_block *block = iommu_block_first(&drain->iommu->readers);
    struct seen seen;

    pthread_mutex_lock(&drain->iommu->windows);
    for (; block; block = iommu_block_next(block)) {
        for (unsigned i = 0; i < IOMMU_BLOCK_SLOTS; i++) {
            while (drain_concerns(drain, &block->slots[i], &seen) &&
                   !(copies_only && (seen.holds & IOMMU_HOLDS_WINDOW)))
                drain_wait(drain, &seen);
        }
    }
    pthread_mutex_unlock(&drain->iommu->windows);
}

void iommu_drain_copies(struct iommu_drain *drain)
{
    drain_slots(drain, true);
}

int iommu_drain(struct iommu_drain *drain, int timeout_ms)
{
    struct iommu_mapping *list = drain->list;

    if (!list)
        return 0;
    drain->deadline = deadline_in(timeout_ms);
    drain_slots(drain, false);
    while (list) {
        struct iommu_mapping *mapping = list;

        list = mapping->next;
        iommu_mapping_put(mapping);
    }
    return drain->timed_out ? -ETIMEDOUT : 0;
}
