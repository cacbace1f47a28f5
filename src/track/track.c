/* SPDX-License-Identifier: BSD-3-Clause */
#include "track/track.h"

#include "base/cleanup.h"
#include "track/private.h"

#include <errno.h>

int track_new(struct track_hub *hub, const struct track_ops *ops, void *opaque,
              struct track **track)
{
    struct track *made = calloc(1, sizeof(*made));

    if (!made)
        return -ENOMEM;
    made->hub = hub;
    made->ops = *ops;
    made->opaque = opaque;
    pthread_mutex_init(&made->turn, NULL);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->calls_over, NULL);
    *track = made;
    return 0;
}

void track_free(struct track *track)
{
    if (!track)
        return;
    free(track->results.array);
    pthread_cond_destroy(&track->calls_over);
    pthread_mutex_destroy(&track->lock);
    pthread_mutex_destroy(&track->turn);
    free(track);
}

int track_give(struct track *track, int uffd, int pagemap, bool sync)
{
    LOCK_FOR_SCOPE(&track->turn);

    return track->space ? -EEXIST : track_space_join(track, uffd, pagemap, sync);
}

bool track_has_space(const struct track *track)
{
    return track->space;
}

void track_begin(struct track *track)
{
    track->begun = true;
    track_hub_begin(track->hub);
}

static struct track_space *leave_space(struct track *track)
{
    LOCK_FOR_SCOPE(&track->turn);

    /* Without memory to say what is protected, the client's own end of it has to do. */
    pthread_mutex_lock(&track->lock);
    (void)track_update_protected(track);
    pthread_mutex_unlock(&track->lock);
    return track_space_leave(track);
}

void track_end(struct track *track)
{
    track_space_put(leave_space(track));
    pthread_mutex_lock(&track->lock);
    while (track->calls)
        pthread_cond_wait(&track->calls_over, &track->lock);
    pthread_mutex_unlock(&track->lock);

    LOCK_FOR_SCOPE(&track->turn);
    track_names_fini(track);
    pthread_mutex_lock(&track->lock);
    track_chunks_fini(track);
    /* The results stay: a thread of the driver's may be reading them. */
    free(track->lost.array);
    track->lost = (struct track_ranges){0};
    track->keep_results = false;
    pthread_mutex_unlock(&track->lock);
    if (track->begun)
        track_hub_end(track->hub);
    track->begun = false;
}

/* ------------------------------------------------------------------ what an IOVA range is */

static int check_range(struct range iova)
{
    return is_aligned(iova.first, PAGE_SIZE_4K) && is_aligned(iova.last + 1, PAGE_SIZE_4K)
               ? 0
               : -EINVAL;
}

/* The key pages of a range, in its order. With both locks. */
static int resolve(struct track *track, struct range iova, struct track_extents *extents)
{
    uint64_t next = iova.first;
    struct interval *node = interval_first(track->by_iova, iova);
    int ret = 0;

    extents->count = 0;
    for (; !ret && node; node = interval_next(track->by_iova, node, iova)) {
        const struct track_name *name = INTERVAL_OWNER(node, struct track_name, by_iova);
        uint64_t shift = name->by_key.range.first - node->range.first;
        uint64_t last = MIN(node->range.last, iova.last);

        if (node->range.first > next)
            return -EFAULT;
        if (!name->has_key)
            return -EOPNOTSUPP;
        ret = track_extents_add(extents, (next + shift) >> TRACK_PAGE_SHIFT,
                                (last + shift) >> TRACK_PAGE_SHIFT);
        if (last == iova.last)
            return ret;
        next = last + 1;
    }
    return ret ? ret : -EFAULT;
}

/* ------------------------------------------------------------------ adding */

static bool chunk_is_full(const struct track_chunk *chunk, uint64_t bits)
{
    for (; bits; bits &= bits - 1)
        if (chunk->counts[__builtin_ctzll(bits)] == TRACK_MAX_COUNT)
            return true;
    return false;
}

/* All pages of a chunk are the common case of much memory: no bit is looked for then. */
static void chunk_count(struct track_chunk *chunk, uint64_t bits)
{
    if (bits == UINT64_MAX) {
        for (unsigned i = 0; i < TRACK_CHUNK_PAGES; i++)
            chunk->counts[i]++;
        return;
    }
    for (; bits; bits &= bits - 1)
        chunk->counts[__builtin_ctzll(bits)]++;
}

/* Take one off each page that has one. */
static void uncount(struct track *track, const struct track_extent *extent)
{
    for (size_t i = track_chunk_at(track, extent->first);
         i < track->count && track->numbers[i] <= extent->last / TRACK_CHUNK_PAGES; i++) {
        struct track_chunk *chunk = track->chunks[i];
        uint64_t bits = chunk->tracked & track_mask(chunk->number, extent->first, extent->last);
        uint64_t gone = 0;

        for (; bits; bits &= bits - 1) {
            unsigned page = (unsigned)__builtin_ctzll(bits);

            if (--chunk->counts[page] == 0)
                gone |= UINT64_C(1) << page;
        }
        track_forget(track, chunk, gone);
    }
}

/* Add one to each page, and those that were not tracked to *fresh; all or none. The chunks are
 * there. */
static int count_extent(struct track *track, const struct track_extent *extent,
                        struct track_extents *fresh)
{
    size_t begin = track_chunk_at(track, extent->first);
    uint64_t last_number = extent->last / TRACK_CHUNK_PAGES;
    int ret = 0;

    for (size_t i = begin; !ret && i < track->count && track->numbers[i] <= last_number; i++) {
        const struct track_chunk *chunk = track->chunks[i];
        uint64_t bits = track_mask(chunk->number, extent->first, extent->last);

        if (chunk->tracked & bits && chunk_is_full(chunk, bits))
            return -EOVERFLOW;
        ret = track_extents_add_runs(fresh, chunk->number, bits & ~chunk->tracked);
    }
    if (ret)
        return ret;
    for (size_t i = begin; i < track->count && track->numbers[i] <= last_number; i++) {
        struct track_chunk *chunk = track->chunks[i];
        uint64_t bits = track_mask(chunk->number, extent->first, extent->last);

        track->pages += (uint64_t)__builtin_popcountll(bits & ~chunk->tracked);
        chunk->tracked |= bits;
        chunk_count(chunk, bits);
    }
    return 0;
}

/* In NOTIFY mode all pages must be where a write can be made to wait. */
static int check_mode(const struct track *track, const struct track_extents *extents)
{
    if (track->mode != UMDEV_TRACK_NOTIFY)
        return 0;
    if (!track->space || !track->space->sync)
        return -EOPNOTSUPP;
    for (size_t i = 0; i < extents->count; i++)
        if (extents->array[i].first >= TRACK_FILE_KEYS >> TRACK_PAGE_SHIFT)
            return -EOPNOTSUPP;
    return 0;
}

/* With the lock. */
static int add_extents(struct track *track, const struct track_extents *extents,
                       struct track_extents *fresh)
{
    size_t counted = 0;
    int ret = check_mode(track, extents);

    for (size_t i = 0; !ret && i < extents->count; i++)
        ret = track_chunks_reserve(track, extents->array[i].first, extents->array[i].last);
    while (!ret && counted < extents->count) {
        ret = count_extent(track, &extents->array[counted], fresh);
        counted += !ret;
    }
    if (ret) {
        while (counted > 0)
            uncount(track, &extents->array[--counted]);
        track_chunks_trim(track);
        return ret;
    }
    /* As it will be after a first collect; tracking nothing before, nothing is to be looked for. */
    if (fresh->count > 0)
        track->protected_is_old = true;
    return 0;
}

static int add_locked(struct track *track, struct range iova)
{
    LOCK_FOR_SCOPE(&track->lock);
    int ret = resolve(track, iova, &track->named);

    track->fresh.count = 0;
    return ret ? ret : add_extents(track, &track->named, &track->fresh);
}

int track_add(struct track *track, struct range iova)
{
    LOCK_FOR_SCOPE(&track->turn);
    int ret = check_range(iova);

    if (ret)
        return ret;
    if (track->space)
        pthread_mutex_lock(&track->space->lock);
    ret = add_locked(track, iova);
    if (!ret)
        track_arm(track, &track->fresh);
    if (track->space)
        pthread_mutex_unlock(&track->space->lock);
    return ret;
}

/* ------------------------------------------------------------------ removing */

static bool all_tracked(const struct track *track, const struct track_extent *extent)
{
    uint64_t number = extent->first / TRACK_CHUNK_PAGES;
    size_t i = track_chunk_at(track, extent->first);

    for (; number <= extent->last / TRACK_CHUNK_PAGES; number++, i++) {
        if (i == track->count || track->numbers[i] != number ||
            track_mask(number, extent->first, extent->last) & ~track->chunks[i]->tracked)
            return false;
    }
    return true;
}

static int remove_locked(struct track *track, struct range iova)
{
    LOCK_FOR_SCOPE(&track->lock);
    struct track_extents *extents = &track->named;
    uint64_t before = track->pages;
    int ret = resolve(track, iova, extents);

    for (size_t i = 0; !ret && i < extents->count; i++)
        ret = all_tracked(track, &extents->array[i]) ? 0 : -ENOENT;
    if (ret)
        return ret;
    for (size_t i = 0; i < extents->count; i++)
        uncount(track, &extents->array[i]);
    if (track->pages != before)
        track_chunks_trim(track);
    return 0;
}

int track_remove(struct track *track, struct range iova)
{
    LOCK_FOR_SCOPE(&track->turn);
    int ret = check_range(iova);

    return ret ? ret : remove_locked(track, iova);
}

/* ------------------------------------------------------------------ reading */

/* Its chunk, if it is compared: NULL, if not. With `turn`. */
static int find_compared(struct track *track, struct range iova, struct track_chunk **chunk,
                         uint64_t *page)
{
    LOCK_FOR_SCOPE(&track->lock);
    int ret = resolve(track, iova, &track->named);
    struct track_chunk *found;

    if (ret)
        return ret;
    if (!all_tracked(track, &track->named.array[0]))
        return -ENOENT;
    *page = track->named.array[0].first;
    found = track->chunks[track_chunk_at(track, *page)];
    *chunk = found->compared & track_bit(*page) ? found : NULL;
    return 0;
}

int track_seen(struct track *track, struct range iova, const void *content)
{
    LOCK_FOR_SCOPE(&track->turn);
    struct track_chunk *chunk;
    uint64_t page;
    int ret = check_range(iova);

    if (!ret)
        ret = find_compared(track, iova, &chunk, &page);
    if (!ret && chunk)
        track_compare_with(track, chunk, page, content);
    return ret;
}

/* ------------------------------------------------------------------ others */

int track_set_mode(struct track *track, enum umdev_track_mode mode)
{
    LOCK_FOR_SCOPE(&track->turn);
    LOCK_FOR_SCOPE(&track->lock);

    if (mode != UMDEV_TRACK_COLLECT && mode != UMDEV_TRACK_NOTIFY)
        return -EINVAL;
    if (mode == UMDEV_TRACK_NOTIFY && !track->ops.written)
        return -EINVAL;
    if (track->pages > 0)
        return -EBUSY;
    track->mode = mode;
    return 0;
}

void track_get_stats(struct track *track, struct track_stats *stats)
{
    /* A space is not looked into, and its kind is fixed. */
    pthread_rwlock_rdlock(&track->hub->lock);
    stats->method = !track->space        ? TRACK_COMPARE
                    : track->space->sync ? TRACK_UFFD_SYNC
                                         : TRACK_UFFD_ASYNC;
    pthread_rwlock_unlock(&track->hub->lock);
    LOCK_FOR_SCOPE(&track->lock);
    stats->mode = track->mode;
    stats->pages = track->pages;
    stats->compared = track->num_compared;
    stats->bytes = track->count * sizeof(struct track_chunk) +
                   track->capacity * (sizeof(uint64_t) + sizeof(void *)) +
                   track->num_digests * sizeof(struct track_digest) +
                   track->protected.capacity * sizeof(struct track_extent);
    stats->collects = track->collects;
    stats->notified = atomic_load_explicit(&track->notified, memory_order_relaxed);
}
