/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * userfaultfd(2): its ioctls as functions, and what old kernel headers lack.
 *
 * Addresses and lengths are multiples of the page size. 0 or −errno. Any thread; none but
 * uffd_read() blocks.
 */
#ifndef BASE_UFFD_H
#define BASE_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A userfaultfd of this process that also sees faults of the kernel on its behalf, close-on-exec,
 * blocking. *can_poison: the kernel has UFFDIO_POISON. EPERM: not allowed here. ENOSYS: none in
 * this kernel. EOPNOTSUPP: it lacks one of the features we need.
 */
int uffd_open(int *fd, bool *can_poison);

/*
 * Another, for write tracking: `sync`: writers wait till somebody ends the protection, and reads do
 * not wait; else protection ends by itself, for the pagemap to tell. Errors as above.
 */
int uffd_open_tracking(bool sync, int *fd);

/* Report touches of pages that are not there (private memory), from now on. */
int uffd_register_missing(int fd, void *addr, size_t len);
/* Report writes to what uffd_write_protect() protects, from now on (any memory). */
int uffd_register_wp(int fd, void *addr, size_t len);
int uffd_write_protect(int fd, void *addr, size_t len);

/* Let those who wait for one of the pages try again. */
void uffd_wake(int fd, void *addr, size_t len);
void uffd_wake_page(int fd, uint64_t address);
/* A page that is not there raises SIGBUS from now on, also in who waits. EEXIST: it is there. */
int uffd_poison(int fd, void *addr, size_t len);
/* A page that is not there becomes a page of zeros; who waits goes on. */
int uffd_zero(int fd, void *addr, size_t len);

/* Wait for messages, and take up to `n`. Their number or −errno. */
int uffd_read(int fd, struct uffd_msg *messages, size_t n);

/* ------------------------------------------------------------------ for another process to serve
 */

/*
 * A userfaultfd that is read without blocking, and reports no events but touches. Errnos as
 * uffd_open(); EOPNOTSUPP also: the kernel lacks what uffd_read_now() needs (6.10 has all).
 */
int uffd_open_shared(int *fd);
/* Report touches of pages of a file that are not mapped here, from now on; whether the file has
 * them or not. EOPNOTSUPP: they can't be continued, or not poisoned. */
int uffd_register_shared(int fd, void *addr, size_t len);

/*
 * The rest is for the one that serves. Addresses are of the process whose userfaultfd it is, which
 * can make each of these calls but uffd_read_now() wait for its memory's lock.
 */
bool uffd_is(int fd);
/* As uffd_read(), and never waits, whatever flags the fd has: EAGAIN. EOPNOTSUPP: can't promise. */
int uffd_read_now(int fd, struct uffd_msg *messages, size_t n);
/*
 * Map pages that the file has, and let go on who waits for them: from the first on, as far as there
 * are some, *done bytes. Without any: EFAULT: the file lacks the first; EEXIST: it is mapped.
 */
int uffd_continue(int fd, uint64_t address, uint64_t len, uint64_t *done);
int uffd_poison_page(int fd, uint64_t address);

#endif
