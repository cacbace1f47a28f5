/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server process with a region that is mapped at first touch, and a client that has mapped it.
 *
 * The region is the object again and again, all of whose pages are there: what is measured is how
 * they are mapped.
 */
#ifndef BENCH_FAULT_H
#define BENCH_FAULT_H

#include "bench.h"

#include <pthread.h>

#define BENCH_PAGE ((size_t)4096)

enum {
    FAULT_BAR_REGS = 0,
    FAULT_BAR_PAGES = 2,
    FAULT_BAR_IDENTITY = 4, /* the object, as it is */
    FAULT_REGION_PAGES = 65536,
    FAULT_OBJECT_PAGES = 4096,
    FAULT_SCATTERED = 30000, /* mappings that there may be */
    FAULT_PACKET = 64,       /* bytes, in the channel */

    FAULT_REG_EXTENT = 0x00,     /* pages in an answer, a power of two, at most OBJECT_PAGES */
    FAULT_REG_INVALIDATE = 0x04, /* so many pages, from the first on */
    FAULT_REG_NS = 0x08,         /* what that took */
};

struct fault_client {
    pid_t pid;
    struct umdev_client *client;
    uint8_t *view;
    size_t next, extent; /* pages */
};

/* Makes it the row's own subject, with that measure function; of the one BAR or the other. */
int fault_client_start(struct row_run *run, unsigned bar, size_t extent,
                       int (*measure)(void *state, double *samples, size_t n));

/* All of its pages are taken back. `state` is the subject's, a struct fault_client. */
int fault_client_empty(void *state);

/* The same with a client that can't have pages mapped: it reads and writes by messages. */
int fault_client_start_trapped(struct row_run *run,
                               int (*measure)(void *state, double *samples, size_t n));

/*
 * The floor: the same mechanism by hand. A thread reads the userfaultfd, asks another process over
 * a socket, maps the page and wakes who waits.
 */
struct fault_raw {
    pid_t pid;
    int sock, uffd, fd;
    pthread_t thread;
    uint8_t *pages;
    size_t next, extent;
};

/* Makes it the row's floor, with that measure function. */
int fault_raw_start(struct row_run *run, size_t extent,
                    int (*measure)(void *state, double *samples, size_t n));
/* As fault_client_empty(); a struct fault_raw. */
int fault_raw_empty(void *state);

static inline void fault_touch(const uint8_t *at, size_t count, size_t step)
{
    for (size_t i = 0; i < count; i++)
        (void)*(const volatile uint8_t *)(at + i * step * BENCH_PAGE);
}

#endif
