/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the interrupts' tests share: a set of interrupts, and eventfds seen from the client's side.
 * cmocka and the headers it needs are the includer's.
 */
#ifndef TESTS_IRQ_FIXTURE_H
#define TESTS_IRQ_FIXTURE_H

#include "leaks.h"

#include "device/irq.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    NONE = VFIO_IRQ_SET_DATA_NONE,
    BOOL = VFIO_IRQ_SET_DATA_BOOL,
    EVENTFD = VFIO_IRQ_SET_DATA_EVENTFD,
    MASK = VFIO_IRQ_SET_ACTION_MASK,
    UNMASK = VFIO_IRQ_SET_ACTION_UNMASK,
    TRIGGER = VFIO_IRQ_SET_ACTION_TRIGGER,
};

enum {
    INTX = UMDEV_IRQ_INTX,
    MSI = UMDEV_IRQ_MSI,
    MSIX = UMDEV_IRQ_MSIX,
    ERR = UMDEV_IRQ_ERR,
    REQ = UMDEV_IRQ_REQ,
};

#define NUM_MSI  4
#define NUM_MSIX 70

static inline struct irqs *fixture_irqs(void)
{
    const struct irqs_config config = {
        .count = {[INTX] = 1, [MSI] = NUM_MSI, [MSIX] = NUM_MSIX, [ERR] = 1, [REQ] = 1},
        .name = "test",
    };
    struct irqs *irqs = NULL;

    assert_int_equal(irqs_new(&config, &irqs), 0);
    return irqs;
}

static inline int fixture_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* How often it was signalled since the last call. */
static inline uint64_t fixture_count(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    uint64_t count = 0;

    if (poll(&readable, 1, 0) == 1)
        assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
    return count;
}

/* SET_IRQS with EVENTFD and duplicates of `fds`, as a message would carry them. */
static inline int fixture_set_fds(struct irqs *irqs, uint32_t action, unsigned index,
                                  uint32_t start, uint32_t count, const int *fds, unsigned nfds)
{
    struct fd_array array;
    int ret;

    fd_array_init(&array);
    for (unsigned i = 0; i < nfds; i++) {
        array.fds[i] = dup(fds[i]);
        assert_true(array.fds[i] >= 0);
        array.count++;
    }
    ret = irqs_set(irqs, action | EVENTFD, index, start, count, NULL, &array);
    /* Kept is all or nothing. */
    for (unsigned i = 0; i < nfds; i++)
        assert_int_equal(array.fds[i] == -1, ret == 0);
    fd_array_close(&array);
    return ret;
}

/* One eventfd for one vector. */
static inline int fixture_listen(struct irqs *irqs, unsigned index, uint32_t vector, int fd)
{
    return fixture_set_fds(irqs, TRIGGER, index, vector, 1, &fd, 1);
}

/* SET_IRQS without data. */
static inline int fixture_set(struct irqs *irqs, uint32_t flags, unsigned index, uint32_t start,
                              uint32_t count)
{
    return irqs_set(irqs, flags, index, start, count, NULL, NULL);
}

static inline int fixture_set_bool(struct irqs *irqs, uint32_t action, unsigned index,
                                   uint32_t start, uint32_t count, const uint8_t *bools)
{
    return irqs_set(irqs, action | BOOL, index, start, count, bools, NULL);
}

/* Every test has its interrupts and two eventfds, and must leave nothing behind. */
struct fixture {
    struct irqs *irqs;
    int a, b;
};

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = malloc(sizeof(*fixture));

    leaks_begin();
    fixture->irqs = fixture_irqs();
    fixture->a = fixture_eventfd();
    fixture->b = fixture_eventfd();
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    unsigned leaked;

    irqs_free(fixture->irqs);
    close(fixture->a);
    close(fixture->b);
    leaked = leaks_end("interrupts");
    free(fixture);
    return leaked ? -1 : 0;
}

#define FIXTURE_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

static const uint8_t bool_false[] = {0}, bool_true[] = {1};

#endif
