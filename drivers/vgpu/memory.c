/* SPDX-License-Identifier: BSD-3-Clause */
/* Reaching VRAM and client memory: copies and views. */
#include "memory.h"

#include "ppgtt.h"

#include <errno.h>
#include <string.h>

#define REACH_MAX (UMDEV_PIN_MAX * VGPU_PAGE)
/* As much VRAM in one piece as a slice is for. */
#define VRAM_REACH ((uint64_t)8 << 20)

/* A gap between rows that is not worth pinning. */
#define GAP_MAX (8 * VGPU_PAGE)

bool vgpu_memory_fault(struct vgpu_fault *fault, int ret, uint64_t iova)
{
    enum vgpu_error code;

    switch (ret) {
    case -EPERM:
        code = VGPU_ERR_DMA_PROTECTION;
        break;
    case -EOPNOTSUPP:
        code = VGPU_ERR_DMA_NO_FILE;
        break;
    case -EIO:
        code = VGPU_ERR_DMA_LOST;
        break;
    case -ENODEV:
        code = VGPU_ERR_DMA_DISABLED;
        break;
    case -ENOMEM:
    case -ENOSPC:
    case -EOVERFLOW:
        code = VGPU_ERR_DMA_NO_ROOM;
        break;
    default: /* EINVAL, and EFAULT: what was pinned is no more */
        code = VGPU_ERR_DMA_UNMAPPED;
        break;
    }
    *fault = (struct vgpu_fault){.code = code, .address = iova};
    return false;
}

/*
 * Surfaces were checked with the packet, and this keeps a mistake there from becoming a hole; a
 * batch can free what its own next packet lies in.
 */
static bool vram_holds(const struct vgpu_memory *memory, uint64_t address, uint64_t len,
                       struct vgpu_fault *fault)
{
    if (vgpu_vram_holds(memory->vram, address, len))
        return true;
    *fault = (struct vgpu_fault){.code = VGPU_ERR_BOUNDS, .address = address};
    return false;
}

/* Between one of the memories, at `ptr`, and a buffer. */
static void move(uint8_t *ptr, uint8_t *buf, size_t len, bool write)
{
    if (write)
        memcpy(ptr, buf, len);
    else
        memcpy(buf, ptr, len);
}

static int guest_move(const struct vgpu_memory *memory, uint64_t address, uint8_t *buf, size_t len,
                      unsigned prot)
{
    struct vgpu_hold *hold;
    int ret;

    if (len == 0)
        return 0;
    ret = vgpu_pins_take(memory->pins, address, len, len, prot, &hold);
    if (ret)
        return ret;
    for (size_t done = 0; done < len && !ret;) {
        uint8_t *ptr;
        size_t piece = vgpu_pins_reach(memory->pins, hold, address + done, len - done, &ptr);

        if (piece == 0)
            ret = -EFAULT;
        else
            move(ptr, buf + done, piece, prot == UMDEV_WRITE);
        done += piece;
    }
    vgpu_pins_put(hold);
    return ret;
}

/* All or nothing: what a first piece did not reach is looked for before anything moves. */
static bool virtual_move(const struct vgpu_memory *memory, uint64_t address, uint8_t *buf,
                         size_t len, unsigned prot, struct vgpu_fault *fault)
{
    uint8_t *pieces[VGPU_MOVE_MAX / VGPU_PAGE + 1];
    size_t lens[VGPU_MOVE_MAX / VGPU_PAGE + 1], count = 0;

    for (size_t done = 0; done < len; done += lens[count++]) {
        lens[count] = vgpu_ppgtt_reach(memory->ppgtt, address + done, len - done, prot,
                                       &pieces[count], fault);
        if (lens[count] == 0)
            return false;
    }
    for (size_t i = 0; i < count; buf += lens[i++])
        move(pieces[i], buf, lens[i], prot == UMDEV_WRITE);
    return true;
}

static bool memory_move(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                        uint8_t *buf, size_t len, unsigned prot, struct vgpu_fault *fault)
{
    if (space == VGPU_IN_VIRTUAL)
        return virtual_move(memory, address, buf, len, prot, fault);
    if (space == VGPU_IN_GUEST) {
        int ret = guest_move(memory, address, buf, len, prot);

        return ret ? vgpu_memory_fault(fault, ret, address) : true;
    }
    if (!vram_holds(memory, address, len, fault))
        return false;
    move(memory->vram->bytes + address, buf, len, prot == UMDEV_WRITE);
    return true;
}

bool vgpu_memory_read(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                      void *buf, size_t len, struct vgpu_fault *fault)
{
    return memory_move(memory, space, address, buf, len, UMDEV_READ, fault);
}

bool vgpu_memory_write(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                       const void *buf, size_t len, struct vgpu_fault *fault)
{
    return memory_move(memory, space, address, (uint8_t *)(uintptr_t)buf, len, UMDEV_WRITE, fault);
}

static bool virtual_store64(const struct vgpu_memory *memory, uint64_t address, uint64_t value,
                            struct vgpu_fault *fault)
{
    uint8_t *ptr;

    /* Less than all of it is never in one piece: pages are aligned. */
    if (!vgpu_ppgtt_reach(memory->ppgtt, address, sizeof(value), UMDEV_WRITE, &ptr, fault))
        return false;
    __atomic_store_n((uint64_t *)(void *)ptr, value, __ATOMIC_RELEASE);
    return true;
}

bool vgpu_memory_store64(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                         uint64_t value, struct vgpu_fault *fault)
{
    struct vgpu_hold *hold;
    uint8_t *ptr;
    int ret;

    if (space == VGPU_IN_VIRTUAL)
        return virtual_store64(memory, address, value, fault);
    ret = vgpu_pins_take(memory->pins, address, sizeof(value), sizeof(value), UMDEV_WRITE, &hold);
    if (ret)
        return vgpu_memory_fault(fault, ret, address);
    /* Pages are aligned, so eight aligned bytes are always in one piece. */
    if (vgpu_pins_reach(memory->pins, hold, address, sizeof(value), &ptr) == sizeof(value))
        __atomic_store_n((uint64_t *)(void *)ptr, value, __ATOMIC_RELEASE);
    else
        ret = -EFAULT;
    vgpu_pins_put(hold);
    return ret ? vgpu_memory_fault(fault, ret, address) : true;
}

/* ------------------------------------------------------------------ views */

struct vgpu_view vgpu_view_open(const struct vgpu_memory *memory, const struct vgpu_area *area,
                                unsigned prot)
{
    return (struct vgpu_view){
        .memory = memory,
        .area = area,
        .prot = prot,
        .last = vgpu_area_last(area),
        .reach = REACH_MAX,
    };
}

void vgpu_view_close(struct vgpu_view *view)
{
    if (view->hold)
        vgpu_pins_put(view->hold);
    view->hold = NULL;
    view->len = 0;
}

/* The bytes from `address` on that are worth pinning. */
static uint64_t view_want(const struct vgpu_view *view, uint64_t address)
{
    const struct vgpu_area *area = view->area;
    uint64_t row = (uint64_t)area->width * area->bpp;
    /* One less than the bytes left, which a surface at the top of the address space can't count. */
    uint64_t span = view->last - address;

    if (area->height > 1 && area->pitch - row > GAP_MAX) {
        uint64_t at = (address - area->address) % area->pitch;

        if (at < row && span >= row - at)
            span = row - at - 1;
    }
    return span < view->reach ? span + 1 : view->reach;
}

/* Reach a stretch of guest memory that begins at `address`. */
static int view_reach(struct vgpu_view *view, uint64_t address)
{
    struct vgpu_pins *pins = view->memory->pins;
    uint64_t held, span = view->last - address;
    int ret = vgpu_pins_take(pins, address, 1, view_want(view, address), view->prot, &view->hold);

    if (ret)
        return ret;
    held = view->hold->pages * VGPU_PAGE;
    view->reach = held < REACH_MAX / 2 ? 2 * held : REACH_MAX;
    view->len =
        vgpu_pins_reach(pins, view->hold, address, span < held ? span + 1 : held, &view->ptr);
    return view->len ? 0 : -EFAULT;
}

/* Hold a stretch that begins at `address`. */
static bool view_move(struct vgpu_view *view, uint64_t address, struct vgpu_fault *fault)
{
    vgpu_view_close(view);
    if (view->area->space == VGPU_IN_VIRTUAL) {
        view->len = vgpu_ppgtt_reach(view->memory->ppgtt, address, view_want(view, address),
                                     view->prot, &view->ptr, fault);
        if (view->len == 0)
            return false;
    } else if (view->area->space == VGPU_IN_GUEST) {
        int ret = view_reach(view, address);

        if (ret)
            return vgpu_memory_fault(fault, ret, address);
    } else {
        uint64_t left = view->last - address + 1;

        left = left < VRAM_REACH ? left : VRAM_REACH;
        if (!vram_holds(view->memory, address, left, fault))
            return false;
        view->ptr = view->memory->vram->bytes + address;
        view->len = left;
    }
    view->first = address;
    return true;
}

uint8_t *vgpu_view_at(struct vgpu_view *view, uint64_t address, size_t unit, size_t *len,
                      struct vgpu_fault *fault)
{
    size_t skip;

    if (address < view->first || address - view->first >= view->len) {
        if (!view_move(view, address, fault))
            return NULL;
    }
    skip = address - view->first;
    *len = view->len - skip;
    *len -= *len % unit;
    if (*len)
        return view->ptr + skip;
    /* Less than a pixel in one piece: pages are aligned, so that can't be. */
    vgpu_memory_fault(fault, -EFAULT, address);
    return NULL;
}

static bool view_copy(struct vgpu_view *view, uint32_t x, uint32_t y, uint32_t count, uint8_t *buf,
                      bool write, struct vgpu_fault *fault)
{
    const struct vgpu_area *area = view->area;
    uint64_t address = vgpu_area_row(area, y) + (uint64_t)x * area->bpp;
    size_t left = (size_t)count * area->bpp;

    while (left > 0) {
        size_t len;
        uint8_t *ptr = vgpu_view_at(view, address, area->bpp, &len, fault);

        if (!ptr)
            return false;
        len = len < left ? len : left;
        move(ptr, buf, len, write);
        address += len;
        buf += len;
        left -= len;
    }
    return true;
}

bool vgpu_view_read(struct vgpu_view *view, uint32_t x, uint32_t y, uint32_t count, void *buf,
                    struct vgpu_fault *fault)
{
    return view_copy(view, x, y, count, buf, false, fault);
}

bool vgpu_view_write(struct vgpu_view *view, uint32_t x, uint32_t y, uint32_t count,
                     const void *buf, struct vgpu_fault *fault)
{
    return view_copy(view, x, y, count, (uint8_t *)(uintptr_t)buf, true, fault);
}
