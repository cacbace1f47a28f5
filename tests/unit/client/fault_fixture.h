/* SPDX-License-Identifier: BSD-3-Clause */
/* A fake server, a client on it, and the questions that tests ask them. Of one test at a time. */
#ifndef TESTS_CLIENT_FAULT_FIXTURE_H
#define TESTS_CLIENT_FAULT_FIXTURE_H

#include "fault_fake.h"
#include "leaks.h"

#include <unistd.h>

#define PAGES 64

static struct fault_fake fake;
static struct umdev_client *client;

static inline void open_with(const struct umdev_connect_options *options, size_t npages)
{
    leaks_begin();
    fault_catch_sigbus();
    fault_fake_open(&fake, npages, npages);
    assert_int_equal(fault_fake_connect(&fake, options, &client), 0);
}

static inline void close_all(void)
{
    umdev_client_close(client);
    client = NULL;
    fault_fake_close(&fake);
    assert_int_equal(leaks_end("after the client"), 0);
}

static inline uint8_t *map_pages(uint64_t first, uint64_t count)
{
    uint8_t *view = umdev_client_map_region(client, FAULT_REGION, first * FAULT_PAGE,
                                            (size_t)(count * FAULT_PAGE));

    assert_non_null(view);
    return view;
}

static inline uint64_t read_page(const uint8_t *view, uint64_t page)
{
    uint64_t value = 0;

    return fault_try_read(view + page * FAULT_PAGE, &value) ? value : 0;
}

static inline bool write_page(uint8_t *view, uint64_t page)
{
    return fault_try_write(view + page * FAULT_PAGE + 8, 1);
}

/* For a thread: what it reads, 0 for a refusal. */
static inline void *touch_one(void *address)
{
    uint64_t value = 0;

    return (void *)(uintptr_t)(fault_try_read(address, &value) ? value : 0);
}

/* For a thread: what came of the region's first page. */
static inline void *prefault(void *opaque)
{
    (void)opaque;
    return (void *)(intptr_t)umdev_client_prefault(client, FAULT_REGION, 0, 1, UMDEV_READ);
}

static inline struct umdev_client_fault_stats stats(void)
{
    struct umdev_client_fault_stats now = {.struct_size = sizeof(now)};

    assert_int_equal(umdev_client_get_fault_stats(client, &now), 0);
    return now;
}

/* Mappings of this process, as the kernel counts them, in a range. */
static inline unsigned count_mappings(const uint8_t *view, uint64_t pages)
{
    uintptr_t first = (uintptr_t)view, last = first + pages * FAULT_PAGE - 1;
    FILE *file = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    char line[512];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        unsigned long from, to;

        assert_int_equal(sscanf(line, "%lx-%lx", &from, &to), 2);
        count += from <= last && to > first;
    }
    fclose(file);
    return count;
}

#endif
