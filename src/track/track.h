/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's write tracking: which pages of client memory were written, by anybody.
 *
 * Data model. A page is known by its *key*: where it lies in the client's address space (its HVA,
 * which is below 2^63), or where nobody said so, its place in its file (a number above). IOVAs are
 * *names* of keys: a name is one DMA mapping. So two IOVAs of one page are one page with two names,
 * and a page whose IOVA moves is the same page afterwards.
 *
 * Tracked pages lie in *chunks* of 64 pages, sorted by key; a chunk has for each page how often it
 * was added, whether it is *pending* (written, and not yet reported), and whether it is *compared*:
 * nobody tells of its writes, and its content is looked at. A tracked page that is not compared is
 * write-protected in the client's address space, or pending, or about to be found by the next look
 * at the pagemap.
 *
 * A name that goes while pages of it are tracked stays as a *ghost*. It has no IOVA any more, but
 * writes to its file are still for its pages. A name that comes and covers it takes its place. At a
 * collect, pages that are in ghosts and under no name are lost, and the ghosts are gone.
 *
 * Invariant: each tracked page lies in a name or in a ghost.
 *
 * Locks (their order is in hub.h). `turn` is the driver's: add, remove, collect, one at a time; it
 * guards which chunks there are, together with `lock`, which guards everything else, too, and is
 * never held during an ioctl. So map and unmap, and devices that write, wait for no client.
 */
#ifndef TRACK_TRACK_H
#define TRACK_TRACK_H

#include "track/hub.h"

#include <umdev/track.h>

struct track;

/* Files are numbered below, and may be so long, where a page's key is its place in a file. */
#define TRACK_MAX_FILES ((UINT64_C(1) << 20) - 1)
#define TRACK_MAX_FILE  (UINT64_C(1) << 43)
#define TRACK_FILE_KEYS (UINT64_C(1) << 63)

/* What is behind a mapping. */
struct track_memory {
    bool has_hva, has_file;
    uint64_t hva; /* of the mapping's first byte; all of it below TRACK_FILE_KEYS */
    dev_t device;
    ino_t inode;
    uint64_t offset;
};

struct track_ops {
    /* 4096 bytes at an IOVA, whatever its protection. EFAULT, EOPNOTSUPP: not to be read. */
    int (*read)(void *opaque, uint64_t iova, void *page);
    /* A tracked page is about to be written; in no lock. */
    void (*written)(void *opaque, struct range range);
};

enum track_method {
    TRACK_COMPARE,
    TRACK_UFFD_ASYNC,
    TRACK_UFFD_SYNC,
};

struct track_stats {
    enum umdev_track_mode mode;
    enum track_method method; /* of memory whose HVA is known */
    uint64_t pages;           /* tracked now, each once */
    uint64_t compared;        /* those of them that are compared */
    uint64_t bytes;           /* that this takes */
    uint64_t collects, notified;
};

/* −ENOMEM. */
int track_new(struct track_hub *hub, const struct track_ops *ops, void *opaque,
              struct track **track);
/* After track_end(). NULL does nothing. */
void track_free(struct track *track);

/* For the client's side: one thread at a time. */

/* As track_space_join(); EEXIST: it has one. Before the first mapping with an HVA. */
int track_give(struct track *track, int uffd, int pagemap, bool sync);
bool track_has_space(const struct track *track);
/*
 * A mapping comes; its range has no other. Whoever calls has switched the tracker on before, with
 * all mappings that there were. ENOMEM. EINVAL: the HVA is that of other memory.
 */
int track_map(struct track *track, struct range iova, const struct track_memory *memory);
/* One goes. */
void track_unmap(struct track *track, struct range iova);
/* All names come from now on. */
void track_begin(struct track *track);
/* The client is gone, and so is everything. Waits for track_ops.written under way. */
void track_end(struct track *track);

/* For the driver's: as umdev_track_*(), less ENODEV. */
int track_add(struct track *track, struct range iova);
int track_remove(struct track *track, struct range iova);
int track_seen(struct track *track, struct range iova, const void *content);
int track_set_mode(struct track *track, enum umdev_track_mode mode);
/* An array of the tracker's, good until the next call. */
int track_collect(struct track *track, const struct umdev_track_range **ranges, size_t *count);

void track_get_stats(struct track *track, struct track_stats *stats);

#endif
