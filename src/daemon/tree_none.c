/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/tree.h"

#include <errno.h>

int tree_mount(struct model *model, const char *mountpoint, const struct log *log,
               struct tree **tree, struct umdev_error *error)
{
    (void)model;
    (void)log;
    (void)tree;
    return error_set(error, EOPNOTSUPP,
                     "no management tree at '%s': this umdev was built without libfuse",
                     mountpoint);
}

void tree_unmount(struct tree *tree)
{
    (void)tree;
}
