/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that a device has pinned: the way from an IOVA to a pointer.
 *
 * Data model. A *hold* is a pin: pages from one IOVA on, with their bus addresses. Whoever needs
 * memory takes a hold that covers it, has the mmu say where that is, and puts the hold back; it
 * stays pinned for the next one who needs the same pages, until its place is wanted for others or
 * the engine's turn with the device ends. A turn is as short as the quantum, and ends early where
 * somebody waits for the device: then all holds are dropped. So an unmap finds nothing pinned, and
 * a device that does nothing pins nothing.
 *
 * Where a hold is found, it is asked anew whether the device may reach memory at all: bus mastering
 * ends at once. Pointers are good until the end of the slice (mmu.h) and never kept.
 *
 * Ownership: that of the ring, whose commands they are for.
 */
#ifndef VGPU_PINS_H
#define VGPU_PINS_H

#include "mmu.h"

#include <umdev/driver.h>

#define VGPU_HOLDS 8

struct vgpu_hold {
    uint64_t page;  /* IOVA / VGPU_PAGE */
    uint64_t pages; /* 0: free */
    unsigned prot;
    unsigned users;
    uint64_t used; /* the clock when it was last taken; 0: free */
    bool in_order; /* the pages' bus addresses follow each other */
    umdev_bus_t bus[UMDEV_PIN_MAX];
};

struct vgpu_pins {
    struct umdev_device *dev;
    struct vgpu_mmu *mmu;
    uint64_t clock;
    struct vgpu_hold holds[VGPU_HOLDS];
};

/*
 * A hold of [address, address + need), with UMDEV_READ or UMDEV_WRITE rights or both; of up to
 * `want` bytes, at least `need`, where new pages are pinned. At most VGPU_HOLDS are taken at once,
 * and `need` is at most UMDEV_PIN_MAX pages less one; it does not wrap, nor does `want`. −errno:
 * that of umdev_dma_pin().
 */
int vgpu_pins_take(struct vgpu_pins *pins, uint64_t address, uint64_t need, uint64_t want,
                   unsigned prot, struct vgpu_hold **hold);
void vgpu_pins_put(struct vgpu_hold *hold);
/*
 * How much of [address, address + len), which begins in the hold, is contiguous in this process;
 * *ptr: where. 0: it is pinned no more.
 */
size_t vgpu_pins_reach(const struct vgpu_pins *pins, const struct vgpu_hold *hold, uint64_t address,
                       size_t len, uint8_t **ptr);
/* Unpin everything. None is taken. */
void vgpu_pins_drop(struct vgpu_pins *pins);

#endif
