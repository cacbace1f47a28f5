/* SPDX-License-Identifier: BSD-3-Clause */
/* Built with a header newer than the library: it calls what is not there. */
#include <umdev/driver.h>

UMDEV_API void umdev_function_of_tomorrow(struct umdev_parent *parent);

static int unresolved_open(struct umdev_parent *parent)
{
    umdev_function_of_tomorrow(parent);
    return 0;
}

static const struct umdev_type unresolved_types[] = {{.name = "1"}};

UMDEV_DRIVER(unresolved, .types = unresolved_types, .ntypes = 1, .parent_open = unresolved_open);
