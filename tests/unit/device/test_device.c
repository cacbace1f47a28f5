/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's life: which callbacks come in which order, and what fails at which point.
 */
#include "fixture.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The callbacks that came, and what they are to answer. */
struct diary {
    char lines[512];
    int create, open, reset;
};

static void note(struct umdev_device *dev, const char *what)
{
    struct diary *diary = context_of(dev);
    size_t used = strlen(diary->lines);

    snprintf(diary->lines + used, sizeof(diary->lines) - used, "%s ", what);
}

static int on_create(struct umdev_device *dev)
{
    note(dev, "create");
    return ((struct diary *)context_of(dev))->create;
}

static void on_remove(struct umdev_device *dev)
{
    note(dev, "remove");
}

static int on_open(struct umdev_device *dev)
{
    note(dev, "open");
    return ((struct diary *)context_of(dev))->open;
}

static void on_close(struct umdev_device *dev)
{
    note(dev, "close");
}

static int on_reset(struct umdev_device *dev)
{
    note(dev, "reset");
    return ((struct diary *)context_of(dev))->reset;
}

static void on_irqs(struct umdev_device *dev, unsigned index)
{
    char text[16];

    snprintf(text, sizeof(text), "irqs%u", index);
    note(dev, text);
}

static void on_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    assert_int_equal(first.value, 0);
    assert_true(last.value == UINT64_MAX);
    note(dev, "unmap");
}

#define DIARY_DRIVER(...)                                                                          \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "diary", .priv_size = 64,              \
        .create = on_create, .remove = on_remove, .open = on_open, .close = on_close,              \
        .reset = on_reset, .irqs_changed = on_irqs, .dma_unmap = on_dma_unmap,                     \
        .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1, .intx_pin = 1, .pcie = true, __VA_ARGS__)  \
    }

static const struct umdev_driver diary_driver = DIARY_DRIVER(.msi_vectors = 1);

static void test_order(void **state)
{
    struct diary diary = {0};
    struct device_stats stats;
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &diary_driver, &diary);
    for (int round = 0; round < 3; round++) {
        assert_false(device_is_open(fixture.dev));
        assert_int_equal(device_open(fixture.dev, &fixture.client), 0);
        assert_true(device_is_open(fixture.dev));
        if (round == 1)
            assert_int_equal(device_reset(fixture.dev), 0);
        device_close(fixture.dev);
    }
    device_get_stats(fixture.dev, &stats);
    assert_int_equal(stats.sessions, 3);
    assert_int_equal(stats.resets, 3);
    fixture_end(&fixture);
    assert_string_equal(diary.lines, "create open unmap close "
                                     "reset open reset unmap close "
                                     "reset open unmap close remove ");
    assert_int_equal(fixture.disconnects, 0);
}

static void test_getters(void **state)
{
    struct diary diary = {0};
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &diary_driver, &diary);
    assert_string_equal(umdev_device_uuid(fixture.dev), TEST_UUID);
    assert_string_equal(umdev_device_type(fixture.dev)->name, "1");
    assert_int_equal(umdev_device_type_index(fixture.dev), 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(((uint8_t *)umdev_device_priv(fixture.dev))[i], 0);
    umdev_device_log(fixture.dev, UMDEV_LOG_INFO, "number %d", 7);
    assert_string_equal(fixture.last_line, TEST_UUID ": number 7");
    fixture_end(&fixture);
}

/* A driver without callbacks: everything has a default. */
static void test_bare_driver(void **state)
{
    const struct umdev_driver driver = {.name = "bare", .pci = UMDEV_PCI(.vendor = 1)};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    assert_null(umdev_device_priv(fixture.dev));
    assert_int_equal(device_reset(fixture.dev), 0);
    device_close(fixture.dev);
    assert_int_equal(device_open(fixture.dev, &fixture.client), 0);
    fixture_end(&fixture);
    device_free(NULL);
}

/* ------------------------------------------------------------------ failures */

static void test_create_fails(void **state)
{
    struct diary diary = {.create = -ENODATA};
    struct fixture fixture;

    (void)state;
    assert_int_equal(fixture_try(&fixture, &diary_driver, &diary), -ENODATA);
    assert_string_equal(diary.lines, "create ");
    assert_non_null(strstr(fixture.error.message, "diary"));
    assert_non_null(strstr(fixture.error.message, "No data available"));
    diary = (struct diary){.create = 1};
    assert_int_equal(fixture_try(&fixture, &diary_driver, &diary), -EIO);
    diary = (struct diary){.create = -99999};
    assert_int_equal(fixture_try(&fixture, &diary_driver, &diary), -99999);
}

/* What is found wrong after create() is undone by remove(). */
static void test_description_fails_after_create(void **state)
{
    const struct umdev_driver unanswered = DIARY_DRIVER(.bar[0] = UMDEV_BAR(.size = 16));
    const struct umdev_driver bad_class = DIARY_DRIVER(.class_code = 0x1000000);
    struct diary diary = {0};
    struct fixture fixture;

    (void)state;
    assert_int_equal(fixture_try(&fixture, &unanswered, &diary), -EINVAL);
    assert_string_equal(diary.lines, "create remove ");
    diary.lines[0] = 0;
    assert_int_equal(fixture_try(&fixture, &bad_class, &diary), -EINVAL);
    assert_string_equal(diary.lines, "create remove ");
}

static void test_open_fails(void **state)
{
    struct diary diary = {.open = -ENXIO};
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &diary_driver, &diary);
    assert_int_equal(device_open(fixture.dev, &fixture.client), -ENXIO);
    assert_false(device_is_open(fixture.dev));
    diary.open = 0;
    diary.reset = -EIO;
    assert_int_equal(device_open(fixture.dev, &fixture.client), -EIO);
    assert_int_equal(device_reset(fixture.dev), -EIO);
    diary.reset = 0;
    assert_int_equal(device_open(fixture.dev, &fixture.client), 0);
    device_shutdown(fixture.dev);
    assert_int_equal(fixture.disconnects, 1);
    fixture_end(&fixture);
    assert_string_equal(diary.lines, "create open reset reset reset open unmap close remove ");
}

static void test_busy(void **state)
{
    struct device_client other = {0};
    struct diary diary = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &diary_driver, &diary);
    assert_int_equal(device_open(fixture.dev, &other), -EBUSY);
    assert_true(device_is_open(fixture.dev));
    fixture_end(&fixture);
    assert_string_equal(diary.lines, "create open unmap close remove ");
}

static void test_shutdown(void **state)
{
    struct diary diary = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &diary_driver, &diary);
    device_shutdown(fixture.dev);
    device_shutdown(fixture.dev);
    assert_int_equal(fixture.disconnects, 2);
    assert_true(device_is_open(fixture.dev));
    assert_int_equal(device_open(fixture.dev, &fixture.client), -ESHUTDOWN);
    device_close(fixture.dev);
    assert_int_equal(device_open(fixture.dev, &fixture.client), -ESHUTDOWN);
    device_shutdown(fixture.dev); /* the client is gone, and must not be called */
    assert_int_equal(fixture.disconnects, 2);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ interrupts and resets */

static int set_eventfd(struct umdev_device *dev, unsigned index, int fd)
{
    struct fd_array fds = {.count = 1, .fds = {dup(fd)}};
    int ret = device_set_irqs(dev, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, index,
                              0, 1, NULL, &fds);

    if (fds.fds[0] >= 0)
        close(fds.fds[0]);
    return ret;
}

static uint64_t drain(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void write_command(struct umdev_device *dev, uint16_t command)
{
    assert_int_equal(device_write(dev, UMDEV_REGION_CONFIG, PCI_COMMAND, &command, 2), 0);
}

static void test_interrupts(void **state)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct diary diary = {0};
    struct device_stats stats;
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &diary_driver, &diary);
    assert_int_equal(set_eventfd(fixture.dev, UMDEV_IRQ_MSI, fd), 0);
    assert_int_equal(set_eventfd(fixture.dev, UMDEV_IRQ_INTX, fd), -EINVAL);
    assert_int_equal(umdev_irq_trigger(fixture.dev, UMDEV_IRQ_MSI, 0), 0);
    assert_int_equal(drain(fd), 1);
    assert_int_equal(umdev_irq_trigger(fixture.dev, UMDEV_IRQ_MSI, 1), -EINVAL);
    assert_int_equal(umdev_irq_trigger(fixture.dev, UMDEV_IRQ_INTX, 0), -EINVAL);
    device_get_stats(fixture.dev, &stats);
    assert_int_equal(stats.interrupts, 1);
    assert_ptr_not_equal(device_irqs(fixture.dev), NULL);
    device_close(fixture.dev);
    assert_int_equal(umdev_irq_trigger(fixture.dev, UMDEV_IRQ_MSI, 0), 0);
    assert_int_equal(drain(fd), 0);
    fixture_end(&fixture);
    /* Told of the change that was made, not of the one that was refused. */
    assert_string_equal(diary.lines, "create open irqs1 unmap close remove ");
    close(fd);
}

static void test_intx_disable(void **state)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct diary diary = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &diary_driver, &diary);
    assert_int_equal(set_eventfd(fixture.dev, UMDEV_IRQ_INTX, fd), 0);
    write_command(fixture.dev, PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(umdev_irq_set_level(fixture.dev, true), 0);
    assert_int_equal(drain(fd), 0);
    assert_int_not_equal(
        read32(fixture.dev, UMDEV_REGION_CONFIG, PCI_COMMAND) >> 16 & PCI_STATUS_INTERRUPT, 0);
    write_command(fixture.dev, 0);
    assert_int_equal(drain(fd), 1);
    assert_int_equal(umdev_irq_set_level(fixture.dev, false), 0);
    assert_int_equal(
        read32(fixture.dev, UMDEV_REGION_CONFIG, PCI_COMMAND) >> 16 & PCI_STATUS_INTERRUPT, 0);
    fixture_end(&fixture);
    close(fd);
}

static void ask_flr(struct umdev_device *dev)
{
    uint8_t at = (uint8_t)read32(dev, UMDEV_REGION_CONFIG, PCI_CAPABILITY_LIST);
    uint16_t control = PCI_EXP_DEVCTL_BCR_FLR;

    while ((uint8_t)read32(dev, UMDEV_REGION_CONFIG, at) != PCI_CAP_ID_EXP)
        at = (uint8_t)(read32(dev, UMDEV_REGION_CONFIG, at) >> 8);
    assert_int_equal(device_write(dev, UMDEV_REGION_CONFIG, at + PCI_EXP_DEVCTL, &control, 2), 0);
}

/* One reset, with the config space reset before the driver hears of it; its failure is logged. */
static void test_function_level_reset(void **state)
{
    struct diary diary = {.reset = -EIO};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &diary_driver, &diary);
    ask_flr(fixture.dev);
    assert_int_equal(read32(fixture.dev, UMDEV_REGION_CONFIG, PCI_COMMAND) & 0xffff, 0);
    assert_non_null(strstr(fixture.last_line, "function-level reset"));
    write_command(fixture.dev, PCI_COMMAND_MASTER);
    fixture_end(&fixture);
    assert_string_equal(diary.lines, "create open reset unmap close remove ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_bare_driver),
        cmocka_unit_test(test_create_fails),
        cmocka_unit_test(test_description_fails_after_create),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_intx_disable),
        cmocka_unit_test(test_function_level_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
