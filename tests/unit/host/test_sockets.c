/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients on devices: over socketpairs, at paths, on handed-over listening sockets; and what
 * happens to them when their device goes.
 */
#include "fixture.h"

#include "base/clock.h"
#include "failnth.h"
#include "leaks.h"
#include "wire/vfio_user.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>

struct bench {
    struct umdev_host *host;
    char directory[64];
    char path[96];
    unsigned fds;
};

static int setup(void **state)
{
    static struct bench bench;

    bench.fds = leaks_count_fds();
    bench.host = new_host();
    assert_int_equal(umdev_host_create(bench.host, NULL, "small-1", UUID_A, NULL, NULL), 0);
    snprintf(bench.directory, sizeof(bench.directory), "/tmp/umdev-test-host-XXXXXX");
    assert_non_null(mkdtemp(bench.directory));
    snprintf(bench.path, sizeof(bench.path), "%s/socket", bench.directory);
    *state = &bench;
    return 0;
}

/* The end of the host is the end of its sockets, threads and fds. */
static int teardown(void **state)
{
    struct bench *bench = *state;

    free_host(bench->host);
    assert_int_equal(rmdir(bench->directory), 0);
    assert_int_equal(leaks_count_fds(), bench->fds);
    return 0;
}

static void square_works(struct umdev_client *client, uint32_t value)
{
    uint32_t result = 0;

    assert_int_equal(umdev_client_write32(client, 0, REG_SQUARE, value), 0);
    assert_int_equal(umdev_client_read32(client, 0, REG_SQUARE, &result), 0);
    assert_int_equal(result, value * value);
}

/* A client that left may still be there for a moment. */
static void wait_until_free(struct umdev_host *host)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    do {
        sched_yield();
        assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    } while (stats.connected || atomic_load(&small_clients));
}

/* ------------------------------------------------------------------ socketpairs */

static void test_serve_fd(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct umdev_client *client;
    uint64_t count = 0;
    int irq, ret;

    client = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    irq = umdev_client_irq_eventfd(client, UMDEV_IRQ_MSIX, 0);
    assert_true(irq >= 0);
    /* Interrupts go out by bus mastering. */
    assert_int_equal(umdev_client_write32(client, UMDEV_REGION_CONFIG, 4, 0x6), 0);
    square_works(client, 12);
    assert_int_equal(read(irq, &count, sizeof(count)), sizeof(count));
    assert_int_equal(umdev_client_reset(client), 0);
    assert_int_equal(umdev_client_write32(client, 0, 4096, 1), -EINVAL);

    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.connected, 1);
    assert_int_equal(stats.traps_read, 1);
    assert_true(stats.traps_write >= 1);
    assert_true(stats.trap_bytes_written >= 4);
    assert_int_equal(stats.interrupts, 1);
    assert_int_equal(stats.resets, 1);
    assert_int_equal(stats.errors, 1);
    assert_true(stats.messages > 5);
    umdev_client_close(client);
    wait_until_free(host);

    client = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    square_works(client, 3);
    umdev_client_close(client);
    wait_until_free(host);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.sessions, 2);
    assert_int_equal(stats.connected, 0);
}

static void test_dma_shows_in_the_stats(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct umdev_client *client;
    int memory = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int ret;

    assert_int_equal(ftruncate(memory, 65536), 0);
    client = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    assert_int_equal(umdev_client_dma_map(client, memory, 0, umdev_iova(0x100000), 65536, UMDEV_RW),
                     0);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.dma_maps, 1);
    assert_int_equal(stats.dma_mapped_bytes, 65536);
    umdev_client_close(client);
    wait_until_free(host);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.dma_maps, 0);
    close(memory);
}

static void test_second_client_is_told_so(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;
    struct umdev_client *first, *second;
    int ret;

    first = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    second = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, -EBUSY);
    assert_null(second);
    square_works(first, 7);
    umdev_client_close(first);
}

/* One that comes when the first has closed its socket has not to know how long its end takes. */
static void test_a_successor_is_not_turned_away(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;

    for (unsigned i = 0; i < 300; i++) {
        int ret;
        struct umdev_client *client = connect_pair(host, UUID_A, &ret);

        assert_int_equal(ret, 0);
        umdev_client_close(client);
    }
}

/* A client that asks for the device and is gone before it is answered. */
static void come_and_go(struct umdev_host *host)
{
    struct {
        struct wire_header header;
        struct wire_version_body version;
    } message = {
        .header = {.command = WIRE_VERSION, .size = sizeof(message)},
        .version = {.major = 0, .minor = 1},
    };
    int pair[2];

    make_pair(pair);
    assert_int_equal(write(pair[1], &message, sizeof(message)), sizeof(message));
    close(pair[1]);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, pair[0]), 0);
}

/* Those that are gone do not wait for each other: that would take them, and the next, 2 s. */
static void test_successors_that_are_gone(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;
    const uint64_t limit = UINT64_C(1500000000);
    uint64_t best = UINT64_MAX;

    /* A busy machine may take as long once. */
    for (unsigned i = 0; i < 5 && best > limit; i++) {
        uint64_t start = clock_now_ns(), took;
        struct umdev_client *client;
        int ret;

        for (unsigned j = 0; j < 12; j++)
            come_and_go(host);
        client = connect_pair(host, UUID_A, &ret);
        took = clock_now_ns() - start;
        best = MIN(best, took);
        assert_true(ret == 0 || took > limit);
        umdev_client_close(client);
    }
    assert_true(best <= limit);
}

static void test_fds_that_are_no_sockets(void **state)
{
    struct umdev_host *host = ((struct bench *)*state)->host;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int pair[2];

    make_pair(pair);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, -1), -EBADF);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, null), -EINVAL);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, datagrams), -EINVAL);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, -1), -EBADF);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, null), -EINVAL);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, pair[0]), -EINVAL);
    assert_int_equal(umdev_host_serve_fd(host, UUID_B, pair[0]), -ENODEV);
    assert_int_equal(umdev_host_serve_fd(host, "x", pair[0]), -ENODEV);
    /* All are still ours. */
    assert_int_equal(close(null), 0);
    assert_int_equal(close(datagrams), 0);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
}

/* ------------------------------------------------------------------ paths */

struct listed {
    char socket[96];
    bool connected;
};

static int note_device(void *opaque, const struct umdev_host_device *device)
{
    struct listed *listed = opaque;

    snprintf(listed->socket, sizeof(listed->socket), "%s", device->socket ? device->socket : "");
    listed->connected = device->connected;
    return 0;
}

static void test_listen(void **state)
{
    struct bench *bench = *state;
    struct umdev_host *host = bench->host;
    struct umdev_client *client = NULL;
    struct umdev_error error = {""};
    struct listed listed;
    struct stat status;
    char other[96];

    snprintf(other, sizeof(other), "%s/other", bench->directory);
    assert_int_equal(umdev_host_listen(host, UUID_A, bench->path, 0, &error), 0);
    assert_int_equal(stat(bench->path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0600);
    assert_int_equal(umdev_connect(bench->path, NULL, &client), 0);
    square_works(client, 5);
    assert_int_equal(umdev_host_for_each_device(host, note_device, &listed), 0);
    assert_string_equal(listed.socket, bench->path);
    assert_true(listed.connected);
    umdev_client_close(client);
    wait_until_free(host);

    assert_int_equal(umdev_host_listen(host, UUID_A, other, 0, &error), -EEXIST);
    assert_non_null(strstr(error.message, bench->path));
    assert_int_equal(access(other, F_OK), -1);

    /* Clients come and go; the socket goes with the device. */
    assert_int_equal(umdev_connect(bench->path, NULL, &client), 0);
    square_works(client, 6);
    assert_int_equal(umdev_host_remove(host, UUID_A), 0);
    assert_int_equal(access(bench->path, F_OK), -1);
    assert_true(umdev_client_write32(client, 0, REG_SQUARE, 1) < 0);
    umdev_client_close(client);
}

static void test_listen_that_fails(void **state)
{
    struct bench *bench = *state;
    struct umdev_host *host = bench->host;
    struct umdev_error error = {""};
    char path[200];

    assert_int_equal(umdev_host_listen(host, UUID_B, bench->path, 0, &error), -ENODEV);
    assert_string_equal(error.message, "there is no device " UUID_B);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(umdev_host_listen(host, UUID_A, path, 0, &error), -ENAMETOOLONG);
    assert_int_equal(umdev_host_listen(host, UUID_A, bench->directory, 0, &error), -EADDRINUSE);
    assert_int_equal(umdev_host_listen(host, UUID_A, "/nowhere/socket", 0, &error), -ENOENT);
    /* None of them counts as the device's socket. */
    assert_int_equal(umdev_host_listen(host, UUID_A, bench->path, 0640, &error), 0);

    /* Another device does not get the socket of this one. */
    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_B, NULL, NULL), 0);
    assert_int_equal(umdev_host_listen(host, UUID_B, bench->path, 0, &error), -EADDRINUSE);
    assert_int_equal(umdev_host_remove(host, UUID_A), 0);
    assert_int_equal(umdev_host_listen(host, UUID_B, bench->path, 0, &error), 0);
}

static void remove_device(void *opaque)
{
    struct bench *bench = opaque;

    assert_int_equal(umdev_host_remove(bench->host, UUID_A), 0);
}

static int create_and_listen(void *opaque)
{
    struct bench *bench = opaque;
    int ret = umdev_host_create(bench->host, NULL, "small-1", UUID_A, NULL, NULL);

    if (ret)
        return ret;
    ret = umdev_host_listen(bench->host, UUID_A, bench->path, 0, NULL);
    assert_int_equal(access(bench->path, F_OK), ret ? -1 : 0);
    if (ret)
        assert_int_equal(umdev_host_remove(bench->host, UUID_A), 0);
    return ret;
}

/* No socket file is left behind by a listen that failed half way. */
static void test_listen_error_paths(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(umdev_host_remove(bench->host, UUID_A), 0);
    assert_true(failnth_run(create_and_listen, remove_device, bench) > 10);
}

static void test_listen_fd(void **state)
{
    struct bench *bench = *state;
    struct umdev_host *host = bench->host;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct umdev_client *client = NULL;
    struct umdev_error error = {""};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", bench->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, fd), -EINVAL); /* does not listen yet */
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(umdev_host_listen_fd(host, UUID_B, fd), -ENODEV);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, fd), 0);
    assert_int_equal(umdev_host_listen_fd(host, UUID_A, fd), -EEXIST);
    assert_int_equal(umdev_host_listen(host, UUID_A, "/nowhere/socket", 0, &error), -EEXIST);
    assert_int_equal(umdev_connect(bench->path, NULL, &client), 0);
    square_works(client, 9);
    umdev_client_close(client);
    assert_int_equal(umdev_host_remove(host, UUID_A), 0);
    /* Who made the path removes it. */
    assert_int_equal(umdev_connect(bench->path, NULL, &client), -ECONNREFUSED);
    assert_int_equal(unlink(bench->path), 0);
}

/* ------------------------------------------------------------------ endings */

/* Neither a client that does nothing nor one that never said a word holds a removal up. */
static void test_remove_does_not_wait_for_clients(void **state)
{
    struct bench *bench = *state;
    struct umdev_host *host = bench->host;
    struct umdev_client *client;
    struct pollfd silent = {.events = POLLIN};
    char byte;
    int pair[2];
    int ret;

    client = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    make_pair(pair);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, pair[0]), 0);
    assert_int_equal(umdev_host_remove(host, UUID_A), 0);
    assert_int_equal(atomic_load(&small_devices), 0);
    silent.fd = pair[1];
    assert_int_equal(poll(&silent, 1, -1), 1);
    assert_int_equal(recv(pair[1], &byte, 1, 0), 0);
    assert_true(umdev_client_write32(client, 0, REG_SQUARE, 1) < 0);
    umdev_client_close(client);
    close(pair[1]);
}

static void test_remove_parent_with_clients(void **state)
{
    struct bench *bench = *state;
    struct umdev_host *host = bench->host;
    struct umdev_client *first, *second = NULL;
    int ret;

    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_B, NULL, NULL), 0);
    assert_int_equal(umdev_host_listen(host, UUID_B, bench->path, 0, NULL), 0);
    first = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    assert_int_equal(umdev_connect(bench->path, NULL, &second), 0);
    assert_int_equal(umdev_host_remove_parent(host, "p"), 0);
    assert_int_equal(atomic_load(&small_parents), 0);
    assert_int_equal(access(bench->path, F_OK), -1);
    assert_true(umdev_client_write32(first, 0, REG_SQUARE, 1) < 0);
    assert_true(umdev_client_write32(second, 0, REG_SQUARE, 1) < 0);
    umdev_client_close(first);
    umdev_client_close(second);
}

static void test_free_with_clients(void **state)
{
    struct bench *bench = *state;
    struct umdev_client *client;
    int ret;

    client = connect_pair(bench->host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    assert_int_equal(umdev_host_listen(bench->host, UUID_A, bench->path, 0, NULL), 0);
    free_host(bench->host);
    assert_true(umdev_client_write32(client, 0, REG_SQUARE, 1) < 0);
    umdev_client_close(client);
    bench->host = NULL;
}

/* Another protection for what is mapped, file or not. */
static void test_protection(void **state)
{
    const umdev_iova_t file = umdev_iova(0x10000), plain = umdev_iova(0x20000);
    static _Alignas(4096) uint8_t bytes[4096];
    struct bench *bench = *state;
    int ret, memfd = memfd_create("client", MFD_CLOEXEC);
    struct umdev_client *client = connect_pair(bench->host, UUID_A, &ret);

    assert_non_null(client);
    assert_int_equal(ftruncate(memfd, 8192), 0);
    assert_int_equal(umdev_client_dma_map(client, memfd, 0, file, 8192, UMDEV_RW), 0);
    assert_int_equal(umdev_client_dma_map_memory(client, bytes, plain, sizeof(bytes), UMDEV_RW), 0);
    assert_int_equal(umdev_client_dma_protect(client, file, 8192, UMDEV_READ), 0);
    assert_int_equal(umdev_client_dma_protect(client, plain, 4096, UMDEV_WRITE), 0);
    assert_int_equal(umdev_client_dma_protect(client, file, 0x12000, UMDEV_RW), 0);
    assert_int_equal(umdev_client_dma_protect(client, file, 4096, UMDEV_RW), -EINVAL);
    assert_int_equal(umdev_client_dma_protect(client, file, 8192, 0), -EINVAL);
    assert_int_equal(umdev_client_dma_protect(client, file, 8192, 4), -EINVAL);
    assert_int_equal(umdev_client_dma_protect(client, umdev_iova(0), 4096, UMDEV_RW), -ENOENT);
    umdev_client_close(client);
    close(memfd);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_serve_fd),
        TEST(test_dma_shows_in_the_stats),
        TEST(test_protection),
        TEST(test_second_client_is_told_so),
        TEST(test_a_successor_is_not_turned_away),
        TEST(test_successors_that_are_gone),
        TEST(test_fds_that_are_no_sockets),
        TEST(test_listen),
        TEST(test_listen_that_fails),
        TEST(test_listen_error_paths),
        TEST(test_listen_fd),
        TEST(test_remove_does_not_wait_for_clients),
        TEST(test_remove_parent_with_clients),
        TEST(test_free_with_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
