/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines: threads that execute the rings of all devices, in turn. */
#include "vgpu.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool has_work(const struct vgpu *gpu)
{
    return gpu->regs.run && gpu->regs.head != gpu->regs.tail && !gpu->settling;
}

void vgpu_engine_kick(struct vgpu *gpu)
{
    struct vgpu_parent *parent = gpu->parent;

    /* A running device is looked at again by its engine. */
    if (gpu->queued || gpu->running || gpu->hold || !has_work(gpu))
        return;
    gpu->queued = true;
    TAILQ_INSERT_TAIL(&parent->queue, gpu, next);
    pthread_cond_signal(&parent->work);
}

void vgpu_engine_hold(struct vgpu *gpu)
{
    struct vgpu_parent *parent = gpu->parent;

    gpu->hold++;
    if (gpu->queued) {
        TAILQ_REMOVE(&parent->queue, gpu, next);
        gpu->queued = false;
    }
    while (gpu->running || gpu->serving)
        pthread_cond_wait(&parent->quiet, &parent->lock);
}

void vgpu_engine_release(struct vgpu *gpu)
{
    gpu->hold--;
    vgpu_engine_kick(gpu);
}

void vgpu_engine_quiesce(struct vgpu *gpu)
{
    struct vgpu_parent *parent = gpu->parent;

    vgpu_engine_hold(gpu);
    while (gpu->settling)
        pthread_cond_wait(&parent->quiet, &parent->lock);
    gpu->hold--;
}

void vgpu_engine_log_fault(struct vgpu *gpu)
{
    const struct vgpu_fault *fault = &gpu->ring.fault;

    if (gpu->logged_errors > VGPU_LOGGED_ERRORS)
        return;
    if (gpu->logged_errors++ == VGPU_LOGGED_ERRORS)
        umdev_device_log(gpu->dev, UMDEV_LOG_INFO, "further ring errors of this client not logged");
    else if (fault->code >= VGPU_ERR_DMA_UNMAPPED)
        umdev_device_log(gpu->dev, UMDEV_LOG_INFO,
                         "ring stopped at 0x%x: error %d at address 0x%llx", gpu->ring.head,
                         fault->code, (unsigned long long)fault->address);
    else
        umdev_device_log(gpu->dev, UMDEV_LOG_INFO,
                         "ring stopped at 0x%x: error %d in byte %u of the packet", gpu->ring.head,
                         fault->code, fault->field);
}

void vgpu_engine_publish(struct vgpu *gpu, enum vgpu_step step, uint32_t interrupts)
{
    uint32_t due;

    gpu->regs.head = gpu->ring.head;
    gpu->regs.fence = gpu->ring.fence;
    due = vgpu_regs_raise(gpu, interrupts);
    if (step == VGPU_STEP_FAULT)
        due |= vgpu_regs_fault(gpu, &gpu->ring.fault);
    gpu->regs.counters = gpu->ring.counters;
    if (due) {
        pthread_mutex_unlock(&gpu->parent->lock);
        vgpu_interrupt(gpu, due);
        pthread_mutex_lock(&gpu->parent->lock);
    }
}

void vgpu_engine_let_go(struct vgpu *gpu)
{
    if (gpu->hold)
        pthread_cond_broadcast(&gpu->parent->quiet);
    else
        vgpu_engine_kick(gpu);
}

/*
 * Lock held, dropped for each step: execute a device until its quantum is over or it is its
 * keeper's turn, and unpin what that needed.
 */
static void execute(struct vgpu_engine *engine, struct vgpu *gpu)
{
    struct vgpu_parent *parent = engine->parent;
    uint64_t start = now_ns(), deadline = start + parent->quantum_ns;
    enum vgpu_step step = VGPU_STEP_IDLE;
    bool keep = false;

    gpu->running = true;
    while (!keep && has_work(gpu) && !gpu->hold && start < deadline) {
        uint32_t tail = gpu->regs.tail, interrupts = 0;
        uint64_t end;

        pthread_mutex_unlock(&parent->lock);
        vgpu_mmu_enter(&gpu->mmu);
        step = vgpu_ring_step(&gpu->ring, tail, engine->scratch, &interrupts);
        vgpu_mmu_leave(&gpu->mmu);
        if (step == VGPU_STEP_FAULT)
            vgpu_engine_log_fault(gpu);
        end = now_ns();
        gpu->ring.counters.engine_ns += end - start;
        start = end;
        pthread_mutex_lock(&parent->lock);
        keep = step == VGPU_STEP_WAIT || vgpu_settle_due(&gpu->ring.settle);
        if (!keep)
            vgpu_engine_publish(gpu, step, interrupts);
    }
    pthread_mutex_unlock(&parent->lock);
    vgpu_pins_drop(&gpu->pins);
    pthread_mutex_lock(&parent->lock);
    gpu->running = false;
    if (keep) {
        gpu->settling = true;
        gpu->serving = step == VGPU_STEP_WAIT;
        gpu->settle_step = step;
        pthread_cond_signal(&gpu->settle);
    }
    vgpu_engine_let_go(gpu);
}

static void *engine_main(void *opaque)
{
    struct vgpu_engine *engine = opaque;
    struct vgpu_parent *parent = engine->parent;

    pthread_mutex_lock(&parent->lock);
    while (!parent->stop) {
        struct vgpu *gpu = TAILQ_FIRST(&parent->queue);

        if (!gpu) {
            pthread_cond_wait(&parent->work, &parent->lock);
            continue;
        }
        TAILQ_REMOVE(&parent->queue, gpu, next);
        gpu->queued = false;
        execute(engine, gpu);
    }
    pthread_mutex_unlock(&parent->lock);
    return NULL;
}

int vgpu_thread_start(pthread_t *thread, void *(*main)(void *opaque), void *opaque)
{
    sigset_t signals, before;
    int ret;

    /* The program's signals go to its own threads; faults of this one must reach umdev's handler.
     */
    sigfillset(&signals);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGFPE);
    pthread_sigmask(SIG_SETMASK, &signals, &before);
    ret = -pthread_create(thread, NULL, main, opaque);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ret;
}

static int engine_start(struct vgpu_engine *engine)
{
    int ret;

    engine->scratch = aligned_alloc(_Alignof(union vgpu_scratch), sizeof(union vgpu_scratch));
    if (!engine->scratch)
        return -ENOMEM;
    ret = vgpu_thread_start(&engine->thread, engine_main, engine);
    if (ret) {
        free(engine->scratch);
        engine->scratch = NULL;
    }
    return ret;
}

int vgpu_engines_start(struct vgpu_parent *parent)
{
    unsigned wanted = parent->nengines;

    pthread_mutex_init(&parent->lock, NULL);
    pthread_cond_init(&parent->work, NULL);
    pthread_cond_init(&parent->quiet, NULL);
    TAILQ_INIT(&parent->queue);
    for (unsigned i = 0; i < wanted; i++) {
        int ret;

        parent->engines[i].parent = parent;
        ret = engine_start(&parent->engines[i]);
        if (ret) {
            parent->nengines = i;
            vgpu_engines_stop(parent);
            return ret;
        }
    }
    return 0;
}

void vgpu_engines_stop(struct vgpu_parent *parent)
{
    pthread_mutex_lock(&parent->lock);
    parent->stop = true;
    pthread_cond_broadcast(&parent->work);
    pthread_mutex_unlock(&parent->lock);
    for (unsigned i = 0; i < parent->nengines; i++) {
        pthread_join(parent->engines[i].thread, NULL);
        free(parent->engines[i].scratch);
    }
    pthread_cond_destroy(&parent->quiet);
    pthread_cond_destroy(&parent->work);
    pthread_mutex_destroy(&parent->lock);
}
