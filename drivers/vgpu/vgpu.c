/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver: parents and devices, from birth to end. */
#include "vgpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEFAULT_BAR0_SIZE ((uint64_t)128 << 20) /* create() says how large it really is */

static const unsigned eighths_1 = 1, eighths_2 = 2, eighths_4 = 4, eighths_8 = 8;

static const struct umdev_type vgpu_types[] = {
    {.name = "1", .description = "1/8 of the VRAM", .data = &eighths_1},
    {.name = "2", .description = "1/4 of the VRAM", .data = &eighths_2},
    {.name = "4", .description = "1/2 of the VRAM", .data = &eighths_4},
    {.name = "8", .description = "the whole VRAM", .data = &eighths_8},
    {.name = "4-pinned",
     .description = "1/2 of the VRAM; guest memory is pinned when it is mapped",
     .data = &eighths_4,
     .pin_mode = UMDEV_PIN_ALL},
};

static const struct umdev_param vgpu_params[] = {
    {
        .name = "vram",
        .description = "memory of all devices together, a power of two",
        .kind = UMDEV_PARAM_SIZE,
        .value = "1G",
        .min = (uint64_t)8 << 20,
        .max = (uint64_t)64 << 30,
    },
    {
        .name = "engines",
        .description = "threads that execute commands",
        .kind = UMDEV_PARAM_NUMBER,
        .value = "1",
        .min = 1,
        .max = VGPU_MAX_ENGINES,
    },
    {
        .name = "quantum",
        .description = "microseconds a device has an engine before the next one's turn",
        .kind = UMDEV_PARAM_NUMBER,
        .value = "2000",
        .min = 1,
        .max = 1000000,
    },
    {
        .name = "bus",
        .description = "how engines address guest memory: contiguous, paged or identity",
        .value = "contiguous",
    },
    {
        .name = "xres",
        .description = "width that the displays prefer, in pixels",
        .kind = UMDEV_PARAM_NUMBER,
        .value = "1024",
        .min = VGPU_EDID_MIN_XRES,
        .max = VGPU_EDID_MAX,
    },
    {
        .name = "yres",
        .description = "height that the displays prefer, in pixels",
        .kind = UMDEV_PARAM_NUMBER,
        .value = "768",
        .min = VGPU_EDID_MIN_YRES,
        .max = VGPU_EDID_MAX,
    },
};

/* ------------------------------------------------------------------ guest memory */

static int vgpu_map(struct umdev_device *dev, umdev_bus_t bus, void *memory, uint64_t size,
                    unsigned prot)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    return vgpu_mmu_map(&gpu->mmu, bus.value, memory, size, prot);
}

static void vgpu_unmap(struct umdev_device *dev, umdev_bus_t bus, uint64_t size)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    vgpu_mmu_unmap(&gpu->mmu, bus.value, size);
}

static void vgpu_flush(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    vgpu_mmu_flush(&gpu->mmu);
}

static int set_domain(struct umdev_parent *umdev_parent, struct vgpu_parent *parent)
{
    /* Writes there are interrupts on a PC: no memory has such an address. */
    static const struct umdev_area interrupts[] = {{0xfee00000, 0x100000}};
    const char *bus = umdev_param_string(umdev_parent, "bus");
    struct umdev_domain domain = {
        .struct_size = sizeof(domain),
        .reserved = interrupts,
        .nreserved = 1,
        .map = vgpu_map,
        .unmap = vgpu_unmap,
        .flush = vgpu_flush,
    };

    if (!strcmp(bus, "contiguous")) {
        domain.mode = UMDEV_BUS_CONTIGUOUS;
    } else if (!strcmp(bus, "paged")) {
        domain.mode = UMDEV_BUS_PAGED;
    } else if (!strcmp(bus, "identity")) {
        domain = (struct umdev_domain){.struct_size = sizeof(domain), .mode = UMDEV_BUS_IDENTITY};
        parent->identity = true;
    } else {
        umdev_parent_log(umdev_parent, UMDEV_LOG_ERROR,
                         "bus=%s is unknown: it is contiguous, paged or identity", bus);
        return -EINVAL;
    }
    return umdev_parent_set_domain(umdev_parent, &domain);
}

/* The client waits for one slice at most: the turn ends, and all pins of the device with it. */
static void vgpu_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    (void)first;
    (void)last;
    pthread_mutex_lock(&gpu->parent->lock);
    if (gpu->running)
        vgpu_engine_quiesce(gpu);
    vgpu_engine_kick(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
}

/* ------------------------------------------------------------------ parents */

static int vgpu_parent_open(struct umdev_parent *umdev_parent)
{
    struct vgpu_parent *parent = umdev_parent_priv(umdev_parent);
    uint64_t vram = umdev_param_size(umdev_parent, "vram");
    int ret;

    if (vram & (vram - 1)) {
        umdev_parent_log(umdev_parent, UMDEV_LOG_ERROR,
                         "vram=%llu is not a power of two: BARs come in no other sizes",
                         (unsigned long long)vram);
        return -EINVAL;
    }
    parent->vram = vram;
    parent->nengines = (unsigned)umdev_param_number(umdev_parent, "engines");
    parent->xres = (uint32_t)umdev_param_number(umdev_parent, "xres");
    parent->yres = (uint32_t)umdev_param_number(umdev_parent, "yres");
    parent->quantum_ns = umdev_param_number(umdev_parent, "quantum") * 1000;
    ret = set_domain(umdev_parent, parent);
    return ret ? ret : vgpu_engines_start(parent);
}

static void vgpu_parent_close(struct umdev_parent *umdev_parent)
{
    vgpu_engines_stop(umdev_parent_priv(umdev_parent));
}

static unsigned vgpu_available(struct umdev_parent *umdev_parent, unsigned type)
{
    struct vgpu_parent *parent = umdev_parent_priv(umdev_parent);
    unsigned eighths = *(const unsigned *)vgpu_types[type].data, available;

    pthread_mutex_lock(&parent->lock);
    available = (VGPU_EIGHTHS - parent->used_eighths) / eighths;
    pthread_mutex_unlock(&parent->lock);
    return available;
}

/* Two devices may be on their way at once: what available() said is not taken yet. */
static int take_eighths(struct vgpu_parent *parent, unsigned eighths)
{
    int ret = 0;

    pthread_mutex_lock(&parent->lock);
    if (eighths > VGPU_EIGHTHS - parent->used_eighths)
        ret = -EUSERS;
    else
        parent->used_eighths += eighths;
    pthread_mutex_unlock(&parent->lock);
    return ret;
}

static void give_eighths(struct vgpu_parent *parent, unsigned eighths)
{
    pthread_mutex_lock(&parent->lock);
    parent->used_eighths -= eighths;
    pthread_mutex_unlock(&parent->lock);
}

/* ------------------------------------------------------------------ devices */

/* Registers and ring as they are at birth. Nobody else has the device, or the lock is held. */
static void vgpu_clear(struct vgpu *gpu)
{
    gpu->regs = (struct vgpu_regs){0};
    gpu->ring.fence = 0;
    gpu->ring.counters = (struct vgpu_counters){0};
    gpu->logged_errors = 0;
    vgpu_display_reset(&gpu->display);
    vgpu_regs_stop(gpu);
}

/* A serial number that differs between displays: the UUID's first 32 bits. */
static void make_display(struct vgpu *gpu, uint64_t vram_size)
{
    const struct vgpu_edid edid = {
        .xres = gpu->parent->xres,
        .yres = gpu->parent->yres,
        .vram_size = vram_size,
        .serial = (uint32_t)strtoul(umdev_device_uuid(gpu->dev), NULL, 16),
    };

    vgpu_display_init(&gpu->display, &edid);
}

static int make_vram(struct vgpu *gpu, uint64_t size)
{
    int ret = umdev_mem_create(gpu->dev, "vram", size, &gpu->vram);

    if (!ret)
        ret = umdev_region_set_size(gpu->dev, VGPU_BAR_VRAM, size);
    if (!ret)
        ret = umdev_region_set_mem(gpu->dev, VGPU_BAR_VRAM, gpu->vram, 0, NULL, 0);
    return ret;
}

static int vgpu_create(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    struct vgpu_parent *parent = umdev_parent_priv(umdev_device_parent(dev));
    uint64_t size;
    int ret;

    gpu->dev = dev;
    gpu->parent = parent;
    gpu->eighths = *(const unsigned *)umdev_device_type(dev)->data;
    size = parent->vram / VGPU_EIGHTHS * gpu->eighths;
    ret = vgpu_mmu_init(&gpu->mmu, parent->identity);
    if (ret)
        return ret;
    ret = take_eighths(parent, gpu->eighths);
    if (ret)
        goto fini_mmu;
    ret = make_vram(gpu, size);
    if (ret)
        goto give_eighths;
    gpu->pins.dev = dev;
    gpu->pins.mmu = &gpu->mmu;
    gpu->ring.memory = (struct vgpu_memory){
        .pins = &gpu->pins,
        .vram = umdev_mem_ptr(gpu->vram),
        .vram_size = size,
    };
    make_display(gpu, size);
    vgpu_clear(gpu);
    return 0;

give_eighths:
    give_eighths(parent, gpu->eighths);
fini_mmu:
    vgpu_mmu_fini(&gpu->mmu);
    return ret;
}

static void vgpu_remove(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_quiesce(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
    give_eighths(gpu->parent, gpu->eighths);
    vgpu_mmu_fini(&gpu->mmu);
}

/* The client and its memory are gone: nothing of its ring may go on. */
static void vgpu_close(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_quiesce(gpu);
    vgpu_regs_stop(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
}

static int vgpu_reset(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    void *vram = umdev_mem_ptr(gpu->vram);
    size_t size = umdev_mem_size(gpu->vram);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_quiesce(gpu);
    vgpu_clear(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
    /* The next client must not see this one's pictures; freed pages come back as zeros. */
    if (madvise(vram, size, MADV_REMOVE))
        memset(vram, 0, size);
    return 0;
}

/* The mode of one moment; the pixels are copied without a lock, as a screen shows them. */
static int vgpu_screenshot(struct umdev_device *dev, struct umdev_picture *picture)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    struct vgpu_mode mode;
    bool on;
    int ret;

    pthread_mutex_lock(&gpu->parent->lock);
    on = vgpu_display_mode(&gpu->display, &mode);
    pthread_mutex_unlock(&gpu->parent->lock);
    if (!on)
        return -ENODATA;
    ret = umdev_picture_alloc(picture, mode.width, mode.height);
    if (!ret)
        vgpu_mode_scan(&mode, umdev_mem_ptr(gpu->vram), picture->pixels);
    return ret;
}

UMDEV_DRIVER(vgpu, .description = "a GPU: a display, VRAM, 2D and compute commands from a ring",
             .types = vgpu_types, .ntypes = sizeof(vgpu_types) / sizeof(vgpu_types[0]),
             .params = vgpu_params, .nparams = sizeof(vgpu_params) / sizeof(vgpu_params[0]),
             .parent_priv_size = sizeof(struct vgpu_parent), .priv_size = sizeof(struct vgpu),
             .pci = UMDEV_PCI(.vendor = VGPU_PCI_VENDOR, .device = VGPU_PCI_DEVICE,
                              .class_code = VGPU_PCI_CLASS, .revision = VGPU_PCI_REVISION,
                              .bar[VGPU_BAR_VRAM] = UMDEV_BAR(.size = DEFAULT_BAR0_SIZE,
                                                              .flags = UMDEV_BAR_64BIT |
                                                                       UMDEV_BAR_PREFETCH),
                              .bar[VGPU_BAR_REGS] = UMDEV_BAR(.size = VGPU_BAR_REGS_SIZE),
                              .msix = {.vectors = VGPU_MSIX_VECTORS, .bar = VGPU_BAR_MSIX}),
             .parent_open = vgpu_parent_open, .parent_close = vgpu_parent_close,
             .available = vgpu_available, .create = vgpu_create, .remove = vgpu_remove,
             .close = vgpu_close, .reset = vgpu_reset, .read = vgpu_regs_read,
             .write = vgpu_regs_write, .dma_unmap = vgpu_dma_unmap, .screenshot = vgpu_screenshot);
