/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fdpass.h"

#include "base/range.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* A control message with as many fds as one can carry, aligned as the kernel wants it. */
union fd_control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(FD_ARRAY_MAX * sizeof(int))];
};

void fd_array_close(struct fd_array *array)
{
    for (unsigned i = 0; i < array->count; i++) {
        if (array->fds[i] >= 0)
            close(array->fds[i]);
    }
    array->count = 0;
}

int fd_array_take(struct fd_array *array, unsigned index)
{
    int fd;

    if (index >= array->count)
        return -1;
    fd = array->fds[index];
    array->fds[index] = -1;
    return fd;
}

/* Append the fds of one SCM_RIGHTS message; those past the array's end are closed: EMSGSIZE. */
static int append_fds(const struct cmsghdr *cmsg, struct fd_array *array)
{
    size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int ret = 0;

    for (size_t i = 0; i < n; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
        if (array->count < FD_ARRAY_MAX) {
            array->fds[array->count++] = fd;
        } else {
            close(fd);
            ret = -EMSGSIZE;
        }
    }
    return ret;
}

ssize_t fdpass_recv(int sock, void *buf, size_t len, struct fd_array *array)
{
    union fd_control control;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t received;
    int ret = 0;

    do {
        received = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;

    /* Every fd is taken in before anything is refused: one left behind would be a leak. */
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
            append_fds(cmsg, array))
            ret = -EMSGSIZE;
    }
    if (msg.msg_flags & MSG_CTRUNC)
        ret = -EMFILE;
    return ret ? ret : received;
}

/* Drop the first `sent` bytes, and every entry that has none left. */
static void iov_advance(struct iovec **iov, unsigned *niov, size_t sent)
{
    while (*niov && sent >= (*iov)->iov_len) {
        sent -= (*iov)->iov_len;
        (*iov)++;
        (*niov)--;
    }
    if (*niov) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + sent;
        (*iov)->iov_len -= sent;
    }
}

static void attach_fds(struct msghdr *msg, union fd_control *control, const int *fds, unsigned nfds)
{
    struct cmsghdr *cmsg;

    /* The padding after an odd number of fds goes to the kernel too. */
    memset(control, 0, CMSG_SPACE(nfds * sizeof(int)));
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
}

int fdpass_send(int sock, struct iovec *iov, unsigned niov, const int *fds, unsigned nfds)
{
    union fd_control control;
    struct msghdr msg = {0};

    iov_advance(&iov, &niov, 0);
    if (nfds > FD_ARRAY_MAX || (nfds && !niov))
        return -EINVAL;
    if (nfds)
        attach_fds(&msg, &control, fds, nfds);

    while (niov) {
        ssize_t sent;

        msg.msg_iov = iov;
        msg.msg_iovlen = MIN(niov, IOV_MAX);
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        iov_advance(&iov, &niov, (size_t)sent);
        /* The fds went with the first byte. */
        msg.msg_control = NULL;
        msg.msg_controllen = 0;
    }
    return 0;
}
