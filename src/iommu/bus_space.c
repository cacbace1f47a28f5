/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/bus_space.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "iommu/bus_tiles.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define CHUNK_PAGES 512u
#define WORD_BITS   64u

/* Pages that single ones come from: a taken tile, and a bit for each of its pages. */
struct bus_chunk {
    RB_ENTRY(bus_chunk) by_page;
    LIST_ENTRY(bus_chunk) open; /* while it has free pages */
    struct bus_tile *tile;
    uint32_t first, count; /* pages, in the space's numbers */
    uint32_t num_free;
    uint64_t free[CHUNK_PAGES / WORD_BITS];
};

RB_HEAD(bus_chunk_tree, bus_chunk);
LIST_HEAD(bus_chunk_list, bus_chunk);

struct bus_space {
    uint64_t first;       /* of the aperture */
    pthread_mutex_t lock; /* of all below */
    struct bus_tiles tiles;
    struct bus_chunk_tree chunks; /* by first page */
    /* With free pages, the last that was full first: emptier ones may so become empty. */
    struct bus_chunk_list open;
    uint64_t chunk_pages; /* free in chunks */
};

static int compare_chunks(const struct bus_chunk *a, const struct bus_chunk *b)
{
    return (a->first > b->first) - (a->first < b->first);
}

BUS_TREE_GENERATE(bus_chunk_tree, bus_chunk, by_page, compare_chunks)

/* ------------------------------------------------------------------ the space */

static int config_check(const struct bus_space_config *config, struct umdev_error *error)
{
    struct range aperture = config->aperture;

    if (aperture.first > aperture.last || !is_aligned(aperture.first, PAGE_SIZE_4K) ||
        !is_aligned(aperture.last + 1, PAGE_SIZE_4K))
        return error_set(error, EINVAL,
                         "aperture 0x%" PRIx64 "-0x%" PRIx64 " is not whole pages of 4096 bytes",
                         aperture.first, aperture.last);
    for (size_t i = 0; i < config->nreserved; i++) {
        if (config->reserved[i].first > config->reserved[i].last)
            return error_set(error, EINVAL,
                             "reserved window 0x%" PRIx64 "-0x%" PRIx64 " ends before it begins",
                             config->reserved[i].first, config->reserved[i].last);
    }
    return 0;
}

int bus_space_new(const struct bus_space_config *config, struct bus_space **space,
                  struct umdev_error *error)
{
    struct bus_space *made;
    int ret = config_check(config, error);

    if (ret)
        return ret;
    made = calloc(1, sizeof(*made));
    if (!made)
        return error_set(error, ENOMEM, "no memory for a bus address space");
    made->first = config->aperture.first;
    pthread_mutex_init(&made->lock, NULL);
    ret = bus_tiles_init(&made->tiles, config->aperture, config->reserved, config->nreserved);
    if (ret) {
        bus_space_free(made);
        if (ret == -EINVAL)
            return error_set(error, EINVAL,
                             "reserved windows leave nothing of the aperture 0x%" PRIx64
                             "-0x%" PRIx64,
                             config->aperture.first, config->aperture.last);
        return error_set(error, -ret, "no memory for a bus address space");
    }
    *space = made;
    return 0;
}

void bus_space_free(struct bus_space *space)
{
    struct bus_chunk *chunk;

    if (!space)
        return;
    while ((chunk = RB_ROOT(&space->chunks))) {
        RB_REMOVE(bus_chunk_tree, &space->chunks, chunk);
        free(chunk);
    }
    bus_tiles_empty(&space->tiles);
    pthread_mutex_destroy(&space->lock);
    free(space);
}

void bus_space_get_stats(struct bus_space *space, struct bus_space_stats *stats)
{
    LOCK_FOR_SCOPE(&space->lock);

    *stats = (struct bus_space_stats){
        .free_pages = space->tiles.free_pages,
        .largest_pages = bus_tiles_largest(&space->tiles),
        .chunk_pages = space->chunk_pages,
        .free_ranges = space->tiles.num_holes,
    };
}

/* ------------------------------------------------------------------ ranges */

int bus_space_alloc(struct bus_space *space, uint64_t size, uint64_t align,
                    struct bus_range **range)
{
    struct bus_tile *tile;
    int ret;

    if (size == 0 || !is_aligned(size, PAGE_SIZE_4K) || !is_power_of_two(align) ||
        align < PAGE_SIZE_4K)
        return -EINVAL;
    LOCK_FOR_SCOPE(&space->lock);
    ret = bus_tiles_take(&space->tiles, size, align, &tile);
    if (!ret)
        *range = &tile->taken;
    return ret;
}

void bus_space_release(struct bus_space *space, struct bus_range *range)
{
    LOCK_FOR_SCOPE(&space->lock);

    bus_tiles_give(&space->tiles, (struct bus_tile *)range);
}

/* ------------------------------------------------------------------ chunks */

static int chunk_new(struct bus_space *space, struct bus_chunk **chunk)
{
    CLEANUP_FREE struct bus_chunk *made = calloc(1, sizeof(*made));
    int ret;

    if (!made)
        return -ENOMEM;
    ret = bus_tiles_take_low(&space->tiles, CHUNK_PAGES * PAGE_SIZE_4K, &made->tile);
    if (ret)
        return ret;
    made->first = (uint32_t)((made->tile->taken.range.first - space->first) / PAGE_SIZE_4K);
    made->count = (uint32_t)(range_size_minus_1(made->tile->taken.range) / PAGE_SIZE_4K) + 1;
    made->num_free = made->count;
    for (uint32_t i = 0; i < made->count; i++)
        made->free[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
    RB_INSERT(bus_chunk_tree, &space->chunks, made);
    LIST_INSERT_HEAD(&space->open, made, open);
    space->chunk_pages += made->count;
    *chunk = TAKE_POINTER(made);
    return 0;
}

/* All its pages are free. */
static void chunk_give(struct bus_space *space, struct bus_chunk *chunk)
{
    LIST_REMOVE(chunk, open);
    RB_REMOVE(bus_chunk_tree, &space->chunks, chunk);
    space->chunk_pages -= chunk->count;
    bus_tiles_give(&space->tiles, chunk->tile);
    free(chunk);
}

static bool chunk_has(const struct bus_chunk *chunk, uint32_t page)
{
    return page - chunk->first < chunk->count;
}

static struct bus_chunk *chunk_find(const struct bus_space *space, uint32_t page)
{
    struct bus_chunk *chunk = RB_ROOT(&space->chunks);

    while (chunk && !chunk_has(chunk, page))
        chunk = page < chunk->first ? RB_LEFT(chunk, by_page) : RB_RIGHT(chunk, by_page);
    return chunk;
}

/* Up to `count` of the chunk's pages; how many. */
static size_t chunk_alloc(struct bus_space *space, struct bus_chunk *chunk, size_t count,
                          uint32_t *pages)
{
    size_t got = 0;

    for (uint32_t i = 0; got < count && i < ARRAY_SIZE(chunk->free); i++) {
        uint64_t word = chunk->free[i];

        for (; got < count && word; word &= word - 1)
            pages[got++] = chunk->first + i * WORD_BITS + (uint32_t)__builtin_ctzll(word);
        chunk->free[i] = word;
    }
    chunk->num_free -= (uint32_t)got;
    space->chunk_pages -= got;
    if (chunk->num_free == 0)
        LIST_REMOVE(chunk, open);
    return got;
}

/* Whether it was the chunk's last: the chunk is gone then. */
static bool chunk_release(struct bus_space *space, struct bus_chunk *chunk, uint32_t page)
{
    uint32_t index = page - chunk->first;
    uint64_t bit = UINT64_C(1) << index % WORD_BITS;

    /* Of a page that is released twice two devices would do DMA to the same address. */
    assert(!(chunk->free[index / WORD_BITS] & bit));
    chunk->free[index / WORD_BITS] |= bit;
    space->chunk_pages++;
    if (chunk->num_free++ == 0)
        LIST_INSERT_HEAD(&space->open, chunk, open);
    if (chunk->num_free < chunk->count)
        return false;
    chunk_give(space, chunk);
    return true;
}

/* ------------------------------------------------------------------ pages */

/* Some of `count` pages, at least one: those of one chunk. */
static int alloc_some(struct bus_space *space, size_t count, uint32_t *pages, size_t *got)
{
    struct bus_chunk *chunk;
    int ret = 0;

    LOCK_FOR_SCOPE(&space->lock);
    /* What can't be is not begun, for it would take everything for a while. */
    if (count > space->tiles.free_pages + space->chunk_pages)
        return -ENOSPC;
    chunk = LIST_FIRST(&space->open);
    if (!chunk)
        ret = chunk_new(space, &chunk);
    if (!ret)
        *got = chunk_alloc(space, chunk, count, pages);
    return ret;
}

int bus_space_alloc_pages(struct bus_space *space, size_t count, uint32_t *pages)
{
    size_t done = 0;

    while (done < count) {
        size_t got = 0;
        int ret = alloc_some(space, count - done, pages + done, &got);

        if (ret) {
            bus_space_release_pages(space, done, pages);
            return ret;
        }
        done += got;
    }
    return 0;
}

static void release_some(struct bus_space *space, size_t count, const uint32_t *pages)
{
    struct bus_chunk *chunk = NULL;

    LOCK_FOR_SCOPE(&space->lock);
    for (size_t i = 0; i < count; i++) {
        if (!chunk || !chunk_has(chunk, pages[i]))
            chunk = chunk_find(space, pages[i]);
        assert(chunk);
        if (chunk_release(space, chunk, pages[i]))
            chunk = NULL;
    }
}

void bus_space_release_pages(struct bus_space *space, size_t count, const uint32_t *pages)
{
    for (size_t done = 0; done < count; done += CHUNK_PAGES)
        release_some(space, MIN(count - done, CHUNK_PAGES), pages + done);
}

uint64_t bus_space_page_address(const struct bus_space *space, uint32_t page)
{
    return space->first + page * PAGE_SIZE_4K;
}
