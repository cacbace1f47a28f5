/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who a node belongs to: the host's types and devices by id, as copies that outlive the host's
 * lock. −ENODEV where there is none any more.
 */
#ifndef SYSFS_FIND_H
#define SYSFS_FIND_H

#include "sysfs/node.h"
#include "sysfs/sysfs.h"

/* Longer than any name there is. */
#define FIND_NAME_SIZE 192

struct found_type {
    char parent[FIND_NAME_SIZE], name[FIND_NAME_SIZE];
    bool has_description;
};
/* `type`: its place among the parent's, from 1. */
int find_type(const struct sysfs_ops *ops, uint64_t parent_id, unsigned type,
              struct found_type *found);

struct found_device {
    char uuid[UMDEV_UUID_STR_SIZE];
    char type[FIND_NAME_SIZE], parent[FIND_NAME_SIZE], driver[FIND_NAME_SIZE];
    uint64_t parent_id;
    bool has_socket;
};
int find_device(const struct sysfs_ops *ops, uint64_t id, struct found_device *found);

struct found_attr {
    char name[FIND_NAME_SIZE];
    unsigned mode;
};
/* The attribute at `index` of those of a device; of a parent, `type` NULL, or of a type. */
int find_attr(const struct sysfs_ops *ops, const char *uuid, unsigned index,
              struct found_attr *found);
int find_parent_attr(const struct sysfs_ops *ops, const char *parent, const char *type,
                     unsigned index, struct found_attr *found);

/* Whether what the node belongs to is there. */
bool find_owner(const struct sysfs_ops *ops, struct node node);

/* The places of types among their parent's, told from the order in which they come. */
struct type_counter {
    uint64_t parent_id;
    unsigned type;
};
static inline unsigned type_counter_next(struct type_counter *counter,
                                         const struct umdev_host_type *type)
{
    if (counter->parent_id != type->parent_id)
        *counter = (struct type_counter){.parent_id = type->parent_id};
    return ++counter->type;
}

/* The node of a driver's folder. */
struct node find_driver_node(const char *driver);

#endif
