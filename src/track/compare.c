/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages whose writes nobody tells of: what is in them is compared with what was.
 *
 * A page's content is kept as 128 bits of a hash that a client which aims at two contents with the
 * same one would have to break: only its own writes would go unseen.
 */
#include "base/cleanup.h"
#include "track/private.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#define XXH_NAMESPACE umdev_
#include <xxhash.h>

/* Where a page can be read; it stays so while the version does. */
struct place {
    uint64_t version;
    uint64_t iova;
    bool has_name;
};

static struct place find_page(struct track *track, uint64_t page)
{
    LOCK_FOR_SCOPE(&track->lock);
    const struct track_name *name = track_name_at(track, page);
    struct place place = {.version = track->version, .has_name = name};

    if (name)
        place.iova =
            name->by_iova.range.first + ((page << TRACK_PAGE_SHIFT) - name->by_key.range.first);
    return place;
}

static bool has_changed(struct track *track, const struct place *place)
{
    LOCK_FOR_SCOPE(&track->lock);

    return track->version != place->version;
}

static struct track_digest digest_of(const void *content)
{
    XXH128_hash_t hash = XXH3_128bits(content, PAGE_SIZE_4K);

    return (struct track_digest){hash.low64, hash.high64};
}

/*
 * What is in a page. ENOENT: it has no name now, and may get another, where it is looked at again.
 * EOPNOTSUPP: it can't be read. An IOVA that has been moved meanwhile is another page's.
 */
static int read_page(struct track *track, uint64_t page, struct track_digest *digest)
{
    _Alignas(64) uint8_t content[PAGE_SIZE_4K];
    struct place place;
    int ret;

    do {
        place = find_page(track, page);
        if (!place.has_name)
            return -ENOENT;
        ret = track->ops.read(track->opaque, place.iova, content);
    } while (has_changed(track, &place));
    /* The table and the names do not change in one step. */
    if (ret == -EFAULT)
        return -ENOENT;
    if (ret)
        return -EOPNOTSUPP;
    *digest = digest_of(content);
    return 0;
}

/* Room for a chunk's digests. −ENOMEM. */
static int get_digests(struct track *track, struct track_chunk *chunk)
{
    if (chunk->digests)
        return 0;
    chunk->digests = calloc(TRACK_CHUNK_PAGES, sizeof(chunk->digests[0]));
    if (!chunk->digests)
        return -ENOMEM;
    LOCK_FOR_SCOPE(&track->lock);
    track->num_digests += TRACK_CHUNK_PAGES;
    return 0;
}

/* Whether it must be taken for written: it differs, or can't be known. */
static bool compare_page(struct track *track, struct track_chunk *chunk, uint64_t page)
{
    struct track_digest now;
    int ret = read_page(track, page, &now);
    struct track_digest *then;

    if (ret == -ENOENT)
        return false;
    if (ret || get_digests(track, chunk))
        return true;
    then = &chunk->digests[page % TRACK_CHUNK_PAGES];
    if (now.low == then->low && now.high == then->high)
        return false;
    *then = now;
    return true;
}

static void compare_chunk(struct track *track, struct track_chunk *chunk, uint64_t bits,
                          bool changed)
{
    for (; bits; bits &= bits - 1) {
        uint64_t page = chunk->number * TRACK_CHUNK_PAGES + (unsigned)__builtin_ctzll(bits);

        if (!compare_page(track, chunk, page) || !changed)
            continue;
        LOCK_FOR_SCOPE(&track->lock);
        track_mark(track, page, page);
    }
}

void track_compare_with(struct track *track, struct track_chunk *chunk, uint64_t page,
                        const void *content)
{
    const struct track_digest now = digest_of(content);
    struct track_digest *then;

    if (!get_digests(track, chunk)) {
        then = &chunk->digests[page % TRACK_CHUNK_PAGES];
        if (now.low == then->low && now.high == then->high)
            return;
        *then = now;
    }
    /* Written since the report; and who reads it by another name may find something else. */
    LOCK_FOR_SCOPE(&track->lock);
    track_mark(track, page, page);
}

static uint64_t compared_bits(struct track *track, const struct track_chunk *chunk)
{
    LOCK_FOR_SCOPE(&track->lock);

    return chunk->compared;
}

void track_compare(struct track *track, uint64_t first, uint64_t last, bool changed)
{
    for (size_t i = track_chunk_at(track, first);
         i < track->count && track->numbers[i] <= last / TRACK_CHUNK_PAGES; i++) {
        struct track_chunk *chunk = track->chunks[i];

        compare_chunk(track, chunk,
                      compared_bits(track, chunk) & track_mask(chunk->number, first, last),
                      changed);
    }
}

void track_compare_all(struct track *track)
{
    track_compare(track, 0, UINT64_MAX >> TRACK_PAGE_SHIFT, true);
}
