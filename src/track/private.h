/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside a tracker; for the files of this folder only. track.h has the data model.
 */
#ifndef TRACK_PRIVATE_H
#define TRACK_PRIVATE_H

#include "track/track.h"

#define TRACK_PAGE_SHIFT  12
#define TRACK_CHUNK_PAGES 64u
#define TRACK_MAX_COUNT   UINT16_MAX
/* Ghosts beyond are laid without waiting for a collect. */
#define TRACK_MAX_GHOSTS 1024u

/* Of a page's content. */
struct track_digest {
    uint64_t low, high;
};

struct track_chunk {
    uint64_t number;                     /* of the first page's key, / TRACK_CHUNK_PAGES */
    uint64_t tracked, pending, compared; /* bits; the latter two of tracked pages only */
    struct track_digest *digests;        /* of compared pages; NULL: there are none. `turn`'s */
    struct track_chunk *next_pending;
    bool is_listed; /* among the pending ones */
    uint16_t counts[TRACK_CHUNK_PAGES];
};

struct track_name {
    struct interval by_key, by_file, by_iova;
    struct track_sub *sub; /* NULL: it has no file */
    uint64_t offset;       /* in the file */
    bool has_key, ghost;
    struct track_name *next, *previous; /* among the ghosts */
};

/* Key pages in one piece. */
struct track_extent {
    uint64_t first, last;
};

struct track_extents {
    struct track_extent *array;
    size_t count, capacity;
};

struct track_ranges {
    struct umdev_track_range *array;
    size_t count, capacity;
};

struct track {
    struct track_hub *hub;
    struct track_ops ops;
    void *opaque;
    pthread_mutex_t turn, lock;

    struct track_space *space; /* changed under hub->lock, too, with the space's */
    struct track *next_in_space;
    enum umdev_track_mode mode;
    bool begun;

    struct interval *by_key, *by_iova; /* of names */
    struct interval *ghost_keys;
    struct track_name *ghosts;
    size_t num_ghosts;
    uint64_t version; /* counts changes of names */

    uint64_t *numbers; /* those of the chunks */
    struct track_chunk **chunks;
    size_t count, capacity;
    struct track_chunk *pending;
    struct track_chunk *spare; /* a chunk that is none; NULL: there is none */
    uint64_t pages, num_compared, num_digests;

    /* Tracked pages that are not compared, for the next look at the pagemap. */
    struct track_extents protected;
    bool protected_is_old;

    /* Of the call under way: what it is about, and what of that is new. `turn`'s. */
    struct track_extents named, fresh;

    struct track_ranges results;
    bool keep_results; /* they have not been told */
    struct track_ranges lost;
    uint64_t collects;
    atomic_uint_least64_t notified;
    uint64_t event; /* the last one that it was called for; under the space's lock */
    unsigned calls; /* of ops.written under way; under the lock */
    pthread_cond_t calls_over;
};

static inline uint64_t track_bit(uint64_t page)
{
    return UINT64_C(1) << (page % TRACK_CHUNK_PAGES);
}

/* The bits of a chunk's pages in [first, last], which has some of them. */
static inline uint64_t track_mask(uint64_t number, uint64_t first, uint64_t last)
{
    uint64_t begin = number * TRACK_CHUNK_PAGES;
    uint64_t low = first > begin ? first - begin : 0;
    uint64_t high = MIN(last - begin, TRACK_CHUNK_PAGES - 1);

    return UINT64_MAX << low & UINT64_MAX >> (TRACK_CHUNK_PAGES - 1 - high);
}

/* The first run of bits, of which there is one, as pages of a chunk. */
static inline struct track_extent track_first_run(uint64_t number, uint64_t bits)
{
    unsigned at = (unsigned)__builtin_ctzll(bits);
    uint64_t rest = ~(bits >> at);
    unsigned count = rest ? (unsigned)__builtin_ctzll(rest) : TRACK_CHUNK_PAGES;
    uint64_t first = number * TRACK_CHUNK_PAGES + at;

    return (struct track_extent){first, first + count - 1};
}

static inline struct range track_bytes(uint64_t first, uint64_t last)
{
    return (struct range){first << TRACK_PAGE_SHIFT, last << TRACK_PAGE_SHIFT | (PAGE_SIZE_4K - 1)};
}

/* chunks.c; all with the lock. */

/* The first chunk with pages at or behind one. */
size_t track_chunk_at(const struct track *track, uint64_t page);
/* Make chunks for all pages. −ENOMEM. With `turn`. */
int track_chunks_reserve(struct track *track, uint64_t first, uint64_t last);
/* Free those in which nothing is tracked. With `turn`. */
void track_chunks_trim(struct track *track);
void track_chunks_fini(struct track *track);
/* Pages become pending, as far as they are tracked. */
void track_mark(struct track *track, uint64_t first, uint64_t last);
/* They are not pending any more. Takes the lock. */
void track_unmark(struct track *track, uint64_t first, uint64_t last);
/* Pages of a chunk are not tracked any more. */
void track_forget(struct track *track, struct track_chunk *chunk, uint64_t bits);
/* Whether any page is tracked. */
bool track_any(const struct track *track, uint64_t first, uint64_t last);
/* Bring `protected` up to date. −ENOMEM. With `turn`. */
int track_update_protected(struct track *track);
int track_extents_add(struct track_extents *extents, uint64_t first, uint64_t last);
/* The runs of a chunk's bits. */
int track_extents_add_runs(struct track_extents *extents, uint64_t number, uint64_t bits);

/* names.c; with the lock. */

/* The first live name over a key page; NULL: none. */
struct track_name *track_name_at(struct track *track, uint64_t page);
/* Ghosts' pages that have no name are lost, and ghosts gone: −ENOMEM: not all yet. */
int track_lay_ghosts(struct track *track);
void track_names_fini(struct track *track);
/* Add the IOVAs of key pages to the results. Parts without a name become pending. −ENOMEM. */
int track_emit(struct track *track, uint64_t first, uint64_t last, uint64_t flags);
int track_ranges_add(struct track_ranges *ranges, uint64_t iova, uint64_t size, uint64_t flags);
/* Some bytes of a file were written. Takes the lock. */
void track_note_file(struct track_sub *sub, struct range bytes);

/* protect.c; with `turn` and the space's lock, without the lock. */

/* Pages that have just become tracked: protect them, or take a copy of what they are. */
void track_arm(struct track *track, const struct track_extents *extents);
/* Nobody tells of writes to these pages any more. */
void track_degrade(struct track *track, uint64_t first, uint64_t last);
/* The end of all protection. */
void track_disarm(struct track *track);
/* Bring the pending bits of all trackers of the space up to date, of pages in an extent. */
int track_pull(struct track *track, struct track_extent extent, bool direct);

/* compare.c; with `turn`, without the lock. */

/* Take digests of pages that are compared; `changed`: those which differ become pending. */
void track_compare(struct track *track, uint64_t first, uint64_t last, bool changed);
void track_compare_all(struct track *track);
/* From now on a compared page is what it was when somebody found this in it. */
void track_compare_with(struct track *track, struct track_chunk *chunk, uint64_t page,
                        const void *content);

#endif
