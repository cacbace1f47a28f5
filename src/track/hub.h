/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the trackers of a daemon share: files and address spaces.
 *
 * Data model. A *file* is one of which some tracker knows a mapping. Each such tracker is
 * subscribed to it, so that a device that writes to the file finds all who have its pages. A
 * *space* is a client's address space: its userfaultfd, by which it is known, and its pagemap.
 * Clients of several devices are one process where they give the same userfaultfd, and their
 * trackers then share a space: who takes from the kernel what was written gives the others their
 * part.
 *
 * A *writer* is an iommu: it is asked for what its device may be writing just now.
 *
 * Locks, in this order: the hub's `joins`, a tracker's `turn`, a space's `lock`, the hub's `lock`,
 * a tracker's `lock`. Writers have one of their own. The hub's guards its other lists, and is
 * written for changes only. A space's is held during ioctls on the client's address space and while
 * the trackers of the space are told; its list of trackers is changed under both, and read under
 * either.
 */
#ifndef TRACK_HUB_H
#define TRACK_HUB_H

#include "track/interval.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define TRACK_FILE_BUCKETS 256u

struct track;

struct track_sub {
    struct track_sub *next;
    struct track *track;
    struct track_file *file;
    unsigned names;           /* under the hub's lock */
    struct interval *by_file; /* under the tracker's lock */
};

struct track_file {
    struct track_file *next;
    dev_t device;
    ino_t inode;
    uint64_t id; /* no other file's */
    struct track_sub *subs;
};

struct track_space {
    struct track_space *next;
    struct track_hub *hub;
    unsigned refs; /* under the hub's lock */
    int uffd, pagemap;
    bool sync;
    dev_t device; /* which userfaultfd it is */
    ino_t inode;
    pthread_mutex_t lock;
    struct track *tracks;
    struct track_events *events; /* of a synchronous one */
};

struct track_writer {
    struct track_writer *next;
    /* Note what may be written without notice, now. Under `writing`. */
    void (*held)(void *opaque);
    void *opaque;
};

struct track_hub {
    pthread_rwlock_t lock;
    pthread_mutex_t joins; /* before all others: a userfaultfd is looked up, and made known */
    atomic_uint active;    /* trackers that have names */
    uint64_t next_id;
    struct track_file *files[TRACK_FILE_BUCKETS];
    struct track_space *spaces;
    pthread_mutex_t writing; /* before the hub's lock */
    struct track_writer *writers;
};

/* −ENOMEM. */
int track_hub_new(struct track_hub **hub);
/* No tracker is left. NULL does nothing. */
void track_hub_free(struct track_hub *hub);

/* Whether writes have to be noted. A write comes before the look. */
static inline bool track_hub_listens(const struct track_hub *hub)
{
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&hub->active, memory_order_relaxed) != 0;
}
/* A device has written to bytes of a file. Any thread; in no lock of this folder. */
void track_hub_note(struct track_hub *hub, dev_t device, ino_t inode, struct range bytes);

void track_hub_add_writer(struct track_hub *hub, struct track_writer *writer);
void track_hub_remove_writer(struct track_hub *hub, struct track_writer *writer);
/* Ask all writers. */
void track_hub_note_held(struct track_hub *hub);

/* One more tracker has names: from its return on all writes are noted, or seen by this thread. */
void track_hub_begin(struct track_hub *hub);
void track_hub_end(struct track_hub *hub);

/* The tracker's subscription, for one more name. −ENOMEM. */
int track_sub_get(struct track *track, dev_t device, ino_t inode, struct track_sub **sub);
/* NULL does nothing. */
void track_sub_put(struct track_sub *sub);

/*
 * The address space of a userfaultfd and a pagemap, which are checked, and the space's if 0 is
 * returned; what is known already is closed. The tracker is in its list from now on. EINVAL: other
 * fds; or known, and not of this kind. ENOMEM.
 */
int track_space_join(struct track *track, int uffd, int pagemap, bool sync);
/*
 * The tracker has no space any more: the one that it had, or NULL, for track_space_put(), which
 * waits for a callback under way, if it was the last: without `turn`, then.
 */
struct track_space *track_space_leave(struct track *track);
void track_space_put(struct track_space *space);

#endif
