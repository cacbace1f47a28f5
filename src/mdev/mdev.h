/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life cycle: parents, types, devices.
 *
 * Data model. A registry has parents (unique names), a parent has types and devices, a device has
 * a UUID that is unique over the registry. A device's entry is in one of the states creating,
 * active, removing; only an active one can be found or removed. A slot of a parent's or type's
 * capacity is taken before the driver's create() and given back when the last reference to the
 * device goes, not when remove is asked for.
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

int mdev_registry_new(const struct log *log, struct mdev_registry **registry);
/* Removes every parent. */
void mdev_registry_free(struct mdev_registry *registry);

/*
 * `driver` as loaded (driver.h): it must stay valid until the parent is removed. EEXIST, EINVAL,
 * ENOMEM, the driver's own. `release(opaque)` (may be NULL) is called when the parent is gone: the
 * loader's reference.
 */
int mdev_parent_add(struct mdev_registry *registry, const struct umdev_driver *driver,
                    const char *name, const char *const *params, size_t nparams,
                    void (*release)(void *opaque), void *opaque, struct umdev_error *error);
/* Refuses new devices (ENODEV), removes the present ones, closes. ENOENT, ENODEV as host.h. */
int mdev_parent_remove(struct mdev_registry *registry, const char *name);

struct mdev_type_info {
    const char *parent, *driver, *name, *pretty_name, *description, *device_api;
    unsigned available;
};
/* Under the registry's lock; `each` must not call into the registry. */
int mdev_for_each_type(struct mdev_registry *registry,
                       int (*each)(void *opaque, const struct mdev_type_info *info), void *opaque);

/* As umdev_host_create() and umdev_host_remove(). */
int mdev_create(struct mdev_registry *registry, const char *parent, const char *type,
                const char *uuid, char uuid_out[UMDEV_UUID_STR_SIZE], struct umdev_error *error);
int mdev_remove(struct mdev_registry *registry, const char *uuid);

/* A reference to an active device: it can't be freed before mdev_put(). ENODEV. */
int mdev_get(struct mdev_registry *registry, const char *uuid, struct mdev_device **entry);
void mdev_put(struct mdev_device *entry);
struct umdev_device *mdev_umdev(struct mdev_device *entry);

struct mdev_device_info {
    const char *uuid, *type, *parent, *driver;
    struct umdev_device *dev;
};
int mdev_for_each_device(struct mdev_registry *registry,
                         int (*each)(void *opaque, const struct mdev_device_info *info),
                         void *opaque);

#endif
