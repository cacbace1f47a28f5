/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages in the client's address space: protecting them, and learning which were written.
 */
#include "base/cleanup.h"
#include "track/private.h"
#include "track/uffd.h"

#include <errno.h>

#define BATCH 512

/* Pages of files' keys are nobody's addresses. */
static bool is_compared_key(uint64_t page)
{
    return page >= TRACK_FILE_KEYS >> TRACK_PAGE_SHIFT;
}

static void set_compared(struct track *track, uint64_t first, uint64_t last)
{
    LOCK_FOR_SCOPE(&track->lock);

    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++) {
        struct track_chunk *chunk = track->chunks[i];
        uint64_t bits = chunk->tracked & ~chunk->compared;

        bits &= track_mask(chunk->number, first, last);
        chunk->compared |= bits;
        track->num_compared += (uint64_t)__builtin_popcountll(bits);
    }
    track->protected_is_old = true;
}

void track_degrade(struct track *track, uint64_t first, uint64_t last)
{
    set_compared(track, first, last);
    track_compare(track, first, last, false);
    LOCK_FOR_SCOPE(&track->lock);
    track_mark(track, first, last);
}

/* Whether others in the space wait for writes that protecting would hide from them. */
static bool has_others(const struct track *track)
{
    for (struct track *other = track->space->tracks; other; other = other->next_in_space) {
        bool has_pages;

        if (other == track)
            continue;
        pthread_mutex_lock(&other->lock);
        has_pages = other->pages > 0;
        pthread_mutex_unlock(&other->lock);
        if (has_pages)
            return true;
    }
    return false;
}

void track_arm(struct track *track, const struct track_extents *extents)
{
    const struct track_space *space = track->space;

    for (size_t i = 0; i < extents->count; i++) {
        const struct track_extent *extent = &extents->array[i];

        if (is_compared_key(extent->first)) {
            set_compared(track, extent->first, extent->last);
            track_compare(track, extent->first, extent->last, false);
            continue;
        }
        /* A failure is found again, and dealt with, by the protection. What was written before is
         * none of ours. */
        if (!space->sync && has_others(track)) {
            (void)track_pull(track, *extent, false);
            track_unmark(track, extent->first, extent->last);
        }
        if (track_uffd_protect(space->uffd, track_bytes(extent->first, extent->last), true))
            track_degrade(track, extent->first, extent->last);
    }
}

void track_disarm(struct track *track)
{
    for (size_t i = 0; i < track->protected.count; i++) {
        const struct track_extent *extent = &track->protected.array[i];

        track_uffd_protect(track->space->uffd, track_bytes(extent->first, extent->last), false);
    }
}

/* ------------------------------------------------------------------ what was written */

/* Tell all trackers of the space. */
static void mark_all(const struct track_space *space, const struct track_written *written,
                     size_t count)
{
    for (struct track *track = space->tracks; track; track = track->next_in_space) {
        LOCK_FOR_SCOPE(&track->lock);

        if (track->pages == 0)
            continue;
        for (size_t i = 0; i < count; i++)
            track_mark(track, written[i].start >> TRACK_PAGE_SHIFT,
                       (written[i].end - 1) >> TRACK_PAGE_SHIFT);
    }
}

/* Straight into the results; what does not fit there becomes pending. */
static int emit_all(struct track *track, const struct track_written *written, size_t count)
{
    LOCK_FOR_SCOPE(&track->lock);
    int ret = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t first = written[i].start >> TRACK_PAGE_SHIFT;
        uint64_t last = (written[i].end - 1) >> TRACK_PAGE_SHIFT;

        if (!ret)
            ret = track_emit(track, first, last, UMDEV_TRACK_WRITTEN);
        if (ret)
            track_mark(track, first, last);
    }
    return ret;
}

int track_pull(struct track *track, struct track_extent extent, bool direct)
{
    struct range bytes = track_bytes(extent.first, extent.last);
    struct track_written written[BATCH];
    uint64_t end = bytes.first;
    int ret = 0;

    while (!ret && end <= bytes.last) {
        int count = track_pagemap_take(track->space->pagemap, (struct range){end, bytes.last},
                                       written, BATCH, &end);

        if (count < 0)
            return count;
        if (count > 0 && direct)
            ret = emit_all(track, written, (size_t)count);
        else if (count > 0)
            mark_all(track->space, written, (size_t)count);
    }
    return ret;
}
