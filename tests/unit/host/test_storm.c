/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that create, remove, listen, serve, connect and look, all on the same few devices at
 * once. Every call ends in one of its results, and nothing is left at the end.
 */
#include "fixture.h"

#include "leaks.h"

#include <time.h>

#define THREADS 5
#define STEPS   120
#define UUIDS   3

struct worker {
    pthread_t thread;
    struct umdev_host *host;
    const char *directory;
    unsigned seed, number;
};

/* Counted, as a thread of cmocka's can't fail. */
static atomic_int mistakes, served;

static void expect(int ret, const int *expected, int line)
{
    for (; *expected; expected++) {
        if (ret == *expected)
            return;
    }
    if (ret != 0 && atomic_fetch_add(&mistakes, 1) == 0)
        print_error("line %d: %d\n", line, ret);
}
/* 0 or one of these. */
#define EXPECT(ret, ...) expect((ret), (const int[]){__VA_ARGS__, 0}, __LINE__)

static unsigned dice(struct worker *worker, unsigned sides)
{
    return (unsigned)rand_r(&worker->seed) / 16 % sides;
}

/* As far as it gets: the device may go at any moment. */
static void use(struct umdev_client *client)
{
    uint32_t value;

    if (umdev_client_write32(client, 0, REG_SQUARE, 3) == 0 &&
        umdev_client_read32(client, 0, REG_SQUARE, &value) == 0) {
        if (value != 9)
            atomic_fetch_add(&mistakes, 1);
        atomic_fetch_add(&served, 1);
    }
    umdev_client_close(client);
}

static void serve(struct worker *worker, const char *uuid)
{
    struct umdev_client *client = NULL;
    int pair[2];
    int ret;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return;
    ret = umdev_host_serve_fd(worker->host, uuid, pair[0]);
    EXPECT(ret, -ENODEV);
    if (ret) {
        close(pair[0]);
        close(pair[1]);
        return;
    }
    if (dice(worker, 4) == 0)
        close(pair[1]);
    else if (umdev_connect_fd(pair[1], NULL, &client) == 0)
        use(client);
}

static int look(void *opaque, const struct umdev_host_device *device)
{
    (void)opaque;
    if (strlen(device->uuid) != 36 || (device->socket && device->socket[0] != '/'))
        atomic_fetch_add(&mistakes, 1);
    return 0;
}

static void step(struct worker *worker)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct umdev_host *host = worker->host;
    struct umdev_client *client = NULL;
    unsigned number = dice(worker, UUIDS);
    char uuid[UMDEV_UUID_STR_SIZE];
    char path[96];

    snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-%012u", number);
    snprintf(path, sizeof(path), "%s/%u", worker->directory, number);
    switch (dice(worker, 12)) {
    case 0:
        EXPECT(umdev_host_remove(host, uuid), -ENODEV, -EAGAIN);
        break;
    case 1:
    case 2:
    case 3:
        EXPECT(umdev_host_create(host, NULL, "small-1", uuid, NULL, NULL), -EEXIST, -ENODEV,
               -ENOENT);
        break;
    case 4:
    case 5:
        EXPECT(umdev_host_listen(host, uuid, path, 0, NULL), -ENODEV, -EEXIST, -EADDRINUSE);
        break;
    case 6:
    case 7:
        if (umdev_connect(path, NULL, &client) == 0)
            use(client);
        break;
    case 8:
        umdev_host_for_each_device(host, look, NULL);
        EXPECT(umdev_host_get_stats(host, uuid, &stats), -ENODEV);
        break;
    case 9:
        if (dice(worker, 8))
            break;
        EXPECT(umdev_host_remove_parent(host, "p"), -ENOENT, -ENODEV);
        EXPECT(umdev_host_add_parent_static(host, &small_driver, "p", NULL, 0, NULL), -EEXIST);
        break;
    default:
        serve(worker, uuid);
    }
}

static void *work(void *argument)
{
    for (int i = 0; i < STEPS; i++)
        step(argument);
    return NULL;
}

static void test_storm(void **state)
{
    const char *given = getenv("UMDEV_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    char directory[] = "/tmp/umdev-test-storm-XXXXXX";
    unsigned fds = leaks_count_fds();
    struct umdev_host *host = new_host();
    struct worker workers[THREADS];

    (void)state;
    print_message("# seed %u\n", seed);
    assert_non_null(mkdtemp(directory));
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){0, host, directory, seed + i, i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(atomic_load(&mistakes), 0);
    assert_true(atomic_load(&served) > 0);
    free_host(host);
    assert_int_equal(leaks_count_fds(), fds);
    /* Empty: each socket went with its device. */
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
