/* SPDX-License-Identifier: BSD-3-Clause */
/* What an operator sees of a device and of a parent in the management tree; umdev-vgpu(7) says what
 * each is. */
#ifndef VGPU_ATTRS_H
#define VGPU_ATTRS_H

#include <umdev/driver.h>

#define VGPU_NUM_ATTRS 4
extern const struct umdev_attr vgpu_attrs[VGPU_NUM_ATTRS];
extern const struct umdev_parent_attr vgpu_parent_attrs[1];

#endif
