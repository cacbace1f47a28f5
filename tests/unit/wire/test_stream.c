/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages in pieces, several at once, with fds: each fd must come with its own message. */
#include "base/range.h"
#include "leaks.h"
#include "wire/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
    int peer;
    int sock;
    struct wire_stream stream;
};

static int setup(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    int socks[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
    pair->peer = socks[0];
    pair->sock = socks[1];
    assert_int_equal(wire_stream_init(&pair->stream, pair->sock), 0);
    *state = pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    wire_stream_fini(&pair->stream);
    if (pair->peer >= 0)
        close(pair->peer);
    close(pair->sock);
    free(pair);
    return 0;
}

/* A message of `size` bytes whose body repeats the low byte of `id`. */
static void make_message(uint8_t *out, uint16_t id, uint32_t size)
{
    struct wire_header header = {.id = id, .command = WIRE_REGION_WRITE, .size = size};

    memcpy(out, &header, sizeof(header));
    memset(out + sizeof(header), id, size - sizeof(header));
}

static void send_with_fds(int sock, const void *data, size_t size, const int *fds, unsigned nfds)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = size};

    assert_int_equal(fdpass_send(sock, &iov, 1, fds, nfds), 0);
}

static void expect_message(struct pair *pair, uint16_t id, uint32_t size)
{
    struct wire_message message;

    assert_int_equal(wire_stream_next(&pair->stream, &message), 1);
    assert_int_equal(message.header.id, id);
    assert_int_equal(message.body_size, size - sizeof(message.header));
    for (size_t i = 0; i < message.body_size; i++)
        assert_int_equal(message.body[i], (uint8_t)id);
}

static void assert_same_file(int a, int b)
{
    struct stat sa, sb;

    assert_int_equal(fstat(a, &sa), 0);
    assert_int_equal(fstat(b, &sb), 0);
    assert_int_equal(sa.st_ino, sb.st_ino);
}

static void test_whole_and_end(void **state)
{
    struct pair *pair = *state;
    struct wire_message message;
    uint8_t data[64];

    make_message(data, 7, sizeof(data));
    send_with_fds(pair->peer, data, sizeof(data), NULL, 0);
    assert_false(wire_stream_ready(&pair->stream));
    expect_message(pair, 7, sizeof(data));
    close(pair->peer);
    pair->peer = -1;
    assert_int_equal(wire_stream_next(&pair->stream, &message), 0);
}

static void test_every_split(void **state)
{
    struct pair *pair = *state;
    uint8_t data[48];

    for (size_t split = 1; split < sizeof(data); split++) {
        struct wire_message message;
        struct timeval soon = {.tv_usec = 1000};

        make_message(data, (uint16_t)split, sizeof(data));
        send_with_fds(pair->peer, data, split, NULL, 0);
        setsockopt(pair->sock, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
        assert_int_equal(wire_stream_next(&pair->stream, &message), -ETIMEDOUT);
        send_with_fds(pair->peer, data + split, sizeof(data) - split, NULL, 0);
        expect_message(pair, (uint16_t)split, sizeof(data));
    }
}

static void test_many_in_one_send(void **state)
{
    struct pair *pair = *state;
    uint8_t data[100 * 40];

    for (unsigned i = 0; i < 100; i++)
        make_message(data + (size_t)i * 40, (uint16_t)i, 40);
    send_with_fds(pair->peer, data, sizeof(data), NULL, 0);
    for (unsigned i = 0; i < 100; i++) {
        expect_message(pair, (uint16_t)i, 40);
        assert_int_equal(wire_stream_ready(&pair->stream), i < 99);
    }
}

/* Pipelined messages, some with an fd: whatever a read swallows, each fd finds its message. */
static void test_fds_find_their_message(void **state)
{
    struct pair *pair = *state;
    unsigned seed = (unsigned)time(NULL);
    int files[64];

    print_message("# seed %u\n", seed);
    for (unsigned round = 0; round < 200; round++) {
        unsigned n = 1 + (unsigned)rand_r(&seed) % ARRAY_SIZE(files);

        for (unsigned i = 0; i < n; i++) {
            uint32_t size = 16 + (uint32_t)rand_r(&seed) % 64;
            size_t split = 1 + (size_t)rand_r(&seed) % (size - 1);
            bool fd_with_tail = rand_r(&seed) % 2;
            uint8_t data[128];

            make_message(data, (uint16_t)i, size);
            files[i] = rand_r(&seed) % 2 ? memfd_create("file", MFD_CLOEXEC) : -1;
            send_with_fds(pair->peer, data, split, &files[i], files[i] >= 0 && !fd_with_tail);
            send_with_fds(pair->peer, data + split, size - split, &files[i],
                          files[i] >= 0 && fd_with_tail);
        }
        for (unsigned i = 0; i < n; i++) {
            struct wire_message message;

            assert_int_equal(wire_stream_next(&pair->stream, &message), 1);
            assert_int_equal(message.header.id, i);
            assert_int_equal(message.fds->count, files[i] >= 0);
            if (files[i] >= 0) {
                assert_same_file(message.fds->fds[0], files[i]);
                close(files[i]);
            }
        }
    }
}

static void test_unused_fds_are_closed(void **state)
{
    struct pair *pair = *state;
    unsigned before = leaks_count_fds();
    uint8_t data[20];
    int fds[FD_ARRAY_MAX];

    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    make_message(data, 1, sizeof(data));
    send_with_fds(pair->peer, data, sizeof(data), fds, ARRAY_SIZE(fds));
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    expect_message(pair, 1, sizeof(data));
    assert_int_equal(leaks_count_fds(), before + FD_ARRAY_MAX);
    make_message(data, 2, sizeof(data));
    send_with_fds(pair->peer, data, sizeof(data), NULL, 0);
    expect_message(pair, 2, sizeof(data));
    assert_int_equal(leaks_count_fds(), before);
}

/* An fd with every byte of one message: refused once no message could own them all. */
static void test_flood_of_fds(void **state)
{
    struct pair *pair = *state;
    unsigned before = leaks_count_fds();
    struct wire_message message;
    int flood[200], ret;
    uint8_t data[64];

    for (unsigned i = 0; i < ARRAY_SIZE(flood); i++)
        flood[i] = pair->peer;
    make_message(data, 1, sizeof(data));
    for (unsigned i = 0; i < 3; i++)
        send_with_fds(pair->peer, data + i, 1, flood, ARRAY_SIZE(flood));
    send_with_fds(pair->peer, data + 3, sizeof(data) - 3, NULL, 0);
    ret = wire_stream_next(&pair->stream, &message);
    assert_int_equal(ret, -EMSGSIZE);
    wire_stream_fini(&pair->stream);
    assert_int_equal(wire_stream_init(&pair->stream, pair->sock), 0);
    while (recv(pair->sock, data, sizeof(data), MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(leaks_count_fds(), before);
}

static void test_sizes(void **state)
{
    struct pair *pair = *state;
    static const uint32_t bad[] = {0, 1, 15, WIRE_MAX_MESSAGE + 1, UINT32_MAX};
    struct wire_message message;
    uint8_t header[16];

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        make_message(header, 1, 16);
        memcpy(header + 4, &bad[i], sizeof(bad[i]));
        send_with_fds(pair->peer, header, sizeof(header), NULL, 0);
        assert_int_equal(wire_stream_next(&pair->stream, &message), -EPROTO);
        wire_stream_fini(&pair->stream);
        assert_int_equal(wire_stream_init(&pair->stream, pair->sock), 0);
    }
}

static void test_largest(void **state)
{
    struct pair *pair = *state;
    uint8_t *data = malloc(WIRE_MAX_MESSAGE);
    pid_t child;

    make_message(data, 9, WIRE_MAX_MESSAGE);
    child = fork();
    if (child == 0) {
        uint8_t odd[33];

        make_message(odd, 8, sizeof(odd));
        send_with_fds(pair->peer, odd, sizeof(odd), NULL, 0);
        send_with_fds(pair->peer, data, WIRE_MAX_MESSAGE, NULL, 0);
        send_with_fds(pair->peer, odd, sizeof(odd), NULL, 0);
        _exit(0);
    }
    expect_message(pair, 8, 33);
    expect_message(pair, 9, WIRE_MAX_MESSAGE);
    expect_message(pair, 8, 33);
    free(data);
}

static void test_cut_in_the_middle(void **state)
{
    struct pair *pair = *state;
    struct wire_message message;
    uint8_t data[32];

    make_message(data, 1, sizeof(data));
    send_with_fds(pair->peer, data, 20, NULL, 0);
    close(pair->peer);
    pair->peer = -1;
    assert_int_equal(wire_stream_next(&pair->stream, &message), -ECONNRESET);
}

static void test_deadline_beats_a_drip(void **state)
{
    struct pair *pair = *state;
    struct wire_message message;
    uint8_t data[32];

    make_message(data, 1, sizeof(data));
    pair->stream.deadline_ns = 1;
    send_with_fds(pair->peer, data, 20, NULL, 0);
    assert_int_equal(wire_stream_next(&pair->stream, &message), -ETIMEDOUT);
}

/* The peer reads an end, not ECONNRESET, and what it sent with fds leaks nothing. */
static void test_shutdown_leaves_nothing_unread(void **state)
{
    struct pair *pair = *state;
    unsigned before = leaks_count_fds();
    uint8_t data[32];

    make_message(data, 1, sizeof(data));
    for (unsigned i = 0; i < 3; i++)
        send_with_fds(pair->peer, data, sizeof(data), &pair->peer, 1);
    wire_stream_shutdown(&pair->stream);
    assert_int_equal(leaks_count_fds(), before);
    close(pair->sock);
    assert_int_equal(recv(pair->peer, data, sizeof(data), 0), 0);
    pair->sock = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void test_send_to_the_dead(void **state)
{
    struct pair *pair = *state;
    uint8_t data[32];

    make_message(data, 1, sizeof(data));
    close(pair->peer);
    pair->peer = -1;
    assert_int_equal(wire_send(pair->sock, data, sizeof(data), NULL, 0), -EPIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_and_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_in_one_send, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fds_find_their_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unused_fds_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flood_of_fds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_beats_a_drip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shutdown_leaves_nothing_unread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_send_to_the_dead, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
