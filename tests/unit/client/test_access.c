/* SPDX-License-Identifier: BSD-3-Clause */
/* Trapped accesses, one thread: what goes over the wire, what comes back, and what must not. */
#include "fake.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------ system calls, counted */

static unsigned nsends, nreceives, npolls;

ssize_t __real_send(int sock, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int sock, const void *buf, size_t len, int flags);
ssize_t __real_sendmsg(int sock, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags);
ssize_t __real_recv(int sock, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int sock, void *buf, size_t len, int flags);
ssize_t __real_recvmsg(int sock, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int sock, struct msghdr *msg, int flags);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

ssize_t __wrap_send(int sock, const void *buf, size_t len, int flags)
{
    nsends++;
    return __real_send(sock, buf, len, flags);
}

ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags)
{
    nsends++;
    return __real_sendmsg(sock, msg, flags);
}

ssize_t __wrap_recv(int sock, void *buf, size_t len, int flags)
{
    nreceives++;
    return __real_recv(sock, buf, len, flags);
}

ssize_t __wrap_recvmsg(int sock, struct msghdr *msg, int flags)
{
    nreceives++;
    return __real_recvmsg(sock, msg, flags);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    npolls++;
    return __real_poll(fds, n, timeout);
}

/* ------------------------------------------------------------------ helpers */

static void answer_access(struct fake *fake, uint16_t command, uint64_t offset, uint32_t region,
                          uint32_t count, const void *data, size_t size)
{
    uint8_t body[65536];
    struct wire_region_access access = {.offset = offset, .region = region, .count = count};

    memcpy(body, &access, sizeof(access));
    if (size)
        memcpy(body + sizeof(access), data, size);
    fake_answer(fake, command, body, sizeof(access) + size);
}

static void assert_access(const struct fake_request *request, uint16_t command, uint32_t flags,
                          uint64_t offset, uint32_t region, uint32_t count)
{
    struct wire_region_access access;

    assert_int_equal(request->header.command, command);
    assert_int_equal(request->header.flags, flags);
    assert_true(request->body_size >= sizeof(access));
    memcpy(&access, request->body, sizeof(access));
    assert_int_equal(access.offset, offset);
    assert_int_equal(access.region, region);
    assert_int_equal(access.count, count);
    assert_int_equal(request->body_size - sizeof(access), command == WIRE_REGION_READ ? 0 : count);
}

/* The connection is over, and says so from now on. */
static void assert_over(struct fake *fake)
{
    uint32_t value;

    assert_false(umdev_client_alive(fake->client));
    assert_int_equal(umdev_client_read32(fake->client, 0, 0, &value), -ENOTCONN);
    assert_int_equal(umdev_client_post_write(fake->client, 0, 0, &value, 4), -ENOTCONN);
}

/* ------------------------------------------------------------------ accesses */

static void test_read(void **state)
{
    const uint32_t sent = 0xc0ffee01;
    struct fake_request request;
    uint32_t value = 0;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_access(&fake, WIRE_REGION_READ, 0x1234, 2, 4, &sent, 4);
    nsends = nreceives = npolls = 0;
    assert_int_equal(umdev_client_read32(fake.client, 2, 0x1234, &value), 0);
    assert_int_equal(nsends, 1);
    assert_int_equal(nreceives, 1);
    assert_int_equal(npolls, 0);
    assert_int_equal(value, sent);
    fake_take(&fake, &request);
    assert_access(&request, WIRE_REGION_READ, 0, 0x1234, 2, 4);
    fake_close(&fake);
}

static void test_write(void **state)
{
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_access(&fake, WIRE_REGION_WRITE, 8, 0, 8, NULL, 0);
    nsends = nreceives = npolls = 0;
    assert_int_equal(umdev_client_write64(fake.client, 0, 8, 0x1122334455667788), 0);
    assert_int_equal(nsends, 1);
    assert_int_equal(nreceives, 1);
    assert_int_equal(npolls, 0);
    fake_take(&fake, &request);
    assert_access(&request, WIRE_REGION_WRITE, 0, 8, 0, 8);
    assert_memory_equal(request.body + 16, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    fake_close(&fake);
}

static void test_posted(void **state)
{
    struct fake_request request;
    struct fake fake;
    uint32_t value = 7;

    (void)state;
    fake_connect(&fake);
    nsends = nreceives = 0;
    assert_int_equal(umdev_client_post_write(fake.client, 1, 4, &value, 4), 0);
    assert_int_equal(nsends, 1);
    assert_int_equal(nreceives, 0);
    fake.next_id++; /* it took an id, and has no answer */
    answer_access(&fake, WIRE_REGION_READ, 0, 1, 4, "abcd", 4);
    assert_int_equal(umdev_client_read32(fake.client, 1, 0, &value), 0);
    fake_take(&fake, &request);
    assert_access(&request, WIRE_REGION_WRITE, WIRE_NO_REPLY, 4, 1, 4);
    assert_memory_equal(request.body + 16, "\7\0\0\0", 4);
    fake_take(&fake, &request);
    assert_access(&request, WIRE_REGION_READ, 0, 0, 1, 4);
    fake_close(&fake);
}

static void test_splits(void **state)
{
    static uint8_t data[40000], got[40000];
    static const uint32_t pieces[] = {16384, 16384, 40000 - 2 * 16384};
    struct fake_request request;
    uint64_t at = 0x100;
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    fake_connect(&fake);
    for (size_t i = 0; i < 3; at += pieces[i++])
        answer_access(&fake, WIRE_REGION_READ, at, 3, pieces[i], data + at - 0x100, pieces[i]);
    assert_int_equal(umdev_client_read(fake.client, 3, 0x100, got, sizeof(got)), 0);
    assert_memory_equal(got, data, sizeof(data));
    at = 0x100;
    for (size_t i = 0; i < 3; at += pieces[i++]) {
        fake_take(&fake, &request);
        assert_access(&request, WIRE_REGION_READ, 0, at, 3, pieces[i]);
    }

    at = 0x100;
    for (size_t i = 0; i < 3; at += pieces[i++])
        answer_access(&fake, WIRE_REGION_WRITE, at, 3, pieces[i], NULL, 0);
    assert_int_equal(umdev_client_write(fake.client, 3, 0x100, data, sizeof(data)), 0);
    at = 0x100;
    for (size_t i = 0; i < 3; at += pieces[i++]) {
        fake_take(&fake, &request);
        assert_access(&request, WIRE_REGION_WRITE, 0, at, 3, pieces[i]);
        assert_memory_equal(request.body + 16, data + at - 0x100, pieces[i]);
    }
    fake_close(&fake);
}

/* The second piece fails: the error comes back, the third is never asked for. */
static void test_split_error(void **state)
{
    static uint8_t data[40000];
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_access(&fake, WIRE_REGION_WRITE, 0, 0, 16384, NULL, 0);
    fake_answer_error(&fake, WIRE_REGION_WRITE, ENOSPC);
    assert_int_equal(umdev_client_write(fake.client, 0, 0, data, sizeof(data)), -ENOSPC);
    fake_take(&fake, &request);
    fake_take(&fake, &request);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_nothing_to_do(void **state)
{
    uint8_t buf[16];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    assert_int_equal(umdev_client_read(fake.client, 0, 5, buf, 0), 0);
    assert_int_equal(umdev_client_write(fake.client, 0, 5, buf, 0), 0);
    assert_int_equal(umdev_client_read(fake.client, 0, UINT64_MAX - 7, buf, 16), -EINVAL);
    assert_int_equal(umdev_client_write(fake.client, 0, UINT64_MAX, buf, 2), -EINVAL);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_every_errno(void **state)
{
    struct fake_request request;
    struct fake fake;
    uint32_t value;

    (void)state;
    fake_connect(&fake);
    for (uint32_t error = 0; error <= 4095; error++) {
        fake_answer_error(&fake, WIRE_REGION_READ, error);
        assert_int_equal(umdev_client_read32(fake.client, 0, 0, &value),
                         error ? -(int)error : -EIO);
        fake_take(&fake, &request);
        assert_true(umdev_client_alive(fake.client));
    }
    fake_close(&fake);
}

/* ------------------------------------------------------------------ broken servers */

/* A reply to a 4-byte read at offset 8 of region 1, whole, to be spoilt one way each. */
struct read_reply {
    struct wire_header header;
    struct {
        uint64_t offset;
        uint32_t region, count;
    } access;
    uint8_t data[4];
} __attribute__((packed));

static void make_good_reply(const struct fake *fake, struct read_reply *reply)
{
    *reply = (struct read_reply){
        .header = {.id = fake->next_id,
                   .command = WIRE_REGION_READ,
                   .size = sizeof(struct read_reply),
                   .flags = WIRE_TYPE_REPLY},
        .access = {.offset = 8, .region = 1, .count = 4},
        .data = {1, 2, 3, 4},
    };
}

static void spoil(struct read_reply *reply, unsigned way)
{
    switch (way) {
    case 0:
        reply->header.id++;
        break;
    case 1:
        reply->header.command = WIRE_REGION_WRITE;
        break;
    case 2:
        reply->header.size--;
        break;
    case 3:
        reply->header.size = 0;
        break;
    case 4:
        reply->header.size = 15;
        break;
    case 5:
        reply->header.size = UINT32_MAX;
        break;
    case 6:
        reply->header.size = sizeof(reply->header);
        break;
    case 7:
        reply->header.flags |= WIRE_ERROR; /* with a body */
        break;
    case 8:
        reply->header.flags |= WIRE_NO_REPLY;
        break;
    case 9:
        reply->header.flags |= 1 << 6;
        break;
    case 10:
        reply->header.flags = 2;
        break;
    case 11:
        reply->header.flags = 0xf;
        break;
    case 12:
        reply->access.offset++;
        break;
    case 13:
        reply->access.region++;
        break;
    case 14:
        reply->access.count--;
        break;
    case 15:
        reply->access.count = UINT32_MAX;
        break;
    case 16:
        reply->header.flags |= 1U << 31;
        break;
    case 17:
        reply->header.flags = WIRE_TYPE_COMMAND | WIRE_ERROR;
        break;
    default:
        fail();
    }
}

static void test_malformed_replies(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 18; way++) {
        struct read_reply reply;
        struct fake fake;
        uint32_t value;

        fake_connect(&fake);
        make_good_reply(&fake, &reply);
        spoil(&reply, way);
        fake_queue_bytes(&fake, &reply, sizeof(reply));
        assert_int_equal(umdev_client_read32(fake.client, 1, 8, &value), -EPROTO);
        assert_over(&fake);
        fake_close(&fake);
    }
}

/* More data than was asked for must not be written anywhere. */
static void test_too_long_reply(void **state)
{
    uint8_t buf[8] = {0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee};
    uint8_t data[64] = {0};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_access(&fake, WIRE_REGION_READ, 0, 0, 4, data, sizeof(data));
    assert_int_equal(umdev_client_read(fake.client, 0, 0, buf, 4), -EPROTO);
    assert_memory_equal(buf + 4, "\xee\xee\xee\xee", 4);
    assert_over(&fake);
    fake_close(&fake);

    /* a write's reply has no data at all */
    fake_connect(&fake);
    answer_access(&fake, WIRE_REGION_WRITE, 0, 0, 4, data, 4);
    assert_int_equal(umdev_client_write32(fake.client, 0, 0, 1), -EPROTO);
    assert_over(&fake);
    fake_close(&fake);
}

/* Two replies to one request: the second is one that nobody asked for. */
static void test_reply_twice(void **state)
{
    struct read_reply reply;
    struct fake fake;
    uint32_t value;

    (void)state;
    fake_connect(&fake);
    make_good_reply(&fake, &reply);
    fake_queue_bytes(&fake, &reply, sizeof(reply));
    fake_queue_bytes(&fake, &reply, sizeof(reply));
    assert_int_equal(umdev_client_read32(fake.client, 1, 8, &value), 0);
    assert_int_equal(umdev_client_read32(fake.client, 1, 8, &value), -EPROTO);
    assert_over(&fake);
    fake_close(&fake);
}

static void test_unwanted_fds(void **state)
{
    int fds[3] = {0, 1, 2};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer_fds(&fake, WIRE_DEVICE_RESET, NULL, 0, fds, 3);
    assert_int_equal(umdev_client_reset(fake.client), 0);
    fake_close(&fake); /* looks for leaks */
}

/* ------------------------------------------------------------------ a server that asks */

static void queue_request(struct fake *fake, uint16_t command, uint32_t flags)
{
    struct wire_dma_access access = {.address = 0x1000, .count = 8};
    struct wire_header header = {
        .id = 0x4242,
        .command = command,
        .size = sizeof(header) + sizeof(access),
        .flags = flags,
    };

    fake_queue(fake, &header, &access, sizeof(access), NULL, 0);
}

static void test_refuses_requests(void **state)
{
    static const uint16_t commands[] = {WIRE_DMA_READ, WIRE_DMA_WRITE, WIRE_VERSION, 0x8001, 0};
    struct fake_request request;
    struct fake fake;
    uint32_t value;

    (void)state;
    fake_connect(&fake);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        queue_request(&fake, commands[i], 0);
    queue_request(&fake, WIRE_DMA_WRITE, WIRE_NO_REPLY);
    answer_access(&fake, WIRE_REGION_READ, 0, 0, 4, "abcd", 4);
    assert_int_equal(umdev_client_read32(fake.client, 0, 0, &value), 0);
    fake_take(&fake, &request);
    assert_access(&request, WIRE_REGION_READ, 0, 0, 0, 4);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fake_take(&fake, &request);
        assert_int_equal(request.header.id, 0x4242);
        assert_int_equal(request.header.command, commands[i]);
        assert_int_equal(request.header.flags, WIRE_TYPE_REPLY | WIRE_ERROR);
        assert_int_equal(request.header.error, EOPNOTSUPP);
        assert_int_equal(request.body_size, 0);
    }
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

/* ------------------------------------------------------------------ time and endings */

static void test_timeout(void **state)
{
    struct fake fake;
    uint32_t value;

    (void)state;
    fake_connect_timeout(&fake, 50);
    assert_int_equal(umdev_client_read32(fake.client, 0, 0, &value), -ETIMEDOUT);
    assert_over(&fake);
    fake_close(&fake);
}

/* The server does not read: when the socket is full, nothing more can be sent. */
static void test_send_timeout(void **state)
{
    static uint8_t data[4 << 20];
    struct fake fake;
    int ret;

    (void)state;
    fake_connect_timeout(&fake, 50);
    do
        ret = umdev_client_post_write(fake.client, 0, 0, data, sizeof(data));
    while (!ret);
    assert_int_equal(ret, -ETIMEDOUT);
    assert_over(&fake);
    fake_close(&fake);
}

static void test_server_dies(void **state)
{
    struct read_reply reply;
    struct fake fake;
    uint32_t value;

    (void)state;
    for (size_t sent = 0; sent < sizeof(reply); sent++) {
        fake_connect(&fake);
        make_good_reply(&fake, &reply);
        if (sent)
            fake_queue_bytes(&fake, &reply, sent);
        fake_close_server(&fake);
        assert_int_equal(umdev_client_read32(fake.client, 1, 8, &value), -ENOTCONN);
        assert_over(&fake);
        fake_close(&fake);
    }
}

static void test_post_to_dead_server(void **state)
{
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_close_server(&fake);
    assert_int_equal(umdev_client_post_write(fake.client, 0, 0, "x", 1), -ENOTCONN);
    assert_over(&fake);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),           cmocka_unit_test(test_write),
        cmocka_unit_test(test_posted),         cmocka_unit_test(test_splits),
        cmocka_unit_test(test_split_error),    cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_every_errno),    cmocka_unit_test(test_malformed_replies),
        cmocka_unit_test(test_too_long_reply), cmocka_unit_test(test_reply_twice),
        cmocka_unit_test(test_unwanted_fds),   cmocka_unit_test(test_refuses_requests),
        cmocka_unit_test(test_timeout),        cmocka_unit_test(test_send_timeout),
        cmocka_unit_test(test_server_dies),    cmocka_unit_test(test_post_to_dead_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
