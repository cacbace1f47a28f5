/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracked pages, 64 at a time.
 */
#include "base/cleanup.h"
#include "track/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t track_chunk_at(const struct track *track, uint64_t page)
{
    uint64_t number = page / TRACK_CHUNK_PAGES;
    size_t from = 0, to = track->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (track->numbers[middle] < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static int reserve_arrays(struct track *track, size_t more)
{
    size_t capacity = MAX(track->capacity, 16u);
    uint64_t *numbers;
    struct track_chunk **chunks;

    while (capacity - track->count < more)
        capacity *= 2;
    if (capacity == track->capacity)
        return 0;
    numbers = reallocarray(track->numbers, capacity, sizeof(*numbers));
    if (!numbers)
        return -ENOMEM;
    track->numbers = numbers;
    chunks = reallocarray(track->chunks, capacity, sizeof(struct track_chunk *));
    if (!chunks)
        return -ENOMEM;
    track->chunks = chunks;
    track->capacity = capacity;
    return 0;
}

static int insert_chunk(struct track *track, size_t at, uint64_t number)
{
    struct track_chunk *chunk = track->spare ? track->spare : malloc(sizeof(*chunk));

    if (!chunk)
        return -ENOMEM;
    track->spare = NULL;
    *chunk = (struct track_chunk){.number = number};
    memmove(&track->numbers[at + 1], &track->numbers[at],
            (track->count - at) * sizeof(track->numbers[0]));
    memmove(&track->chunks[at + 1], &track->chunks[at],
            (track->count - at) * sizeof(struct track_chunk *));
    track->numbers[at] = number;
    track->chunks[at] = chunk;
    track->count++;
    return 0;
}

int track_chunks_reserve(struct track *track, uint64_t first, uint64_t last)
{
    uint64_t last_number = last / TRACK_CHUNK_PAGES;
    size_t at = track_chunk_at(track, first);
    int ret = 0;

    for (uint64_t number = first / TRACK_CHUNK_PAGES; !ret && number <= last_number;
         number++, at++) {
        if (at < track->count && track->numbers[at] == number)
            continue;
        ret = reserve_arrays(track, 1);
        if (!ret)
            ret = insert_chunk(track, at, number);
    }
    return ret;
}

static void free_chunk(struct track *track, struct track_chunk *chunk)
{
    if (chunk->digests)
        track->num_digests -= TRACK_CHUNK_PAGES;
    free(chunk->digests);
    if (track->spare)
        free(chunk);
    else
        track->spare = chunk;
}

/* Those that have nothing pending any more leave the list. */
static void clean_pending(struct track *track)
{
    struct track_chunk **link = &track->pending;

    while (*link) {
        struct track_chunk *chunk = *link;

        if (chunk->pending) {
            link = &chunk->next_pending;
        } else {
            *link = chunk->next_pending;
            chunk->is_listed = false;
        }
    }
}

void track_chunks_trim(struct track *track)
{
    size_t kept = 0;

    clean_pending(track);
    for (size_t i = 0; i < track->count; i++) {
        if (!track->chunks[i]->tracked) {
            free_chunk(track, track->chunks[i]);
            continue;
        }
        track->numbers[kept] = track->numbers[i];
        track->chunks[kept++] = track->chunks[i];
    }
    track->count = kept;
}

void track_chunks_fini(struct track *track)
{
    for (size_t i = 0; i < track->count; i++)
        free_chunk(track, track->chunks[i]);
    free(track->spare);
    free(track->numbers);
    free(track->chunks);
    track->spare = NULL;
    free(track->protected.array);
    free(track->named.array);
    free(track->fresh.array);
    track->named = track->fresh = (struct track_extents){0};
    track->numbers = NULL;
    track->chunks = NULL;
    track->pending = NULL;
    track->count = track->capacity = 0;
    track->pages = track->num_compared = 0;
    track->protected = (struct track_extents){0};
    track->protected_is_old = false;
}

void track_mark(struct track *track, uint64_t first, uint64_t last)
{
    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++) {
        struct track_chunk *chunk = track->chunks[i];

        chunk->pending |= chunk->tracked & track_mask(chunk->number, first, last);
        if (chunk->pending && !chunk->is_listed) {
            chunk->next_pending = track->pending;
            track->pending = chunk;
            chunk->is_listed = true;
        }
    }
}

void track_unmark(struct track *track, uint64_t first, uint64_t last)
{
    LOCK_FOR_SCOPE(&track->lock);

    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++)
        track->chunks[i]->pending &= ~track_mask(track->numbers[i], first, last);
}

void track_forget(struct track *track, struct track_chunk *chunk, uint64_t bits)
{
    uint64_t gone = chunk->tracked & bits;

    if (!gone)
        return;
    track->pages -= (uint64_t)__builtin_popcountll(gone);
    track->num_compared -= (uint64_t)__builtin_popcountll(chunk->compared & gone);
    chunk->tracked &= ~gone;
    chunk->pending &= ~gone;
    chunk->compared &= ~gone;
    for (uint64_t left = gone; left; left &= left - 1)
        chunk->counts[__builtin_ctzll(left)] = 0;
    track->protected_is_old = true;
}

bool track_any(const struct track *track, uint64_t first, uint64_t last)
{
    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++) {
        if (track->chunks[i]->tracked & track_mask(track->numbers[i], first, last))
            return true;
    }
    return false;
}

int track_extents_add(struct track_extents *extents, uint64_t first, uint64_t last)
{
    struct track_extent *array;

    if (extents->count > 0 && extents->array[extents->count - 1].last + 1 == first) {
        extents->array[extents->count - 1].last = last;
        return 0;
    }
    if (extents->count == extents->capacity) {
        size_t capacity = MAX(2 * extents->capacity, 16u);

        array = reallocarray(extents->array, capacity, sizeof(*array));
        if (!array)
            return -ENOMEM;
        extents->array = array;
        extents->capacity = capacity;
    }
    extents->array[extents->count++] = (struct track_extent){first, last};
    return 0;
}

int track_extents_add_runs(struct track_extents *extents, uint64_t number, uint64_t bits)
{
    int ret = 0;

    while (bits && !ret) {
        struct track_extent run = track_first_run(number, bits);

        ret = track_extents_add(extents, run.first, run.last);
        bits &= ~track_mask(number, run.first, run.last);
    }
    return ret;
}

int track_update_protected(struct track *track)
{
    int ret = 0;

    if (!track->protected_is_old)
        return 0;
    track->protected.count = 0;
    for (size_t i = 0; !ret && i < track->count; i++)
        ret = track_extents_add_runs(&track->protected, track->numbers[i],
                                     track->chunks[i]->tracked & ~track->chunks[i]->compared);
    if (!ret)
        track->protected_is_old = false;
    return ret;
}
