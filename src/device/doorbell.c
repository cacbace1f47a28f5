/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells: which writes a client may turn into signals, and what a signal does.
 *
 * Data model. After create() each region has its doorbells in one array: those of its hooks, sorted
 * by offset, then those of the description's list. It never changes afterwards, so an index into
 * it names a doorbell for the life of the device. Nothing here knows an eventfd: a session has
 * them.
 */
#include "device/bytes.h"
#include "device/device_priv.h"

#include <inttypes.h>

/* A BAR described by a driver that knows of doorbells. */
#define BAR_SIZE_WITH_DOORBELLS (offsetof(struct umdev_bar, doorbells) + sizeof(const void *))

#define FLAGS_KNOWN ((uint64_t)(UMDEV_DOORBELL | UMDEV_DOORBELL_MATCH))

/* ------------------------------------------------------------------ from the description */

static int doorbell_refuse(struct umdev_error *error, unsigned index, uint64_t offset,
                           const char *why)
{
    return error_set(error, EINVAL, "BAR%u: doorbell 0x%" PRIx64 ": %s", index, offset, why);
}

static int doorbell_check_value(const struct umdev_doorbell *from, uint64_t flags, unsigned index,
                                struct umdev_error *error)
{
    if (flags & ~FLAGS_KNOWN)
        return error_set(error, EINVAL, "BAR%u: doorbell 0x%" PRIx64 ": unknown flags 0x%" PRIx64,
                         index, from->offset, flags & ~FLAGS_KNOWN);
    if (from->match && !(flags & UMDEV_DOORBELL_MATCH))
        return doorbell_refuse(error, index, from->offset,
                               "a value to match needs UMDEV_DOORBELL_MATCH");
    if (from->size < 8 && from->match >> (8 * from->size))
        return error_set(error, EINVAL,
                         "BAR%u: doorbell 0x%" PRIx64 ": 0x%" PRIx64 " does not fit in %" PRIu32
                         " bytes",
                         index, from->offset, from->match, from->size);
    return 0;
}

static int doorbell_check_place(const struct umdev_device *dev, unsigned index,
                                const struct umdev_doorbell *from, struct umdev_error *error)
{
    const struct region *region = &dev->regions[index];

    if (!is_power_of_two(from->size) || from->size > 8 || !is_aligned(from->offset, from->size))
        return doorbell_refuse(error, index, from->offset,
                               "it is not 1, 2, 4 or 8 bytes, aligned to their number");
    if (!span_fits(from->offset, from->size, region->size))
        return doorbell_refuse(error, index, from->offset, "it lies outside of the BAR");
    if (region->flags & UMDEV_BAR_READONLY)
        return doorbell_refuse(error, index, from->offset, "nobody can write to a read-only BAR");
    if (!region_is_trapped(dev, index, from->offset, from->size))
        return doorbell_refuse(error, index, from->offset,
                               "writes to memory and to MSI-X's table are not heard");
    if (region->file.regs ? !regs_file_hears(&region->file, from->offset, from->size)
                          : !dev->driver->write)
        return doorbell_refuse(error, index, from->offset, "there is no write() to hear it");
    return 0;
}

/* Whether one and the same write would ring both. */
static bool doorbells_collide(const struct device_doorbell *a, const struct device_doorbell *b)
{
    return a->offset == b->offset && a->size == b->size &&
           (!a->has_match || !b->has_match || a->match == b->match);
}

static int doorbell_add(struct umdev_device *dev, unsigned index, struct umdev_doorbell from,
                        uint64_t flags, struct umdev_error *error)
{
    struct region *region = &dev->regions[index];
    struct device_doorbell *doorbell = &region->doorbells[region->ndoorbells];
    int ret;

    if (from.size == 0)
        from.size = 4;
    ret = doorbell_check_place(dev, index, &from, error);
    if (ret == 0)
        ret = doorbell_check_value(&from, flags, index, error);
    if (ret < 0)
        return ret;
    *doorbell = (struct device_doorbell){
        .offset = from.offset,
        .match = from.match,
        .size = from.size,
        .has_match = flags & UMDEV_DOORBELL_MATCH,
        .port = region->flags & UMDEV_BAR_IO,
    };
    for (size_t i = 0; i < region->ndoorbells; i++)
        if (doorbells_collide(&region->doorbells[i], doorbell))
            return doorbell_refuse(error, index, from.offset,
                                   "another one is rung by the same write");
    region->ndoorbells++;
    return 0;
}

static int doorbells_add_hooks(struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    const struct regs_file *file = &dev->regions[index].file;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < file->nhooks; i++) {
        const struct umdev_reg_hook *hook = &file->hooks[i];

        if (hook->flags || hook->match)
            ret = doorbell_add(dev, index,
                               (struct umdev_doorbell){
                                   .offset = hook->offset,
                                   .match = hook->match,
                                   .size = hook->size,
                               },
                               hook->flags, error);
    }
    return ret;
}

static int doorbells_add_list(struct umdev_device *dev, unsigned index,
                              const struct umdev_doorbells_desc *list, struct umdev_error *error)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < list->ndoorbells; i++)
        ret = doorbell_add(dev, index, list->doorbells[i], list->doorbells[i].flags, error);
    return ret;
}

int doorbells_finish(struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    struct region *region = &dev->regions[index];
    const struct umdev_bar *bar = index < UMDEV_NUM_BARS ? dev->pci.bar[index] : NULL;
    const struct umdev_doorbells_desc *list = NULL;
    size_t most = 0;
    int ret;

    for (size_t i = 0; i < region->file.nhooks; i++)
        most += region->file.hooks[i].flags || region->file.hooks[i].match;
    if (bar && bar->struct_size >= BAR_SIZE_WITH_DOORBELLS)
        list = bar->doorbells;
    if (list && ADD_OVERFLOW(most, list->ndoorbells, &most))
        return error_set(error, EINVAL, "BAR%u: too many doorbells", index);
    if (most == 0)
        return 0;
    /* Other regions have no place in the guest's address space, where a hypervisor could watch. */
    if (index >= UMDEV_NUM_BARS)
        return error_set(error, EINVAL, "region %u: only BARs can have doorbells", index);
    region->doorbells = calloc(most, sizeof(*region->doorbells));
    if (!region->doorbells)
        return error_set(error, ENOMEM, "BAR%u: out of memory for its doorbells", index);
    ret = doorbells_add_hooks(dev, index, error);
    if (ret == 0 && list)
        ret = doorbells_add_list(dev, index, list, error);
    return ret;
}

/* ------------------------------------------------------------------ at work */

int device_get_doorbells(const struct umdev_device *dev, unsigned index,
                         const struct device_doorbell **doorbells, size_t *count)
{
    if (index >= dev->nregions)
        return -EINVAL;
    *doorbells = dev->regions[index].doorbells;
    *count = dev->regions[index].ndoorbells;
    return 0;
}

int device_ring(struct umdev_device *dev, unsigned index, size_t number)
{
    const struct device_doorbell *doorbell;
    uint64_t bytes;

    if (index >= dev->nregions || number >= dev->regions[index].ndoorbells)
        return -EINVAL;
    doorbell = &dev->regions[index].doorbells[number];
    if (!doorbell->has_match && dev->regions[index].file.regs) {
        SERIALISE_FOR_SCOPE(dev);

        regs_file_ring(&dev->regions[index].file, dev, doorbell->offset, doorbell->size);
        return 0;
    }
    bytes = htole64(doorbell->match);
    return region_write(dev, index, doorbell->offset, &bytes, doorbell->size);
}
