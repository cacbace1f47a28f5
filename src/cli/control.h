/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: what a running umdev tells about its devices. docs/control.md is the
 * protocol: a line of JSON asks, a line of JSON answers, pixels come as a file descriptor.
 *
 * Data model of the server. One thread has all connections. Each one is a line that is coming in,
 * or an answer that is going out, never both; it has a deadline for whichever it is. Requests are
 * executed one after the other. Whoever may connect may ask for anything, but whatever he sends
 * costs others no more than the time of his requests.
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include <jansson.h>
#include <umdev/host.h>

/* A request with its newline. */
#define CONTROL_LINE_MAX 4096
/* Connections; more wait in the socket's queue. */
#define CONTROL_CLIENTS_MAX 16
/* How long a connection may take for a request, or for reading its answer. */
#define CONTROL_TIMEOUT_MS 30000

/* ------------------------------------------------------------------ control_server.c */

struct control;

/*
 * Answer at `path`, with permissions `mode` (0: 0600), until control_stop(); `host` must live
 * longer. `timeout_ms` 0: CONTROL_TIMEOUT_MS. Errnos as umdev_host_listen(), and EAGAIN: no thread.
 */
int control_start(struct umdev_host *host, const char *path, unsigned mode, int timeout_ms,
                  struct control **control, struct umdev_error *error);
/* Cuts off whoever is connected, after the request under way. NULL is ignored. */
void control_stop(struct control *control);

/* ------------------------------------------------------------------ control_commands.c */

/*
 * Execute the request in `line[0..len)`, without its newline. *answer is malloc'ed, one line with
 * its newline, whether the request could be done or not; *fd goes with it, or is −1. Both are the
 * caller's. −ENOMEM.
 */
int control_execute(struct umdev_host *host, const char *line, size_t len, char **answer, int *fd);

/* ------------------------------------------------------------------ control_client.c */

/*
 * The socket to ask: `path`, or $UMDEV_CONTROL where that is NULL. NULL: neither is there, after
 * saying so as cli_usage_error() of `command`.
 */
const char *control_path(const char *command, const char *path);
/*
 * Ask at `path`: `command`, about `device` (NULL: the only one, or all of them). *result is the
 * answer's, a new reference; *fd (may be NULL) the file descriptor that came with it, or −1. An
 * error that is the answer is EREMOTEIO, its text in `error`. EPROTO: that is no umdev. ETIMEDOUT.
 * Others as connect(2).
 */
int control_ask(const char *path, const char *command, const char *device, json_t **result, int *fd,
                struct umdev_error *error);

#endif
