/* SPDX-License-Identifier: BSD-3-Clause */
/* BAR2: the registers a client sees. */
#include "aperture.h"

#include <errno.h>
#include <string.h>

uint32_t vgpu_regs_raise(struct vgpu *gpu, uint32_t interrupts)
{
    gpu->regs.int_status |= interrupts;
    return interrupts & gpu->regs.int_enable;
}

void vgpu_interrupt(struct vgpu *gpu, uint32_t interrupts)
{
    for (unsigned vector = 0; vector < VGPU_MSIX_VECTORS; vector++) {
        if (interrupts & 1u << vector)
            umdev_irq_trigger(gpu->dev, UMDEV_IRQ_MSIX, vector);
    }
}

uint32_t vgpu_regs_fault(struct vgpu *gpu, const struct vgpu_fault *fault)
{
    const struct vgpu_ring *ring = &gpu->ring;

    gpu->regs.run = false;
    gpu->regs.fault = *fault;
    gpu->regs.error_ring = gpu->regs.head;
    gpu->regs.error_batch = VGPU_NO_BATCH;
    if (ring->in_batch && fault->code != VGPU_ERR_RING)
        gpu->regs.error_batch = ring->batch.offset;
    gpu->ring.counters.errors++;
    gpu->regs.counters.errors = gpu->ring.counters.errors;
    return vgpu_regs_raise(gpu, VGPU_INT_ERROR);
}

void vgpu_regs_stop(struct vgpu *gpu)
{
    gpu->regs.run = false;
    gpu->regs.head = 0;
    gpu->regs.tail = 0;
    gpu->regs.fault = (struct vgpu_fault){0};
    gpu->regs.error_ring = 0;
    gpu->regs.error_batch = VGPU_NO_BATCH;
    vgpu_ring_start(&gpu->ring, 0, VGPU_RING_MIN);
}

/* ------------------------------------------------------------------ single registers */

static uint64_t status(const struct vgpu_regs *regs)
{
    uint32_t value = 0;

    if (regs->run)
        value |= VGPU_STATUS_RUNNING;
    if (regs->run && regs->head != regs->tail)
        value |= VGPU_STATUS_BUSY;
    if (regs->fault.code)
        value |= VGPU_STATUS_ERROR;
    return value;
}

/* Those that the GGTT's lock guards. */
static uint64_t ggtt_reg_get(struct vgpu *gpu, uint32_t offset)
{
    struct vgpu_ggtt *ggtt = &gpu->ggtt;
    uint64_t value;

    pthread_mutex_lock(&ggtt->lock);
    if (offset == VGPU_REG_VRAM_USED)
        value = gpu->vram.share + gpu->vram.allocated * VGPU_PAGE;
    else
        value = offset == VGPU_REG_CNT_FAULTS ? ggtt->faults : ggtt->refused;
    pthread_mutex_unlock(&ggtt->lock);
    return value;
}

/* Of page tables: numbers that count on without a lock. */
static uint64_t ppgtt_reg_get(const struct vgpu_ppgtt *ppgtt, uint32_t offset)
{
    switch (offset) {
    case VGPU_REG_CNT_TABLES_READ:
        return ppgtt->tables_read;
    case VGPU_REG_CNT_ENTRIES:
        return ppgtt->entries_changed;
    case VGPU_REG_PPGTT_TABLES:
        return ppgtt->tables;
    default:
        return ppgtt->pinned * VGPU_PAGE;
    }
}

/* A register's value, whole. Unknown ones are 0. Lock held. */
static uint64_t reg_get(struct vgpu *gpu, uint32_t offset)
{
    const struct vgpu_regs *regs = &gpu->regs;

    switch (offset) {
    case VGPU_REG_ID:
        return VGPU_ID;
    case VGPU_REG_VERSION:
        return VGPU_VERSION;
    case VGPU_REG_CAPS:
        return (1u << VGPU_OP_COUNT) - 1;
    case VGPU_REG_KERNELS:
        return (1u << VGPU_KERNEL_COUNT) - 1;
    case VGPU_REG_VRAM_SIZE:
        return gpu->vram.share;
    case VGPU_REG_SCRATCH:
        return regs->scratch;
    case VGPU_REG_CONTROL:
        return regs->run ? VGPU_CONTROL_RUN : 0;
    case VGPU_REG_STATUS:
        return status(regs);
    case VGPU_REG_ERROR:
        return regs->fault.code;
    case VGPU_REG_ERROR_RING:
        return regs->error_ring;
    case VGPU_REG_ERROR_BATCH:
        return regs->error_batch;
    case VGPU_REG_ERROR_FIELD:
        return regs->fault.field;
    case VGPU_REG_ERROR_ADDR:
        return regs->fault.address;
    case VGPU_REG_INT_STATUS:
        return regs->int_status;
    case VGPU_REG_INT_ENABLE:
        return regs->int_enable;
    case VGPU_REG_RING_BASE:
        return regs->ring_base;
    case VGPU_REG_RING_SIZE:
        return regs->ring_size;
    case VGPU_REG_RING_HEAD:
        return regs->head;
    case VGPU_REG_RING_TAIL:
        return regs->tail;
    case VGPU_REG_FENCE:
        return regs->fence;
    case VGPU_REG_CNT_COMMANDS:
        return regs->counters.commands;
    case VGPU_REG_CNT_BATCHES:
        return regs->counters.batches;
    case VGPU_REG_CNT_FENCES:
        return regs->counters.fences;
    case VGPU_REG_CNT_DISPATCHES:
        return regs->counters.dispatches;
    case VGPU_REG_CNT_BYTES_FILLED:
        return regs->counters.bytes_filled;
    case VGPU_REG_CNT_BYTES_COPIED:
        return regs->counters.bytes_copied;
    case VGPU_REG_CNT_PIXELS_BLENDED:
        return regs->counters.pixels_blended;
    case VGPU_REG_CNT_ERRORS:
        return regs->counters.errors;
    case VGPU_REG_CNT_SLICES:
        return regs->counters.slices;
    case VGPU_REG_CNT_ENGINE_NS:
        return regs->counters.engine_ns;
    case VGPU_REG_CNT_FAULTS:
    case VGPU_REG_CNT_REFUSED:
    case VGPU_REG_VRAM_USED:
        return ggtt_reg_get(gpu, offset);
    case VGPU_REG_CNT_TABLES_READ:
    case VGPU_REG_CNT_ENTRIES:
    case VGPU_REG_PPGTT_TABLES:
    case VGPU_REG_PPGTT_PINNED:
        return ppgtt_reg_get(&gpu->ppgtt, offset);
    case VGPU_REG_VRAM_QUOTA:
        return gpu->vram.size;
    case VGPU_REG_VRAM_POOL:
        return vgpu_pool_free(&gpu->parent->pool) * VGPU_PAGE;
    case VGPU_REG_GGTT_ENTRIES:
        return gpu->ggtt.count;
    case VGPU_REG_GGTT_INDEX:
        return regs->ggtt_index;
    default:
        return 0;
    }
}

static bool reg_is_64(uint32_t offset)
{
    switch (offset) {
    case VGPU_REG_VRAM_SIZE:
    case VGPU_REG_ERROR_ADDR:
    case VGPU_REG_RING_BASE:
    case VGPU_REG_FENCE:
    case VGPU_REG_VRAM_QUOTA:
    case VGPU_REG_VRAM_USED:
    case VGPU_REG_VRAM_POOL:
    case VGPU_REG_PPGTT_TABLES:
    case VGPU_REG_PPGTT_PINNED:
        return true;
    default:
        return offset >= VGPU_REG_CNT_COMMANDS && offset <= VGPU_REG_CNT_ENTRIES && offset % 8 == 0;
    }
}

/* Lock held; the device is taken from its engine for as long as the ring changes. */
static uint32_t control_set(struct vgpu *gpu, uint32_t value)
{
    struct vgpu_regs *regs = &gpu->regs;

    if (value & VGPU_CONTROL_RESET) {
        vgpu_engine_quiesce(gpu);
        vgpu_regs_stop(gpu);
    }
    if (!(value & VGPU_CONTROL_RUN)) {
        vgpu_engine_quiesce(gpu);
        regs->run = false;
        return 0;
    }
    if (regs->run || regs->fault.code)
        return 0; /* running already, or waiting for a reset */
    vgpu_engine_quiesce(gpu);
    regs->head = 0;
    regs->tail = 0;
    if (!vgpu_ring_valid(regs->ring_base, regs->ring_size)) {
        const struct vgpu_fault fault = {.code = VGPU_ERR_RING};

        return vgpu_regs_fault(gpu, &fault);
    }
    vgpu_ring_start(&gpu->ring, regs->ring_base, regs->ring_size);
    regs->run = true;
    return 0;
}

static uint32_t tail_set(struct vgpu *gpu, uint32_t tail)
{
    struct vgpu_regs *regs = &gpu->regs;

    if (!regs->run)
        return 0;
    if (tail % 8 || tail >= gpu->ring.size) {
        const struct vgpu_fault fault = {.code = VGPU_ERR_RING};

        vgpu_engine_quiesce(gpu);
        /* The ring may have failed by itself meanwhile: the first error stays. */
        return regs->run ? vgpu_regs_fault(gpu, &fault) : 0;
    }
    regs->tail = tail;
    vgpu_engine_kick(gpu);
    return 0;
}

/* Interrupts that were pending behind the mask are due when it opens. */
static uint32_t enable_set(struct vgpu *gpu, uint32_t value)
{
    uint32_t opened = value & VGPU_INT_ALL & ~gpu->regs.int_enable;

    gpu->regs.int_enable = value & VGPU_INT_ALL;
    return gpu->regs.int_status & opened;
}

/* Lock held. Returns the interrupts that are due. */
static uint32_t reg_set(struct vgpu *gpu, uint32_t offset, uint64_t value)
{
    switch (offset) {
    case VGPU_REG_SCRATCH:
        gpu->regs.scratch = (uint32_t)value;
        return 0;
    case VGPU_REG_CONTROL:
        return control_set(gpu, (uint32_t)value);
    case VGPU_REG_INT_STATUS:
        gpu->regs.int_status &= ~(uint32_t)value;
        return 0;
    case VGPU_REG_INT_ENABLE:
        return enable_set(gpu, (uint32_t)value);
    case VGPU_REG_RING_BASE:
        gpu->regs.ring_base = value;
        return 0;
    case VGPU_REG_RING_SIZE:
        gpu->regs.ring_size = (uint32_t)value;
        return 0;
    case VGPU_REG_RING_TAIL:
        return tail_set(gpu, (uint32_t)value);
    case VGPU_REG_GGTT_INDEX:
        gpu->regs.ggtt_index = (uint32_t)value;
        return 0;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------ accesses */

/* One aligned dword, or a half of a 64-bit register. Lock held. */
static uint32_t dword_get(struct vgpu *gpu, uint32_t offset)
{
    if (offset % 8 && reg_is_64(offset - 4))
        return (uint32_t)(reg_get(gpu, offset - 4) >> 32);
    return (uint32_t)reg_get(gpu, offset);
}

static uint32_t dword_set(struct vgpu *gpu, uint32_t offset, uint32_t value)
{
    if (offset % 8 && reg_is_64(offset - 4))
        return reg_set(gpu, offset - 4, (uint64_t)value << 32 | dword_get(gpu, offset - 4));
    if (reg_is_64(offset))
        return reg_set(gpu, offset, (uint64_t)dword_get(gpu, offset + 4) << 32 | value);
    return reg_set(gpu, offset, value);
}

/*
 * An access: a part for the display, which takes any, a part for the GPU's registers, which are
 * dwords, and a part for the window to the GGTT, which comes behind them, of dwords, too.
 */
struct access {
    size_t display, regs; /* where these parts end */
    uint64_t window;      /* the third part's offset in the window */
};

static size_t bytes_below(uint64_t offset, size_t len, uint64_t end)
{
    if (offset >= end)
        return 0;
    return len < end - offset ? len : (size_t)(end - offset);
}

static bool access_make(uint64_t offset, size_t len, struct access *access)
{
    if (offset > VGPU_BAR_REGS_SIZE || len > VGPU_BAR_REGS_SIZE - offset)
        return false;
    access->display = bytes_below(offset, len, VGPU_DISPLAY_SIZE);
    access->regs = bytes_below(offset, len, VGPU_REG_GGTT);
    access->window = offset + access->regs - VGPU_REG_GGTT;
    return access->display == len ||
           ((offset + access->display) % 4 == 0 && (len - access->display) % 4 == 0);
}

int vgpu_regs_read(struct vgpu *gpu, uint64_t offset, void *buf, size_t len)
{
    struct access access;
    uint32_t index;

    if (!access_make(offset, len, &access))
        return -EINVAL;
    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_display_read(&gpu->display, (uint32_t)offset, buf, access.display);
    for (size_t i = access.display; i < access.regs; i += 4) {
        uint32_t value = dword_get(gpu, (uint32_t)(offset + i));

        memcpy((uint8_t *)buf + i, &value, sizeof(value));
    }
    index = gpu->regs.ggtt_index;
    pthread_mutex_unlock(&gpu->parent->lock);
    vgpu_window_read(gpu, index, access.window, (uint8_t *)buf + access.regs, len - access.regs);
    return 0;
}

int vgpu_regs_write(struct vgpu *gpu, uint64_t offset, const void *buf, size_t len)
{
    struct access access;
    uint32_t due = 0, index;

    if (!access_make(offset, len, &access))
        return -EINVAL;
    /* What the guest wrote to page tables before its doorbell counts for what is behind it. */
    if (offset <= VGPU_REG_RING_TAIL && offset + access.regs > VGPU_REG_RING_TAIL)
        vgpu_ppgtt_collect(&gpu->ppgtt);
    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_display_write(&gpu->display, (uint32_t)offset, buf, access.display);
    for (size_t i = access.display; i < access.regs; i += 4) {
        uint32_t value;

        memcpy(&value, (const uint8_t *)buf + i, sizeof(value));
        due |= dword_set(gpu, (uint32_t)(offset + i), value);
    }
    index = gpu->regs.ggtt_index;
    pthread_mutex_unlock(&gpu->parent->lock);
    vgpu_interrupt(gpu, due);
    vgpu_window_write(gpu, index, access.window, (const uint8_t *)buf + access.regs,
                      len - access.regs);
    return 0;
}
