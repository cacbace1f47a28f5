/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs/tree.h"

#include "base/range.h"
#include "sysfs/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODE_DIR  (S_IFDIR | 0755)
#define MODE_LINK (S_IFLNK | 0777)
#define MODE_READ (S_IFREG | 0444)

/* ------------------------------------------------------------------ names that are fixed */

struct entry {
    enum node_slot folder, slot;
    const char *name; /* NULL: the name varies */
    mode_t mode;
};

static const struct entry entries[] = {
    {NODE_ROOT, NODE_ROOT, NULL, MODE_DIR},
    {NODE_ROOT, NODE_BUS, "bus", MODE_DIR},
    {NODE_ROOT, NODE_CLASS, "class", MODE_DIR},
    {NODE_ROOT, NODE_DEVICES, "devices", MODE_DIR},
    {NODE_CLASS, NODE_CLASS_BUS, "mdev_bus", MODE_DIR},
    {NODE_BUS, NODE_BUS_MDEV, "mdev", MODE_DIR},
    {NODE_BUS_MDEV, NODE_BUS_DEVICES, "devices", MODE_DIR},
    {NODE_BUS_MDEV, NODE_BUS_DRIVERS, "drivers", MODE_DIR},
    {NODE_BUS_DRIVERS, NODE_DRIVER, NULL, MODE_DIR},
    {NODE_DEVICES, NODE_DEVICES_UMDEV, "umdev", MODE_DIR},

    {NODE_DEVICES_UMDEV, NODE_PARENT, NULL, MODE_DIR},
    {NODE_CLASS_BUS, NODE_PARENT_LINK, NULL, MODE_LINK},
    {NODE_PARENT, NODE_TYPES, "mdev_supported_types", MODE_DIR},
    {NODE_PARENT, NODE_PARENT_UEVENT, "uevent", S_IFREG | 0644},

    {NODE_TYPES, NODE_TYPE, NULL, MODE_DIR},
    {NODE_TYPE, NODE_TYPE_AVAILABLE, "available_instances", MODE_READ},
    {NODE_TYPE, NODE_TYPE_CREATE, "create", S_IFREG | 0200},
    {NODE_TYPE, NODE_TYPE_DESCRIPTION, "description", MODE_READ},
    {NODE_TYPE, NODE_TYPE_API, "device_api", MODE_READ},
    {NODE_TYPE, NODE_TYPE_DEVICES, "devices", MODE_DIR},
    {NODE_TYPE, NODE_TYPE_NAME, "name", MODE_READ},

    {NODE_PARENT, NODE_DEVICE, NULL, MODE_DIR},
    {NODE_BUS_DEVICES, NODE_DEVICE_BUS_LINK, NULL, MODE_LINK},
    {NODE_TYPE_DEVICES, NODE_DEVICE_TYPE_LINK, NULL, MODE_LINK},
    {NODE_DRIVER, NODE_DEVICE_DRIVER_LINK, NULL, MODE_LINK},
    {NODE_DEVICE, NODE_DEVICE_DRIVER, "driver", MODE_LINK},
    {NODE_DEVICE, NODE_DEVICE_TYPE, "mdev_type", MODE_LINK},
    {NODE_DEVICE, NODE_DEVICE_REMOVE, "remove", S_IFREG | 0200},
    {NODE_DEVICE, NODE_DEVICE_SUBSYSTEM, "subsystem", MODE_LINK},
    {NODE_DEVICE, NODE_DEVICE_UEVENT, "uevent", S_IFREG | 0644},
    {NODE_DEVICE, NODE_DEVICE_UMDEV, "umdev", MODE_DIR},
    {NODE_DEVICE_UMDEV, NODE_DEVICE_CONNECTED, "connected", MODE_READ},
    {NODE_DEVICE_UMDEV, NODE_DEVICE_SOCKET, "socket", MODE_READ},
    {NODE_DEVICE_UMDEV, NODE_DEVICE_STATS, "stats", MODE_DIR},
};
#define NUM_ENTRIES (sizeof(entries) / sizeof(entries[0]))

/* NULL: a counter or an attribute. */
static const struct entry *find_entry(unsigned slot)
{
    for (size_t i = 0; i < NUM_ENTRIES; i++) {
        if (entries[i].slot == slot)
            return &entries[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------ what is in a folder */

struct walk {
    const struct sysfs_ops *ops;
    struct node folder;
    int (*each)(void *opaque, const struct tree_child *child);
    void *opaque;
    struct type_counter counter;
    unsigned index;
    const char *type; /* NODE_TYPE_DEVICES: the type's name */
    const char *uuid; /* NODE_DEVICE */
};

static int tell(const struct walk *walk, const char *name, struct node node, mode_t mode)
{
    const struct tree_child child = {name, node, mode};

    return walk->each(walk->opaque, &child);
}

/* The one entry of the table that a parent, type, device or driver is in such a folder. */
static int tell_slot(const struct walk *walk, enum node_slot slot, const char *name, uint64_t id,
                     unsigned type)
{
    const struct node node = {.id = id, .type = type, .slot = slot};

    return id > NODE_ID_MAX || type > NODE_TYPE_MAX
               ? 0
               : tell(walk, name, node, find_entry(slot)->mode);
}

static int tell_parent(void *opaque, const struct umdev_host_type *type)
{
    struct walk *walk = opaque;

    if (type_counter_next(&walk->counter, type) > 1)
        return 0;
    return tell_slot(walk, walk->folder.slot == NODE_CLASS_BUS ? NODE_PARENT_LINK : NODE_PARENT,
                     type->parent, type->parent_id, 0);
}

static int tell_type(void *opaque, const struct umdev_host_type *type)
{
    struct walk *walk = opaque;
    unsigned place = type_counter_next(&walk->counter, type);

    if (type->parent_id != walk->folder.id)
        return 0;
    return tell_slot(walk, NODE_TYPE, type->name, type->parent_id, place);
}

static int tell_device(void *opaque, const struct umdev_host_device *device)
{
    const struct walk *walk = opaque;

    switch (walk->folder.slot) {
    case NODE_PARENT:
        if (device->parent_id != walk->folder.id)
            return 0;
        return tell_slot(walk, NODE_DEVICE, device->uuid, device->id, 0);
    case NODE_TYPE_DEVICES:
        if (device->parent_id != walk->folder.id || strcmp(device->type, walk->type) != 0)
            return 0;
        return tell_slot(walk, NODE_DEVICE_TYPE_LINK, device->uuid, device->id, 0);
    case NODE_DRIVER:
        if (find_driver_node(device->driver).id != walk->folder.id)
            return 0;
        return tell_slot(walk, NODE_DEVICE_DRIVER_LINK, device->uuid, device->id, 0);
    default:
        return tell_slot(walk, NODE_DEVICE_BUS_LINK, device->uuid, device->id, 0);
    }
}

/* Drivers, each once: those of an earlier parent have been told. */
struct drivers {
    struct walk *walk;
    struct node *told;
    size_t count;
};

static int tell_driver(void *opaque, const struct umdev_host_type *type)
{
    struct drivers *drivers = opaque;
    struct node node = find_driver_node(type->driver);
    struct node *more;

    for (size_t i = 0; i < drivers->count; i++) {
        if (drivers->told[i].id == node.id)
            return 0;
    }
    more = reallocarray(drivers->told, drivers->count + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    drivers->told = more;
    drivers->told[drivers->count++] = node;
    return tell(drivers->walk, type->driver, node, MODE_DIR);
}

static int tell_drivers(struct walk *walk)
{
    struct drivers drivers = {.walk = walk};
    int ret = walk->ops->for_each_type(walk->ops->opaque, tell_driver, &drivers);

    free(drivers.told);
    return ret;
}

static int tell_attr(void *opaque, const struct umdev_host_attr *attr)
{
    struct walk *walk = opaque;
    const bool of_device = walk->folder.slot == NODE_DEVICE;
    const struct node node = {
        .id = walk->folder.id,
        .type = walk->folder.type,
        .slot = (of_device ? NODE_ATTR : NODE_PARENT_ATTR) + walk->index++,
    };

    if (node.slot > (of_device ? NODE_ATTR_LAST : NODE_PARENT_ATTR_LAST))
        return 0;
    return tell(walk, attr->name, node, S_IFREG | attr->mode);
}

static int tell_counters(const struct walk *walk)
{
    const char *name;
    int ret = 0;

    for (unsigned i = 0; !ret && (name = files_counter(i)) != NULL; i++)
        ret = tell(walk, name, (struct node){.id = walk->folder.id, .slot = NODE_STAT + i},
                   MODE_READ);
    return ret;
}

/* Those of the table. `skip`: a slot that is not there. */
static int tell_fixed(const struct walk *walk, unsigned skip)
{
    int ret = 0;

    for (size_t i = 0; i < NUM_ENTRIES && !ret; i++) {
        const struct entry *entry = &entries[i];
        const struct node node = {walk->folder.id, walk->folder.type, entry->slot};

        if (entry->folder == walk->folder.slot && entry->name && entry->slot != skip)
            ret = tell(walk, entry->name, node, entry->mode);
    }
    return ret;
}

/* `type` NULL: the parent's own. Gone meanwhile, it has none. */
static int tell_parent_attrs(struct walk *walk, const char *parent, const char *type)
{
    const struct sysfs_ops *ops = walk->ops;
    int ret = 0;

    if (ops->for_each_parent_attr)
        ret = ops->for_each_parent_attr(ops->opaque, parent, type, tell_attr, walk);
    return ret == -ENODEV || ret == -ENOENT ? 0 : ret;
}

static int tell_of_parent(struct walk *walk)
{
    const struct sysfs_ops *ops = walk->ops;
    struct found_type any;
    int ret;

    if (find_type(ops, walk->folder.id, 1, &any))
        return -ENOENT;
    ret = tell_fixed(walk, 0);
    if (!ret)
        ret = tell_parent_attrs(walk, any.parent, NULL);
    return ret ? ret : ops->for_each_device(ops->opaque, tell_device, walk);
}

static int tell_of_type(struct walk *walk)
{
    const struct sysfs_ops *ops = walk->ops;
    struct found_type type;
    int ret;

    if (find_type(ops, walk->folder.id, walk->folder.type, &type))
        return -ENOENT;
    if (walk->folder.slot == NODE_TYPE) {
        ret = tell_fixed(walk, type.has_description ? 0 : NODE_TYPE_DESCRIPTION);
        return ret ? ret : tell_parent_attrs(walk, type.parent, type.name);
    }
    walk->type = type.name;
    return ops->for_each_device(ops->opaque, tell_device, walk);
}

static int tell_of_device(struct walk *walk)
{
    const struct sysfs_ops *ops = walk->ops;
    struct found_device device;
    int ret;

    if (find_device(ops, walk->folder.id, &device))
        return -ENOENT;
    if (walk->folder.slot == NODE_DEVICE_STATS)
        return tell_counters(walk);
    ret = tell_fixed(walk, device.has_socket ? 0 : NODE_DEVICE_SOCKET);
    if (!ret && walk->folder.slot == NODE_DEVICE && ops->for_each_attr)
        ret = ops->for_each_attr(ops->opaque, device.uuid, tell_attr, walk);
    /* Gone meanwhile: of its attributes there are none. */
    return ret == -ENODEV ? 0 : ret;
}

int tree_for_each(const struct sysfs_ops *ops, struct node folder,
                  int (*each)(void *opaque, const struct tree_child *child), void *opaque)
{
    struct walk walk = {.ops = ops, .folder = folder, .each = each, .opaque = opaque};
    int ret;

    switch (folder.slot) {
    case NODE_CLASS_BUS:
    case NODE_DEVICES_UMDEV:
        return ops->for_each_type(ops->opaque, tell_parent, &walk);
    case NODE_BUS_DRIVERS:
        return tell_drivers(&walk);
    case NODE_BUS_DEVICES:
        return ops->for_each_device(ops->opaque, tell_device, &walk);
    case NODE_PARENT:
        return tell_of_parent(&walk);
    case NODE_TYPE:
    case NODE_TYPE_DEVICES:
        return tell_of_type(&walk);
    case NODE_DEVICE:
    case NODE_DEVICE_UMDEV:
    case NODE_DEVICE_STATS:
        return tell_of_device(&walk);
    default:
        break;
    }
    if (!find_owner(ops, folder))
        return -ENOENT;
    if (folder.slot == NODE_TYPES)
        return ops->for_each_type(ops->opaque, tell_type, &walk);
    ret = tell_fixed(&walk, 0);
    if (!ret && folder.slot == NODE_DRIVER)
        ret = ops->for_each_device(ops->opaque, tell_device, &walk);
    return ret;
}

struct lookup {
    const char *name;
    struct tree_child *child;
};

static int match_child(void *opaque, const struct tree_child *child)
{
    const struct lookup *lookup = opaque;

    if (strcmp(child->name, lookup->name) != 0)
        return 0;
    *lookup->child = *child;
    lookup->child->name = NULL;
    return 1;
}

int tree_lookup(const struct sysfs_ops *ops, struct node folder, const char *name,
                struct tree_child *child)
{
    struct lookup lookup = {name, child};
    int ret = tree_for_each(ops, folder, match_child, &lookup);

    if (ret < 0)
        return ret;
    return ret > 0 ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ about a node */

mode_t tree_mode(const struct sysfs_ops *ops, struct node node)
{
    const struct entry *entry = find_entry(node.slot);
    struct found_device device;
    struct found_type type;
    struct found_attr attr;

    if (entry)
        return entry->mode;
    if (node.slot >= NODE_PARENT_ATTR)
        return find_type(ops, node.id, MAX(node.type, 1u), &type) ||
                       find_parent_attr(ops, type.parent, node.type ? type.name : NULL,
                                        node.slot - NODE_PARENT_ATTR, &attr)
                   ? MODE_READ
                   : S_IFREG | attr.mode;
    if (node.slot < NODE_ATTR || find_device(ops, node.id, &device) ||
        find_attr(ops, device.uuid, node.slot - NODE_ATTR, &attr))
        return MODE_READ;
    return S_IFREG | attr.mode;
}

struct node tree_above(const struct sysfs_ops *ops, struct node folder)
{
    const struct entry *entry = find_entry(folder.slot);
    struct node above = {folder.id, folder.type, entry ? entry->folder : NODE_ROOT};
    struct found_device device;

    if (above.slot <= NODE_LAST_OF_TREE)
        above.id = 0;
    if (above.slot < NODE_TYPE)
        above.type = 0;
    if (folder.slot != NODE_DEVICE)
        return above;
    if (find_device(ops, folder.id, &device))
        return (struct node){.slot = NODE_ROOT};
    above.id = device.parent_id;
    return above;
}

static int print_device_link(const struct sysfs_ops *ops, struct node link, char *target,
                             size_t size)
{
    struct found_device device;

    if (find_device(ops, link.id, &device))
        return -ENOENT;
    switch (link.slot) {
    case NODE_DEVICE_BUS_LINK:
        return snprintf(target, size, "../../../devices/umdev/%s/%s", device.parent, device.uuid);
    case NODE_DEVICE_TYPE_LINK:
        return snprintf(target, size, "../../../%s", device.uuid);
    case NODE_DEVICE_DRIVER_LINK:
        return snprintf(target, size, "../../../../devices/umdev/%s/%s", device.parent,
                        device.uuid);
    case NODE_DEVICE_TYPE:
        return snprintf(target, size, "../mdev_supported_types/%s", device.type);
    case NODE_DEVICE_SUBSYSTEM:
        return snprintf(target, size, "../../../../bus/mdev");
    case NODE_DEVICE_DRIVER:
        return snprintf(target, size, "../../../../bus/mdev/drivers/%s", device.driver);
    default:
        return -EINVAL;
    }
}

int tree_link(const struct sysfs_ops *ops, struct node link, char *target, size_t size)
{
    struct found_type type;
    int ret;

    if (link.slot == NODE_PARENT_LINK) {
        if (find_type(ops, link.id, 1, &type))
            return -ENOENT;
        ret = snprintf(target, size, "../../devices/umdev/%s", type.parent);
    } else {
        ret = print_device_link(ops, link, target, size);
    }
    if (ret < 0)
        return ret;
    return (size_t)ret < size ? 0 : -ENAMETOOLONG;
}
