/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/eventfd.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

bool eventfd_is(int fd)
{
    static const char expected[] = "anon_inode:[eventfd]";
    char link[64], target[sizeof(expected)];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, target, sizeof(target));
    return len == sizeof(expected) - 1 && memcmp(target, expected, sizeof(expected) - 1) == 0;
}

int eventfd_drain(int fd)
{
    uint64_t value;
    struct iovec iov = {.iov_base = &value, .iov_len = sizeof(value)};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

    if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};

        /* A kernel that can't: the window between the two calls is the best there is. */
        if (poll(&readable, 1, 0) < 1)
            return -EAGAIN;
        got = read(fd, &value, sizeof(value));
    }
    return got < 0 ? -errno : 0;
}
