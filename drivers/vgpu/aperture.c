/* SPDX-License-Identifier: BSD-3-Clause */
/* BAR4: touches, messages, the window to the GGTT, and what follows from a change. */
#include "aperture.h"

#include <errno.h>
#include <string.h>

int vgpu_aperture_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                              unsigned access, struct umdev_map *map)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    struct vgpu_run run;

    (void)region;
    switch (
        vgpu_ggtt_touch(&gpu->ggtt, (uint32_t)(offset / VGPU_PAGE), access & UMDEV_WRITE, &run)) {
    case VGPU_TOUCH_VRAM:
        *map = (struct umdev_map){
            .mem = gpu->mem,
            .mem_offset = run.address,
            .first = run.first * VGPU_PAGE,
            .last = run.last * VGPU_PAGE + VGPU_PAGE - 1,
            .prot = run.writable ? UMDEV_RW : UMDEV_READ,
        };
        return 0;
    case VGPU_TOUCH_GUEST:
        return access & UMDEV_WRITE && !run.writable ? -EACCES : UMDEV_MAP_TRAPPED;
    default:
        return -EFAULT;
    }
}

/* ------------------------------------------------------------------ guest memory */

/* The IOVA of a byte of a page that was found to be guest memory just now. */
static int guest_address(struct vgpu *gpu, uint64_t offset, bool write, umdev_iova_t *iova)
{
    const uint64_t needed = VGPU_GGTT_VALID | VGPU_SPACE_GUEST | (write ? VGPU_GGTT_WRITABLE : 0);
    uint64_t entry;

    vgpu_ggtt_get(&gpu->ggtt, (uint32_t)(offset / VGPU_PAGE), &entry, 1);
    if ((entry & needed) != needed)
        return -EAGAIN; /* the ring has changed it meanwhile */
    *iova = umdev_iova(vgpu_entry_address(entry) + offset % VGPU_PAGE);
    return 0;
}

/* Memory without a file is the client's to copy, which can't be waited for here. */
static int copy_result(int ret)
{
    return ret == -EDEADLK ? -EOPNOTSUPP : ret;
}

int vgpu_aperture_read(struct vgpu *gpu, uint64_t offset, void *buf, size_t len)
{
    umdev_iova_t iova;
    int ret = guest_address(gpu, offset, false, &iova);

    return ret ? ret : copy_result(umdev_dma_read(gpu->dev, iova, buf, len));
}

int vgpu_aperture_write(struct vgpu *gpu, uint64_t offset, const void *buf, size_t len)
{
    umdev_iova_t iova;
    int ret = guest_address(gpu, offset, true, &iova);

    return ret ? ret : copy_result(umdev_dma_write(gpu->dev, iova, buf, len));
}

/* ------------------------------------------------------------------ settling */

void vgpu_aperture_settle(struct vgpu *gpu, struct vgpu_settle *settle)
{
    if (settle->entries)
        umdev_region_invalidate(gpu->dev, VGPU_BAR_APERTURE, settle->first * VGPU_PAGE,
                                settle->last * VGPU_PAGE + VGPU_PAGE - 1);
    if (settle->pages) {
        if (umdev_mem_discard(gpu->mem, settle->address, settle->len))
            memset(gpu->vram.bytes + settle->address, 0, settle->len);
        vgpu_pool_give(&gpu->parent->pool, settle->pages);
    }
    *settle = (struct vgpu_settle){0};
}

void vgpu_aperture_clear(struct vgpu *gpu)
{
    struct vgpu_settle settle = {0};

    vgpu_ggtt_clear(&gpu->ggtt, &settle);
    vgpu_aperture_settle(gpu, &settle);
}

/* ------------------------------------------------------------------ the window */

#define WINDOW_PIECE 256u /* entries */

/* A piece of the window, as bytes of its entries. */
struct piece {
    uint64_t entries[WINDOW_PIECE];
    uint32_t first, count; /* 0: behind the end of the table */
    size_t skip, len;      /* of the bytes: where the access is in them */
};

static struct piece piece_at(struct vgpu *gpu, uint32_t index, uint64_t offset, size_t len)
{
    uint64_t first = index + offset / 8;
    struct piece piece = {.skip = offset % 8};
    uint64_t count;

    piece.len = sizeof(piece.entries) - piece.skip;
    piece.len = len < piece.len ? len : piece.len;
    if (first >= gpu->ggtt.count)
        return piece;
    count = (piece.skip + piece.len + 7) / 8;
    piece.first = (uint32_t)first;
    piece.count = (uint32_t)(count < gpu->ggtt.count - first ? count : gpu->ggtt.count - first);
    vgpu_ggtt_get(&gpu->ggtt, piece.first, piece.entries, piece.count);
    return piece;
}

void vgpu_window_read(struct vgpu *gpu, uint32_t index, uint64_t offset, uint8_t *buf, size_t len)
{
    while (len > 0) {
        struct piece piece = piece_at(gpu, index, offset, len);

        memcpy(buf, (uint8_t *)piece.entries + piece.skip, piece.len);
        buf += piece.len;
        offset += piece.len;
        len -= piece.len;
    }
}

void vgpu_window_write(struct vgpu *gpu, uint32_t index, uint64_t offset, const uint8_t *buf,
                       size_t len)
{
    struct vgpu_settle settle = {0};

    while (len > 0) {
        struct piece piece = piece_at(gpu, index, offset, len);

        memcpy((uint8_t *)piece.entries + piece.skip, buf, piece.len);
        vgpu_ggtt_set(&gpu->ggtt, piece.first, piece.entries, piece.count, &settle);
        buf += piece.len;
        offset += piece.len;
        len -= piece.len;
    }
    vgpu_aperture_settle(gpu, &settle);
}
