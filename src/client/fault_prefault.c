/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prefault: the pages of a range asked for before they are touched.
 *
 * A page at a time; answers that reach further save the questions for what they cover. Locks are
 * not held between the steps: a view that is looked for again is known by its serial number.
 */
#include "client/fault.h"

#include "base/cleanup.h"

#include <errno.h>

/* With map_lock: the first view that was made after the one with that serial and has a byte of the
 * range of the region. */
static struct fault_view *next_view(const struct client_fault *fault, unsigned region,
                                    struct range range, uint64_t serial)
{
    struct fault_view *next = NULL;

    for (struct fault_view *view = fault->views; view; view = view->next) {
        if (view->region == region && view->serial > serial && range_overlaps(view->range, range) &&
            (!next || view->serial < next->serial))
            next = view;
    }
    return next;
}

/* Where a prefault has got to. */
struct progress {
    unsigned region, access;
    struct range range;
    uint64_t serial; /* of the view; 0: none yet */
    uint64_t page;   /* the next of this view */
    uint8_t *addr;   /* of a page of a short view, or NULL */
    uint64_t deadline;
};

/* A request of our own for the page; there may have to be room for it first. With request_lock. */
static int begin_request(struct client_fault *fault, const struct progress *at,
                         struct fault_wait *wait, struct fault_request **request)
{
    int ret = 0;

    for (;;) {
        struct fault_view *view = next_view(fault, at->region, at->range, at->serial - 1);

        if (fault->lost)
            return -ENOTCONN;
        /* Unmapped meanwhile. */
        if (!view || view->serial != at->serial)
            return -EINVAL;
        *request = fault_request_new(fault, view, at->page, at->access);
        if (*request) {
            (*request)->wait = wait;
            return 0;
        }
        if (ret)
            return ret;
        fault->waiting_for_room++;
        ret = client_wait_woken(&fault->room, &fault->request_lock, at->deadline);
        fault->waiting_for_room--;
    }
}

/* Ask for one page and wait for the answer. */
static int ask_page(struct client_fault *fault, const struct progress *at)
{
    struct fault_wait wait = {.answered = PTHREAD_COND_INITIALIZER};
    struct fault_request *request;
    uint32_t tag;
    int ret;

    LOCK_FOR_SCOPE(&fault->request_lock);
    ret = begin_request(fault, at, &wait, &request);
    if (ret)
        return ret;
    tag = request->tag;
    fault_channel_ask(fault, request);
    while (!ret && !wait.done)
        ret = client_wait_woken(&wait.answered, &fault->request_lock, at->deadline);
    /* An answer that comes later is for those who touch the page. */
    if (!wait.done)
        fault_request_by_tag(fault, tag)->wait = NULL;
    return wait.done ? wait.result : ret;
}

/* The next page to be asked for, if there is one; *at is there then. */
static bool find_page(struct client_fault *fault, struct progress *at)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    for (;;) {
        const struct fault_view *view =
            next_view(fault, at->region, at->range, at->serial ? at->serial - 1 : 0);

        if (!view)
            return false;
        at->serial = view->serial;
        at->page = MAX(at->page, MAX(view->range.first, at->range.first));
        while (at->page <= MIN(view->range.last, at->range.last)) {
            uint64_t last;

            at->addr = view->uffd < 0 ? NULL : view->addr + (at->page - view->range.first);
            if (at->addr || !fault_map_has(fault, view, at->page, at->access, &last))
                return true;
            at->page = last + 1;
        }
        at->serial++;
        at->page = 0;
    }
}

/* The short way. It does not tell why a page is refused: for that the server is asked. */
static int touch_page(struct client_fault *fault, const struct progress *at)
{
    int ret = fault_identity_populate(at->addr, at->access);

    if (!ret)
        return 0;
    ret = ask_page(fault, at);
    /* It may have changed its mind meanwhile. */
    return ret ? ret : fault_identity_populate(at->addr, at->access);
}

static int prefault(struct client_fault *fault, struct progress *at)
{
    int ret = 0;

    while (!ret && find_page(fault, at)) {
        ret = at->addr ? touch_page(fault, at) : ask_page(fault, at);
        /* Not looked at again: it may have been evicted, and so for ever. */
        at->page += PAGE_SIZE_4K;
    }
    return ret;
}

static bool has_view(struct client_fault *fault, const struct progress *at)
{
    LOCK_FOR_SCOPE(&fault->map_lock);
    return next_view(fault, at->region, at->range, 0);
}

int umdev_client_prefault(struct umdev_client *client, unsigned region, uint64_t offset,
                          uint64_t size, unsigned access)
{
    struct client_fault *fault = atomic_load(&client->fault);
    struct progress at = {.region = region, .access = access};

    if (!access || (access & ~(unsigned)UMDEV_RW) || range_make(offset, size, &at.range) ||
        at.range.last > UINT64_MAX - PAGE_SIZE_4K || !fault || !has_view(fault, &at))
        return -EINVAL;
    at.range.first = align_down(at.range.first, PAGE_SIZE_4K);
    at.deadline = client_deadline(client);
    return prefault(fault, &at);
}
