/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copier: a PCI card that copies its client's memory and raises an interrupt. Out of tree:
 *
 *   cc -shared -fPIC $(pkg-config --cflags --libs umdev) -o umdev-copier.so umdev-copier.c
 *
 * BAR0 has the registers below: store SRC, DST and LEN, write anything to GO. The copy is done when
 * the write is; STATUS tells how it went, and MSI-X vector 0 says so.
 */
#include <umdev/driver.h>

enum {
    REG_SRC = 0x00,    /* 8 bytes: an IOVA */
    REG_DST = 0x08,    /* 8 bytes: an IOVA */
    REG_LEN = 0x10,    /* 4 bytes */
    REG_GO = 0x18,     /* 4 bytes */
    REG_STATUS = 0x1c, /* 4 bytes: enum copier_status */
};

enum copier_status { STATUS_IDLE, STATUS_DONE, STATUS_FAILED };

struct copier {
    struct umdev_regs regs; /* 4 KiB of plain registers, kept by umdev */
};

static void copier_go(struct umdev_device *dev, uint64_t value)
{
    struct copier *c = umdev_device_priv(dev);
    umdev_iova_t src = umdev_iova(umdev_regs_get64(&c->regs, REG_SRC));
    umdev_iova_t dst = umdev_iova(umdev_regs_get64(&c->regs, REG_DST));
    int ret = umdev_dma_copy(dev, dst, src, umdev_regs_get32(&c->regs, REG_LEN));

    (void)value;
    umdev_regs_set32(&c->regs, REG_STATUS, ret ? STATUS_FAILED : STATUS_DONE);
    umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, 0);
}

static const struct umdev_reg_hook copier_hooks[] = {
    {.offset = REG_SRC, .size = 8},
    {.offset = REG_DST, .size = 8},
    {.offset = REG_LEN},
    {.offset = REG_GO, .write = copier_go},
    {.offset = REG_STATUS, .read_only = UINT32_MAX},
};

static const struct umdev_type copier_types[] = {
    {.name = "1", .description = "one copy engine", .instances = 8},
};

/* clang-format off */
UMDEV_DRIVER(copier,
    .description = "a card that copies memory",
    .types = copier_types, .ntypes = 1,
    .priv_size = sizeof(struct copier),
    .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x00c0, .class_code = 0x088000,
        .bar = { UMDEV_BAR(.size = 4096, .regs = UMDEV_REGS(struct copier, regs, copier_hooks)) },
        .msix = { .vectors = 1, .bar = 1 }));
