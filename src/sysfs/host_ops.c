/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree of a host, as it is. */
#include "sysfs/sysfs.h"

static int host_for_each_type(void *opaque, int (*each)(void *, const struct umdev_host_type *),
                              void *each_opaque)
{
    return umdev_host_for_each_type(opaque, each, each_opaque);
}

static int host_for_each_device(void *opaque, int (*each)(void *, const struct umdev_host_device *),
                                void *each_opaque)
{
    return umdev_host_for_each_device(opaque, each, each_opaque);
}

static int host_create(void *opaque, const char *parent, const char *type, const char *uuid,
                       struct umdev_error *error)
{
    return umdev_host_create(opaque, parent, type, uuid, NULL, error);
}

static int host_remove(void *opaque, const char *uuid)
{
    return umdev_host_remove(opaque, uuid);
}

static int host_get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    return umdev_host_get_stats(opaque, uuid, stats);
}

static int host_for_each_attr(void *opaque, const char *uuid,
                              int (*each)(void *, const struct umdev_host_attr *),
                              void *each_opaque)
{
    return umdev_host_for_each_attr(opaque, uuid, each, each_opaque);
}

static int host_attr_read(void *opaque, const char *uuid, const char *name, char *buf, size_t size)
{
    return umdev_host_attr_read(opaque, uuid, name, buf, size);
}

static int host_attr_write(void *opaque, const char *uuid, const char *name, const char *buf,
                           size_t len)
{
    return umdev_host_attr_write(opaque, uuid, name, buf, len);
}

static int host_for_each_parent_attr(void *opaque, const char *parent, const char *type,
                                     int (*each)(void *, const struct umdev_host_attr *),
                                     void *each_opaque)
{
    return umdev_host_for_each_parent_attr(opaque, parent, type, each, each_opaque);
}

static int host_parent_attr_read(void *opaque, const char *parent, const char *type,
                                 const char *name, char *buf, size_t size)
{
    return umdev_host_parent_attr_read(opaque, parent, type, name, buf, size);
}

static int host_parent_attr_write(void *opaque, const char *parent, const char *type,
                                  const char *name, const char *buf, size_t len)
{
    return umdev_host_parent_attr_write(opaque, parent, type, name, buf, len);
}

struct sysfs_ops sysfs_host_ops(struct umdev_host *host)
{
    return (struct sysfs_ops){
        .for_each_type = host_for_each_type,
        .for_each_device = host_for_each_device,
        .create = host_create,
        .remove = host_remove,
        .get_stats = host_get_stats,
        .for_each_attr = host_for_each_attr,
        .attr_read = host_attr_read,
        .attr_write = host_attr_write,
        .for_each_parent_attr = host_for_each_parent_attr,
        .parent_attr_read = host_parent_attr_read,
        .parent_attr_write = host_parent_attr_write,
        .opaque = host,
    };
}
