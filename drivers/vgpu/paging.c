/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that change what the aperture shows, and how much VRAM there is. */
#include "ring.h"

/* Entries of a GGTT_LOAD that are fetched at once; times that in a slice. */
#define LOAD_ENTRIES (VGPU_MOVE_MAX / sizeof(uint64_t))
#define LOAD_PIECES  16u

/* progress->column: entries that are done. */
static enum vgpu_step ggtt_load(struct vgpu_ring *ring)
{
    const struct vgpu_command *command = &ring->command;
    struct vgpu_progress *progress = &ring->progress;
    uint64_t entries[LOAD_ENTRIES];

    for (unsigned i = 0; i < LOAD_PIECES && progress->column < command->ggtt.count; i++) {
        uint64_t left = command->ggtt.count - progress->column;
        uint32_t count = (uint32_t)(left < LOAD_ENTRIES ? left : LOAD_ENTRIES);

        if (!vgpu_memory_read(&ring->memory, command->ggtt.space,
                              command->ggtt.address + progress->column * sizeof(entries[0]),
                              entries, count * sizeof(entries[0]), &ring->fault))
            return VGPU_STEP_FAULT;
        vgpu_ggtt_set(ring->memory.ggtt, command->ggtt.first + (uint32_t)progress->column, entries,
                      count, &ring->settle);
        progress->column += count;
    }
    return progress->column < command->ggtt.count ? VGPU_STEP_MORE : VGPU_STEP_DONE;
}

/* Without a place for the result, no VRAM is an error. */
static enum vgpu_step alloc(struct vgpu_ring *ring)
{
    const struct vgpu_command *command = &ring->command;
    bool done = vgpu_ggtt_allocate(ring->memory.ggtt, ring->memory.pool, command->alloc.address,
                                   command->alloc.bytes);

    if (!(command->flags & VGPU_ALLOC_RESULT)) {
        if (done)
            return VGPU_STEP_DONE;
        ring->fault = (struct vgpu_fault){.code = VGPU_ERR_NO_VRAM,
                                          .field = offsetof(struct vgpu_alloc, bytes)};
        return VGPU_STEP_FAULT;
    }
    return vgpu_memory_store64(&ring->memory, VGPU_IN_GUEST, command->alloc.result,
                               done ? VGPU_ERR_NONE : VGPU_ERR_NO_VRAM, &ring->fault)
               ? VGPU_STEP_DONE
               : VGPU_STEP_FAULT;
}

enum vgpu_step vgpu_paging_slice(struct vgpu_ring *ring)
{
    const struct vgpu_command *command = &ring->command;

    switch (command->opcode) {
    case VGPU_OP_GGTT_FILL:
        vgpu_ggtt_fill(ring->memory.ggtt, command->ggtt.first, command->ggtt.count,
                       command->ggtt.entry, command->flags & VGPU_GGTT_FILL_STEP, &ring->settle);
        return VGPU_STEP_DONE;
    case VGPU_OP_GGTT_LOAD:
        return ggtt_load(ring);
    case VGPU_OP_ALLOC:
        return alloc(ring);
    default:
        vgpu_ggtt_free(ring->memory.ggtt, command->alloc.address, command->alloc.bytes,
                       &ring->settle);
        return VGPU_STEP_DONE;
    }
}
