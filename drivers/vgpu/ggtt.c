/* SPDX-License-Identifier: BSD-3-Clause */
/* The aperture's page table. */
#include "ggtt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vgpu_ggtt_init(struct vgpu_ggtt *ggtt, uint32_t count, struct vgpu_vram *vram)
{
    *ggtt = (struct vgpu_ggtt){.count = count, .vram = vram};
    ggtt->entries = calloc(count, sizeof(ggtt->entries[0]));
    if (!ggtt->entries)
        return -ENOMEM;
    pthread_mutex_init(&ggtt->lock, NULL);
    return 0;
}

void vgpu_ggtt_fini(struct vgpu_ggtt *ggtt)
{
    if (ggtt->entries)
        pthread_mutex_destroy(&ggtt->lock);
    free(ggtt->entries);
    ggtt->entries = NULL;
}

/* ------------------------------------------------------------------ entries */

/* As it is kept. Lock held. */
static uint64_t entry_checked(const struct vgpu_ggtt *ggtt, uint64_t entry)
{
    bool good = vgpu_entry_is_page(entry);

    if (good && !(entry & VGPU_SPACE_GUEST))
        good = vgpu_vram_holds(ggtt->vram, vgpu_entry_address(entry), VGPU_PAGE);
    return good ? entry : entry & ~(uint64_t)VGPU_GGTT_VALID;
}

/* Lock held. */
static void entry_store(struct vgpu_ggtt *ggtt, uint32_t index, uint64_t entry,
                        struct vgpu_settle *settle)
{
    if (ggtt->entries[index] == entry)
        return;
    ggtt->entries[index] = entry;
    if (!settle->entries) {
        settle->entries = true;
        settle->first = index;
        settle->last = index;
    }
    settle->first = index < settle->first ? index : settle->first;
    settle->last = index > settle->last ? index : settle->last;
}

void vgpu_ggtt_get(struct vgpu_ggtt *ggtt, uint32_t first, uint64_t *entries, uint32_t count)
{
    pthread_mutex_lock(&ggtt->lock);
    memcpy(entries, ggtt->entries + first, sizeof(entries[0]) * count);
    pthread_mutex_unlock(&ggtt->lock);
}

void vgpu_ggtt_set(struct vgpu_ggtt *ggtt, uint32_t first, const uint64_t *entries, uint32_t count,
                   struct vgpu_settle *settle)
{
    pthread_mutex_lock(&ggtt->lock);
    for (uint32_t i = 0; i < count; i++)
        entry_store(ggtt, first + i, entry_checked(ggtt, entries[i]), settle);
    pthread_mutex_unlock(&ggtt->lock);
}

void vgpu_ggtt_fill(struct vgpu_ggtt *ggtt, uint32_t first, uint32_t count, uint64_t entry,
                    bool step, struct vgpu_settle *settle)
{
    pthread_mutex_lock(&ggtt->lock);
    for (uint32_t i = 0; i < count; i++) {
        entry_store(ggtt, first + i, entry_checked(ggtt, entry), settle);
        if (step)
            entry += VGPU_PAGE;
    }
    pthread_mutex_unlock(&ggtt->lock);
}

/* ------------------------------------------------------------------ allocated pages */

bool vgpu_ggtt_allocate(struct vgpu_ggtt *ggtt, struct vgpu_pool *pool, uint64_t address,
                        uint64_t len)
{
    uint64_t missing = len / VGPU_PAGE - vgpu_vram_count(ggtt->vram, address, len);

    if (!vgpu_pool_take(pool, missing))
        return false;
    pthread_mutex_lock(&ggtt->lock);
    vgpu_vram_mark(ggtt->vram, address, len, true);
    pthread_mutex_unlock(&ggtt->lock);
    return true;
}

static bool entry_names(uint64_t entry, uint64_t address, uint64_t len)
{
    return entry & VGPU_GGTT_VALID && !(entry & VGPU_SPACE_GUEST) &&
           vgpu_entry_address(entry) - address < len;
}

void vgpu_ggtt_free(struct vgpu_ggtt *ggtt, uint64_t address, uint64_t len,
                    struct vgpu_settle *settle)
{
    pthread_mutex_lock(&ggtt->lock);
    settle->pages = vgpu_vram_mark(ggtt->vram, address, len, false);
    if (settle->pages) {
        settle->address = address;
        settle->len = len;
        for (uint32_t i = 0; i < ggtt->count; i++) {
            if (entry_names(ggtt->entries[i], address, len))
                entry_store(ggtt, i, 0, settle);
        }
    }
    pthread_mutex_unlock(&ggtt->lock);
}

void vgpu_ggtt_clear(struct vgpu_ggtt *ggtt, struct vgpu_settle *settle)
{
    struct vgpu_vram *vram = ggtt->vram;

    pthread_mutex_lock(&ggtt->lock);
    settle->pages = vram->allocated;
    settle->address = vram->share;
    settle->len = vram->size - vram->share;
    if (vram->allocated)
        vgpu_vram_mark(vram, vram->share, vram->size - vram->share, false);
    for (uint32_t i = 0; i < ggtt->count; i++)
        entry_store(ggtt, i, 0, settle);
    ggtt->faults = 0;
    ggtt->refused = 0;
    pthread_mutex_unlock(&ggtt->lock);
}

/* ------------------------------------------------------------------ touches */

/*
 * Lock held. The pages before and behind that belong to one run with this one. What differs by a
 * page only has the same flags, and addresses of valid entries for VRAM are too small to wrap.
 */
static struct vgpu_run run_around(const struct vgpu_ggtt *ggtt, uint32_t index)
{
    const uint64_t *entries = ggtt->entries;
    struct vgpu_run run = {.first = index, .last = index};

    while (run.first > 0 && entries[run.first - 1] + VGPU_PAGE == entries[run.first])
        run.first--;
    while (run.last + 1 < ggtt->count && entries[run.last] + VGPU_PAGE == entries[run.last + 1])
        run.last++;
    run.address = vgpu_entry_address(entries[run.first]);
    return run;
}

enum vgpu_touch vgpu_ggtt_touch(struct vgpu_ggtt *ggtt, uint32_t index, bool write,
                                struct vgpu_run *run)
{
    enum vgpu_touch touch = VGPU_TOUCH_REFUSED;
    uint64_t entry;

    pthread_mutex_lock(&ggtt->lock);
    entry = ggtt->entries[index];
    if (entry & VGPU_GGTT_VALID && entry & VGPU_SPACE_GUEST) {
        *run = (struct vgpu_run){index, index, vgpu_entry_address(entry), false};
        touch = VGPU_TOUCH_GUEST;
    } else if (entry & VGPU_GGTT_VALID) {
        *run = run_around(ggtt, index);
        touch = VGPU_TOUCH_VRAM;
    }
    run->writable = entry & VGPU_GGTT_WRITABLE;
    if (touch == VGPU_TOUCH_REFUSED || (write && !run->writable))
        ggtt->refused++;
    else
        ggtt->faults++;
    pthread_mutex_unlock(&ggtt->lock);
    return touch;
}
