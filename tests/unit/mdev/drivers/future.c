/* SPDX-License-Identifier: BSD-3-Clause */
/* Another API version: all that is known of its struct is how it begins. */
#include <umdev/driver.h>

static const struct {
    size_t struct_size;
    uint32_t api_version;
    uint32_t rest[5];
} future = {.struct_size = sizeof(future), .api_version = UMDEV_DRIVER_API_VERSION + 1};

UMDEV_API const struct umdev_driver *umdev_driver_entry(void);
const struct umdev_driver *umdev_driver_entry(void)
{
    return (const struct umdev_driver *)(const void *)&future;
}
