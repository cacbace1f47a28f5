/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host that is a table: parents with types, devices, attributes. It counts what is asked of it.
 */
#ifndef TESTS_SYSFS_FAKE_H
#define TESTS_SYSFS_FAKE_H

#include "unit.h"

#include "base/range.h"
#include "sysfs/sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FAKE_MAX 2048

struct fake {
    struct umdev_host_type types[FAKE_MAX];
    size_t ntypes;
    struct umdev_host_device devices[16];
    size_t ndevices;
    struct umdev_host_attr attrs[FAKE_MAX];
    size_t nattrs;
    int result; /* of create(), remove(), attr_write() */
    char created[512], removed[64], written[4200];
};

static inline int fake_for_each_type(void *opaque,
                                     int (*each)(void *, const struct umdev_host_type *),
                                     void *each_opaque)
{
    const struct fake *fake = opaque;
    int ret = 0;

    for (size_t i = 0; i < fake->ntypes && !ret; i++)
        ret = each(each_opaque, &fake->types[i]);
    return ret;
}

static inline int fake_for_each_device(void *opaque,
                                       int (*each)(void *, const struct umdev_host_device *),
                                       void *each_opaque)
{
    const struct fake *fake = opaque;
    int ret = 0;

    for (size_t i = 0; i < fake->ndevices && !ret; i++)
        ret = each(each_opaque, &fake->devices[i]);
    return ret;
}

static inline int fake_for_each_attr(void *opaque, const char *uuid,
                                     int (*each)(void *, const struct umdev_host_attr *),
                                     void *each_opaque)
{
    const struct fake *fake = opaque;
    int ret = 0;

    (void)uuid;
    for (size_t i = 0; i < fake->nattrs && !ret; i++)
        ret = each(each_opaque, &fake->attrs[i]);
    return ret;
}

static inline int fake_create(void *opaque, const char *parent, const char *type, const char *uuid,
                              struct umdev_error *error)
{
    struct fake *fake = opaque;

    (void)error;
    snprintf(fake->created, sizeof(fake->created), "%s %s %s", parent, type, uuid);
    return fake->result;
}

static inline int fake_remove(void *opaque, const char *uuid)
{
    struct fake *fake = opaque;

    snprintf(fake->removed, sizeof(fake->removed), "%s", uuid);
    return fake->result;
}

static inline int fake_get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    (void)opaque, (void)uuid;
    /* Each counter has its place for a value. */
    for (size_t i = 1; i < sizeof(*stats) / sizeof(uint64_t); i++)
        ((uint64_t *)stats)[i] = i;
    return 0;
}

static inline int fake_attr_read(void *opaque, const char *uuid, const char *name, char *buf,
                                 size_t size)
{
    (void)opaque, (void)uuid;
    return snprintf(buf, size, "%s!", name);
}

static inline int fake_attr_write(void *opaque, const char *uuid, const char *name, const char *buf,
                                  size_t len)
{
    struct fake *fake = opaque;

    snprintf(fake->written, sizeof(fake->written), "%s %s %.*s", uuid, name, (int)len, buf);
    return fake->result;
}

static inline struct sysfs_ops fake_ops(struct fake *fake)
{
    return (struct sysfs_ops){
        .for_each_type = fake_for_each_type,
        .for_each_device = fake_for_each_device,
        .create = fake_create,
        .remove = fake_remove,
        .get_stats = fake_get_stats,
        .for_each_attr = fake_for_each_attr,
        .attr_read = fake_attr_read,
        .attr_write = fake_attr_write,
        .opaque = fake,
    };
}

#endif
