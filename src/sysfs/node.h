/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The number of a node, which is its inode number and all that FUSE keeps of it.
 *
 * From the top: one bit that marks a driver's folder, with a hash of its name in the rest; else 41
 * bits of the id of the parent or device the node belongs to (0: the tree itself), 10 bits of the
 * type's place among its parent's, from 1 (0: it belongs to no type), and 12 bits of what it is. So
 * a number says where it belongs without a table, and is the same whenever it is asked for.
 */
#ifndef SYSFS_NODE_H
#define SYSFS_NODE_H

#include <stdint.h>

enum node_slot {
    /* The tree's. */
    NODE_ROOT = 1, /* FUSE's number for it, too */
    NODE_CLASS,
    NODE_CLASS_BUS,
    NODE_BUS,
    NODE_BUS_MDEV,
    NODE_BUS_DEVICES,
    NODE_BUS_DRIVERS,
    NODE_DEVICES,
    NODE_DEVICES_UMDEV,
    NODE_LAST_OF_TREE = NODE_DEVICES_UMDEV,
    NODE_DRIVER, /* bus/mdev/drivers/DRIVER */

    /* A parent's. */
    NODE_PARENT = 0x40,
    NODE_PARENT_LINK, /* in class/mdev_bus */
    NODE_PARENT_UEVENT,
    NODE_TYPES,

    /* A type's. */
    NODE_TYPE = 0x80,
    NODE_TYPE_CREATE,
    NODE_TYPE_API,
    NODE_TYPE_NAME,
    NODE_TYPE_AVAILABLE,
    NODE_TYPE_DESCRIPTION,
    NODE_TYPE_DEVICES,

    /* A device's. */
    NODE_DEVICE = 0xc0,
    NODE_DEVICE_BUS_LINK,
    NODE_DEVICE_TYPE_LINK,   /* in its type's folder */
    NODE_DEVICE_DRIVER_LINK, /* in its driver's */
    NODE_DEVICE_REMOVE,
    NODE_DEVICE_TYPE,
    NODE_DEVICE_SUBSYSTEM,
    NODE_DEVICE_DRIVER,
    NODE_DEVICE_UEVENT,
    NODE_DEVICE_UMDEV,
    NODE_DEVICE_SOCKET,
    NODE_DEVICE_CONNECTED,
    NODE_DEVICE_STATS,
    NODE_STAT = 0x100, /* + the counter's place in the table */
    NODE_ATTR = 0x400, /* + the attribute's place among the driver's */
    NODE_ATTR_LAST = 0x7ff,

    /* A parent's or, with a type, a type's. */
    NODE_PARENT_ATTR = 0x800, /* + its place likewise */
    NODE_PARENT_ATTR_LAST = 0xbff,
};

struct node {
    uint64_t id; /* of a driver: the hash */
    unsigned type;
    unsigned slot; /* enum node_slot */
};

#define NODE_DRIVER_BIT (UINT64_C(1) << 63)
#define NODE_SLOT_BITS  12
#define NODE_TYPE_BITS  10
#define NODE_ID_MAX     ((UINT64_C(1) << (63 - NODE_SLOT_BITS - NODE_TYPE_BITS)) - 1)
#define NODE_TYPE_MAX   ((1u << NODE_TYPE_BITS) - 1)

static inline uint64_t node_number(struct node node)
{
    if (node.slot == NODE_DRIVER)
        return NODE_DRIVER_BIT | node.id;
    return node.id << (NODE_TYPE_BITS + NODE_SLOT_BITS) | (uint64_t)node.type << NODE_SLOT_BITS |
           node.slot;
}

static inline struct node node_of(uint64_t number)
{
    if (number & NODE_DRIVER_BIT)
        return (struct node){.id = number & ~NODE_DRIVER_BIT, .slot = NODE_DRIVER};
    return (struct node){
        .id = number >> (NODE_TYPE_BITS + NODE_SLOT_BITS),
        .type = (unsigned)(number >> NODE_SLOT_BITS) & NODE_TYPE_MAX,
        .slot = (unsigned)number & ((1u << NODE_SLOT_BITS) - 1),
    };
}

static inline int node_is_of_device(struct node node)
{
    return node.slot >= NODE_DEVICE && node.slot <= NODE_ATTR_LAST;
}

/* Whether it is always there. */
static inline int node_is_of_tree(struct node node)
{
    return node.slot <= NODE_LAST_OF_TREE;
}

#endif
