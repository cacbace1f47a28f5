/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault channel against a device: clients that are slow, silent or gone, with a bound that is
 * short, and several threads that invalidate at once. The packets' every byte is tests/wire's.
 */
#include "../device/fault_fixture.h"

#include "device/device_priv.h"
#include "failnth.h"
#include "server/fault_channel.h"
#include "wire/vfio_user.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#define BOUND_MS 100

struct rig {
    struct faults f; /* its mapper is not used */
    struct device_client client;
    struct fault_channel *_Atomic channel;
    atomic_uint disconnects;
    int ours;
};

static void rig_disconnect(struct device_client *client)
{
    struct rig *rig = (struct rig *)(void *)((uint8_t *)client - offsetof(struct rig, client));
    struct fault_channel *channel = atomic_load(&rig->channel);

    atomic_fetch_add(&rig->disconnects, 1);
    if (channel)
        fault_channel_end(channel);
}

static int rig_try(struct rig *rig)
{
    struct fault_channel *channel = NULL;
    int fds[2] = {-1, -1}, ret;

    rig->ours = -1;
    atomic_store(&rig->channel, NULL);
    atomic_store(&rig->disconnects, 0);
    rig->client = (struct device_client){.disconnect = rig_disconnect};
    ret = faults_try(&rig->f, &fault_driver);
    if (ret)
        return ret;
    rig->f.driver.scatter = true;
    rig->f.fixture.dev->faults.timeout_ms = BOUND_MS;
    ret = device_open(rig->f.fixture.dev, &rig->client);
    if (ret)
        goto free_device;
    ret = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
    if (ret == 0)
        ret = fault_channel_new(rig->f.fixture.dev, fds[1], &channel);
    if (ret == 0) {
        atomic_store(&rig->channel, channel);
        rig->ours = fds[0];
        return 0;
    }
    if (fds[0] >= 0) {
        close(fds[0]);
        close(fds[1]);
    }
    device_close(rig->f.fixture.dev);
free_device:
    device_free(rig->f.fixture.dev);
    mem_list_fini(&rig->f.driver.parent);
    return ret;
}

/* What fault_channel_stop() said. */
static int rig_end(struct rig *rig)
{
    int ret = fault_channel_stop(atomic_load(&rig->channel));

    device_close(rig->f.fixture.dev);
    device_free(rig->f.fixture.dev);
    fault_channel_free(atomic_load(&rig->channel));
    mem_list_fini(&rig->f.driver.parent);
    if (rig->ours >= 0)
        close(rig->ours);
    return ret;
}

static void rig_start(struct rig *rig)
{
    assert_int_equal(rig_try(rig), 0);
}

/* false: the channel has ended. */
static bool try_fault(struct rig *rig, uint32_t tag, uint64_t page)
{
    const struct wire_fault_packet packet = {
        .type = WIRE_FAULT_FAULT,
        .tag = tag,
        .region = TABLE,
        .first = page * PAGE,
        .prot = WIRE_FAULT_PROT_READ,
    };

    return send(rig->ours, &packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet);
}

static void post_fault(struct rig *rig, uint32_t tag, uint64_t page)
{
    assert_true(try_fault(rig, tag, page));
}

static void acknowledge(struct rig *rig, uint32_t tag)
{
    const struct wire_fault_packet packet = {.type = WIRE_FAULT_ACK, .tag = tag};

    send(rig->ours, &packet, sizeof(packet), MSG_NOSIGNAL);
}

/* The next packet, its fd closed. false: the end. */
static bool receive(struct rig *rig, struct wire_fault_packet *packet)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {packet, sizeof(*packet)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t size = recvmsg(rig->ours, &msg, MSG_CMSG_CLOEXEC);

    if (size <= 0)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        int fd;

        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        close(fd);
    }
    return size == sizeof(*packet);
}

static void resolve(struct rig *rig, uint64_t page)
{
    struct wire_fault_packet packet;

    post_fault(rig, 1, page);
    assert_true(receive(rig, &packet));
    assert_int_equal(packet.type, WIRE_FAULT_MAP);
    assert_int_equal(packet.error, 0);
    assert_int_equal(packet.first, page * PAGE);
}

static int take_back(struct rig *rig, uint64_t page)
{
    return umdev_region_invalidate(rig->f.fixture.dev, TABLE, page * PAGE, page * PAGE);
}

/* ------------------------------------------------------------------ clients */

static void test_never_acknowledges(void **state)
{
    struct rig rig;

    (void)state;
    rig_start(&rig);
    resolve(&rig, 3);
    assert_int_equal(take_back(&rig, 3), 0);
    assert_int_equal(rig.disconnects > 0, true);
    /* Those after it do not wait. */
    rig.f.fixture.dev->faults.timeout_ms = 60000;
    assert_int_equal(take_back(&rig, 3), 0);
    assert_int_equal(rig_end(&rig), 0);
}

/* Room for its answers comes late, but it comes; what did not fit is asked for again. */
static void test_reads_late(void **state)
{
    const unsigned count = 120;
    struct wire_fault_packet packet;
    struct rig rig;

    (void)state;
    rig_start(&rig);
    rig.f.fixture.dev->faults.timeout_ms = 60000;
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t tag = 0; tag < count; tag++) {
            unsigned before = atomic_load(&rig.f.driver.calls);

            /* One after the other, as long as they are answered: never many that are open. */
            post_fault(&rig, tag, tag % PAGES);
            for (unsigned i = 0; i < 50 && atomic_load(&rig.f.driver.calls) == before; i++)
                usleep(20);
        }
        for (uint32_t tag = 0; tag < count; tag++) {
            assert_true(receive(&rig, &packet));
            assert_int_equal(packet.tag, tag);
        }
        assert_true(atomic_load(&rig.f.driver.calls) > (round + 1) * count);
    }
    assert_int_equal(rig_end(&rig), 0);
}

/* The socket is full of answers that nobody reads. */
static void test_never_reads(void **state)
{
    struct rig rig;
    unsigned calls = 0;

    (void)state;
    rig_start(&rig);
    for (uint32_t tag = 0; tag < 200 && !atomic_load(&rig.disconnects); tag++) {
        try_fault(&rig, tag, 0);
        for (unsigned i = 0; i < 100 && atomic_load(&rig.f.driver.calls) == calls; i++)
            usleep(100);
        calls = atomic_load(&rig.f.driver.calls);
    }
    for (unsigned i = 0; i < 1000 && !atomic_load(&rig.disconnects); i++)
        usleep(10000);
    assert_int_not_equal(atomic_load(&rig.disconnects), 0);
    assert_int_equal(rig_end(&rig), -ETIMEDOUT);
}

/* Full, then read: the invalidation gets through. */
static void *read_all(void *argument)
{
    struct rig *rig = argument;
    struct wire_fault_packet packet;

    usleep(20000);
    while (receive(rig, &packet))
        if (packet.type == WIRE_FAULT_INVALIDATE)
            acknowledge(rig, packet.tag);
    return NULL;
}

static void test_invalidation_waits_for_room(void **state)
{
    struct rig rig;
    pthread_t thread;

    (void)state;
    rig_start(&rig);
    rig.f.fixture.dev->faults.timeout_ms = 60000;
    for (uint32_t tag = 0; tag < 60; tag++)
        post_fault(&rig, tag, tag % PAGES);
    for (unsigned i = 0; i < 1000 && atomic_load(&rig.f.driver.calls) < 60; i++)
        usleep(1000);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &rig), 0);
    for (uint64_t round = 0; round < 3; round++)
        for (uint64_t page = 0; page < PAGES; page++)
            assert_int_equal(take_back(&rig, page), 0);
    assert_int_equal(rig.disconnects, 0);
    shutdown(rig.ours, SHUT_RDWR);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(rig_end(&rig), 0);
}

static void test_broken_protocol(void **state)
{
    struct wire_fault_packet packet = {.type = WIRE_FAULT_ACK, .tag = 5};
    struct rig rig;

    (void)state;
    rig_start(&rig);
    assert_int_equal(send(rig.ours, &packet, sizeof(packet), MSG_NOSIGNAL), sizeof(packet));
    assert_false(receive(&rig, &packet));
    while (!atomic_load(&rig.disconnects))
        usleep(100);
    assert_int_equal(rig_end(&rig), -EPROTO);
}

/* ------------------------------------------------------------------ threads */

#define INVALIDATORS 3
#define ROUNDS       300

struct invalidator {
    struct rig *rig;
    uint64_t page;
};

static void *invalidator_run(void *argument)
{
    struct invalidator *invalidator = argument;

    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(take_back(invalidator->rig, invalidator->page), 0);
        sched_yield();
    }
    return NULL;
}

/* Some at a time, the newest first. */
static void acknowledge_late(struct rig *rig, uint32_t *tags, unsigned *count)
{
    while (*count > 0)
        acknowledge(rig, tags[--*count]);
}

struct eager_client {
    struct rig *rig;
    unsigned answers;
    unsigned leave_after; /* 0: never */
};

static void *client_run(void *argument)
{
    struct eager_client *client = argument;
    struct wire_fault_packet packet;
    uint32_t late[8], next = 10;
    unsigned nlate = 0;

    for (unsigned i = 0; i < 4; i++)
        try_fault(client->rig, next++, i);
    for (;;) {
        struct pollfd fd = {.fd = client->rig->ours, .events = POLLIN};

        if (poll(&fd, 1, 0) == 0 || nlate == ARRAY_SIZE(late))
            acknowledge_late(client->rig, late, &nlate);
        if (!receive(client->rig, &packet))
            return NULL;
        if (packet.type == WIRE_FAULT_INVALIDATE) {
            late[nlate++] = packet.tag;
            continue;
        }
        client->answers++;
        if (client->answers == client->leave_after)
            shutdown(client->rig->ours, SHUT_RDWR);
        else if (packet.error == 0 || client->answers % 2)
            try_fault(client->rig, next++, packet.first / PAGE);
    }
}

static void storm(unsigned leave_after)
{
    struct invalidator invalidators[INVALIDATORS];
    pthread_t threads[INVALIDATORS], client_thread;
    struct eager_client client;
    struct rig rig;

    rig_start(&rig);
    rig.f.fixture.dev->faults.timeout_ms = 60000;
    client = (struct eager_client){&rig, 0, leave_after};
    assert_int_equal(pthread_create(&client_thread, NULL, client_run, &client), 0);
    for (unsigned i = 0; i < INVALIDATORS; i++) {
        invalidators[i] = (struct invalidator){&rig, i};
        assert_int_equal(pthread_create(&threads[i], NULL, invalidator_run, &invalidators[i]), 0);
    }
    for (unsigned i = 0; i < INVALIDATORS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    shutdown(rig.ours, SHUT_RDWR);
    assert_int_equal(pthread_join(client_thread, NULL), 0);
    assert_int_equal(rig_end(&rig), 0);
}

static void test_threads(void **state)
{
    (void)state;
    storm(0);
}

static void test_threads_and_a_client_that_leaves(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 40; i++)
        storm(i);
}

/* The end from our side, while somebody waits. */
static void *end_soon(void *argument)
{
    struct rig *rig = argument;

    usleep(5000);
    device_shutdown(rig->f.fixture.dev);
    return NULL;
}

static void test_shutdown_while_waiting(void **state)
{
    struct rig rig;
    pthread_t thread;

    (void)state;
    rig_start(&rig);
    rig.f.fixture.dev->faults.timeout_ms = 60000;
    resolve(&rig, 3);
    assert_int_equal(pthread_create(&thread, NULL, end_soon, &rig), 0);
    assert_int_equal(take_back(&rig, 3), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(rig_end(&rig), 0);
}

/* ------------------------------------------------------------------ failures */

static void undo(void *opaque)
{
    rig_end(opaque);
}

static int make(void *opaque)
{
    return rig_try(opaque);
}

static void test_failnth(void **state)
{
    struct rig rig;

    (void)state;
    assert_true(failnth_run(make, undo, &rig) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_acknowledges),
        cmocka_unit_test(test_reads_late),
        cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_invalidation_waits_for_room),
        cmocka_unit_test(test_broken_protocol),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_and_a_client_that_leaves),
        cmocka_unit_test(test_shutdown_while_waiting),
        cmocka_unit_test(test_failnth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
