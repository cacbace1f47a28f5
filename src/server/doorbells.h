/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The eventfds of a session's doorbells.
 *
 * Data model. A region's eventfds are made when the client first asks for them: one for each of its
 * first `count` doorbells, the same ones ever after, until the session ends. All of them are in one
 * epoll set, which is there only once a client has asked; what it reports names region and
 * doorbell. The client shares the eventfds and can signal, drain and change them as it likes: here
 * they are only ever read without waiting, and what it gains is that its own device is rung.
 *
 * Everything is the session thread's.
 */
#ifndef SERVER_DOORBELLS_H
#define SERVER_DOORBELLS_H

#include "device/device.h"

struct doorbells {
    int epoll; /* readable when one rings; −1: nobody has asked */
    struct {
        int *fds; /* NULL: not made yet */
        unsigned count;
    } regions[UMDEV_NUM_BARS]; /* only they have doorbells */
    unsigned total;
};

void doorbells_init(struct doorbells *doorbells);
/* Closes the eventfds; the client's copies ring no more. */
void doorbells_fini(struct doorbells *doorbells);

/*
 * The eventfds of a region's first `count` doorbells, more than 0 and the same number each time.
 * They stay ours. EMFILE, ENFILE, ENOMEM, ENOSPC: none were made.
 */
int doorbells_get(struct doorbells *doorbells, unsigned region, unsigned count, const int **fds);

/* Ring those whose eventfd was signalled, each once. The driver's errors go nowhere, as those of a
 * write that KVM completed must. */
void doorbells_hear(struct doorbells *doorbells, struct umdev_device *dev);

#endif
