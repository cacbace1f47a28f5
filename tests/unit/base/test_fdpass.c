/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fdpass.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "leaks.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

/* Every test runs on a fresh pair of sockets and must leave no fd behind. */
struct fixture {
    unsigned fds_before;
    int a, b;
    struct fd_array array;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int pair[2];

    if (!f)
        return -1;
    f->fds_before = leaks_count_fds();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return -1;
    f->a = pair[0];
    f->b = pair[1];
    fd_array_init(&f->array);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bool leaked;

    fd_array_close(&f->array);
    if (f->a >= 0)
        close(f->a);
    close(f->b);
    leaked = leaks_count_fds() != f->fds_before;
    free(f);
    return leaked ? -1 : 0;
}

static int send_bytes(int sock, size_t len, const int *fds, unsigned nfds)
{
    static char bytes[64];
    struct iovec iov = {bytes, len};

    return fdpass_send(sock, &iov, 1, fds, nfds);
}

/* Send one byte with `count` names of one eventfd. */
static int send_many_fds(int sock, unsigned count)
{
    CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
    CLEANUP_FREE int *fds = calloc(count, sizeof(*fds));

    assert_true(fd >= 0);
    assert_non_null(fds);
    for (unsigned i = 0; i < count; i++)
        fds[i] = fd;
    return send_bytes(sock, 1, fds, count);
}

static void test_fd_arrives(void **state)
{
    struct fixture *f = *state;
    CLEANUP_FD int sent = eventfd(7, EFD_CLOEXEC);
    CLEANUP_FD int got = -1;
    uint64_t value;
    char byte;

    assert_int_equal(send_bytes(f->a, 1, &sent, 1), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
    assert_int_equal(f->array.count, 1);
    got = fd_array_take(&f->array, 0);
    assert_true(got >= 0 && got != sent);
    assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(got, &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, 7);
}

static void test_take(void **state)
{
    struct fixture *f = *state;
    char byte;
    int fd;

    assert_int_equal(fd_array_take(&f->array, 0), -1);
    assert_int_equal(send_many_fds(f->a, 2), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
    assert_int_equal(fd_array_take(&f->array, 2), -1);
    assert_int_equal(fd_array_take(&f->array, UINT_MAX), -1);
    fd = fd_array_take(&f->array, 1);
    assert_true(fd >= 0);
    assert_int_equal(fd_array_take(&f->array, 1), -1);
    fd_array_close(&f->array);
    assert_int_equal(f->array.count, 0);
    /* A taken fd is the taker's. */
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

static void test_most_fds(void **state)
{
    struct fixture *f = *state;
    char byte;

    assert_int_equal(send_many_fds(f->a, FD_ARRAY_MAX + 1), -EINVAL);
    assert_int_equal(send_many_fds(f->a, FD_ARRAY_MAX), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
    assert_int_equal(f->array.count, FD_ARRAY_MAX);
    assert_int_equal(leaks_count_fds(), f->fds_before + 2 + FD_ARRAY_MAX);
}

static void test_fds_of_several_messages_add_up_to_the_limit(void **state)
{
    struct fixture *f = *state;
    char byte;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_many_fds(f->a, 100), 0);
        assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
    }
    assert_int_equal(f->array.count, 200);
    assert_int_equal(send_many_fds(f->a, 100), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), -EMSGSIZE);
    assert_int_equal(f->array.count, FD_ARRAY_MAX);
    assert_int_equal(leaks_count_fds(), f->fds_before + 2 + FD_ARRAY_MAX);
}

static void test_out_of_fds(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, low;
    ssize_t ret;
    char byte;

    assert_int_equal(send_many_fds(f->a, 8), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    /* The limit is one on fd numbers: leave room for three above the highest in use. */
    low = old;
    low.rlim_cur = (rlim_t)MAX(f->a, f->b) + 4;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    ret = fdpass_recv(f->b, &byte, 1, &f->array);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(ret, -EMFILE);
    assert_true(f->array.count >= 3 && f->array.count < 8);
    /* The stream is where it would have been. */
    assert_int_equal(send_many_fds(f->a, 1), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
}

static void test_end_of_stream(void **state)
{
    struct fixture *f = *state;
    char byte;

    close(f->a);
    f->a = -1;
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 0);
    /* SIGPIPE would end the test. */
    assert_int_equal(send_bytes(f->b, 1, NULL, 0), -EPIPE);
}

static void test_errors_of_the_socket(void **state)
{
    struct fixture *f = *state;
    CLEANUP_FD int no_socket = eventfd(0, EFD_CLOEXEC);
    int bad = -1;
    char byte;

    assert_int_equal(fdpass_recv(no_socket, &byte, 1, &f->array), -ENOTSOCK);
    assert_int_equal(send_bytes(no_socket, 1, NULL, 0), -ENOTSOCK);
    assert_int_equal(send_bytes(f->a, 1, &bad, 1), -EBADF);
}

static void test_nothing_to_send(void **state)
{
    struct fixture *f = *state;
    CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
    char byte;

    assert_int_equal(fdpass_send(f->a, NULL, 0, NULL, 0), 0);
    assert_int_equal(send_bytes(f->a, 0, NULL, 0), 0);
    /* An fd travels with a byte. */
    assert_int_equal(send_bytes(f->a, 0, &fd, 1), -EINVAL);
    assert_int_equal(recv(f->b, &byte, 1, MSG_DONTWAIT), -1);
}

static void test_more_pieces_than_one_call_takes(void **state)
{
    struct fixture *f = *state;
    static const unsigned pieces = 3 * IOV_MAX;
    CLEANUP_FREE struct iovec *iov = calloc(pieces, sizeof(*iov));
    char text[26];
    char got[26];
    unsigned received = 0;

    assert_non_null(iov);
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i);
    /* Every second one is empty. */
    for (unsigned i = 0; i < pieces; i++)
        iov[i] = (struct iovec){&text[i / 2 % sizeof(text)], i % 2};
    assert_int_equal(fdpass_send(f->a, iov, pieces, NULL, 0), 0);
    while (received < pieces / 2) {
        ssize_t n = fdpass_recv(f->b, got, MIN(sizeof(got), pieces / 2 - received), &f->array);

        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(got[i], 'a' + (received + (unsigned)i) % 26);
        received += (unsigned)n;
    }
}

static void test_full_socket_that_does_not_block(void **state)
{
    struct fixture *f = *state;
    static char bytes[4 << 20];
    struct iovec iov = {bytes, sizeof(bytes)};

    assert_int_equal(fcntl(f->a, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fdpass_send(f->a, &iov, 1, NULL, 0), -EAGAIN);
}

static void test_send_timeout(void **state)
{
    struct fixture *f = *state;
    struct timeval timeout = {.tv_usec = 1000};
    static char bytes[4 << 20];
    struct iovec iov = {bytes, sizeof(bytes)};

    assert_int_equal(setsockopt(f->a, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
    assert_int_equal(fdpass_send(f->a, &iov, 1, NULL, 0), -EAGAIN);
}

/* A signal that only interrupts system calls. */
static void on_interrupt(int signal)
{
    (void)signal;
}

static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
}

#define LONG_LEN ((size_t)1 << 20)

struct long_send {
    int sock;
    const unsigned char *bytes;
    int fds[3];
    int ret;
};

static void *long_send(void *opaque)
{
    struct long_send *send = opaque;
    struct iovec iov[16];
    size_t done = 0;

    /* Pieces of odd sizes, the rest in the last. */
    for (size_t i = 0; i < ARRAY_SIZE(iov); i++) {
        size_t len = i + 1 < ARRAY_SIZE(iov) ? 4099 * i + 1 : LONG_LEN - done;

        iov[i] = (struct iovec){(void *)(send->bytes + done), len};
        done += len;
    }
    send->ret = fdpass_send(send->sock, iov, ARRAY_SIZE(iov), send->fds, ARRAY_SIZE(send->fds));
    return NULL;
}

/*
 * A long message through a small socket buffer, to a sender that signals interrupt all the time:
 * each interrupted sendmsg() is a partial one.
 */
static void test_partial_sends(void **state)
{
    struct fixture *f = *state;
    CLEANUP_FREE unsigned char *bytes = malloc(LONG_LEN);
    CLEANUP_FREE unsigned char *got = malloc(LONG_LEN);
    CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
    struct long_send send = {f->a, bytes, {fd, fd, fd}, 1};
    const int small = 4096;
    pthread_t thread;
    size_t received = 0;

    assert_true(bytes && got && fd >= 0);
    for (size_t i = 0; i < LONG_LEN; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    catch_interrupts();
    assert_int_equal(setsockopt(f->a, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(pthread_create(&thread, NULL, long_send, &send), 0);
    while (received < LONG_LEN) {
        ssize_t n = fdpass_recv(f->b, got + received, MIN(1500, LONG_LEN - received), &f->array);

        assert_true(n > 0);
        /* All fds come with the first byte, and once. */
        assert_int_equal(f->array.count, 3);
        received += (size_t)n;
        pthread_kill(thread, SIGUSR1);
    }
    pthread_join(thread, NULL);
    assert_int_equal(send.ret, 0);
    assert_memory_equal(bytes, got, LONG_LEN);
    assert_int_equal(recv(f->b, got, 1, MSG_DONTWAIT), -1);
}

struct interrupter {
    pthread_t victim;
    int sock;
};

static void *interrupt_then_send(void *opaque)
{
    struct interrupter *interrupter = opaque;

    for (int i = 0; i < 20; i++) {
        pthread_kill(interrupter->victim, SIGUSR1);
        usleep(100);
    }
    send_bytes(interrupter->sock, 1, NULL, 0);
    return NULL;
}

static void test_interrupted_receive(void **state)
{
    struct fixture *f = *state;
    struct interrupter interrupter = {pthread_self(), f->a};
    pthread_t thread;
    char byte;

    catch_interrupts();
    assert_int_equal(pthread_create(&thread, NULL, interrupt_then_send, &interrupter), 0);
    assert_int_equal(fdpass_recv(f->b, &byte, 1, &f->array), 1);
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fd_arrives),
        TEST(test_take),
        TEST(test_most_fds),
        TEST(test_fds_of_several_messages_add_up_to_the_limit),
        TEST(test_out_of_fds),
        TEST(test_end_of_stream),
        TEST(test_errors_of_the_socket),
        TEST(test_nothing_to_send),
        TEST(test_more_pieces_than_one_call_takes),
        TEST(test_full_socket_that_does_not_block),
        TEST(test_send_timeout),
        TEST(test_partial_sends),
        TEST(test_interrupted_receive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
