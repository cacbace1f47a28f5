/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reports.
 *
 * In order: what is lost; what the pagemap and comparing find; what engines may be writing now; and
 * of all these, and what was noted before, the pending pages. Where a tracker is alone in its space
 * and has nothing else to say, what the pagemap finds goes into the report as it is.
 */
#include "base/cleanup.h"
#include "track/private.h"
#include "track/uffd.h"

#include <errno.h>

/* Results that are not told yet stay: an error must not lose them. */
static void begin_results(struct track *track)
{
    if (!track->keep_results)
        track->results.count = 0;
    track->keep_results = true;
}

static int report_lost(struct track *track)
{
    int ret = track_lay_ghosts(track);

    LOCK_FOR_SCOPE(&track->lock);
    while (!ret && track->lost.count > 0) {
        const struct umdev_track_range *range = &track->lost.array[track->lost.count - 1];

        ret = track_ranges_add(&track->results, range->iova.value, range->size, range->flags);
        track->lost.count -= !ret;
    }
    return ret;
}

static int prepare_pull(struct track *track, bool *direct)
{
    LOCK_FOR_SCOPE(&track->lock);

    *direct = !track->pending && track->space->tracks == track && !track->next_in_space;
    return track_update_protected(track);
}

/* What the kernel knows. With the space's lock. */
static int pull_all(struct track *track)
{
    bool direct;
    int ret = prepare_pull(track, &direct);

    for (size_t i = 0; !ret && i < track->protected.count; i++) {
        struct track_extent extent = track->protected.array[i];

        ret = track_pull(track, extent, direct);
        if (ret && ret != -ENOMEM) {
            /* Not what we were told it is, or not any more. */
            track_degrade(track, extent.first, extent.last);
            ret = 0;
        }
    }
    return ret;
}

/* ------------------------------------------------------------------ pending pages */

/* Marked first, told first. */
static struct track_chunk *take_pending(struct track *track)
{
    struct track_chunk *list = NULL;

    while (track->pending) {
        struct track_chunk *chunk = track->pending;

        track->pending = chunk->next_pending;
        chunk->next_pending = list;
        list = chunk;
    }
    return list;
}

static void put_back(struct track *track, struct track_chunk *chunk)
{
    chunk->next_pending = track->pending;
    track->pending = chunk;
    chunk->is_listed = true;
}

/* Tell pages of a chunk, and take their bits away; `protect`: they are to be protected again. */
static int tell_bits(struct track *track, const struct track_chunk *chunk, uint64_t *bits,
                     struct track_extents *protect)
{
    int ret = 0;

    while (*bits && !ret) {
        struct track_extent run = track_first_run(chunk->number, *bits);

        if (protect)
            ret = track_extents_add(protect, run.first, run.last);
        if (!ret)
            ret = track_emit(track, run.first, run.last, UMDEV_TRACK_WRITTEN);
        if (!ret)
            *bits &= ~track_mask(chunk->number, run.first, run.last);
    }
    return ret;
}

static int tell_chunk(struct track *track, struct track_chunk *chunk, struct track_extents *protect)
{
    uint64_t protected = chunk->pending & ~chunk->compared;
    uint64_t compared = chunk->pending & chunk->compared;
    int ret;

    chunk->is_listed = false;
    chunk->pending = 0;
    ret = tell_bits(track, chunk, &protected, protect);
    if (!ret)
        ret = tell_bits(track, chunk, &compared, NULL);
    chunk->pending |= protected | compared;
    if (chunk->pending && !chunk->is_listed)
        put_back(track, chunk);
    return ret;
}

static int tell_pending(struct track *track, struct track_extents *protect)
{
    LOCK_FOR_SCOPE(&track->lock);
    struct track_chunk *list = take_pending(track);
    int ret = 0;

    while (list) {
        struct track_chunk *chunk = list;

        list = chunk->next_pending;
        if (ret)
            put_back(track, chunk);
        else
            ret = tell_chunk(track, chunk, protect);
    }
    return ret;
}

/*
 * A page that was written to while it waited is not protected any more. To be protected again
 * before the report is made: what comes until then is in it. With the space's lock.
 */
static void protect_again(struct track *track, const struct track_extents *extents)
{
    for (size_t i = 0; i < extents->count; i++) {
        const struct track_extent *extent = &extents->array[i];

        if (track_uffd_protect(track->space->uffd, track_bytes(extent->first, extent->last), true))
            track_degrade(track, extent->first, extent->last);
    }
}

static int report_pending(struct track *track)
{
    bool sync = track->space && track->space->sync;
    struct track_extents protect = {0};
    int ret = tell_pending(track, sync ? &protect : NULL);

    if (sync)
        protect_again(track, &protect);
    free(protect.array);
    return ret;
}

static int collect(struct track *track)
{
    int ret = report_lost(track);

    if (!ret && track->space && !track->space->sync)
        ret = pull_all(track);
    if (!ret && track->num_compared > 0)
        track_compare_all(track);
    if (!ret)
        track_hub_note_held(track->hub);
    return ret ? ret : report_pending(track);
}

int track_collect(struct track *track, const struct umdev_track_range **ranges, size_t *count)
{
    LOCK_FOR_SCOPE(&track->turn);
    int ret;

    begin_results(track);
    if (track->space)
        pthread_mutex_lock(&track->space->lock);
    ret = collect(track);
    if (track->space)
        pthread_mutex_unlock(&track->space->lock);
    if (ret)
        return ret;
    track->keep_results = false;
    track->collects++;
    *ranges = track->results.array;
    *count = track->results.count;
    return 0;
}
