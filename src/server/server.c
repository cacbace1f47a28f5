/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/server.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "server/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* How long a client may take for its VERSION, and how many may be at it on one listener. */
#define HANDSHAKE_TIMEOUT_MS 10000
#define HANDSHAKES_MAX       16
#define TICK_MS              500
/* How long the end of a client that is gone may keep the next one waiting. */
#define SUCCESSION_MS 2000

/*
 * A connection's thread and what it serves. In the server's list from its start until the
 * acceptor (or server_free) has joined the thread.
 */
struct connection {
    struct connection *next;
    struct server *server;
    struct server_listener *listener; /* NULL: handed over by server_serve() */
    struct server_target target;
    void *opaque;
    pthread_t thread;
    struct session session;
    bool got; /* the target gave a device; the thread's own */
    bool handshaking;
    bool evicted; /* … for a newer one */
    bool serving; /* the device is open: its interrupts may be looked at */
    bool done;    /* the device and the target are let go of; only the join is left */
};

struct server_listener {
    struct server_listener *next;
    struct server *server;
    int fd;
    char *path, *name;
    struct server_target target;
    void *opaque;
    bool closing;
};

struct server {
    const struct log *log;
    int epoll, wake;
    int reserve; /* given up for a moment to turn a client away when fds run out */
    pthread_t acceptor;
    pthread_mutex_t lock; /* everything below, and the connections' flags */
    pthread_cond_t changed;
    struct server_listener *listeners;
    struct connection *connections;
    struct log_limit limit; /* of lines that clients can cause at will */
    bool stopping;
};

static void server_wake(struct server *server)
{
    uint64_t one = 1;

    /* A full counter means that a wake-up is due anyway. */
    (void)!write(server->wake, &one, sizeof(one));
}

/* A line that any client can cause as often as it likes. With the lock. */
static void server_complain(struct server *server, const char *name, const char *what,
                            const char *why)
{
    unsigned dropped;

    if (!log_limit_pass(&server->limit, &dropped))
        return;
    if (dropped)
        log_print(server->log, UMDEV_LOG_WARNING, NULL, "%u lines about clients were left out",
                  dropped);
    log_print(server->log, UMDEV_LOG_WARNING, name, "%s: %s", what, why);
}

/* ------------------------------------------------------------------ connections */

static bool is_hung_up(int sock)
{
    struct pollfd pollfd = {.fd = sock, .events = POLLRDHUP};

    return poll(&pollfd, 1, 0) > 0 && pollfd.revents;
}

/*
 * Whether the same device still is, or is about to be, that of a client which has hung up. One that
 * came later and is no further waits itself, maybe for this one. With the lock.
 */
static bool connection_has_ghost(const struct connection *connection)
{
    bool older = false; /* the list begins with the newest */

    for (const struct connection *c = connection->server->connections; c; c = c->next) {
        if (c == connection)
            older = true;
        else if (c->opaque == connection->opaque && !c->done && (older || !c->handshaking) &&
                 is_hung_up(c->session.sock))
            return true;
    }
    return false;
}

/*
 * A device is free when its client is gone, which takes its session a moment to find out: whoever
 * comes next does not have to know that.
 */
static void connection_await_ghost(struct connection *connection)
{
    struct timespec end = clock_timespec(clock_now_ns() + SUCCESSION_MS * UINT64_C(1000000));
    LOCK_FOR_SCOPE(&connection->server->lock);

    while (connection_has_ghost(connection) &&
           !pthread_cond_timedwait(&connection->server->changed, &connection->server->lock, &end))
        ;
}

static struct umdev_device *connection_get_device(void *opaque)
{
    struct connection *connection = opaque;
    struct umdev_device *dev;

    connection_await_ghost(connection);
    dev = connection->target.get(connection->opaque);
    connection->got = dev != NULL;
    return dev;
}

static void connection_set(struct connection *connection, bool *flag, bool value)
{
    LOCK_FOR_SCOPE(&connection->server->lock);
    *flag = value;
    pthread_cond_broadcast(&connection->server->changed);
}

static void connection_complain(struct connection *connection, const char *what, int ret)
{
    LOCK_FOR_SCOPE(&connection->server->lock);
    if (!connection->evicted)
        server_complain(connection->server, connection->session.name, what, log_errno(-ret));
}

static void connection_serve(struct connection *connection)
{
    struct session *session = &connection->session;
    int ret;

    log_print(connection->server->log, UMDEV_LOG_INFO, session->name, "client connected");
    connection_set(connection, &connection->serving, true);
    ret = session_serve(session);
    connection_set(connection, &connection->serving, false);
    if (ret)
        connection_complain(connection, "client cut off", ret);
    else
        log_print(connection->server->log, UMDEV_LOG_INFO, session->name, "client gone");
}

static void *connection_run(void *argument)
{
    struct connection *connection = argument;
    struct session *session = &connection->session;
    int ret;

    ret = session_handshake(session, HANDSHAKE_TIMEOUT_MS, connection_get_device, connection);
    connection_set(connection, &connection->handshaking, false);
    if (!ret)
        connection_serve(connection);
    else if (ret != -ECONNRESET && ret != -EPIPE)
        connection_complain(connection, "client turned away", ret);
    if (session->dev)
        device_close(session->dev);
    if (connection->got)
        connection->target.put(connection->opaque);
    connection_set(connection, &connection->done, true);
    server_wake(connection->server);
    return NULL;
}

/* Start a thread for the socket, which is the server's if 0 is returned. Called with the lock. */
static int connection_start(struct server *server, int fd, const char *name,
                            const struct server_target *target, void *opaque,
                            struct server_listener *listener)
{
    CLEANUP_FREE struct connection *connection = calloc(1, sizeof(*connection));
    int ret;

    if (!connection)
        return -ENOMEM;
    connection->server = server;
    connection->listener = listener;
    connection->target = *target;
    connection->opaque = opaque;
    connection->handshaking = true;
    ret = session_init(&connection->session, fd, server->log, name);
    if (ret)
        return ret;
    ret = pthread_create(&connection->thread, NULL, connection_run, connection);
    if (ret) {
        connection->session.sock = -1;
        session_fini(&connection->session);
        return -EAGAIN;
    }
    connection->next = server->connections;
    server->connections = TAKE_POINTER(connection);
    return 0;
}

/* Join the threads that are done. */
static void server_reap(struct server *server)
{
    struct connection *done = NULL, **link, *connection;

    pthread_mutex_lock(&server->lock);
    for (link = &server->connections; *link;) {
        connection = *link;
        if (connection->done) {
            *link = connection->next;
            connection->next = done;
            done = connection;
        } else {
            link = &connection->next;
        }
    }
    pthread_mutex_unlock(&server->lock);
    while (done) {
        connection = done;
        done = connection->next;
        pthread_join(connection->thread, NULL);
        session_fini(&connection->session);
        free(connection);
    }
}

/* Cut off the connections of a listener or of a target, and wait until they are done. With the
 * lock. */
static void server_cut_off(struct server *server, const struct server_listener *listener,
                           const void *opaque)
{
    bool waiting;

    do {
        waiting = false;
        for (struct connection *c = server->connections; c; c = c->next) {
            if (c->done || (listener && c->listener != listener) || (opaque && c->opaque != opaque))
                continue;
            shutdown(c->session.sock, SHUT_RDWR);
            waiting = true;
        }
        if (waiting)
            pthread_cond_wait(&server->changed, &server->lock);
    } while (waiting);
}

/* ------------------------------------------------------------------ the acceptor */

/*
 * Make room for one more handshake: of too many the oldest is cut off, so that clients that connect
 * and say nothing can't keep out one that speaks. With the lock.
 */
static void listener_make_room(struct server_listener *listener)
{
    struct connection *oldest = NULL;
    unsigned count = 0;

    for (struct connection *c = listener->server->connections; c; c = c->next) {
        if (c->listener != listener || !c->handshaking || c->evicted)
            continue;
        count++;
        oldest = c;
    }
    if (count < HANDSHAKES_MAX)
        return;
    oldest->evicted = true;
    shutdown(oldest->session.sock, SHUT_RDWR);
    server_complain(listener->server, listener->name, "client turned away",
                    "it has connected and says nothing while others wait");
}

/* Out of fds: the client in the queue would wake us for ever, so take it and turn it away. */
static void listener_turn_away(struct server_listener *listener)
{
    struct server *server = listener->server;
    int fd;

    server_complain(server, listener->name, "client turned away", "out of file descriptors");
    if (server->reserve >= 0)
        close(server->reserve);
    fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Called with the lock: pthread_create() and accept() on a ready socket do not block. */
static void listener_accept(struct server_listener *listener)
{
    CLEANUP_FD int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    struct server *server = listener->server;
    int ret;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            listener_turn_away(listener);
        return;
    }
    listener_make_room(listener);
    ret =
        connection_start(server, fd, listener->name, &listener->target, listener->opaque, listener);
    if (ret)
        server_complain(server, listener->name, "client turned away", log_errno(-ret));
    else
        take_fd(&fd);
}

/* Release interrupts that clients have blocked, and end those clients' sessions. */
static void server_tick(struct server *server)
{
    LOCK_FOR_SCOPE(&server->lock);
    for (struct connection *c = server->connections; c; c = c->next) {
        if (!c->serving || !irqs_unstick(device_irqs(c->session.dev)))
            continue;
        server_complain(server, c->session.name, "client cut off",
                        "it blocked an interrupt's eventfd");
        shutdown(c->session.sock, SHUT_RDWR);
    }
}

/* Whether a listener is still there: it may have been closed since epoll named it. */
static bool server_has_listener(struct server *server, const struct server_listener *listener)
{
    for (struct server_listener *l = server->listeners; l; l = l->next) {
        if (l == listener)
            return !l->closing;
    }
    return false;
}

static void *server_accept_loop(void *argument)
{
    struct server *server = argument;
    struct epoll_event events[16];
    bool stopping = false, serving = false;

    while (!stopping) {
        int n = epoll_wait(server->epoll, events, ARRAY_SIZE(events), serving ? TICK_MS : -1);
        uint64_t count;

        pthread_mutex_lock(&server->lock);
        for (int i = 0; i < n; i++) {
            struct server_listener *listener = events[i].data.ptr;

            if (!listener)
                (void)!read(server->wake, &count, sizeof(count));
            else if (server_has_listener(server, listener))
                listener_accept(listener);
        }
        stopping = server->stopping;
        pthread_mutex_unlock(&server->lock);
        server_reap(server);
        server_tick(server);
        pthread_mutex_lock(&server->lock);
        serving = server->connections != NULL;
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

/* ------------------------------------------------------------------ life */

int server_new(const struct log *log, struct server **result)
{
    CLEANUP_FREE struct server *server = calloc(1, sizeof(*server));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    CLEANUP_FD int epoll = epoll_create1(EPOLL_CLOEXEC);
    CLEANUP_FD int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CLEANUP_FD int reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (!server)
        return -ENOMEM;
    if (epoll < 0 || wake < 0 || reserve < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event))
        return -errno;
    server->log = log;
    server->epoll = epoll;
    server->wake = wake;
    server->reserve = reserve;
    pthread_mutex_init(&server->lock, NULL);
    clock_cond_init(&server->changed);
    if (pthread_create(&server->acceptor, NULL, server_accept_loop, server)) {
        pthread_cond_destroy(&server->changed);
        pthread_mutex_destroy(&server->lock);
        return -EAGAIN;
    }
    take_fd(&epoll);
    take_fd(&wake);
    take_fd(&reserve);
    *result = TAKE_POINTER(server);
    return 0;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    while (server->listeners)
        server_listener_close(server->listeners);
    pthread_mutex_lock(&server->lock);
    server_cut_off(server, NULL, NULL);
    server->stopping = true;
    pthread_mutex_unlock(&server->lock);
    server_wake(server);
    pthread_join(server->acceptor, NULL);
    server_reap(server);
    close(server->epoll);
    close(server->wake);
    if (server->reserve >= 0)
        close(server->reserve);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static void listener_free(struct server_listener *listener)
{
    free(listener->path);
    free(listener->name);
    free(listener);
}

int server_listen(struct server *server, int fd, const char *path, const char *name,
                  const struct server_target *target, void *opaque, struct server_listener **result)
{
    struct server_listener *listener = calloc(1, sizeof(*listener));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};

    if (!listener)
        return -ENOMEM;
    *listener = (struct server_listener){
        .server = server,
        .fd = fd,
        .path = path ? strdup(path) : NULL,
        .name = strdup(name),
        .target = *target,
        .opaque = opaque,
    };
    if (!listener->name || (path && !listener->path)) {
        listener_free(listener);
        return -ENOMEM;
    }
    /* A client that gives up between epoll and accept must not make the acceptor wait. */
    if (fcntl(fd, F_SETFL, O_NONBLOCK)) {
        int ret = -errno;

        listener_free(listener);
        return ret;
    }
    LOCK_FOR_SCOPE(&server->lock);
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event)) {
        int ret = -errno;

        listener_free(listener);
        return ret;
    }
    listener->next = server->listeners;
    server->listeners = listener;
    *result = listener;
    return 0;
}

void server_listener_close(struct server_listener *listener)
{
    struct server *server = listener->server;
    struct server_listener **link;

    pthread_mutex_lock(&server->lock);
    listener->closing = true;
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, listener->fd, NULL);
    server_cut_off(server, listener, NULL);
    for (link = &server->listeners; *link != listener; link = &(*link)->next)
        ;
    *link = listener->next;
    pthread_mutex_unlock(&server->lock);
    /* Unlinked before it is closed: a socket file that is there can be connected to. */
    if (listener->path)
        unlink(listener->path);
    close(listener->fd);
    listener_free(listener);
}

int server_serve(struct server *server, int fd, const char *name,
                 const struct server_target *target, void *opaque)
{
    LOCK_FOR_SCOPE(&server->lock);
    int ret = connection_start(server, fd, name, target, opaque, NULL);

    if (!ret)
        server_wake(server);
    return ret;
}

void server_disconnect(struct server *server, void *opaque)
{
    LOCK_FOR_SCOPE(&server->lock);
    server_cut_off(server, NULL, opaque);
}
