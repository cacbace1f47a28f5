/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views the short way: of a region that is its own memory object. fault.h has the model.
 *
 * The object's file is mapped as a whole, once; what comes and goes are the kernel's entries for
 * its pages. The server reads the view's userfaultfd and puts them in.
 *
 * When the server is gone the mapper reads it instead, and refuses. A touch that the server had
 * read by then is nobody's: so all who wait are made to touch again, and once more from time to
 * time, for the server may not have noticed that it is gone.
 */
#include "base/cleanup.h"
#include "base/uffd.h"
#include "client/fault.h"
#include "client/regions.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define READ_BATCH     16
#define TOUCH_AGAIN_MS 500

/* ------------------------------------------------------------------ the server's part */

static int call(struct umdev_client *client, struct wire_umdev_fault_identity *body, int fd,
                int *reply_fd)
{
    struct client_call request = {
        .command = WIRE_UMDEV_FAULT_IDENTITY,
        .body = body,
        .body_size = sizeof(*body),
        .fds = &fd,
        .nfds = fd >= 0 ? 1 : 0,
        .reply = body,
        .reply_size = sizeof(*body),
        .reply_fd = reply_fd,
    };

    body->argsz = sizeof(*body);
    return client_call(client, &request);
}

/* The object, and where in it the view begins. */
static int open_object(struct umdev_client *client, const struct fault_view *view, int *result,
                       uint64_t *offset)
{
    struct wire_umdev_fault_identity body = {.flags = WIRE_FAULT_IDENTITY_OPEN,
                                             .region = view->region};
    CLEANUP_FD int fd = -1;
    struct stat st;
    int ret = call(client, &body, -1, &fd);

    if (ret)
        return ret;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
        !is_aligned(body.offset, PAGE_SIZE_4K) ||
        body.size != client->regions[view->region]->info.size ||
        !span_fits(body.offset, body.size, (uint64_t)st.st_size))
        return client_broken(client);
    *offset = body.offset + view->range.first;
    *result = take_fd(&fd);
    return 0;
}

static int tell(struct umdev_client *client, const struct fault_view *view, bool add)
{
    struct wire_umdev_fault_identity body = {
        .flags = add ? WIRE_FAULT_IDENTITY_ADD : WIRE_FAULT_IDENTITY_REMOVE,
        .region = view->region,
        .offset = view->range.first,
        .size = add ? view->len : 0,
        .address = (uintptr_t)view->addr,
    };

    return call(client, &body, add ? view->uffd : -1, NULL);
}

/* ------------------------------------------------------------------ views */

static int map_object(struct fault_view *view, int fd, uint64_t offset)
{
    void *addr = mmap(NULL, view->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                      (off_t)offset);
    int ret;

    if (addr == MAP_FAILED)
        return -errno;
    ret = madvise(addr, view->len, MADV_DONTFORK) ? -errno : 0;
    if (!ret)
        ret = uffd_register_shared(view->uffd, addr, view->len);
    if (ret)
        munmap(addr, view->len);
    else
        view->addr = addr;
    return ret;
}

static int make(struct client_fault *fault, struct fault_view *view)
{
    struct epoll_event event = {.events = EPOLLIN};
    CLEANUP_FD int fd = -1;
    uint64_t offset = 0;
    int ret = uffd_open_shared(&view->uffd);

    if (!ret)
        ret = open_object(fault->client, view, &fd, &offset);
    if (!ret)
        ret = map_object(view, fd, offset);
    if (ret)
        return ret;
    fault_view_add(fault, view);
    event.data.u64 = view->serial;
    /* From here on pages may be taken back, or the server be gone. */
    ret = epoll_ctl(fault->epoll, EPOLL_CTL_ADD, view->uffd, &event) ? -errno : 0;
    if (!ret)
        ret = tell(fault->client, view, true);
    if (ret)
        fault_view_remove(fault, view);
    return ret;
}

/* Neither in the list nor the server's any more. */
static void unmake(struct client_fault *fault, struct fault_view *view)
{
    if (view->addr) {
        munmap(view->addr, view->len);
        fault_view_wake(fault, view, view->range);
        /* The server may have it, too. */
        epoll_ctl(fault->epoll, EPOLL_CTL_DEL, view->uffd, NULL);
    }
    if (view->uffd >= 0)
        close(view->uffd);
    view->addr = NULL;
    view->uffd = -1;
}

int fault_identity_map(struct client_fault *fault, struct fault_view *view)
{
    const struct client_region *region = fault->client->regions[view->region];
    int ret;

    /* The server can only refuse by poison; and who waits for it alone keeps no time. */
    if (!region->identity || !fault->can_poison || fault->timeout_ms > 0)
        return -EOPNOTSUPP;
    ret = make(fault, view);
    if (ret) {
        unmake(fault, view);
        log_print(&fault->client->log, UMDEV_LOG_DEBUG, "client",
                  "region %u: not the short way: %s", view->region, log_errno(-ret));
    }
    return ret;
}

void fault_identity_unmap(struct client_fault *fault, struct fault_view *view)
{
    struct fault_view was = *view;

    unmake(fault, view);
    tell(fault->client, &was, false);
}

int fault_identity_blank(const struct fault_view *view, struct range range)
{
    uint8_t *addr = view->addr + (range.first - view->range.first);

    return madvise(addr, (size_t)range_size_minus_1(range) + 1, MADV_DONTNEED) ? -errno : 0;
}

int fault_identity_populate(uint8_t *page, unsigned access)
{
    int advice = access & UMDEV_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

    return madvise(page, PAGE_SIZE_4K, advice) ? -errno : 0;
}

/* ------------------------------------------------------------------ the server is gone */

void fault_identity_touch_again(struct client_fault *fault)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    for (struct fault_view *view = fault->views; view; view = view->next)
        if (view->uffd >= 0)
            fault_view_wake(fault, view, view->range);
}

static bool has_views(struct client_fault *fault)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    for (const struct fault_view *view = fault->views; view; view = view->next)
        if (view->uffd >= 0)
            return true;
    return false;
}

/* If this fails who waits must try again. */
static void refuse(struct client_fault *fault, const struct fault_view *view,
                   const struct uffd_msg *message)
{
    uint64_t address = align_down(message->arg.pagefault.address, PAGE_SIZE_4K);

    if (message->event != UFFD_EVENT_PAGEFAULT)
        return;
    fault->stats.refused++;
    if (uffd_poison_page(view->uffd, address))
        uffd_wake_page(view->uffd, address);
}

static void refuse_touches(struct client_fault *fault, uint64_t serial)
{
    struct uffd_msg messages[READ_BATCH];
    struct fault_view *view;
    int n;
    LOCK_FOR_SCOPE(&fault->map_lock);

    for (view = fault->views; view && view->serial != serial; view = view->next)
        ;
    if (!view)
        return;
    n = uffd_read_now(view->uffd, messages, READ_BATCH);
    for (int i = 0; i < n; i++)
        refuse(fault, view, &messages[i]);
}

void fault_identity_wait(struct client_fault *fault)
{
    struct epoll_event events[READ_BATCH];
    int n = epoll_wait(fault->epoll, events, READ_BATCH, has_views(fault) ? TOUCH_AGAIN_MS : -1);

    if (n == 0)
        fault_identity_touch_again(fault);
    for (int i = 0; i < n; i++) {
        uint64_t count;

        if (events[i].data.u64)
            refuse_touches(fault, events[i].data.u64);
        else
            (void)!read(fault->work, &count, sizeof(count));
    }
}
