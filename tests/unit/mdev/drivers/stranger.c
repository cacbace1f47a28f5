/* SPDX-License-Identifier: BSD-3-Clause */
/* A shared object, but no driver. */
#include <umdev/types.h>

UMDEV_API int stranger_value(void);
int stranger_value(void)
{
    return 1;
}
