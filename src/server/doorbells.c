/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/doorbells.h"

#include "base/cleanup.h"
#include "base/eventfd.h"
#include "base/range.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* How an epoll event names a doorbell. */
static uint64_t doorbell_name(unsigned region, unsigned index)
{
    return (uint64_t)region << 32 | index;
}

void doorbells_init(struct doorbells *doorbells)
{
    memset(doorbells, 0, sizeof(*doorbells));
    doorbells->epoll = -1;
}

static void fds_close(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
}

void doorbells_fini(struct doorbells *doorbells)
{
    /* First: an eventfd stays in its epoll set as long as any process has it open. */
    if (doorbells->epoll >= 0)
        close(doorbells->epoll);
    for (unsigned i = 0; i < UMDEV_NUM_BARS; i++)
        fds_close(doorbells->regions[i].fds, doorbells->regions[i].count);
    doorbells_init(doorbells);
}

/* NULL with errno set. */
static int *fds_make(unsigned count)
{
    int *fds = calloc(count, sizeof(*fds));

    if (!fds)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fds[i] < 0) {
            int error = errno;

            fds_close(fds, i);
            errno = error;
            return NULL;
        }
    }
    return fds;
}

static int fds_watch(int epoll, unsigned region, const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = doorbell_name(region, i)};

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event))
            return -errno;
    }
    return 0;
}

static int region_make(struct doorbells *doorbells, unsigned region, unsigned count)
{
    int *fds;
    int ret;

    if (doorbells->epoll < 0)
        doorbells->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (doorbells->epoll < 0)
        return -errno;
    fds = fds_make(count);
    if (!fds)
        return -errno;
    ret = fds_watch(doorbells->epoll, region, fds, count);
    if (ret) {
        /* Nobody else has them yet, so closing takes them out of the set. */
        fds_close(fds, count);
        return ret;
    }
    doorbells->regions[region].fds = fds;
    doorbells->regions[region].count = count;
    doorbells->total += count;
    return 0;
}

int doorbells_get(struct doorbells *doorbells, unsigned region, unsigned count, const int **fds)
{
    int ret = 0;

    if (!doorbells->regions[region].fds)
        ret = region_make(doorbells, region, count);
    *fds = doorbells->regions[region].fds;
    return ret;
}

void doorbells_hear(struct doorbells *doorbells, struct umdev_device *dev)
{
    struct epoll_event events[16];
    unsigned heard = 0;
    int n;

    /* epoll takes turns: after so many events each that rang before has had its own, however fast
     * the client rings. */
    do {
        n = epoll_wait(doorbells->epoll, events, ARRAY_SIZE(events), 0);
        for (int i = 0; i < n; i++) {
            unsigned region = (unsigned)(events[i].data.u64 >> 32);
            unsigned index = (unsigned)events[i].data.u64;

            if (eventfd_drain(doorbells->regions[region].fds[index]) == 0)
                device_ring(dev, region, index);
        }
        heard += n > 0 ? (unsigned)n : 0;
    } while (n == ARRAY_SIZE(events) && heard < doorbells->total);
}
