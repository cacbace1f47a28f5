/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver that counts what happens to it and can be held up, and what the tests of the life cycle
 * do with it all the time. One test file, one driver: its state is the file's.
 */
#ifndef TESTS_MDEV_FIXTURE_H
#define TESTS_MDEV_FIXTURE_H

#include "unit.h"

#include "base/range.h"
#include "mdev/mdev.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"
#define UUID_C "cccccccc-0000-4000-8000-000000000003"
#define UUID_D "dddddddd-0000-4000-8000-000000000004"

/* A place where a callback stops until it is let on. */
struct gate {
    atomic_bool shut;
    sem_t reached, let_on;
};

static struct {
    atomic_int parents, devices; /* there now */
    atomic_int opened, created;  /* ever */
    atomic_int open_result, create_result;
    atomic_int places; /* for counting_available() */
    struct gate open, create, remove;
} driver_state;

static inline void gate_pass(struct gate *gate)
{
    if (!atomic_load(&gate->shut))
        return;
    sem_post(&gate->reached);
    while (sem_wait(&gate->let_on))
        ;
}

static inline void gate_wait(struct gate *gate)
{
    while (sem_wait(&gate->reached))
        ;
}

static inline void gate_let_on(struct gate *gate)
{
    atomic_store(&gate->shut, false);
    sem_post(&gate->let_on);
}

static inline int counting_parent_open(struct umdev_parent *parent)
{
    int ret = atomic_load(&driver_state.open_result);

    (void)parent;
    gate_pass(&driver_state.open);
    if (ret)
        return ret;
    atomic_fetch_add(&driver_state.opened, 1);
    atomic_fetch_add(&driver_state.parents, 1);
    return 0;
}

static inline void counting_parent_close(struct umdev_parent *parent)
{
    (void)parent;
    atomic_fetch_sub(&driver_state.parents, 1);
}

static inline int counting_create(struct umdev_device *dev)
{
    int ret = atomic_load(&driver_state.create_result);

    (void)dev;
    gate_pass(&driver_state.create);
    if (ret)
        return ret;
    atomic_fetch_add(&driver_state.created, 1);
    atomic_fetch_add(&driver_state.devices, 1);
    return 0;
}

static inline void counting_remove(struct umdev_device *dev)
{
    (void)dev;
    gate_pass(&driver_state.remove);
    atomic_fetch_sub(&driver_state.devices, 1);
}

/* Places for the first type only, for a driver that keeps count itself. */
static inline unsigned counting_available(struct umdev_parent *parent, unsigned type)
{
    (void)parent;
    if (type > 0)
        return 0;
    return (unsigned)(atomic_load(&driver_state.places) - atomic_load(&driver_state.devices));
}

static const struct umdev_type counting_types[] = {
    {.name = "small", .description = "a quarter", .pretty_name = "Small", .instances = 4},
    {.name = "large", .instances = 2},
};

#define COUNTING_DRIVER                                                                            \
    .struct_size = sizeof(struct umdev_driver), .api_version = UMDEV_DRIVER_API_VERSION,           \
    .type_size = sizeof(struct umdev_type), .param_size = sizeof(struct umdev_param),              \
    .types = counting_types, .ntypes = ARRAY_SIZE(counting_types),                                 \
    .parent_open = counting_parent_open, .parent_close = counting_parent_close,                    \
    .create = counting_create, .remove = counting_remove,                                          \
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1,                                                \
                     .bar = {UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)})

/* ------------------------------------------------------------------ in the registry */

static const struct umdev_driver counting = {COUNTING_DRIVER, .name = "counting"};

static inline int add_parent(struct mdev_registry *registry, const struct umdev_driver *driver,
                             const char *name)
{
    return mdev_parent_add(registry, driver, name, NULL, 0, NULL, NULL, NULL);
}

static inline int create(struct mdev_registry *registry, const char *type, const char *uuid)
{
    return mdev_create(registry, NULL, type, uuid, NULL, NULL);
}

struct available_query {
    const char *parent, *type;
    int available;
};

static inline int note_available(void *opaque, const struct mdev_type_info *info)
{
    struct available_query *query = opaque;

    if (strcmp(info->name, query->type) == 0 && strcmp(info->parent, query->parent) == 0)
        query->available = (int)info->available;
    return 0;
}

/* −1: not listed. */
static inline int available(struct mdev_registry *registry, const char *parent, const char *type)
{
    struct available_query query = {parent, type, -1};

    assert_int_equal(mdev_for_each_type(registry, note_available, &query), 0);
    return query.available;
}

static inline int count_one(void *opaque, const struct mdev_device_info *info)
{
    (void)info;
    ++*(int *)opaque;
    return 0;
}

static inline int count_devices(struct mdev_registry *registry)
{
    int count = 0;

    assert_int_equal(mdev_for_each_device(registry, count_one, &count), 0);
    return count;
}

/* ------------------------------------------------------------------ a test's surroundings */

/* *state: the registry. */
static inline int setup(void **state)
{
    struct gate *const gates[] = {&driver_state.open, &driver_state.create, &driver_state.remove};

    memset(&driver_state, 0, sizeof(driver_state));
    for (size_t i = 0; i < ARRAY_SIZE(gates); i++) {
        sem_init(&gates[i]->reached, 0, 0);
        sem_init(&gates[i]->let_on, 0, 0);
    }
    return mdev_registry_new(NULL, NULL, (struct mdev_registry **)state);
}

/* Nothing is left, whatever a test did. */
static inline int teardown(void **state)
{
    mdev_registry_free(*state);
    assert_int_equal(atomic_load(&driver_state.devices), 0);
    assert_int_equal(atomic_load(&driver_state.parents), 0);
    return 0;
}

/* ------------------------------------------------------------------ calls on other threads */

/* One registry call on a thread of its own. */
struct job {
    pthread_t thread;
    struct mdev_registry *registry;
    const char *type, *name; /* type: create it as `name` */
    bool parent;             /* remove the parent, not the device `name` */
    int ret;
};

static inline void *job_run(void *argument)
{
    struct job *job = argument;

    if (job->type)
        job->ret = create(job->registry, job->type, job->name);
    else if (job->parent)
        job->ret = mdev_parent_remove(job->registry, job->name);
    else
        job->ret = mdev_remove(job->registry, job->name);
    return NULL;
}

static inline void job_start(struct job *job)
{
    assert_int_equal(pthread_create(&job->thread, NULL, job_run, job), 0);
}

static inline int job_join(struct job *job)
{
    assert_int_equal(pthread_join(job->thread, NULL), 0);
    return job->ret;
}

#endif
