/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader, which turns touches into requests, and the mapper, which does what the server says.
 */
#include "base/cleanup.h"
#include "base/thread.h"
#include "base/uffd.h"
#include "client/fault.h"

#include <errno.h>
#include <sys/socket.h>

#define READ_BATCH 16

void fault_mapper_wake(const struct client_fault *fault)
{
    const uint64_t one = 1;

    (void)!write(fault->work, &one, sizeof(one));
}

/* ------------------------------------------------------------------ the reader */

/* With request_lock. The request that has to be sent for a touch, or NULL. */
static struct fault_request *note_touch(struct client_fault *fault, struct fault_view *view,
                                        uint64_t page, unsigned access)
{
    struct fault_request *request = NULL;

    if (!fault_request_find(fault, view, page, access)) {
        fault->stats.faults++;
        request = fault_request_new(fault, view, page, access);
        fault->overflow |= !request;
    }
    if (!fault->lost)
        return request;
    fault_mapper_wake(fault);
    return NULL;
}

/* A thread waits for a page: see to it that somebody is asked for it. */
static void handle_touch(struct client_fault *fault, uintptr_t address, unsigned access)
{
    const struct fault_request *request = NULL;
    struct fault_request asked;
    struct fault_view *view;

    pthread_mutex_lock(&fault->request_lock);
    view = fault_view_at(fault, address);
    if (view)
        request = note_touch(
            fault, view,
            align_down(view->range.first + (address - (uintptr_t)view->addr), PAGE_SIZE_4K),
            access);
    if (request)
        asked = *request;
    pthread_mutex_unlock(&fault->request_lock);
    if (request)
        fault_channel_ask(fault, &asked);
    /* Unmapped meanwhile: there is nothing to wait for. */
    if (!view)
        uffd_wake_page(fault->uffd, address);
}

/* False: the bell rang. */
static bool handle_message(struct client_fault *fault, const struct uffd_msg *message)
{
    uint64_t flags = message->arg.pagefault.flags;
    uintptr_t address = (uintptr_t)message->arg.pagefault.address;
    bool write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);

    /* That memory was moved had to be read, and no more. */
    if (message->event != UFFD_EVENT_PAGEFAULT)
        return true;
    if (align_down(address, PAGE_SIZE_4K) == (uintptr_t)fault->bell)
        return false;
    handle_touch(fault, address, write ? WIRE_FAULT_PROT_WRITE : WIRE_FAULT_PROT_READ);
    return true;
}

static void *reader_run(void *argument)
{
    struct client_fault *fault = argument;
    bool go_on = true;

    while (go_on) {
        struct uffd_msg messages[READ_BATCH];
        int n = uffd_read(fault->uffd, messages, READ_BATCH);

        for (int i = 0; i < n; i++)
            go_on &= handle_message(fault, &messages[i]);
    }
    while (uffd_zero(fault->uffd, fault->bell, PAGE_SIZE_4K) == -EAGAIN)
        ;
    return NULL;
}

/* ------------------------------------------------------------------ the mapper */

static void tell_lost(struct client_fault *fault, int cause)
{
    struct umdev_client *client = fault->client;

    if (atomic_load(&fault->closing))
        return;
    log_print(&client->log, UMDEV_LOG_WARNING, "client",
              "the server is gone (%s): what of its regions is not mapped raises SIGBUS",
              cause ? log_errno(-cause) : "it hung up");
    if (client->lost)
        client->lost(client->lost_opaque, cause ? cause : -ENOTCONN);
}

static bool take_any_request(struct client_fault *fault, struct fault_request *taken)
{
    for (unsigned i = 0; i < WIRE_FAULTS_MAX; i++) {
        if (fault->requests[i].open) {
            *taken = fault->requests[i];
            return true;
        }
    }
    return false;
}

/* Nobody will answer: refuse it. */
static void refuse_request(struct client_fault *fault, uint32_t tag)
{
    struct fault_request request;

    LOCK_FOR_SCOPE(&fault->map_lock);
    if (!fault_request_take(fault, tag, &request))
        return;
    /* If this fails who waits must try again. */
    if (fault_request_finish(fault, &request, -ENOTCONN) && request.view)
        fault_view_wake(fault, request.view, request.view->range);
}

/* What a mapper that is lost has to do next; false: to end. */
static bool next_request(struct client_fault *fault, struct fault_request *request, bool *any)
{
    LOCK_FOR_SCOPE(&fault->request_lock);
    *any = take_any_request(fault, request);
    return !fault->stop;
}

static void refuse_all(struct client_fault *fault)
{
    struct fault_request request;
    bool any;

    pthread_mutex_lock(&fault->request_lock);
    fault->lost = true;
    pthread_cond_broadcast(&fault->room);
    pthread_mutex_unlock(&fault->request_lock);
    fault_identity_touch_again(fault);
    while (next_request(fault, &request, &any)) {
        if (any)
            refuse_request(fault, request.tag);
        else
            fault_identity_wait(fault);
    }
}

static void *mapper_run(void *argument)
{
    struct client_fault *fault = argument;
    int cause = fault_channel_run(fault);

    shutdown(fault->channel, SHUT_RDWR);
    client_end(fault->client);
    tell_lost(fault, cause);
    refuse_all(fault);
    return NULL;
}

/* ------------------------------------------------------------------ their beginning and end */

int fault_threads_start(struct client_fault *fault)
{
    int ret = thread_start(&fault->reader, reader_run, fault);

    fault->reader_runs = !ret;
    if (!ret) {
        ret = thread_start(&fault->mapper, mapper_run, fault);
        fault->mapper_runs = !ret;
    }
    return ret;
}

void fault_threads_stop(struct client_fault *fault)
{
    if (fault->mapper_runs) {
        pthread_mutex_lock(&fault->request_lock);
        fault->stop = true;
        fault_mapper_wake(fault);
        pthread_mutex_unlock(&fault->request_lock);
        pthread_join(fault->mapper, NULL);
    }
    if (fault->reader_runs) {
        /* The touch ends when the reader has seen it. */
        *(volatile uint8_t *)fault->bell; /* NOLINT */
        pthread_join(fault->reader, NULL);
    }
}
