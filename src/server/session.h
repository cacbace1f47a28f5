/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: one client on one device, served by one thread.
 *
 * The thread owns everything here but `client`, whose functions any thread may call while the
 * device is open: disconnect shuts the socket down, which wakes the thread wherever it waits, and
 * ends the fault channel, for which other threads wait. The socket is closed only after
 * device_close(), when nobody can call them any more.
 *
 * Waiting. A session without doorbells waits in the read of its socket. One that has handed some
 * out polls before each read, and hears what rang
 *  - after every message that was in the socket when it was noticed, so that writes posted before
 *    it are done, but
 *  - before a message that is answered: who sends one has waited for those before, so the ringing
 *    came first.
 */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "device/device.h"
#include "server/dma_messages.h"
#include "server/doorbells.h"
#include "server/fault_channel.h"
#include "server/server.h"
#include "wire/stream.h"
#include "wire/version.h"

/* What the fds of a message may number, as we tell clients. */
#define SESSION_MAX_MSG_FDS 16

struct session {
    struct device_client client;
    const struct log *log;
    int sock;
    struct umdev_device *dev; /* NULL until VERSION */
    uint8_t *reply;           /* WIRE_MAX_MESSAGE bytes; pages are only used as they are needed */
    struct wire_stream stream;
    struct wire_version version; /* as the client proposed it */
    struct session_dma dma;
    struct doorbells doorbells;
    uint64_t doorbells_due; /* where in the stream one was noticed to ring; 0: none was */
    bool faults;            /* VERSION named the fault channel, both ways */
    bool protects;          /* … DMA_PROTECT */
    bool tracks;            /* … write tracking */
    /* NULL: none. Stays until the session is freed. */
    struct fault_channel *_Atomic fault_channel;
    char name[64]; /* for log lines */
};

/* A reply under construction: the body begins behind the header. DMA requests use the same bytes,
 * between replies. */
struct session_reply {
    uint8_t *body;
    size_t size;    /* of the body */
    const int *fds; /* sent along; borrowed */
    unsigned nfds;
    int fd; /* room for a single one */
};

/* The session takes the socket over if 0 is returned. −ENOMEM. */
int session_init(struct session *session, int sock, const struct log *log, const char *name);
void session_fini(struct session *session);

/*
 * VERSION: waits for it until the deadline, checks it, opens the device that `get` gives and
 * answers. 0: session->dev is open. −errno: the client has been told what it could be told.
 */
int session_handshake(struct session *session, uint64_t timeout_ms,
                      struct umdev_device *(*get)(void *opaque), void *opaque);
/*
 * Serve requests until the client leaves, or is cut off: 0. −errno: it broke the protocol, or the
 * socket failed.
 */
int session_serve(struct session *session);

/* FAULT_CHANNEL, FAULT_IDENTITY. fault_requests.c. */
int session_fault_channel(struct session *session, const struct wire_message *message,
                          struct session_reply *reply);
int session_fault_identity(struct session *session, const struct wire_message *message,
                           struct session_reply *reply);

/* DMA_MAP's flags as a protection. −EINVAL: unknown ones. */
int session_dma_prot(uint32_t flags, unsigned *prot);
/* TRACK_INFO, TRACK, DMA_MAP_AT. track_requests.c. */
int session_track(struct session *session, const struct wire_message *message,
                  struct session_reply *reply);

/*
 * Answer one request: fills in `reply`; −errno becomes an error reply. requests.c.
 */
int session_request(struct session *session, const struct wire_message *message,
                    struct session_reply *reply);
/* That for DEVICE_FEATURE, whose body is there at least in its fixed part. feature.c. */
int session_request_feature(struct session *session, const struct wire_message *message,
                            struct session_reply *reply);

/* Data bytes that the client takes in one reply. */
static inline uint64_t session_max_data(const struct session *session)
{
    return session->version.max_data_xfer_size < WIRE_MAX_DATA ? session->version.max_data_xfer_size
                                                               : WIRE_MAX_DATA;
}

#endif
