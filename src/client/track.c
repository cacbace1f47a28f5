/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write tracking, the client's side: one userfaultfd for a process, given to the servers.
 *
 * Data model. A tracker has the fds while it has *guests*: clients that gave them to their server.
 * The last one to go takes them with it, so that nothing stays protected: the kernel ends that when
 * all copies of a userfaultfd are closed, and the server closes its own.
 *
 * A synchronous userfaultfd makes writers wait for the server. So each guest has a thread then that
 * watches its socket: when the connection is over the client is a guest no more.
 *
 * Locks: the tracker's `lock` guards the fds and the count.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "base/thread.h"
#include "base/uffd.h"
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct umdev_tracker {
    pthread_mutex_t lock;
    bool notify;
    unsigned guests;
    int uffd, pagemap; /* while there are guests */
    bool sync;
};

struct client_track {
    struct umdev_tracker *tracker;
    bool sync;
    int sock; /* borrowed */
    int wake; /* of the thread's; −1: there is none */
    pthread_t thread;
    pid_t pid; /* of the process that has the thread */
};

int umdev_tracker_new(unsigned flags, struct umdev_tracker **result)
{
    struct umdev_tracker *tracker;

    if (flags & ~(unsigned)UMDEV_TRACKER_NOTIFY)
        return -EINVAL;
    tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return -ENOMEM;
    pthread_mutex_init(&tracker->lock, NULL);
    tracker->notify = flags & UMDEV_TRACKER_NOTIFY;
    tracker->uffd = tracker->pagemap = -1;
    *result = tracker;
    return 0;
}

void umdev_tracker_free(struct umdev_tracker *tracker)
{
    if (!tracker)
        return;
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

/* ------------------------------------------------------------------ guests */

static int open_fds(struct umdev_tracker *tracker, bool sync)
{
    CLEANUP_FD int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int ret;

    if (pagemap < 0)
        return -errno;
    ret = uffd_open_tracking(sync, &tracker->uffd);
    if (ret)
        return ret;
    tracker->pagemap = take_fd(&pagemap);
    tracker->sync = sync;
    return 0;
}

/* With the lock. */
static void leave(struct umdev_tracker *tracker)
{
    if (--tracker->guests)
        return;
    close(tracker->uffd);
    close(tracker->pagemap);
    tracker->uffd = tracker->pagemap = -1;
}

static void tracker_leave(struct umdev_tracker *tracker)
{
    LOCK_FOR_SCOPE(&tracker->lock);

    leave(tracker);
}

/* *uffd, *pagemap: to send, and to close: the tracker's own may go as soon as the lock is left. */
static int tracker_enter(struct umdev_tracker *tracker, bool *sync, int *uffd, int *pagemap)
{
    LOCK_FOR_SCOPE(&tracker->lock);
    int ret = tracker->guests ? 0 : open_fds(tracker, *sync || tracker->notify);

    if (ret)
        return ret;
    tracker->guests++;
    *sync = tracker->sync;
    *uffd = fcntl(tracker->uffd, F_DUPFD_CLOEXEC, 0);
    *pagemap = fcntl(tracker->pagemap, F_DUPFD_CLOEXEC, 0);
    if (*uffd >= 0 && *pagemap >= 0)
        return 0;
    ret = -errno;
    leave(tracker);
    return ret;
}

static void *watch(void *opaque)
{
    const struct client_track *track = opaque;
    struct pollfd fds[] = {{.fd = track->wake, .events = POLLIN},
                           {.fd = track->sock, .events = POLLRDHUP}};

    while (!fds[0].revents && !fds[1].revents) {
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            break;
    }
    tracker_leave(track->tracker);
    return NULL;
}

static int start_watch(struct client_track *track)
{
    CLEANUP_FD int wake = eventfd(0, EFD_CLOEXEC);
    int ret;

    if (wake < 0)
        return -errno;
    track->wake = wake;
    ret = thread_start(&track->thread, watch, track);
    if (ret) {
        track->wake = -1;
        return ret;
    }
    take_fd(&wake);
    return 0;
}

/* ------------------------------------------------------------------ with the server */

/* Whether the device wants writers to wait. */
static int ask(struct umdev_client *client, bool *sync)
{
    struct wire_umdev_track request = {.argsz = sizeof(request)}, reply;
    struct client_call call = {
        .command = WIRE_UMDEV_TRACK_INFO,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret = client_call(client, &call);

    if (!ret)
        *sync = reply.flags & WIRE_TRACK_NOTIFY;
    return ret;
}

static int give(struct umdev_client *client, bool sync, int uffd, int pagemap)
{
    struct wire_umdev_track request = {
        .argsz = sizeof(request),
        .flags = sync ? WIRE_TRACK_SYNC : 0,
    };
    const int fds[] = {uffd, pagemap};
    struct client_call call = {
        .command = WIRE_UMDEV_TRACK,
        .body = &request,
        .body_size = sizeof(request),
        .fds = fds,
        .nfds = ARRAY_SIZE(fds),
    };

    return client_call(client, &call);
}

/* The end of being a guest. A child after fork() leaves its own copy of the tracker: it has no such
 * thread, and what it wrote would wake the parent's. */
static void leave_tracker(struct client_track *track)
{
    const uint64_t one = 1;

    if (track->wake < 0 || track->pid != getpid()) {
        tracker_leave(track->tracker);
    } else {
        (void)!write(track->wake, &one, sizeof(one));
        pthread_join(track->thread, NULL);
    }
    if (track->wake >= 0)
        close(track->wake);
}

static int begin(struct umdev_client *client)
{
    CLEANUP_FREE struct client_track *track = calloc(1, sizeof(*track));
    CLEANUP_FD int uffd = -1, pagemap = -1;
    bool sync = false;
    int ret = track ? ask(client, &sync) : -ENOMEM;

    if (!ret)
        ret = tracker_enter(client->tracker, &sync, &uffd, &pagemap);
    if (ret)
        return ret;
    *track = (struct client_track){
        .tracker = client->tracker,
        .sync = sync,
        .sock = client->sock,
        .wake = -1,
        .pid = getpid(),
    };
    if (sync)
        ret = start_watch(track);
    if (!ret)
        ret = give(client, sync, uffd, pagemap);
    if (ret) {
        leave_tracker(track);
        return ret;
    }
    client->track = TAKE_POINTER(track);
    return 0;
}

int client_track_begin(struct umdev_client *client)
{
    int ret = begin(client);

    if (!ret)
        return 0;
    if (!umdev_client_alive(client))
        return ret;
    log_print(&client->log, UMDEV_LOG_INFO, "client",
              "devices will compare memory to find writes: no userfaultfd for them: %s",
              log_errno(-ret));
    return 0;
}

void client_track_end(struct umdev_client *client)
{
    if (!client->track)
        return;
    leave_tracker(client->track);
    free(client->track);
    client->track = NULL;
}

/* Whether the memory is watched. Registered again it stays as it is. */
static bool register_memory(struct umdev_tracker *tracker, void *ptr, uint64_t size)
{
    LOCK_FOR_SCOPE(&tracker->lock);

    return tracker->uffd >= 0 && size == (size_t)size &&
           uffd_register_wp(tracker->uffd, ptr, (size_t)size) == 0;
}

int client_track_map(struct umdev_client *client, struct client_call *call,
                     const struct wire_dma_map *map, void *ptr)
{
    struct wire_umdev_dma_map_at request = {.map = *map, .hva = (uintptr_t)ptr};
    int ret;

    if (!client->track || !ptr || !register_memory(client->track->tracker, ptr, map->size))
        return 0;
    request.map.argsz = sizeof(request);
    call->command = WIRE_UMDEV_DMA_MAP_AT;
    call->body = &request;
    call->body_size = sizeof(request);
    ret = client_call(client, call);
    return ret ? ret : 1;
}

enum umdev_track_help umdev_client_track_help(const struct umdev_client *client)
{
    if (!client->track)
        return UMDEV_TRACK_HELP_NONE;
    return client->track->sync ? UMDEV_TRACK_HELP_SYNC : UMDEV_TRACK_HELP_ASYNC;
}
