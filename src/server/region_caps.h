/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The capabilities behind a GET_REGION_INFO reply's fixed part: a chain in which each says where
 * the next begins, counted from the start of the reply's body. All of them are multiples of 8.
 */
#ifndef SERVER_REGION_CAPS_H
#define SERVER_REGION_CAPS_H

#include "device/device.h"

/* The bytes they take together; 0: there are none. */
size_t region_caps_size(const struct device_region_info *info);
/* Write them at `offset` of the reply's body, which has room for them. */
void region_caps_put(uint8_t *body, size_t offset, const struct device_region_info *info);

#endif
