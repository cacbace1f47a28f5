/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's thread: connections, lines, deadlines. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"
#include "base/socket.h"
#include "base/thread.h"
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

/* How long no connection is taken after the system refused one for lack of something. */
#define ACCEPT_REST_MS 100

struct connection {
    struct control *control;
    int fd; /* −1: free */
    int64_t deadline;
    char line[CONTROL_LINE_MAX];
    size_t have; /* bytes in `line` */
    /* The request in front of `line`, without its newline, and what its thread makes of it. */
    bool executing;
    pthread_t thread;
    size_t request_size;
    char *executed;
    int executed_fd, executed_ret;
    bool done; /* guarded by the control's lock */
    /* The answer that is going out; NULL: none. */
    char *answer;
    size_t answer_size, answer_sent;
    int answer_fd; /* −1: none, or sent */
    bool last;     /* close when the answer is out */
};

struct control {
    struct source source;
    char *path; /* NULL: the socket is somebody else's */
    int listener, stop;
    int wake; /* a request is done */
    pthread_mutex_t lock;
    int timeout_ms;
    int64_t accept_after;
    pthread_t thread;
    struct connection connections[CONTROL_CLIENTS_MAX];
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ one connection */

static void answer_drop(struct connection *connection)
{
    free(TAKE_POINTER(connection->answer));
    if (connection->answer_fd >= 0)
        close(take_fd(&connection->answer_fd));
}

static void connection_close(struct connection *connection)
{
    answer_drop(connection);
    close(take_fd(&connection->fd));
}

static void connection_open(struct control *control, struct connection *connection, int fd)
{
    connection->fd = fd;
    connection->deadline = now_ms() + control->timeout_ms;
    connection->have = 0;
    connection->answer = NULL;
    connection->answer_fd = -1;
    connection->last = false;
}

/* One sendmsg of what is left of the answer; the fd goes with its first byte. */
static ssize_t answer_send(const struct connection *connection)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } passing = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {connection->answer + connection->answer_sent,
                        connection->answer_size - connection->answer_sent};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (connection->answer_fd >= 0) {
        memcpy(CMSG_DATA(&passing.header), &connection->answer_fd, sizeof(int));
        message.msg_control = &passing;
        message.msg_controllen = sizeof(passing);
    }
    return sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Send as much as the socket takes. 0, or −errno: the connection is over. */
static int answer_push(struct control *control, struct connection *connection)
{
    while (connection->answer) {
        ssize_t sent = answer_send(connection);

        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN ? 0 : -errno;
        }
        if (connection->answer_fd >= 0)
            close(take_fd(&connection->answer_fd));
        connection->answer_sent += (size_t)sent;
        if (connection->answer_sent == connection->answer_size) {
            answer_drop(connection);
            connection->deadline = now_ms() + control->timeout_ms;
            if (connection->last)
                return -ESHUTDOWN;
        }
    }
    return 0;
}

static int answer_begin(struct connection *connection, char *answer, int fd)
{
    connection->answer = answer;
    connection->answer_size = strlen(answer);
    connection->answer_sent = 0;
    connection->answer_fd = fd;
    return 0;
}

static int answer_too_long(struct connection *connection)
{
    char *answer = NULL;

    if (asprintf(&answer,
                 "{\"error\":{\"errno\":\"EMSGSIZE\",\"message\":"
                 "\"a request has at most %d bytes with its newline\"}}\n",
                 CONTROL_LINE_MAX) < 0)
        return -ENOMEM;
    connection->last = true;
    connection->have = 0;
    answer_begin(connection, answer, -1);
    return 0;
}

/* ------------------------------------------------------------------ requests */

static void request_execute(struct connection *connection)
{
    connection->executed = NULL;
    connection->executed_fd = -1;
    connection->executed_ret =
        control_execute(&connection->control->source, connection->line, connection->request_size,
                        &connection->executed, &connection->executed_fd);
}

static void *request_main(void *opaque)
{
    struct connection *connection = opaque;
    struct control *control = connection->control;
    const uint64_t one = 1;

    request_execute(connection);
    pthread_mutex_lock(&control->lock);
    connection->done = true;
    pthread_mutex_unlock(&control->lock);
    /* A full counter means that a wake-up is due anyway. */
    (void)!write(control->wake, &one, sizeof(one));
    return NULL;
}

/* It has been executed: the next line moves to the front, and the answer can go out. */
static int request_end(struct connection *connection)
{
    size_t used = connection->request_size + 1;

    connection->executing = false;
    connection->have -= used;
    memmove(connection->line, connection->line + used, connection->have);
    if (connection->executed_ret)
        return connection->executed_ret;
    answer_begin(connection, connection->executed, connection->executed_fd);
    return 0;
}

/* What a request's thread has made is dropped, where nobody is to get it. */
static void request_wait(struct connection *connection)
{
    if (!connection->executing)
        return;
    pthread_join(connection->thread, NULL);
    connection->executing = false;
    free(connection->executed);
    if (connection->executed_fd >= 0)
        close(connection->executed_fd);
}

static bool request_is_done(struct connection *connection)
{
    LOCK_FOR_SCOPE(&connection->control->lock);
    return connection->executing && connection->done;
}

/* Execute the line in front, if one is there. 1: it is under way or answered; 0: none is there. */
static int request_begin(struct connection *connection)
{
    const char *end = memchr(connection->line, '\n', connection->have);
    int ret;

    if (!end) {
        if (connection->have < sizeof(connection->line))
            return 0;
        ret = answer_too_long(connection);
        return ret ? ret : 1;
    }
    connection->request_size = (size_t)(end - connection->line);
    connection->done = false;
    connection->executing = true;
    if (thread_start(&connection->thread, request_main, connection) == 0)
        return 1;
    /* Without a thread everybody waits for it, which is better than nothing. */
    request_execute(connection);
    ret = request_end(connection);
    return ret ? ret : 1;
}

/* Answers, one after the other, for as long as lines are there and the client takes them. */
static int connection_answer(struct control *control, struct connection *connection)
{
    int ret = answer_push(control, connection);

    while (ret == 0 && !connection->answer && !connection->executing) {
        ret = request_begin(connection);
        if (ret <= 0)
            return ret;
        ret = answer_push(control, connection);
    }
    return ret;
}

/* The request's thread is done. */
static void connection_go_on(struct control *control, struct connection *connection)
{
    int ret;

    pthread_join(connection->thread, NULL);
    ret = request_end(connection);
    connection->deadline = now_ms() + control->timeout_ms;
    if (!ret)
        ret = connection_answer(control, connection);
    if (ret)
        connection_close(connection);
}

/* Fds that come along are not received: the kernel closes them. */
static int connection_receive(struct connection *connection)
{
    ssize_t received = recv(connection->fd, connection->line + connection->have,
                            sizeof(connection->line) - connection->have, MSG_DONTWAIT);

    if (received < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    connection->have += (size_t)received;
    return received == 0 ? -ESHUTDOWN : 0;
}

static void connection_serve(struct control *control, struct connection *connection)
{
    int ret = 0;

    if (!connection->answer)
        ret = connection_receive(connection);
    if (!ret)
        ret = connection_answer(control, connection);
    if (ret)
        connection_close(connection);
}

/* ------------------------------------------------------------------ all of them */

static struct connection *connection_free(struct control *control)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (control->connections[i].fd < 0)
            return &control->connections[i];
    return NULL;
}

static void control_accept(struct control *control)
{
    struct connection *connection = connection_free(control);
    int fd;

    if (!connection)
        return;
    fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        connection_open(control, connection, fd);
    else if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
        control->accept_after = now_ms() + ACCEPT_REST_MS;
}

enum { POLL_STOP, POLL_WAKE, POLL_LISTENER, POLL_FIRST };

/* What to wait for; a negative fd is ignored by poll(). Returns until when. */
static int64_t control_prepare(struct control *control, struct pollfd *polled)
{
    int64_t until = INT64_MAX;
    bool rest = control->accept_after > now_ms();

    polled[POLL_STOP] = (struct pollfd){.fd = control->stop, .events = POLLIN};
    polled[POLL_WAKE] = (struct pollfd){.fd = control->wake, .events = POLLIN};
    polled[POLL_LISTENER] = (struct pollfd){.fd = -1, .events = POLLIN};
    if (rest)
        until = control->accept_after;
    else if (connection_free(control))
        polled[POLL_LISTENER].fd = control->listener;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct connection *connection = &control->connections[i];

        polled[POLL_FIRST + i] = (struct pollfd){
            .fd = connection->executing ? -1 : connection->fd,
            .events = connection->answer ? POLLOUT : POLLIN,
        };
        if (polled[POLL_FIRST + i].fd >= 0)
            until = MIN(until, connection->deadline);
    }
    return until;
}

static int poll_timeout(int64_t until)
{
    int64_t rest = until - now_ms();

    if (until == INT64_MAX)
        return -1;
    return rest < 0 ? 0 : (int)MIN(rest, INT_MAX);
}

/* One look at all of them after poll(). */
static void control_serve(struct control *control, const struct pollfd *polled)
{
    uint64_t wakes;

    if (polled[POLL_WAKE].revents)
        (void)!read(control->wake, &wakes, sizeof(wakes));
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct connection *connection = &control->connections[i];

        if (request_is_done(connection))
            connection_go_on(control, connection);
        else if (polled[POLL_FIRST + i].fd < 0)
            continue;
        else if (polled[POLL_FIRST + i].revents)
            connection_serve(control, connection);
        else if (now_ms() >= connection->deadline)
            connection_close(connection);
    }
    if (polled[POLL_LISTENER].revents)
        control_accept(control);
}

static void *control_main(void *opaque)
{
    struct control *control = opaque;
    struct pollfd polled[POLL_FIRST + CONTROL_CLIENTS_MAX];

    for (;;) {
        int64_t until = control_prepare(control, polled);

        if (poll(polled, ARRAY_SIZE(polled), poll_timeout(until)) < 0)
            continue; /* EINTR, or memory is short for a moment */
        if (polled[POLL_STOP].revents)
            return NULL;
        control_serve(control, polled);
    }
}

/* ------------------------------------------------------------------ life */

static void control_free(struct control *control)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        request_wait(&control->connections[i]);
        if (control->connections[i].fd >= 0)
            connection_close(&control->connections[i]);
    }
    if (control->listener >= 0) {
        if (control->path)
            unlink(control->path);
        close(control->listener);
    }
    if (control->stop >= 0)
        close(control->stop);
    if (control->wake >= 0)
        close(control->wake);
    pthread_mutex_destroy(&control->lock);
    free(control->path);
    free(control);
}

static struct control *control_new(const struct source *source, int timeout_ms,
                                   struct umdev_error *error)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control) {
        error_format(error, "out of memory");
        return NULL;
    }
    control->source = *source;
    control->timeout_ms = timeout_ms ? timeout_ms : CONTROL_TIMEOUT_MS;
    control->listener = -1;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        control->connections[i].control = control;
        control->connections[i].fd = -1;
        control->connections[i].answer_fd = -1;
    }
    pthread_mutex_init(&control->lock, NULL);
    control->stop = eventfd(0, EFD_CLOEXEC);
    control->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->stop < 0 || control->wake < 0) {
        error_format(error, "can't make a control socket: %s", log_errno(errno));
        control_free(control);
        return NULL;
    }
    return control;
}

static int control_run(struct control *control, struct umdev_error *error)
{
    int ret;

    /* A connection that is gone again must not make accept() wait. */
    fcntl(control->listener, F_SETFL, O_NONBLOCK);
    ret = thread_start(&control->thread, control_main, control);
    if (ret)
        error_format(error, "no thread for the control socket: %s", log_errno(-ret));
    return ret;
}

int control_start(const struct source *source, const char *path, unsigned mode, int timeout_ms,
                  struct control **control_out, struct umdev_error *error)
{
    struct control *control = control_new(source, timeout_ms, error);
    int ret;

    if (!control)
        return -ENOMEM;
    control->path = strdup(path);
    if (!control->path)
        ret = error_set(error, ENOMEM, "out of memory");
    else
        ret = socket_listen(path, mode, &control->listener, error);
    if (!ret)
        ret = control_run(control, error);
    if (ret) {
        control_free(control);
        return ret;
    }
    *control_out = control;
    return 0;
}

int control_start_fd(const struct source *source, int fd, int timeout_ms,
                     struct control **control_out, struct umdev_error *error)
{
    struct control *control = control_new(source, timeout_ms, error);
    int ret;

    if (!control)
        return -ENOMEM;
    control->listener = fd;
    ret = control_run(control, error);
    if (ret) {
        control->listener = -1;
        control_free(control);
        return ret;
    }
    *control_out = control;
    return 0;
}

void control_stop(struct control *control)
{
    const uint64_t one = 1;

    if (!control)
        return;
    /* An eventfd's counter is never full here: it always takes it. */
    if (write(control->stop, &one, sizeof(one)) == sizeof(one))
        pthread_join(control->thread, NULL);
    control_free(control);
}
