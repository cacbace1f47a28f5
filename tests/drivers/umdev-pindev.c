/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pindev: a device that pins client memory and reaches it by bus addresses, for tests.
 *
 * Its parent has an IOMMU: a page table for each device, which every access by bus address walks.
 * So what a client makes it do with somebody else's address shows what keeps devices apart.
 *
 *   BAR0  registers (enum pindev_reg)
 *
 * Parameter `bus`: contiguous (default) or paged. Types: "1" pins what it is told, at
 * most 1 MiB; "all" has everything pinned. Two MSI-X vectors, which do nothing.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum pindev_reg {
    REG_IOVA = 0x00,   /* 8 bytes */
    REG_COUNT = 0x08,  /* pages */
    REG_PROT = 0x0c,   /* UMDEV_READ, UMDEV_WRITE */
    REG_GO = 0x10,     /* enum pindev_command */
    REG_RESULT = 0x14, /* 0 or an errno */
    REG_INDEX = 0x18,  /* which page of the last pin BUS tells about */
    REG_BUS = 0x20,    /* 8 bytes: its bus address; for PEEK and POKE: any */
    REG_VALUE = 0x28,  /* 8 bytes: what PEEK saw, what POKE writes */
    REG_KEEP = 0x30,   /* 1: dma_unmap() lets go of nothing */
    REG_UNMAPS = 0x34, /* how often it was called */
    REG_PINNED = 0x38, /* pages in the page table */
};

enum pindev_command {
    GO_PIN = 1,
    GO_UNPIN = 2,
    GO_PEEK = 3, /* 8 bytes at BUS */
    GO_POKE = 4,
    GO_DMA_READ = 5, /* 8 bytes at IOVA into VALUE, without a pin */
};

#define PAGE      UINT64_C(4096)
#define MAX_PAGES 1024 /* in the page table */
#define MAX_HELD  64   /* pins that dma_unmap() knows of */
#define APERTURE  (UINT64_C(1) << 30)

struct page {
    uint64_t bus;
    uint8_t *memory;
    unsigned prot;
};

struct held {
    umdev_iova_t iova;
    size_t count;
};

struct pindev {
    struct umdev_regs regs;
    umdev_bus_t bus[UMDEV_PIN_MAX]; /* of the last pin */
    struct held held[MAX_HELD];
    size_t nheld;
    struct page pages[MAX_PAGES];
    size_t npages;
};

/* ------------------------------------------------------------------ the parent's IOMMU */

static struct page *page_find(struct pindev *p, uint64_t bus)
{
    for (size_t i = 0; i < p->npages; i++)
        if (p->pages[i].bus == bus / PAGE * PAGE)
            return &p->pages[i];
    return NULL;
}

static int pindev_map(struct umdev_device *dev, umdev_bus_t bus, void *memory, uint64_t size,
                      unsigned prot)
{
    struct pindev *p = umdev_device_priv(dev);

    for (uint64_t done = 0; done < size; done += PAGE) {
        struct page *page = page_find(p, bus.value + done);

        if (!page && p->npages == MAX_PAGES)
            return -ENOSPC;
        if (!page)
            page = &p->pages[p->npages++];
        *page = (struct page){bus.value + done, (uint8_t *)memory + done, prot};
    }
    umdev_regs_set32(&p->regs, REG_PINNED, (uint32_t)p->npages);
    return 0;
}

static void pindev_unmap(struct umdev_device *dev, umdev_bus_t bus, uint64_t size)
{
    struct pindev *p = umdev_device_priv(dev);

    for (uint64_t done = 0; done < size; done += PAGE) {
        struct page *page = page_find(p, bus.value + done);

        if (page)
            *page = p->pages[--p->npages];
    }
    umdev_regs_set32(&p->regs, REG_PINNED, (uint32_t)p->npages);
}

/* Whatever the client writes into BUS comes here. */
static uint64_t *engine_reach(struct pindev *p, unsigned prot)
{
    uint64_t bus = umdev_regs_get64(&p->regs, REG_BUS);
    const struct page *page = page_find(p, bus);

    if (!page || prot & ~page->prot || bus % PAGE > PAGE - sizeof(uint64_t) || bus % 8)
        return NULL;
    return (uint64_t *)(void *)(page->memory + bus % PAGE);
}

/* ------------------------------------------------------------------ commands */

static int held_add(struct pindev *p, umdev_iova_t iova, size_t count)
{
    if (p->nheld == MAX_HELD)
        return -ENOSPC;
    p->held[p->nheld++] = (struct held){iova, count};
    return 0;
}

static int pin(struct umdev_device *dev, struct pindev *p, umdev_iova_t iova, size_t count)
{
    int ret = umdev_dma_pin(dev, iova, count, umdev_regs_get32(&p->regs, REG_PROT), p->bus);

    if (!ret) {
        ret = held_add(p, iova, count);
        if (ret)
            umdev_dma_unpin(dev, iova, count);
    }
    return ret;
}

static void unpin(struct umdev_device *dev, struct pindev *p, umdev_iova_t iova, size_t count)
{
    umdev_dma_unpin(dev, iova, count);
    for (size_t i = 0; i < p->nheld; i++) {
        if (p->held[i].iova.value == iova.value && p->held[i].count == count) {
            p->held[i] = p->held[--p->nheld];
            return;
        }
    }
}

static int engine_access(struct pindev *p, bool write)
{
    uint64_t *at = engine_reach(p, write ? UMDEV_WRITE : UMDEV_READ);

    if (!at)
        return -EFAULT;
    if (write)
        __atomic_store_n(at, umdev_regs_get64(&p->regs, REG_VALUE), __ATOMIC_RELAXED);
    else
        umdev_regs_set64(&p->regs, REG_VALUE, __atomic_load_n(at, __ATOMIC_RELAXED));
    return 0;
}

static int command(struct umdev_device *dev, enum pindev_command go)
{
    struct pindev *p = umdev_device_priv(dev);
    umdev_iova_t iova = umdev_iova(umdev_regs_get64(&p->regs, REG_IOVA));
    size_t count = umdev_regs_get32(&p->regs, REG_COUNT);
    uint64_t value = 0;
    int ret;

    switch (go) {
    case GO_PIN:
        return pin(dev, p, iova, count);
    case GO_UNPIN:
        unpin(dev, p, iova, count);
        return 0;
    case GO_PEEK:
    case GO_POKE:
        return engine_access(p, go == GO_POKE);
    case GO_DMA_READ:
        ret = umdev_dma_read(dev, iova, &value, sizeof(value));
        umdev_regs_set64(&p->regs, REG_VALUE, value);
        return ret;
    default:
        return -EINVAL;
    }
}

static void go_write(struct umdev_device *dev, uint64_t value)
{
    struct pindev *p = umdev_device_priv(dev);

    umdev_regs_set32(&p->regs, REG_RESULT, (uint32_t)-command(dev, (enum pindev_command)value));
}

static void index_write(struct umdev_device *dev, uint64_t value)
{
    struct pindev *p = umdev_device_priv(dev);

    umdev_regs_set64(&p->regs, REG_BUS, value < UMDEV_PIN_MAX ? p->bus[value].value : 0);
}

static const struct umdev_reg_hook pindev_hooks[] = {
    {.offset = REG_IOVA, .size = 8},
    {.offset = REG_GO, .write = go_write},
    {.offset = REG_RESULT, .read_only = UINT32_MAX},
    {.offset = REG_INDEX, .write = index_write},
    {.offset = REG_BUS, .size = 8},
    {.offset = REG_VALUE, .size = 8},
    {.offset = REG_KEEP},
    {.offset = REG_UNMAPS, .read_only = UINT32_MAX},
    {.offset = REG_PINNED, .read_only = UINT32_MAX},
};

/* ------------------------------------------------------------------ callbacks */

static void pindev_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct pindev *p = umdev_device_priv(dev);

    umdev_regs_set32(&p->regs, REG_UNMAPS, umdev_regs_get32(&p->regs, REG_UNMAPS) + 1);
    if (umdev_regs_get32(&p->regs, REG_KEEP))
        return;
    for (size_t i = 0; i < p->nheld;) {
        struct held held = p->held[i];

        /* A part of a pin is enough: it goes whole. */
        if (held.iova.value <= last.value &&
            held.iova.value + (held.count * PAGE - 1) >= first.value)
            unpin(dev, p, held.iova, held.count);
        else
            i++;
    }
}

static void pindev_close(struct umdev_device *dev)
{
    struct pindev *p = umdev_device_priv(dev);

    p->nheld = 0;
}

static int pindev_reset(struct umdev_device *dev)
{
    struct pindev *p = umdev_device_priv(dev);

    while (p->nheld > 0)
        unpin(dev, p, p->held[p->nheld - 1].iova, p->held[p->nheld - 1].count);
    umdev_regs_set32(&p->regs, REG_PINNED, (uint32_t)p->npages);
    return 0;
}

static int pindev_parent_open(struct umdev_parent *parent)
{
    static const struct umdev_area reserved[] = {{APERTURE + 16 * PAGE, 2 * PAGE}};
    const char *bus = umdev_param_string(parent, "bus");
    struct umdev_domain domain = {
        .struct_size = sizeof(domain),
        .first = APERTURE,
        .last = APERTURE + MAX_PAGES * PAGE - 1,
        .reserved = reserved,
        .nreserved = 1,
        .map = pindev_map,
        .unmap = pindev_unmap,
    };

    domain.mode = strcmp(bus, "paged") ? UMDEV_BUS_CONTIGUOUS : UMDEV_BUS_PAGED;
    return umdev_parent_set_domain(parent, &domain);
}

/* ------------------------------------------------------------------ the driver */

static const struct umdev_param pindev_params[] = {
    {.name = "bus", .description = "contiguous or paged", .value = "contiguous"},
};

static const struct umdev_type pindev_types[] = {
    {.name = "1", .description = "pins what it is told", .pin_limit = 1 << 20},
    {.name = "all", .description = "everything is pinned", .pin_mode = UMDEV_PIN_ALL},
};

/* clang-format off */
UMDEV_DRIVER(pindev,
    .description = "a device that pins, for tests",
    .types = pindev_types, .ntypes = sizeof(pindev_types) / sizeof(pindev_types[0]),
    .params = pindev_params, .nparams = 1,
    .priv_size = sizeof(struct pindev),
    .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x00c0, .class_code = 0x088000,
        .bar = { UMDEV_BAR(.size = 4096, .regs = UMDEV_REGS(struct pindev, regs, pindev_hooks)) },
        .msix = { .vectors = 2, .bar = 1 }),
    .parent_open = pindev_parent_open, .reset = pindev_reset, .close = pindev_close,
    .dma_unmap = pindev_dma_unmap);
