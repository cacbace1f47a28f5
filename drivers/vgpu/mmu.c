/* SPDX-License-Identifier: BSD-3-Clause */
/* A page table that is walked while it changes. */
#include "mmu.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE_BITS    12
#define NODE_BITS    9
#define NODE_ENTRIES ((uint64_t)1 << NODE_BITS)
#define TOP_LEVEL    4 /* of the root, which covers all addresses */

/* An entry: a node's address with this bit, or a leaf: memory with UMDEV_READ and UMDEV_WRITE. */
#define ENTRY_TABLE ((uint64_t)4)
#define ENTRY_FLAGS ((uint64_t)7)
#define ENTRY_PROT  ((uint64_t)3)

#define SLICE_ACTIVE  ((uint64_t)1)
#define SLICE_AWAITED ((uint64_t)1 << 63)

struct vgpu_mmu_node {
    atomic_uint_least64_t entries[NODE_ENTRIES];
    struct vgpu_mmu_node *next; /* in the list of the retired */
    unsigned used;              /* entries that are not empty */
};

/* Bytes that an entry covers. */
static uint64_t block_size(unsigned level)
{
    return (uint64_t)1 << (PAGE_BITS + level * NODE_BITS);
}

/* Of the entry for `bus` in a node whose entries cover blocks of `level`. */
static uint64_t entry_index(uint64_t bus, unsigned level)
{
    return bus >> (PAGE_BITS + level * NODE_BITS) & (NODE_ENTRIES - 1);
}

static uint64_t leaf_make(const uint8_t *memory, unsigned prot)
{
    return (uint64_t)(uintptr_t)memory | (prot & ENTRY_PROT);
}

static uint8_t *leaf_memory(uint64_t entry)
{
    return (uint8_t *)(uintptr_t)(entry & ~ENTRY_FLAGS);
}

static struct vgpu_mmu_node *table_node(uint64_t entry)
{
    return (struct vgpu_mmu_node *)(uintptr_t)(entry & ~ENTRY_FLAGS);
}

/* ------------------------------------------------------------------ changes */

/* A place for an entry: which addresses it covers, and the node it is in (NULL: the root). */
struct slot {
    atomic_uint_least64_t *entry;
    struct vgpu_mmu_node *node;
    unsigned level;
    uint64_t first; /* bus address */
};

/* What a change is about. */
struct change {
    struct vgpu_mmu *mmu;
    uint64_t first, last; /* bus addresses */
    const uint8_t *memory;
    unsigned prot;
};

static struct slot slot_root(struct vgpu_mmu *mmu)
{
    return (struct slot){.entry = &mmu->root, .level = TOP_LEVEL};
}

/* The place below, in the node that `slot` leads to. */
static struct slot slot_below(const struct slot *slot, uint64_t index)
{
    struct vgpu_mmu_node *node =
        table_node(atomic_load_explicit(slot->entry, memory_order_relaxed));
    unsigned level = slot->level - 1;

    return (struct slot){&node->entries[index], node, level,
                         slot->first + index * block_size(level)};
}

static uint64_t slot_get(const struct slot *slot)
{
    return atomic_load_explicit(slot->entry, memory_order_relaxed);
}

/* In one step; who walks there sees the node, too. */
static void slot_set(const struct slot *slot, uint64_t entry)
{
    uint64_t before = slot_get(slot);

    atomic_store_explicit(slot->entry, entry, memory_order_release);
    if (slot->node)
        slot->node->used += (unsigned)!before - (unsigned)!entry;
}

/* Whether the change is about every address of the slot. */
static bool slot_covered(const struct slot *slot, const struct change *change)
{
    return change->first <= slot->first && change->last >= slot->first &&
           change->last - slot->first >= block_size(slot->level) - 1;
}

/* The entries below that the change touches: [*begin, *end]. */
static void slot_span(const struct slot *slot, const struct change *change, uint64_t *begin,
                      uint64_t *end)
{
    uint64_t last = slot->first + (block_size(slot->level) - 1);

    *begin = change->first <= slot->first ? 0 : entry_index(change->first, slot->level - 1);
    *end = change->last >= last ? NODE_ENTRIES - 1 : entry_index(change->last, slot->level - 1);
}

/* A node in place of an empty entry or of a leaf, which it takes over piece by piece. */
static int slot_split(const struct slot *slot)
{
    struct vgpu_mmu_node *node = calloc(1, sizeof(*node));
    uint64_t entry = slot_get(slot);

    if (!node)
        return -ENOMEM;
    for (uint64_t i = 0; entry && i < NODE_ENTRIES; i++) {
        uint64_t piece = entry + i * block_size(slot->level - 1);

        atomic_store_explicit(&node->entries[i], piece, memory_order_relaxed);
    }
    node->used = entry ? (unsigned)NODE_ENTRIES : 0;
    slot_set(slot, (uint64_t)(uintptr_t)node | ENTRY_TABLE);
    return 0;
}

static void retire(struct vgpu_mmu *mmu, struct vgpu_mmu_node *node)
{
    pthread_mutex_lock(&mmu->lock);
    node->next = mmu->retired;
    mmu->retired = node;
    pthread_mutex_unlock(&mmu->lock);
}

/* All nodes that the change needs: where there is one already, its entries are used. */
static int prepare(const struct change *change, struct slot slot)
{
    uint64_t entry = slot_get(&slot), begin, end;
    bool table = entry & ENTRY_TABLE;
    int ret = 0;

    if (slot.level == 0 || (!table && slot.level < TOP_LEVEL && slot_covered(&slot, change)))
        return 0;
    if (!table)
        ret = slot_split(&slot);
    slot_span(&slot, change, &begin, &end);
    for (uint64_t i = begin; !ret && slot.level > 1 && i <= end; i++)
        ret = prepare(change, slot_below(&slot, i));
    return ret;
}

/* The leaf for all that a slot covers. */
static uint64_t leaf_for(const struct slot *slot, const struct change *change)
{
    return leaf_make(change->memory + (slot->first - change->first), change->prot);
}

/* Pages: entries of the node that `slot` leads to. */
static void enter_pages(const struct change *change, const struct slot *slot, uint64_t begin,
                        uint64_t end)
{
    struct slot page = slot_below(slot, begin);
    uint64_t leaf = leaf_for(&page, change);
    unsigned empty = 0;

    for (uint64_t i = begin; i <= end; i++, page.entry++, leaf += VGPU_PAGE) {
        empty += !slot_get(&page);
        atomic_store_explicit(page.entry, leaf, memory_order_release);
    }
    page.node->used += empty;
}

/* prepare() was there before. */
static void enter(const struct change *change, struct slot slot)
{
    uint64_t begin, end;

    if (!(slot_get(&slot) & ENTRY_TABLE)) {
        slot_set(&slot, leaf_for(&slot, change));
        return;
    }
    slot_span(&slot, change, &begin, &end);
    if (slot.level == 1) {
        enter_pages(change, &slot, begin, end);
        return;
    }
    for (uint64_t i = begin; i <= end; i++)
        enter(change, slot_below(&slot, i));
}

static void clear_pages(const struct slot *slot, uint64_t begin, uint64_t end)
{
    struct slot page = slot_below(slot, begin);
    unsigned full = 0;

    for (uint64_t i = begin; i <= end; i++, page.entry++) {
        full += slot_get(&page) != 0;
        atomic_store_explicit(page.entry, 0, memory_order_release);
    }
    page.node->used -= full;
}

/* Empty what the change touches, but for leaves where `nodes_only`; nodes without entries go. */
static void clear(const struct change *change, struct slot slot, bool nodes_only)
{
    uint64_t entry = slot_get(&slot), begin, end;

    if (!entry)
        return;
    if (!(entry & ENTRY_TABLE)) {
        if (nodes_only)
            return;
        if (slot_covered(&slot, change) || slot_split(&slot)) {
            slot_set(&slot, 0);
            return;
        }
    }
    slot_span(&slot, change, &begin, &end);
    if (slot.level == 1 && !nodes_only)
        clear_pages(&slot, begin, end);
    for (uint64_t i = begin; slot.level > 1 && i <= end; i++)
        clear(change, slot_below(&slot, i), nodes_only);
    entry = slot_get(&slot);
    if (table_node(entry)->used == 0) {
        slot_set(&slot, 0);
        retire(change->mmu, table_node(entry));
    }
}

/* False: no such addresses. */
static bool change_make(struct vgpu_mmu *mmu, uint64_t bus, uint64_t size, struct change *change)
{
    *change = (struct change){.mmu = mmu, .first = bus};
    return size > 0 && (bus | size) % VGPU_PAGE == 0 &&
           !__builtin_add_overflow(bus, size - 1, &change->last) &&
           change->last >> VGPU_BUS_BITS == 0;
}

int vgpu_mmu_map(struct vgpu_mmu *mmu, uint64_t bus, void *memory, uint64_t size, unsigned prot)
{
    struct change change;
    int ret;

    if (!change_make(mmu, bus, size, &change))
        return -EFAULT;
    change.memory = memory;
    change.prot = prot;
    ret = prepare(&change, slot_root(mmu));
    if (ret)
        clear(&change, slot_root(mmu), true);
    else
        enter(&change, slot_root(mmu));
    return ret;
}

void vgpu_mmu_unmap(struct vgpu_mmu *mmu, uint64_t bus, uint64_t size)
{
    struct change change;

    if (change_make(mmu, bus, size, &change))
        clear(&change, slot_root(mmu), false);
}

/* ------------------------------------------------------------------ slices */

void vgpu_mmu_enter(struct vgpu_mmu *mmu)
{
    atomic_store_explicit(&mmu->owner, pthread_self(), memory_order_relaxed);
    atomic_fetch_add_explicit(&mmu->slice, 1, memory_order_acq_rel);
}

void vgpu_mmu_leave(struct vgpu_mmu *mmu)
{
    uint64_t slice = atomic_fetch_add_explicit(&mmu->slice, 1, memory_order_acq_rel);

    if (!(slice & SLICE_AWAITED))
        return;
    pthread_mutex_lock(&mmu->lock);
    atomic_fetch_and_explicit(&mmu->slice, ~SLICE_AWAITED, memory_order_relaxed);
    pthread_cond_broadcast(&mmu->over);
    pthread_mutex_unlock(&mmu->lock);
}

/*
 * Either the slice under way is seen here, or it begins later and finds the table as it is now:
 * both sides modify `slice`.
 */
static bool slice_of_another(struct vgpu_mmu *mmu)
{
    uint64_t slice = atomic_fetch_add_explicit(&mmu->slice, 0, memory_order_acq_rel);

    return slice & SLICE_ACTIVE &&
           !pthread_equal(atomic_load_explicit(&mmu->owner, memory_order_relaxed), pthread_self());
}

/* Lock held, dropped while waiting. */
static void slice_wait(struct vgpu_mmu *mmu)
{
    uint64_t slice = atomic_fetch_or_explicit(&mmu->slice, SLICE_AWAITED, memory_order_acq_rel);

    slice |= SLICE_AWAITED;
    while (slice & SLICE_ACTIVE &&
           (atomic_load_explicit(&mmu->slice, memory_order_acquire) | SLICE_AWAITED) == slice)
        pthread_cond_wait(&mmu->over, &mmu->lock);
}

static void free_nodes(struct vgpu_mmu_node *node)
{
    while (node) {
        struct vgpu_mmu_node *next = node->next;

        free(node);
        node = next;
    }
}

void vgpu_mmu_flush(struct vgpu_mmu *mmu)
{
    struct vgpu_mmu_node *retired;

    pthread_mutex_lock(&mmu->lock);
    retired = mmu->retired;
    mmu->retired = NULL;
    if (slice_of_another(mmu))
        slice_wait(mmu);
    pthread_mutex_unlock(&mmu->lock);
    free_nodes(retired);
}

/* ------------------------------------------------------------------ walks */

/* The last entry on the way to `bus`, and where it stands; *level: of the block it covers. */
static uint64_t find(const struct vgpu_mmu *mmu, uint64_t bus, unsigned *level,
                     const atomic_uint_least64_t **place)
{
    uint64_t entry = atomic_load_explicit(&mmu->root, memory_order_acquire);

    *level = TOP_LEVEL;
    *place = &mmu->root;
    while (entry & ENTRY_TABLE) {
        (*level)--;
        *place = &table_node(entry)->entries[entry_index(bus, *level)];
        entry = atomic_load_explicit(*place, memory_order_acquire);
    }
    return entry;
}

/* How many pages behind the one of `leaf`, at `place`, go on where it ends, with the same rights.
 */
static uint64_t pages_behind(const atomic_uint_least64_t *place, uint64_t leaf, uint64_t most)
{
    uint64_t pages = 0;

    while (pages < most && atomic_load_explicit(&place[pages + 1], memory_order_acquire) ==
                               leaf + (pages + 1) * VGPU_PAGE)
        pages++;
    return pages;
}

size_t vgpu_mmu_walk(const struct vgpu_mmu *mmu, uint64_t bus, size_t len, unsigned prot,
                     uint8_t **ptr)
{
    size_t got = 0;

    if (mmu->identity) {
        *ptr = (uint8_t *)(uintptr_t)bus;
        return len;
    }
    while (got < len && bus >> VGPU_BUS_BITS == 0) {
        const atomic_uint_least64_t *place;
        unsigned level;
        uint64_t entry = find(mmu, bus, &level, &place);
        uint64_t offset = bus & (block_size(level) - 1), there = block_size(level) - offset;
        uint8_t *at = leaf_memory(entry) + offset;

        if (!entry || prot & ~(unsigned)(entry & ENTRY_PROT) || (got > 0 && at != *ptr + got))
            break;
        if (got == 0)
            *ptr = at;
        if (level == 0 && there < len - got)
            there += VGPU_PAGE * pages_behind(place, entry, NODE_ENTRIES - 1 - entry_index(bus, 0));
        there = there < len - got ? there : len - got;
        got += there;
        bus += there;
    }
    return got;
}

/* ------------------------------------------------------------------ birth and end */

int vgpu_mmu_init(struct vgpu_mmu *mmu, bool identity)
{
    int ret;

    *mmu = (struct vgpu_mmu){.identity = identity};
    ret = -pthread_mutex_init(&mmu->lock, NULL);
    if (ret)
        return ret;
    ret = -pthread_cond_init(&mmu->over, NULL);
    if (ret)
        pthread_mutex_destroy(&mmu->lock);
    return ret;
}

void vgpu_mmu_fini(struct vgpu_mmu *mmu)
{
    vgpu_mmu_unmap(mmu, 0, (uint64_t)1 << VGPU_BUS_BITS);
    free_nodes(mmu->retired);
    mmu->retired = NULL;
    pthread_cond_destroy(&mmu->over);
    pthread_mutex_destroy(&mmu->lock);
}
