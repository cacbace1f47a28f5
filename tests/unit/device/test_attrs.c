/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: what a driver may answer, and what it is given. */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define IOVA UINT64_C(0x100000)

struct script {
    int result;
    char got[UMDEV_ATTR_SIZE + 1];
    size_t got_len;
    atomic_int inside, most; /* callbacks at once */
    int wanted;              /* of them: so long they wait for each other */
};

static void enter(struct script *script)
{
    int inside = atomic_fetch_add(&script->inside, 1) + 1;

    if (inside > atomic_load(&script->most))
        atomic_store(&script->most, inside);
    usleep(1000);
    for (int i = 0; i < 10000 && atomic_load(&script->most) < script->wanted; i++)
        usleep(1000);
    atomic_fetch_sub(&script->inside, 1);
}

static int scripted_show(struct umdev_device *dev, char *buf, size_t size)
{
    struct script *script = context_of(dev);

    assert_int_equal(size, UMDEV_ATTR_SIZE);
    enter(script);
    for (unsigned i = 0; i < 6; i++)
        buf[i] = (char)('a' + i);
    return script->result;
}

static int scripted_store(struct umdev_device *dev, const char *buf, size_t len)
{
    struct script *script = context_of(dev);

    enter(script);
    /* With the NUL that follows. */
    memcpy(script->got, buf, len + 1);
    script->got_len = len;
    return script->result;
}

static const struct umdev_attr attrs[] = {
    {.name = "both", .show = scripted_show, .store = scripted_store},
    {.name = "read", .show = scripted_show},
    {.name = "write", .store = scripted_store},
};
static const struct umdev_driver driver = {.struct_size = sizeof(driver),
                                           .name = "attrs",
                                           .pci = UMDEV_PCI(.vendor = 1),
                                           UMDEV_ATTRS(attrs)};
static const struct umdev_driver parallel = {.struct_size = sizeof(parallel),
                                             .name = "attrs",
                                             .threads = UMDEV_THREADS_PARALLEL,
                                             .pci = UMDEV_PCI(.vendor = 1),
                                             UMDEV_ATTRS(attrs)};

static const struct umdev_driver plain = {
    .struct_size = sizeof(plain), .name = "plain", .pci = UMDEV_PCI(.vendor = 1)};

static void test_reading(void **state)
{
    char buf[UMDEV_ATTR_SIZE] = "";
    struct script script = {.result = 6};
    struct fixture fixture;
    size_t count;

    (void)state;
    fixture_new(&fixture, &driver, &script);
    assert_ptr_equal(device_attrs(fixture.dev, &count), attrs);
    assert_int_equal(count, 3);
    assert_int_equal(device_attr_read(fixture.dev, "both", buf, sizeof(buf)), 6);
    assert_memory_equal(buf, "abcdef", 7);
    /* A small buffer gets the beginning, and no more. */
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(device_attr_read(fixture.dev, "read", buf, 3), 3);
    assert_memory_equal(buf, "abcx", 4);
    /* More than it wrote: nothing of ours is told. */
    script.result = UMDEV_ATTR_SIZE;
    assert_int_equal(device_attr_read(fixture.dev, "read", buf, sizeof(buf)), UMDEV_ATTR_SIZE);
    for (size_t i = 6; i < sizeof(buf); i++)
        assert_int_equal(buf[i], 0);
    script.result = UMDEV_ATTR_SIZE + 1;
    assert_int_equal(device_attr_read(fixture.dev, "read", buf, sizeof(buf)), -EIO);
    script.result = -EBUSY;
    assert_int_equal(device_attr_read(fixture.dev, "read", buf, sizeof(buf)), -EBUSY);
    script.result = 0;
    assert_int_equal(device_attr_read(fixture.dev, "read", buf, sizeof(buf)), 0);
    assert_int_equal(device_attr_read(fixture.dev, "write", buf, sizeof(buf)), -EIO);
    assert_int_equal(device_attr_read(fixture.dev, "rea", buf, sizeof(buf)), -ENOENT);
    assert_int_equal(device_attr_read(fixture.dev, "", buf, sizeof(buf)), -ENOENT);
    fixture_end(&fixture);
}

static void test_writing(void **state)
{
    static char large[UMDEV_ATTR_SIZE + 1];
    struct script script = {0};
    struct fixture fixture;

    (void)state;
    memset(large, 'y', sizeof(large));
    fixture_new(&fixture, &driver, &script);
    assert_int_equal(device_attr_write(fixture.dev, "both", "12345", 4), 0);
    assert_string_equal(script.got, "1234");
    assert_int_equal(device_attr_write(fixture.dev, "write", large, UMDEV_ATTR_SIZE), 0);
    assert_int_equal(script.got_len, UMDEV_ATTR_SIZE);
    assert_int_equal(script.got[UMDEV_ATTR_SIZE], 0);
    script.got_len = 0;
    assert_int_equal(device_attr_write(fixture.dev, "write", large, sizeof(large)), -EINVAL);
    assert_int_equal(device_attr_write(fixture.dev, "write", large, 0), -EINVAL);
    assert_int_equal(device_attr_write(fixture.dev, "read", "1", 1), -EIO);
    assert_int_equal(device_attr_write(fixture.dev, "none", "1", 1), -ENOENT);
    assert_int_equal(script.got_len, 0);
    script.result = -ERANGE;
    assert_int_equal(device_attr_write(fixture.dev, "write", "1", 1), -ERANGE);
    /* The driver's mistake: it takes all or nothing. */
    script.result = 1;
    assert_int_equal(device_attr_write(fixture.dev, "write", "1", 1), -EIO);
    fixture_end(&fixture);
}

static void test_without_attributes(void **state)
{
    struct fixture fixture;
    size_t count = 1;
    char buf[8];

    (void)state;
    fixture_new(&fixture, &plain, NULL);
    device_attrs(fixture.dev, &count);
    assert_int_equal(count, 0);
    assert_int_equal(device_attr_read(fixture.dev, "a", buf, sizeof(buf)), -ENOENT);
    fixture_end(&fixture);
}

static void *read_often(void *argument)
{
    struct umdev_device *dev = argument;
    char buf[UMDEV_ATTR_SIZE];

    for (int i = 0; i < 20; i++) {
        device_attr_read(dev, "both", buf, sizeof(buf));
        device_attr_read(dev, "read", buf, sizeof(buf));
    }
    return NULL;
}

static int most_at_once(const struct umdev_driver *of, int wanted)
{
    struct script script = {.wanted = wanted};
    struct fixture fixture;
    pthread_t threads[4];

    fixture_new(&fixture, of, &script);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, fixture.dev), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    fixture_end(&fixture);
    return atomic_load(&script.most);
}

static void test_serialised(void **state)
{
    (void)state;
    assert_int_equal(most_at_once(&driver, 0), 1);
}

static void test_parallel(void **state)
{
    (void)state;
    assert_true(most_at_once(&parallel, 2) > 1);
}

/* ------------------------------------------------------------------ client memory */

static int reading_show(struct umdev_device *dev, char *buf, size_t size)
{
    (void)size;
    return umdev_dma_read(dev, umdev_iova(IOVA), buf, 1);
}

static const struct umdev_attr reading[] = {{.name = "reading", .show = reading_show}};
static const struct umdev_driver reader = {.struct_size = sizeof(reader),
                                           .name = "attrs",
                                           .pci = UMDEV_PCI(.vendor = 1),
                                           UMDEV_ATTRS(reading)};

static void ignore_wanted(struct device_client *client)
{
    (void)client;
}

static void *open_and_map(void *argument)
{
    struct fixture *fixture = argument;

    assert_int_equal(device_open(fixture->dev, &fixture->client), 0);
    fixture_master(fixture->dev);
    assert_int_equal(device_dma_map(fixture->dev, umdev_iova(IOVA), 4096, -1, 0, UMDEV_RW), 0);
    return NULL;
}

/* Who is asked for memory by messages may wait for the callback: a serialised one can't wait. */
static void test_memory_without_a_file(void **state)
{
    struct fixture fixture;
    pthread_t session;
    char buf[8];

    (void)state;
    fixture_new(&fixture, &reader, NULL);
    fixture.client.dma_wanted = ignore_wanted;
    /* The session has a thread of its own. */
    assert_int_equal(pthread_create(&session, NULL, open_and_map, &fixture), 0);
    pthread_join(session, NULL);
    assert_int_equal(device_attr_read(fixture.dev, "reading", buf, sizeof(buf)), -EDEADLK);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_without_attributes),
        cmocka_unit_test(test_serialised),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_memory_without_a_file),
    };

    return cmocka_run_group_tests_name("attributes", tests, NULL, NULL);
}
