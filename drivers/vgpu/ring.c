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
    (void)vgpu_ppgtt_select(ring->memory.ppgtt, 0, 0, false);
}

/* ------------------------------------------------------------------ page tables */

/* Bytes of a batch that are fetched for its next packet. */
static uint32_t batch_fetch(const struct vgpu_ring *ring)
{
    uint32_t left = ring->batch.bytes - ring->batch.offset;

    return left < VGPU_PACKET_MAX ? left : VGPU_PACKET_MAX;
}

static enum vgpu_ready prepare_bytes(struct vgpu_ring *ring, uint8_t space, uint64_t address,
                                     uint64_t len, bool load)
{
    if (space != VGPU_IN_VIRTUAL)
        return VGPU_READY;
    return vgpu_ppgtt_prepare(ring->memory.ppgtt, address, address + (len - 1), load, &ring->fault);
}

/* Rows far from each other are not worth all that is between them. */
static enum vgpu_ready prepare_area(struct vgpu_ring *ring, const struct vgpu_area *area, bool load)
{
    uint64_t row = (uint64_t)area->width * area->bpp;
    enum vgpu_ready ready = VGPU_READY;

    if (area->space != VGPU_IN_VIRTUAL)
        return VGPU_READY;
    if (area->pitch - row < vgpu_ppgtt_block(2))
        return prepare_bytes(ring, area->space, area->address,
                             vgpu_area_last(area) - area->address + 1, load);
    for (uint32_t y = 0; y < area->height && ready == VGPU_READY; y++)
        ready = prepare_bytes(ring, area->space, vgpu_area_row(area, y), row, load);
    return ready;
}

/* Each slice of a command: between two of them tables may have gone. */
static enum vgpu_ready prepare_command(struct vgpu_ring *ring, bool load)
{
    const struct vgpu_command *command = &ring->command;
    const struct vgpu_area *areas[] = {&command->dst, &command->src, &command->b};
    enum vgpu_ready ready = VGPU_READY;

    if (!vgpu_ppgtt_in_force(ring->memory.ppgtt) ||
        ring->prepared == ring->memory.ppgtt->generation)
        return VGPU_READY;
    for (unsigned i = 0; i < 3 && ready == VGPU_READY; i++)
        ready = prepare_area(ring, areas[i], load);
    if (ready == VGPU_READY && command->opcode == VGPU_OP_FENCE)
        ready = prepare_bytes(ring, command->fence.space, command->fence.address,
                              sizeof(command->fence.value), load);
    if (ready == VGPU_READY && command->opcode == VGPU_OP_GGTT_LOAD)
        ready = prepare_bytes(ring, command->ggtt.space, command->ggtt.address,
                              command->ggtt.count * sizeof(uint64_t), load);
    if (ready == VGPU_READY && command->opcode == VGPU_OP_DISPATCH &&
        command->kernel == VGPU_KERNEL_HISTOGRAM)
        ready = prepare_bytes(ring, command->histogram.space, command->histogram.address,
                              (uint64_t)command->src.bpp * 256 * sizeof(uint32_t), load);
    if (ready == VGPU_READY)
        ring->prepared = ring->memory.ppgtt->generation;
    return ready;
}

/* What the next step needs. What was written to tables counts from the next packet of the ring. */
static enum vgpu_ready prepare(struct vgpu_ring *ring, bool load)
{
    const struct vgpu_command *command = &ring->command;

    if (ring->active && command->opcode == VGPU_OP_PPGTT)
        return vgpu_ppgtt_select(ring->memory.ppgtt, command->ppgtt.root, command->ppgtt.levels,
                                 load);
    if (ring->active)
        return prepare_command(ring, load);
    if (ring->in_batch)
        return prepare_bytes(ring, ring->batch.space, ring->batch.address + ring->batch.offset,
                             batch_fetch(ring), load);
    return vgpu_ppgtt_sync(ring->memory.ppgtt, load);
}

static enum vgpu_step step_of(enum vgpu_ready ready)
{
    switch (ready) {
    case VGPU_READY:
        return VGPU_STEP_DONE;
    case VGPU_MISSING:
        return VGPU_STEP_WAIT;
    default:
        return VGPU_STEP_FAULT;
    }
}

/* Tables that are loaded before an unmap or a reset gets a word in. */
#define SERVE_TABLES 64

enum vgpu_step vgpu_ring_serve(struct vgpu_ring *ring)
{
    ring->memory.ppgtt->budget = SERVE_TABLES;
    return prepare(ring, true) == VGPU_BAD ? VGPU_STEP_FAULT : VGPU_STEP_MORE;
}

/* ------------------------------------------------------------------ packets */

/* Copy the next packet and decode the copy. */
static bool fetch(struct vgpu_ring *ring, uint32_t tail)
{
    enum vgpu_space space = ring->in_batch ? ring->batch.space : VGPU_IN_GUEST;
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
    if (!vgpu_memory_read(&ring->memory, space, address, bytes, fetched, &ring->fault))
        return false;
    if (!vgpu_packet_decode(bytes, fetched, available, ring->in_batch, &ring->memory,
                            &ring->command, &ring->fault))
        return false;
    ring->prepared = 0;
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
        !vgpu_memory_store64(&ring->memory, command->fence.space, command->fence.address,
                             command->fence.value, &ring->fault))
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
        return VGPU_STEP_DONE; /* NOP; PPGTT, already in force; BATCH, which begins where it ends */
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
        ring->batch.space = command->batch.space;
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
        step = step_of(prepare(ring, false));
        if (step != VGPU_STEP_DONE)
            return step;
        if (!fetch(ring, tail))
            return VGPU_STEP_FAULT;
        ring->active = true;
    }
    step = step_of(prepare(ring, false));
    if (step != VGPU_STEP_DONE)
        return step;
    step = execute(ring, scratch, interrupts);
    ring->counters.slices++;
    if (step == VGPU_STEP_DONE)
        move_on(ring);
    return step;
}
