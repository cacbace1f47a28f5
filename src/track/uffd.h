/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of another process by its userfaultfd (base/uffd.h) and its pagemap: what of it was
 * written.
 *
 * Both fds are a client's: it may do with their files what it likes. Nothing here reads or waits
 * for them but track_uffd_take(), which never waits. 0 or −errno.
 */
#ifndef TRACK_UFFD_H
#define TRACK_UFFD_H

#include "base/range.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The kernel's struct page_region. */
struct track_written {
    uint64_t start, end; /* bytes; `end` exclusive */
    uint64_t categories;
};

/* Whether it is a userfaultfd, and which. EINVAL: it is none. */
int track_uffd_check(int fd, dev_t *device, ino_t *inode);
/* Whether it is the pagemap of a process. EINVAL. */
int track_pagemap_check(int fd);

/*
 * Protect the pages against writing, or end that and wake up who waits. ENOENT, EINVAL: not all of
 * it is memory that was registered. ESRCH: the process has gone.
 */
int track_uffd_protect(int uffd, struct range bytes, bool protect);
/*
 * Which pages of the range were written since they were protected, in order; protects them again,
 * each in the same step. Up to `n` ranges; *end: how far it looked. Their number, or EPERM: not all
 * of it is registered with an asynchronous userfaultfd.
 */
int track_pagemap_take(int pagemap, struct range bytes, struct track_written *written, size_t n,
                       uint64_t *end);
/*
 * Take an event. 1: a write to the page at *address waits; 0: another kind of event. EAGAIN: there
 * is none. EOPNOTSUPP: this kernel can't promise not to wait. ENODEV: there will be none.
 */
int track_uffd_take(int uffd, uint64_t *address);

#endif
