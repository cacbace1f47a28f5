/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: what a running umdev tells about its devices, and how they come and go.
 * docs/control.md is the protocol: a line of JSON asks, a line of JSON answers, pixels come as a
 * file descriptor. What it speaks of is a struct source.
 *
 * Data model of the server. One thread has all connections. Each one is a line that is coming in,
 * a request that is being executed, or an answer that is going out, one at a time; it has a
 * deadline but while it is executed. A request has a thread of its own, for a driver may take its
 * time; those of a connection come one after the other. Whoever may connect may ask for anything,
 * but whatever he sends is no hindrance for others.
 *
 * Locks. While `executing`, a connection's line and what comes of it are the request's thread's;
 * `done`, under the server's lock, hands them back.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "control/source.h"

#include <jansson.h>

/* A request with its newline. */
#define CONTROL_LINE_MAX 4096
/* Connections; more wait in the socket's queue. */
#define CONTROL_CLIENTS_MAX 16
/* How long a connection may take for a request, or for reading its answer. */
#define CONTROL_TIMEOUT_MS 30000
/* How long who asks waits for an answer: longer than a daemon does for a worker's. */
#define CONTROL_ANSWER_MS 60000

/* ------------------------------------------------------------------ server.c */

struct control;

/*
 * Answer at `path`, with permissions `mode` (0: 0600), until control_stop(); `source` is copied.
 * `timeout_ms` 0: CONTROL_TIMEOUT_MS. Errnos as umdev_host_listen(), and EAGAIN: no thread.
 */
int control_start(const struct source *source, const char *path, unsigned mode, int timeout_ms,
                  struct control **control, struct umdev_error *error);
/*
 * The same on a listening socket that somebody else made and will remove; it belongs to the
 * control then, but for a failure.
 */
int control_start_fd(const struct source *source, int fd, int timeout_ms, struct control **control,
                     struct umdev_error *error);
/* Cuts off whoever is connected, after the requests under way. NULL is ignored. */
void control_stop(struct control *control);

/* ------------------------------------------------------------------ commands.c */

/*
 * Execute the request in `line[0..len)`, without its newline. *answer is malloc'ed, one line with
 * its newline, whether the request could be done or not; *fd goes with it, or is −1. Both are the
 * caller's. −ENOMEM.
 */
int control_execute(const struct source *source, const char *line, size_t len, char **answer,
                    int *fd);

/* ------------------------------------------------------------------ client.c */

/* About `device`; NULL: the only one, or all of them. A new reference, NULL: out of memory. */
json_t *control_request_new(const char *command, const char *device);
/*
 * Ask at `path`. `request` is stolen; NULL is ENOMEM. *result is the answer's, a new reference;
 * *fd (may be NULL) the file descriptor that came with it, or −1. An error that is the answer is
 * EREMOTEIO, its text in `error`. EPROTO: that is no umdev. ETIMEDOUT. Others as connect(2).
 */
int control_ask(const char *path, json_t *request, json_t **result, int *fd,
                struct umdev_error *error);
/*
 * The same on a connected socket, with its own timeouts. *refusal (not NULL): the errno of an
 * error that is the answer, 0 otherwise. ENOMEM: nothing was asked. After any other failure but
 * EREMOTEIO the socket is of no more use, for what is left of the answer may be to come.
 */
int control_ask_at(int sock, json_t *request, json_t **result, int *fd, int *refusal,
                   struct umdev_error *error);

#endif
