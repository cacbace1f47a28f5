/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The management tree: parents, types and devices as files, in the shape that Linux gives its
 * mediated devices in /sys, so that mdevctl and shell scripts work on it unchanged.
 *
 * Data model. The tree is a FUSE filesystem that keeps nothing: each lookup and listing asks `ops`,
 * so that it shows at once what anybody did to the host. A node is a number made of who it belongs
 * to (the id of a parent or a device, which is never used again), of which type, and what it is
 * (node.h); so inode numbers are stable, and a file that is open for a device that is gone never
 * turns into one of a later device. Only modes and owners that were changed are remembered
 * (owners.h), as long as what they belong to is there.
 *
 * Threads. A tree has threads of its own, as many as there are requests at work, up to
 * SYSFS_MAX_THREADS, so that a create() that takes long holds up nobody else. `ops` are called
 * from them, several at the same time. A process can have any number of trees.
 */
#ifndef SYSFS_SYSFS_H
#define SYSFS_SYSFS_H

#include "base/log.h"

#include <umdev/host.h>

#define SYSFS_MAX_THREADS 64

struct sysfs;

/*
 * What the tree shows and does: the functions of host.h with their meaning, their errno and
 * `opaque` for the host. create() gives a device that is ready for use: its socket is there when
 * it returns. `each` may be called under the host's locks: it calls none of these.
 */
struct sysfs_ops {
    int (*for_each_type)(void *opaque, int (*each)(void *, const struct umdev_host_type *),
                         void *each_opaque);
    int (*for_each_device)(void *opaque, int (*each)(void *, const struct umdev_host_device *),
                           void *each_opaque);
    int (*create)(void *opaque, const char *parent, const char *type, const char *uuid,
                  struct umdev_error *error);
    int (*remove)(void *opaque, const char *uuid);
    int (*get_stats)(void *opaque, const char *uuid, struct umdev_host_stats *stats);
    /* The driver's attributes of a device. All three may be NULL: there are none. */
    int (*for_each_attr)(void *opaque, const char *uuid,
                         int (*each)(void *, const struct umdev_host_attr *), void *each_opaque);
    int (*attr_read)(void *opaque, const char *uuid, const char *name, char *buf, size_t size);
    int (*attr_write)(void *opaque, const char *uuid, const char *name, const char *buf,
                      size_t len);
    /* The same of a parent, `type` NULL, and of its types. */
    int (*for_each_parent_attr)(void *opaque, const char *parent, const char *type,
                                int (*each)(void *, const struct umdev_host_attr *),
                                void *each_opaque);
    int (*parent_attr_read)(void *opaque, const char *parent, const char *type, const char *name,
                            char *buf, size_t size);
    int (*parent_attr_write)(void *opaque, const char *parent, const char *type, const char *name,
                             const char *buf, size_t len);
    void *opaque;
};

/* All of a host, as it is; a user may put functions of its own in place of some. */
struct sysfs_ops sysfs_host_ops(struct umdev_host *host);

/*
 * Mount a tree over the directory `mountpoint`. As root everybody may look at it; otherwise, by
 * fusermount3, only the user. `ops` are copied, what they point at and `log` must outlive the tree.
 * What went wrong is logged, too. ENOENT, ENOTDIR, EACCES, …: the mountpoint. ENOENT, ENXIO: no
 * /dev/fuse. EPERM: no right to mount, or no fusermount3. EIO: mounting failed, libfuse said why
 * on standard error. ENOMEM, EMFILE, EAGAIN (no thread).
 */
int sysfs_mount(const char *mountpoint, const struct sysfs_ops *ops, const struct log *log,
                struct sysfs **tree);
/*
 * Unmounts, also while it is in use: files that are open give ENOTCONN from then on, and the
 * mountpoint is free. Waits for `ops` that are being called, for no client. A tree that somebody
 * has unmounted already is freed all the same, and what is mounted there now is left alone. NULL is
 * ignored.
 */
void sysfs_unmount(struct sysfs *tree);

#endif
