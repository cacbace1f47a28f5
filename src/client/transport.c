/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests out, replies in. The model is in client.h.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "client/client.h"
#include "client/fault.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* Messages up to this size are put together on the stack and leave in one piece. */
#define SMALL_MESSAGE 512

/* The clock of timeouts: a few milliseconds coarse, and so cheap that each call can ask it. */
static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t client_deadline(const struct umdev_client *client)
{
    if (client->timeout_ms < 0)
        return 0;
    return now_ns() + (uint64_t)client->timeout_ms * NS_PER_MS;
}

bool client_deadline_passed(uint64_t deadline)
{
    return deadline && now_ns() >= deadline;
}

int client_wait(const struct umdev_client *client, short events, uint64_t deadline)
{
    struct pollfd pfd = {.fd = client->sock, .events = events};
    uint64_t now = now_ns(), wait_ms;

    if (!deadline) {
        poll(&pfd, 1, -1);
        return 0;
    }
    if (now >= deadline)
        return -ETIMEDOUT;
    wait_ms = (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
    poll(&pfd, 1, (int)MIN(wait_ms, (uint64_t)client->slice_ms));
    return 0;
}

int client_wait_woken(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline)
{
    struct timespec until = clock_timespec(deadline);

    if (!deadline)
        pthread_cond_wait(cond, mutex);
    else if (pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
        return -ETIMEDOUT;
    return 0;
}

/* ------------------------------------------------------------------ the end of a connection */

/* With client->lock held. `call` (may be NULL) found out and is told why; the others are told. */
static void client_fail(struct umdev_client *client, int cause, struct client_call *call)
{
    int others = cause == -EPROTO ? -EPROTO : -ENOTCONN;

    if (atomic_exchange(&client->over, true))
        return;
    while (client->pending) {
        struct client_call *p = client->pending;

        client->pending = p->next;
        p->result = p == call ? cause : others;
        p->done = true;
        if (p->waiting)
            pthread_cond_signal(&p->wake);
    }
    /* Wakes a sender and a receiver that wait for the socket. */
    shutdown(client->sock, SHUT_RDWR);
    client_fault_shutdown(client);
}

void client_end(struct umdev_client *client)
{
    LOCK_FOR_SCOPE(&client->lock);
    client_fail(client, -ENOTCONN, NULL);
    pthread_cond_signal(&client->service_turn);
}

int client_broken(struct umdev_client *client)
{
    LOCK_FOR_SCOPE(&client->lock);
    client_fail(client, -EPROTO, NULL);
    return -EPROTO;
}

/* ------------------------------------------------------------------ out */

static void attach_fds(struct msghdr *msg, void *control, const int *fds, unsigned nfds)
{
    struct cmsghdr *cmsg;

    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
    memset(control, 0, msg->msg_controllen);
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
    memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
}

static void msg_advance(struct msghdr *msg, size_t sent)
{
    while (msg->msg_iovlen && sent >= msg->msg_iov->iov_len) {
        sent -= msg->msg_iov->iov_len;
        msg->msg_iov++;
        msg->msg_iovlen--;
    }
    if (msg->msg_iovlen) {
        msg->msg_iov->iov_base = (uint8_t *)msg->msg_iov->iov_base + sent;
        msg->msg_iov->iov_len -= sent;
    }
}

/*
 * Send everything by the deadline, which a server that reads a little now and then can't move:
 * hence not fdpass_send(). With send_lock held.
 */
static int send_all(struct umdev_client *client, struct iovec *iov, size_t niov, const int *fds,
                    unsigned nfds, uint64_t deadline)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FD_ARRAY_MAX)];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = niov};

    if (nfds)
        attach_fds(&msg, control.bytes, fds, nfds);
    for (;;) {
        ssize_t sent =
            msg.msg_iovlen == 1 && !msg.msg_control
                ? send(client->sock, msg.msg_iov->iov_base, msg.msg_iov->iov_len, MSG_NOSIGNAL)
                : sendmsg(client->sock, &msg, MSG_NOSIGNAL);

        if (sent >= 0) {
            msg_advance(&msg, (size_t)sent);
            if (!msg.msg_iovlen)
                return 0;
            msg.msg_control = NULL;
            msg.msg_controllen = 0;
        } else if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (client_wait(client, POLLOUT, deadline))
            return -ETIMEDOUT;
    }
}

static int send_request(struct umdev_client *client, const struct client_call *call, uint32_t flags,
                        uint64_t deadline)
{
    uint8_t small[SMALL_MESSAGE];
    size_t head = sizeof(struct wire_header) + call->body_size;
    struct iovec iov[2] = {{.iov_base = small, .iov_len = head}};
    size_t niov = 1;
    struct wire_header header = {
        .id = call->id,
        .command = call->command,
        .size = (uint32_t)(head + call->data_size),
        .flags = flags,
    };

    memcpy(small, &header, sizeof(header));
    if (call->body_size)
        memcpy(small + sizeof(header), call->body, call->body_size);
    if (call->data_size > sizeof(small) - head) {
        iov[1].iov_base = (void *)call->data;
        iov[1].iov_len = call->data_size;
        niov = 2;
    } else if (call->data_size) {
        memcpy(small + head, call->data, call->data_size);
        iov[0].iov_len += call->data_size;
    }
    return send_all(client, iov, niov, call->fds, call->nfds, deadline);
}

int client_send(struct umdev_client *client, struct iovec *iov, size_t niov, uint64_t deadline)
{
    LOCK_FOR_SCOPE(&client->send_lock);
    return send_all(client, iov, niov, NULL, 0, deadline);
}

/* ------------------------------------------------------------------ in */

/* The next message by the deadline. 0, or why there is none. */
static int receive_message(struct umdev_client *client, uint64_t deadline,
                           struct wire_message *message)
{
    client->stream.deadline_ns = deadline;
    for (;;) {
        int ret = wire_stream_next(&client->stream, message);

        if (ret > 0)
            return 0;
        if (ret == 0 || ret == -ECONNRESET || ret == -EPIPE)
            return -ENOTCONN;
        if (ret != -ETIMEDOUT)
            return ret;
        if (client_wait(client, POLLIN, deadline))
            return -ETIMEDOUT;
    }
}

static struct client_call *take_pending(struct umdev_client *client, uint16_t id)
{
    struct client_call **link = &client->pending;

    while (*link && (*link)->id != id)
        link = &(*link)->next;
    if (!*link)
        return NULL;

    struct client_call *call = *link;

    *link = call->next;
    return call;
}

/* What the server answered: 0 or its −errno. −EPROTO with *broken: not an answer to this call. */
static int deliver(struct client_call *call, const struct wire_message *message, bool *broken)
{
    const struct wire_header *header = &message->header;
    size_t data_size = message->body_size - call->reply_size;

    *broken = true;
    if (header->command != call->command)
        return -EPROTO;
    if (header->flags & WIRE_ERROR) {
        if (message->body_size || header->error > WIRE_ERRNO_MAX)
            return -EPROTO;
        *broken = false;
        return header->error ? -(int)header->error : -EIO;
    }
    if (message->body_size < call->reply_size || data_size > call->reply_data_max)
        return -EPROTO;
    *broken = false;
    if (call->reply_size)
        memcpy(call->reply, message->body, call->reply_size);
    if (data_size)
        memcpy(call->reply_data, message->body + call->reply_size, data_size);
    call->reply_data_size = data_size;
    if (call->reply_fd)
        *call->reply_fd = fd_array_take(message->fds, 0);
    if (call->reply_fds) {
        *call->reply_fds = *message->fds;
        message->fds->count = 0;
    }
    return 0;
}

/* With client->lock held. */
static void handle_reply(struct umdev_client *client, const struct wire_message *message)
{
    struct client_call *call = take_pending(client, message->header.id);
    bool broken = true;

    if (call) {
        call->result = deliver(call, message, &broken);
        call->done = true;
        if (call->waiting)
            pthread_cond_signal(&call->wake);
    }
    if (broken)
        client_fail(client, -EPROTO, NULL);
}

/*
 * With client->lock held. A plain read takes no more than the reply to `call` can have; the service
 * thread, which has no call, and may get requests of any size, never reads plainly.
 */
static void begin_read(struct umdev_client *client, const struct client_call *call)
{
    client->plain_receive = call && client->fds_wanted == 0;
    client->stream.plain =
        client->plain_receive ? sizeof(struct wire_header) + call->reply_size + call->reply_data_max
                              : 0;
}

static void end_read(struct umdev_client *client)
{
    client->plain_receive = false;
    if (client->fds_wanted)
        pthread_cond_broadcast(&client->plain_over);
}

/* Take one message off the wire and do what it asks for; `call`, if not NULL, is who waits. With
 * client->lock held, but not inside. */
static void receive_one(struct umdev_client *client, struct client_call *call, uint64_t deadline)
{
    struct wire_message message;
    bool is_reply = false;
    int ret;

    begin_read(client, call);
    pthread_mutex_unlock(&client->lock);
    ret = receive_message(client, deadline, &message);
    pthread_mutex_lock(&client->lock);
    end_read(client);
    if (!ret) {
        uint32_t flags = message.header.flags;

        is_reply = (flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY;
        if (flags & ~(uint32_t)(WIRE_TYPE_REPLY | (is_reply ? WIRE_ERROR : WIRE_NO_REPLY))) {
            ret = -EPROTO;
        } else if (!is_reply) {
            pthread_mutex_unlock(&client->lock);
            /* The service thread has all the time to wait, but not to keep others from sending. */
            ret = client_memory_answer(client, &message, call ? deadline : client_deadline(client));
            pthread_mutex_lock(&client->lock);
        }
    }
    if (ret)
        client_fail(client, ret == -EPIPE || ret == -ECONNRESET ? -ENOTCONN : ret, call);
    else if (is_reply)
        handle_reply(client, &message);
    if (!ret && message.fds->count)
        fd_array_close(message.fds);
}

/* Wake one of those who wait for the receiver's place. */
static void offer_receiving(struct umdev_client *client)
{
    struct client_call *call = client->pending;

    if (client->service_waits) {
        pthread_cond_signal(&client->service_turn);
        return;
    }
    while (call && !call->waiting)
        call = call->next;
    if (call)
        pthread_cond_signal(&call->wake);
}

/* Wait until the receiver has our reply or gives up its place. With client->lock held. */
static void wait_for_receiver(struct umdev_client *client, struct client_call *call,
                              uint64_t deadline)
{
    int ret;

    call->waiting = true;
    ret = client_wait_woken(&call->wake, &client->lock, deadline);
    call->waiting = false;
    if (ret && !call->done)
        client_fail(client, -ETIMEDOUT, call);
}

static int wait_for_reply(struct umdev_client *client, struct client_call *call, uint64_t deadline)
{
    LOCK_FOR_SCOPE(&client->lock);
    while (!call->done) {
        if (client->receiving) {
            wait_for_receiver(client, call, deadline);
            continue;
        }
        client->receiving = true;
        while (!call->done)
            receive_one(client, call, deadline);
        client->receiving = false;
        offer_receiving(client);
    }
    return call->result;
}

void client_receive(struct umdev_client *client)
{
    LOCK_FOR_SCOPE(&client->lock);
    while (client->receiving && !atomic_load(&client->over)) {
        client->service_waits = true;
        pthread_cond_wait(&client->service_turn, &client->lock);
        client->service_waits = false;
    }
    if (atomic_load(&client->over))
        return;
    client->receiving = true;
    while (!atomic_load(&client->over))
        receive_one(client, NULL, 0);
    client->receiving = false;
}

/* ------------------------------------------------------------------ calls */

static bool id_is_pending(const struct umdev_client *client, uint16_t id)
{
    for (const struct client_call *p = client->pending; p; p = p->next)
        if (p->id == id)
            return true;
    return false;
}

/* Give the call an id that no unanswered call has. With send_lock held. −ENOTCONN: it is over. */
static int enter_pending(struct umdev_client *client, struct client_call *call)
{
    LOCK_FOR_SCOPE(&client->lock);
    if (atomic_load(&client->over))
        return -ENOTCONN;
    do
        call->id = client->next_id++;
    while (id_is_pending(client, call->id));
    call->next = client->pending;
    client->pending = call;
    return 0;
}

static int send_call(struct umdev_client *client, struct client_call *call, uint64_t deadline)
{
    int ret;

    LOCK_FOR_SCOPE(&client->send_lock);
    ret = enter_pending(client, call);
    if (ret)
        return ret;
    ret = send_request(client, call, WIRE_TYPE_COMMAND, deadline);
    /* A server that has closed may have said why: its last words are still to be received. */
    if (ret == 0 || ret == -EPIPE || ret == -ECONNRESET)
        return 0;
    LOCK_FOR_SCOPE(&client->lock);
    client_fail(client, ret, call);
    return 0;
}

/*
 * From now on reads take fds. One that does not may be under way: it ends with its reader's call,
 * whose deadline is before ours. Nothing is held meanwhile, so others can go on sending.
 */
static void begin_wanting_fds(struct umdev_client *client)
{
    LOCK_FOR_SCOPE(&client->lock);
    client->fds_wanted++;
    while (client->plain_receive)
        pthread_cond_wait(&client->plain_over, &client->lock);
}

static void end_wanting_fds(struct umdev_client *client)
{
    LOCK_FOR_SCOPE(&client->lock);
    client->fds_wanted--;
}

int client_call(struct umdev_client *client, struct client_call *call)
{
    uint64_t deadline = client_deadline(client);
    bool wants_fds = call->reply_fd || call->reply_fds;
    int ret;

    call->wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    call->waiting = call->done = false;
    call->reply_data_size = 0;
    if (call->reply_fd)
        *call->reply_fd = -1;
    if (call->reply_fds)
        fd_array_init(call->reply_fds);
    if (wants_fds)
        begin_wanting_fds(client);
    ret = send_call(client, call, deadline);
    if (!ret)
        ret = wait_for_reply(client, call, deadline);
    if (wants_fds)
        end_wanting_fds(client);
    pthread_cond_destroy(&call->wake);
    return ret;
}

int client_post(struct umdev_client *client, struct client_call *call)
{
    uint64_t deadline = client_deadline(client);
    int ret;

    LOCK_FOR_SCOPE(&client->send_lock);
    if (atomic_load(&client->over))
        return -ENOTCONN;
    call->id = client->next_id++;
    ret = send_request(client, call, WIRE_TYPE_COMMAND | WIRE_NO_REPLY, deadline);
    if (!ret)
        return 0;
    if (ret == -EPIPE || ret == -ECONNRESET)
        ret = -ENOTCONN;
    LOCK_FOR_SCOPE(&client->lock);
    client_fail(client, ret, NULL);
    return ret;
}
