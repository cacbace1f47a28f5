/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attributes, for a driver: what an operator sees and sets of its devices, parents and types. A
 * part of umdev/driver.h, which includes it and has the rules on threads and callbacks.
 */
#ifndef UMDEV_ATTR_H
#define UMDEV_ATTR_H

#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umdev_device;
struct umdev_parent;

/*
 * An attribute of a device: a few words of text that an operator reads or writes, as a file NAME in
 * the device's directory of the management tree (`cat vram_used`, `mdevctl modify --addattr`). One
 * value an attribute, in the manner of Linux's sysfs.
 *
 * Both callbacks come at any time between create and remove, client or not, serialised as other
 * callbacks, which wait for them then: with UMDEV_THREADS_SERIALISED they must not wait for the
 * client, and DMA is refused (EDEADLK) where it had to. An operator waits for them, too, and so
 * does the device's removal: they may block for as long as that is bearable.
 */
struct umdev_attr {
    /*
     * 1 to 64 letters, digits, '_', '.' and '-', a letter or digit first; unique among the
     * device's, and not one of umdev's own: driver, iommu_group, mdev_type, power, remove,
     * subsystem, uevent, umdev.
     */
    const char *name;
    /*
     * Write up to `size` (UMDEV_ATTR_SIZE) bytes of text to `buf`, with a newline at its end as is
     * the custom; returns how many, or −errno, which the reader gets. snprintf() helps.
     * NULL: it can't be read, the file has mode 0200.
     */
    int (*show)(struct umdev_device *dev, char *buf, size_t size);
    /*
     * An operator wrote `len` (1 to UMDEV_ATTR_SIZE) bytes, often with a newline at the end; a NUL
     * follows them. All of them are taken, or −errno, which the writer gets: EINVAL for a value
     * that can't be. NULL: it can't be written, the file has mode 0444. One of the two is there.
     */
    int (*store)(struct umdev_device *dev, const char *buf, size_t len);
};
/* In UMDEV_DRIVER(): the array (up to 1024 members), its length and the size of its members. */
#define UMDEV_ATTRS(array)                                                                         \
    .attrs = (array), .nattrs = sizeof(array) / sizeof((array)[0]),                                \
    .attr_size = sizeof(struct umdev_attr)

/*
 * An attribute of a parent, or of each of its types: the same, in the parent's and in the type's
 * directory. `type` is the index of the type; of a parent's own attribute it is 0. The callbacks
 * come at any time between parent_open and parent_close, several at the same time and beside those
 * of devices: the driver keeps order itself. The parent's removal waits for them.
 *
 * The names of umdev's own: of a parent driver, mdev_supported_types, power, subsystem, uevent,
 * umdev; of a type available_instances, create, description, device_api, devices, name.
 */
struct umdev_parent_attr {
    const char *name;
    int (*show)(struct umdev_parent *parent, unsigned type, char *buf, size_t size);
    int (*store)(struct umdev_parent *parent, unsigned type, const char *buf, size_t len);
};
#define UMDEV_PARENT_ATTRS(array)                                                                  \
    .parent_attrs = (array), .nparent_attrs = sizeof(array) / sizeof((array)[0]),                  \
    .parent_attr_size = sizeof(struct umdev_parent_attr)
#define UMDEV_TYPE_ATTRS(array)                                                                    \
    .type_attrs = (array), .ntype_attrs = sizeof(array) / sizeof((array)[0]),                      \
    .type_attr_size = sizeof(struct umdev_parent_attr)

#ifdef __cplusplus
}
#endif

#endif
