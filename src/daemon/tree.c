/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/tree.h"

#include "sysfs/sysfs.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    struct sysfs *sysfs;
    const char *mountpoint;
    bool made; /* by us */
};

/* ------------------------------------------------------------------ the model's functions */

static int each_type(void *opaque, source_each_type each, void *each_opaque)
{
    return model_for_each_type(opaque, each, each_opaque);
}

static int each_device(void *opaque, source_each_device each, void *each_opaque)
{
    return model_for_each_device(opaque, each, each_opaque);
}

static int create(void *opaque, const char *parent, const char *type, const char *uuid,
                  struct umdev_error *error)
{
    const struct source_create want = {.parent = parent, .type = type, .uuid = uuid};
    char made[UMDEV_UUID_STR_SIZE];

    return model_create(opaque, &want, made, error);
}

static int remove_device(void *opaque, const char *uuid)
{
    return model_remove(opaque, uuid, NULL);
}

static int get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    return model_get_stats(opaque, uuid, stats);
}

static int each_attr(void *opaque, const char *uuid, source_each_attr each, void *each_opaque)
{
    const struct source_owner owner = {.uuid = uuid};

    return model_for_each_attr(opaque, &owner, each, each_opaque);
}

static int attr_read(void *opaque, const char *uuid, const char *name, char *buf, size_t size)
{
    const struct source_owner owner = {.uuid = uuid};

    return model_attr_read(opaque, &owner, name, buf, size);
}

static int attr_write(void *opaque, const char *uuid, const char *name, const char *buf, size_t len)
{
    const struct source_owner owner = {.uuid = uuid};

    return model_attr_write(opaque, &owner, name, buf, len);
}

static int each_parent_attr(void *opaque, const char *parent, const char *type,
                            source_each_attr each, void *each_opaque)
{
    const struct source_owner owner = {.parent = parent, .type = type};

    return model_for_each_attr(opaque, &owner, each, each_opaque);
}

static int parent_attr_read(void *opaque, const char *parent, const char *type, const char *name,
                            char *buf, size_t size)
{
    const struct source_owner owner = {.parent = parent, .type = type};

    return model_attr_read(opaque, &owner, name, buf, size);
}

static int parent_attr_write(void *opaque, const char *parent, const char *type, const char *name,
                             const char *buf, size_t len)
{
    const struct source_owner owner = {.parent = parent, .type = type};

    return model_attr_write(opaque, &owner, name, buf, len);
}

/* ------------------------------------------------------------------ life */

int tree_mount(struct model *model, const char *mountpoint, const struct log *log,
               struct tree **result, struct umdev_error *error)
{
    const struct sysfs_ops ops = {
        .for_each_type = each_type,
        .for_each_device = each_device,
        .create = create,
        .remove = remove_device,
        .get_stats = get_stats,
        .for_each_attr = each_attr,
        .attr_read = attr_read,
        .attr_write = attr_write,
        .for_each_parent_attr = each_parent_attr,
        .parent_attr_read = parent_attr_read,
        .parent_attr_write = parent_attr_write,
        .opaque = model,
    };
    struct tree *tree = calloc(1, sizeof(*tree));
    int ret;

    if (!tree)
        return error_set(error, ENOMEM, "out of memory");
    tree->mountpoint = mountpoint;
    tree->made = mkdir(mountpoint, 0755) == 0;
    ret = sysfs_mount(mountpoint, &ops, log, &tree->sysfs);
    if (ret) {
        tree_unmount(tree);
        return error_set(error, -ret, "no management tree at '%s': %s", mountpoint,
                         log_errno(-ret));
    }
    *result = tree;
    return 0;
}

void tree_unmount(struct tree *tree)
{
    if (!tree)
        return;
    sysfs_unmount(tree->sysfs);
    if (tree->made)
        rmdir(tree->mountpoint);
    free(tree);
}
