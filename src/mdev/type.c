/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/range.h"
#include "mdev/registry.h"

#include <limits.h>
#include <string.h>

static unsigned slots_left(unsigned limit, unsigned used)
{
    if (limit == 0)
        return UINT_MAX;
    return used < limit ? limit - used : 0;
}

unsigned type_available(struct umdev_parent *parent, unsigned type)
{
    const struct umdev_driver *driver = parent->driver;
    unsigned of_type;
    unsigned of_parent;

    if (driver->available)
        return driver->available(parent, type);
    of_type = slots_left(driver->types[type].instances, parent->types[type].used);
    of_parent = slots_left(driver->max_instances, parent->used);
    return MIN(of_type, of_parent);
}

void type_take_slot(struct umdev_parent *parent, unsigned type)
{
    parent->types[type].used++;
    parent->used++;
}

void type_give_slot(struct umdev_parent *parent, unsigned type)
{
    parent->types[type].used--;
    parent->used--;
}

unsigned type_find(const struct umdev_parent *parent, const char *public_name)
{
    unsigned i = 0;

    while (i < parent->driver->ntypes && strcmp(parent->types[i].public_name, public_name) != 0)
        i++;
    return i;
}
