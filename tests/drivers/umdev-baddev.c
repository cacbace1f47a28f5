/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * baddev: a driver that goes wrong, for tests of how far that reaches.
 *
 * BAR0 has the registers below. A write to CRASH ends the process from inside a callback; one to
 * HANG keeps the callback for so many milliseconds. BEAT is plain. The screen is one pixel, and
 * waits for the callback as any other call does.
 */
#include <umdev/driver.h>

#include <stdlib.h>
#include <time.h>

enum baddev_reg {
    REG_CRASH = 0x00,
    REG_HANG = 0x04, /* milliseconds */
    REG_BEAT = 0x08,
};

struct baddev {
    struct umdev_regs regs;
};

static void baddev_crash(struct umdev_device *dev, uint64_t value)
{
    (void)dev;
    (void)value;
    abort();
}

static void baddev_hang(struct umdev_device *dev, uint64_t ms)
{
    const struct timespec time = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)dev;
    nanosleep(&time, NULL);
}

static int baddev_screenshot(struct umdev_device *dev, struct umdev_picture *picture)
{
    (void)dev;
    return umdev_picture_alloc(picture, 1, 1);
}

static const struct umdev_reg_hook baddev_hooks[] = {
    {.offset = REG_CRASH, .write = baddev_crash},
    {.offset = REG_HANG, .write = baddev_hang},
};
static const struct umdev_type baddev_types[] = {{.name = "1"}};

/* clang-format off */
UMDEV_DRIVER(baddev,
    .types = baddev_types, .ntypes = 1,
    .priv_size = sizeof(struct baddev),
    .screenshot = baddev_screenshot,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x00c4, .class_code = 0x088000,
                     .bar = { UMDEV_BAR(.size = 4096, .regs = UMDEV_REGS(struct baddev, regs, baddev_hooks)) }));
