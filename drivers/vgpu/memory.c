/* SPDX-License-Identifier: BSD-3-Clause */
/* Reaching VRAM and client memory: copies and views. */
#include "memory.h"

#include <errno.h>
#include <string.h>

/* A window's length: bounds what one acquire covers when a surface is larger than a slice. */
#define VIEW_WINDOW ((uint64_t)8 << 20)

static bool dma_fault(struct vgpu_fault *fault, int ret, uint64_t address)
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
    default:
        code = VGPU_ERR_DMA_UNMAPPED;
        break;
    }
    *fault = (struct vgpu_fault){.code = code, .address = address};
    return false;
}

/* Addresses were checked with the packet; this keeps a mistake there from becoming a hole. */
static bool vram_holds(const struct vgpu_memory *memory, uint64_t address, uint64_t len,
                       struct vgpu_fault *fault)
{
    if (address <= memory->vram_size && len <= memory->vram_size - address)
        return true;
    *fault = (struct vgpu_fault){.code = VGPU_ERR_BOUNDS, .address = address};
    return false;
}

static void window_move(const struct umdev_dma_window *window, void *buf, unsigned prot)
{
    if (prot == UMDEV_WRITE)
        memcpy(window->ptr, buf, window->len);
    else
        memcpy(buf, window->ptr, window->len);
}

/* One window after the other; without `buf` just to see that they are all to be had. */
static int guest_pass(struct umdev_device *dev, uint64_t address, uint8_t *buf, size_t len,
                      unsigned prot)
{
    while (len > 0) {
        struct umdev_dma_window window;
        int ret = umdev_dma_acquire(dev, umdev_iova(address), len, prot, &window);
        size_t got;

        if (ret)
            return ret;
        got = window.len;
        if (buf)
            window_move(&window, buf, prot);
        umdev_dma_release(dev, &window);
        address += got;
        buf = buf ? buf + got : NULL;
        len -= got;
    }
    return 0;
}

/*
 * Client memory by windows, all or nothing. umdev_dma_read() would wait for a client that gave no
 * file, and the engine, which serves other devices too, waits for nobody's answer.
 */
static int guest_move(struct umdev_device *dev, uint64_t address, void *buf, size_t len,
                      unsigned prot)
{
    struct umdev_dma_window first;
    int ret = len > 0 ? umdev_dma_acquire(dev, umdev_iova(address), len, prot, &first) : 0;

    if (ret || len == 0)
        return ret;
    ret = guest_pass(dev, address + first.len, NULL, len - first.len, prot);
    if (!ret) {
        window_move(&first, buf, prot);
        ret =
            guest_pass(dev, address + first.len, (uint8_t *)buf + first.len, len - first.len, prot);
    }
    umdev_dma_release(dev, &first);
    return ret;
}

bool vgpu_memory_read(const struct vgpu_memory *memory, bool guest, uint64_t address, void *buf,
                      size_t len, struct vgpu_fault *fault)
{
    if (guest) {
        int ret = guest_move(memory->dev, address, buf, len, UMDEV_READ);

        return ret ? dma_fault(fault, ret, address) : true;
    }
    if (!vram_holds(memory, address, len, fault))
        return false;
    memcpy(buf, memory->vram + address, len);
    return true;
}

bool vgpu_memory_write(const struct vgpu_memory *memory, bool guest, uint64_t address,
                       const void *buf, size_t len, struct vgpu_fault *fault)
{
    if (guest) {
        int ret = guest_move(memory->dev, address, (void *)buf, len, UMDEV_WRITE);

        return ret ? dma_fault(fault, ret, address) : true;
    }
    if (!vram_holds(memory, address, len, fault))
        return false;
    memcpy(memory->vram + address, buf, len);
    return true;
}

bool vgpu_memory_store64(const struct vgpu_memory *memory, uint64_t iova, uint64_t value,
                         struct vgpu_fault *fault)
{
    struct umdev_dma_window window;
    int ret = umdev_dma_acquire(memory->dev, umdev_iova(iova), sizeof(value), UMDEV_WRITE, &window);

    if (ret)
        return dma_fault(fault, ret, iova);
    /* Mappings are page-aligned, so eight aligned bytes are always in one piece. */
    if (window.len >= sizeof(value))
        __atomic_store_n((uint64_t *)window.ptr, value, __ATOMIC_RELEASE);
    else
        ret = -EFAULT;
    umdev_dma_release(memory->dev, &window);
    return ret ? dma_fault(fault, ret, iova) : true;
}

bool vgpu_area_read(const struct vgpu_memory *memory, const struct vgpu_area *area, uint32_t x,
                    uint32_t y, uint32_t count, void *buf, struct vgpu_fault *fault)
{
    uint64_t address = vgpu_area_row(area, y) + (uint64_t)x * area->bpp;

    return vgpu_memory_read(memory, area->guest, address, buf, (size_t)count * area->bpp, fault);
}

bool vgpu_area_write(const struct vgpu_memory *memory, const struct vgpu_area *area, uint32_t x,
                     uint32_t y, uint32_t count, const void *buf, struct vgpu_fault *fault)
{
    uint64_t address = vgpu_area_row(area, y) + (uint64_t)x * area->bpp;

    return vgpu_memory_write(memory, area->guest, address, buf, (size_t)count * area->bpp, fault);
}

void vgpu_view_open(struct vgpu_view *view, const struct vgpu_memory *memory,
                    const struct vgpu_area *area, unsigned prot)
{
    *view = (struct vgpu_view){
        .memory = memory,
        .guest = area->guest,
        .prot = prot,
        .last = vgpu_area_last(area),
    };
}

void vgpu_view_close(struct vgpu_view *view)
{
    if (view->guest && view->len)
        umdev_dma_release(view->memory->dev, &view->window);
    view->len = 0;
}

/* Hold a stretch that begins at `address`. */
static bool view_move(struct vgpu_view *view, uint64_t address, struct vgpu_fault *fault)
{
    /* One less than the bytes left, which a surface at the top of the address space can't count. */
    uint64_t span = view->last - address;
    size_t want = span < VIEW_WINDOW ? span + 1 : VIEW_WINDOW;
    int ret;

    vgpu_view_close(view);
    if (!view->guest) {
        if (!vram_holds(view->memory, address, want, fault))
            return false;
        view->ptr = view->memory->vram + address;
        view->len = want;
    } else {
        ret = umdev_dma_acquire(view->memory->dev, umdev_iova(address), want, view->prot,
                                &view->window);
        if (ret)
            return dma_fault(fault, ret, address);
        view->ptr = view->window.ptr;
        view->len = view->window.len;
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
    /* Less than a pixel in one piece: mappings are page-aligned, so that can't be. */
    dma_fault(fault, -EFAULT, address);
    return NULL;
}
