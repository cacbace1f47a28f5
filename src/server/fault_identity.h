/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The short way of faults: a client shows a region that is its own memory object at some address,
 * and hands us a userfaultfd; we read the touches from it, and let the kernel map the pages of the
 * object, which it has mapped, in the client's memory. No packet is needed.
 *
 * Data model. A *window* is such an address range with its userfaultfd. A *touch* was read from
 * one and is not resolved yet: touches are kept in the order they were read. One is with the fault
 * channel's thread at a time, *busy*; its window is only marked as gone when the client removes it.
 *
 * The userfaultfd is the client's as much as ours. It is read without waiting, whatever its flags
 * are. What it reports is not believed: a touch outside of the window, or any other event, ends the
 * session. To resolve a touch can wait for the client's memory, and so can the last close() of a
 * userfaultfd: neither is done with a lock, and only by the session's own threads.
 *
 * Locks: all under the channel's, but for what says so and the beginning and the end.
 */
#ifndef SERVER_FAULT_IDENTITY_H
#define SERVER_FAULT_IDENTITY_H

#include "base/range.h"
#include "device/device.h"
#include "wire/vfio_user.h"

#define IDENTITY_BATCH 16u

struct identity_window {
    uint64_t serial; /* no other window of the session ever has it; 0: there is no window */
    int uffd;
    unsigned region;
    struct range range; /* of the region */
    uint64_t address;   /* of its first byte */
    bool ready;         /* there may be something to read */
    bool gone;          /* while it is busy */
};

struct identity_touch {
    uint64_t window; /* its serial */
    unsigned region;
    unsigned access;
    uint64_t page; /* of the region */
};

/* What the device says to a touch. */
struct identity_answer {
    struct range range; /* of the region, the page among it */
    int error;          /* an errno, or 0 */
};

struct fault_identity {
    int epoll; /* of the windows, by their serials, and the channel's socket, data 0 */
    struct identity_window windows[WIRE_FAULT_IDENTITY_MAX];
    uint64_t last_serial;
    struct identity_touch touches[IDENTITY_BATCH];
    unsigned first_touch, ntouches;
    struct identity_window *busy;
    int forked[IDENTITY_BATCH]; /* fds that came with events that end the session */
    unsigned nforked;
};

/* `fd` is the channel's socket. −errno: no fd; it is to be ended all the same. */
int fault_identity_init(struct fault_identity *identity, int fd);
void fault_identity_fini(struct fault_identity *identity);

/*
 * Whether it is a userfaultfd to be added. EINVAL: it is none, not O_NONBLOCK, or has reported
 * something else than touches. EOPNOTSUPP: this kernel can't promise that to read it does not
 * block. Without a lock.
 */
int fault_identity_check(int fd);
/*
 * Add a window, whose address range was checked not to wrap, and its range to lie in the region;
 * the fd is the window's if 0 is returned. ENOSPC: as many as there may be. ENOMEM.
 */
int fault_identity_add(struct fault_identity *identity, const struct identity_window *window);
/* *fd: to be closed, without the lock, or as it was. ENOENT: there is none that was added so. */
int fault_identity_remove(struct fault_identity *identity, unsigned region, uint64_t offset,
                          uint64_t address, int *fd);

/* epoll says so of this window. EPROTO: it is not what the client promised. */
int fault_identity_ready(struct fault_identity *identity, uint64_t serial, uint32_t events);
/* 1: the next touch, whose window is busy now. 0: none. EPROTO. */
int fault_identity_next(struct fault_identity *identity, struct identity_touch *touch);
/* Map the pages, or refuse the page, and let those go on who wait. EPROTO: the window is not one of
 * the object. Without a lock. */
int fault_identity_resolve(const struct umdev_device *dev, const struct identity_window *window,
                           const struct identity_touch *touch,
                           const struct identity_answer *answer);
/* The touch is resolved. Returns an fd to be closed without the lock, or −1. */
int fault_identity_done(struct fault_identity *identity);

#endif
