/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memories a vgpu works on: its VRAM, an array of this process of which not all need be there
 * (vram.h), and its client's memory, which it pins and reaches by bus addresses (pins.h). A virtual
 * address is one of either, by the page tables in force (ppgtt.h).
 *
 * A view is how bulk work reaches either: it gives a pointer to the longest stretch at an address,
 * keeps the pages behind it pinned while the work goes on inside, and takes the next ones by
 * itself. Views live for one slice of work and never longer, as their pointers do.
 *
 * Whoever else maps these bytes may change them at any moment, so nothing read here is trusted
 * twice: packets and kernels' inputs are copied first, the rest is data that is only moved.
 */
#ifndef VGPU_MEMORY_H
#define VGPU_MEMORY_H

#include "ggtt.h"
#include "pins.h"

struct vgpu_ppgtt;

struct vgpu_memory {
    struct vgpu_pins *pins;
    struct vgpu_ppgtt *ppgtt;
    struct vgpu_vram *vram;
    struct vgpu_ggtt *ggtt;
    struct vgpu_pool *pool; /* what the VRAM grows from */
};

/* What an address is one of. */
enum vgpu_space {
    VGPU_IN_VRAM,
    VGPU_IN_GUEST,   /* an IOVA */
    VGPU_IN_VIRTUAL, /* translated by page tables */
};

/*
 * What stops a ring. `field` is a byte in the packet, `address` is set for VGPU_ERR_DMA_* and
 * VGPU_ERR_VIRT_*.
 */
struct vgpu_fault {
    enum vgpu_error code;
    uint32_t field;
    uint64_t address;
};

/*
 * A checked rectangle of pixels in one of the memories: its first row at `address`, every byte of
 * it in VRAM that is there, or at least inside the address space.
 */
struct vgpu_area {
    uint8_t space;          /* enum vgpu_space */
    uint8_t format;         /* enum vgpu_format */
    uint8_t bpp;            /* bytes a pixel */
    uint32_t width, height; /* pixels, both at least 1 */
    uint64_t pitch;         /* bytes */
    uint64_t address;       /* in its space */
};

static inline uint64_t vgpu_area_row(const struct vgpu_area *area, uint32_t y)
{
    return area->address + area->pitch * y;
}

/* The address of the area's last byte. */
static inline uint64_t vgpu_area_last(const struct vgpu_area *area)
{
    return vgpu_area_row(area, area->height - 1) + (uint64_t)area->width * area->bpp - 1;
}

#define VGPU_MOVE_MAX ((size_t)4096)

/*
 * Copy up to VGPU_MOVE_MAX bytes to and from one of the memories, all or nothing; false with *fault
 * filled in.
 */
bool vgpu_memory_read(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                      void *buf, size_t len, struct vgpu_fault *fault);
bool vgpu_memory_write(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                       const void *buf, size_t len, struct vgpu_fault *fault);
/* One naturally aligned 64-bit store to guest memory: a reader sees all of it or nothing. */
bool vgpu_memory_store64(const struct vgpu_memory *memory, enum vgpu_space space, uint64_t address,
                         uint64_t value, struct vgpu_fault *fault);
/* Guest memory can't be reached: what −errno of umdev_dma_pin() means. False. */
bool vgpu_memory_fault(struct vgpu_fault *fault, int ret, uint64_t iova);

struct vgpu_view {
    const struct vgpu_memory *memory;
    const struct vgpu_area *area;
    unsigned prot;  /* UMDEV_READ, UMDEV_WRITE */
    uint64_t last;  /* the last byte anybody will ask for */
    uint64_t reach; /* bytes to try to pin at once: what worked, and some more */
    uint64_t first; /* address of ptr[0] */
    size_t len;     /* 0: nothing there */
    uint8_t *ptr;
    struct vgpu_hold *hold;
};

/* A view of `area`, which must stay as long; nothing is pinned yet. */
struct vgpu_view vgpu_view_open(const struct vgpu_memory *memory, const struct vgpu_area *area,
                                unsigned prot);
void vgpu_view_close(struct vgpu_view *view);
/* For a variable: closed where it goes out of scope. */
#define VGPU_VIEW_SCOPED __attribute__((cleanup(vgpu_view_close)))

/*
 * The bytes at `address`, at most the view's last: *len of them, at least 1, a multiple of `unit`
 * where `address` is one and the rest of the area is. Valid until the next call on this view.
 */
uint8_t *vgpu_view_at(struct vgpu_view *view, uint64_t address, size_t unit, size_t *len,
                      struct vgpu_fault *fault);
/* Copy `count` pixels of row `y` from `x` on. On a fault a part of them may have moved. */
bool vgpu_view_read(struct vgpu_view *view, uint32_t x, uint32_t y, uint32_t count, void *buf,
                    struct vgpu_fault *fault);
bool vgpu_view_write(struct vgpu_view *view, uint32_t x, uint32_t y, uint32_t count,
                     const void *buf, struct vgpu_fault *fault);

#endif
