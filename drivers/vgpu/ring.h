/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device's ring: where its commands come from and how far they are.
 *
 * A ring is a pure machine: it knows its memory and nothing of threads or registers. Its engine
 * calls vgpu_ring_step() with the tail it may go to; each step fetches a packet or does one slice
 * of the one under way. A packet is copied once, checked in the copy, and executed from there.
 *
 * A step that changes the GGTT, or frees VRAM, leaves in `settle` what is to be done about it.
 * Until that is done and `settle` cleared, the ring must not be stepped again, and nobody be told
 * how far it is. A step that needs page tables which have not been read, or are to be read again,
 * changes nothing and says so; vgpu_ring_serve() reads them.
 *
 * Ownership: the engine's while it executes the device, otherwise whoever holds the engine's lock.
 */
#ifndef VGPU_RING_H
#define VGPU_RING_H

#include "execute.h"
#include "ppgtt.h"

struct vgpu_counters {
    uint64_t commands, batches, fences, dispatches;
    uint64_t bytes_filled, bytes_copied, pixels_blended;
    uint64_t errors, slices, engine_ns;
};

struct vgpu_ring {
    struct vgpu_memory memory;

    uint64_t base; /* IOVA */
    uint32_t size;
    uint32_t head;

    bool in_batch;
    struct {
        uint8_t space; /* enum vgpu_space */
        uint64_t address;
        uint32_t bytes, offset;
        uint32_t packet_bytes; /* of the BATCH packet in the ring */
    } batch;

    bool active; /* `command` is under way */
    struct vgpu_command command;
    struct vgpu_progress progress;

    struct vgpu_settle settle;
    uint64_t prepared; /* generation of the page tables that `command` was prepared with; 0: none */

    uint64_t fence;
    struct vgpu_counters counters;
    struct vgpu_fault fault;
};

/* Whether RING_BASE and RING_SIZE make a ring. */
bool vgpu_ring_valid(uint64_t base, uint32_t size);
/* Begin at offset 0 of a valid ring; fence and counters stay. */
void vgpu_ring_start(struct vgpu_ring *ring, uint64_t base, uint32_t size);

/*
 * One step towards `tail` (below the size, a multiple of 8). VGPU_INT_FENCE is ored into
 * *interrupts when one is due. After VGPU_STEP_FAULT `fault` says why and the ring must not be
 * stepped until it is started again.
 */
enum vgpu_step vgpu_ring_step(struct vgpu_ring *ring, uint32_t tail, union vgpu_scratch *scratch,
                              uint32_t *interrupts);
/*
 * After VGPU_STEP_WAIT, by a thread that may wait for the client's memory: VGPU_STEP_MORE, or
 * VGPU_STEP_FAULT as above. What is missing then is found by the next step.
 */
enum vgpu_step vgpu_ring_serve(struct vgpu_ring *ring);

/* paging.c: the GGTT's commands and the VRAM's. */
enum vgpu_step vgpu_paging_slice(struct vgpu_ring *ring);

#endif
