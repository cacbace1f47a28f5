/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The management tree of the daemon (--sysfs): the model as src/sysfs shows it. A daemon that was
 * built without libfuse has tree_none.c instead.
 */
#ifndef DAEMON_TREE_H
#define DAEMON_TREE_H

#include "daemon/model.h"

struct tree;

/*
 * Over the directory `mountpoint`, which is made if it is not there and then removed at the end;
 * both must outlive it, and `log`. Errnos of sysfs_mount() and mkdir(2); EOPNOTSUPP: without
 * libfuse.
 */
int tree_mount(struct model *model, const char *mountpoint, const struct log *log,
               struct tree **tree, struct umdev_error *error);
/* Waits for the model's functions that are being called. NULL is ignored. */
void tree_unmount(struct tree *tree);

#endif
