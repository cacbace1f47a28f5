/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages out of, and into, a stream socket.
 *
 * Data model. A buffer holds the bytes [start, end) that were read and not yet consumed; the
 * current message begins at `start`. One read takes whatever the socket has, so that a request
 * costs one system call and pipelined ones cost less. That is safe for file descriptors because of
 * how Linux delivers them on a stream: a read ends with the piece (one send of the peer) that
 * carried fds. So the fds of a read belong to the message that holds the read's last byte. Each
 * received fd is kept with that stream position and handed out with the message that covers it.
 *
 * Invariants: start <= end <= capacity; fds are in the stream's order and none ends before
 * the current message.
 */
#ifndef WIRE_STREAM_H
#define WIRE_STREAM_H

#include "base/fdpass.h"
#include "wire/vfio_user.h"

#include <stdbool.h>

/* Data bytes in one message, and the most that a message of any kind can take around them. */
#define WIRE_MAX_DATA    (UINT32_C(1) << 20)
#define WIRE_MAX_MESSAGE (WIRE_MAX_DATA + 4096)

struct wire_stream {
    /* What every message needs, together: few cache lines, one page. */
    int sock; /* borrowed */
    unsigned nfds;
    /*
     * Not 0: read by recv(), which is cheaper than recvmsg(), this many bytes at a time; fds that
     * come are closed unseen. For who knows that the next so many bytes bring none.
     */
    size_t plain;
    uint8_t *buf;
    size_t capacity, start, end;
    size_t message_size;  /* of the message handed out last; dropped at the next call */
    uint64_t position;    /* of buf[end] in the stream */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    struct fd_array message_fds;
    struct {
        int fd;
        uint64_t read_start, position; /* the read that brought it: [read_start, position) */
    } fds[2 * FD_ARRAY_MAX];
};

/* A message, in the stream's buffer until the next call. Fds left in `fds` are closed then. */
struct wire_message {
    struct wire_header header;
    const uint8_t *body;
    size_t body_size;
    struct fd_array *fds;
};

/* Room for messages of WIRE_MAX_MESSAGE bytes; pages are only used as they are needed. −ENOMEM. */
int wire_stream_init(struct wire_stream *stream, int sock);
/*
 * End the connection and throw away what is unread: a socket that is closed with something unread
 * gives the peer ECONNRESET, which some clients take for worse than an end. Does not block.
 */
void wire_stream_shutdown(struct wire_stream *stream);
/* Closes fds not handed out, not the socket. */
void wire_stream_fini(struct wire_stream *stream);

/*
 * The next message. 1: there is one; 0: the peer closed between messages. −ECONNRESET: in
 * the middle of one. −EPROTO: a size below the header's or above WIRE_MAX_MESSAGE. −EMFILE: fds
 * were lost. −EMSGSIZE: more fds than any message may carry. −ETIMEDOUT: the
 * socket's own receive timeout passed, or the deadline between the reads of a message (what was
 * read is kept). Others as recvmsg().
 */
int wire_stream_next(struct wire_stream *stream, struct wire_message *message);
/* Whether wire_stream_next() has a whole message without reading. */
bool wire_stream_ready(const struct wire_stream *stream);

/* Where in the stream the message handed out last ends. */
uint64_t wire_stream_taken(const struct wire_stream *stream);

/* Send a whole message, with fds. 0 or −errno: −EPIPE (never a SIGPIPE), −ETIMEDOUT, … */
int wire_send(int sock, const void *message, size_t size, const int *fds, unsigned nfds);

#endif
