/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs/find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct type_search {
    uint64_t parent_id;
    unsigned type;
    struct type_counter counter;
    struct found_type *found; /* NULL: only whether it is there */
};

static int match_type(void *opaque, const struct umdev_host_type *type)
{
    struct type_search *search = opaque;

    if (type_counter_next(&search->counter, type) != search->type ||
        type->parent_id != search->parent_id)
        return 0;
    if (search->found) {
        snprintf(search->found->parent, FIND_NAME_SIZE, "%s", type->parent);
        snprintf(search->found->name, FIND_NAME_SIZE, "%s", type->name);
        search->found->has_description = type->description != NULL;
    }
    return 1;
}

int find_type(const struct sysfs_ops *ops, uint64_t parent_id, unsigned type,
              struct found_type *found)
{
    struct type_search search = {.parent_id = parent_id, .type = type, .found = found};

    return ops->for_each_type(ops->opaque, match_type, &search) > 0 ? 0 : -ENODEV;
}

struct device_search {
    uint64_t id;
    struct found_device *found; /* NULL: only whether it is there */
};

static int match_device(void *opaque, const struct umdev_host_device *device)
{
    const struct device_search *search = opaque;
    struct found_device *found = search->found;

    if (device->id != search->id)
        return 0;
    if (found) {
        snprintf(found->uuid, sizeof(found->uuid), "%s", device->uuid);
        snprintf(found->type, FIND_NAME_SIZE, "%s", device->type);
        snprintf(found->parent, FIND_NAME_SIZE, "%s", device->parent);
        snprintf(found->driver, FIND_NAME_SIZE, "%s", device->driver);
        found->parent_id = device->parent_id;
        found->has_socket = device->socket != NULL;
    }
    return 1;
}

int find_device(const struct sysfs_ops *ops, uint64_t id, struct found_device *found)
{
    struct device_search search = {.id = id, .found = found};

    return ops->for_each_device(ops->opaque, match_device, &search) > 0 ? 0 : -ENODEV;
}

struct attr_search {
    unsigned left;
    struct found_attr *found;
};

static int match_attr(void *opaque, const struct umdev_host_attr *attr)
{
    struct attr_search *search = opaque;

    if (search->left-- > 0)
        return 0;
    snprintf(search->found->name, FIND_NAME_SIZE, "%s", attr->name);
    search->found->mode = attr->mode;
    return 1;
}

int find_attr(const struct sysfs_ops *ops, const char *uuid, unsigned index,
              struct found_attr *found)
{
    struct attr_search search = {.left = index, .found = found};

    if (!ops->for_each_attr)
        return -ENODEV;
    return ops->for_each_attr(ops->opaque, uuid, match_attr, &search) > 0 ? 0 : -ENODEV;
}

int find_parent_attr(const struct sysfs_ops *ops, const char *parent, const char *type,
                     unsigned index, struct found_attr *found)
{
    struct attr_search search = {.left = index, .found = found};

    if (!ops->for_each_parent_attr)
        return -ENODEV;
    return ops->for_each_parent_attr(ops->opaque, parent, type, match_attr, &search) > 0 ? 0
                                                                                         : -ENODEV;
}

static int match_driver(void *opaque, const struct umdev_host_type *type)
{
    const struct node *node = opaque;

    return find_driver_node(type->driver).id == node->id;
}

bool find_owner(const struct sysfs_ops *ops, struct node node)
{
    if (node_is_of_tree(node))
        return true;
    if (node.slot == NODE_DRIVER)
        return ops->for_each_type(ops->opaque, match_driver, &node) > 0;
    if (node_is_of_device(node))
        return find_device(ops, node.id, NULL) == 0;
    /* A parent without types never exists. */
    return find_type(ops, node.id, node.type ? node.type : 1, NULL) == 0;
}

struct node find_driver_node(const char *driver)
{
    return (struct node){
        .id = XXH3_64bits(driver, strlen(driver)) & ~NODE_DRIVER_BIT,
        .slot = NODE_DRIVER,
    };
}
