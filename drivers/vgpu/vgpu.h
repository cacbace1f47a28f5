/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vgpu: parents, devices, engines.
 *
 * Data model. A parent has VRAM to give out, and engines: threads that execute the rings of all its
 * devices. A device has its own VRAM (a memory object, of which its type's share is always there;
 * vram.h), a ring, registers, and an aperture (aperture.h). Devices with work stand in the parent's
 * queue; an engine takes the first, executes it for a quantum, slice by slice, and puts it back at
 * the end if there is more. The display (display.h) shows a part of the VRAM; engines know nothing
 * of it.
 *
 * Locks. The parent's `lock` guards the queue and every device's `regs`, `display`, `queued`,
 * `running`, `settling` and `hold`. An engine executes without it, on a device it marked `running`;
 * while that is set the device's ring is the engine's, and while `settling` is, the keeper's.
 * vgpu_engine_quiesce() takes a device away from both; it waits at most for the slice under way, or
 * for what umdev grants the client to give pages back. The locks of ggtt.h and vram.h come after.
 * No umdev function is called under the lock.
 *
 * From one turn to the next nothing is kept but numbers, as pins end with the turn (pins.h), and
 * what page tables in guest memory say, with the pages that they name (ppgtt.h). A client that
 * unmaps memory makes the turn end; the next touch of that memory is a fault that stops the ring.
 * umdev's calls of the mmu come at any time, and take the mmu's own lock only.
 */
#ifndef VGPU_VGPU_H
#define VGPU_VGPU_H

#include "display.h"
#include "ring.h"

#include <pthread.h>
#include <sys/queue.h>

#define VGPU_EIGHTHS     8
#define VGPU_MAX_ENGINES 16

/* Errors of one client that are logged; a broken or hostile one could fill the disk. */
#define VGPU_LOGGED_ERRORS 8

/* What a client sees; see docs/vgpu.md. */
struct vgpu_regs {
    uint32_t scratch;
    bool run;
    uint32_t int_status, int_enable;
    uint64_t ring_base;
    uint32_t ring_size;
    uint32_t ggtt_index;
    uint32_t tail;
    /* Copied from the ring after each step. */
    uint32_t head;
    uint64_t fence;
    struct vgpu_counters counters;
    /* Of the error that stopped the ring. */
    struct vgpu_fault fault;
    uint32_t error_ring, error_batch;
};

struct vgpu_parent;

struct vgpu {
    struct umdev_device *dev;
    struct vgpu_parent *parent;
    struct umdev_mem *mem; /* the VRAM: `vram.size` bytes */
    struct vgpu_vram vram;
    struct vgpu_ggtt ggtt;
    unsigned logged_errors; /* the engine's, or under the lock when quiet */

    struct vgpu_regs regs;
    struct vgpu_display display;
    struct vgpu_ring ring;
    struct vgpu_mmu mmu;
    struct vgpu_pins pins; /* the ring's */
    struct vgpu_ppgtt ppgtt;

    bool queued, running;
    bool settling; /* the keeper's turn, after this step of the ring: */
    bool serving;  /* … which is to read page tables */
    enum vgpu_step settle_step;
    pthread_cond_t settle; /* `settling` or `keeper_stop` */
    bool keeper_stop;
    pthread_t keeper;
    unsigned hold; /* threads that wait for the device to be left alone */
    TAILQ_ENTRY(vgpu) next;
};

struct vgpu_engine {
    struct vgpu_parent *parent;
    pthread_t thread;
    union vgpu_scratch *scratch;
};

struct vgpu_parent {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* the queue has something, or `stop` */
    pthread_cond_t quiet; /* a device with `hold` stopped running */
    TAILQ_HEAD(vgpu_queue, vgpu) queue;
    bool stop;

    uint64_t vram;
    struct vgpu_pool pool; /* what of it is nobody's */
    unsigned quota;        /* shares that a device can have */
    uint32_t ggtt_entries; /* of each device */
    uint32_t xres, yres;   /* the displays' preferred mode */
    bool identity;         /* bus addresses are those of this process */
    uint64_t quantum_ns;
    unsigned nengines;
    struct vgpu_engine engines[VGPU_MAX_ENGINES];
};

/* engine.c. Start `parent->nengines` threads; −EAGAIN, −ENOMEM, and none is left. */
int vgpu_engines_start(struct vgpu_parent *parent);
/* Every device is gone. */
void vgpu_engines_stop(struct vgpu_parent *parent);
/* Lock held: queue the device if it has work and is not there yet. */
void vgpu_engine_kick(struct vgpu *gpu);
/*
 * Lock held, dropped while waiting: take the device off the queue and wait until no engine has it.
 * Until the lock is dropped again its ring is the caller's.
 */
void vgpu_engine_quiesce(struct vgpu *gpu);

/*
 * Lock held, dropped while waiting: from now on, until it is released, no engine executes the
 * device, and its keeper reads no page tables. Nothing else is waited for.
 */
void vgpu_engine_hold(struct vgpu *gpu);
void vgpu_engine_release(struct vgpu *gpu);

/* Log what stopped the ring. The ring is the caller's. */
void vgpu_engine_log_fault(struct vgpu *gpu);
/* Lock held, dropped to interrupt: show the client how far its ring is. */
void vgpu_engine_publish(struct vgpu *gpu, enum vgpu_step step, uint32_t interrupts);
/* Lock held: an engine or the keeper has done its turn, and is not `running` or `settling` any
 * more. */
void vgpu_engine_let_go(struct vgpu *gpu);
/* A thread without the program's signals. −EAGAIN. */
int vgpu_thread_start(pthread_t *thread, void *(*main)(void *opaque), void *opaque);

/* regs.c. Interrupts that became due, as VGPU_INT_*: trigger them when the lock is dropped. */
uint32_t vgpu_regs_raise(struct vgpu *gpu, uint32_t interrupts);
void vgpu_interrupt(struct vgpu *gpu, uint32_t interrupts);
/* Lock held: stop with `fault`. Returns what is due. */
uint32_t vgpu_regs_fault(struct vgpu *gpu, const struct vgpu_fault *fault);
/* Lock held, device quiet: forget the ring and its error. */
void vgpu_regs_stop(struct vgpu *gpu);
int vgpu_regs_read(struct vgpu *gpu, uint64_t offset, void *buf, size_t len);
int vgpu_regs_write(struct vgpu *gpu, uint64_t offset, const void *buf, size_t len);

#endif
