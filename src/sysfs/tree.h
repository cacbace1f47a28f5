/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree's shape: what is in which folder, and where links lead.
 *
 * Data model. Most names are fixed: a table says which node they are in the folder of which node.
 * The others are those of parents, types, devices, drivers, counters and attributes.
 */
#ifndef SYSFS_TREE_H
#define SYSFS_TREE_H

#include "sysfs/find.h"

#include <sys/stat.h>

struct tree_child {
    const char *name; /* valid inside the call only */
    struct node node;
    mode_t mode; /* with the kind of file */
};

/*
 * Calls `each` for all of a folder until it returns non-zero, which is returned. −ENOENT: the
 * folder is gone. `each` may be called under the host's locks.
 */
int tree_for_each(const struct sysfs_ops *ops, struct node folder,
                  int (*each)(void *opaque, const struct tree_child *child), void *opaque);
/* The one of that name; child->name is not set. −ENOENT. */
int tree_lookup(const struct sysfs_ops *ops, struct node folder, const char *name,
                struct tree_child *child);
/* A node's mode, with the kind of file. One that is gone has a mode, too. */
mode_t tree_mode(const struct sysfs_ops *ops, struct node node);
/* The folder that a folder is in; that of one that is gone may be the root. */
struct node tree_above(const struct sysfs_ops *ops, struct node folder);
/* Where a link leads. −ENOENT: it is gone. −ENAMETOOLONG. */
int tree_link(const struct sysfs_ops *ops, struct node link, char *target, size_t size);

#endif
