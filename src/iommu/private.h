/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside an iommu; for the files of this folder only.
 *
 * Locks, in the order of taking; readers take none:
 *   dirty.lock (iommu/dirty_log.h): a report asks what is pinned
 *   changes  map, unmap and protect, one at a time: the table, and which loss flag is the client's.
 *            Held while a file is mapped, never while anything waits for windows.
 *   windows  an unmap looks at the slots, and waits for them on `drained`; owners of slots that are
 *            waited for give them back under it. Whoever frees a mapping has had it since the last
 *            slot went, so that under it the mapping a slot holds can be looked at.
 *   pins.lock (iommu/pin.h), also inside a reader's section
 *   views.lock
 *
 * The iommu itself is counted: one reference for its owner, one for each window that an unmap gave
 * up waiting for, so that a late window finds it.
 */
#ifndef IOMMU_PRIVATE_H
#define IOMMU_PRIVATE_H

#include "iommu/dirty_log.h"
#include "iommu/iommu.h"
#include "iommu/pin.h"
#include "iommu/readers.h"
#include "iommu/table.h"
#include "track/hub.h"

#include <pthread.h>

struct iommu {
    /* What readers look at. */
    struct iommu_table table;
    struct iommu_readers readers;
    struct iommu_loss *_Atomic loss; /* the client's; NULL before its first file */

    const struct log *log;
    const char *name;
    struct iommu_file_rules rules;
    struct iommu_views views;
    struct iommu_pins pins;
    atomic_uint refs;
    atomic_uint complaints; /* log lines about this client's bad maps */

    pthread_mutex_t changes;
    pthread_mutex_t windows;
    pthread_cond_t drained;
    void (*waiting)(void *opaque); /* NULL: nobody wants to know */
    void *waiting_opaque;
    struct dirty_log dirty;

    struct track_hub *_Atomic hub; /* NULL: nobody tracks */
    struct track *track;           /* NULL: the device doesn't */
    atomic_bool tracks;            /* it knows the mappings; changed under `changes` */
    struct track_writer writer;
};

void iommu_put(struct iommu *iommu);

/* Read, write or both. */
static inline bool iommu_prot_is_valid(unsigned prot)
{
    return prot != 0 && !(prot & ~(unsigned)UMDEV_RW);
}

/* One unmap, from before it changes the table until nobody reaches what it took out. */
struct iommu_drain {
    struct iommu *iommu;
    struct iommu_mapping *list; /* their `drain` is this */
    struct timespec deadline;
    bool has_told;  /* that it waits */
    bool timed_out; /* for a window at least */
};

/*
 * The end of the mappings in drain->list, which are in the table no more. Waits for the copies and
 * windows that reach them: −ETIMEDOUT when windows took more than timeout_ms; those that are held
 * still end with their last window.
 */
int iommu_drain(struct iommu_drain *drain, int timeout_ms);
/*
 * Waits for copies that may have begun with a table of before. Those into the mappings that `drain`
 * is set in count; windows don't.
 */
void iommu_drain_copies(struct iommu_drain *drain);

/* The rest of iommu_note_write() and iommu_note_mapping(). */
void iommu_track_note(struct iommu *iommu, const struct iommu_directory *root, struct range range);
void iommu_track_note_mapping(struct iommu *iommu, const struct iommu_mapping *mapping,
                              struct range range);

static inline bool iommu_is_listened_to(const struct iommu *iommu)
{
    const struct track_hub *hub = atomic_load_explicit(&iommu->hub, memory_order_relaxed);

    return hub && track_hub_listens(hub);
}

/*
 * Called for every write by the device to client memory: a copy, when it is done, and a window for
 * writing, when it is released. The slot is still taken, and the table with the root in place.
 */
static inline void iommu_note_write(struct iommu *iommu, const struct iommu_directory *root,
                                    struct range range)
{
    dirty_log_mark(&iommu->dirty, range);
    if (iommu_is_listened_to(iommu))
        iommu_track_note(iommu, root, range);
}

/* The same for who has no more than the one mapping in which all of the range lies. */
static inline void iommu_note_mapping(struct iommu *iommu, const struct iommu_mapping *mapping,
                                      struct range range)
{
    dirty_log_mark(&iommu->dirty, range);
    if (iommu_is_listened_to(iommu))
        iommu_track_note_mapping(iommu, mapping, range);
}

/*
 * With `changes`: the tracker is told of a mapping, if it wants to know. −errno as track_map().
 */
int iommu_track_map(struct iommu *iommu, const struct iommu_mapping *mapping);
void iommu_track_unmap(struct iommu *iommu, struct range range);
/* The hub is not there for long; late windows are nobody's to know. */
void iommu_track_leave(struct iommu *iommu);

#endif
