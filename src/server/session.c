/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/session.h"

#include "base/clock.h"
#include "base/range.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Longer VERSION requests are nobody's: the text names a handful of numbers. */
#define VERSION_MAX_BODY 16384

static void session_disconnect(struct device_client *client)
{
    struct session *session = (struct session *)((char *)client - offsetof(struct session, client));
    struct fault_channel *channel = atomic_load(&session->fault_channel);

    shutdown(session->sock, SHUT_RDWR);
    if (channel)
        fault_channel_end(channel);
}

static void session_client_dma_wanted(struct device_client *client)
{
    session_dma_wanted((struct session *)((char *)client - offsetof(struct session, client)));
}

int session_init(struct session *session, int sock, const struct log *log, const char *name)
{
    int ret;

    memset(session, 0, sizeof(*session));
    session->client.disconnect = session_disconnect;
    session->client.dma_wanted = session_client_dma_wanted;
    session_dma_init(session);
    doorbells_init(&session->doorbells);
    session->log = log;
    snprintf(session->name, sizeof(session->name), "%s", name);
    session->reply = mmap(NULL, WIRE_MAX_MESSAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (session->reply == MAP_FAILED)
        return -ENOMEM;
    ret = wire_stream_init(&session->stream, sock);
    if (ret) {
        munmap(session->reply, WIRE_MAX_MESSAGE);
        return ret;
    }
    session->sock = sock;
    return 0;
}

void session_fini(struct session *session)
{
    if (session->sock >= 0)
        wire_stream_shutdown(&session->stream);
    wire_stream_fini(&session->stream);
    doorbells_fini(&session->doorbells);
    fault_channel_free(atomic_load(&session->fault_channel));
    munmap(session->reply, WIRE_MAX_MESSAGE);
    session_dma_fini(session);
    if (session->sock >= 0)
        close(session->sock);
}

/* The reply to `request`: an error with no body, or the body that `reply` describes. */
static int session_send_reply(struct session *session, const struct wire_header *request, int error,
                              const struct session_reply *reply)
{
    struct wire_header header = {
        .id = request->id,
        .command = request->command,
        .size = (uint32_t)(sizeof(header) + (error ? 0 : reply->size)),
        .flags = WIRE_TYPE_REPLY | (error ? WIRE_ERROR : 0u),
        .error = (uint32_t)error,
    };

    memcpy(session->reply, &header, sizeof(header));
    if (error)
        return wire_send(session->sock, session->reply, header.size, NULL, 0);
    return wire_send(session->sock, session->reply, header.size, reply->fds, reply->nfds);
}

/* ------------------------------------------------------------------ VERSION */

/* Whether we can talk to a client that proposes this; narrows `version` down to what we answer. */
static int version_agree(struct wire_version *version)
{
    if (version->major != WIRE_VERSION_MAJOR)
        return -EINVAL;
    version->minor = MIN(version->minor, WIRE_VERSION_MINOR);
    if (!(version->pgsizes & PAGE_SIZE_4K))
        return -EINVAL;
    version->max_msg_fds = MIN(version->max_msg_fds, SESSION_MAX_MSG_FDS);
    version->max_data_xfer_size = WIRE_MAX_DATA;
    version->max_dma_maps = IOMMU_MAX_MAPPINGS;
    version->pgsizes = PAGE_SIZE_4K;
    version->write_multiple = true;
    version->umdev_fault = MIN(version->umdev_fault, WIRE_UMDEV_FAULT_VERSION);
    version->umdev_protect = MIN(version->umdev_protect, WIRE_UMDEV_PROTECT_VERSION);
    version->umdev_track = MIN(version->umdev_track, WIRE_UMDEV_TRACK_VERSION);
    return 0;
}

/* Receive and check VERSION; the answer's body is in `reply`. */
static int version_receive(struct session *session, struct wire_header *request,
                           struct session_reply *reply)
{
    struct wire_message message;
    struct wire_version answer;
    int ret = wire_stream_next(&session->stream, &message);

    if (ret <= 0)
        return ret ? ret : -ECONNRESET;
    *request = message.header;
    if (message.header.command != WIRE_VERSION ||
        (message.header.flags & WIRE_FLAGS_KNOWN) != WIRE_TYPE_COMMAND ||
        message.body_size > VERSION_MAX_BODY)
        return -EPROTO;
    ret = wire_version_parse(message.body, message.body_size, &session->version);
    if (ret)
        return ret;
    answer = session->version;
    ret = version_agree(&answer);
    if (ret)
        return ret;
    ret = wire_version_format(&answer, reply->body, WIRE_MAX_DATA);
    if (ret < 0)
        return ret;
    reply->size = (size_t)ret;
    if (reply->size > message.body_size) {
        answer.offered = 0;
        ret = wire_version_format(&answer, reply->body, WIRE_MAX_DATA);
        if (ret < 0)
            return ret;
        /* A request without JSON text gets an answer without. */
        reply->size = MIN((size_t)ret, message.body_size);
    }
    session->faults = answer.offered & WIRE_CAPABILITY_UMDEV_FAULT;
    session->protects = answer.offered & WIRE_CAPABILITY_UMDEV_PROTECT;
    session->tracks = answer.offered & WIRE_CAPABILITY_UMDEV_TRACK;
    return 0;
}

static int session_open_device(struct session *session, struct umdev_device *(*get)(void *opaque),
                               void *opaque, struct umdev_device **dev)
{
    *dev = get(opaque);
    return *dev ? device_open(*dev, &session->client) : -ENODEV;
}

int session_handshake(struct session *session, uint64_t timeout_ms,
                      struct umdev_device *(*get)(void *opaque), void *opaque)
{
    struct timeval receive_timeout = {.tv_sec = (time_t)(timeout_ms / 1000),
                                      .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    struct session_reply reply = {.body = session->reply + sizeof(struct wire_header)};
    struct wire_header request = {0};
    struct umdev_device *dev = NULL;
    int ret;

    /* The deadline bounds a client that sends byte after byte, the timeout one that sends none. */
    session->stream.deadline_ns = clock_now_ns() + timeout_ms * 1000000u;
    setsockopt(session->sock, SOL_SOCKET, SO_RCVTIMEO, &receive_timeout, sizeof(receive_timeout));
    ret = version_receive(session, &request, &reply);
    if (ret == -EINVAL)
        session_send_reply(session, &request, EINVAL, &reply);
    if (ret)
        return ret;
    ret = session_open_device(session, get, opaque, &dev);
    if (ret) {
        session_send_reply(session, &request, -ret, &reply);
        return ret;
    }
    session->dev = dev;
    session->stream.deadline_ns = 0;
    receive_timeout = (struct timeval){0};
    setsockopt(session->sock, SOL_SOCKET, SO_RCVTIMEO, &receive_timeout, sizeof(receive_timeout));
    return session_send_reply(session, &request, 0, &reply);
}

/* ------------------------------------------------------------------ requests */

/* Note where in the stream a doorbell rang: behind what has come so far. */
static void session_note_doorbell(struct session *session)
{
    int unread = 0;

    if (session->doorbells_due)
        return;
    if (ioctl(session->sock, FIONREAD, &unread) < 0 || unread < 0)
        unread = 0;
    session->doorbells_due = session->stream.position + (uint64_t)unread;
}

static void session_hear_doorbells(struct session *session)
{
    session->doorbells_due = 0;
    doorbells_hear(&session->doorbells, session->dev);
}

/* Do what a descriptor of session_wait() has woken us for. */
static void session_wake_up(struct session *session, const struct pollfd *unmask,
                            const struct pollfd *wake)
{
    uint64_t count;

    if (unmask->revents)
        irqs_unmask_event(device_irqs(session->dev));
    if (wake->revents)
        (void)!read(wake->fd, &count, sizeof(count));
}

/*
 * Wait for a message; hearing doorbells and the client's INTx unmask eventfd, where it has any; and
 * for DMA that goes by message, if it has memory without a file. A client with none of them costs
 * no poll(). With a message there already the others are looked at once.
 */
static int session_wait(struct session *session)
{
    enum { SOCK, UNMASK, DOORBELLS, DMA, NFDS };
    struct pollfd fds[NFDS] = {{.fd = session->sock, .events = POLLIN},
                               {.events = POLLIN},
                               {.fd = session->doorbells.epoll, .events = POLLIN},
                               {.events = POLLIN}};
    bool ready = wire_stream_ready(&session->stream);
    int ret = 0;

    fds[DMA].fd = atomic_load_explicit(&session->dma.wake, memory_order_relaxed);
    if (ready && fds[DMA].fd >= 0)
        ret = session_dma_take_turn(session);
    while (!ret) {
        int timeout_ms = ready ? 0 : -1;

        fds[UNMASK].fd = irqs_unmask_fd(device_irqs(session->dev));
        if (fds[DOORBELLS].fd < 0 && (ready || (fds[UNMASK].fd < 0 && fds[DMA].fd < 0)))
            return 0;
        if (!ready && fds[DMA].fd >= 0) {
            ret = session_dma_send(session, &timeout_ms);
            if (ret)
                return ret;
        }
        if (poll(fds, NFDS, timeout_ms) < 0)
            continue;
        session_wake_up(session, &fds[UNMASK], &fds[DMA]);
        if (fds[DOORBELLS].revents && !ready && !fds[SOCK].revents)
            session_hear_doorbells(session);
        else if (fds[DOORBELLS].revents)
            session_note_doorbell(session);
        if (ready || fds[SOCK].revents)
            return 0;
    }
    return ret;
}

/* Whether a doorbell that rang comes before this message. */
static bool session_doorbells_first(const struct session *session,
                                    const struct wire_message *message)
{
    return session->doorbells_due && (!(message->header.flags & WIRE_NO_REPLY) ||
                                      wire_stream_taken(&session->stream) > session->doorbells_due);
}

/* Answer one message. 1; −errno: the connection is over. */
static int session_answer(struct session *session, const struct wire_message *message)
{
    const struct wire_header *header = &message->header;
    struct session_reply reply = {.body = session->reply + sizeof(*header)};
    int ret;

    if ((header->flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY)
        return session_dma_reply(session, message);
    if (header->flags & ~(uint32_t)WIRE_NO_REPLY)
        ret = -EINVAL;
    else
        ret = session_request(session, message, &reply);
    device_count_request(session->dev, ret != 0);
    if (ret)
        log_print(session->log, UMDEV_LOG_DEBUG, session->name, "command %u failed: errno %d",
                  header->command, -ret);
    if (header->flags & WIRE_NO_REPLY)
        return 1;
    ret = session_send_reply(session, header, -ret, &reply);
    return ret ? ret : 1;
}

/*
 * The device's calls into the channel end before the device closes. Its thread may be in the
 * driver, kept by one that waits for an answer to a DMA message: none will come any more.
 */
static int session_stop_faults(struct session *session)
{
    struct fault_channel *channel = atomic_load(&session->fault_channel);

    if (!channel)
        return 0;
    device_dma_abort(session->dev, -ENODEV);
    return fault_channel_stop(channel);
}

int session_serve(struct session *session)
{
    struct wire_message message;
    int ret, fault_ret;

    do {
        ret = session_wait(session);
        if (ret)
            break;
        ret = wire_stream_next(&session->stream, &message);
        if (ret > 0 && session_doorbells_first(session, &message))
            session_hear_doorbells(session);
        if (ret > 0)
            ret = session_answer(session, &message);
        else if (ret == -ETIMEDOUT)
            ret = 1; /* half a message: go and see whether an answer is overdue */
    } while (ret > 0);
    fault_ret = session_stop_faults(session);
    /* A client that leaves in the middle of something has left all the same. */
    return ret == 0 || ret == -ECONNRESET || ret == -EPIPE ? fault_ret : ret;
}
