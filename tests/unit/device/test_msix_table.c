/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI-X table in a BAR: what is kept, what masks, what is pending, and resets.
 */
#include "fixture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VECTORS 70u /* the pending bits have two words, the second not full */
#define BAR     1u
#define PBA     (16 * VECTORS)

static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "msix",
    .pci = UMDEV_PCI(.pcie = true, .msix = {.vectors = VECTORS, .bar = BAR}),
};

/* A device whose vectors 0 and 69 are listened to. */
struct listening {
    struct fixture fixture;
    struct umdev_device *dev;
    int first, last;
};

static int listen_to(struct umdev_device *dev, unsigned vector)
{
    struct fd_array fds = {.count = 1};
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    assert_true(fd >= 0);
    fds.fds[0] = dup(fd);
    assert_int_equal(device_set_irqs(dev, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
                                     UMDEV_IRQ_MSIX, vector, 1, NULL, &fds),
                     0);
    return fd;
}

static void listening_begin(struct listening *listening)
{
    fixture_open(&listening->fixture, &driver, NULL);
    listening->dev = listening->fixture.dev;
    listening->first = listen_to(listening->dev, 0);
    listening->last = listen_to(listening->dev, VECTORS - 1);
}

static void listening_end(struct listening *listening)
{
    fixture_end(&listening->fixture);
    close(listening->first);
    close(listening->last);
}

static bool signalled(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void trigger(struct umdev_device *dev, unsigned vector)
{
    assert_int_equal(umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, vector), 0);
}

static void set_mask(struct umdev_device *dev, unsigned vector, uint32_t control)
{
    write32(dev, BAR, 16 * vector + 12, control);
}

static void test_contents(void **state)
{
    static const uint8_t zeros[16 * VECTORS];
    uint8_t out[32], in[16 * VECTORS];
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(device_read(fixture.dev, BAR, 0, in, sizeof(in)), 0);
    assert_memory_equal(in, zeros, sizeof(in));
    memset(out, 0xff, sizeof(out));
    assert_int_equal(device_write(fixture.dev, BAR, 8, out, 32), 0);
    assert_int_equal(device_read(fixture.dev, BAR, 0, in, 48), 0);
    assert_memory_equal(in, zeros, 8);
    assert_int_equal(read32(fixture.dev, BAR, 8), UINT32_MAX);
    assert_int_equal(read32(fixture.dev, BAR, 12), 1); /* reserved bits don't exist */
    assert_true(read64(fixture.dev, BAR, 16) == UINT64_MAX);
    assert_int_equal(read32(fixture.dev, BAR, 28), 1);
    assert_int_equal(read64(fixture.dev, BAR, 40), 0);
    assert_int_equal(device_reset(fixture.dev), 0);
    assert_int_equal(device_read(fixture.dev, BAR, 0, in, sizeof(in)), 0);
    assert_memory_equal(in, zeros, sizeof(in));
    fixture_end(&fixture);
}

static void test_mask_and_pending(void **state)
{
    struct listening listening;
    struct umdev_device *dev;

    (void)state;
    listening_begin(&listening);
    dev = listening.dev;
    trigger(dev, 0);
    assert_true(signalled(listening.first));

    set_mask(dev, 0, 1);
    set_mask(dev, VECTORS - 1, 1);
    trigger(dev, 0);
    trigger(dev, VECTORS - 1);
    assert_false(signalled(listening.first));
    assert_int_equal(read64(dev, BAR, PBA), 1);
    assert_int_equal(read64(dev, BAR, PBA + 8), UINT64_C(1) << 5);
    assert_int_equal(read32(dev, BAR, PBA + 6), 0x20 << 16);
    write64(dev, BAR, PBA, 0); /* ignored */
    assert_int_equal(read64(dev, BAR, PBA), 1);

    /* A byte of the control word is enough to unmask. */
    assert_int_equal(device_write(dev, BAR, 12, "", 1), 0);
    assert_true(signalled(listening.first));
    assert_int_equal(read64(dev, BAR, PBA), 0);
    assert_false(signalled(listening.last));
    /* A write to other bytes of the vector leaves the mask alone. */
    write64(dev, BAR, 16 * (VECTORS - 1), 0xfee00000);
    assert_false(signalled(listening.last));
    set_mask(dev, VECTORS - 1, 0xfffffffe);
    assert_true(signalled(listening.last));
    listening_end(&listening);
}

/* ------------------------------------------------------------------ the config space */

static uint32_t find_capability(struct umdev_device *dev, uint8_t id)
{
    uint8_t at = (uint8_t)read32(dev, UMDEV_REGION_CONFIG, PCI_CAPABILITY_LIST);

    while (at && (uint8_t)read32(dev, UMDEV_REGION_CONFIG, at) != id)
        at = (uint8_t)(read32(dev, UMDEV_REGION_CONFIG, at) >> 8);
    assert_int_not_equal(at, 0);
    return at;
}

static void write_config16(struct umdev_device *dev, uint32_t offset, uint16_t value)
{
    assert_int_equal(device_write(dev, UMDEV_REGION_CONFIG, offset, &value, sizeof(value)), 0);
}

static void test_function_mask(void **state)
{
    struct listening listening;
    uint32_t flags;

    (void)state;
    listening_begin(&listening);
    flags = find_capability(listening.dev, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
    write_config16(listening.dev, flags, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    trigger(listening.dev, 0);
    assert_false(signalled(listening.first));
    assert_int_equal(read64(listening.dev, BAR, PBA), 1);
    write_config16(listening.dev, flags, PCI_MSIX_FLAGS_ENABLE);
    assert_true(signalled(listening.first));
    listening_end(&listening);
}

/* A reset takes masks and pending bits away; what was pending is not delivered by it. */
static void expect_reset(struct listening *listening)
{
    assert_false(signalled(listening->first));
    assert_false(signalled(listening->last));
    assert_int_equal(read64(listening->dev, BAR, PBA), 0);
    assert_int_equal(read32(listening->dev, BAR, 12), 0);
    trigger(listening->dev, 0);
    assert_true(signalled(listening->first));
}

static void mask_and_trigger(struct listening *listening)
{
    uint32_t flags = find_capability(listening->dev, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;

    set_mask(listening->dev, 0, 1);
    write_config16(listening->dev, flags, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    trigger(listening->dev, 0);
    trigger(listening->dev, VECTORS - 1);
    assert_int_equal(read64(listening->dev, BAR, PBA), 1);
}

static void test_reset(void **state)
{
    struct listening listening;

    (void)state;
    listening_begin(&listening);
    mask_and_trigger(&listening);
    assert_int_equal(device_reset(listening.dev), 0);
    expect_reset(&listening);
    listening_end(&listening);
}

static void test_function_level_reset(void **state)
{
    struct listening listening;
    uint32_t control;

    (void)state;
    listening_begin(&listening);
    mask_and_trigger(&listening);
    control = find_capability(listening.dev, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
    write_config16(listening.dev, control, PCI_EXP_DEVCTL_BCR_FLR);
    expect_reset(&listening);
    listening_end(&listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_mask_and_pending),
        cmocka_unit_test(test_function_mask),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_function_level_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
