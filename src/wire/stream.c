/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/stream.h"

#include "base/clock.h"
#include "base/range.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Reads ahead of the current message stay within the buffer's first, always warm, pages. */
#define READ_AHEAD 4096

int wire_stream_init(struct wire_stream *stream, int sock)
{
    memset(stream, 0, sizeof(*stream));
    stream->sock = sock;
    stream->capacity = WIRE_MAX_MESSAGE + READ_AHEAD;
    stream->buf = mmap(NULL, stream->capacity, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return stream->buf == MAP_FAILED ? -ENOMEM : 0;
}

void wire_stream_shutdown(struct wire_stream *stream)
{
    struct fd_array fds;

    fd_array_init(&fds);
    shutdown(stream->sock, SHUT_RDWR);
    while (fdpass_recv(stream->sock, stream->buf, stream->capacity, &fds) > 0)
        fd_array_close(&fds);
    fd_array_close(&fds);
}

void wire_stream_fini(struct wire_stream *stream)
{
    for (unsigned i = 0; i < stream->nfds; i++)
        close(stream->fds[i].fd);
    stream->nfds = 0;
    fd_array_close(&stream->message_fds);
    munmap(stream->buf, stream->capacity);
}

/* Keep fds that came with a read of `len` bytes at stream->position. */
static int stream_keep_fds(struct wire_stream *stream, struct fd_array *fds, size_t len)
{
    if (fds->count > ARRAY_SIZE(stream->fds) - stream->nfds) {
        fd_array_close(fds);
        return -EMSGSIZE;
    }
    for (unsigned i = 0; i < fds->count; i++) {
        stream->fds[stream->nfds].fd = fds->fds[i];
        stream->fds[stream->nfds].read_start = stream->position;
        stream->fds[stream->nfds].position = stream->position + len;
        stream->nfds++;
    }
    fds->count = 0;
    return 0;
}

static ssize_t stream_recv_plain(struct wire_stream *stream, void *buf, size_t len)
{
    ssize_t got;

    do
        got = recv(stream->sock, buf, len, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* A read, and the fds that came with it. */
static ssize_t stream_recv_fds(struct wire_stream *stream, void *buf, size_t len)
{
    struct fd_array fds;
    ssize_t got;
    int ret;

    fd_array_init(&fds);
    got = fdpass_recv(stream->sock, buf, len, &fds);
    if (got > 0 && fds.count) {
        ret = stream_keep_fds(stream, &fds, (size_t)got);
        return ret ? ret : got;
    }
    fd_array_close(&fds);
    return got;
}

/* One read, of `wanted` bytes or somewhat more. 0: end of stream. */
static ssize_t stream_fill(struct wire_stream *stream, size_t wanted)
{
    uint8_t *buf = stream->buf + stream->end;
    size_t len = MIN(stream->capacity - stream->end,
                     MAX(wanted, stream->plain ? stream->plain : READ_AHEAD));
    ssize_t got =
        stream->plain ? stream_recv_plain(stream, buf, len) : stream_recv_fds(stream, buf, len);

    if (got <= 0)
        return got == -EAGAIN ? -ETIMEDOUT : got;
    stream->end += (size_t)got;
    stream->position += (size_t)got;
    return got;
}

/* Make at least `size` bytes of the current message available. 1, or as wire_stream_next(). */
static int stream_need(struct wire_stream *stream, size_t size)
{
    while (stream->end - stream->start < size) {
        size_t have = stream->end - stream->start;
        ssize_t got;

        /* The socket's own timeout bounds the first read of a message; further ones ask the clock.
         */
        if (have && stream->deadline_ns && clock_now_ns() >= stream->deadline_ns)
            return -ETIMEDOUT;
        if (have == 0) {
            stream->start = stream->end = 0;
        } else if (stream->capacity - stream->start < size) {
            memmove(stream->buf, stream->buf + stream->start, have);
            stream->start = 0;
            stream->end = have;
        }
        got = stream_fill(stream, size - have);
        if (got == 0)
            return have ? -ECONNRESET : 0;
        if (got < 0)
            return (int)got;
    }
    return 1;
}

/* Whether messages of this kind carry fds. */
static bool header_takes_fds(const struct wire_header *header)
{
    if ((header->flags & WIRE_TYPE_MASK) == WIRE_TYPE_COMMAND)
        return header->command == WIRE_DMA_MAP || header->command == WIRE_DEVICE_SET_IRQS;
    return header->command == WIRE_VERSION || header->command == WIRE_DEVICE_GET_REGION_INFO ||
           header->command == WIRE_DEVICE_GET_REGION_IO_FDS;
}

/* Whether a message that begins in [from, to) of the buffer carries fds, as far as can be seen. */
static bool stream_has_taker(const struct wire_stream *stream, size_t from, size_t to)
{
    struct wire_header header;

    while (from < to && stream->end - from >= sizeof(header)) {
        memcpy(&header, stream->buf + from, sizeof(header));
        if (header_takes_fds(&header))
            return true;
        if (header.size < sizeof(header) || header.size > to - from)
            return false;
        from += header.size;
    }
    return from < to;
}

/*
 * How many of the fds are the current message's, of `size` bytes. Those of a read that ended in it,
 * or before; and those of a read that went on behind it, if it began in that read and is the
 * last of its messages that takes fds.
 */
static unsigned stream_own_fds(const struct wire_stream *stream, const struct wire_header *header)
{
    uint64_t start = stream->position - (stream->end - stream->start);
    uint64_t end = start + header->size;
    unsigned n = 0;

    while (n < stream->nfds && stream->fds[n].position <= end)
        n++;
    while (n < stream->nfds && header_takes_fds(header) && stream->fds[n].read_start <= start &&
           !stream_has_taker(stream, stream->start + header->size,
                             stream->start + (size_t)(stream->fds[n].position - start)))
        n++;
    return n;
}

static int stream_take_fds(struct wire_stream *stream, const struct wire_header *header)
{
    unsigned n = stream_own_fds(stream, header);

    if (n > FD_ARRAY_MAX)
        return -EMSGSIZE;
    for (unsigned i = 0; i < n; i++)
        stream->message_fds.fds[i] = stream->fds[i].fd;
    stream->message_fds.count = n;
    stream->nfds -= n;
    memmove(stream->fds, stream->fds + n, stream->nfds * sizeof(stream->fds[0]));
    return 0;
}

static bool stream_has(const struct wire_stream *stream, size_t size)
{
    return stream->end - stream->start >= size;
}

static void stream_drop_message(struct wire_stream *stream)
{
    if (stream->message_fds.count)
        fd_array_close(&stream->message_fds);
    stream->start += stream->message_size;
    stream->message_size = 0;
}

int wire_stream_next(struct wire_stream *stream, struct wire_message *message)
{
    int ret;

    stream_drop_message(stream);
    if (!stream_has(stream, sizeof(message->header))) {
        ret = stream_need(stream, sizeof(message->header));
        if (ret <= 0)
            return ret;
    }
    memcpy(&message->header, stream->buf + stream->start, sizeof(message->header));
    if (message->header.size < sizeof(message->header) || message->header.size > WIRE_MAX_MESSAGE)
        return -EPROTO;
    if (!stream_has(stream, message->header.size)) {
        ret = stream_need(stream, message->header.size);
        if (ret <= 0)
            return ret;
    }
    if (stream->nfds) {
        ret = stream_take_fds(stream, &message->header);
        if (ret)
            return ret;
    }
    stream->message_size = message->header.size;
    message->body = stream->buf + stream->start + sizeof(message->header);
    message->body_size = message->header.size - sizeof(message->header);
    message->fds = &stream->message_fds;
    return 1;
}

bool wire_stream_ready(const struct wire_stream *stream)
{
    size_t start = stream->start + stream->message_size;
    struct wire_header header;

    if (stream->end - start < sizeof(header))
        return false;
    memcpy(&header, stream->buf + start, sizeof(header));
    return stream->end - start >= header.size;
}

uint64_t wire_stream_taken(const struct wire_stream *stream)
{
    return stream->position - (stream->end - stream->start - stream->message_size);
}

int wire_send(int sock, const void *message, size_t size, const int *fds, unsigned nfds)
{
    struct iovec iov = {.iov_base = (void *)message, .iov_len = size};
    ssize_t sent;
    int ret;

    if (!nfds) {
        do
            sent = send(sock, message, size, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0 && (size_t)sent == size)
            return 0;
        if (sent < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        iov.iov_base = (uint8_t *)message + sent;
        iov.iov_len -= (size_t)sent;
    }
    ret = fdpass_send(sock, &iov, 1, fds, nfds);
    return ret == -EAGAIN ? -ETIMEDOUT : ret;
}
