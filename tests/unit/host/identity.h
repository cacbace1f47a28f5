/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device with a region that is its own memory object, whose pages are there or refused as a table
 * says, and a client of it in the same process.
 */
#ifndef TESTS_HOST_IDENTITY_H
#define TESTS_HOST_IDENTITY_H

#include "fixture.h"

#include "leaks.h"
#include "touch.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGES      512
#define PAGE       PAGE_SIZE_4K
#define BAR        2
#define MEM_OFFSET 3 /* pages: where the region begins in its object */
#define TOUCHERS   3

/* What map_request() does. */
enum {
    ALLOW,
    REFUSE,
    ELSEWHERE, /* the driver's mistakes */
    READ_ONLY,
    STUCK, /* never comes back */
};

struct checked {
    struct umdev_mem *mem;
    atomic_uint table[PAGES];
    atomic_uint asked;
    atomic_uint extent; /* pages in an answer */
};

static struct umdev_device *device;
static struct umdev_host *host;
static struct umdev_client *client;
static uint8_t *view;
static unsigned fds_before;

/* The range shrinks to the pages around the touched one that are allowed, too. */
static inline void clip(struct checked *checked, uint64_t page, struct umdev_map *map)
{
    uint64_t first = page, last = page;

    while (first > map->first / PAGE && atomic_load(&checked->table[first - 1]) == ALLOW)
        first--;
    while (last < map->last / PAGE && atomic_load(&checked->table[last + 1]) == ALLOW)
        last++;
    map->first = first * PAGE;
    map->last = last * PAGE + PAGE - 1;
}

static inline int checked_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                                      unsigned access, struct umdev_map *map)
{
    struct checked *checked = umdev_device_priv(dev);
    uint64_t len = atomic_load(&checked->extent) * PAGE;

    (void)region;
    (void)access;
    atomic_fetch_add(&checked->asked, 1);
    map->first = offset / len * len;
    map->last = map->first + len - 1;
    clip(checked, offset / PAGE, map);
    map->mem_offset += map->first;
    switch (atomic_load(&checked->table[offset / PAGE])) {
    case REFUSE:
        return -EPERM;
    case ELSEWHERE:
        map->mem_offset += PAGE;
        return 0;
    case READ_ONLY:
        map->prot = UMDEV_READ;
        return 0;
    case STUCK:
        pause();
        return -EINTR;
    default:
        return 0;
    }
}

static inline uint64_t *page_at(struct checked *checked, unsigned page)
{
    return (uint64_t *)(void *)((uint8_t *)umdev_mem_ptr(checked->mem) +
                                (size_t)(page + MEM_OFFSET) * PAGE);
}

/* The last page of the object stays a hole. */
static inline int checked_create(struct umdev_device *dev)
{
    struct checked *checked = umdev_device_priv(dev);
    int ret = umdev_mem_create(dev, "object", (PAGES + MEM_OFFSET) * PAGE, &checked->mem);

    device = dev;
    checked->extent = 1;
    for (unsigned i = 0; !ret && i < PAGES - 1; i++)
        *page_at(checked, i) = 1000 + i;
    return ret ? ret : umdev_region_set_mem(dev, BAR, checked->mem, MEM_OFFSET * PAGE, NULL, 0);
}

static const struct umdev_type checked_types[] = {{.name = "1"}};

static const struct umdev_driver checked_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .name = "checked",
    .types = checked_types,
    .ntypes = 1,
    .priv_size = sizeof(struct checked),
    .create = checked_create,
    .map_request = checked_map_request,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc8, .class_code = 0x088000,
                     .bar = {NULL, NULL,
                             UMDEV_BAR(.size = PAGES * PAGE,
                                       .flags = UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY)}),
};

/* ------------------------------------------------------------------ touches that may fail */

/* UINT64_MAX: refused. */
static inline uint64_t read_at(const uint8_t *at)
{
    uint64_t value;

    return touch_read(at, &value) ? value : UINT64_MAX;
}

static inline uint64_t read_page(unsigned page)
{
    return read_at(view + page * PAGE);
}

static inline bool write_page(unsigned page, uint64_t value)
{
    return touch_write(view + page * PAGE + 8, value);
}

/* ------------------------------------------------------------------ setting up */

static inline struct checked *open_with(const struct umdev_connect_options *options)
{
    int pair[2];

    fds_before = leaks_count_fds();
    assert_int_equal(umdev_host_new(NULL, &host), 0);
    touch_catch(SIGBUS);
    assert_int_equal(umdev_host_add_parent_static(host, &checked_driver, "p", NULL, 0, NULL), 0);
    assert_int_equal(umdev_host_create(host, "p", "checked-1", UUID_A, NULL, NULL), 0);
    make_pair(pair);
    assert_int_equal(umdev_host_serve_fd(host, UUID_A, pair[0]), 0);
    assert_int_equal(umdev_connect_fd(pair[1], options, &client), 0);
    view = umdev_client_map_region(client, BAR, 0, PAGES * PAGE);
    assert_non_null(view);
    return umdev_device_priv(device);
}

static inline struct checked *open_all(void)
{
    return open_with(
        &(struct umdev_connect_options){.struct_size = sizeof(struct umdev_connect_options)});
}

static inline void close_all(void)
{
    umdev_client_close(client);
    umdev_host_free(host);
    assert_int_equal(leaks_count_fds(), fds_before);
}

static inline void invalidate(unsigned first, unsigned last)
{
    assert_int_equal(umdev_region_invalidate(device, BAR, first * PAGE, last * PAGE + PAGE - 1), 0);
}

static inline void change(struct checked *checked, unsigned page, unsigned entry)
{
    atomic_store(&checked->table[page], entry);
    invalidate(page, page);
}

/* Touches that went over the channel, and what lies there. */
static inline struct umdev_client_fault_stats stats(void)
{
    struct umdev_client_fault_stats now = {.struct_size = sizeof(now)};

    assert_int_equal(umdev_client_get_fault_stats(client, &now), 0);
    return now;
}

#endif
