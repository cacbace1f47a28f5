/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The GGTT: what the pages of the aperture (BAR4) show.
 *
 * Data model. An entry for each page of the aperture, 64 bits as the guest wrote them
 * (VGPU_GGTT_*): a page of the VRAM, or of guest memory by its IOVA. An entry that is written with
 * VGPU_GGTT_VALID is kept without it if it is none: a reserved bit is set, or the VRAM has no such
 * page. So a valid entry for VRAM always names a page that is there; freeing pages drops the
 * entries that name them.
 *
 * Nothing here knows who maps the aperture. Each change is noted in a struct vgpu_settle; whoever
 * made it sees to it that the pages are taken back (umdev_region_invalidate), and then that freed
 * pages are punched out and given to the pool. Before that is done nobody must learn that the
 * change was made, and no freed page may have another owner.
 *
 * Locks. `lock` guards the entries, the counters and the VRAM's `pages`; nothing is called with it.
 */
#ifndef VGPU_GGTT_H
#define VGPU_GGTT_H

#include "vgpu_regs.h"
#include "vram.h"

/* What an entry names: a place in the VRAM, or an IOVA. */
static inline uint64_t vgpu_entry_address(uint64_t entry)
{
    return entry & ~(VGPU_PAGE - 1);
}

/* Bits of an entry that names a page, here and in page tables. */
#define VGPU_ENTRY_FLAGS ((uint64_t)(VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE | VGPU_SPACE_GUEST))

/* Whether all others are 0; valid or not. */
static inline bool vgpu_entry_is_page(uint64_t entry)
{
    return !(entry & (VGPU_PAGE - 1) & ~VGPU_ENTRY_FLAGS);
}

struct vgpu_ggtt {
    pthread_mutex_t lock;
    uint64_t *entries;
    uint32_t count;
    struct vgpu_vram *vram;
    uint64_t faults, refused; /* touches of the aperture, answered and refused */
};

struct vgpu_settle {
    bool entries;         /* these changed, perhaps with others between them that did not */
    uint32_t first, last; /* inclusive */
    uint64_t pages;       /* so many were freed, if not 0, in … */
    uint64_t address, len;
};

static inline bool vgpu_settle_due(const struct vgpu_settle *settle)
{
    return settle->entries || settle->pages;
}

/* −ENOMEM. */
int vgpu_ggtt_init(struct vgpu_ggtt *ggtt, uint32_t count, struct vgpu_vram *vram);
void vgpu_ggtt_fini(struct vgpu_ggtt *ggtt);

/* Entries inside the table, as they are kept. */
void vgpu_ggtt_get(struct vgpu_ggtt *ggtt, uint32_t first, uint64_t *entries, uint32_t count);
void vgpu_ggtt_set(struct vgpu_ggtt *ggtt, uint32_t first, const uint64_t *entries, uint32_t count,
                   struct vgpu_settle *settle);
/* `count` times the same entry, or with `step` each for the page behind the one before. */
void vgpu_ggtt_fill(struct vgpu_ggtt *ggtt, uint32_t first, uint32_t count, uint64_t entry,
                    bool step, struct vgpu_settle *settle);

/* A range that vgpu_vram_growable() likes: its pages are there. False: the pool has too few. */
bool vgpu_ggtt_allocate(struct vgpu_ggtt *ggtt, struct vgpu_pool *pool, uint64_t address,
                        uint64_t len);
/* They are not, and no entry names them. The pool gets settle->pages when all is settled. */
void vgpu_ggtt_free(struct vgpu_ggtt *ggtt, uint64_t address, uint64_t len,
                    struct vgpu_settle *settle);
/* Everything that is allocated is freed, every entry 0, the counters too. */
void vgpu_ggtt_clear(struct vgpu_ggtt *ggtt, struct vgpu_settle *settle);

/* A touch. */
enum vgpu_touch {
    VGPU_TOUCH_REFUSED,
    VGPU_TOUCH_VRAM,
    VGPU_TOUCH_GUEST, /* `address` is an IOVA, `first` and `last` are the page */
};
struct vgpu_run {
    uint32_t first, last; /* entries */
    uint64_t address;     /* of the first one's page */
    bool writable;
};
/*
 * What the page of an entry shows, and with it the stretch of entries around it that show
 * consecutive pages with the same permission. `write`: what for. Counted.
 */
enum vgpu_touch vgpu_ggtt_touch(struct vgpu_ggtt *ggtt, uint32_t index, bool write,
                                struct vgpu_run *run);

#endif
