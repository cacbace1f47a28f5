/* SPDX-License-Identifier: BSD-3-Clause */
/* A client that does not give pages back holds nobody up but itself. */
#include "aperture.h"

#include "touch.h"
#include "unit.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* In a process of its own: a mapped page, and a ring that is going to take it away. */
static void live_until_stopped(int sock, int ready)
{
    struct vgpu_mandelbrot work = rig_long(8);
    struct umdev_client *client;
    uint8_t *aperture;
    struct rig rig = {0};
    char byte;

    if (read(sock, &byte, 1) != 1 || umdev_connect_fd(sock, NULL, &client))
        _exit(1);
    rig_attach(&rig, client);
    touch_catch(SIGBUS);
    aperture = aperture_map(&rig);
    aperture_set(&rig, 0, RW);
    if (!aperture_write(aperture, 0, 1))
        _exit(1);
    rig_emit(&rig, &work, sizeof(work));
    aperture_emit_fill(&rig, 0, 1, 0, 0);
    rig_doorbell(&rig);
    if (write(ready, &byte, 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_connected(struct umdev_host *host, const char *uuid)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    assert_int_equal(umdev_host_get_stats(host, uuid, &stats), 0);
    return stats.connected;
}

/*
 * It is given five seconds, and then cut off. The only engine works for others all the time.
 */
static void test_stopped_client(void **state)
{
    uint64_t fence = 0, slowest = 0, start;
    char uuid[UMDEV_UUID_STR_SIZE], byte;
    int pair[2], ready[2], status;
    struct umdev_host *host;
    struct rig other;
    pid_t child;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        close(pair[0]);
        live_until_stopped(pair[1], ready[1]);
    }
    close(pair[1]);
    host = rig_host(1);
    assert_int_equal(umdev_host_create(host, "gpu", "vgpu-1", NULL, uuid, NULL), 0);
    assert_int_equal(write(pair[0], "", 1), 1);
    assert_int_equal(umdev_host_serve_fd(host, uuid, pair[0]), 0);
    rig_init(&other, host, "vgpu-1");
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    start = now_ms();
    while (is_connected(host, uuid) && now_ms() - start < 60000) {
        uint64_t begin = now_ms(), took;

        rig_finish(&other, ++fence);
        took = now_ms() - begin;
        slowest = took > slowest ? took : slowest;
    }
    assert_false(is_connected(host, uuid));
    print_message("%llu fences meanwhile, the slowest in %llu ms\n", (unsigned long long)fence,
                  (unsigned long long)slowest);
    assert_true(now_ms() - start >= 4000 && slowest < 2000);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    rig_free(&other);
    assert_int_equal(umdev_host_remove(host, uuid), 0);
    umdev_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stopped_client)};

    return cmocka_run_group_tests_name("vgpu aperture stopped", tests, NULL, NULL);
}
