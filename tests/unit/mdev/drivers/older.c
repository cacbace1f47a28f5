/* SPDX-License-Identifier: BSD-3-Clause */
/* As if built when struct umdev_driver ended with `ntypes` and struct umdev_type with `name`. */
#include <umdev/driver.h>

struct older_driver {
    size_t struct_size;
    uint32_t api_version, type_size, param_size;
    enum umdev_threads threads;
    const char *name, *description;
    const void *types;
    size_t ntypes;
};

static const char *const older_types[] = {"small", "large"};
static const struct older_driver older = {
    .struct_size = sizeof(struct older_driver),
    .api_version = 1,
    .type_size = sizeof(older_types[0]),
    .name = "older",
    .types = older_types,
    .ntypes = 2,
};

UMDEV_API const struct umdev_driver *umdev_driver_entry(void);
const struct umdev_driver *umdev_driver_entry(void)
{
    return (const struct umdev_driver *)(const void *)&older;
}
