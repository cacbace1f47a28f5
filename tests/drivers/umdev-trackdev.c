/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trackdev: a device that tracks writes to client memory, for tests.
 *
 *   BAR0  registers (enum trackdev_reg)
 *
 * Types: "collect" and "notify". The latter remembers what was in the page when it was told.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <string.h>

enum trackdev_reg {
    REG_IOVA = 0x00,   /* 8 bytes */
    REG_SIZE = 0x08,   /* 8 bytes */
    REG_GO = 0x10,     /* enum trackdev_command */
    REG_RESULT = 0x14, /* 0 or an errno */
    REG_COUNT = 0x18,  /* ranges of the last report */
    REG_INDEX = 0x1c,  /* which of them the next three tell about */
    REG_RANGE_IOVA = 0x20,
    REG_RANGE_SIZE = 0x28,
    REG_RANGE_FLAGS = 0x30,
    REG_VALUE = 0x38,      /* 8 bytes: what WRITE writes */
    REG_TOLD = 0x40,       /* how often page_written() was called */
    REG_TOLD_IOVA = 0x48,  /* for which page */
    REG_TOLD_VALUE = 0x50, /* and what its first 8 bytes were then */
};

enum trackdev_command {
    GO_ADD = 1,
    GO_REMOVE = 2,
    GO_COLLECT = 3,
    GO_WRITE = 4, /* 8 bytes at IOVA */
};

#define MAX_RANGES 4096

struct trackdev {
    struct umdev_regs regs;
    struct umdev_track_range ranges[MAX_RANGES];
};

static int collect(struct umdev_device *dev, struct trackdev *p)
{
    const struct umdev_track_range *ranges;
    size_t count;
    int ret = umdev_track_collect(dev, &ranges, &count);

    if (ret)
        return ret;
    if (count > MAX_RANGES)
        return -E2BIG;
    if (count > 0)
        memcpy(p->ranges, ranges, count * sizeof(*ranges));
    umdev_regs_set32(&p->regs, REG_COUNT, (uint32_t)count);
    return 0;
}

static void write_go(struct umdev_device *dev, uint64_t command)
{
    struct trackdev *p = umdev_device_priv(dev);
    umdev_iova_t iova = umdev_iova(umdev_regs_get64(&p->regs, REG_IOVA));
    uint64_t size = umdev_regs_get64(&p->regs, REG_SIZE);
    uint64_t value = umdev_regs_get64(&p->regs, REG_VALUE);
    int ret = -EINVAL;

    switch (command) {
    case GO_ADD:
        ret = umdev_track_add(dev, iova, size);
        break;
    case GO_REMOVE:
        ret = umdev_track_remove(dev, iova, size);
        break;
    case GO_COLLECT:
        ret = collect(dev, p);
        break;
    case GO_WRITE:
        ret = umdev_dma_write(dev, iova, &value, sizeof(value));
        break;
    default:
        break;
    }
    umdev_regs_set32(&p->regs, REG_RESULT, (uint32_t)-ret);
}

static const struct umdev_track_range *chosen(struct umdev_device *dev)
{
    const struct trackdev *p = umdev_device_priv(dev);

    return &p->ranges[umdev_regs_get32(&p->regs, REG_INDEX) % MAX_RANGES];
}

static uint64_t read_iova(struct umdev_device *dev)
{
    return chosen(dev)->iova.value;
}

static uint64_t read_size(struct umdev_device *dev)
{
    return chosen(dev)->size;
}

static uint64_t read_flags(struct umdev_device *dev)
{
    return chosen(dev)->flags;
}

static const struct umdev_reg_hook hooks[] = {
    {.offset = REG_GO, .write = write_go},
    {.offset = REG_RANGE_IOVA, .size = 8, .read = read_iova},
    {.offset = REG_RANGE_SIZE, .size = 8, .read = read_size},
    {.offset = REG_RANGE_FLAGS, .size = 8, .read = read_flags},
};

static int trackdev_create(struct umdev_device *dev)
{
    return umdev_track_set_mode(dev, umdev_device_type_index(dev) ? UMDEV_TRACK_NOTIFY
                                                                  : UMDEV_TRACK_COLLECT);
}

static void trackdev_page_written(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct trackdev *p = umdev_device_priv(dev);
    uint64_t value = 0;

    (void)last;
    umdev_dma_read(dev, first, &value, sizeof(value));
    umdev_regs_set32(&p->regs, REG_TOLD, umdev_regs_get32(&p->regs, REG_TOLD) + 1);
    umdev_regs_set64(&p->regs, REG_TOLD_IOVA, first.value);
    umdev_regs_set64(&p->regs, REG_TOLD_VALUE, value);
}

static const struct umdev_type types[] = {
    {.name = "collect", .instances = 8},
    {.name = "notify", .instances = 8},
};

UMDEV_DRIVER(trackdev, .types = types, .ntypes = sizeof(types) / sizeof(types[0]),
             .priv_size = sizeof(struct trackdev), .create = trackdev_create,
             .page_written = trackdev_page_written,
             .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x1105, .class_code = 0xff0000,
                              .bar = {UMDEV_BAR(.size = 0x1000, .regs = UMDEV_REGS(struct trackdev,
                                                                                   regs, hooks))}));
