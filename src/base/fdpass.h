/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File descriptors over UNIX sockets, and sockets' exact reads and writes.
 *
 * An fd array owns its fds: fd_array_close() closes those still in it, fd_array_take() takes one
 * out. Received fds are close-on-exec.
 */
#ifndef BASE_FDPASS_H
#define BASE_FDPASS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The kernel's SCM_MAX_FD is 253: with room for all of them none is ever cut off and lost. */
#define FD_ARRAY_MAX 253

struct fd_array {
    unsigned count;
    int fds[FD_ARRAY_MAX]; /* −1: taken */
};

static inline void fd_array_init(struct fd_array *array)
{
    array->count = 0;
}

/* Close what is left and make the array empty. */
void fd_array_close(struct fd_array *array);
/* The fd at `index`, which is then the caller's; −1 if there is none. */
int fd_array_take(struct fd_array *array, unsigned index);

/*
 * One recvmsg of up to `len` bytes; fds that come along are appended to `array`; those that do not
 * fit are closed and EMSGSIZE is returned. Returns the bytes, 0 at the end of the stream, −errno.
 * Retries EINTR. MSG_CTRUNC (this process is out of fds) is EMFILE; what did arrive is in `array`.
 */
ssize_t fdpass_recv(int sock, void *buf, size_t len, struct fd_array *array);

/*
 * Send all of `iov[0..niov)` with `nfds` fds attached to its first byte; goes on after partial
 * sends. `iov` is changed. 0 or −errno (EPIPE: the peer is gone; never a SIGPIPE). Retries EINTR.
 * EINVAL: more than FD_ARRAY_MAX fds, or fds without a byte. EAGAIN: the socket's send timeout is
 * over, or it does not block and is full; a part may have been sent, so the stream is of no more
 * use.
 */
struct iovec;
int fdpass_send(int sock, struct iovec *iov, unsigned niov, const int *fds, unsigned nfds);

#endif
