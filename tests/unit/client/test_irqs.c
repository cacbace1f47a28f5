/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts and DMA mappings: the messages they become. */
#include "fake.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>

#define EVENTFD_TRIGGER (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)

static void close_fds(struct fake_request *request)
{
    for (unsigned i = 0; i < request->nfds; i++)
        close(request->fds[i]);
}

static void answer_irq_info(struct fake *fake, uint32_t index, uint32_t flags, uint32_t count)
{
    struct wire_irq_info info = {.argsz = 16, .flags = flags, .index = index, .count = count};

    fake_answer(fake, WIRE_DEVICE_GET_IRQ_INFO, &info, sizeof(info));
}

/* The next request is this SET_IRQS; its fds are closed. */
static void take_set_irqs(struct fake *fake, uint32_t flags, uint32_t index, uint32_t start,
                          uint32_t count, unsigned nfds)
{
    struct fake_request request;
    struct wire_irq_set set;

    fake_take(fake, &request);
    assert_int_equal(request.header.command, WIRE_DEVICE_SET_IRQS);
    memcpy(&set, request.body, sizeof(set));
    assert_int_equal(set.argsz, request.body_size);
    assert_int_equal(set.flags, flags);
    assert_int_equal(set.index, index);
    assert_int_equal(set.start, start);
    assert_int_equal(set.count, count);
    assert_int_equal(request.nfds, nfds);
    close_fds(&request);
}

static void take_irq_info(struct fake *fake)
{
    struct fake_request request;

    fake_take(fake, &request);
    assert_int_equal(request.header.command, WIRE_DEVICE_GET_IRQ_INFO);
}

static void answer_set_irqs(struct fake *fake, unsigned times)
{
    while (times--)
        fake_answer(fake, WIRE_DEVICE_SET_IRQS, NULL, 0);
}

static void test_info(void **state)
{
    struct umdev_irq_info info;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_irq_info(&fake, 2, 9, 64);
    assert_int_equal(umdev_client_get_irq(fake.client, 2, &info), 0);
    assert_int_equal(info.index, 2);
    assert_int_equal(info.flags, UMDEV_IRQ_INFO_EVENTFD | UMDEV_IRQ_INFO_NORESIZE);
    assert_int_equal(info.count, 64);
    fake_answer_error(&fake, WIRE_DEVICE_GET_IRQ_INFO, EINVAL);
    assert_int_equal(umdev_client_get_irq(fake.client, 9, &info), -EINVAL);
    answer_irq_info(&fake, 1, 0, 1);
    assert_int_equal(umdev_client_get_irq(fake.client, 0, &info), -EPROTO);
    assert_false(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_eventfd(void **state)
{
    struct fake_request request;
    uint64_t count = 1;
    struct fake fake;
    int fd;

    (void)state;
    fake_connect(&fake);
    answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
    answer_set_irqs(&fake, 1);
    fd = umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 3);
    assert_true(fd >= 0);
    take_irq_info(&fake);
    fake_take(&fake, &request);
    assert_int_equal(request.nfds, 1);
    /* it is the eventfd the server got */
    assert_int_equal(write(request.fds[0], &count, 8), 8);
    count = 0;
    assert_int_equal(read(fd, &count, 8), 8);
    assert_int_equal(count, 1);
    close_fds(&request);
    /* the same again, without a message */
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 3), fd);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_eventfd_errors(void **state)
{
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 4), -EINVAL);
    take_irq_info(&fake);
    fake_assert_quiet(&fake);
    answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
    fake_answer_error(&fake, WIRE_DEVICE_SET_IRQS, EBUSY);
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 0), -EBUSY);
    take_irq_info(&fake);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSIX, 0, 1, 1);
    /* and then it works */
    answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
    answer_set_irqs(&fake, 1);
    assert_true(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 0) >= 0);
    fake_close(&fake);
}

/* Disabled by a SET_IRQS of the caller's own, a vector is given its eventfd again when asked. */
static void test_eventfd_again(void **state)
{
    struct fake fake;
    int first, second;

    (void)state;
    fake_connect(&fake);
    for (uint32_t vector = 0; vector < 2; vector++) {
        answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
        answer_set_irqs(&fake, 1);
    }
    first = umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 0);
    second = umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 1);
    for (uint32_t vector = 0; vector < 2; vector++) {
        take_irq_info(&fake);
        take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSIX, vector, 1, 1);
    }
    /* a loopback trigger and another index change nothing */
    answer_set_irqs(&fake, 2);
    umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
                          UMDEV_IRQ_MSIX, 0, 2, NULL, NULL, 0);
    umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
                          UMDEV_IRQ_INTX, 0, 0, NULL, NULL, 0);
    take_set_irqs(&fake, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, UMDEV_IRQ_MSIX, 0, 2,
                  0);
    take_set_irqs(&fake, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, UMDEV_IRQ_INTX, 0, 0,
                  0);
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 0), first);
    fake_assert_quiet(&fake);
    /* one vector taken away */
    answer_set_irqs(&fake, 1);
    umdev_client_set_irqs(fake.client, EVENTFD_TRIGGER, UMDEV_IRQ_MSIX, 1, 1, NULL, NULL, 0);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSIX, 1, 1, 0);
    answer_irq_info(&fake, UMDEV_IRQ_MSIX, UMDEV_IRQ_INFO_EVENTFD, 4);
    answer_set_irqs(&fake, 1);
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 0), first);
    assert_int_equal(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSIX, 1), second);
    take_irq_info(&fake);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSIX, 1, 1, 1);
    fake_close(&fake);
}

/* An index that can't grow is enabled whole before its first vector. */
static void test_eventfd_noresize(void **state)
{
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_irq_info(&fake, UMDEV_IRQ_MSI, UMDEV_IRQ_INFO_NORESIZE, 8);
    answer_set_irqs(&fake, 2);
    assert_true(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSI, 5) >= 0);
    take_irq_info(&fake);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSI, 0, 8, 0);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSI, 5, 1, 1);
    answer_irq_info(&fake, UMDEV_IRQ_MSI, UMDEV_IRQ_INFO_NORESIZE, 8);
    answer_set_irqs(&fake, 1);
    assert_true(umdev_client_irq_eventfd(fake.client, UMDEV_IRQ_MSI, 1) >= 0);
    take_irq_info(&fake);
    take_set_irqs(&fake, EVENTFD_TRIGGER, UMDEV_IRQ_MSI, 1, 1, 1);
    fake_close(&fake);
}

static void test_set_bools(void **state)
{
    const uint32_t flags = VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER;
    static const uint8_t bools[] = {1, 0, 1};
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_set_irqs(&fake, 1);
    assert_int_equal(umdev_client_set_irqs(fake.client, flags, 2, 4, 3, bools, NULL, 0), 0);
    fake_take(&fake, &request);
    assert_int_equal(request.body_size, sizeof(struct wire_irq_set) + 3);
    assert_memory_equal(request.body + sizeof(struct wire_irq_set), bools, 3);
    fake_answer_error(&fake, WIRE_DEVICE_SET_IRQS, ENOTTY);
    assert_int_equal(umdev_client_set_irqs(fake.client, flags, 2, 4, 3, bools, NULL, 0), -ENOTTY);
    fake_close(&fake);
}

/* The server takes 4 fds in a message, and a message has an fd for every vector or none. */
static void test_set_many_fds(void **state)
{
    CLEANUP_FD int e = eventfd(0, EFD_CLOEXEC);
    const int fds[] = {e, e, e, e, e, e, -1, -1, -1, -1, -1, e};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_set_irqs(&fake, 4);
    assert_int_equal(umdev_client_set_irqs(fake.client, EVENTFD_TRIGGER, 2, 10, ARRAY_SIZE(fds),
                                           NULL, fds, ARRAY_SIZE(fds)),
                     0);
    take_set_irqs(&fake, EVENTFD_TRIGGER, 2, 10, 4, 4);
    take_set_irqs(&fake, EVENTFD_TRIGGER, 2, 14, 2, 2);
    take_set_irqs(&fake, EVENTFD_TRIGGER, 2, 16, 5, 0);
    take_set_irqs(&fake, EVENTFD_TRIGGER, 2, 21, 1, 1);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_set_refuses(void **state)
{
    const int fds[] = {0, 1};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    assert_int_equal(umdev_client_set_irqs(fake.client, EVENTFD_TRIGGER, 2, 0, 3, NULL, fds, 2),
                     -EINVAL);
    assert_int_equal(umdev_client_set_irqs(fake.client, EVENTFD_TRIGGER, 2, 0, 2, NULL, NULL, 2),
                     -EINVAL);
    assert_int_equal(
        umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_NONE, 2, 0, 2, NULL, fds, 2), -EINVAL);
    assert_int_equal(
        umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_BOOL, 2, 0, 2, NULL, NULL, 0),
        -EINVAL);
    assert_int_equal(umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_BOOL, 2, 0, UINT32_MAX,
                                           (const uint8_t *)"", NULL, 0),
                     -EINVAL);
    assert_int_equal(
        umdev_client_set_irqs(fake.client, VFIO_IRQ_SET_DATA_NONE, 2, UINT32_MAX, 1, NULL, NULL, 0),
        -EINVAL);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_dma(void **state)
{
    CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
    struct wire_dma_unmap unmapped = {.argsz = 24, .address = 0x100000, .size = 0x2000};
    struct fake_request request;
    struct wire_dma_map map;
    struct wire_dma_unmap unmap;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer(&fake, WIRE_DMA_MAP, NULL, 0);
    fake_answer_error(&fake, WIRE_DMA_MAP, EEXIST);
    fake_answer(&fake, WIRE_DMA_UNMAP, &unmapped, sizeof(unmapped));
    assert_int_equal(
        umdev_client_dma_map(fake.client, fd, 0x3000, umdev_iova(0x100000), 0x2000, UMDEV_RW), 0);
    assert_int_equal(
        umdev_client_dma_map(fake.client, -1, 0, umdev_iova(0x100000), 0x1000, UMDEV_READ),
        -EEXIST);
    assert_int_equal(umdev_client_dma_unmap(fake.client, umdev_iova(0x100000), 0x2000), 0);

    fake_take(&fake, &request);
    assert_int_equal(request.nfds, 1);
    close_fds(&request);
    memcpy(&map, request.body, sizeof(map));
    assert_int_equal(map.argsz, sizeof(map));
    assert_int_equal(map.flags, WIRE_DMA_MAP_READ | WIRE_DMA_MAP_WRITE);
    assert_int_equal(map.offset, 0x3000);
    assert_int_equal(map.address, 0x100000);
    assert_int_equal(map.size, 0x2000);
    fake_take(&fake, &request);
    memcpy(&map, request.body, sizeof(map));
    assert_int_equal(request.nfds, 0);
    assert_int_equal(map.flags, WIRE_DMA_MAP_READ);
    fake_take(&fake, &request);
    memcpy(&unmap, request.body, sizeof(unmap));
    assert_int_equal(unmap.flags, 0);
    assert_int_equal(unmap.address, 0x100000);
    assert_int_equal(unmap.size, 0x2000);

    /* a reply without the mapping it is about */
    fake_answer(&fake, WIRE_DMA_UNMAP, NULL, 0);
    assert_int_equal(umdev_client_dma_unmap(fake.client, umdev_iova(0), 0x2000), -EPROTO);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_eventfd),
        cmocka_unit_test(test_eventfd_errors),
        cmocka_unit_test(test_eventfd_again),
        cmocka_unit_test(test_eventfd_noresize),
        cmocka_unit_test(test_set_bools),
        cmocka_unit_test(test_set_many_fds),
        cmocka_unit_test(test_set_refuses),
        cmocka_unit_test(test_dma),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
