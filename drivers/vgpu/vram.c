/* SPDX-License-Identifier: BSD-3-Clause */
/* Which pages of the VRAM are there, and whose they may become. */
#include "vram.h"

#include <errno.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ the pool */

void vgpu_pool_init(struct vgpu_pool *pool, uint64_t pages)
{
    pthread_mutex_init(&pool->lock, NULL);
    pool->free = pages;
}

void vgpu_pool_fini(struct vgpu_pool *pool)
{
    pthread_mutex_destroy(&pool->lock);
}

bool vgpu_pool_take(struct vgpu_pool *pool, uint64_t pages)
{
    bool enough;

    pthread_mutex_lock(&pool->lock);
    enough = pages <= pool->free;
    if (enough)
        pool->free -= pages;
    pthread_mutex_unlock(&pool->lock);
    return enough;
}

void vgpu_pool_give(struct vgpu_pool *pool, uint64_t pages)
{
    pthread_mutex_lock(&pool->lock);
    pool->free += pages;
    pthread_mutex_unlock(&pool->lock);
}

uint64_t vgpu_pool_free(struct vgpu_pool *pool)
{
    uint64_t pages;

    pthread_mutex_lock(&pool->lock);
    pages = pool->free;
    pthread_mutex_unlock(&pool->lock);
    return pages;
}

/* ------------------------------------------------------------------ pages */

int vgpu_vram_init(struct vgpu_vram *vram, void *bytes, uint64_t share, uint64_t size)
{
    uint64_t pages = (size - share) / VGPU_PAGE;

    *vram = (struct vgpu_vram){.bytes = bytes, .share = share, .size = size};
    if (pages) {
        vram->pages = calloc((pages + 63) / 64, sizeof(vram->pages[0]));
        if (!vram->pages)
            return -ENOMEM;
    }
    return 0;
}

void vgpu_vram_fini(struct vgpu_vram *vram)
{
    free(vram->pages);
    vram->pages = NULL;
}

/* Of the pages [first, end), the ones in the word of `first`, as a mask. */
static uint64_t word_mask(uint64_t first, uint64_t end)
{
    uint64_t from = first % 64, bits = 64 - from;

    if (end - first < bits)
        bits = end - first;
    return (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) << from;
}

bool vgpu_vram_holds(const struct vgpu_vram *vram, uint64_t address, uint64_t len)
{
    uint64_t page, end;

    if (address > vram->size || len > vram->size - address)
        return false;
    if (address + len <= vram->share)
        return true;
    page = address < vram->share ? 0 : (address - vram->share) / VGPU_PAGE;
    end = (address + len - vram->share + VGPU_PAGE - 1) / VGPU_PAGE;
    for (; page < end; page = page / 64 * 64 + 64) {
        uint64_t mask = word_mask(page, end);

        if ((vram->pages[page / 64] & mask) != mask)
            return false;
    }
    return true;
}

bool vgpu_vram_growable(const struct vgpu_vram *vram, uint64_t address, uint64_t len)
{
    return len && len % VGPU_PAGE == 0 && address % VGPU_PAGE == 0 && address >= vram->share &&
           address <= vram->size && len <= vram->size - address;
}

uint64_t vgpu_vram_count(const struct vgpu_vram *vram, uint64_t address, uint64_t len)
{
    uint64_t page = (address - vram->share) / VGPU_PAGE, end = page + len / VGPU_PAGE, count = 0;

    for (; page < end; page = page / 64 * 64 + 64)
        count += (unsigned)__builtin_popcountll(vram->pages[page / 64] & word_mask(page, end));
    return count;
}

uint64_t vgpu_vram_mark(struct vgpu_vram *vram, uint64_t address, uint64_t len, bool allocated)
{
    uint64_t page = (address - vram->share) / VGPU_PAGE, end = page + len / VGPU_PAGE, count = 0;

    for (; page < end; page = page / 64 * 64 + 64) {
        uint64_t *word = &vram->pages[page / 64];
        uint64_t changed = word_mask(page, end) & (allocated ? ~*word : *word);

        *word ^= changed;
        count += (unsigned)__builtin_popcountll(changed);
    }
    vram->allocated += allocated ? count : -count;
    return count;
}
