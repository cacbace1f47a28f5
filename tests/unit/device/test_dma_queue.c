/* SPDX-License-Identifier: BSD-3-Clause */
/* Client memory without a file: operations, messages and their answers, without a socket. */
#include "fixture.h"

#include "device/device_priv.h"
#include "failnth.h"

#include <errno.h>

#define IOVA UINT64_C(0x100000)
#define SIZE UINT64_C(0x40000)

static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "dma",
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1),
};

struct remote {
    struct fixture fixture;
    struct umdev_device *dev;
    atomic_int wanted;
    uint8_t data[DEVICE_DMA_CHUNK];
};

static struct remote *current;

static void dma_wanted(struct device_client *client)
{
    (void)client;
    atomic_fetch_add(&current->wanted, 1);
}

/* A device with SIZE bytes without a file at IOVA. */
static void remote_begin(struct remote *remote)
{
    memset(remote, 0, sizeof(*remote));
    current = remote;
    fixture_new(&remote->fixture, &driver, NULL);
    remote->dev = remote->fixture.dev;
    remote->fixture.client.dma_wanted = dma_wanted;
    assert_int_equal(device_open(remote->dev, &remote->fixture.client), 0);
    fixture_master(remote->dev);
    assert_int_equal(device_dma_map(remote->dev, umdev_iova(IOVA), SIZE, -1, 0, UMDEV_RW), 0);
}

static enum device_dma_next next(struct remote *remote, struct device_dma_message *message)
{
    return device_dma_next(remote->dev, SIZE, remote->data, message);
}

struct outcome {
    unsigned count;
    int result;
};

static void ended(struct umdev_device *dev, int result, void *opaque)
{
    struct outcome *outcome = opaque;

    (void)dev;
    outcome->count++;
    outcome->result = result;
}

static void test_asynchronous(void **state)
{
    static uint8_t buf[3 * DEVICE_DMA_CHUNK];
    struct device_dma_message messages[3];
    struct outcome outcome = {0};
    struct remote remote;

    (void)state;
    remote_begin(&remote);
    assert_int_equal(
        umdev_dma_read_async(remote.dev, umdev_iova(IOVA + 1), buf, sizeof(buf), ended, &outcome),
        0);
    assert_int_equal(remote.wanted, 1);
    assert_int_equal(next(&remote, &messages[0]), DEVICE_DMA_SEND);
    assert_int_equal(next(&remote, &messages[1]), DEVICE_DMA_SEND);
    /* No more bytes under way than a socket takes. */
    assert_int_equal(next(&remote, &messages[2]), DEVICE_DMA_NOTHING);
    assert_int_equal(messages[1].address, IOVA + 1 + DEVICE_DMA_CHUNK);
    memset(remote.data, 2, sizeof(remote.data));
    device_dma_answer(remote.dev, messages[1].slot, 0, remote.data);
    assert_int_equal(next(&remote, &messages[2]), DEVICE_DMA_SEND);
    memset(remote.data, 1, sizeof(remote.data));
    device_dma_answer(remote.dev, messages[0].slot, 0, remote.data);
    assert_int_equal(outcome.count, 0);
    device_dma_answer(remote.dev, messages[2].slot, 0, remote.data);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.result, 0);
    assert_int_equal(buf[0], 1);
    assert_int_equal(buf[DEVICE_DMA_CHUNK], 2);
    assert_int_equal(buf[sizeof(buf) - 1], 1);
    assert_true(device_dma_deadline(remote.dev) == 0);
    fixture_end(&remote.fixture);
}

/* The client goes: each operation ends once, before the driver's close(). */
static void test_client_gone(void **state)
{
    struct outcome outcomes[3] = {{0}, {0}, {0}};
    struct device_dma_message message;
    struct remote remote;
    uint8_t byte = 0;

    (void)state;
    remote_begin(&remote);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(
            umdev_dma_write_async(remote.dev, umdev_iova(IOVA), &byte, 1, ended, &outcomes[i]), 0);
    assert_int_equal(next(&remote, &message), DEVICE_DMA_SEND);
    device_close(remote.dev);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].result, -ENODEV);
    }
    assert_int_equal(
        umdev_dma_write_async(remote.dev, umdev_iova(IOVA), &byte, 1, ended, &outcomes[0]),
        -ENODEV);
    fixture_end(&remote.fixture);
}

/* ------------------------------------------------------------------ threads that wait */

struct waiter {
    pthread_t thread;
    struct umdev_device *dev;
    uint8_t byte;
    int result;
};

static void *waiter_run(void *opaque)
{
    struct waiter *waiter = opaque;

    waiter->result = umdev_dma_read(waiter->dev, umdev_iova(IOVA), &waiter->byte, 1);
    return NULL;
}

static void waiter_begin(struct waiter *waiter, struct remote *remote,
                         struct device_dma_message *message)
{
    *waiter = (struct waiter){.dev = remote->dev};
    assert_int_equal(pthread_create(&waiter->thread, NULL, waiter_run, waiter), 0);
    while (next(remote, message) != DEVICE_DMA_SEND)
        sched_yield();
}

static int waiter_end(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->result;
}

static void test_waiting(void **state)
{
    struct device_dma_message message;
    struct remote remote;
    struct waiter waiter;
    uint8_t byte;

    (void)state;
    remote_begin(&remote);
    /* The thread that brings the answers can't wait for one. */
    assert_int_equal(umdev_dma_read(remote.dev, umdev_iova(IOVA), &byte, 1), -EDEADLK);

    waiter_begin(&waiter, &remote, &message);
    device_dma_answer(remote.dev, message.slot, 0, "x");
    assert_int_equal(waiter_end(&waiter), 0);
    assert_int_equal(waiter.byte, 'x');

    waiter_begin(&waiter, &remote, &message);
    device_dma_answer(remote.dev, message.slot, -E2BIG, NULL);
    assert_int_equal(waiter_end(&waiter), -E2BIG);

    /* A reset takes it back; the late answer touches nothing. */
    waiter_begin(&waiter, &remote, &message);
    device_dma_suspend(remote.dev);
    assert_int_equal(waiter_end(&waiter), -ECANCELED);
    device_dma_answer(remote.dev, message.slot, 0, "y");
    assert_int_equal(waiter.byte, 0);
    device_dma_resume(remote.dev);

    /* The session's thread does not come to it. */
    remote.dev->dma.wait_timeout_ms = 20;
    waiter_begin(&waiter, &remote, &message);
    assert_int_equal(waiter_end(&waiter), -ETIMEDOUT);
    device_dma_answer(remote.dev, message.slot, 0, "z");
    assert_int_equal(waiter.byte, 0);
    fixture_end(&remote.fixture);
}

/* ------------------------------------------------------------------ failing allocations */

static int begin_one(void *opaque)
{
    static struct outcome outcome;
    struct remote *remote = opaque;

    return umdev_dma_read_async(remote->dev, umdev_iova(IOVA), remote->data, 1, ended, &outcome);
}

static void answer_one(void *opaque)
{
    struct device_dma_message message;
    struct remote *remote = opaque;

    assert_int_equal(next(remote, &message), DEVICE_DMA_SEND);
    device_dma_answer(remote->dev, message.slot, 0, "x");
}

static void test_fail_nth(void **state)
{
    struct remote remote;

    (void)state;
    remote_begin(&remote);
    assert_true(failnth_run(begin_one, answer_one, &remote) >= 1);
    fixture_end(&remote.fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asynchronous),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_fail_nth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
