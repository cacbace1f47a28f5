/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vgpu as a program inside a guest reaches it.
 *
 * Data model. A `gpu` is two mapped BARs, one piece of memory that the device reaches at `iova`,
 * and a way to wait for its interrupts. Two things make one: gpu_open_sysfs()  no driver and no
 * IOMMU. BARs by sysfs; the memory is one huge page, whose physical address is its IOVA. An MSI-X
 * message is a memory write: the table is programmed to write into that page too, and what arrives
 * there is counted. The page can be asked for from a range of addresses, where memory was plugged
 * in; messages arrive elsewhere then, so that they outlive that memory. gpu_open_vfio()   the guest
 * kernel's vfio-pci, under a virtual IOMMU. The memory is scattered pages; MSI-X vectors go through
 * the kernel's interrupt handlers to eventfds.
 */
#ifndef GPU_H
#define GPU_H

#include <stddef.h>
#include <stdint.h>
#include <vgpu_regs.h>

#define GPU_MEMORY_SIZE 0x100000u

struct gpu {
    volatile uint8_t *vram, *regs;
    uint64_t vram_size;
    uint8_t *memory; /* GPU_MEMORY_SIZE bytes, page-aligned, zeros */
    uint64_t iova;   /* of `memory`, when it was allocated or gpu_locate()d */
    unsigned interrupts[VGPU_MSIX_VECTORS]; /* arrived and taken by gpu_wait() */

    /* Take one interrupt of a vector if it has arrived within timeout_ms; 0 only looks. */
    int (*take)(struct gpu *gpu, unsigned vector, int timeout_ms);
    volatile uint32_t *messages;     /* sysfs: where MSI-X messages arrive, a word a vector */
    uint64_t messages_address;       /* sysfs: its physical address */
    int eventfds[VGPU_MSIX_VECTORS]; /* vfio */
    int container;                   /* vfio */
};

/* 0, or −1 and a message on stderr. What was opened stays open until the program ends. The name is
 * BDF, or BDF@FIRST-LAST with the physical addresses between which the memory is to be. */
int gpu_open_sysfs(struct gpu *gpu, const char *name);
int gpu_open_vfio(struct gpu *gpu, const char *bdf);

/* sysfs: look where the memory is now. The kernel moves pages out of memory that is to go; their
 * content stays. 0, or −1 and a message. */
int gpu_locate(struct gpu *gpu);

/* vfio: let the device reach memory of this program at an IOVA, and no more; whole pages. 0, or −1
 * and a message. */
int gpu_map(struct gpu *gpu, void *memory, uint64_t iova, uint64_t size);
int gpu_unmap(struct gpu *gpu, uint64_t iova, uint64_t size);

static inline uint32_t gpu_read32(const struct gpu *gpu, uint32_t reg)
{
    return *(volatile uint32_t *)(gpu->regs + reg);
}

static inline uint64_t gpu_read64(const struct gpu *gpu, uint32_t reg)
{
    return *(volatile uint64_t *)(gpu->regs + reg);
}

static inline void gpu_write32(const struct gpu *gpu, uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(gpu->regs + reg) = value;
}

static inline void gpu_write64(const struct gpu *gpu, uint32_t reg, uint64_t value)
{
    *(volatile uint64_t *)(gpu->regs + reg) = value;
}

#endif
