/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/fault_identity.h"

#include "base/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

/* So much of an answer is mapped with the page that was touched, from there on. */
#define AHEAD (UINT64_C(512) * PAGE_SIZE_4K)
/* A page that the object has not got is made so often. Then who waits tries again. */
#define TRIES 3

int fault_identity_init(struct fault_identity *identity, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    identity->epoll = epoll_create1(EPOLL_CLOEXEC);
    return identity->epoll < 0 || epoll_ctl(identity->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno
                                                                                        : 0;
}

/* Its fd, to be closed. */
static int window_end(struct fault_identity *identity, struct identity_window *window)
{
    int fd = window->uffd;

    /* The client has it, too: to close it would not take it out. */
    epoll_ctl(identity->epoll, EPOLL_CTL_DEL, fd, NULL);
    *window = (struct identity_window){0};
    return fd;
}

void fault_identity_fini(struct fault_identity *identity)
{
    for (unsigned i = 0; i < WIRE_FAULT_IDENTITY_MAX; i++)
        if (identity->windows[i].serial)
            close(window_end(identity, &identity->windows[i]));
    for (unsigned i = 0; i < identity->nforked; i++)
        close(identity->forked[i]);
    if (identity->epoll >= 0)
        close(identity->epoll);
}

/* ------------------------------------------------------------------ windows */

static struct identity_window *window_find(struct fault_identity *identity, uint64_t serial)
{
    for (unsigned i = 0; i < WIRE_FAULT_IDENTITY_MAX; i++)
        if (identity->windows[i].serial == serial)
            return &identity->windows[i];
    return NULL;
}

static bool is_touch(const struct uffd_msg *message)
{
    return message->event == UFFD_EVENT_PAGEFAULT &&
           !(message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
}

int fault_identity_check(int fd)
{
    struct uffd_msg message;
    int flags = fcntl(fd, F_GETFL), n;

    if (!uffd_is(fd) || flags < 0 || !(flags & O_NONBLOCK))
        return -EINVAL;
    n = uffd_read_now(fd, &message, 1);
    if (n == -EOPNOTSUPP)
        return n;
    /* An event of a fork comes with an fd. */
    if (n > 0 && message.event == UFFD_EVENT_FORK)
        close((int)message.arg.fork.ufd);
    if (n > 0 && !is_touch(&message))
        return -EINVAL;
    /* Who was early touches again. */
    if (n > 0)
        uffd_wake_page(fd, message.arg.pagefault.address);
    return n >= 0 || n == -EAGAIN ? 0 : -EINVAL;
}

int fault_identity_add(struct fault_identity *identity, const struct identity_window *window)
{
    struct identity_window *slot = window_find(identity, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = identity->last_serial + 1};

    if (!slot)
        return -ENOSPC;
    if (epoll_ctl(identity->epoll, EPOLL_CTL_ADD, window->uffd, &event))
        return -errno;
    *slot = *window;
    slot->serial = ++identity->last_serial;
    return 0;
}

int fault_identity_remove(struct fault_identity *identity, unsigned region, uint64_t offset,
                          uint64_t address, int *fd)
{
    for (unsigned i = 0; i < WIRE_FAULT_IDENTITY_MAX; i++) {
        struct identity_window *window = &identity->windows[i];

        if (!window->serial || window->gone || window->region != region ||
            window->range.first != offset || window->address != address)
            continue;
        if (window == identity->busy)
            window->gone = true;
        else
            *fd = window_end(identity, window);
        return 0;
    }
    return -ENOENT;
}

/* ------------------------------------------------------------------ touches */

int fault_identity_ready(struct fault_identity *identity, uint64_t serial, uint32_t events)
{
    struct identity_window *window = window_find(identity, serial);

    /* The kernel says so of one that may block. */
    if (window && events & EPOLLERR)
        return -EPROTO;
    if (window)
        window->ready = true;
    return 0;
}

/* −EPROTO: no touch of the window. */
static int take_message(struct fault_identity *identity, const struct identity_window *window,
                        const struct uffd_msg *message)
{
    uint64_t offset = message->arg.pagefault.address - window->address;

    if (message->event == UFFD_EVENT_FORK)
        identity->forked[identity->nforked++] = (int)message->arg.fork.ufd;
    if (!is_touch(message) || offset > range_size_minus_1(window->range))
        return -EPROTO;
    identity->touches[identity->ntouches++] = (struct identity_touch){
        .window = window->serial,
        .region = window->region,
        .access =
            message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE ? UMDEV_WRITE : UMDEV_READ,
        .page = align_down(window->range.first + offset, PAGE_SIZE_4K),
    };
    return 0;
}

/* Read what has come to a window, while no touch is kept. */
static int read_touches(struct fault_identity *identity, struct identity_window *window)
{
    struct uffd_msg messages[IDENTITY_BATCH];
    int n = uffd_read_now(window->uffd, messages, IDENTITY_BATCH), ret = 0;

    window->ready = n == (int)IDENTITY_BATCH;
    if (n < 0)
        return n == -EAGAIN ? 0 : -EPROTO;
    identity->first_touch = identity->ntouches = 0;
    for (int i = 0; i < n; i++)
        ret |= take_message(identity, window, &messages[i]);
    return ret;
}

int fault_identity_next(struct fault_identity *identity, struct identity_touch *touch)
{
    for (unsigned i = 0;;) {
        while (identity->first_touch < identity->ntouches) {
            *touch = identity->touches[identity->first_touch++];
            identity->busy = window_find(identity, touch->window);
            if (identity->busy)
                return 1;
        }
        while (i < WIRE_FAULT_IDENTITY_MAX && !identity->windows[i].ready)
            i++;
        if (i == WIRE_FAULT_IDENTITY_MAX)
            return 0;
        if (read_touches(identity, &identity->windows[i]))
            return -EPROTO;
    }
}

/* ------------------------------------------------------------------ answers */

static uint64_t address_of(const struct identity_window *window, uint64_t page)
{
    return window->address + (page - window->range.first);
}

/* −EFAULT: the object has no such page, and there is none to be had. */
static int map_pages(const struct umdev_device *dev, const struct identity_window *window,
                     const struct identity_touch *touch, struct range range)
{
    uint64_t last = MIN(MIN(range.last, window->range.last), touch->page + AHEAD - 1), done;
    int ret = -EFAULT;

    for (unsigned i = 0; i < TRIES && ret == -EFAULT; i++) {
        ret = uffd_continue(window->uffd, address_of(window, touch->page), last - touch->page + 1,
                            &done);
        if (ret == -EFAULT && device_fault_populate(dev, touch->region, touch->page))
            return -EFAULT;
    }
    return ret == -EFAULT ? -EAGAIN : ret;
}

int fault_identity_resolve(const struct umdev_device *dev, const struct identity_window *window,
                           const struct identity_touch *touch, const struct identity_answer *answer)
{
    uint64_t address = address_of(window, touch->page);
    int ret = answer->error;

    if (!ret)
        ret = -map_pages(dev, window, touch, answer->range);
    if (answer->error == EAGAIN)
        ret = EAGAIN;
    else if (answer->error || ret == EFAULT)
        ret = -uffd_poison_page(window->uffd, address);
    else if (!ret)
        return 0;
    switch (ret) {
    case 0:
    case EAGAIN: /* changes all the time, or the client's memory does */
    case EEXIST: /* there it is */
    case ENOENT: /* not mapped any more, and nobody waits */
    case ENOMEM:
        uffd_wake_page(window->uffd, address);
        return 0;
    case ESRCH: /* the client is gone, as the channel's end will tell */
        return 0;
    default:
        return -EPROTO;
    }
}

int fault_identity_done(struct fault_identity *identity)
{
    struct identity_window *window = identity->busy;

    identity->busy = NULL;
    return window->gone ? window_end(identity, window) : -1;
}
