/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: which IOVAs lead to which keys, and what happens when that changes.
 */
#include "base/cleanup.h"
#include "track/private.h"

#include <errno.h>
#include <stdlib.h>

#define NAME_BY_KEY(node)  INTERVAL_OWNER(node, struct track_name, by_key)
#define NAME_BY_FILE(node) INTERVAL_OWNER(node, struct track_name, by_file)
#define NAME_BY_IOVA(node) INTERVAL_OWNER(node, struct track_name, by_iova)

#define FOR_EACH_OVERLAP(node, root, range)                                                        \
    for (struct interval * (node) = interval_first((root), (range)); (node);                       \
         (node) = interval_next((root), (node), (range)))

/* ------------------------------------------------------------------ single names */

/* Where its pages are known by; none: they can't be tracked. */
static bool key_of(const struct track *track, const struct track_memory *memory, uint64_t size,
                   const struct track_sub *sub, uint64_t *key)
{
    if (memory->has_hva && track->space) {
        *key = memory->hva;
        return true;
    }
    if (!sub || !span_fits(memory->offset, size, TRACK_MAX_FILE))
        return false;
    *key = TRACK_FILE_KEYS | sub->file->id * TRACK_MAX_FILE | memory->offset;
    return true;
}

/* In front of, or behind, the ranges that IOVAs and offsets have no overflow. */
static int name_new(struct track *track, struct range iova, const struct track_memory *memory,
                    struct track_name **result)
{
    struct track_name *name = calloc(1, sizeof(*name));
    uint64_t size = range_size_minus_1(iova);
    uint64_t key = 0;
    int ret = 0;

    if (!name)
        return -ENOMEM;
    name->by_iova.range = iova;
    if (memory->has_file) {
        ret = track_sub_get(track, memory->device, memory->inode, &name->sub);
        name->offset = memory->offset;
        name->by_file.range = (struct range){memory->offset, memory->offset + size};
    }
    if (ret) {
        free(name);
        return ret;
    }
    name->has_key = key_of(track, memory, size + 1, name->sub, &key);
    name->by_key.range = (struct range){key, key + size};
    *result = name;
    return 0;
}

static void name_link(struct track *track, struct track_name *name)
{
    interval_insert(&track->by_iova, &name->by_iova);
    if (name->has_key)
        interval_insert(&track->by_key, &name->by_key);
    if (name->sub)
        interval_insert(&name->sub->by_file, &name->by_file);
    track->version++;
}

/* Out of the trees but that of IOVAs. */
static void name_unlink(struct track *track, struct track_name *name)
{
    if (name->has_key)
        interval_remove(name->ghost ? &track->ghost_keys : &track->by_key, &name->by_key);
    if (name->sub)
        interval_remove(&name->sub->by_file, &name->by_file);
    track->version++;
}

/* A list of names that are in nothing any more; without locks. */
static void names_free(struct track_name *names)
{
    while (names) {
        struct track_name *name = names;

        names = name->next;
        track_sub_put(name->sub);
        free(name);
    }
}

/* Whether both lead to the same memory where their keys overlap. */
static bool is_same_memory(const struct track_name *a, const struct track_name *b)
{
    if (!a->sub || !b->sub)
        return a->sub == b->sub;
    return a->sub->file == b->sub->file &&
           a->offset - a->by_key.range.first == b->offset - b->by_key.range.first;
}

struct track_name *track_name_at(struct track *track, uint64_t page)
{
    struct interval *node = interval_first(track->by_key, track_bytes(page, page));

    return node ? NAME_BY_KEY(node) : NULL;
}

/* ------------------------------------------------------------------ ghosts */

static void ghost_take_out(struct track *track, struct track_name *ghost)
{
    *(ghost->previous ? &ghost->previous->next : &track->ghosts) = ghost->next;
    if (ghost->next)
        ghost->next->previous = ghost->previous;
    track->num_ghosts--;
    name_unlink(track, ghost);
}

static void ghost_put_in(struct track *track, struct track_name *name)
{
    interval_remove(&track->by_key, &name->by_key);
    interval_insert(&track->ghost_keys, &name->by_key);
    name->ghost = true;
    name->previous = NULL;
    name->next = track->ghosts;
    if (name->next)
        name->next->previous = name;
    track->ghosts = name;
    track->num_ghosts++;
    track->version++;
}

int track_ranges_add(struct track_ranges *ranges, uint64_t iova, uint64_t size, uint64_t flags)
{
    struct umdev_track_range *last = ranges->count ? &ranges->array[ranges->count - 1] : NULL;

    if (last && last->flags == flags && last->iova.value + last->size == iova && iova != 0) {
        last->size += size;
        return 0;
    }
    if (!ranges->array || ranges->count == ranges->capacity) {
        size_t capacity = MAX(2 * ranges->capacity, 16u);
        struct umdev_track_range *array = reallocarray(ranges->array, capacity, sizeof(*array));

        if (!array)
            return -ENOMEM;
        ranges->array = array;
        ranges->capacity = capacity;
    }
    ranges->array[ranges->count++] = (struct umdev_track_range){umdev_iova(iova), size, flags};
    return 0;
}

/* Tracked pages of a name, in a part of it, are lost: all of them, or those that have no name. */
static int lose_pages(struct track *track, const struct track_name *name, struct range part,
                      bool all)
{
    uint64_t first = part.first >> TRACK_PAGE_SHIFT, last = part.last >> TRACK_PAGE_SHIFT;
    uint64_t shift = name->by_iova.range.first - name->by_key.range.first;
    uint64_t safe = 0; /* the pages before have names */

    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++) {
        struct track_chunk *chunk = track->chunks[i];
        uint64_t bits = chunk->tracked & track_mask(chunk->number, first, last);

        for (; bits; bits &= bits - 1) {
            uint64_t page = chunk->number * TRACK_CHUNK_PAGES + (unsigned)__builtin_ctzll(bits);
            const struct track_name *other = NULL;

            if (!all && page >= safe)
                other = track_name_at(track, page);
            if (other)
                safe = (other->by_key.range.last >> TRACK_PAGE_SHIFT) + 1;
            if (page < safe)
                continue;
            if (track_ranges_add(&track->lost, (page << TRACK_PAGE_SHIFT) + shift, PAGE_SIZE_4K,
                                 UMDEV_TRACK_LOST))
                return -ENOMEM;
            track_forget(track, chunk, track_bit(page));
        }
    }
    return 0;
}

/* *gone: what is to be freed without the lock. */
static int lay_ghosts(struct track *track, struct track_name **gone)
{
    while (track->ghosts) {
        struct track_name *ghost = track->ghosts;
        int ret = lose_pages(track, ghost, ghost->by_key.range, false);

        if (ret)
            return ret;
        ghost_take_out(track, ghost);
        ghost->next = *gone;
        *gone = ghost;
    }
    return 0;
}

int track_lay_ghosts(struct track *track)
{
    struct track_name *gone = NULL;
    int ret;

    pthread_mutex_lock(&track->lock);
    ret = lay_ghosts(track, &gone);
    pthread_mutex_unlock(&track->lock);
    names_free(gone);
    return ret;
}

/* ------------------------------------------------------------------ map and unmap */

/*
 * What the new name means for those at the same keys. A live one must be of the same memory. Of a
 * ghost of other memory the pages are lost: the client has put something else in their place. A
 * ghost that is covered is not needed any more.
 */
static int meet_names(struct track *track, const struct track_name *name, struct track_name **gone)
{
    struct range range = name->by_key.range;

    FOR_EACH_OVERLAP(node, track->by_key, range)
    {
        if (!is_same_memory(NAME_BY_KEY(node), name))
            return -EINVAL;
    }
    for (struct interval *node = interval_first(track->ghost_keys, range), *next; node;
         node = next) {
        struct track_name *ghost = NAME_BY_KEY(node);
        struct range part = {MAX(node->range.first, range.first),
                             MIN(node->range.last, range.last)};

        next = interval_next(track->ghost_keys, node, range);
        if (!is_same_memory(ghost, name) && lose_pages(track, ghost, part, true))
            return -ENOMEM;
        if (range_contains(range, ghost->by_key.range)) {
            ghost_take_out(track, ghost);
            ghost->next = *gone;
            *gone = ghost;
        }
    }
    return 0;
}

int track_map(struct track *track, struct range iova, const struct track_memory *memory)
{
    struct track_name *gone = NULL;
    struct track_name *name;
    int ret = name_new(track, iova, memory, &name);

    if (ret)
        return ret;
    pthread_mutex_lock(&track->lock);
    if (name->has_key)
        ret = meet_names(track, name, &gone);
    if (!ret)
        name_link(track, name);
    pthread_mutex_unlock(&track->lock);
    if (ret) {
        name->next = gone;
        gone = name;
    }
    names_free(gone);
    return ret;
}

/* A ghost of the same keys does as well. */
static bool has_such_ghost(struct track *track, const struct track_name *name)
{
    FOR_EACH_OVERLAP(node, track->ghost_keys, name->by_key.range)
    {
        if (range_contains(node->range, name->by_key.range) &&
            is_same_memory(NAME_BY_KEY(node), name))
            return true;
    }
    return false;
}

void track_unmap(struct track *track, struct range iova)
{
    struct track_name *gone = NULL;
    struct interval *node;

    pthread_mutex_lock(&track->lock);
    while ((node = interval_first(track->by_iova, iova))) {
        struct track_name *name = NAME_BY_IOVA(node);
        uint64_t first = name->by_key.range.first >> TRACK_PAGE_SHIFT;
        uint64_t last = name->by_key.range.last >> TRACK_PAGE_SHIFT;

        interval_remove(&track->by_iova, node);
        track->version++;
        if (name->has_key && track->pages > 0 && track_any(track, first, last) &&
            !has_such_ghost(track, name)) {
            ghost_put_in(track, name);
        } else {
            name_unlink(track, name);
            name->next = gone;
            gone = name;
        }
    }
    /* Without memory for it they stay till there is. */
    if (track->num_ghosts > TRACK_MAX_GHOSTS)
        (void)lay_ghosts(track, &gone);
    pthread_mutex_unlock(&track->lock);
    names_free(gone);
}

void track_names_fini(struct track *track)
{
    struct track_name *gone = NULL;

    pthread_mutex_lock(&track->lock);
    while (track->by_iova) {
        struct track_name *name = NAME_BY_IOVA(track->by_iova);

        interval_remove(&track->by_iova, &name->by_iova);
        name_unlink(track, name);
        name->next = gone;
        gone = name;
    }
    while (track->ghosts) {
        struct track_name *ghost = track->ghosts;

        ghost_take_out(track, ghost);
        ghost->next = gone;
        gone = ghost;
    }
    pthread_mutex_unlock(&track->lock);
    names_free(gone);
}

/* ------------------------------------------------------------------ from keys and files */

int track_emit(struct track *track, uint64_t first, uint64_t last, uint64_t flags)
{
    struct range bytes = track_bytes(first, last);
    uint64_t covered = bytes.first; /* all before have a name */

    FOR_EACH_OVERLAP(node, track->by_key, bytes)
    {
        struct track_name *name = NAME_BY_KEY(node);
        uint64_t from = MAX(node->range.first, bytes.first);
        uint64_t to = MIN(node->range.last, bytes.last);

        if (from > covered)
            track_mark(track, covered >> TRACK_PAGE_SHIFT, (from - 1) >> TRACK_PAGE_SHIFT);
        covered = MAX(covered, to + 1);
        if (track_ranges_add(&track->results,
                             name->by_iova.range.first + (from - node->range.first), to - from + 1,
                             flags))
            return -ENOMEM;
    }
    if (covered <= bytes.last)
        track_mark(track, covered >> TRACK_PAGE_SHIFT, last);
    return 0;
}

void track_note_file(struct track_sub *sub, struct range bytes)
{
    struct track *track = sub->track;

    LOCK_FOR_SCOPE(&track->lock);
    if (track->pages == 0)
        return;
    FOR_EACH_OVERLAP(node, sub->by_file, bytes)
    {
        const struct track_name *name = NAME_BY_FILE(node);
        uint64_t shift = name->by_key.range.first - name->offset;

        if (name->has_key)
            track_mark(track, (MAX(node->range.first, bytes.first) + shift) >> TRACK_PAGE_SHIFT,
                       (MIN(node->range.last, bytes.last) + shift) >> TRACK_PAGE_SHIFT);
    }
}
