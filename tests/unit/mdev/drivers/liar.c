/* SPDX-License-Identifier: BSD-3-Clause */
/* Built as umdev-renamed.so. */
#include <umdev/driver.h>

static const struct umdev_type liar_types[] = {{.name = "1"}};

UMDEV_DRIVER(liar, .types = liar_types, .ntypes = 1);
