/* SPDX-License-Identifier: BSD-3-Clause */
/* The shadow of page tables: what is in it, and what makes it change. */
#include "ppgtt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TABLE_SIZE VGPU_PAGE

_Static_assert(VGPU_PPGTT_ENTRIES * sizeof(uint64_t) == TABLE_SIZE, "a table is a page");

static struct umdev_device *device_of(const struct vgpu_ppgtt *ppgtt)
{
    return ppgtt->memory->pins->dev;
}

void vgpu_ppgtt_init(struct vgpu_ppgtt *ppgtt, const struct vgpu_memory *memory)
{
    *ppgtt = (struct vgpu_ppgtt){.memory = memory, .generation = 1};
    pthread_mutex_init(&ppgtt->lock, NULL);
    /* It fails in a machine that has just been switched on. */
    (void)!getrandom(&ppgtt->seed, sizeof(ppgtt->seed), GRND_NONBLOCK);
    for (unsigned i = 0; i < VGPU_PPGTT_BUCKETS; i++)
        LIST_INIT(&ppgtt->buckets[i]);
}

void vgpu_ppgtt_fini(struct vgpu_ppgtt *ppgtt)
{
    pthread_mutex_destroy(&ppgtt->lock);
}

/* ------------------------------------------------------------------ tables */

/* Engines look here: not to be foreseen by a guest, who would put all tables into one. */
static unsigned bucket_of(const struct vgpu_ppgtt *ppgtt, uint64_t iova)
{
    uint64_t hash = (iova / VGPU_PAGE ^ ppgtt->seed) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ hash >> 32) * (ppgtt->seed | 1);
    return (unsigned)((hash ^ hash >> 32) % VGPU_PPGTT_BUCKETS);
}

struct vgpu_table *vgpu_ppgtt_find(const struct vgpu_ppgtt *ppgtt,
                                   const struct vgpu_process *process, uint64_t iova)
{
    struct vgpu_table *table;

    LIST_FOREACH(table, &ppgtt->buckets[bucket_of(ppgtt, iova)], same_bucket)
    {
        if (table->iova == iova && table->process == process)
            return table;
    }
    return NULL;
}

void vgpu_ppgtt_unpin(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned first,
                      unsigned end)
{
    unsigned i = first;

    while (i < end && table->pinned > 0) {
        uint64_t iova = vgpu_entry_address(table->entries[i]);
        unsigned run = 0;

        /* As many as follow each other: each call flushes. Behind the last page comes none. */
        while (i + run < end && table->pins[i + run] && iova + run * VGPU_PAGE >= iova &&
               vgpu_entry_address(table->entries[i + run]) == iova + run * VGPU_PAGE) {
            table->pins[i + run] = 0;
            run++;
        }
        if (run > 0) {
            umdev_dma_unpin(device_of(ppgtt), umdev_iova(iova), run);
            table->pinned -= run;
            ppgtt->pinned -= run;
        }
        i += run ? run : 1;
    }
}

static void drop_table(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table);

/* What became of an entry is so no more. */
static void drop_entry(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned index)
{
    if (table->level == 1)
        vgpu_ppgtt_unpin(ppgtt, table, index, index + 1);
    else if (table->below[index])
        drop_table(ppgtt, table->below[index]);
}

/* With all below. */
static void drop_table(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table)
{
    if (table->level == 1)
        vgpu_ppgtt_unpin(ppgtt, table, 0, VGPU_PPGTT_ENTRIES);
    else
        for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++)
            drop_entry(ppgtt, table, i);
    if (table->above)
        table->above->below[table->index] = NULL;
    else
        table->process->top = NULL;
    if (!table->block) {
        LIST_REMOVE(table, same_bucket);
        /* ENOENT, EFAULT: the client took it away before. */
        (void)umdev_track_remove(device_of(ppgtt), umdev_iova(table->iova), TABLE_SIZE);
    }
    ppgtt->hint = NULL;
    ppgtt->generation++;
    ppgtt->tables--;
    free(table);
}

static void drop_process(struct vgpu_ppgtt *ppgtt, struct vgpu_process *process)
{
    if (process->top)
        drop_table(ppgtt, process->top);
    if (ppgtt->current == process)
        ppgtt->current = NULL;
    *process = (struct vgpu_process){0};
}

/* ------------------------------------------------------------------ reading tables */

/* Entries of a table as they are now. */
static void update_table(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table,
                         const uint64_t *entries)
{
    unsigned i = 0;

    while (i < VGPU_PPGTT_ENTRIES) {
        unsigned end = i;

        /* Pins go together where entries that follow each other changed. */
        while (end < VGPU_PPGTT_ENTRIES && entries[end] != table->entries[end])
            end++;
        if (end == i) {
            i++;
            continue;
        }
        ppgtt->entries_changed += end - i;
        if (table->level == 1)
            vgpu_ppgtt_unpin(ppgtt, table, i, end);
        for (; i < end; i++) {
            drop_entry(ppgtt, table, i);
            table->entries[i] = entries[i];
        }
    }
    ppgtt->generation++;
}

/* All processes' tables in a page have the same copy of it. */
static void update_page(struct vgpu_ppgtt *ppgtt, uint64_t iova, const uint64_t *entries)
{
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++) {
        struct vgpu_table *table = vgpu_ppgtt_find(ppgtt, &ppgtt->processes[i], iova);

        if (table)
            update_table(ppgtt, table, entries);
    }
}

static void drop_page(struct vgpu_ppgtt *ppgtt, uint64_t iova)
{
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++) {
        struct vgpu_table *table = vgpu_ppgtt_find(ppgtt, &ppgtt->processes[i], iova);

        if (table)
            drop_table(ppgtt, table);
    }
}

static bool any_table(const struct vgpu_ppgtt *ppgtt, uint64_t iova)
{
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++)
        if (vgpu_ppgtt_find(ppgtt, &ppgtt->processes[i], iova))
            return true;
    return false;
}

/* Between turns of the engine: what it takes to read is unpinned at once. */
static bool read_table(struct vgpu_ppgtt *ppgtt, uint64_t iova, uint64_t *entries,
                       struct vgpu_fault *fault)
{
    struct vgpu_mmu *mmu = ppgtt->memory->pins->mmu;
    bool done;

    vgpu_mmu_enter(mmu);
    done = vgpu_memory_read(ppgtt->memory, VGPU_IN_GUEST, iova, entries, TABLE_SIZE, fault);
    vgpu_mmu_leave(mmu);
    vgpu_pins_drop(ppgtt->memory->pins);
    if (!done)
        return false;
    ppgtt->tables_read++;
    /* The tracker compares with this, not with what it saw itself at another moment. */
    (void)umdev_track_seen(device_of(ppgtt), umdev_iova(iova), entries);
    return true;
}

/*
 * Track it, then read it: so nothing that is written meanwhile is missed. It is pinned before,
 * which read_table() ends: memory that an unmap is about to take is refused to a pin, but not to
 * the tracker, who could not be told the end of it then.
 */
static bool read_tracked(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table,
                         struct vgpu_fault *fault)
{
    struct vgpu_pins *pins = ppgtt->memory->pins;
    struct vgpu_hold *hold;
    int ret = vgpu_pins_take(pins, table->iova, TABLE_SIZE, TABLE_SIZE, UMDEV_READ, &hold);

    if (!ret) {
        vgpu_pins_put(hold);
        ret = umdev_track_add(pins->dev, umdev_iova(table->iova), TABLE_SIZE);
    }
    if (ret) {
        vgpu_pins_drop(pins);
        return vgpu_memory_fault(fault, ret, table->iova);
    }
    if (read_table(ppgtt, table->iova, table->entries, fault)) {
        update_page(ppgtt, table->iova, table->entries);
        return true;
    }
    (void)umdev_track_remove(pins->dev, umdev_iova(table->iova), TABLE_SIZE);
    return false;
}

/* The entries of the table that stands for a large one. */
static void take_apart(struct vgpu_table *table, uint64_t entry)
{
    uint64_t flags = entry & (VGPU_PAGE - 1);

    if (table->level == 1)
        flags &= ~(uint64_t)VGPU_PPGTT_LARGE;
    for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++)
        table->entries[i] =
            (vgpu_entry_address(entry) + i * vgpu_ppgtt_block(table->level)) | flags;
}

/* Tables that are looked through in the time that it takes to load one. */
#define LOOKS_PER_TABLE 64

static void spend(struct vgpu_ppgtt *ppgtt, unsigned tables)
{
    ppgtt->budget -= tables < ppgtt->budget ? tables : ppgtt->budget;
}

/* Whether the page is pinned as memory by the table or those below. */
static bool is_pinned(const struct vgpu_table *table, uint64_t iova, unsigned *looks)
{
    if (table->level > 1) {
        for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++)
            if (table->below[i] && is_pinned(table->below[i], iova, looks))
                return true;
        return false;
    }
    if (!table->pinned || iova < table->first_pinned || iova > table->last_pinned)
        return false;
    (*looks)++;
    for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++)
        if (table->pins[i] && vgpu_entry_address(table->entries[i]) == iova)
            return true;
    return false;
}

/* Another process's tables make room, but not those in force. */
static bool make_room(struct vgpu_ppgtt *ppgtt)
{
    struct vgpu_process *oldest = NULL;

    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++) {
        struct vgpu_process *process = &ppgtt->processes[i];

        if (process->top && process != ppgtt->current && (!oldest || process->used < oldest->used))
            oldest = process;
    }
    if (!oldest)
        return false;
    drop_process(ppgtt, oldest);
    return true;
}

/* A table for `address` in the process in force: hung below `above`, or as its top. */
static bool load_table(struct vgpu_ppgtt *ppgtt, struct vgpu_table *above, unsigned index,
                       uint64_t entry, uint64_t address, struct vgpu_fault *fault)
{
    struct vgpu_process *process = ppgtt->current;
    struct vgpu_table *table;

    if (ppgtt->tables >= VGPU_PPGTT_TABLES_MAX && !make_room(ppgtt))
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_TABLES, address);
    table = calloc(1, sizeof(*table));
    if (!table) {
        vgpu_memory_fault(fault, -ENOMEM, vgpu_entry_address(entry));
        return false;
    }
    spend(ppgtt, 1);
    /* Counted first: from now on a doorbell looks for what is written. */
    ppgtt->tables++;
    table->process = process;
    table->above = above;
    table->index = index;
    table->level = above ? above->level - 1 : process->levels;
    table->block = entry & VGPU_PPGTT_LARGE;
    if (table->block) {
        take_apart(table, entry);
    } else {
        table->iova = vgpu_entry_address(entry);
        if (!read_tracked(ppgtt, table, fault)) {
            ppgtt->tables--;
            free(table);
            return false;
        }
        LIST_INSERT_HEAD(&ppgtt->buckets[bucket_of(ppgtt, table->iova)], table, same_bucket);
    }
    if (above)
        above->below[index] = table;
    else
        process->top = table;
    return true;
}

/* ------------------------------------------------------------------ what a walk needs */

/* Whether a valid entry above level 1 can lead to a table, or be taken apart. */
static bool check_entry(struct vgpu_ppgtt *ppgtt, uint64_t entry, unsigned level, uint64_t address,
                        struct vgpu_fault *fault)
{
    const struct vgpu_process *process = ppgtt->current;
    unsigned looks = 0;

    if (entry & VGPU_PPGTT_LARGE) {
        uint64_t flags = VGPU_PPGTT_LARGE | VGPU_ENTRY_FLAGS;

        if (level > 3 || entry & (vgpu_ppgtt_block(level) - 1) & ~flags)
            return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_ENTRY, address);
        return true;
    }
    if ((entry & (VGPU_PAGE - 1)) != (VGPU_GGTT_VALID | VGPU_SPACE_GUEST) ||
        vgpu_ppgtt_find(ppgtt, process, vgpu_entry_address(entry)) ||
        is_pinned(process->top, vgpu_entry_address(entry), &looks))
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_ENTRY, address);
    spend(ppgtt, looks / LOOKS_PER_TABLE);
    return true;
}

/* The tables on the way to `address`. *covered: what they are for, from its beginning on. */
static enum vgpu_ready prepare_one(struct vgpu_ppgtt *ppgtt, uint64_t address, bool load,
                                   uint64_t *covered, struct vgpu_fault *fault)
{
    struct vgpu_process *process = ppgtt->current;
    struct vgpu_table *table;

    *covered = VGPU_PAGE;
    if (!process->top) {
        if (!load || !ppgtt->budget)
            return VGPU_MISSING;
        if (!load_table(ppgtt, NULL, 0, process->root, address, fault))
            return VGPU_BAD;
    }
    for (table = process->top; table->level > 1;) {
        unsigned index = vgpu_ppgtt_index(address, table->level);
        uint64_t entry = table->entries[index];

        *covered = vgpu_ppgtt_block(table->level);
        if (!(entry & VGPU_GGTT_VALID))
            return VGPU_READY;
        if (!table->below[index]) {
            if (!load || !ppgtt->budget)
                return VGPU_MISSING;
            if (!check_entry(ppgtt, entry, table->level, address, fault) ||
                !load_table(ppgtt, table, index, entry, address, fault))
                return VGPU_BAD;
        }
        table = table->below[index];
    }
    return VGPU_READY;
}

enum vgpu_ready vgpu_ppgtt_prepare(struct vgpu_ppgtt *ppgtt, uint64_t first, uint64_t last,
                                   bool load, struct vgpu_fault *fault)
{
    uint64_t end = (uint64_t)1 << VGPU_PPGTT_BITS(ppgtt->current->levels);
    uint64_t address = first;

    if (last >= end)
        last = end - 1;
    while (address <= last) {
        uint64_t covered;
        enum vgpu_ready ready = prepare_one(ppgtt, address, load, &covered, fault);

        if (ready != VGPU_READY)
            return ready;
        address = (address | (covered - 1)) + 1;
    }
    return VGPU_READY;
}

enum vgpu_ready vgpu_ppgtt_select(struct vgpu_ppgtt *ppgtt, uint64_t root, unsigned levels,
                                  bool load)
{
    struct vgpu_process *process = NULL;

    ppgtt->hint = NULL;
    ppgtt->generation++;
    ppgtt->current = NULL;
    if (levels == 0)
        return VGPU_READY;
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++) {
        struct vgpu_process *other = &ppgtt->processes[i];

        if (other->levels == levels && other->root == root) {
            process = other;
            break;
        }
        if (!process || other->used < process->used)
            process = other;
    }
    if (process->levels != levels || process->root != root) {
        if (!load)
            return VGPU_MISSING;
        drop_process(ppgtt, process);
        process->root = root;
        process->levels = levels;
    }
    process->used = ++ppgtt->clock;
    ppgtt->current = process;
    return VGPU_READY;
}

/* ------------------------------------------------------------------ changes of the guest's */

/* A page that was written: all tables in it. */
static void reread_page(struct vgpu_ppgtt *ppgtt, uint64_t iova)
{
    uint64_t entries[VGPU_PPGTT_ENTRIES];
    struct vgpu_fault fault;

    if (!any_table(ppgtt, iova))
        return;
    if (read_table(ppgtt, iova, entries, &fault))
        update_page(ppgtt, iova, entries);
    else
        drop_page(ppgtt, iova);
}

/* Any table of the bucket at or behind `iova`, with the lowest address of those. */
static struct vgpu_table *next_in_bucket(const struct vgpu_ppgtt *ppgtt, unsigned bucket,
                                         uint64_t iova)
{
    struct vgpu_table *table, *next = NULL;

    LIST_FOREACH(table, &ppgtt->buckets[bucket], same_bucket)
    {
        if (table->iova >= iova && (!next || table->iova < next->iova))
            next = table;
    }
    return next;
}

/* Tables come and go meanwhile. */
static void reread_all(struct vgpu_ppgtt *ppgtt)
{
    for (unsigned i = 0; i < VGPU_PPGTT_BUCKETS; i++) {
        const struct vgpu_table *table = next_in_bucket(ppgtt, i, 0);

        while (table) {
            uint64_t iova = table->iova;

            reread_page(ppgtt, iova);
            table = iova + VGPU_PAGE ? next_in_bucket(ppgtt, i, iova + VGPU_PAGE) : NULL;
        }
    }
}

enum vgpu_ready vgpu_ppgtt_sync(struct vgpu_ppgtt *ppgtt, bool load)
{
    uint64_t notes[VGPU_PPGTT_NOTES];
    size_t count;
    bool all;

    if (!atomic_load_explicit(&ppgtt->due, memory_order_acquire))
        return VGPU_READY;
    if (!load)
        return VGPU_MISSING;
    pthread_mutex_lock(&ppgtt->lock);
    all = ppgtt->all;
    count = ppgtt->count;
    memcpy(notes, ppgtt->notes, count * sizeof(notes[0]));
    ppgtt->all = false;
    ppgtt->count = 0;
    ppgtt->due = false;
    pthread_mutex_unlock(&ppgtt->lock);
    if (all)
        reread_all(ppgtt);
    for (size_t i = 0; i < count && !all; i++)
        reread_page(ppgtt, notes[i]);
    return VGPU_READY;
}

/* With the lock. */
static void note(struct vgpu_ppgtt *ppgtt, const struct umdev_track_range *range)
{
    uint64_t pages = range->size / VGPU_PAGE;

    if (ppgtt->all || pages > VGPU_PPGTT_NOTES - ppgtt->count) {
        ppgtt->all = true;
        return;
    }
    for (uint64_t i = 0; i < pages; i++)
        ppgtt->notes[ppgtt->count++] = range->iova.value + i * VGPU_PAGE;
}

/* Lost or written: what is there now is found when it is read. */
void vgpu_ppgtt_collect(struct vgpu_ppgtt *ppgtt)
{
    const struct umdev_track_range *ranges;
    size_t count;
    int ret;

    if (!ppgtt->tables)
        return;
    ret = umdev_track_collect(device_of(ppgtt), &ranges, &count);
    if (!ret && count == 0)
        return;
    pthread_mutex_lock(&ppgtt->lock);
    for (size_t i = 0; i < count && !ret; i++)
        note(ppgtt, &ranges[i]);
    if (ret)
        ppgtt->all = true;
    ppgtt->due = true;
    pthread_mutex_unlock(&ppgtt->lock);
}

/* ------------------------------------------------------------------ the client's memory goes */

/* Of a table of level 1: the pages in [first, last]. */
static void unpin_range(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, uint64_t first,
                        uint64_t last)
{
    unsigned i = 0;

    if (!table->pinned || first > table->last_pinned || last < table->first_pinned)
        return;
    while (i < VGPU_PPGTT_ENTRIES) {
        unsigned end = i;

        while (end < VGPU_PPGTT_ENTRIES && table->pins[end] &&
               vgpu_entry_address(table->entries[end]) >= first &&
               vgpu_entry_address(table->entries[end]) <= last)
            end++;
        vgpu_ppgtt_unpin(ppgtt, table, i, end);
        i = end > i ? end : i + 1;
    }
}

static void unmap_below(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, uint64_t first,
                        uint64_t last)
{
    if (!table->block && table->iova >= first && table->iova <= last) {
        drop_table(ppgtt, table);
        return;
    }
    if (table->level == 1) {
        unpin_range(ppgtt, table, first, last);
        return;
    }
    for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++)
        if (table->below[i])
            unmap_below(ppgtt, table->below[i], first, last);
}

void vgpu_ppgtt_unmap(struct vgpu_ppgtt *ppgtt, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++)
        if (ppgtt->processes[i].top)
            unmap_below(ppgtt, ppgtt->processes[i].top, first, last);
}

void vgpu_ppgtt_clear(struct vgpu_ppgtt *ppgtt)
{
    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++)
        drop_process(ppgtt, &ppgtt->processes[i]);
    pthread_mutex_lock(&ppgtt->lock);
    ppgtt->all = false;
    ppgtt->count = 0;
    ppgtt->due = false;
    pthread_mutex_unlock(&ppgtt->lock);
    ppgtt->tables_read = 0;
    ppgtt->entries_changed = 0;
}
