/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The software parent's IOMMU: what stands behind a device's bus addresses.
 *
 * Data model. Each device has a page table of its own, filled by what umdev pins for it. Bus
 * addresses have 48 bits; a table is four levels of nodes of 512 entries. An entry is empty, leads
 * to the node below, or is a *leaf*: memory of this process that backs the whole block which the
 * entry covers (4 KiB, 2 MiB, 1 GiB or 512 GiB), with the protection. A run that is mapped at once
 * takes the largest leaves that fit, so that a guest's memory as a whole costs next to nothing. A
 * node without entries leaves the table.
 *
 * An engine reaches guest memory only through vgpu_mmu_walk() on the table of the device it works
 * for. So it can reach nothing that is not pinned for that device, whatever address it is given.
 * With `identity` there is no table: an address is a pointer, and nothing is checked.
 *
 * Threads. Changes come one at a time: umdev sees to that. Walks take no lock and see each entry
 * before or after a change. They and the pointers they give are used inside a *slice* only, between
 * vgpu_mmu_enter() and vgpu_mmu_leave(), by one thread at a time. vgpu_mmu_flush() waits until the
 * slice of another thread is over. Nodes that have left the table are freed there, not before.
 */
#ifndef VGPU_MMU_H
#define VGPU_MMU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VGPU_PAGE     ((uint64_t)4096)
#define VGPU_BUS_BITS 48

struct vgpu_mmu_node;

struct vgpu_mmu {
    bool identity;
    atomic_uint_least64_t root; /* an entry */
    /* Odd: a slice is under way. Counts on with its begin and end. */
    atomic_uint_least64_t slice;
    _Atomic(pthread_t) owner; /* of that slice */
    pthread_mutex_t lock;     /* guards `retired`, and waits */
    pthread_cond_t over;      /* a slice that somebody waited for */
    struct vgpu_mmu_node *retired;
};

/* −ENOMEM, −EAGAIN. */
int vgpu_mmu_init(struct vgpu_mmu *mmu, bool identity);
/* Nobody uses it any more. */
void vgpu_mmu_fini(struct vgpu_mmu *mmu);

/*
 * [bus, bus + size), whole pages: from now on these are the bytes from `memory` on. What was there
 * is replaced, page by page, in one step each. ENOMEM: nothing has changed. EFAULT: no such
 * address.
 */
int vgpu_mmu_map(struct vgpu_mmu *mmu, uint64_t bus, void *memory, uint64_t size, unsigned prot);
/*
 * Never fails: where memory is too short to keep the rest of a large leaf, the rest goes, too, and
 * the engine faults there.
 */
void vgpu_mmu_unmap(struct vgpu_mmu *mmu, uint64_t bus, uint64_t size);
/*
 * Returns when no slice of another thread can use what was unmapped before. The caller's own is not
 * waited for: it is here, and not walking.
 */
void vgpu_mmu_flush(struct vgpu_mmu *mmu);

void vgpu_mmu_enter(struct vgpu_mmu *mmu);
void vgpu_mmu_leave(struct vgpu_mmu *mmu);
/*
 * How much of [bus, bus + len) is there, allows `prot` and is contiguous in this process, from
 * `bus` on; *ptr: where. 0: nothing.
 */
size_t vgpu_mmu_walk(const struct vgpu_mmu *mmu, uint64_t bus, size_t len, unsigned prot,
                     uint8_t **ptr);

#endif
