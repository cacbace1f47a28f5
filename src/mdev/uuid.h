/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UUIDs: the names of devices, in canonical lower-case form.
 */
#ifndef MDEV_UUID_H
#define MDEV_UUID_H

#include <umdev/types.h>

/*
 * Exactly 36 characters, 8-4-4-4-12 hexadecimal digits of either case, made lower-case. EINVAL for
 * anything else; `out` is untouched then.
 */
int mdev_uuid_parse(const char *text, char out[UMDEV_UUID_STR_SIZE]);
/* A random one. */
void mdev_uuid_generate(char out[UMDEV_UUID_STR_SIZE]);

#endif
