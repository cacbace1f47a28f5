/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/eventfd.h"

#include "base/fdlink.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

bool eventfd_is(int fd)
{
    char link[FD_LINK_MAX];

    return fd_link(fd, link) == 0 && strcmp(link, "anon_inode:[eventfd]") == 0;
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
