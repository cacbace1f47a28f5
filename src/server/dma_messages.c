/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/dma_messages.h"

#include "base/clock.h"
#include "base/range.h"
#include "server/session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* How often a client that began a message and does not end it is looked at. */
#define RECEIVE_TIMEOUT_S 1

/* How long an overdue answer is looked for in what the client has sent. */
#define EXCUSED_NS UINT64_C(1000000000)

/* A client that always has one more message ready does not keep its device from its memory. */
#define PASS_OVER_MAX 64

void session_dma_init(struct session *session)
{
    atomic_init(&session->dma.wake, -1);
}

void session_dma_fini(struct session *session)
{
    int wake = atomic_load(&session->dma.wake);

    if (wake >= 0)
        close(wake);
}

int session_dma_prepare(struct session *session)
{
    const struct timeval timeout = {.tv_sec = RECEIVE_TIMEOUT_S};
    int wake;

    if (atomic_load(&session->dma.wake) >= 0)
        return 0;
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0)
        return -errno;
    setsockopt(session->sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    atomic_store(&session->dma.wake, wake);
    return 0;
}

void session_dma_wanted(struct session *session)
{
    int wake = atomic_load(&session->dma.wake);
    uint64_t one = 1;

    /* A full counter means that a wake-up is due anyway. */
    if (wake >= 0)
        (void)!write(wake, &one, sizeof(one));
}

/* ------------------------------------------------------------------ out */

static bool id_is_pending(const struct session_dma *dma, uint16_t id)
{
    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        if (dma->pending[i].used && dma->pending[i].id == id)
            return true;
    }
    return false;
}

/* The bytes of a write are behind the two headers already. */
static int send_request(struct session *session, const struct device_dma_message *message)
{
    struct session_dma *dma = &session->dma;
    const struct wire_dma_access access = {.address = message->address, .count = message->count};
    struct wire_header header = {
        .command = message->write ? WIRE_DMA_WRITE : WIRE_DMA_READ,
        .size = (uint32_t)(sizeof(header) + sizeof(access) + (message->write ? message->count : 0)),
        .flags = WIRE_TYPE_COMMAND,
    };

    do
        header.id = dma->next_id++;
    while (id_is_pending(dma, header.id));
    dma->pending[message->slot].used = true;
    dma->pending[message->slot].id = header.id;
    dma->pending[message->slot].message = *message;
    memcpy(session->reply, &header, sizeof(header));
    memcpy(session->reply + sizeof(header), &access, sizeof(access));
    return wire_send(session->sock, session->reply, header.size, NULL, 0);
}

/*
 * Whether the client owes an answer for too long. One that has sent something since is heard first,
 * for the answer may be in it; but that has an end, too.
 */
static int check_overdue(struct session *session)
{
    struct pollfd readable = {.fd = session->sock, .events = POLLIN};
    struct session_dma *dma = &session->dma;
    uint64_t due = device_dma_deadline(session->dev), now = clock_now_ns();

    if (!due || now < due) {
        dma->excused_ns = 0;
        session->stream.deadline_ns = due;
        return 0;
    }
    if (!dma->excused_ns)
        dma->excused_ns = now + EXCUSED_NS;
    if (now < dma->excused_ns && poll(&readable, 1, 0) > 0) {
        session->stream.deadline_ns = dma->excused_ns;
        return 0;
    }
    device_dma_abort(session->dev, -ETIMEDOUT);
    return -ETIMEDOUT;
}

/* −1: there is nothing to wait for. */
static int ms_until(uint64_t due)
{
    return due ? clock_ms_until(due) : -1;
}

int session_dma_send(struct session *session, int *timeout_ms)
{
    uint8_t *data = session->reply + sizeof(struct wire_header) + sizeof(struct wire_dma_access);
    size_t max = (size_t)session_max_data(session);
    struct device_dma_message message;
    enum device_dma_next next;
    int ret;

    do {
        next = device_dma_next(session->dev, MAX(max, 1), data, &message);
        ret = next == DEVICE_DMA_SEND ? send_request(session, &message) : 0;
    } while (!ret && next == DEVICE_DMA_SEND);
    if (!ret)
        ret = check_overdue(session);
    *timeout_ms = next == DEVICE_DMA_AGAIN ? 0 : ms_until(device_dma_deadline(session->dev));
    return ret;
}

int session_dma_take_turn(struct session *session)
{
    int timeout_ms, ret;

    if (++session->dma.passed_over < PASS_OVER_MAX)
        return 0;
    ret = session_dma_send(session, &timeout_ms);
    session->dma.passed_over = 0;
    return ret;
}

/* ------------------------------------------------------------------ in */

/*
 * Whether the body is that of a success: the request's address and count, and the bytes of a read.
 * The count of a write's answer has four bytes in the specification's table, and eight in QEMU.
 */
static bool body_matches(const struct device_dma_message *request,
                         const struct wire_message *message)
{
    struct wire_dma_access access = {0};
    size_t count_size = sizeof(access.count);

    if (request->write && message->body_size == sizeof(access.address) + sizeof(uint32_t))
        count_size = sizeof(uint32_t);
    if (message->body_size !=
        sizeof(access.address) + count_size + (request->write ? 0 : request->count))
        return false;
    memcpy(&access.address, message->body, sizeof(access.address));
    /* Little-endian: the low half of `count` is its first. */
    memcpy(&access.count, message->body + sizeof(access.address), count_size);
    return access.address == request->address && access.count == request->count;
}

/* 0, or the client's −errno; *broken: it is no answer to this request. */
static int reply_result(const struct device_dma_message *request,
                        const struct wire_message *message, bool *broken)
{
    const struct wire_header *header = &message->header;

    *broken = true;
    if (header->flags & ~(uint32_t)(WIRE_TYPE_REPLY | WIRE_ERROR) || message->fds->count ||
        header->command != (request->write ? WIRE_DMA_WRITE : WIRE_DMA_READ))
        return 0;
    if (header->flags & WIRE_ERROR) {
        if (message->body_size || header->error > WIRE_ERRNO_MAX)
            return 0;
        *broken = false;
        return header->error ? -(int)header->error : -EIO;
    }
    *broken = !body_matches(request, message);
    return 0;
}

int session_dma_reply(struct session *session, const struct wire_message *message)
{
    struct session_dma *dma = &session->dma;

    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        bool broken;
        int result;

        if (!dma->pending[i].used || dma->pending[i].id != message->header.id)
            continue;
        result = reply_result(&dma->pending[i].message, message, &broken);
        if (broken)
            return -EPROTO;
        dma->pending[i].used = false;
        device_dma_answer(session->dev, i, result, message->body + sizeof(struct wire_dma_access));
        return 1;
    }
    return -EPROTO;
}
