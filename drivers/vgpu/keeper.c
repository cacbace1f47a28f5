/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper: does what a device's ring needs of the client, so that no engine waits for it. */
#include "aperture.h"

/* The ring is ours. */
static void keep(struct vgpu *gpu)
{
    if (!gpu->serving) {
        vgpu_aperture_settle(gpu, &gpu->ring.settle);
        return;
    }
    gpu->settle_step = vgpu_ring_serve(&gpu->ring);
    if (gpu->settle_step == VGPU_STEP_FAULT)
        vgpu_engine_log_fault(gpu);
}

static void *keeper_main(void *opaque)
{
    struct vgpu *gpu = opaque;
    struct vgpu_parent *parent = gpu->parent;

    pthread_mutex_lock(&parent->lock);
    while (!gpu->keeper_stop) {
        if (!gpu->settling) {
            pthread_cond_wait(&gpu->settle, &parent->lock);
            continue;
        }
        pthread_mutex_unlock(&parent->lock);
        keep(gpu);
        pthread_mutex_lock(&parent->lock);
        vgpu_engine_publish(gpu, gpu->settle_step, 0);
        gpu->settling = false;
        gpu->serving = false;
        vgpu_engine_let_go(gpu);
    }
    pthread_mutex_unlock(&parent->lock);
    return NULL;
}

int vgpu_keeper_start(struct vgpu *gpu)
{
    int ret;

    pthread_cond_init(&gpu->settle, NULL);
    ret = vgpu_thread_start(&gpu->keeper, keeper_main, gpu);
    if (ret)
        pthread_cond_destroy(&gpu->settle);
    return ret;
}

void vgpu_keeper_stop(struct vgpu *gpu)
{
    pthread_mutex_lock(&gpu->parent->lock);
    gpu->keeper_stop = true;
    pthread_cond_signal(&gpu->settle);
    pthread_mutex_unlock(&gpu->parent->lock);
    pthread_join(gpu->keeper, NULL);
    pthread_cond_destroy(&gpu->settle);
}
