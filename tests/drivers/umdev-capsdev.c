/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capsdev: a device whose regions need explaining.
 *
 *   BAR0      16 KiB of memory with the MSI-X table at 0x1000, all of which can be mapped
 *   BAR2      16 KiB of memory
 *   region 9  a page of memory, read-only, that holds bytes 0, 1, 2 …
 *   region 10 registers, 40 bytes (enum capsdev_reg)
 *   region 11 12 bytes answered by callbacks, each byte its offset; writes fail with ENOSPC
 *   region 12 16 KiB of which the second page can be mapped
 *   region 13 512 MiB of which every other page can be mapped: no reply has room for that
 *   a vendor-specific capability
 */
#include <umdev/driver.h>

#include <errno.h>
#include <stdlib.h>

#define VENDOR_TYPE (UINT32_C(1) << 31 | 0x1b36)

enum {
    REGION_TABLE = UMDEV_NUM_REGIONS,
    REGION_REGS,
    REGION_CALLBACKS,
    REGION_AREAS,
    REGION_MANY_AREAS,
};

enum capsdev_reg {
    REG_DOUBLE = 0,     /* keeps the double of what is written */
    REG_FAIL_RESET = 4, /* the next reset fails with this errno */
    REG_FAIL_OPEN = 8,  /* the next client's open */
};

#define MANY_AREAS 65536u

struct capsdev {
    struct umdev_regs regs;
    int fail_reset, fail_open;
};

static void double_write(struct umdev_device *dev, uint64_t value)
{
    struct capsdev *c = umdev_device_priv(dev);

    umdev_regs_set32(&c->regs, REG_DOUBLE, (uint32_t)value * 2);
}

static void fail_reset_write(struct umdev_device *dev, uint64_t value)
{
    struct capsdev *c = umdev_device_priv(dev);

    c->fail_reset = (int)value;
}

static void fail_open_write(struct umdev_device *dev, uint64_t value)
{
    struct capsdev *c = umdev_device_priv(dev);

    c->fail_open = (int)value;
}

static const struct umdev_reg_hook capsdev_hooks[] = {
    {.offset = REG_DOUBLE, .reset_value = 21, .write = double_write},
    {.offset = REG_FAIL_RESET, .write = fail_reset_write},
    {.offset = REG_FAIL_OPEN, .write = fail_open_write},
};

static int capsdev_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                        size_t len)
{
    (void)dev;
    (void)region;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)(offset + i);
    return 0;
}

static int capsdev_write(struct umdev_device *dev, unsigned region, uint64_t offset,
                         const void *buf, size_t len)
{
    (void)dev;
    (void)offset;
    (void)buf;
    (void)len;
    return region == REGION_CALLBACKS ? -ENOSPC : 0;
}

/* The errno that was asked for, once. */
static int take_errno(int *wanted)
{
    int ret = -*wanted;

    *wanted = 0;
    return ret;
}

static int capsdev_reset(struct umdev_device *dev)
{
    struct capsdev *c = umdev_device_priv(dev);

    return take_errno(&c->fail_reset);
}

static int capsdev_open(struct umdev_device *dev)
{
    struct capsdev *c = umdev_device_priv(dev);

    return take_errno(&c->fail_open);
}

static int make_many_areas(struct umdev_device *dev)
{
    struct umdev_area *areas = calloc(MANY_AREAS, sizeof(*areas));
    struct umdev_mem *mem;
    int ret = areas ? umdev_mem_create(dev, "capsdev-many", MANY_AREAS * 8192ull, &mem) : -ENOMEM;

    for (uint64_t i = 0; areas && i < MANY_AREAS; i++)
        areas[i] = (struct umdev_area){i * 8192, 4096};
    if (!ret)
        ret = umdev_region_set_mem(dev, REGION_MANY_AREAS, mem, 0, areas, MANY_AREAS);
    free(areas);
    return ret;
}

static int capsdev_create(struct umdev_device *dev)
{
    static const struct umdev_area second_page = {0x1000, 0x1000};
    uint8_t *table = umdev_mem_ptr(umdev_region_mem(dev, REGION_TABLE));
    struct umdev_mem *mem;
    int ret;

    for (unsigned i = 0; i < 4096; i++)
        table[i] = (uint8_t)i;
    ret = umdev_mem_create(dev, "capsdev-areas", 0x4000, &mem);
    if (!ret)
        ret = umdev_region_set_mem(dev, REGION_AREAS, mem, 0, &second_page, 1);
    return ret ? ret : make_many_areas(dev);
}

static const struct umdev_extra_region capsdev_extra[] = {
    {VENDOR_TYPE, 1, 4096, UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY, NULL},
    {VENDOR_TYPE, 2, 40, 0, UMDEV_REGS(struct capsdev, regs, capsdev_hooks)},
    {VENDOR_TYPE, 3, 12, 0, NULL},
    {VENDOR_TYPE, 4, 0x4000, 0, NULL},
    {VENDOR_TYPE, 5, MANY_AREAS * 8192ull, 0, NULL},
};

static const struct umdev_type capsdev_types[] = {{.name = "1"}};

/* clang-format off */
UMDEV_DRIVER(capsdev,
    .types = capsdev_types, .ntypes = 1, .priv_size = sizeof(struct capsdev),
    .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x00c3, .class_code = 0x088000, .pcie = true,
        .msix = { .vectors = 4, .bar = 0, .table_offset = 0x1000 },
        .bar = {
            UMDEV_BAR(.size = 16384, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_MSIX_MAPPABLE),
            NULL,
            UMDEV_BAR(.size = 16384, .flags = UMDEV_BAR_MEMORY),
        },
        .vendor_cap = "umdev", .vendor_cap_size = 5,
        UMDEV_EXTRA_REGIONS(capsdev_extra)),
    .create = capsdev_create, .open = capsdev_open, .reset = capsdev_reset,
    .read = capsdev_read, .write = capsdev_write);
