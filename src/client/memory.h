/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory without a file: the server asks for its bytes, the library answers.
 *
 * Data model. An array of the caller's mappings, sorted by IOVA, none overlapping another, under
 * `lock`. A request is checked against it, all of its range, and copied to or from the caller's
 * memory under the same lock: a mapping that is taken out is not touched afterwards. The server
 * names IOVAs only and reaches nothing else.
 *
 * From the first such mapping on a service thread receives for everybody, so that an idle client
 * answers too. It ends with the connection. A child after fork() has no such thread and must not
 * wait for it.
 *
 * Lock order: `lock` is taken alone.
 */
#ifndef CLIENT_MEMORY_H
#define CLIENT_MEMORY_H

#include "wire/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <umdev/client.h>

struct client_memory_map {
    uint64_t first, last;
    uint8_t *ptr;
    unsigned prot;
    unsigned coming; /* a protection that the server is being asked for: it may use it already */
};

struct client_memory {
    pthread_mutex_t lock;
    struct client_memory_map *maps;
    size_t count, capacity;

    atomic_bool served; /* the service thread runs, or ran */
    pthread_t thread;
    pid_t pid;      /* of the process that has the thread */
    uint8_t *reply; /* WIRE_MAX_MESSAGE bytes; the receiver's; not NULL if `served` */
};

void client_memory_init(struct client_memory *memory);
/* The service thread was left behind by a fork(): this is the child. */
bool client_memory_forked(const struct umdev_client *client);
/* Ends the connection, if the service thread has to be waited for. Leaves the lock. */
void client_memory_fini(struct umdev_client *client);

/*
 * Answer a request of the server; everything but DMA_READ and DMA_WRITE is refused. Called by the
 * receiver, with no lock. 0, or why the answer could not be sent.
 */
int client_memory_answer(struct umdev_client *client, const struct wire_message *request,
                         uint64_t deadline);
/* Start the service thread, if it is not there yet. −ENOMEM, −EAGAIN. */
int client_memory_serve(struct umdev_client *client);
/*
 * An unmap of [iova, iova + size) came to `ret`: every mapping inside goes, unless the server has
 * it still; a copy under way is waited for.
 */
void client_memory_unmapped(struct umdev_client *client, umdev_iova_t iova, uint64_t size, int ret);
/*
 * Every mapping inside the range gets another protection. Begin: what it allows is allowed, too.
 * End: it is the only one; or, if it was refused, the old one is.
 */
void client_memory_protect_begin(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                                 unsigned prot);
void client_memory_protect_end(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                               bool refused);

#endif
