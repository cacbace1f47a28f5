/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests: what was asked and not answered yet.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "client/fault.h"

#include <errno.h>

/* A tag is its request's place, below what makes it differ from those that were there before. */
#define SLOT(tag) ((tag) % WIRE_FAULTS_MAX)

struct fault_request *fault_request_find(struct client_fault *fault, const struct fault_view *view,
                                         uint64_t page, unsigned access)
{
    for (unsigned i = 0; i < WIRE_FAULTS_MAX; i++) {
        struct fault_request *request = &fault->requests[i];

        if (request->open && !request->answered && request->view == view && request->page == page &&
            !(access & ~request->access))
            return request;
    }
    return NULL;
}

struct fault_request *fault_request_new(struct client_fault *fault, struct fault_view *view,
                                        uint64_t page, unsigned access)
{
    unsigned slot = 0;

    while (slot < WIRE_FAULTS_MAX && fault->requests[slot].open)
        slot++;
    if (slot == WIRE_FAULTS_MAX)
        return NULL;
    fault->next_tag += WIRE_FAULTS_MAX;
    fault->requests[slot] = (struct fault_request){
        .open = true,
        .tag = fault->next_tag + slot,
        .view = view,
        .region = view->region,
        .page = page,
        .access = access,
    };
    if (fault->timeout_ms > 0)
        fault->requests[slot].deadline =
            clock_now_ns() + (uint64_t)fault->timeout_ms * UINT64_C(1000000);
    return &fault->requests[slot];
}

struct fault_request *fault_request_by_tag(struct client_fault *fault, uint32_t tag)
{
    struct fault_request *request = &fault->requests[SLOT(tag)];

    return request->open && request->tag == tag ? request : NULL;
}

bool fault_request_take(struct client_fault *fault, uint32_t tag, struct fault_request *copy)
{
    struct fault_request *request;

    LOCK_FOR_SCOPE(&fault->request_lock);
    request = fault_request_by_tag(fault, tag);
    if (!request)
        return false;
    request->answered = true;
    *copy = *request;
    return true;
}

static void end_request(struct client_fault *fault, struct fault_request *request, int result)
{
    struct fault_wait *wait = request->wait;

    if (wait) {
        wait->result = result;
        wait->done = true;
        pthread_cond_signal(&wait->answered);
    }
    request->open = false;
    request->wait = NULL;
    if (fault->waiting_for_room)
        pthread_cond_signal(&fault->room);
}

uint64_t fault_request_deadline(const struct client_fault *fault)
{
    uint64_t next = 0;

    for (unsigned i = 0; i < WIRE_FAULTS_MAX; i++) {
        const struct fault_request *request = &fault->requests[i];

        if (request->open && request->deadline && (!next || request->deadline < next))
            next = request->deadline;
    }
    return next;
}

/* ------------------------------------------------------------------ answers */

/* Those who touched what there was no free request for try again. With request_lock. */
static void wake_left_alone(struct client_fault *fault)
{
    if (!fault->overflow)
        return;
    fault->overflow = false;
    for (struct fault_view *view = fault->views; view; view = view->next)
        fault_view_wake(fault, view, view->range);
}

/* The server has said no, or what it said could not be done. EAGAIN: it is too busy just now. */
static int refuse(struct client_fault *fault, const struct fault_request *request, int result)
{
    struct range page = {request->page, request->page + PAGE_SIZE_4K - 1};

    if (!request->view)
        return 0;
    if (!request->wait && result != -EAGAIN) {
        fault->stats.refused++;
        return fault_map_refuse(fault, request->view, request->page);
    }
    /* Who asked is told; a toucher that relied on the same question asks for itself, or again. */
    fault_view_wake(fault, request->view, page);
    return 0;
}

int fault_request_finish(struct client_fault *fault, const struct fault_request *request,
                         int result)
{
    int ret = result ? refuse(fault, request, result) : 0;

    LOCK_FOR_SCOPE(&fault->request_lock);
    end_request(fault, fault_request_by_tag(fault, request->tag), result);
    wake_left_alone(fault);
    return ret;
}
