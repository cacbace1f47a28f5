/* SPDX-License-Identifier: BSD-3-Clause */
#include "attrs.h"

#include "vgpu.h"

#include <inttypes.h>
#include <stdio.h>

static int vram_size_show(struct umdev_device *dev, char *buf, size_t size)
{
    const struct vgpu *gpu = umdev_device_priv(dev);

    return snprintf(buf, size, "%" PRIu64 "\n", gpu->vram.size);
}

static int vram_used_show(struct umdev_device *dev, char *buf, size_t size)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    uint64_t pages;

    pthread_mutex_lock(&gpu->ggtt.lock);
    pages = gpu->vram.allocated;
    pthread_mutex_unlock(&gpu->ggtt.lock);
    return snprintf(buf, size, "%" PRIu64 "\n", gpu->vram.share + pages * VGPU_PAGE);
}

static int engine_ns_show(struct umdev_device *dev, char *buf, size_t size)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    uint64_t ns;

    pthread_mutex_lock(&gpu->parent->lock);
    ns = gpu->regs.counters.engine_ns;
    pthread_mutex_unlock(&gpu->parent->lock);
    return snprintf(buf, size, "%" PRIu64 "\n", ns);
}

/* "1024x768", "off" */
static int mode_show(struct umdev_device *dev, char *buf, size_t size)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    struct vgpu_mode mode;
    bool on;

    pthread_mutex_lock(&gpu->parent->lock);
    on = vgpu_display_mode(&gpu->display, &mode);
    pthread_mutex_unlock(&gpu->parent->lock);
    return on ? snprintf(buf, size, "%ux%u\n", mode.width, mode.height)
              : snprintf(buf, size, "off\n");
}

static int vram_free_show(struct umdev_parent *parent, unsigned type, char *buf, size_t size)
{
    struct vgpu_parent *gpus = umdev_parent_priv(parent);

    (void)type;
    return snprintf(buf, size, "%" PRIu64 "\n", vgpu_pool_free(&gpus->pool) * VGPU_PAGE);
}

const struct umdev_attr vgpu_attrs[VGPU_NUM_ATTRS] = {
    {.name = "vram_size", .show = vram_size_show},
    {.name = "vram_used", .show = vram_used_show},
    {.name = "engine_ns", .show = engine_ns_show},
    {.name = "mode", .show = mode_show},
};

const struct umdev_parent_attr vgpu_parent_attrs[1] = {
    {.name = "vram_free", .show = vram_free_show},
};
