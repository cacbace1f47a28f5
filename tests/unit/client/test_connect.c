/* SPDX-License-Identifier: BSD-3-Clause */
/* The beginning of a connection: sockets, negotiation, and everything that can be wrong with them.
 */
#include "fake.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "leaks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SHORT_MS 100

static void test_negotiates(void **state)
{
    struct umdev_client_limits limits;
    struct fake_request request;
    struct wire_version_body proposed;
    struct fake fake;

    (void)state;
    fake_open(&fake);
    fake_answer_version(&fake, 0, 1, FAKE_JSON);
    assert_int_equal(fake_try_connect(&fake, 0), 0);

    fake_take(&fake, &request);
    memcpy(&proposed, request.body, sizeof(proposed));
    assert_int_equal(request.header.command, WIRE_VERSION);
    assert_int_equal(request.header.flags, WIRE_TYPE_COMMAND);
    assert_int_equal(proposed.major, 0);
    assert_int_equal(proposed.minor, 1);
    assert_int_equal(request.body[request.body_size - 1], 0);
    assert_non_null(strstr((char *)request.body + 4, "\"max_data_xfer_size\":1048576"));
    assert_non_null(strstr((char *)request.body + 4, "\"max_dma_maps\":65535"));
    assert_non_null(strstr((char *)request.body + 4, "\"pgsizes\":4096"));
    assert_non_null(strstr((char *)request.body + 4, "\"write_multiple\":true"));
    assert_non_null(strstr((char *)request.body + 4, "\"max_msg_fds\":"));

    umdev_client_get_limits(fake.client, &limits);
    assert_int_equal(limits.major, 0);
    assert_int_equal(limits.minor, 1);
    assert_int_equal(limits.max_msg_fds, 4);
    assert_int_equal(limits.max_data_xfer_size, 16384);
    assert_int_equal(limits.max_dma_maps, 99);
    assert_int_equal(limits.pgsizes, 4096);
    assert_true(limits.write_multiple);
    assert_true(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_defaults(void **state)
{
    static const char *const texts[] = {NULL, "{}", "{\"capabilities\":{}}",
                                        "{\"capabilities\":{\"who knows\":[1,{}]},\"x\":null}"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct umdev_client_limits limits;
        struct fake fake;

        fake_open(&fake);
        fake_answer_version(&fake, 0, 0, texts[i]);
        assert_int_equal(fake_try_connect(&fake, 0), 0);
        umdev_client_get_limits(fake.client, &limits);
        assert_int_equal(limits.minor, 0);
        assert_int_equal(limits.max_msg_fds, 1);
        assert_int_equal(limits.max_data_xfer_size, 1048576);
        assert_int_equal(limits.max_dma_maps, 65535);
        assert_int_equal(limits.pgsizes, 4096);
        assert_false(limits.write_multiple);
        fake_close(&fake);
    }
}

static void test_refuses_versions(void **state)
{
    static const struct {
        uint16_t major, minor;
        const char *json;
    } answers[] = {
        {1, 0, "{}"},
        {0, 2, "{}"},
        {0, 1, "{"},
        {0, 1, "[]"},
        {0, 1, "{\"capabilities\":7}"},
        {0, 1, "{\"capabilities\":{\"max_msg_fds\":-1}}"},
        {0, 1, "{\"capabilities\":{\"max_data_xfer_size\":\"big\"}}"},
        {0, 1, "{\"capabilities\":{\"max_data_xfer_size\":0}}"},
        {0, 1, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct fake fake;

        fake_open(&fake);
        fake_answer_version(&fake, answers[i].major, answers[i].minor, answers[i].json);
        assert_int_equal(fake_try_connect(&fake, 0), -EPROTO);
        fake_close(&fake);
    }
}

static void test_passes_on_errors(void **state)
{
    static const struct {
        uint32_t sent;
        int got;
    } errors[] = {{EBUSY, -EBUSY}, {EINVAL, -EINVAL},     {0, -EIO},   {4095, -4095},
                  {4096, -EPROTO}, {UINT32_MAX, -EPROTO}, {1, -EPERM}, {0x80000000, -EPROTO}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct fake fake;

        fake_open(&fake);
        fake_answer_error(&fake, WIRE_VERSION, errors[i].sent);
        assert_int_equal(fake_try_connect(&fake, 0), errors[i].got);
        fake_close(&fake);
    }
}

/* A server that says no and hangs up, before it has read what the client wanted. */
static void test_last_words(void **state)
{
    struct fake fake;

    (void)state;
    fake_open(&fake);
    fake_answer_error(&fake, WIRE_VERSION, EBUSY);
    fake_close_server(&fake);
    assert_int_equal(fake_try_connect(&fake, 0), -EBUSY);
    fake_close(&fake);
}

static void test_closed(void **state)
{
    struct fake fake;

    (void)state;
    fake_open(&fake);
    fake_close_server(&fake);
    assert_int_equal(fake_try_connect(&fake, 0), -ENOTCONN);
    fake_close(&fake);

    /* in the middle of the answer's header, and of its body */
    fake_open(&fake);
    fake_queue_bytes(&fake, "\0\0\1\0\40", 5);
    shutdown(fake.server_end, SHUT_WR);
    assert_int_equal(fake_try_connect(&fake, 0), -ENOTCONN);
    fake_close(&fake);
    fake_open(&fake);
    fake_queue_bytes(&fake, "\0\0\1\0\40\0\0\0\1\0\0\0\0\0\0\0\0\0", 18);
    shutdown(fake.server_end, SHUT_WR);
    assert_int_equal(fake_try_connect(&fake, 0), -ENOTCONN);
    fake_close(&fake);
}

static void test_other_protocols(void **state)
{
    static const char banner[] = "HTTP/1.1 400 Bad Request\r\n\r\nSSH-2.0-nothing of the kind here";
    struct fake fake;

    (void)state;
    fake_open(&fake);
    fake_queue_bytes(&fake, banner, sizeof(banner));
    assert_int_equal(fake_try_connect(&fake, 0), -EPROTO);
    fake_close(&fake);
}

static void test_silence(void **state)
{
    struct fake fake;

    (void)state;
    fake_open(&fake);
    assert_int_equal(fake_try_connect(&fake, SHORT_MS), -ETIMEDOUT);
    fake_close(&fake);

    /* half an answer is none */
    fake_open(&fake);
    fake_queue_bytes(&fake, "\0\0\1\0\40\0\0\0\1\0\0\0", 12);
    assert_int_equal(fake_try_connect(&fake, SHORT_MS), -ETIMEDOUT);
    fake_close(&fake);
}

static void test_other_fds(void **state)
{
    struct umdev_connect_options options = {.struct_size = 0};
    struct umdev_client *client = NULL;
    int ends[2];

    (void)state;
    leaks_begin();
    assert_int_equal(umdev_connect_fd(open("/dev/null", O_RDWR), NULL, &client), -ENOTSOCK);
    assert_int_equal(umdev_connect_fd(-1, NULL, &client), -EBADF);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
    assert_int_equal(umdev_connect_fd(ends[0], NULL, &client), -EPROTOTYPE);
    close(ends[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(umdev_connect_fd(ends[0], &options, &client), -EINVAL);
    close(ends[1]);
    assert_null(client);
    assert_int_equal(leaks_end("bad fds"), 0);
}

/* Calls wait by the socket's own timeouts: a socket that never waits must not break that. */
static void test_nonblocking_fd(void **state)
{
    struct fake fake;

    (void)state;
    fake_open(&fake);
    assert_int_equal(fcntl(fake.client_end, F_SETFL, O_NONBLOCK), 0);
    fake_answer_version(&fake, 0, 1, "{}");
    assert_int_equal(fake_try_connect(&fake, 0), 0);
    fake_close(&fake);
}

static void test_forever(void **state)
{
    struct fake fake;

    (void)state;
    fake_open(&fake);
    fake_answer_version(&fake, 0, 1, "{}");
    assert_int_equal(fake_try_connect(&fake, -1), 0);
    fake_answer(&fake, WIRE_DEVICE_RESET, NULL, 0);
    assert_int_equal(umdev_client_reset(fake.client), 0);
    fake_close_server(&fake);
    assert_int_equal(umdev_client_reset(fake.client), -ENOTCONN);
    fake_close(&fake);
}

/* ------------------------------------------------------------------ paths */

static char dir[] = "/tmp/umdev-test-client-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void test_bad_paths(void **state)
{
    struct umdev_client *client;
    char path[300];
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/nothing", dir);
    assert_int_equal(umdev_connect(path, NULL, &client), -ENOENT);
    assert_int_equal(umdev_connect("", NULL, &client), -ENOENT);
    assert_int_equal(umdev_connect(NULL, NULL, &client), -ENOENT);
    memset(path, 'a', 108);
    path[108] = '\0';
    assert_int_equal(umdev_connect(path, NULL, &client), -ENAMETOOLONG);
    path[107] = '\0';
    assert_int_equal(umdev_connect(path, NULL, &client), -ENOENT);
    snprintf(path, sizeof(path), "%s/file", dir);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(umdev_connect(path, NULL, &client), -ECONNREFUSED);
    unlink(path);
}

static int listen_at(const char *path, int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

/* A server that accepts nobody: the first ones wait for its answer, the others for its accept. */
static void test_full_backlog(void **state)
{
    struct umdev_connect_options options = {
        .struct_size = sizeof(options),
        .timeout_ms = SHORT_MS,
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct umdev_client *client;
    char path[64];
    int fd, first, second;

    (void)state;
    snprintf(path, sizeof(path), "%s/socket", dir);
    fd = listen_at(path, 0);
    assert_int_equal(umdev_connect(path, &options, &client), -ETIMEDOUT);
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    first = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    second = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)connect(first, (struct sockaddr *)&address, sizeof(address));
    (void)connect(second, (struct sockaddr *)&address, sizeof(address));
    assert_int_equal(umdev_connect(path, &options, &client), -ETIMEDOUT);
    close(first);
    close(second);
    close(fd);
    assert_int_equal(umdev_connect(path, &options, &client), -ECONNREFUSED);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_negotiates),       cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refuses_versions), cmocka_unit_test(test_passes_on_errors),
        cmocka_unit_test(test_last_words),       cmocka_unit_test(test_closed),
        cmocka_unit_test(test_other_protocols),  cmocka_unit_test(test_silence),
        cmocka_unit_test(test_other_fds),        cmocka_unit_test(test_nonblocking_fd),
        cmocka_unit_test(test_forever),          cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_full_backlog),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
