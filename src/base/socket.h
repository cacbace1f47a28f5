/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UNIX stream sockets at paths. Fds are close-on-exec and the caller's.
 */
#ifndef BASE_SOCKET_H
#define BASE_SOCKET_H

#include <umdev/types.h>

/*
 * A bound, listening socket at `path` with permissions `mode` (0: 0600): replaces a dead socket
 * file. Errnos as umdev_host_listen(). Unlinking the path at the end is the caller's.
 */
int socket_listen(const char *path, unsigned mode, int *fd, struct umdev_error *error);
/* A connected socket. ENOENT, ECONNREFUSED, EACCES … as connect(2); ENAMETOOLONG. */
int socket_connect(const char *path, int *fd, struct umdev_error *error);

/* One end of a connected pair of AF_UNIX sockets of that type; the other may be gone already. */
bool socket_is_unix_end(int fd, int type);

#endif
