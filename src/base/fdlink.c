/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fdlink.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int fd_link(int fd, char link[FD_LINK_MAX])
{
    char path[32];
    ssize_t size;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    size = readlink(path, link, FD_LINK_MAX - 1);
    if (size < 0)
        return -errno;
    link[size] = '\0';
    return 0;
}
