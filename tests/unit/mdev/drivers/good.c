/* SPDX-License-Identifier: BSD-3-Clause */
/* A driver that keeps a parameter of its parent's, to be read back with umdev_parent_priv(). */
#include <umdev/driver.h>

struct good_parent {
    uint64_t level;
};

static int good_parent_open(struct umdev_parent *parent)
{
    struct good_parent *good = umdev_parent_priv(parent);

    good->level = umdev_param_number(parent, "level");
    umdev_parent_log(parent, UMDEV_LOG_INFO, "level %d", (int)good->level);
    return 0;
}

static const struct umdev_param good_params[] = {
    {.name = "level", .kind = UMDEV_PARAM_NUMBER, .value = "3"}};
static const struct umdev_type good_types[] = {{.name = "1", .instances = 2}};

UMDEV_DRIVER(good, .types = good_types, .ntypes = 1, .params = good_params, .nparams = 1,
             .parent_priv_size = sizeof(struct good_parent), .parent_open = good_parent_open,
             .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1,
                              .bar = {UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)}));
