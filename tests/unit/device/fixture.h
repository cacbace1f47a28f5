/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device with an in-test driver, a client that counts its disconnects, and a log that is kept.
 *
 * A test gives its own state to its driver as the parent: context_of(dev) finds it again.
 */
#ifndef TESTS_DEVICE_FIXTURE_H
#define TESTS_DEVICE_FIXTURE_H

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/range.h"
#include "device/device.h"

#include <stdatomic.h>
#include <string.h>

#define TEST_UUID "11111111-2222-3333-4444-555555555555"

struct fixture {
    struct device_client client; /* first: fixture_disconnect() finds its fixture */
    atomic_int disconnects;
    struct log log;
    char last_line[LOG_LINE_MAX];
    struct umdev_error error;
    struct umdev_device *dev;
};

/* What the fixture's client and log call. */
void fixture_disconnect(struct device_client *client);
void fixture_log(void *opaque, enum umdev_log_level level, const char *line);

/* Whether device_new() refuses; fixture->error says why. */
int fixture_try(struct fixture *fixture, const struct umdev_driver *driver, void *context);
/* A device, closed. */
void fixture_new(struct fixture *fixture, const struct umdev_driver *driver, void *context);
/* A device with a client that has switched bus mastering on. */
void fixture_open(struct fixture *fixture, const struct umdev_driver *driver, void *context);
/* Close, if open, and free. */
void fixture_end(struct fixture *fixture);

void fixture_master(struct umdev_device *dev);
/* device_new() must fail with EINVAL and a message that has `word` in it. */
void fixture_expect_refused(const struct umdev_driver *driver, const char *word);

void *context_of(struct umdev_device *dev);

uint32_t read32(struct umdev_device *dev, unsigned region, uint64_t offset);
void write32(struct umdev_device *dev, unsigned region, uint64_t offset, uint32_t value);
uint64_t read64(struct umdev_device *dev, unsigned region, uint64_t offset);
void write64(struct umdev_device *dev, unsigned region, uint64_t offset, uint64_t value);

/* Put the SIGBUS guard in front of cmocka's handler, which cmocka sets anew for each test. */
void fixture_guard(void);

/* A memfd of `size` bytes. */
int test_memfd(size_t size);

#endif
