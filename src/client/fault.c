/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault-mapped regions: beginning and end, the views, and what the program may ask.
 */
#include "client/fault.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "base/uffd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

int client_fault_probe(void)
{
    CLEANUP_FD int fd = -1;
    bool can_poison;

    if (sysconf(_SC_PAGESIZE) != (long)PAGE_SIZE_4K)
        return -EOPNOTSUPP;
    return uffd_open(&fd, &can_poison);
}

/* ------------------------------------------------------------------ placeholders */

/* Memory in which nothing is stored, and whose touch is reported. */
static int make_placeholder(const struct client_fault *fault, size_t len, uint8_t **result)
{
    void *addr =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int ret;

    if (addr == MAP_FAILED)
        return -errno;
    ret = madvise(addr, len, MADV_DONTFORK) ? -errno : 0;
    if (!ret)
        ret = uffd_register_missing(fault->uffd, addr, len);
    if (ret)
        munmap(addr, len);
    else
        *result = addr;
    return ret;
}

/* The blank is as long as the longest view. With map_lock. */
static int grow_blank(struct client_fault *fault, size_t len)
{
    uint8_t *longer = NULL;
    int ret;

    if (len <= fault->blank_len)
        return 0;
    ret = make_placeholder(fault, len, &longer);
    if (ret)
        return ret;
    if (fault->blank)
        munmap(fault->blank, fault->blank_len);
    fault->blank = longer;
    fault->blank_len = len;
    return 0;
}

/* ------------------------------------------------------------------ beginning */

/* Give the server its end of the channel. */
static int open_channel(struct umdev_client *client, int *channel)
{
    struct wire_umdev_fault_channel body = {.argsz = sizeof(body)};
    CLEANUP_FD int ours = -1;
    CLEANUP_FD int theirs = -1;
    int ends[2], ret;
    struct client_call call = {
        .command = WIRE_UMDEV_FAULT_CHANNEL,
        .body = &body,
        .body_size = sizeof(body),
        .fds = &theirs,
        .nfds = 1,
        .reply = &body,
        .reply_size = sizeof(body),
    };

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return -errno;
    ours = ends[0];
    theirs = ends[1];
    ret = client_call(client, &call);
    if (!ret)
        *channel = take_fd(&ours);
    return ret;
}

/* All that can fail before the server is told. */
static int prepare(struct client_fault *fault)
{
    struct epoll_event event = {.events = EPOLLIN};
    int ret = uffd_open(&fault->uffd, &fault->can_poison);

    if (ret)
        return ret;
    if (fault->client->no_poison)
        fault->can_poison = false;
    fault->nowhere = memfd_create("umdev-refused", MFD_CLOEXEC);
    fault->work = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fault->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (fault->nowhere < 0 || fault->work < 0 || fault->epoll < 0 ||
        epoll_ctl(fault->epoll, EPOLL_CTL_ADD, fault->work, &event))
        return -errno;
    ret = make_placeholder(fault, PAGE_SIZE_4K, &fault->bell);
    if (!ret)
        ret = grow_blank(fault, PAGE_SIZE_4K);
    return ret;
}

static void fault_free(struct client_fault *fault)
{
    bool forked = fault->pid != getpid();

    if (fault->bell && !forked)
        munmap(fault->bell, PAGE_SIZE_4K);
    if (fault->blank && !forked)
        munmap(fault->blank, fault->blank_len);
    if (fault->uffd >= 0)
        close(fault->uffd);
    if (fault->nowhere >= 0)
        close(fault->nowhere);
    if (fault->channel >= 0)
        close(fault->channel);
    if (fault->epoll >= 0)
        close(fault->epoll);
    if (fault->work >= 0)
        close(fault->work);
    fault_objects_free(fault);
    /* To destroy a condition waits for who waits for it, which a fork() has left behind. */
    if (!forked) {
        pthread_mutex_destroy(&fault->map_lock);
        pthread_mutex_destroy(&fault->request_lock);
        pthread_cond_destroy(&fault->room);
    }
    free(fault);
}

static struct client_fault *fault_new(struct umdev_client *client)
{
    struct client_fault *fault = calloc(1, sizeof(*fault));

    if (!fault)
        return NULL;
    fault->client = client;
    fault->channel = fault->uffd = fault->nowhere = fault->work = fault->epoll = -1;
    fault->pid = getpid();
    fault->max_maps = client->max_fault_maps;
    fault->timeout_ms = client->fault_timeout_ms;
    TAILQ_INIT(&fault->ages);
    pthread_mutex_init(&fault->map_lock, NULL);
    pthread_mutex_init(&fault->request_lock, NULL);
    pthread_cond_init(&fault->room, NULL);
    return fault;
}

/* The client's, made at first use. With device_lock. */
static int fault_get(struct umdev_client *client, struct client_fault **result)
{
    struct client_fault *fault = atomic_load(&client->fault);
    int ret;

    *result = fault;
    if (fault)
        return 0;
    fault = fault_new(client);
    if (!fault)
        return -ENOMEM;
    ret = prepare(fault);
    if (!ret)
        ret = open_channel(client, &fault->channel);
    if (!ret)
        ret = fault_threads_start(fault);
    if (ret) {
        /* A server that has a channel can't be given another one. */
        if (fault->channel >= 0) {
            shutdown(fault->channel, SHUT_RDWR);
            client_end(client);
        }
        fault_threads_stop(fault);
        fault_free(fault);
        return ret;
    }
    atomic_store(&client->fault, fault);
    /* It may have been over before anybody could know of the channel. */
    if (!umdev_client_alive(client))
        client_fault_shutdown(client);
    *result = fault;
    return 0;
}

/* ------------------------------------------------------------------ views */

struct fault_view *fault_view_at(const struct client_fault *fault, uintptr_t address)
{
    struct fault_view *view = fault->views;

    while (view && address - (uintptr_t)view->addr >= view->len)
        view = view->next;
    return view;
}

/* With map_lock. */
static void list_view(struct client_fault *fault, struct fault_view *view)
{
    LOCK_FOR_SCOPE(&fault->request_lock);
    view->serial = ++fault->next_serial;
    view->next = fault->views;
    fault->views = view;
}

void fault_view_add(struct client_fault *fault, struct fault_view *view)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    list_view(fault, view);
}

static int add_view(struct client_fault *fault, struct fault_view *view)
{
    int ret;

    LOCK_FOR_SCOPE(&fault->map_lock);
    ret = grow_blank(fault, view->len);
    if (!ret)
        ret = make_placeholder(fault, view->len, &view->addr);
    if (!ret)
        list_view(fault, view);
    return ret;
}

int client_fault_map_view(struct umdev_client *client, unsigned region, struct range range,
                          struct fault_view **result)
{
    CLEANUP_FREE struct fault_view *view = calloc(1, sizeof(*view));
    struct client_fault *fault;
    int ret;

    if (!view)
        return -ENOMEM;
    view->region = region;
    view->uffd = -1;
    view->range = range;
    view->len = (size_t)range_size_minus_1(range) + 1;
    LOCK_FOR_SCOPE(&client->device_lock);
    ret = fault_get(client, &fault);
    if (!ret && fault_identity_map(fault, view))
        ret = add_view(fault, view);
    if (!ret)
        *result = TAKE_POINTER(view);
    return ret;
}

/* With map_lock. */
static void unlist_view(struct client_fault *fault, struct fault_view *view)
{
    struct fault_view **link = &fault->views;

    LOCK_FOR_SCOPE(&fault->request_lock);
    while (*link != view)
        link = &(*link)->next;
    *link = view->next;
    for (unsigned i = 0; i < WIRE_FAULTS_MAX; i++) {
        if (fault->requests[i].view == view)
            fault->requests[i].view = NULL;
    }
}

void fault_view_remove(struct client_fault *fault, struct fault_view *view)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    unlist_view(fault, view);
}

void client_fault_unmap_view(struct umdev_client *client, struct fault_view *view)
{
    struct client_fault *fault = atomic_load(&client->fault);

    if (client_fault_forked(client)) {
        if (view->uffd >= 0)
            close(view->uffd);
    } else if (view->uffd >= 0) {
        fault_view_remove(fault, view);
        fault_identity_unmap(fault, view);
    } else {
        LOCK_FOR_SCOPE(&fault->map_lock);
        unlist_view(fault, view);
        fault_map_forget(fault, view);
        munmap(view->addr, view->len);
        /* Who waits for one of its pages touches what is not mapped any more. */
        fault_view_wake(fault, view, view->range);
    }
    free(view);
}

/* ------------------------------------------------------------------ end */

bool client_fault_forked(const struct umdev_client *client)
{
    const struct client_fault *fault = atomic_load(&client->fault);

    return fault && fault->pid != getpid();
}

void client_fault_shutdown(struct umdev_client *client)
{
    const struct client_fault *fault = atomic_load(&client->fault);

    if (fault)
        shutdown(fault->channel, SHUT_RDWR);
}

void client_fault_close(struct umdev_client *client)
{
    struct client_fault *fault = atomic_load(&client->fault);

    if (!fault || client_fault_forked(client))
        return;
    atomic_store(&fault->closing, true);
    shutdown(fault->channel, SHUT_RDWR);
}

void client_fault_fini(struct umdev_client *client)
{
    struct client_fault *fault = atomic_load(&client->fault);

    if (!fault)
        return;
    if (!client_fault_forked(client))
        fault_threads_stop(fault);
    atomic_store(&client->fault, NULL);
    fault_free(fault);
}

static struct umdev_client_fault_stats fault_stats(struct client_fault *fault)
{
    struct umdev_client_fault_stats stats;

    LOCK_FOR_SCOPE(&fault->map_lock);
    LOCK_FOR_SCOPE(&fault->request_lock);
    stats = fault->stats;
    stats.negotiated = true;
    stats.lost = fault->lost;
    return stats;
}

int umdev_client_get_fault_stats(struct umdev_client *client,
                                 struct umdev_client_fault_stats *stats)
{
    struct client_fault *fault = atomic_load(&client->fault);
    struct umdev_client_fault_stats all = {.negotiated = client->fault_negotiated};
    size_t size = stats->struct_size;

    if (size < sizeof(size))
        return -EINVAL;
    if (fault && !client_fault_forked(client))
        all = fault_stats(fault);
    all.struct_size = size;
    memcpy(stats, &all, MIN(size, sizeof(all)));
    return 0;
}
