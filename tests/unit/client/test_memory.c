/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory without a file: what the library answers to a server's DMA_READ and DMA_WRITE. */
#include "fake.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "client/client.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* A server in a thread: answers every request of the client, and keeps the answers to its own. */
struct server {
    struct fake fake;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    uint32_t map_error; /* what the next DMA_MAP or DMA_PROTECT is answered with */
    bool has_answer;
    struct wire_header header;
    uint8_t body[65536];
};

static bool read_bytes(int sock, void *buf, size_t size)
{
    return size == 0 || recv(sock, buf, size, MSG_WAITALL) == (ssize_t)size;
}

static void server_send(struct server *server, const void *bytes, size_t size)
{
    CHECK(send(server->fake.server_end, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

/* A device does what it now may before the client hears of it. */
static void server_use_early(struct server *server)
{
    struct {
        struct wire_header header;
        uint64_t address, count;
        uint8_t data[4];
    } WIRE_PACKED message = {
        .header = {.id = 0x77, .command = WIRE_DMA_WRITE, .size = sizeof(message)},
        .address = 0x1000,
        .count = 4,
        .data = "new",
    };

    server_send(server, &message, sizeof(message));
}

/* With the lock. */
static void server_answer(struct server *server, const struct wire_header *request,
                          const uint8_t *body)
{
    struct {
        struct wire_header header;
        uint8_t body[64];
    } WIRE_PACKED reply = {.header = *request};
    size_t size = 0;

    reply.header.flags = WIRE_TYPE_REPLY;
    if (request->command == WIRE_DMA_UNMAP)
        size = sizeof(struct wire_dma_unmap);
    if (request->command == WIRE_REGION_READ)
        size = sizeof(struct wire_region_access) + 4;
    memcpy(reply.body, body, sizeof(struct wire_dma_unmap));
    if (request->command == WIRE_UMDEV_DMA_PROTECT)
        server_use_early(server);
    if (request->command == WIRE_DMA_MAP || request->command == WIRE_UMDEV_DMA_PROTECT)
        reply.header.error = server->map_error;
    if (reply.header.error)
        reply.header.flags |= WIRE_ERROR;
    reply.header.size = (uint32_t)(sizeof(reply.header) + size);
    server_send(server, &reply, reply.header.size);
}

static void *server_run(void *opaque)
{
    struct server *server = opaque;
    struct wire_header header;
    static _Thread_local uint8_t body[65536];

    while (read_bytes(server->fake.server_end, &header, sizeof(header))) {
        CHECK(header.size <= sizeof(header) + sizeof(body));
        if (!read_bytes(server->fake.server_end, body, header.size - sizeof(header)))
            break;
        LOCK_FOR_SCOPE(&server->lock);
        if ((header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_COMMAND) {
            server_answer(server, &header, body);
            continue;
        }
        CHECK(!server->has_answer);
        server->header = header;
        memcpy(server->body, body, header.size - sizeof(header));
        server->has_answer = true;
        pthread_cond_signal(&server->answered);
    }
    return NULL;
}

static void server_begin(struct server *server)
{
    memset(server, 0, sizeof(*server));
    fake_connect(&server->fake);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->answered, NULL);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void server_end(struct server *server)
{
    umdev_client_close(server->fake.client);
    server->fake.client = NULL;
    pthread_join(server->thread, NULL);
    fake_close(&server->fake);
}

static struct umdev_client *client_of(struct server *server)
{
    return server->fake.client;
}

/* A request of any shape; its answer is in server->header and ->body. */
static void ask_raw(struct server *server, uint16_t command, const void *body, size_t size)
{
    uint8_t message[sizeof(struct wire_header) + 8192];
    struct wire_header header = {.id = 0x77, .command = command};

    header.size = (uint32_t)(sizeof(header) + size);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), body, size);
    LOCK_FOR_SCOPE(&server->lock);
    server->has_answer = false;
    server_send(server, message, header.size);
    while (!server->has_answer)
        pthread_cond_wait(&server->answered, &server->lock);
    server->has_answer = false;
    CHECK(server->header.id == 0x77 && server->header.command == command);
}

/* The errno of the answer; the bytes of a read are in server->body behind the two numbers. */
static uint32_t ask(struct server *server, uint16_t command, uint64_t address, uint64_t count,
                    const void *data)
{
    uint8_t body[8192];
    struct wire_dma_access access = {address, count}, answered;
    size_t bytes = command == WIRE_DMA_WRITE ? count : 0;

    memcpy(body, &access, sizeof(access));
    if (bytes)
        memcpy(body + sizeof(access), data, bytes);
    ask_raw(server, command, body, sizeof(access) + bytes);
    if (server->header.flags & WIRE_ERROR) {
        CHECK(server->header.size == sizeof(struct wire_header));
        return server->header.error;
    }
    memcpy(&answered, server->body, sizeof(answered));
    CHECK(answered.address == address && answered.count == count);
    CHECK(server->header.size ==
          sizeof(struct wire_header) + sizeof(access) + (command == WIRE_DMA_READ ? count : 0));
    return 0;
}

static const uint8_t *read_data(const struct server *server)
{
    return server->body + sizeof(struct wire_dma_access);
}

static void test_an_idle_client_answers(void **state)
{
    static uint8_t first[4096], second[8192];
    struct server server;

    (void)state;
    server_begin(&server);
    memset(first, 1, sizeof(first));
    memset(second, 2, sizeof(second));
    assert_int_equal(umdev_client_dma_map_memory(client_of(&server), second, umdev_iova(0x2000),
                                                 sizeof(second), UMDEV_RW),
                     0);
    assert_int_equal(umdev_client_dma_map_memory(client_of(&server), first, umdev_iova(0x1000),
                                                 sizeof(first), UMDEV_RW),
                     0);
    /* Over the border of the two, which lie anywhere here. */
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x1ffd, 6, "abcdef"), 0);
    assert_memory_equal(first + 4093, "abc", 3);
    assert_memory_equal(second, "def", 3);
    assert_int_equal(first[4092], 1);
    assert_int_equal(second[3], 2);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1ffc, 8, NULL), 0);
    assert_memory_equal(read_data(&server), "\1abcdef\2", 8);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x3fff, 1, NULL), 0);
    server_end(&server);
}

static void test_what_is_refused(void **state)
{
    static uint8_t readable[4096], writable[4096];
    struct wire_dma_access access = {0x1000, 9};
    uint8_t body[32] = {0};
    struct server server;

    (void)state;
    server_begin(&server);
    assert_int_equal(umdev_client_dma_map_memory(client_of(&server), readable, umdev_iova(0x1000),
                                                 4096, UMDEV_READ),
                     0);
    assert_int_equal(umdev_client_dma_map_memory(client_of(&server), writable, umdev_iova(0x2000),
                                                 4096, UMDEV_WRITE),
                     0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0xfff, 1, NULL), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0xfff, 2, NULL), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x2fff, 2, "ab"), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x3000, 1, "a"), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1fff, 2, NULL), EPERM);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x1fff, 2, "ab"), EPERM);
    assert_int_equal(ask(&server, WIRE_DMA_READ, UINT64_MAX, 2, NULL), EINVAL);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1000, 0, NULL), EINVAL);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1000, (1 << 20) + 1, NULL), E2BIG);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1000, UINT64_MAX, NULL), E2BIG);
    assert_int_equal(writable[4095], 0);
    assert_int_equal(readable[4095], 0);

    /* Bodies that are not as long as they say. */
    ask_raw(&server, WIRE_DMA_READ, body, 15);
    assert_int_equal(server.header.error, EINVAL);
    ask_raw(&server, WIRE_DMA_READ, body, 17);
    assert_int_equal(server.header.error, EINVAL);
    memcpy(body, &access, sizeof(access));
    ask_raw(&server, WIRE_DMA_WRITE, body, sizeof(access) + 8);
    assert_int_equal(server.header.error, EINVAL);
    ask_raw(&server, WIRE_REGION_READ, body, sizeof(access));
    assert_int_equal(server.header.error, EOPNOTSUPP);
    assert_true(umdev_client_alive(client_of(&server)));
    server_end(&server);
}

static void test_unmap(void **state)
{
    static uint8_t memory[3][4096];
    struct server server;

    (void)state;
    server_begin(&server);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(umdev_client_dma_map_memory(client_of(&server), memory[i],
                                                     umdev_iova(0x1000 * i), 4096, UMDEV_RW),
                         0);
    assert_int_equal(umdev_client_dma_unmap(client_of(&server), umdev_iova(0x1000), 0x1000), 0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x0, 4096, NULL), 0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1000, 1, NULL), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x2000, 4096, NULL), 0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x0, 4097, NULL), EFAULT);
    assert_int_equal(umdev_client_dma_unmap(client_of(&server), umdev_iova(0), 0x10000), 0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x0, 1, NULL), EFAULT);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x2000, 1, NULL), EFAULT);
    server_end(&server);
}

static uint32_t early_error(struct server *server)
{
    LOCK_FOR_SCOPE(&server->lock);
    while (!server->has_answer)
        pthread_cond_wait(&server->answered, &server->lock);
    server->has_answer = false;
    return server->header.error;
}

/* What a new protection allows holds before its call returns; what it forbids, when it does. */
static void test_protect(void **state)
{
    static uint8_t memory[2][4096];
    struct server server;

    (void)state;
    server_begin(&server);
    client_of(&server)->protect_negotiated = true;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(umdev_client_dma_map_memory(client_of(&server), memory[i],
                                                     umdev_iova(0x1000 + 0x1000 * i), 4096,
                                                     UMDEV_READ),
                         0);
    assert_int_equal(
        umdev_client_dma_protect(client_of(&server), umdev_iova(0x1000), 4096, UMDEV_RW), 0);
    assert_int_equal(early_error(&server), 0);
    assert_string_equal(memory[0], "new");
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x1000, 1, "N"), 0);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x2000, 1, "N"), EPERM);
    /* As yet it may. */
    assert_int_equal(
        umdev_client_dma_protect(client_of(&server), umdev_iova(0x1000), 4096, UMDEV_READ), 0);
    assert_int_equal(early_error(&server), 0);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x1000, 1, "N"), EPERM);
    /* What the server refuses has changed nothing. */
    server.map_error = EPERM;
    assert_int_equal(
        umdev_client_dma_protect(client_of(&server), umdev_iova(0x1000), 4096, UMDEV_RW), -EPERM);
    early_error(&server);
    assert_int_equal(ask(&server, WIRE_DMA_WRITE, 0x1000, 1, "N"), EPERM);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0x1000, 1, NULL), 0);
    server_end(&server);
}

/* A mapping that the server did not take is none; one that overlaps is refused unasked. */
static void test_map_errors(void **state)
{
    static uint8_t memory[8192];
    struct umdev_client *client;
    struct server server;

    (void)state;
    server_begin(&server);
    client = client_of(&server);
    server.map_error = ENOSPC;
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0), 4096, UMDEV_RW),
                     -ENOSPC);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0, 1, NULL), EFAULT);
    server.map_error = 0;
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0), 8192, UMDEV_RW), 0);
    assert_int_equal(
        umdev_client_dma_map_memory(client, memory, umdev_iova(0x1000), 4096, UMDEV_RW), -EEXIST);
    assert_int_equal(umdev_client_dma_map_memory(client, NULL, umdev_iova(0x4000), 4096, UMDEV_RW),
                     -EINVAL);
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0x4000), 0, UMDEV_RW),
                     -EINVAL);
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0x4000), 100, UMDEV_RW),
                     -EINVAL);
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0x4001), 4096, 1),
                     -EINVAL);
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0x4000), 4096, 0),
                     -EINVAL);
    assert_int_equal(umdev_client_dma_map_memory(client, memory, umdev_iova(0x4000), 4096, 4),
                     -EINVAL);
    assert_int_equal(
        umdev_client_dma_map_memory(client, memory, umdev_iova(UINT64_MAX - 0xfff), 8192, UMDEV_RW),
        -EINVAL);
    server_end(&server);
}

/* ------------------------------------------------------------------ threads and endings */

static void *caller_run(void *opaque)
{
    struct umdev_client *client = opaque;
    uint32_t value;

    for (unsigned i = 0; i < 300; i++)
        CHECK(umdev_client_read32(client, 0, 0, &value) == 0);
    return NULL;
}

static void *mapper_run(void *opaque)
{
    struct umdev_client *client = opaque;
    static uint8_t memory[4096];

    for (unsigned i = 0; i < 200; i++) {
        CHECK(umdev_client_dma_map_memory(client, memory, umdev_iova(0x9000), 4096, UMDEV_RW) == 0);
        CHECK(umdev_client_dma_unmap(client, umdev_iova(0x9000), 4096) == 0);
    }
    return NULL;
}

/* Calls, maps, unmaps and the server's requests at once. The first map finds a receiver at work. */
static void test_threads(void **state)
{
    static uint8_t memory[4096];
    pthread_t callers[2], mapper;
    struct server server;

    (void)state;
    server_begin(&server);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, caller_run, client_of(&server)), 0);
    assert_int_equal(
        umdev_client_dma_map_memory(client_of(&server), memory, umdev_iova(0), 4096, UMDEV_RW), 0);
    assert_int_equal(pthread_create(&mapper, NULL, mapper_run, client_of(&server)), 0);
    for (unsigned i = 0; i < 300; i++) {
        uint32_t error = ask(&server, i % 2 ? WIRE_DMA_READ : WIRE_DMA_WRITE, 0x9000, 4, "abcd");

        assert_true(error == 0 || error == EFAULT);
        assert_int_equal(ask(&server, WIRE_DMA_WRITE, i % 4000, 4, "abcd"), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(callers[i], NULL);
    pthread_join(mapper, NULL);
    server_end(&server);
}

/* A child that closes its copy of the client neither waits nor ends the parent's connection. */
static void test_fork(void **state)
{
    static uint8_t memory[4096];
    struct server server;
    int status;
    pid_t child;

    (void)state;
    server_begin(&server);
    assert_int_equal(
        umdev_client_dma_map_memory(client_of(&server), memory, umdev_iova(0), 4096, UMDEV_RW), 0);
    child = fork();
    if (child == 0) {
        umdev_client_close(client_of(&server));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ask(&server, WIRE_DMA_READ, 0, 16, NULL), 0);
    server_end(&server);
}

/* A server that hangs up: the thread ends, and the client can be closed whenever its owner likes.
 */
static void test_server_gone(void **state)
{
    static uint8_t memory[4096];
    struct server server;
    uint32_t value;

    (void)state;
    server_begin(&server);
    assert_int_equal(
        umdev_client_dma_map_memory(client_of(&server), memory, umdev_iova(0), 4096, UMDEV_RW), 0);
    shutdown(server.fake.server_end, SHUT_RDWR);
    assert_int_equal(umdev_client_read32(client_of(&server), 0, 0, &value), -ENOTCONN);
    assert_int_equal(umdev_client_dma_unmap(client_of(&server), umdev_iova(0), 4096), -ENOTCONN);
    server_end(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_client_answers),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_unmap),
        cmocka_unit_test(test_protect),
        cmocka_unit_test(test_map_errors),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_server_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
