/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside an iommu; for the files of this folder only.
 *
 * Locks, in the order of taking:
 *   changes  map and unmap, one at a time; under it the table can be read without `lock`, and a
 * file is mapped while readers go on lock     the table and `loss`; written only under `changes`
 *   windows  alone: references of mappings that have left the table (IOMMU_DRAINING); `drained`
 *            tells that some went
 *   dirty    alone: the log's own
 * A mapping's references change without a lock as long as it is in the table: taken under `lock`,
 * given back anywhere.
 *
 * The iommu itself is counted too: one reference for its owner, one for each mapping that an unmap
 * gave up waiting for, so that a late window finds it.
 */
#ifndef IOMMU_PRIVATE_H
#define IOMMU_PRIVATE_H

#include "iommu/dirty_log.h"
#include "iommu/iommu.h"
#include "iommu/table.h"

#include <pthread.h>

struct iommu {
    const struct log *log;
    const char *name;
    struct iommu_file_rules rules;
    atomic_uint refs;
    atomic_uint complaints; /* log lines about this client's bad maps */

    pthread_mutex_t changes;
    pthread_rwlock_t lock;
    struct iommu_table table;
    struct iommu_loss *loss; /* that of all mappings in the table; NULL before the first file */

    pthread_mutex_t windows;
    pthread_cond_t drained;
    void (*waiting)(void *opaque); /* NULL: nobody wants to know */
    void *waiting_opaque;

    atomic_uint_least64_t bytes_read, bytes_written;
    struct dirty_log dirty;
};

void iommu_put(struct iommu *iommu);

/*
 * The end of a list of mappings that left the table. Waits for their windows: −ETIMEDOUT after
 * timeout_ms; those that are held still end with their last window.
 */
int iommu_drain(struct iommu *iommu, struct iommu_mapping *list, int timeout_ms);

static inline void iommu_count(struct iommu *iommu, uint64_t read, uint64_t written)
{
    if (read)
        atomic_fetch_add_explicit(&iommu->bytes_read, read, memory_order_relaxed);
    if (written)
        atomic_fetch_add_explicit(&iommu->bytes_written, written, memory_order_relaxed);
}

/* A window's hold is its mapping, and in the lowest bit whether it may be written through. */
#define IOMMU_HOLD_WRITES ((uintptr_t)1)

static inline void *iommu_hold_make(struct iommu_mapping *mapping, bool writes)
{
    return (void *)((uintptr_t)mapping | (writes ? IOMMU_HOLD_WRITES : 0));
}

static inline bool iommu_hold_writes(const void *hold)
{
    return (uintptr_t)hold & IOMMU_HOLD_WRITES;
}

static inline struct iommu_mapping *iommu_hold_mapping(void *hold)
{
    return (void *)((uintptr_t)hold & ~IOMMU_HOLD_WRITES);
}

/* The device has written there, as far as it was mapped; or will, till it gives a window back. */
static inline void iommu_note_write(struct iommu *iommu, struct range range)
{
    dirty_log_mark(&iommu->dirty, range);
}

#endif
