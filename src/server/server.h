/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets, sessions, threads.
 *
 * Data model. A server has one acceptor thread and any number of listeners, each bound to a target
 * (a device). An accepted or handed-over connection becomes a session: one thread, one socket, one
 * client. A session claims its device only after a valid VERSION, which must come within the
 * handshake timeout, so a silent client holds nothing but its own thread; of too many the oldest
 * goes.
 * The target is asked for the device and told when the session ends.
 *
 * The acceptor also ticks twice a second while clients are connected: it frees interrupts that a
 * client has blocked (irq.h) and ends that client's session.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/log.h"
#include "device/device.h"

struct server;

/* What a listener or connection serves. Callbacks come from session threads. */
struct server_target {
    /* A reference to the device, or NULL: it is gone. */
    struct umdev_device *(*get)(void *opaque);
    /* Give it back; once for each device that get returned. */
    void (*put)(void *opaque);
};

int server_new(const struct log *log, struct server **server);
/* Stops every listener, cuts off every session, and waits for their threads. */
void server_free(struct server *server);

struct server_listener;
/* Takes over a listening socket; `path` (may be NULL) is unlinked at the end, `name` is for the
 * log; both copied. */
int server_listen(struct server *server, int fd, const char *path, const char *name,
                  const struct server_target *target, void *opaque,
                  struct server_listener **listener);
/* No new clients; sessions of this listener are cut off and waited for. */
void server_listener_close(struct server_listener *listener);
/*
 * Serve a connected socket; it is the server's if 0 is returned.
 * EAGAIN: no thread. Sessions of the same `opaque` are ended by server_disconnect().
 */
int server_serve(struct server *server, int fd, const char *name,
                 const struct server_target *target, void *opaque);
/* Cut off and wait for every session of `opaque`. */
void server_disconnect(struct server *server, void *opaque);

#endif
