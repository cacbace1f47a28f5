/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a driver's structs, as old or as new as the header it was built with, to our own.
 *
 * Data model. A driver's structs carry their size: struct_size in themselves, or a stride beside an
 * array (type_size, param_size, hook_size). An adopted driver is a complete copy of them all, of
 * this library's sizes: members the driver did not know are zero, so nobody else in umdev has to
 * ask what a driver knew. Members that only the driver knows must be zero: they ask for something
 * that this umdev can't do. Strings, callbacks and the types' `data` stay where the driver has
 * them.
 */
#ifndef MDEV_DRIVER_ABI_H
#define MDEV_DRIVER_ABI_H

#include <umdev/driver.h>

/* Names become files' and directories' names, alone or joined. */
#define DRIVER_NAME_MAX 64
/* Attributes of a device. */
#define DRIVER_ATTRS_MAX 1024

struct adopted_driver;

/*
 * Whether api_version and struct_size are such that the members up to `ntypes` can be read.
 * ENOEXEC.
 */
int driver_abi_check(const struct umdev_driver *foreign, struct umdev_error *error);

/*
 * Copy and validate. `foreign` must outlive *adopted. ENOEXEC: another API version, sizes that
 * can't be, or a member that this umdev does not know is in use. EINVAL: a description that
 * contradicts itself (driver_check()). ENOMEM.
 */
int driver_adopt(const struct umdev_driver *foreign, struct adopted_driver **adopted,
                 struct umdev_error *error);
const struct umdev_driver *driver_adopted(const struct adopted_driver *adopted);
void driver_release(struct adopted_driver *adopted);

/*
 * The same for what a driver says in parent_open(). EINVAL: sizes that can't be, members that this
 * umdev does not know, or no callbacks where they are needed.
 */
int driver_adopt_domain(const struct umdev_domain *foreign, struct umdev_domain *domain,
                        struct umdev_error *error);

/*
 * What an adopted driver says about itself: names, types, limits, parameters and their defaults.
 * EINVAL. What a device looks like is checked when one is created.
 */
int driver_check(const struct umdev_driver *driver, struct umdev_error *error);

#endif
