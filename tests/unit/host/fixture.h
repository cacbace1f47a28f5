/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small device, a host with one parent of it, and clients on socketpairs.
 */
#ifndef TESTS_HOST_FIXTURE_H
#define TESTS_HOST_FIXTURE_H

#include "unit.h"

#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <umdev/client.h>
#include <umdev/driver.h>
#include <umdev/host.h>
#include <unistd.h>

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"

#define REG_SQUARE 0x10 /* squares what is written to it, and interrupts */

struct small {
    struct umdev_regs regs;
};

/* What the driver saw. */
static atomic_int small_devices, small_parents, small_clients;

static inline int small_parent_open(struct umdev_parent *parent)
{
    (void)parent;
    atomic_fetch_add(&small_parents, 1);
    return 0;
}

static inline void small_parent_close(struct umdev_parent *parent)
{
    (void)parent;
    atomic_fetch_sub(&small_parents, 1);
}

static inline int small_create(struct umdev_device *dev)
{
    (void)dev;
    atomic_fetch_add(&small_devices, 1);
    return 0;
}

static inline void small_remove(struct umdev_device *dev)
{
    (void)dev;
    atomic_fetch_sub(&small_devices, 1);
}

static inline int small_open(struct umdev_device *dev)
{
    (void)dev;
    atomic_fetch_add(&small_clients, 1);
    return 0;
}

static inline void small_close(struct umdev_device *dev)
{
    (void)dev;
    atomic_fetch_sub(&small_clients, 1);
}

static inline void small_square(struct umdev_device *dev, uint64_t value)
{
    struct small *small = umdev_device_priv(dev);

    umdev_regs_set32(&small->regs, REG_SQUARE, (uint32_t)(value * value));
    umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, 0);
}

static const struct umdev_reg_hook small_hooks[] = {
    {.offset = REG_SQUARE, .write = small_square},
};
static const struct umdev_type small_types[] = {
    {.name = "1", .description = "one square", .instances = 8},
    {.name = "2", .pretty_name = "Two", .instances = 1},
};
static const struct umdev_param small_params[] = {
    {.name = "level", .kind = UMDEV_PARAM_NUMBER, .value = "1", .min = 1, .max = 9},
};

static const struct umdev_driver small_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .param_size = sizeof(struct umdev_param),
    .name = "small",
    .types = small_types,
    .ntypes = ARRAY_SIZE(small_types),
    .params = small_params,
    .nparams = ARRAY_SIZE(small_params),
    .priv_size = sizeof(struct small),
    .parent_open = small_parent_open,
    .parent_close = small_parent_close,
    .create = small_create,
    .remove = small_remove,
    .open = small_open,
    .close = small_close,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc1, .class_code = 0x088000,
                     .bar = {UMDEV_BAR(.size = 4096,
                                       .regs = UMDEV_REGS(struct small, regs, small_hooks))},
                     .msix = {.vectors = 1, .bar = 1}),
};

static inline struct umdev_host *new_host(void)
{
    struct umdev_host *host = NULL;

    assert_int_equal(umdev_host_new(NULL, &host), 0);
    assert_int_equal(umdev_host_add_parent_static(host, &small_driver, "p", NULL, 0, NULL), 0);
    return host;
}

/* Ends the host, too, and whatever a test left there: the driver must see the end of it all. */
static inline void free_host(struct umdev_host *host)
{
    umdev_host_free(host);
    assert_int_equal(atomic_load(&small_clients), 0);
    assert_int_equal(atomic_load(&small_devices), 0);
    assert_int_equal(atomic_load(&small_parents), 0);
}

static inline void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

/* A client of the device; NULL and *ret if the server turned it away. */
static inline struct umdev_client *connect_pair(struct umdev_host *host, const char *uuid, int *ret)
{
    struct umdev_client *client = NULL;
    int pair[2];

    make_pair(pair);
    *ret = umdev_host_serve_fd(host, uuid, pair[0]);
    if (*ret) {
        close(pair[0]);
        close(pair[1]);
        return NULL;
    }
    *ret = umdev_connect_fd(pair[1], NULL, &client);
    return client;
}

#endif
