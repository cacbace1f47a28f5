/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user server by hand: a socket pair whose server end the test reads and writes.
 *
 * A client's message ids count from 0, so the answers of a whole test can be queued in the socket
 * before the client asks, and the requests be looked at afterwards, all in one thread.
 */
#ifndef TESTS_CLIENT_FAKE_H
#define TESTS_CLIENT_FAKE_H

#include "unit.h"
#include "wire/vfio_user.h"

#include <umdev/client.h>

#define FAKE_JSON                                                                                  \
    "{\"capabilities\":{\"max_msg_fds\":4,\"max_data_xfer_size\":16384,\"max_dma_maps\":99,"       \
    "\"pgsizes\":4096,\"write_multiple\":true}}"

struct fake {
    int client_end, server_end; /* −1: closed, or the client's */
    uint16_t next_id;           /* of the client's next request */
    struct umdev_client *client;
};

struct fake_request {
    struct wire_header header;
    uint8_t body[65536];
    size_t body_size;
    int fds[16];
    unsigned nfds;
};

/* Just the sockets. */
void fake_open(struct fake *fake);
/* The sockets, a VERSION answer with FAKE_JSON, and a client that has connected. */
void fake_connect(struct fake *fake);
/* The same with a time for each call. */
void fake_connect_timeout(struct fake *fake, int timeout_ms);
/* Closes the client and both ends; with fds left open anywhere the test fails. */
void fake_close(struct fake *fake);
void fake_close_server(struct fake *fake);

/* Connect over the pair that is open. */
int fake_try_connect(struct fake *fake, int timeout_ms);

/* Queue bytes as they are. */
void fake_queue_bytes(struct fake *fake, const void *bytes, size_t size);
/* Queue a message with fds, which stay the caller's. */
void fake_queue(struct fake *fake, const struct wire_header *header, const void *body, size_t size,
                const int *fds, unsigned nfds);
/* Queue the answer to the client's next request. */
void fake_answer(struct fake *fake, uint16_t command, const void *body, size_t size);
void fake_answer_fds(struct fake *fake, uint16_t command, const void *body, size_t size,
                     const int *fds, unsigned nfds);
void fake_answer_error(struct fake *fake, uint16_t command, uint32_t error);
void fake_answer_version(struct fake *fake, uint16_t major, uint16_t minor, const char *json);

/* The client's next request, which must have been sent. Its fds are the caller's. */
void fake_take(struct fake *fake, struct fake_request *request);
/* The client has sent nothing more. */
void fake_assert_quiet(struct fake *fake);

#endif
