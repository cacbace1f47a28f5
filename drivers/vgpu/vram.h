/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's VRAM: an address space of which a part is always there and the rest page by page.
 *
 * Data model. Bytes [0, share) are the device's own for as long as it lives; BAR0 shows them. From
 * there to `size` a page is there while it is *allocated*: it has a bit in `pages`, and counts
 * against the parent's pool. A page that is not there is no memory at all: no command and no
 * aperture entry reaches it. What is allocated is zero at first, as what is freed is punched out.
 *
 * The pool is what a parent has to give, in pages: devices take their shares from it at birth and
 * pages while they run. Whatever is not taken, any of them may have, up to its own `size`.
 *
 * Locks. The pool has its own. `pages` is changed by the ring's engine, or by who has the device
 * quiet, under the GGTT's lock (ggtt.h); an engine reads it without.
 */
#ifndef VGPU_VRAM_H
#define VGPU_VRAM_H

#include "mmu.h"

struct vgpu_pool {
    pthread_mutex_t lock;
    uint64_t free; /* pages */
};

void vgpu_pool_init(struct vgpu_pool *pool, uint64_t pages);
void vgpu_pool_fini(struct vgpu_pool *pool);
/* All of them or none. */
bool vgpu_pool_take(struct vgpu_pool *pool, uint64_t pages);
void vgpu_pool_give(struct vgpu_pool *pool, uint64_t pages);
uint64_t vgpu_pool_free(struct vgpu_pool *pool);

struct vgpu_vram {
    uint8_t *bytes;
    uint64_t share, size; /* bytes, whole pages */
    uint64_t *pages;      /* a bit for each from `share` on; NULL: there are none */
    uint64_t allocated;   /* pages */
};

/* `bytes` stays the caller's. share <= size. −ENOMEM. */
int vgpu_vram_init(struct vgpu_vram *vram, void *bytes, uint64_t share, uint64_t size);
void vgpu_vram_fini(struct vgpu_vram *vram);

/* Whether all of [address, address + len) is there. */
bool vgpu_vram_holds(const struct vgpu_vram *vram, uint64_t address, uint64_t len);
/* Whether [address, address + len) is pages that can be allocated: whole ones, at least one. */
bool vgpu_vram_growable(const struct vgpu_vram *vram, uint64_t address, uint64_t len);
/* How many pages of such a range are allocated. */
uint64_t vgpu_vram_count(const struct vgpu_vram *vram, uint64_t address, uint64_t len);
/* Make all pages of such a range allocated, or none. Returns how many were not so before. */
uint64_t vgpu_vram_mark(struct vgpu_vram *vram, uint64_t address, uint64_t len, bool allocated);

#endif
