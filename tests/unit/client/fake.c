/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake.h"

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "leaks.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What can be queued before anybody reads. */
#define QUEUE_BYTES (4 << 20)

void fake_open(struct fake *fake)
{
    int ends[2], size = QUEUE_BYTES;

    leaks_begin();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    *fake = (struct fake){.client_end = ends[0], .server_end = ends[1]};
}

int fake_try_connect(struct fake *fake, int timeout_ms)
{
    struct umdev_connect_options options = {.struct_size = sizeof(options)};

    options.timeout_ms = timeout_ms;
    return umdev_connect_fd(take_fd(&fake->client_end), &options, &fake->client);
}

void fake_connect_timeout(struct fake *fake, int timeout_ms)
{
    struct fake_request version;

    fake_open(fake);
    fake_answer_version(fake, 0, 1, FAKE_JSON);
    assert_int_equal(fake_try_connect(fake, timeout_ms), 0);
    fake_take(fake, &version);
    assert_int_equal(version.header.command, WIRE_VERSION);
}

void fake_connect(struct fake *fake)
{
    fake_connect_timeout(fake, 0);
}

void fake_close_server(struct fake *fake)
{
    if (fake->server_end >= 0)
        close(take_fd(&fake->server_end));
}

void fake_close(struct fake *fake)
{
    umdev_client_close(fake->client);
    fake->client = NULL;
    if (fake->client_end >= 0)
        close(take_fd(&fake->client_end));
    fake_close_server(fake);
    assert_int_equal(leaks_end("after the client"), 0);
}

void fake_queue_bytes(struct fake *fake, const void *bytes, size_t size)
{
    assert_int_equal(send(fake->server_end, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT), size);
}

void fake_queue(struct fake *fake, const struct wire_header *header, const void *body, size_t size,
                const int *fds, unsigned nfds)
{
    struct iovec iov[2] = {
        {.iov_base = (void *)header, .iov_len = sizeof(*header)},
        {.iov_base = (void *)body, .iov_len = size},
    };

    assert_int_equal(fdpass_send(fake->server_end, iov, size ? 2 : 1, fds, nfds), 0);
}

void fake_answer_fds(struct fake *fake, uint16_t command, const void *body, size_t size,
                     const int *fds, unsigned nfds)
{
    struct wire_header header = {
        .id = fake->next_id++,
        .command = command,
        .size = (uint32_t)(sizeof(header) + size),
        .flags = WIRE_TYPE_REPLY,
    };

    fake_queue(fake, &header, body, size, fds, nfds);
}

void fake_answer(struct fake *fake, uint16_t command, const void *body, size_t size)
{
    fake_answer_fds(fake, command, body, size, NULL, 0);
}

void fake_answer_error(struct fake *fake, uint16_t command, uint32_t error)
{
    struct wire_header header = {
        .id = fake->next_id++,
        .command = command,
        .size = sizeof(header),
        .flags = WIRE_TYPE_REPLY | WIRE_ERROR,
        .error = error,
    };

    fake_queue(fake, &header, NULL, 0, NULL, 0);
}

void fake_answer_version(struct fake *fake, uint16_t major, uint16_t minor, const char *json)
{
    uint8_t body[512];
    struct wire_version_body numbers = {.major = major, .minor = minor};
    size_t size = sizeof(numbers);

    memcpy(body, &numbers, sizeof(numbers));
    if (json) {
        assert_true(strlen(json) + 1 <= sizeof(body) - size);
        memcpy(body + size, json, strlen(json) + 1);
        size += strlen(json) + 1;
    }
    fake_answer(fake, WIRE_VERSION, body, size);
}

static void read_exactly(struct fake *fake, void *buf, size_t size, struct fd_array *fds)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = fdpass_recv(fake->server_end, (uint8_t *)buf + have, size - have, fds);

        assert_true(got > 0);
        have += (size_t)got;
    }
}

void fake_take(struct fake *fake, struct fake_request *request)
{
    struct fd_array fds;

    fd_array_init(&fds);
    read_exactly(fake, &request->header, sizeof(request->header), &fds);
    request->body_size = request->header.size - sizeof(request->header);
    assert_true(request->body_size <= sizeof(request->body));
    read_exactly(fake, request->body, request->body_size, &fds);
    assert_true(fds.count <= 16);
    request->nfds = fds.count;
    for (unsigned i = 0; i < fds.count; i++)
        request->fds[i] = fd_array_take(&fds, i);
}

void fake_assert_quiet(struct fake *fake)
{
    uint8_t byte;

    assert_int_equal(recv(fake->server_end, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}
