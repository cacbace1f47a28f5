/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drivers as shared objects.
 */
#ifndef MDEV_DRIVER_LOAD_H
#define MDEV_DRIVER_LOAD_H

#include <umdev/driver.h>

/*
 * `name` with a '/' is a file. Otherwise it is a NAME, and umdev-NAME.so is looked for
 *   1. in each directory of UMDEV_DRIVER_PATH (separated by colons; ignored in a set-user-id
 *      program),
 *   2. in BUILD/drivers/NAME, if this library is BUILD/src/libumdev.so: an uninstalled umdev uses
 *      its own drivers,
 *   3. in the directory where drivers are installed (pkg-config --variable=driverdir umdev).
 * The first that exists is taken; what it calls itself must be NAME.
 *
 * ENOENT: there is none; `error` lists the places. EINVAL: no driver can have that name. EACCES and
 * others of access(2) for a file. ENOEXEC: not a shared object, not a driver, of another API
 * version, or of another name; `error` has the dynamic linker's words. ENOMEM.
 * Runs the object's constructors. *driver is valid until driver_unload(*module).
 */
int driver_load(const char *name, const struct umdev_driver **driver, void **module,
                struct umdev_error *error);
/* NULL is ignored. Nothing of the driver may be running or be remembered. */
void driver_unload(void *module);

#endif
