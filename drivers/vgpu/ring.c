/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring: fetch, execute, move on. */
#include "ring.h"

#include <string.h>

bool vgpu_ring_valid(uint64_t base, uint32_t size)
{
    uint64_t last;

    return base % VGPU_RING_MIN == 0 && size >= VGPU_RING_MIN && size <= VGPU_RING_MAX &&
           (size & (size - 1)) == 0 && !__builtin_add_overflow(base, size - 1, &last);
}

void vgpu_ring_start(struct vgpu_ring *ring, uint64_t base, uint32_t size)
{
    ring->base = base;
    ring->size = size;
    ring->head = 0;
    ring->in_batch = false;
    ring->active = false;
    ring->fault = (struct vgpu_fault){0};
}

/* Copy the next packet and decode the copy. */
static bool fetch(struct vgpu_ring *ring, uint32_t tail)
{
    bool guest = ring->in_batch ? ring->batch.guest : true;
    uint64_t address;
    uint32_t available, fetched;
    uint8_t bytes[VGPU_PACKET_MAX];

    if (ring->in_batch) {
        address = ring->batch.address + ring->batch.offset;
        available = ring->batch.bytes - ring->batch.offset;
    } else {
        address = ring->base + ring->head;
        available = (tail > ring->head ? tail : ring->size) - ring->head;
    }
    fetched = available < sizeof(bytes) ? available : sizeof(bytes);
    if (!vgpu_memory_read(&ring->memory, guest, address, bytes, fetched, &ring->fault))
        return false;
    if (!vgpu_packet_decode(bytes, fetched, available, ring->in_batch, &ring->memory,
                            &ring->command, &ring->fault))
        return false;
    ring->progress.row = 0;
    ring->progress.column = 0;
    if (ring->command.opcode == VGPU_OP_DISPATCH && ring->command.kernel == VGPU_KERNEL_HISTOGRAM)
        memset(ring->progress.histogram, 0, sizeof(ring->progress.histogram));
    return true;
}

static enum vgpu_step execute_fence(struct vgpu_ring *ring, uint32_t *interrupts)
{
    const struct vgpu_command *command = &ring->command;

    if ((command->flags & VGPU_FENCE_WRITE) &&
        !vgpu_memory_store64(&ring->memory, command->fence.address, command->fence.value,
                             &ring->fault))
        return VGPU_STEP_FAULT;
    ring->fence = command->fence.value;
    ring->counters.fences++;
    if (command->flags & VGPU_FENCE_IRQ)
        *interrupts |= VGPU_INT_FENCE;
    return VGPU_STEP_DONE;
}

static enum vgpu_step execute(struct vgpu_ring *ring, union vgpu_scratch *scratch,
                              uint32_t *interrupts)
{
    const struct vgpu_command *command = &ring->command;
    struct vgpu_progress *progress = &ring->progress;

    switch (command->opcode) {
    case VGPU_OP_FILL:
        return vgpu_fill_slice(&ring->memory, command, progress, scratch, &ring->fault);
    case VGPU_OP_COPY:
        return vgpu_copy_slice(&ring->memory, command, progress, scratch, &ring->fault);
    case VGPU_OP_BLEND:
        return vgpu_blend_slice(&ring->memory, command, progress, scratch, &ring->fault);
    case VGPU_OP_DISPATCH:
        return vgpu_dispatch_slice(&ring->memory, command, progress, scratch, &ring->fault);
    case VGPU_OP_FENCE:
        return execute_fence(ring, interrupts);
    case VGPU_OP_GGTT_FILL:
    case VGPU_OP_GGTT_LOAD:
    case VGPU_OP_ALLOC:
    case VGPU_OP_FREE:
        return vgpu_paging_slice(ring);
    default:
        return VGPU_STEP_DONE; /* NOP, and BATCH, which begins where it ends */
    }
}

static void count(struct vgpu_counters *counters, const struct vgpu_command *command)
{
    uint64_t pixels = (uint64_t)command->dst.width * command->dst.height;

    counters->commands++;
    switch (command->opcode) {
    case VGPU_OP_FILL:
        counters->bytes_filled += pixels * command->dst.bpp;
        break;
    case VGPU_OP_COPY:
        counters->bytes_copied += pixels * command->dst.bpp;
        break;
    case VGPU_OP_BLEND:
        counters->pixels_blended += pixels;
        break;
    case VGPU_OP_DISPATCH:
        counters->dispatches++;
        break;
    case VGPU_OP_BATCH:
        counters->batches++;
        break;
    default:
        break;
    }
}

static void head_move(struct vgpu_ring *ring, uint32_t bytes)
{
    ring->head = (ring->head + bytes) & (ring->size - 1);
}

/* The present packet is done: on to the next, into a batch, or out of it. */
static void move_on(struct vgpu_ring *ring)
{
    const struct vgpu_command *command = &ring->command;

    ring->active = false;
    if (command->opcode == VGPU_OP_BATCH) {
        ring->in_batch = true;
        ring->batch.guest = command->batch.guest;
        ring->batch.address = command->batch.address;
        ring->batch.bytes = command->batch.bytes;
        ring->batch.offset = 0;
        ring->batch.packet_bytes = command->bytes;
        return;
    }
    count(&ring->counters, command);
    if (!ring->in_batch) {
        head_move(ring, command->bytes);
        return;
    }
    ring->batch.offset += command->bytes;
    if (ring->batch.offset == ring->batch.bytes) {
        const struct vgpu_command batch = {.opcode = VGPU_OP_BATCH};

        ring->in_batch = false;
        count(&ring->counters, &batch);
        head_move(ring, ring->batch.packet_bytes);
    }
}

enum vgpu_step vgpu_ring_step(struct vgpu_ring *ring, uint32_t tail, union vgpu_scratch *scratch,
                              uint32_t *interrupts)
{
    enum vgpu_step step;

    if (!ring->active) {
        if (!ring->in_batch && ring->head == tail)
            return VGPU_STEP_IDLE;
        if (!fetch(ring, tail))
            return VGPU_STEP_FAULT;
        ring->active = true;
    }
    step = execute(ring, scratch, interrupts);
    ring->counters.slices++;
    if (step == VGPU_STEP_DONE)
        move_on(ring);
    return step;
}
