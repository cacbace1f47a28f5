/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client memory through a device: when there is any, who is told of an unmap, and what happens to
 * a client whose memory goes away or is held too long.
 */
#include "fixture.h"

#include "device/device_priv.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define IOVA UINT64_C(0x100000)
#define SIZE UINT64_C(0x4000)

/* What dma_unmap was told, and whether the memory was still there. */
struct told {
    unsigned count;
    struct range range;
    int read_result;
};

static void on_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct told *told = context_of(dev);
    uint8_t byte;

    told->count++;
    told->range = (struct range){first.value, last.value};
    told->read_result = umdev_dma_read(dev, umdev_iova(IOVA), &byte, 1);
}

static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "dma",
    .dma_unmap = on_dma_unmap,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1),
};

/* A device with SIZE bytes of client memory at IOVA. */
struct mapped {
    struct fixture fixture;
    struct umdev_device *dev;
    struct told told;
    int fd;
    uint8_t *client; /* as the client has it mapped */
};

static void mapped_begin(struct mapped *mapped)
{
    memset(mapped, 0, sizeof(*mapped));
    fixture_open(&mapped->fixture, &driver, &mapped->told);
    mapped->dev = mapped->fixture.dev;
    mapped->fd = test_memfd(SIZE);
    mapped->client = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped->fd, 0);
    assert_ptr_not_equal(mapped->client, MAP_FAILED);
    assert_int_equal(device_dma_map(mapped->dev, umdev_iova(IOVA), SIZE, mapped->fd, 0, UMDEV_RW),
                     0);
}

static void mapped_end(struct mapped *mapped)
{
    munmap(mapped->client, SIZE);
    close(mapped->fd);
    fixture_end(&mapped->fixture);
}

static int read_byte(struct umdev_device *dev)
{
    uint8_t byte;

    return umdev_dma_read(dev, umdev_iova(IOVA), &byte, 1);
}

static void test_copies(void **state)
{
    struct umdev_dma_window window;
    struct device_stats stats;
    struct mapped mapped;
    char text[8];

    (void)state;
    mapped_begin(&mapped);
    memcpy(mapped.client + 0xffe, "hello", 6);
    assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(IOVA + 0xffe), text, 6), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(umdev_dma_write(mapped.dev, umdev_iova(IOVA + 3), "world", 6), 0);
    assert_string_equal((char *)mapped.client + 3, "world");
    assert_int_equal(
        umdev_dma_copy(mapped.dev, umdev_iova(IOVA + SIZE - 6), umdev_iova(IOVA + 3), 6), 0);
    assert_string_equal((char *)mapped.client + SIZE - 6, "world");
    assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(IOVA + 3), 100, UMDEV_READ, &window),
                     0);
    assert_int_equal(window.len, 100);
    assert_string_equal(window.ptr, "world");
    umdev_dma_release(mapped.dev, &window);
    assert_null(window.ptr);
    assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(0), 1, UMDEV_READ, &window), -EFAULT);
    device_get_stats(mapped.dev, &stats);
    assert_int_equal(stats.dma.maps, 1);
    assert_int_equal(stats.dma.mapped_bytes, SIZE);
    mapped_end(&mapped);
}

/* ENODEV: without a client, and without the client's leave to be bus master. */
static void test_bus_master(void **state)
{
    struct umdev_dma_window window;
    struct mapped mapped;
    uint16_t command = 0;
    uint8_t byte = 1;

    (void)state;
    mapped_begin(&mapped);
    assert_int_equal(device_write(mapped.dev, UMDEV_REGION_CONFIG, 4, &command, 2), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(IOVA), &byte, 1), -ENODEV);
        assert_int_equal(umdev_dma_write(mapped.dev, umdev_iova(IOVA), &byte, 1), -ENODEV);
        assert_int_equal(umdev_dma_copy(mapped.dev, umdev_iova(IOVA), umdev_iova(IOVA), 1),
                         -ENODEV);
        assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(IOVA), 1, UMDEV_READ, &window),
                         -ENODEV);
        if (round == 0) {
            fixture_master(mapped.dev);
            assert_int_equal(read_byte(mapped.dev), 0);
            device_close(mapped.dev); /* bus mastering is still on, but the client is gone */
        }
    }
    /* The next client finds it off, and no memory. */
    assert_int_equal(device_open(mapped.dev, &mapped.fixture.client), 0);
    assert_int_equal(read_byte(mapped.dev), -ENODEV);
    fixture_master(mapped.dev);
    assert_int_equal(read_byte(mapped.dev), -EFAULT);
    mapped_end(&mapped);
}

/* ------------------------------------------------------------------ unmap */

static void test_unmap(void **state)
{
    struct mapped mapped;
    uint64_t unmapped = 1;

    (void)state;
    mapped_begin(&mapped);
    /* Refused before the driver hears of it. */
    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA), SIZE / 2, &unmapped), -EINVAL);
    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA), 0, &unmapped), -EINVAL);
    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA + 1), SIZE, &unmapped), -EINVAL);
    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA), UINT64_MAX - 4095, &unmapped),
                     -EINVAL);
    assert_int_equal(mapped.told.count, 0);

    assert_int_equal(
        device_dma_unmap(mapped.dev, umdev_iova(0x1000), UINT64_MAX - 0x1fff, &unmapped), 0);
    assert_int_equal(unmapped, SIZE);
    assert_int_equal(mapped.told.count, 1);
    assert_int_equal(mapped.told.range.first, 0x1000);
    assert_true(mapped.told.range.last == UINT64_MAX - 0x1000);
    assert_int_equal(mapped.told.read_result, 0);
    assert_int_equal(read_byte(mapped.dev), -EFAULT);

    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA), SIZE, &unmapped), 0);
    assert_int_equal(unmapped, 0);
    mapped_end(&mapped);
}

static void test_unmap_all(void **state)
{
    struct mapped mapped;
    uint64_t unmapped;

    (void)state;
    mapped_begin(&mapped);
    assert_int_equal(device_dma_map(mapped.dev, umdev_iova(0), 0x1000, -1, 0, UMDEV_READ), 0);
    assert_int_equal(device_dma_map(mapped.dev, umdev_iova(0), 0x1000, -1, 0, UMDEV_READ), -EEXIST);
    assert_int_equal(device_dma_unmap_all(mapped.dev, &unmapped), 0);
    assert_int_equal(unmapped, SIZE + 0x1000);
    assert_int_equal(mapped.told.count, 1);
    assert_int_equal(mapped.told.range.first, 0);
    assert_true(mapped.told.range.last == UINT64_MAX);
    assert_int_equal(read_byte(mapped.dev), -EFAULT);
    assert_int_equal(device_dma_unmap_all(mapped.dev, &unmapped), 0);
    assert_int_equal(unmapped, 0);
    mapped_end(&mapped);
}

/* The client goes: the driver hears of it while the memory is there, and before close(). */
static void test_close(void **state)
{
    struct mapped mapped;

    (void)state;
    mapped_begin(&mapped);
    device_close(mapped.dev);
    assert_int_equal(mapped.told.count, 1);
    assert_int_equal(mapped.told.read_result, 0);
    mapped_end(&mapped);
}

/* A driver that keeps a window: the unmap gives up, the client goes, the window stays good. */
static void test_window_held_too_long(void **state)
{
    struct umdev_dma_window window;
    struct mapped mapped;
    uint64_t unmapped;

    (void)state;
    mapped_begin(&mapped);
    mapped.dev->unmap_timeout_ms = 20;
    assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(IOVA), SIZE, UMDEV_RW, &window), 0);
    assert_int_equal(device_dma_unmap(mapped.dev, umdev_iova(IOVA), SIZE, &unmapped), -ETIMEDOUT);
    assert_int_equal(mapped.fixture.disconnects, 1);
    assert_non_null(strstr(mapped.fixture.last_line, "driver dma"));
    memset(window.ptr, 7, window.len);
    assert_int_equal(mapped.client[SIZE - 1], 7);
    umdev_dma_release(mapped.dev, &window);

    assert_int_equal(device_dma_map(mapped.dev, umdev_iova(IOVA), SIZE, mapped.fd, 0, UMDEV_RW), 0);
    assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(IOVA), SIZE, UMDEV_RW, &window), 0);
    device_close(mapped.dev);
    umdev_dma_release(mapped.dev, &window);
    mapped_end(&mapped);
}

/* ------------------------------------------------------------------ a client that cheats */

static void test_truncated(void **state)
{
    struct mapped mapped;
    uint8_t buf[64];

    (void)state;
    fixture_guard();
    mapped_begin(&mapped);
    assert_int_equal(ftruncate(mapped.fd, 0), 0);
    assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(IOVA), buf, sizeof(buf)), -EIO);
    assert_int_equal(mapped.fixture.disconnects, 1);
    assert_non_null(strstr(mapped.fixture.last_line, "truncated"));
    assert_int_equal(umdev_dma_write(mapped.dev, umdev_iova(IOVA), buf, 1), -EIO);
    assert_int_equal(umdev_dma_copy(mapped.dev, umdev_iova(IOVA), umdev_iova(IOVA + 8), 1), -EIO);
    assert_int_equal(mapped.fixture.disconnects, 1); /* once is enough */

    /* The next client starts clean, and is told apart. */
    device_close(mapped.dev);
    assert_int_equal(ftruncate(mapped.fd, (off_t)SIZE), 0);
    assert_int_equal(device_open(mapped.dev, &mapped.fixture.client), 0);
    fixture_master(mapped.dev);
    assert_int_equal(device_dma_map(mapped.dev, umdev_iova(IOVA), SIZE, mapped.fd, 0, UMDEV_RW), 0);
    assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(IOVA), buf, sizeof(buf)), 0);
    assert_int_equal(ftruncate(mapped.fd, 0), 0);
    assert_int_equal(umdev_dma_read(mapped.dev, umdev_iova(IOVA), buf, sizeof(buf)), -EIO);
    assert_int_equal(mapped.fixture.disconnects, 2);
    mapped_end(&mapped);
}

/* In a window nobody sees an error; the release finds out. */
static void test_truncated_in_window(void **state)
{
    struct umdev_dma_window window;
    struct mapped mapped;

    (void)state;
    fixture_guard();
    mapped_begin(&mapped);
    memset(mapped.client, 1, SIZE);
    assert_int_equal(umdev_dma_acquire(mapped.dev, umdev_iova(IOVA), SIZE, UMDEV_READ, &window), 0);
    assert_int_equal(ftruncate(mapped.fd, 0), 0);
    assert_int_equal(*(volatile uint8_t *)window.ptr, 0);
    assert_int_equal(mapped.fixture.disconnects, 0);
    umdev_dma_release(mapped.dev, &window);
    assert_int_equal(mapped.fixture.disconnects, 1);
    mapped_end(&mapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),    cmocka_unit_test(test_bus_master),
        cmocka_unit_test(test_unmap),     cmocka_unit_test(test_unmap_all),
        cmocka_unit_test(test_close),     cmocka_unit_test(test_window_held_too_long),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_truncated_in_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
