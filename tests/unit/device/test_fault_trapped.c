/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of a region that faults which are no memory object's: the driver serves them itself. And
 * what no driver may do while it is asked for a page.
 */
#include "fault_fixture.h"

#include "device/device_priv.h"

#include <errno.h>

/* What a driver is asked for pages that it serves itself. */
static struct {
    unsigned calls;
    uint64_t offset[4];
    size_t len[4];
    uint8_t first_byte;
    int result;
} served;

static void serve(uint64_t offset, size_t len, uint8_t first_byte)
{
    served.offset[served.calls % 4] = offset;
    served.len[served.calls % 4] = len;
    served.first_byte = first_byte;
    served.calls++;
}

static int serving_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                        size_t len)
{
    (void)dev;
    assert_int_equal(region, TABLE);
    serve(offset, len, 0);
    memset(buf, 0x77, len);
    return served.result;
}

static int serving_write(struct umdev_device *dev, unsigned region, uint64_t offset,
                         const void *buf, size_t len)
{
    (void)dev;
    assert_int_equal(region, TABLE);
    serve(offset, len, *(const uint8_t *)buf);
    return served.result;
}

static void expect_served(unsigned call, uint64_t offset, size_t len)
{
    assert_int_equal(served.offset[call], offset);
    assert_int_equal(served.len[call], len);
}

/* Pages that are no object's: messages are the driver's, page by page, faults are refused. */
static void test_trapped_pages(void **state)
{
    struct umdev_driver driver = fault_driver;
    uint8_t bytes[2 * PAGE];
    struct faults f;

    (void)state;
    driver.read = serving_read;
    driver.write = serving_write;
    faults_start(&f, &driver);
    f.driver.result = UMDEV_MAP_TRAPPED;
    memset(&served, 0, sizeof(served));
    expect_refused(&f, TABLE, PAGE, UMDEV_RW, EPERM);
    assert_int_equal(served.calls, 0);
    assert_int_equal(device_read(f.fixture.dev, TABLE, 2 * PAGE - 8, bytes, PAGE + 16), 0);
    assert_int_equal(served.calls, 3);
    expect_served(0, 2 * PAGE - 8, 8);
    expect_served(1, 2 * PAGE, PAGE);
    expect_served(2, 3 * PAGE, 8);
    for (size_t i = 0; i < PAGE + 16; i++)
        assert_int_equal(bytes[i], 0x77);
    served.calls = 0;
    memset(bytes, 0x11, sizeof(bytes));
    bytes[PAGE - 3] = 0x22;
    assert_int_equal(device_write(f.fixture.dev, TABLE, 3, bytes, PAGE), 0);
    assert_int_equal(served.calls, 2);
    expect_served(0, 3, PAGE - 3);
    expect_served(1, PAGE, 3);
    assert_int_equal(served.first_byte, 0x22);
    /* The first error ends it. */
    served.calls = 0;
    served.result = -ENXIO;
    assert_int_equal(device_read(f.fixture.dev, TABLE, PAGE - 4, bytes, 8), -ENXIO);
    assert_int_equal(served.calls, 1);
    faults_end(&f);
    /* A driver that can't is wrong. */
    driver.read = NULL;
    faults_start(&f, &driver);
    f.driver.result = UMDEV_MAP_TRAPPED;
    assert_int_equal(trapped_read(&f, TABLE, 0), -EIO);
    faults_end(&f);
}

/* ------------------------------------------------------------------ waiting for the client */

static void read_remote(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    uint8_t byte;

    (void)page;
    s->result = umdev_dma_read(dev, umdev_iova(0x1000), &byte, 1);
}

static void *fault_in_thread(void *argument)
{
    fault(argument, TABLE, 0, UMDEV_READ);
    return NULL;
}

/* The thread that answers can't wait for messages: that of the session may wait for it. */
static void test_no_messages_inside(void **state)
{
    struct faults f;
    pthread_t thread;

    (void)state;
    faults_start(&f, &fault_driver);
    fixture_master(f.fixture.dev);
    assert_int_equal(device_dma_map(f.fixture.dev, umdev_iova(0x1000), 0x1000, -1, 0, UMDEV_RW), 0);
    f.driver.hook = read_remote;
    assert_int_equal(pthread_create(&thread, NULL, fault_in_thread, &f), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(f.fake.error, EDEADLK);
    faults_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trapped_pages),
        cmocka_unit_test(test_no_messages_inside),
    };

    return cmocka_run_group_tests_name("fault trapped", tests, NULL, NULL);
}
