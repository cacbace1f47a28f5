/* SPDX-License-Identifier: BSD-3-Clause */
/* plain: a page of memory on a card, for rows that measure umdev and no driver. */
#include <umdev/driver.h>

static const struct umdev_type plain_types[] = {{.name = "1"}};

/* clang-format off */
UMDEV_DRIVER(plain,
    .types = plain_types, .ntypes = 1,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x00c1, .class_code = 0x050000,
                     .bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)));
