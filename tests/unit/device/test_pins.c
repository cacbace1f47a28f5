/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins through a device, and the error state. tests/unit/iommu has pinning itself.
 */
#include "fixture.h"

#include "device/device_priv.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IOVA umdev_iova(0x100000)
#define SIZE UINT64_C(0x4000)

struct context {
    bool keep;      /* dma_unmap() lets go of nothing */
    bool protects;  /* … comes for a protection that goes */
    unsigned count; /* pages pinned from IOVA on */
    unsigned unmaps, resets;
};

static void on_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct context *context = context_of(dev);
    umdev_bus_t bus;

    (void)first;
    (void)last;
    context->unmaps++;
    /* Nothing new, whatever is asked for; or what will still be allowed. */
    if (context->count) {
        assert_int_equal(umdev_dma_pin(dev, IOVA, 1, UMDEV_WRITE, &bus),
                         context->protects ? -EPERM : -EINVAL);
        assert_int_equal(umdev_dma_pin(dev, IOVA, 1, UMDEV_READ, &bus),
                         context->protects ? 0 : -EINVAL);
    }
    if (context->count && context->protects)
        umdev_dma_unpin(dev, IOVA, 1);
    if (context->keep || !context->count)
        return;
    umdev_dma_unpin(dev, IOVA, context->count);
    context->count = 0;
}

static int on_reset(struct umdev_device *dev)
{
    struct context *context = context_of(dev);

    context->resets++;
    context->count = 0;
    return 0;
}

static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "pins",
    .dma_unmap = on_dma_unmap,
    .reset = on_reset,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1),
};

static const struct umdev_driver careless_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "careless",
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1),
};

/* A device with SIZE bytes of client memory at IOVA, and an eventfd for its errors. */
struct mapped {
    struct fixture fixture;
    struct umdev_device *dev;
    struct context context;
    int err;
};

static void map(struct umdev_device *dev)
{
    int fd = test_memfd(SIZE);

    assert_int_equal(device_dma_map(dev, IOVA, SIZE, fd, 0, UMDEV_RW), 0);
    close(fd);
}

static void mapped_begin(struct mapped *mapped, const struct umdev_driver *with)
{
    struct fd_array fds = {.count = 1};

    memset(mapped, 0, sizeof(*mapped));
    fixture_open(&mapped->fixture, with, &mapped->context);
    mapped->dev = mapped->fixture.dev;
    mapped->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    fds.fds[0] = dup(mapped->err);
    assert_int_equal(device_set_irqs(mapped->dev,
                                     VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                     UMDEV_IRQ_ERR, 0, 1, NULL, &fds),
                     0);
    map(mapped->dev);
}

static void mapped_end(struct mapped *mapped)
{
    close(mapped->err);
    fixture_end(&mapped->fixture);
}

static bool told_of_error(const struct mapped *mapped)
{
    eventfd_t value;

    return eventfd_read(mapped->err, &value) == 0;
}

static int pin(struct mapped *mapped, unsigned count)
{
    umdev_bus_t bus[8];
    int ret = umdev_dma_pin(mapped->dev, IOVA, count, UMDEV_RW, bus);

    if (!ret)
        mapped->context.count = count;
    return ret;
}

static bool has_failed(const struct mapped *mapped)
{
    struct device_stats stats;

    device_get_stats(mapped->dev, &stats);
    return stats.failed;
}

static uint64_t pinned_bytes(const struct mapped *mapped)
{
    struct device_stats stats;

    device_get_stats(mapped->dev, &stats);
    return stats.dma.pinned_bytes;
}

static void a_pin_is_an_address_here(void **state)
{
    struct mapped mapped;
    umdev_bus_t bus[2];
    uint32_t value = 0;

    (void)state;
    mapped_begin(&mapped, &driver);
    assert_int_equal(umdev_dma_pin(mapped.dev, IOVA, 2, UMDEV_RW, bus), 0);
    assert_int_equal(bus[1].value - bus[0].value, 4096);
    *(uint32_t *)(uintptr_t)bus[1].value = 0x12345678;
    assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(0x101000), &value, sizeof(value)), 0);
    assert_int_equal(value, 0x12345678);
    assert_int_equal(pinned_bytes(&mapped), 2 * 4096);
    umdev_dma_unpin(mapped.dev, IOVA, 2);
    assert_int_equal(pinned_bytes(&mapped), 0);
    mapped_end(&mapped);
}

static void who_may_not_pin(void **state)
{
    uint16_t command = 0;
    struct mapped mapped;

    (void)state;
    mapped_begin(&mapped, &careless_driver);
    assert_int_equal(pin(&mapped, 1), -EINVAL);
    mapped_end(&mapped);

    mapped_begin(&mapped, &driver);
    assert_int_equal(device_write(mapped.dev, UMDEV_REGION_CONFIG, 4, &command, 2), 0);
    assert_int_equal(pin(&mapped, 1), -ENODEV);
    device_close(mapped.dev);
    assert_int_equal(pin(&mapped, 1), -ENODEV);
    mapped_end(&mapped);
}

static void a_wrong_unpin_is_logged(void **state)
{
    struct mapped mapped;

    (void)state;
    mapped_begin(&mapped, &driver);
    assert_int_equal(pin(&mapped, 1), 0);
    umdev_dma_unpin(mapped.dev, IOVA, 3);
    assert_non_null(strstr(mapped.fixture.last_line, "of which 2 are not pinned"));
    mapped.context.count = 0;
    mapped_end(&mapped);
}

static void an_unmap_asks_the_driver(void **state)
{
    struct mapped mapped;
    uint64_t unmapped;

    (void)state;
    mapped_begin(&mapped, &driver);
    assert_int_equal(pin(&mapped, 3), 0);
    assert_int_equal(device_dma_unmap(mapped.dev, IOVA, SIZE, &unmapped), 0);
    assert_int_equal(mapped.context.unmaps, 1);
    assert_false(has_failed(&mapped));
    assert_false(told_of_error(&mapped));
    mapped_end(&mapped);
}

static void pins_left_behind_fail_the_device(void **state)
{
    struct mapped mapped;
    uint64_t unmapped;
    uint8_t byte;

    (void)state;
    mapped_begin(&mapped, &driver);
    mapped.context.keep = true;
    assert_int_equal(pin(&mapped, 3), 0);
    assert_int_equal(device_dma_unmap(mapped.dev, IOVA, SIZE, &unmapped), 0);
    assert_int_equal(unmapped, SIZE);
    assert_true(has_failed(&mapped));
    assert_true(told_of_error(&mapped));
    assert_non_null(strstr(mapped.fixture.last_line, "left 3 pins"));
    map(mapped.dev);
    assert_int_equal(umdev_dma_read(mapped.dev, IOVA, &byte, 1), -EIO);
    assert_int_equal(pin(&mapped, 1), -EIO);
    /* What was torn is not held against the driver twice, nor signalled again. */
    umdev_dma_unpin(mapped.dev, IOVA, 3);
    umdev_device_fail(mapped.dev, "again");
    assert_false(told_of_error(&mapped));
    assert_int_equal(mapped.fixture.disconnects, 0);

    assert_int_equal(device_reset(mapped.dev), 0);
    fixture_master(mapped.dev);
    assert_false(has_failed(&mapped));
    assert_int_equal(umdev_dma_read(mapped.dev, IOVA, &byte, 1), 0);
    mapped.context.keep = false;
    assert_int_equal(pin(&mapped, 1), 0);
    mapped_end(&mapped);
}

/* The next client finds a device that works. */
static void a_client_leaves_with_pins(void **state)
{
    struct mapped mapped;

    (void)state;
    mapped_begin(&mapped, &driver);
    mapped.context.keep = true;
    assert_int_equal(pin(&mapped, 2), 0);
    device_close(mapped.dev);
    assert_int_equal(pinned_bytes(&mapped), 0);
    mapped.context = (struct context){0};
    assert_int_equal(device_open(mapped.dev, &mapped.fixture.client), 0);
    fixture_master(mapped.dev);
    assert_false(has_failed(&mapped));
    map(mapped.dev);
    assert_int_equal(pin(&mapped, 2), 0);
    mapped_end(&mapped);
}

static void a_driver_fails_its_device(void **state)
{
    struct mapped mapped;

    (void)state;
    mapped_begin(&mapped, &driver);
    umdev_device_fail(mapped.dev, "the engine is on fire");
    assert_non_null(strstr(mapped.fixture.last_line, "on fire"));
    assert_true(told_of_error(&mapped));
    assert_int_equal(pin(&mapped, 1), -EIO);
    mapped_end(&mapped);
}

static void protection_that_goes(void **state)
{
    struct mapped mapped;
    umdev_bus_t bus;

    (void)state;
    mapped_begin(&mapped, &driver);
    mapped.context.protects = true;
    assert_int_equal(device_dma_protect(mapped.dev, IOVA, SIZE, 0), -EINVAL);
    assert_int_equal(device_dma_protect(mapped.dev, umdev_iova(0), 4096, UMDEV_READ), -ENOENT);
    assert_int_equal(pin(&mapped, 2), 0);
    assert_int_equal(device_dma_protect(mapped.dev, IOVA, SIZE, UMDEV_READ), 0);
    assert_int_equal(mapped.context.count, 0);
    assert_false(has_failed(&mapped));
    assert_int_equal(umdev_dma_pin(mapped.dev, IOVA, 1, UMDEV_WRITE, &bus), -EPERM);
    assert_int_equal(umdev_dma_pin(mapped.dev, IOVA, 1, UMDEV_READ, &bus), 0);
    assert_int_equal(device_dma_protect(mapped.dev, IOVA, SIZE, UMDEV_RW), 0);
    umdev_dma_unpin(mapped.dev, IOVA, 1);
    mapped.context.keep = true;
    assert_int_equal(pin(&mapped, 2), 0);
    assert_int_equal(device_dma_protect(mapped.dev, IOVA, SIZE, UMDEV_READ), 0);
    assert_true(has_failed(&mapped));
    mapped.context.count = 0;
    mapped.context.protects = false;
    mapped_end(&mapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pin_is_an_address_here),
        cmocka_unit_test(who_may_not_pin),
        cmocka_unit_test(a_wrong_unpin_is_logged),
        cmocka_unit_test(an_unmap_asks_the_driver),
        cmocka_unit_test(pins_left_behind_fail_the_device),
        cmocka_unit_test(a_client_leaves_with_pins),
        cmocka_unit_test(a_driver_fails_its_device),
        cmocka_unit_test(protection_that_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
