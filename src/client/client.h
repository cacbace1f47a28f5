/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's insides: calls over one socket, shared by any number of threads.
 *
 * Data model. A call is a request on its caller's stack. The caller sends it under `send_lock` and
 * then, if nobody is receiving, becomes the receiver: it takes messages from the stream, hands each
 * reply to the call it answers, and goes on until its own is answered; then it wakes another waiter
 * to take its place. There is no thread of the client's own, so a lone caller pays for one send and
 * one receive, and nothing is allocated. Only a client with memory without a file (memory.h) has
 * one, which then is the receiver for good. (Those of fault.h never receive here.)
 *
 * Invariants. `pending` holds exactly the calls whose request may have been sent and which have no
 * result yet; their ids differ. Only the thread that set `receiving` touches `stream`. Once `over`
 * is set, `pending` is empty and stays so. A caller's reply buffers are written under `lock` and
 * only while its call is in `pending`.
 *
 * Fds. Reading without them is cheaper, and few replies have any. While no call wants an fd the
 * receiver reads plainly; a call that wants one makes itself known, and sends its request only
 * after a plain read that is under way has ended.
 *
 * Lock order: device_lock, send_lock, lock. Sockets are never waited for with `lock` held.
 *
 * Time. The socket's own timeouts are an eighth of the call's: a lone caller then needs no poll(),
 * and a server that sends a byte now and then can't stretch a call by more than that eighth.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/log.h"
#include "client/memory.h"
#include "wire/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <umdev/client.h>

#define CLIENT_DEFAULT_TIMEOUT_MS 5000
/* A region or interrupt index beyond is refused unasked: what is kept for each must be bounded. */
#define CLIENT_MAX_REGIONS 256

struct client_call;
struct client_region;
struct client_io_fds;
struct client_mapping;
struct client_fault;
struct client_irq;
struct client_track;

struct umdev_client {
    int sock;
    int timeout_ms; /* < 0: for ever */
    int slice_ms;   /* the socket's own timeouts */
    struct umdev_client_limits limits;
    struct log log;
    atomic_bool over;

    pthread_mutex_t send_lock; /* one message goes out at a time */
    uint16_t next_id;          /* under send_lock */

    pthread_mutex_t lock;
    struct client_call *pending;
    bool receiving;
    unsigned fds_wanted; /* calls whose reply may carry an fd */
    bool service_waits;  /* the service thread, for the receiver's place */
    pthread_cond_t service_turn;
    bool plain_receive; /* the receiver may be in a read that would lose fds */
    pthread_cond_t plain_over;
    struct wire_stream stream;

    pthread_mutex_t device_lock; /* what is kept about the device, and the asking for it */
    struct client_region *regions[CLIENT_MAX_REGIONS]; /* NULL: not asked yet */
    struct client_io_fds *io_fds[CLIENT_MAX_REGIONS];  /* likewise */
    struct client_mapping *mappings;
    struct client_irq *irqs;

    struct client_memory memory;

    /* What comes of options, here and below, never changes. */
    bool protect_negotiated;
    struct umdev_tracker *tracker; /* as in the options */
    struct client_track *track;    /* NULL: it has no tracker, or the server takes none */

    /* Fault-mapped regions. */
    bool offer_fault, fault_negotiated;
    int fault_timeout_ms;
    size_t max_fault_maps;
    void (*lost)(void *opaque, int cause);
    void *lost_opaque;
    bool no_poison;                       /* for tests: as on kernels without UFFDIO_POISON */
    _Atomic(struct client_fault *) fault; /* made under device_lock, at first use */
};

struct client_call {
    uint16_t command;
    /* The request after the header, in two parts; either may be empty. */
    const void *body;
    size_t body_size;
    const void *data;
    size_t data_size;
    const int *fds;
    unsigned nfds;
    /*
     * The reply after the header: exactly `reply_size` bytes, then up to `reply_data_max`, whose
     * number goes to `reply_data_size`. `reply_fd`, where not NULL, gets the first fd or −1; all
     * other fds are closed.
     */
    void *reply;
    size_t reply_size;
    void *reply_data;
    size_t reply_data_max, reply_data_size;
    int *reply_fd;
    struct fd_array *reply_fds; /* where not NULL, gets them all instead */

    /* The rest is the transport's, under client->lock. */
    struct client_call *next;
    pthread_cond_t wake;
    uint16_t id;
    bool waiting, done;
    int result;
};

/* Send a request and wait for its reply. 0 or −errno as <umdev/client.h> says. */
int client_call(struct umdev_client *client, struct client_call *call);
/* Send a request that asks for no reply. */
int client_post(struct umdev_client *client, struct client_call *call);
/* Receive for everybody until the connection is over. */
void client_receive(struct umdev_client *client);
/* The connection is over because the caller wants it so. */
void client_end(struct umdev_client *client);
/* Send one message by the deadline. 0 or −errno. */
int client_send(struct umdev_client *client, struct iovec *iov, size_t niov, uint64_t deadline);
/* A well-formed reply made no sense: the connection is over. Returns −EPROTO. */
int client_broken(struct umdev_client *client);

/* CLOCK_MONOTONIC in nanoseconds: when a call that begins now must be over; 0: never. */
uint64_t client_deadline(const struct umdev_client *client);
bool client_deadline_passed(uint64_t deadline);
/* Wait for a socket's `events` till the deadline, or a slice if that is sooner. −ETIMEDOUT: it has
 * passed. */
int client_wait(const struct umdev_client *client, short events, uint64_t deadline);
/* Wait for a condition, with its mutex, till the deadline. 0: woken, perhaps for nothing;
 * −ETIMEDOUT. */
int client_wait_woken(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline);

/* device.c: umdev_client_dma_map(), of memory that is at `ptr`; NULL: not said. */
int client_dma_map(struct umdev_client *client, int fd, uint64_t fd_offset, umdev_iova_t iova,
                   uint64_t size, unsigned prot, void *ptr);

/*
 * track.c. Give the tracker's address space to the server: best effort, but for a connection that
 * is over. Mapping with an HVA, where that was done and the memory can be tracked: 1; 0 or −errno:
 * mapped, or not, as ever.
 */
int client_track_begin(struct umdev_client *client);
int client_track_map(struct umdev_client *client, struct client_call *call,
                     const struct wire_dma_map *map, void *hva);
void client_track_end(struct umdev_client *client);

/* The ends of what the other files keep, for umdev_client_close(). */
void client_mappings_free(struct umdev_client *client);
void client_regions_free(struct umdev_client *client);
void client_io_fds_free(struct umdev_client *client);
void client_irqs_free(struct umdev_client *client);

#endif
