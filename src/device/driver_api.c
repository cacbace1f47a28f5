/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What driver.h offers about a device and needs no more than passing on.
 */
#include "device/device_priv.h"

void *umdev_device_priv(struct umdev_device *dev)
{
    return dev->priv;
}

struct umdev_parent *umdev_device_parent(struct umdev_device *dev)
{
    return dev->parent;
}

unsigned umdev_device_type_index(const struct umdev_device *dev)
{
    return dev->type_index;
}

const struct umdev_type *umdev_device_type(const struct umdev_device *dev)
{
    return dev->type;
}

const char *umdev_device_uuid(const struct umdev_device *dev)
{
    return dev->uuid;
}

void umdev_device_log(struct umdev_device *dev, enum umdev_log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_vprint(dev->log, level, dev->uuid, format, args);
    va_end(args);
}

int umdev_mem_create(struct umdev_device *dev, const char *name, uint64_t size,
                     struct umdev_mem **mem)
{
    return mem_list_add(&dev->mems, name, size, mem);
}

int umdev_irq_trigger(struct umdev_device *dev, unsigned index, unsigned vector)
{
    return irqs_trigger(dev->irqs, index, vector);
}

int umdev_irq_set_level(struct umdev_device *dev, bool raised)
{
    return irqs_set_level(dev->irqs, raised);
}
