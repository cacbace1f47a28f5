/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker from inside, for the files of src/daemon/worker*.c only. */
#ifndef DAEMON_WORKER_PRIV_H
#define DAEMON_WORKER_PRIV_H

#include "daemon/worker.h"

#include <jansson.h>
#include <pthread.h>

struct worker {
    struct worker_options options;
    pthread_mutex_t lock; /* the process and the socket */
    int sock;             /* −1: down */
    pid_t pid;            /* −1: none that has to be waited for */
    /* What it has told, for while it is busy: NULL where it is down. Under both locks. */
    pthread_mutex_t told_lock; /* the innermost */
    json_t *types;             /* its last answer to "types" */
    json_t *devices;           /* by UUID, as "list" gives them */
    /* The main thread's. */
    uint64_t since_ns; /* the last start */
    uint64_t due_ns;   /* the next one; UINT64_MAX: none is due */
    int pause_ms;
};

/*
 * Ask it; `request` is stolen. *result is a new reference, *fd (may be NULL) −1 or the caller's.
 * −errno is the worker's own; EIO: it is down, or is from now on.
 */
int worker_ask(struct worker *worker, json_t *request, json_t **result, int *fd,
               struct umdev_error *error);
/* With the lock: no more requests; it ends by itself. */
void worker_hang_up(struct worker *worker);

#endif
