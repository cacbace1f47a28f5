/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life cycle: parents, types, devices.
 *
 * Data model. A registry has parents (unique names), a parent has types and devices, a device has
 * a UUID that is unique over the registry. A device's entry is in one of the states creating,
 * active, removing; only an active one can be found or removed. A slot of a parent's or type's
 * capacity is taken before the driver's create() and given back, with the UUID, when the last
 * reference to the device is gone, not when remove is asked for. A parent is opening, active or
 * removing; only an active one takes new devices.
 *
 * Locks. The registry's mutex guards names, lists, states and counts, and is never held during a
 * driver's callback, but for available() (which may not call back). Removal waits on
 * a condition until references are gone, after device_shutdown() has cut the client off.
 */
#ifndef MDEV_MDEV_H
#define MDEV_MDEV_H

#include "base/log.h"
#include "device/device.h"

struct mdev_registry;
struct mdev_device; /* a registry entry: owns a struct umdev_device */

/*
 * What the registry's owner keeps for a device (its sockets). No lock is held in these calls. For
 * one device they come in this order, once each; any member may be NULL.
 */
struct mdev_owner {
    /* Before the device can be found. *attached is what the others get. −errno: no device. */
    int (*attach)(void *opaque, struct mdev_device *entry, void **attached);
    /* It can't be found any more and refuses clients: end whoever uses it. May block on callbacks
     * in flight, not on a client. References are waited for afterwards. */
    void (*detach)(void *opaque, void *attached);
    /* The last reference is gone. */
    void (*release)(void *opaque, void *attached);
    void *opaque;
};

/* `log` must outlive it, `owner` (may be NULL) is copied. −ENOMEM. */
int mdev_registry_new(const struct log *log, const struct mdev_owner *owner,
                      struct mdev_registry **registry);
/* Removes every parent. NULL is ignored. No other call may be under way. */
void mdev_registry_free(struct mdev_registry *registry);

/*
 * `driver` as loaded (driver.h): it must stay valid until the parent is removed. `name` NULL: the
 * driver's with the first free number; otherwise letters, digits, '_', '.', '-' and ':', a letter
 * or digit first. EEXIST: the name is taken. EINVAL: the name, a parameter, or the driver's
 * description. ENOEXEC: its API version or sizes. ENOMEM, the driver's own. On success
 * `release(opaque)` (may be NULL) is called when the parent is gone: the loader's reference.
 */
int mdev_parent_add(struct mdev_registry *registry, const struct umdev_driver *driver,
                    const char *name, const char *const *params, size_t nparams,
                    void (*release)(void *opaque), void *opaque, struct umdev_error *error);
/*
 * Refuses new devices (ENODEV), waits for those being created, removes all, closes. ENOENT, ENODEV
 * as host.h.
 */
int mdev_parent_remove(struct mdev_registry *registry, const char *name);

struct mdev_type_info {
    const char *parent, *driver, *name, *pretty_name, *description, *device_api;
    unsigned available; /* UINT_MAX: no limit */
    uint64_t parent_id;
};
/*
 * The types of parents that are open, in order of their coming. Under the registry's lock: `each`
 * must not call into the registry. Stops when it returns non-zero, which is returned.
 */
int mdev_for_each_type(struct mdev_registry *registry,
                       int (*each)(void *opaque, const struct mdev_type_info *info), void *opaque);

struct mdev_attr_info {
    const char *name;
    bool can_show, can_store;
};
/* As umdev_host_for_each_parent_attr(), _read() and _write(). `type` NULL: the parent's. */
int mdev_for_each_parent_attr(struct mdev_registry *registry, const char *parent, const char *type,
                              int (*each)(void *opaque, const struct mdev_attr_info *info),
                              void *opaque);
int mdev_parent_attr_read(struct mdev_registry *registry, const char *parent, const char *type,
                          const char *name, char *buf, size_t size);
int mdev_parent_attr_write(struct mdev_registry *registry, const char *parent, const char *type,
                           const char *name, const char *buf, size_t len);

/*
 * As umdev_host_create() and umdev_host_remove(). Where the driver has available(), the creations
 * of one parent come one after the other, so that its answer still holds in create().
 */
int mdev_create(struct mdev_registry *registry, const char *parent, const char *type,
                const char *uuid, char uuid_out[UMDEV_UUID_STR_SIZE], struct umdev_error *error);
int mdev_remove(struct mdev_registry *registry, const char *uuid);

/* A reference to an active device: it can't be freed before mdev_put(). ENODEV. */
int mdev_get(struct mdev_registry *registry, const char *uuid, struct mdev_device **entry);
/* The same on an entry that can't go yet: between its owner's attach() and the end of detach(). */
int mdev_ref(struct mdev_device *entry);
void mdev_put(struct mdev_device *entry);
struct umdev_device *mdev_umdev(struct mdev_device *entry);
const char *mdev_uuid(const struct mdev_device *entry);
/* What the owner's attach() gave. */
void *mdev_attached(struct mdev_device *entry);

struct mdev_device_info {
    const char *uuid, *type, *parent, *driver;
    uint64_t id, parent_id; /* never the same again, in this registry */
    struct umdev_device *dev;
    void *attached; /* the owner's */
};
/* Active devices, in order of creation; otherwise as mdev_for_each_type(). */
int mdev_for_each_device(struct mdev_registry *registry,
                         int (*each)(void *opaque, const struct mdev_device_info *info),
                         void *opaque);

#endif
