/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several threads on one connection: replies out of order, a receiver that changes, and an end of
 * the connection that reaches everybody.
 */
#include "fake.h"

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "base/range.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#define THREADS 6
#define CALLS   300

/* cmocka's assertions belong to the main thread. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What the device holds at an offset. */
static uint64_t value_at(uint64_t offset)
{
    return offset * 0x9e3779b97f4a7c15u + 1;
}

/* ------------------------------------------------------------------ a server in a thread */

struct question {
    struct wire_header header;
    struct {
        uint64_t offset;
        uint32_t region, count;
    } access;
} __attribute__((packed));

/* False: the client is gone. */
static bool read_bytes(int sock, void *buf, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = recv(sock, (uint8_t *)buf + have, size - have, 0);

        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static bool take_question(int sock, struct question *question)
{
    uint8_t data[64];
    size_t rest;

    if (!read_bytes(sock, &question->header, sizeof(question->header)) ||
        !read_bytes(sock, &question->access, sizeof(question->access)))
        return false;
    rest = question->header.size - sizeof(*question);
    CHECK(rest <= sizeof(data));
    return !rest || read_bytes(sock, data, rest);
}

static bool is_waiting(int sock, int ms)
{
    struct pollfd pfd = {.fd = sock, .events = POLLIN};

    return poll(&pfd, 1, ms) == 1;
}

static void answer_question(int sock, const struct question *question)
{
    struct {
        struct question head;
        uint64_t value;
    } __attribute__((packed)) reply = {
        .head = *question,
        .value = value_at(question->access.offset),
    };

    reply.head.header.size = sizeof(reply);
    reply.head.header.flags = WIRE_TYPE_REPLY;
    CHECK(send(sock, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply));
}

/* Takes all questions there are and answers them from the last to the first. */
static void *backwards_server(void *opaque)
{
    int sock = *(int *)opaque;

    for (;;) {
        struct question questions[THREADS];
        unsigned n = 0;

        do {
            if (!take_question(sock, &questions[n]))
                return NULL;
            n++;
        } while (n < THREADS && is_waiting(sock, 1));
        while (n)
            answer_question(sock, &questions[--n]);
    }
}

/* ------------------------------------------------------------------ callers */

struct caller {
    pthread_t thread;
    struct umdev_client *client;
    uint64_t id;
    int ret;
};

static void *read_many(void *opaque)
{
    struct caller *caller = opaque;

    for (uint64_t i = 0; i < CALLS; i++) {
        uint64_t offset = caller->id << 32 | i << 3, value = 0;

        CHECK(umdev_client_read64(caller->client, 0, offset, &value) == 0);
        CHECK(value == value_at(offset));
    }
    return NULL;
}

static void *read_once(void *opaque)
{
    struct caller *caller = opaque;
    uint64_t value;

    caller->ret = umdev_client_read64(caller->client, 0, caller->id << 32, &value);
    CHECK(caller->ret || value == value_at(caller->id << 32));
    return NULL;
}

static void start_callers(struct caller callers[THREADS], struct umdev_client *client,
                          void *(*run)(void *))
{
    for (uint64_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.client = client, .id = i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, run, &callers[i]), 0);
    }
}

static void join_callers(struct caller callers[THREADS])
{
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(callers[i].thread, NULL);
}

/* Wait until every caller's question is in the socket, and take them. */
static void take_all_questions(struct fake *fake, struct question questions[THREADS])
{
    for (unsigned i = 0; i < THREADS; i++)
        assert_true(take_question(fake->server_end, &questions[i]));
}

/* ------------------------------------------------------------------ tests */

static void test_out_of_order(void **state)
{
    struct caller callers[THREADS];
    pthread_t server;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    assert_int_equal(pthread_create(&server, NULL, backwards_server, &fake.server_end), 0);
    start_callers(callers, fake.client, read_many);
    join_callers(callers);
    shutdown(fake.server_end, SHUT_RDWR);
    pthread_join(server, NULL);
    fake_close(&fake);
}

/* Every order of answers to questions that wait together. */
static void test_every_order(void **state)
{
    (void)state;
    for (unsigned rotation = 0; rotation < THREADS; rotation++) {
        struct question questions[THREADS];
        struct caller callers[THREADS];
        struct fake fake;

        fake_connect(&fake);
        start_callers(callers, fake.client, read_once);
        take_all_questions(&fake, questions);
        for (unsigned i = 0; i < THREADS; i++)
            answer_question(fake.server_end, &questions[(i + rotation) % THREADS]);
        join_callers(callers);
        for (unsigned i = 0; i < THREADS; i++)
            assert_int_equal(callers[i].ret, 0);
        fake_close(&fake);
    }
}

/* A mixture of everything the server and the threads can do to each other. */
static void *write_many(void *opaque)
{
    struct caller *caller = opaque;
    uint8_t data[24] = {0};

    for (uint64_t i = 0; i < CALLS; i++)
        CHECK(umdev_client_post_write(caller->client, 0, i, data, sizeof(data)) == 0);
    return read_many(opaque);
}

static void *chatty_server(void *opaque)
{
    static const struct wire_header request = {
        .id = 1, .command = WIRE_DMA_READ, .size = sizeof(request) + 16};
    static const uint8_t body[16] = {0};
    int sock = *(int *)opaque;
    struct wire_header header;

    for (;;) {
        struct question question;

        if (!read_bytes(sock, &header, sizeof(header)))
            return NULL;
        if ((header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY) {
            CHECK(header.error == EOPNOTSUPP && header.size == sizeof(header));
            continue;
        }
        question.header = header;
        CHECK(read_bytes(sock, &question.access, sizeof(question.access)));
        if (header.flags & WIRE_NO_REPLY) {
            uint8_t data[24];

            CHECK(read_bytes(sock, data, sizeof(data)));
            continue;
        }
        CHECK(send(sock, &request, sizeof(request), MSG_NOSIGNAL) > 0);
        CHECK(send(sock, body, sizeof(body), MSG_NOSIGNAL) > 0);
        answer_question(sock, &question);
    }
}

static void test_everything_at_once(void **state)
{
    struct caller callers[THREADS];
    pthread_t server;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    assert_int_equal(pthread_create(&server, NULL, chatty_server, &fake.server_end), 0);
    start_callers(callers, fake.client, write_many);
    join_callers(callers);
    shutdown(fake.server_end, SHUT_RDWR);
    pthread_join(server, NULL);
    fake_close(&fake);
}

static void test_server_dies(void **state)
{
    struct question questions[THREADS];
    struct caller callers[THREADS];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    start_callers(callers, fake.client, read_once);
    take_all_questions(&fake, questions);
    answer_question(fake.server_end, &questions[0]);
    fake_close_server(&fake);
    join_callers(callers);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(callers[i].ret,
                         callers[i].id == questions[0].access.offset >> 32 ? 0 : -ENOTCONN);
    fake_close(&fake);
}

/* One of them runs out of time: it is told so, and the connection is over for all. */
static void test_timeout(void **state)
{
    struct question questions[THREADS];
    struct caller callers[THREADS];
    unsigned timeouts = 0;
    struct fake fake;

    (void)state;
    fake_connect_timeout(&fake, 300);
    start_callers(callers, fake.client, read_once);
    take_all_questions(&fake, questions);
    join_callers(callers);
    for (unsigned i = 0; i < THREADS; i++) {
        timeouts += callers[i].ret == -ETIMEDOUT;
        assert_true(callers[i].ret == -ETIMEDOUT || callers[i].ret == -ENOTCONN);
    }
    assert_int_equal(timeouts, 1);
    assert_false(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_broken_server(void **state)
{
    static const struct wire_header nonsense = {.id = 0x7fff, .size = 16, .flags = WIRE_TYPE_REPLY};
    struct question questions[THREADS];
    struct caller callers[THREADS];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    start_callers(callers, fake.client, read_once);
    take_all_questions(&fake, questions);
    fake_queue_bytes(&fake, &nonsense, sizeof(nonsense));
    join_callers(callers);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(callers[i].ret, -EPROTO);
    fake_close(&fake);
}

/* Ids come round again while one call still waits: its id is not given to another. */
static void *even_server(void *opaque)
{
    int sock = *(int *)opaque;
    struct question held, question;
    unsigned n;

    CHECK(take_question(sock, &held));
    for (n = 0; take_question(sock, &question); n++) {
        CHECK(question.header.id != held.header.id);
        answer_question(sock, &question);
        if (n == UINT16_MAX + 10)
            answer_question(sock, &held);
    }
    return NULL;
}

static void test_ids_come_round(void **state)
{
    struct caller patient;
    pthread_t server;
    struct fake fake;
    uint64_t value;

    (void)state;
    fake_connect_timeout(&fake, -1);
    patient = (struct caller){.client = fake.client, .id = 7};
    assert_int_equal(pthread_create(&patient.thread, NULL, read_once, &patient), 0);
    while (!is_waiting(fake.server_end, 1000))
        ;
    assert_int_equal(pthread_create(&server, NULL, even_server, &fake.server_end), 0);
    for (unsigned i = 0; i < UINT16_MAX + 20; i++)
        assert_int_equal(umdev_client_read64(fake.client, 0, 8, &value), 0);
    pthread_join(patient.thread, NULL);
    assert_int_equal(patient.ret, 0);
    shutdown(fake.server_end, SHUT_RDWR);
    pthread_join(server, NULL);
    fake_close(&fake);
}

/* A server that sends a byte now and then is as late as a silent one. */
static void *trickling_server(void *opaque)
{
    int sock = *(int *)opaque;
    struct question question;

    CHECK(take_question(sock, &question));
    question.header.size = 1000;
    question.header.flags = WIRE_TYPE_REPLY;
    CHECK(send(sock, &question, sizeof(question), MSG_NOSIGNAL) > 0);
    while (!is_waiting(sock, 5) && send(sock, "x", 1, MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

static void test_trickle(void **state)
{
    pthread_t server;
    struct fake fake;
    uint64_t value;

    (void)state;
    fake_connect_timeout(&fake, 100);
    assert_int_equal(pthread_create(&server, NULL, trickling_server, &fake.server_end), 0);
    assert_int_equal(umdev_client_read64(fake.client, 0, 8, &value), -ETIMEDOUT);
    pthread_join(server, NULL);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_every_order),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_server_dies),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_broken_server),
        cmocka_unit_test(test_ids_come_round),
        cmocka_unit_test(test_trickle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
