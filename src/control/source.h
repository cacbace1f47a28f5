/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source of devices: what the control socket, the daemon and its worker processes have in common.
 *
 * A source is a table of functions and their `opaque`. There is one over a struct umdev_host
 * (source_of_host()), one over a process at the other end of a socket, and the daemon's own, which
 * is made of others. Its functions may be called from any thread at the same time, and mean what
 * those of umdev/host.h mean: errnos, what is valid inside `each`, and that `each` must not call
 * into the source. A function that fails with an `error` to fill in has filled it in.
 */
#ifndef CONTROL_SOURCE_H
#define CONTROL_SOURCE_H

#include <umdev/host.h>

typedef int (*source_each_type)(void *opaque, const struct umdev_host_type *type);
typedef int (*source_each_device)(void *opaque, const struct umdev_host_device *device);
typedef int (*source_each_attr)(void *opaque, const struct umdev_host_attr *attr);

struct source_create {
    const char *type;
    const char *parent; /* NULL: the first that has room */
    const char *uuid;   /* NULL: a random one */
    const char *socket; /* where to serve it; NULL: the source knows itself */
    unsigned mode;      /* the socket's permissions, 0: 0600 */
    bool persist;       /* it comes back when the source does */
};

/* Whose attributes: a device's, or a parent's (`type` NULL), or those of one of its types. */
struct source_owner {
    const char *uuid; /* NULL: the parent's */
    const char *parent, *type;
};

struct source {
    int (*for_each_type)(void *opaque, source_each_type each, void *each_opaque);
    int (*for_each_device)(void *opaque, source_each_device each, void *each_opaque);
    /* `each` for one device, and what it returns. ENODEV: there is no such device. */
    int (*find_device)(void *opaque, const char *uuid, source_each_device each, void *each_opaque);
    int (*get_stats)(void *opaque, const char *uuid, struct umdev_host_stats *stats);
    int (*screenshot)(void *opaque, const char *uuid, struct umdev_picture *picture);
    int (*for_each_attr)(void *opaque, const struct source_owner *owner, source_each_attr each,
                         void *each_opaque);
    int (*attr_read)(void *opaque, const struct source_owner *owner, const char *name, char *buf,
                     size_t size);
    int (*attr_write)(void *opaque, const struct source_owner *owner, const char *name,
                      const char *buf, size_t len);
    /* A device and its socket, or nothing. NULL: this source's devices are what they are. */
    int (*create)(void *opaque, const struct source_create *create, char uuid[UMDEV_UUID_STR_SIZE],
                  struct umdev_error *error);
    int (*remove)(void *opaque, const char *uuid, struct umdev_error *error);
    /* Whether a device comes back. NULL: none does. */
    bool (*is_persistent)(void *opaque, const char *uuid);
    void *opaque;
};

/* `host` must outlive it. Without `can_create` it has neither create nor remove. */
struct source source_of_host(struct umdev_host *host, bool can_create);

/* What umdev_host_remove() could not do with the device, in words. */
int source_remove_error(int ret, const char *uuid, struct umdev_error *error);

#endif
