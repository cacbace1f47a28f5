/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver: parents and devices, from birth to end. */
#include "aperture.h"
#include "attrs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* create() says how large they really are. */
#define DEFAULT_BAR0_SIZE ((uint64_t)128 << 20)
#define DEFAULT_BAR4_SIZE ((uint64_t)256 << 20)

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
        .name = "quota",
        .description = "shares of its type that a device's VRAM may grow to, while there is any",
        .kind = UMDEV_PARAM_NUMBER,
        .value = "2",
        .min = 1,
        .max = VGPU_EIGHTHS,
    },
    {
        .name = "aperture",
        .description = "size of each device's aperture, a power of two",
        .kind = UMDEV_PARAM_SIZE,
        .value = "256M",
        .min = (uint64_t)1 << 20,
        .max = (uint64_t)4 << 30,
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

/*
 * The client waits for one slice at most, or for tables that are being read: the turn ends, and the
 * turn's pins with it, and what page tables have pinned there is unpinned.
 */
static void vgpu_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_hold(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
    vgpu_ppgtt_unmap(&gpu->ppgtt, first.value, last.value);
    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_release(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
}

/* ------------------------------------------------------------------ parents */

/* A parameter that is the size of a BAR; 0: it can't be. */
static uint64_t bar_size_param(struct umdev_parent *umdev_parent, const char *name)
{
    uint64_t size = umdev_param_size(umdev_parent, name);

    if ((size & (size - 1)) == 0)
        return size;
    umdev_parent_log(umdev_parent, UMDEV_LOG_ERROR,
                     "%s=%llu is not a power of two: BARs come in no other sizes", name,
                     (unsigned long long)size);
    return 0;
}

static int vgpu_parent_open(struct umdev_parent *umdev_parent)
{
    struct vgpu_parent *parent = umdev_parent_priv(umdev_parent);
    uint64_t vram = bar_size_param(umdev_parent, "vram");
    uint64_t aperture = bar_size_param(umdev_parent, "aperture");
    int ret;

    if (!vram || !aperture)
        return -EINVAL;
    parent->vram = vram;
    parent->ggtt_entries = (uint32_t)(aperture / VGPU_PAGE);
    parent->quota = (unsigned)umdev_param_number(umdev_parent, "quota");
    parent->nengines = (unsigned)umdev_param_number(umdev_parent, "engines");
    parent->xres = (uint32_t)umdev_param_number(umdev_parent, "xres");
    parent->yres = (uint32_t)umdev_param_number(umdev_parent, "yres");
    parent->quantum_ns = umdev_param_number(umdev_parent, "quantum") * 1000;
    ret = set_domain(umdev_parent, parent);
    if (ret)
        return ret;
    vgpu_pool_init(&parent->pool, vram / VGPU_PAGE);
    ret = vgpu_engines_start(parent);
    if (ret)
        vgpu_pool_fini(&parent->pool);
    return ret;
}

static void vgpu_parent_close(struct umdev_parent *umdev_parent)
{
    struct vgpu_parent *parent = umdev_parent_priv(umdev_parent);

    vgpu_engines_stop(parent);
    vgpu_pool_fini(&parent->pool);
}

/* Bytes of VRAM that a type's device has in any case. */
static uint64_t share_of(const struct vgpu_parent *parent, const struct umdev_type *type)
{
    return parent->vram / VGPU_EIGHTHS * *(const unsigned *)type->data;
}

static unsigned vgpu_available(struct umdev_parent *umdev_parent, unsigned type)
{
    struct vgpu_parent *parent = umdev_parent_priv(umdev_parent);

    return (unsigned)(vgpu_pool_free(&parent->pool) * VGPU_PAGE /
                      share_of(parent, &vgpu_types[type]));
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

/* The VRAM as a memory object, of which BAR0 shows the share. */
static int make_vram(struct vgpu *gpu, uint64_t share, uint64_t size)
{
    int ret = umdev_mem_create(gpu->dev, "vram", size, &gpu->mem);

    if (!ret)
        ret = umdev_region_set_size(gpu->dev, VGPU_BAR_VRAM, share);
    if (!ret)
        ret = umdev_region_set_mem(gpu->dev, VGPU_BAR_VRAM, gpu->mem, 0, NULL, 0);
    return ret ? ret : vgpu_vram_init(&gpu->vram, umdev_mem_ptr(gpu->mem), share, size);
}

static int make_aperture(struct vgpu *gpu)
{
    uint32_t entries = gpu->parent->ggtt_entries;
    int ret = umdev_region_set_size(gpu->dev, VGPU_BAR_APERTURE, entries * VGPU_PAGE);

    return ret ? ret : vgpu_ggtt_init(&gpu->ggtt, entries, &gpu->vram);
}

static int make_memory(struct vgpu *gpu)
{
    struct vgpu_parent *parent = gpu->parent;
    uint64_t share = share_of(parent, umdev_device_type(gpu->dev)), size = share * parent->quota;
    int ret = make_vram(gpu, share, size < parent->vram ? size : parent->vram);

    if (!ret)
        ret = make_aperture(gpu);
    gpu->pins.dev = gpu->dev;
    gpu->pins.mmu = &gpu->mmu;
    vgpu_ppgtt_init(&gpu->ppgtt, &gpu->ring.memory);
    gpu->ring.memory = (struct vgpu_memory){
        .pins = &gpu->pins,
        .ppgtt = &gpu->ppgtt,
        .vram = &gpu->vram,
        .ggtt = &gpu->ggtt,
        .pool = &parent->pool,
    };
    return ret;
}

static void free_memory(struct vgpu *gpu)
{
    vgpu_ppgtt_fini(&gpu->ppgtt);
    vgpu_ggtt_fini(&gpu->ggtt);
    vgpu_vram_fini(&gpu->vram);
}

static int vgpu_create(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);
    struct vgpu_parent *parent = umdev_parent_priv(umdev_device_parent(dev));
    uint64_t pages = share_of(parent, umdev_device_type(dev)) / VGPU_PAGE;
    int ret;

    gpu->dev = dev;
    gpu->parent = parent;
    ret = vgpu_mmu_init(&gpu->mmu, parent->identity);
    if (ret)
        return ret;
    /* What available() said may be another device's now: pages come and go at any time. */
    if (!vgpu_pool_take(&parent->pool, pages)) {
        ret = -EUSERS;
        goto fini_mmu;
    }
    ret = make_memory(gpu);
    if (ret)
        goto free_memory;
    make_display(gpu, gpu->vram.share);
    vgpu_clear(gpu);
    ret = vgpu_keeper_start(gpu);
    if (ret)
        goto free_memory;
    return 0;

free_memory:
    free_memory(gpu);
    vgpu_pool_give(&parent->pool, pages);
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
    vgpu_keeper_stop(gpu);
    vgpu_pool_give(&gpu->parent->pool, gpu->vram.share / VGPU_PAGE + gpu->vram.allocated);
    free_memory(gpu);
    vgpu_mmu_fini(&gpu->mmu);
}

/* The client and its memory are gone: nothing of its ring may go on, and nobody needs its pages. */
static void vgpu_close(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_quiesce(gpu);
    vgpu_regs_stop(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
    vgpu_ppgtt_clear(&gpu->ppgtt);
    vgpu_aperture_clear(gpu);
}

static int vgpu_reset(struct umdev_device *dev)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    pthread_mutex_lock(&gpu->parent->lock);
    vgpu_engine_quiesce(gpu);
    vgpu_clear(gpu);
    pthread_mutex_unlock(&gpu->parent->lock);
    vgpu_ppgtt_clear(&gpu->ppgtt);
    vgpu_aperture_clear(gpu);
    /* The next client must not see this one's pictures; freed pages come back as zeros. */
    if (madvise(gpu->vram.bytes, gpu->vram.share, MADV_REMOVE))
        memset(gpu->vram.bytes, 0, gpu->vram.share);
    return 0;
}

static int vgpu_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                     size_t len)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    return region == VGPU_BAR_APERTURE ? vgpu_aperture_read(gpu, offset, buf, len)
                                       : vgpu_regs_read(gpu, offset, buf, len);
}

static int vgpu_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                      size_t len)
{
    struct vgpu *gpu = umdev_device_priv(dev);

    return region == VGPU_BAR_APERTURE ? vgpu_aperture_write(gpu, offset, buf, len)
                                       : vgpu_regs_write(gpu, offset, buf, len);
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
        vgpu_mode_scan(&mode, gpu->vram.bytes, picture->pixels);
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
                              .bar[VGPU_BAR_APERTURE] = UMDEV_BAR(.size = DEFAULT_BAR4_SIZE,
                                                                  .flags = UMDEV_BAR_64BIT |
                                                                           UMDEV_BAR_PREFETCH |
                                                                           UMDEV_BAR_FAULT),
                              .msix = {.vectors = VGPU_MSIX_VECTORS, .bar = VGPU_BAR_MSIX}),
             .parent_open = vgpu_parent_open, .parent_close = vgpu_parent_close,
             .available = vgpu_available, .create = vgpu_create, .remove = vgpu_remove,
             .close = vgpu_close, .reset = vgpu_reset, .read = vgpu_read, .write = vgpu_write,
             .dma_unmap = vgpu_dma_unmap, .screenshot = vgpu_screenshot,
             .map_request = vgpu_aperture_map_request, UMDEV_ATTRS(vgpu_attrs),
             UMDEV_PARENT_ATTRS(vgpu_parent_attrs));
