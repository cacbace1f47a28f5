/* SPDX-License-Identifier: BSD-3-Clause */
/* What kind of file an fd is of, where it is none with a path. */
#ifndef BASE_FDLINK_H
#define BASE_FDLINK_H

#define FD_LINK_MAX 64

/*
 * What /proc says: "anon_inode:[eventfd]", for example, or a path, which begins with a slash; cut
 * to FD_LINK_MAX − 1 characters. −errno: no such fd, or no /proc.
 */
int fd_link(int fd, char link[FD_LINK_MAX]);

#endif
