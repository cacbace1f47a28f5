/* SPDX-License-Identifier: BSD-3-Clause */
#include "fixture.h"

#include "base/sigbus.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void fixture_disconnect(struct device_client *client)
{
    struct fixture *fixture = (struct fixture *)(void *)client;

    atomic_fetch_add(&fixture->disconnects, 1);
}

void fixture_log(void *opaque, enum umdev_log_level level, const char *line)
{
    struct fixture *fixture = opaque;

    (void)level;
    snprintf(fixture->last_line, sizeof(fixture->last_line), "%s", line);
}

int fixture_try(struct fixture *fixture, const struct umdev_driver *driver, void *context)
{
    static const struct umdev_type type = {.name = "1"};
    struct device_setup setup = {
        .driver = driver,
        .type = driver->types ? &driver->types[0] : &type,
        .parent = context,
        .uuid = TEST_UUID,
        .log = &fixture->log,
    };

    memset(fixture, 0, sizeof(*fixture));
    fixture->client.disconnect = fixture_disconnect;
    fixture->log = (struct log){fixture_log, fixture, UMDEV_LOG_DEBUG};
    return device_new(&setup, &fixture->dev, &fixture->error);
}

void fixture_new(struct fixture *fixture, const struct umdev_driver *driver, void *context)
{
    int ret = fixture_try(fixture, driver, context);

    if (ret < 0)
        fail_msg("device_new: %d: %s", ret, fixture->error.message);
}

void fixture_master(struct umdev_device *dev)
{
    uint16_t command = 0x0006;

    assert_int_equal(device_write(dev, UMDEV_REGION_CONFIG, 4, &command, sizeof(command)), 0);
}

void fixture_open(struct fixture *fixture, const struct umdev_driver *driver, void *context)
{
    fixture_new(fixture, driver, context);
    assert_int_equal(device_open(fixture->dev, &fixture->client), 0);
    fixture_master(fixture->dev);
}

void fixture_end(struct fixture *fixture)
{
    if (device_is_open(fixture->dev))
        device_close(fixture->dev);
    device_free(fixture->dev);
    fixture->dev = NULL;
}

void fixture_expect_refused(const struct umdev_driver *driver, const char *word)
{
    struct fixture fixture;

    assert_int_equal(fixture_try(&fixture, driver, NULL), -EINVAL);
    if (!strstr(fixture.error.message, word))
        fail_msg("\"%s\" does not say \"%s\"", fixture.error.message, word);
}

void *context_of(struct umdev_device *dev)
{
    return umdev_device_parent(dev);
}

uint32_t read32(struct umdev_device *dev, unsigned region, uint64_t offset)
{
    uint32_t value;

    assert_int_equal(device_read(dev, region, offset, &value, sizeof(value)), 0);
    return value;
}

void write32(struct umdev_device *dev, unsigned region, uint64_t offset, uint32_t value)
{
    assert_int_equal(device_write(dev, region, offset, &value, sizeof(value)), 0);
}

uint64_t read64(struct umdev_device *dev, unsigned region, uint64_t offset)
{
    uint64_t value;

    assert_int_equal(device_read(dev, region, offset, &value, sizeof(value)), 0);
    return value;
}

void write64(struct umdev_device *dev, unsigned region, uint64_t offset, uint64_t value)
{
    assert_int_equal(device_write(dev, region, offset, &value, sizeof(value)), 0);
}

static void guard_handler(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    if (!sigbus_handle(info->si_addr))
        signal(signal_number, SIG_DFL);
}

void fixture_guard(void)
{
    struct sigaction action = {.sa_sigaction = guard_handler, .sa_flags = SA_SIGINFO};

    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
}

int test_memfd(size_t size)
{
    int fd = memfd_create("client", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}
