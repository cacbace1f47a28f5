/* SPDX-License-Identifier: BSD-3-Clause */
#include "track/events.h"

#include "base/cleanup.h"
#include "base/thread.h"
#include "base/uffd.h"
#include "track/private.h"
#include "track/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* A client that makes its userfaultfd one to wait for: how often it is looked at then. */
#define DEAF_MS 10

struct track_events {
    struct track_space *space;
    pthread_t thread;
    int wake;
    uint64_t number; /* of the event */
    struct track_ranges names;
};

/* The IOVAs of a page; those without memory for them are left out. With the tracker's lock. */
static void list_names(struct track_events *events, struct track *track, uint64_t page)
{
    struct range bytes = track_bytes(page, page);
    struct interval *node = interval_first(track->by_key, bytes);

    events->names.count = 0;
    for (; node; node = interval_next(track->by_key, node, bytes)) {
        const struct track_name *name = INTERVAL_OWNER(node, struct track_name, by_key);

        (void)track_ranges_add(&events->names,
                               name->by_iova.range.first + (bytes.first - node->range.first),
                               PAGE_SIZE_4K, UMDEV_TRACK_WRITTEN);
    }
}

/* Whether the tracker is to be called for the page: it is then counted as called. */
static bool begin_call(struct track_events *events, struct track *track, uint64_t page)
{
    LOCK_FOR_SCOPE(&track->lock);

    if (track->event == events->number || track->mode != UMDEV_TRACK_NOTIFY ||
        !track_any(track, page, page))
        return false;
    track->event = events->number;
    track->calls++;
    list_names(events, track, page);
    return true;
}

/* The next one that is to be called; NULL: none is left. */
static struct track *next_to_call(struct track_events *events, uint64_t page)
{
    LOCK_FOR_SCOPE(&events->space->lock);
    struct track *track = events->space->tracks;

    while (track && !begin_call(events, track, page))
        track = track->next_in_space;
    return track;
}

static void call(struct track_events *events, struct track *track)
{
    for (size_t i = 0; i < events->names.count; i++) {
        const struct umdev_track_range *range = &events->names.array[i];

        track->ops.written(track->opaque, (struct range){range->iova.value,
                                                         range->iova.value + (range->size - 1)});
    }
    atomic_fetch_add_explicit(&track->notified, 1, memory_order_relaxed);
    LOCK_FOR_SCOPE(&track->lock);
    if (--track->calls == 0)
        pthread_cond_broadcast(&track->calls_over);
}

static void let_write(struct track_space *space, uint64_t page)
{
    LOCK_FOR_SCOPE(&space->lock);

    for (struct track *track = space->tracks; track; track = track->next_in_space) {
        LOCK_FOR_SCOPE(&track->lock);

        track_mark(track, page, page);
    }
    /* Where this fails, the writer tries again, and finds the page gone, or comes again. */
    if (track_uffd_protect(space->uffd, track_bytes(page, page), false))
        uffd_wake_page(space->uffd, page << TRACK_PAGE_SHIFT);
}

static void handle(struct track_events *events, uint64_t page)
{
    struct track *track;

    events->number++;
    while ((track = next_to_call(events, page)))
        call(events, track);
    let_write(events->space, page);
}

/* All there are. False: it can't be heard now. */
static bool take_all(struct track_events *events)
{
    uint64_t address;
    int ret;

    while ((ret = track_uffd_take(events->space->uffd, &address)) >= 0) {
        if (ret > 0)
            handle(events, address >> TRACK_PAGE_SHIFT);
    }
    return ret == -EAGAIN;
}

/* A userfaultfd can be polled only while it is one not to be waited for; that is its file's. */
static void make_pollable(int uffd)
{
    int flags = fcntl(uffd, F_GETFL);

    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(uffd, F_SETFL, flags | O_NONBLOCK);
}

static void *events_main(void *opaque)
{
    struct track_events *events = opaque;
    struct pollfd fds[] = {{.fd = events->wake, .events = POLLIN},
                           {.fd = events->space->uffd, .events = POLLIN}};
    bool deaf = false;

    for (;;) {
        int ret = poll(fds, deaf ? 1 : 2, deaf ? DEAF_MS : -1);

        if (ret < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        if (!deaf && !(fds[1].revents & (POLLIN | POLLERR | POLLHUP)))
            continue;
        deaf = !take_all(events) || (fds[1].revents & (POLLERR | POLLHUP));
        if (deaf)
            make_pollable(events->space->uffd);
        fds[1].revents = 0;
    }
    return NULL;
}

int track_events_start(struct track_space *space, struct track_events **result)
{
    struct track_events *events;
    uint64_t address;
    int ret;

    make_pollable(space->uffd);
    ret = track_uffd_take(space->uffd, &address);
    if (ret < 0 && ret != -EAGAIN)
        return ret;
    events = calloc(1, sizeof(*events));
    if (!events)
        return -ENOMEM;
    events->space = space;
    events->wake = eventfd(0, EFD_CLOEXEC);
    ret = events->wake < 0 ? -errno : thread_start(&events->thread, events_main, events);
    if (ret) {
        if (events->wake >= 0)
            close(events->wake);
        free(events);
        return ret;
    }
    *result = events;
    return 0;
}

void track_events_stop(struct track_events *events)
{
    const uint64_t one = 1;

    if (!events)
        return;
    (void)!write(events->wake, &one, sizeof(one));
    pthread_join(events->thread, NULL);
    close(events->wake);
    free(events->names.array);
    free(events);
}
