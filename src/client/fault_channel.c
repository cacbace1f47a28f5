/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault channel: packets out, packets in, and what the server may say in them.
 *
 * Whatever it says that makes no sense ends the channel with −EPROTO. Nothing of such a packet has
 * been done by then.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "client/fault.h"
#include "client/regions.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define NS_PER_MS UINT64_C(1000000)
/* To protect pages costs time for each: of a read-only answer no more than these are taken. */
#define READONLY_WINDOW (512 * PAGE_SIZE_4K)

/* ------------------------------------------------------------------ out */

static void send_packet(struct client_fault *fault, const struct wire_fault_packet *packet)
{
    /* Few packets can be under way at once; a server that lets them pile up reads none. */
    if (send(fault->channel, packet, sizeof(*packet), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        shutdown(fault->channel, SHUT_RDWR);
}

void fault_channel_ask(struct client_fault *fault, const struct fault_request *request)
{
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_FAULT,
        .tag = request->tag,
        .region = request->region,
        .first = request->page,
        .prot = request->access,
    };

    send_packet(fault, &packet);
}

void fault_channel_ack(struct client_fault *fault, uint32_t tag)
{
    struct wire_fault_packet packet = {.type = WIRE_FAULT_ACK, .tag = tag};

    send_packet(fault, &packet);
}

/* ------------------------------------------------------------------ objects */

static size_t object_index(const struct client_fault *fault, uint32_t id)
{
    size_t low = 0, high = fault->nobjects;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (fault->objects[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct fault_object *object_find(const struct client_fault *fault, uint32_t id)
{
    size_t at = object_index(fault, id);

    return at < fault->nobjects && fault->objects[at].id == id ? &fault->objects[at] : NULL;
}

/* −EACCES, −EPERM: not for that protection. */
static int try_map(int fd, int prot)
{
    void *page = mmap(NULL, PAGE_SIZE_4K, prot, MAP_SHARED, fd, 0);

    if (page == MAP_FAILED)
        return -errno;
    munmap(page, PAGE_SIZE_4K);
    return 0;
}

/*
 * A memfd that can be mapped: one that can't would leave a hole where it should have been. It may
 * be sealed against writing. It is of the file system of our own, whose pages have 4 KiB: of one
 * with huge pages mmap() lays down a whole one, over what lies beside the view; and of one in user
 * space the server says how long a touch takes.
 */
static int object_check(const struct client_fault *fault, int fd, struct fault_object *object)
{
    struct stat st, own;
    int ret;

    if (fstat(fd, &st) || fstat(fault->nowhere, &own) || st.st_dev != own.st_dev ||
        !S_ISREG(st.st_mode) || st.st_size < (off_t)PAGE_SIZE_4K)
        return -EPROTO;
    object->size = (uint64_t)st.st_size;
    ret = try_map(fd, PROT_READ | PROT_WRITE);
    object->writable = !ret;
    if (ret == -EPERM || ret == -EACCES)
        ret = try_map(fd, PROT_READ);
    return !ret || ret == -ENOMEM ? ret : -EPROTO;
}

/* The fd is then the object's. */
static int object_add(struct client_fault *fault, uint32_t id, int *fd)
{
    size_t at = object_index(fault, id);
    struct fault_object object = {.id = id}, *objects;
    int ret = object_check(fault, *fd, &object);

    if (ret)
        return ret;
    objects = reallocarray(fault->objects, fault->nobjects + 1, sizeof(*objects));
    if (!objects)
        return -ENOMEM;
    fault->objects = objects;
    memmove(&objects[at + 1], &objects[at], (fault->nobjects - at) * sizeof(*objects));
    object.fd = take_fd(fd);
    objects[at] = object;
    fault->nobjects++;
    return 0;
}

void fault_objects_free(struct client_fault *fault)
{
    for (size_t i = 0; i < fault->nobjects; i++)
        close(fault->objects[i].fd);
    free(fault->objects);
}

/* ------------------------------------------------------------------ MAP */

static bool is_page_range(const struct wire_fault_packet *packet)
{
    return packet->first <= packet->last && is_aligned(packet->first, PAGE_SIZE_4K) &&
           is_aligned(packet->last + 1, PAGE_SIZE_4K) && packet->last != UINT64_MAX;
}

/* Whether the answer is one to that question. */
static int check_answer(const struct client_fault *fault, const struct wire_fault_packet *packet,
                        const struct fault_request *question, const struct fault_object **object)
{
    struct range range = {packet->first, packet->last};
    uint64_t region_size = fault->client->regions[packet->region]->info.size;

    if (!is_page_range(packet) || !range_has(range, question->page) ||
        !is_aligned(packet->object_offset, PAGE_SIZE_4K) || range.last >= region_size ||
        (packet->prot & ~(unsigned)(WIRE_FAULT_PROT_READ | WIRE_FAULT_PROT_WRITE)) ||
        (question->access & ~packet->prot))
        return -EPROTO;
    *object = object_find(fault, packet->object);
    if (!*object ||
        !span_fits(packet->object_offset, range_size_minus_1(range) + 1, (*object)->size) ||
        (packet->prot & WIRE_FAULT_PROT_WRITE && !(*object)->writable))
        return -EPROTO;
    return 0;
}

static enum fault_kind choose_kind(const struct wire_fault_packet *packet,
                                   const struct fault_object *object)
{
    if (packet->prot & WIRE_FAULT_PROT_WRITE)
        return FAULT_WRITABLE;
    return object->writable ? FAULT_READONLY : FAULT_SEALED;
}

/* The part of the answer that is mapped. */
static struct range choose_range(const struct wire_fault_packet *packet,
                                 const struct fault_request *question, enum fault_kind kind)
{
    struct range range = {MAX(packet->first, question->view->range.first),
                          MIN(packet->last, question->view->range.last)};

    if (kind == FAULT_READONLY) {
        uint64_t window = align_down(question->page, READONLY_WINDOW);

        range.first = MAX(range.first, window);
        range.last = MIN(range.last, window + READONLY_WINDOW - 1);
    }
    return range;
}

static int apply_answer(struct client_fault *fault, const struct wire_fault_packet *packet,
                        const struct fault_request *question, const struct fault_object *object)
{
    enum fault_kind kind = choose_kind(packet, object);
    struct range range;

    if (!question->view || question->view->uffd >= 0)
        return 0;
    range = choose_range(packet, question, kind);
    return fault_map_object(fault, question->view, range, object,
                            packet->object_offset + (range.first - packet->first), kind);
}

static int take_object(struct client_fault *fault, const struct wire_fault_packet *packet, int *fd)
{
    bool expected = packet->flags & WIRE_FAULT_MAP_FD;

    if ((packet->flags & ~(unsigned)WIRE_FAULT_MAP_FD) || expected != (*fd >= 0) ||
        (expected && (packet->error || object_find(fault, packet->object))))
        return -EPROTO;
    return expected ? object_add(fault, packet->object, fd) : 0;
}

static int handle_map(struct client_fault *fault, const struct wire_fault_packet *packet, int *fd)
{
    const struct fault_object *object = NULL;
    struct fault_request question;
    int ret, result;

    LOCK_FOR_SCOPE(&fault->map_lock);
    if (!fault_request_take(fault, packet->tag, &question) || question.region != packet->region)
        return -EPROTO;
    ret = take_object(fault, packet, fd);
    if (!ret && !packet->error)
        ret = check_answer(fault, packet, &question, &object);
    if (ret)
        return ret;
    if (packet->error > WIRE_ERRNO_MAX)
        return -EPROTO;
    result = packet->error ? -(int)packet->error : apply_answer(fault, packet, &question, object);
    ret = fault_request_finish(fault, &question, result);
    return !packet->error && result == -ENOTRECOVERABLE ? result : ret;
}

/* ------------------------------------------------------------------ INVALIDATE */

static int handle_invalidate(struct client_fault *fault, const struct wire_fault_packet *packet)
{
    struct range range = {packet->first, packet->last};
    int ret = 0;

    if (packet->flags || !is_page_range(packet) || packet->region >= CLIENT_MAX_REGIONS)
        return -EPROTO;
    LOCK_FOR_SCOPE(&fault->map_lock);
    for (struct fault_view *view = fault->views; !ret && view; view = view->next) {
        if (view->region != packet->region || !range_overlaps(view->range, range))
            continue;
        ret = fault_map_blank(
            fault, view,
            (struct range){MAX(range.first, view->range.first), MIN(range.last, view->range.last)});
    }
    if (ret)
        return ret;
    fault->stats.invalidated++;
    fault_channel_ack(fault, packet->tag);
    return 0;
}

/* ------------------------------------------------------------------ in */

static int handle(struct client_fault *fault, const struct wire_fault_packet *packet, int *fd)
{
    static const uint8_t zero[sizeof(packet->zero)];

    if (memcmp(packet->zero, zero, sizeof(zero)) != 0)
        return -EPROTO;
    if (packet->type == WIRE_FAULT_MAP)
        return handle_map(fault, packet, fd);
    if (packet->type == WIRE_FAULT_INVALIDATE && *fd < 0)
        return handle_invalidate(fault, packet);
    return -EPROTO;
}

/* Wait for a packet while no request is late. −ETIMEDOUT: one is. */
static int wait_in_time(struct client_fault *fault)
{
    struct pollfd pfd = {.fd = fault->channel, .events = POLLIN};
    uint64_t slice = (uint64_t)fault->timeout_ms * NS_PER_MS / 8 + NS_PER_MS;

    for (;;) {
        uint64_t now = clock_now_ns(), deadline;

        pthread_mutex_lock(&fault->request_lock);
        deadline = fault_request_deadline(fault);
        pthread_mutex_unlock(&fault->request_lock);
        if (deadline && deadline <= now)
            return -ETIMEDOUT;
        if (deadline && deadline - now < slice)
            slice = deadline - now;
        if (poll(&pfd, 1, (int)(slice / NS_PER_MS) + 1) > 0)
            return 0;
    }
}

/* 1, 0: the channel has ended, or −errno. */
static int receive(struct client_fault *fault, struct wire_fault_packet *packet, int *fd)
{
    uint8_t bytes[sizeof(*packet) + 1]; /* a longer one is noticed */
    struct fd_array fds;
    ssize_t got;

    fd_array_init(&fds);
    got = fdpass_recv(fault->channel, bytes, sizeof(bytes), &fds);
    *fd = fd_array_take(&fds, 0);
    if (fds.count > 1 || (got > 0 && got != sizeof(*packet)))
        got = -EPROTO;
    fd_array_close(&fds);
    if (got <= 0)
        return got == -ECONNRESET ? 0 : (int)got;
    memcpy(packet, bytes, sizeof(*packet));
    return 1;
}

/* One packet. 1, 0: the channel has ended, or −errno. */
static int receive_and_handle(struct client_fault *fault)
{
    struct wire_fault_packet packet;
    CLEANUP_FD int fd = -1;
    int ret;

    ret = receive(fault, &packet, &fd);
    if (ret <= 0)
        return ret;
    ret = handle(fault, &packet, &fd);
    return ret ? ret : 1;
}

int fault_channel_run(struct client_fault *fault)
{
    int ret;

    do {
        ret = fault->timeout_ms > 0 ? wait_in_time(fault) : 0;
        if (!ret)
            ret = receive_and_handle(fault);
    } while (ret > 0);
    return ret;
}
