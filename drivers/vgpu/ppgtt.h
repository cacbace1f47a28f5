/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables that live in guest memory, and the device's shadow of them.
 *
 * Data model. A *process* is a root: the IOVA of a top table, with a number of levels. Its shadow
 * is a tree of *tables*, one for each page of guest memory that a walk came by as a table: a copy
 * of its entries, and what became of them: the table below, or the page that was pinned. So an
 * engine walks the shadow, never guest memory. A large entry that is used is taken apart: it has a
 * table below it which is nobody's memory (a *block*).
 *
 * The shadow is filled as it is needed. A table is tracked for writes first and read then; what is
 * written later is noticed at a doorbell (vgpu_ppgtt_collect). Before the next packet of the ring
 * the tables that were written are read again, and entries that changed lose what is below them,
 * their pins included. Until then the shadow stays as it was. A page is pinned when an engine first
 * uses it, for as long as its entry stays.
 *
 * Invariants. In one process a page of guest memory is one thing: a table in one place, or memory.
 * So a tree is one, however the guest's tables loop. A table that is in a tree is in the hash (a
 * block is not), and tracked. `generation` counts on whenever something left a tree.
 *
 * Threads. What is in trees changes in the hands of who may wait for the client's memory: the
 * keeper's for its ring, and those that hold the device while its client unmaps, resets or ends.
 * The engine finds its way and pins. Each has the ring to itself. The notes of what was written
 * have a lock of their own: a doorbell makes them at any time.
 */
#ifndef VGPU_PPGTT_H
#define VGPU_PPGTT_H

#include "memory.h"

#include <sys/queue.h>

struct vgpu_table {
    LIST_ENTRY(vgpu_table) same_bucket;
    struct vgpu_process *process;
    struct vgpu_table *above; /* NULL: the top, or alone */
    unsigned index;           /* of the entry above */
    unsigned level;           /* its entries are for 2^(12 + 9 * (level - 1)) bytes */
    bool block;
    uint64_t iova;
    /* Level 1: entries with pins, and of their pages the first and last IOVA. */
    unsigned pinned;
    uint64_t first_pinned, last_pinned;
    uint64_t entries[VGPU_PPGTT_ENTRIES]; /* as the guest had them */
    union {
        struct vgpu_table *below[VGPU_PPGTT_ENTRIES]; /* levels 2 and more */
        /* Level 1: bus address and, in its low bits, UMDEV_READ, UMDEV_WRITE; 0: not pinned. */
        uint64_t pins[VGPU_PPGTT_ENTRIES];
    };
};

LIST_HEAD(vgpu_table_list, vgpu_table);

struct vgpu_process {
    uint64_t root;
    unsigned levels;        /* 0: free */
    struct vgpu_table *top; /* NULL: not read yet */
    uint64_t used;          /* the clock when it was last put in force */
};

#define VGPU_PPGTT_BUCKETS 1024
/* Written pages that are noted one by one; more of them stand for all. */
#define VGPU_PPGTT_NOTES 512

struct vgpu_ppgtt {
    const struct vgpu_memory *memory;
    struct vgpu_process processes[VGPU_PPGTT_PROCESSES];
    struct vgpu_process *current; /* NULL: none is in force */
    uint64_t clock, generation;
    unsigned budget;         /* work before others get a word in, in tables loaded */
    struct vgpu_table *hint; /* of level 1, the last that was found in `current` */
    uint64_t hint_number;    /* address >> 21 */
    uint64_t seed;           /* of the buckets, a secret */
    struct vgpu_table_list buckets[VGPU_PPGTT_BUCKETS];

    /* Read by anybody. */
    atomic_uint_least64_t tables, pinned; /* the latter in pages */
    atomic_uint_least64_t tables_read, entries_changed;

    pthread_mutex_t lock;
    atomic_bool due; /* there are notes */
    bool all;
    size_t count;
    uint64_t notes[VGPU_PPGTT_NOTES]; /* IOVAs */
};

/* `memory` must outlive it. */
void vgpu_ppgtt_init(struct vgpu_ppgtt *ppgtt, const struct vgpu_memory *memory);
/* After vgpu_ppgtt_clear(). */
void vgpu_ppgtt_fini(struct vgpu_ppgtt *ppgtt);

static inline bool vgpu_ppgtt_in_force(const struct vgpu_ppgtt *ppgtt)
{
    return ppgtt->current != NULL;
}

/* ------------------------------------------------------------------ changes: may wait for memory
 */

/* How something stands. */
enum vgpu_ready {
    VGPU_READY,
    VGPU_MISSING, /* it has to be loaded */
    VGPU_BAD,     /* there is no such thing: *fault */
};

/*
 * The tables for [first, last] of the process in force. `load`: read those that are not there, as
 * far as the budget goes; without, nothing changes. Addresses without an entry are none of its
 * business: who touches them will see.
 */
enum vgpu_ready vgpu_ppgtt_prepare(struct vgpu_ppgtt *ppgtt, uint64_t first, uint64_t last,
                                   bool load, struct vgpu_fault *fault);
/*
 * Put a process in force, or none (levels 0). Where it is not known yet, `load` takes the place of
 * the one that was not used for the longest time.
 */
enum vgpu_ready vgpu_ppgtt_select(struct vgpu_ppgtt *ppgtt, uint64_t root, unsigned levels,
                                  bool load);
/* Read the tables again that were noted as written. */
enum vgpu_ready vgpu_ppgtt_sync(struct vgpu_ppgtt *ppgtt, bool load);

/* The client takes [first, last] away: no table lies there, and nothing is pinned. */
void vgpu_ppgtt_unmap(struct vgpu_ppgtt *ppgtt, uint64_t first, uint64_t last);
/* Forget everything. */
void vgpu_ppgtt_clear(struct vgpu_ppgtt *ppgtt);

/* A doorbell: note what was written. In the thread of the device's callbacks. */
void vgpu_ppgtt_collect(struct vgpu_ppgtt *ppgtt);

/* ------------------------------------------------------------------ ppgtt_reach.c: the engine */

/*
 * How much of [address, address + len), by the process in force, may be used for `prot` and is
 * contiguous in this process, from `address` on; *ptr: where. All tables for it are there. It stays
 * pinned. 0: *fault.
 */
size_t vgpu_ppgtt_reach(struct vgpu_ppgtt *ppgtt, uint64_t address, size_t len, unsigned prot,
                        uint8_t **ptr, struct vgpu_fault *fault);

/* ------------------------------------------------------------------ between the two */

/* The table of the process for a page of guest memory, or NULL. */
struct vgpu_table *vgpu_ppgtt_find(const struct vgpu_ppgtt *ppgtt,
                                   const struct vgpu_process *process, uint64_t iova);
/* Unpin the entries [first, end) of a table of level 1, those that are pinned. */
void vgpu_ppgtt_unpin(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned first,
                      unsigned end);

/* A virtual address is in error. False. */
static inline bool vgpu_ppgtt_fault(struct vgpu_fault *fault, enum vgpu_error code,
                                    uint64_t address)
{
    *fault = (struct vgpu_fault){.code = code, .address = address};
    return false;
}

/* Bytes that an entry of a table is for. */
static inline uint64_t vgpu_ppgtt_block(unsigned level)
{
    return VGPU_PAGE << 9 * (level - 1);
}

static inline unsigned vgpu_ppgtt_index(uint64_t address, unsigned level)
{
    return (unsigned)(address / vgpu_ppgtt_block(level) % VGPU_PPGTT_ENTRIES);
}

#endif
