/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting FUSE, by mount(2) or by fusermount3. Not by libfuse: that would fork a process that may
 * have the memory of many clients, keep the errno for itself, and at the end unmount whatever is at
 * the mountpoint by then.
 */
#ifndef SYSFS_MOUNT_H
#define SYSFS_MOUNT_H

#include "base/log.h"

#include <stdbool.h>

struct mount {
    char *path; /* absolute, without links */
    unsigned dev_major, dev_minor;
};

/*
 * *fd: of the connection. A mount whose server has died is taken away first. −errno as
 * sysfs_mount(); logged.
 */
int mount_begin(struct mount *mount, const char *mountpoint, const struct log *log, int *fd);
/* Take it away, if it is there still. Frees *mount; `fd` stays the caller's. */
void mount_end(struct mount *mount, const struct log *log, int fd);

#endif
