/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bus addresses: a range of 1 MiB out of a badly fragmented space, and single pages.
 *
 * Each operation releases one of those that are out, at random, and allocates another: what was
 * released last is not what comes next. No calls of the system are in it, so that there is none to
 * be compared with: the floors are the same in a space without holes, and malloc's pages.
 */
#include "bench.h"

#include "iommu/bus_space.h"

#include <errno.h>
#include <stdlib.h>

enum {
    OPERATIONS = 500, /* a sample */
    RANGES_OUT = 256,
    RANGE_PAGES = 256, /* 1 MiB */
    PAGES_OUT = 4096,
    HOLES = 40000,
    LARGE_EVERY = 10, /* one hole in so many is large enough */
};

struct bus {
    struct bus_space *space;
    uint64_t random;
    struct bus_range *ranges[RANGES_OUT];
    uint32_t pages[PAGES_OUT];
    void *memory[PAGES_OUT];
};

static void bus_stop(void *state)
{
    struct bus *bus = state;

    bus_space_free(bus->space);
    for (size_t i = 0; i < PAGES_OUT; i++)
        free(bus->memory[i]);
    free(bus);
}

static int bus_new(uint64_t pages, struct bus **result)
{
    const struct bus_space_config config = {.aperture = {0, pages * PAGE_SIZE_4K - 1}};
    struct bus *bus = calloc(1, sizeof(*bus));
    int ret = bus_space_new(&config, &bus->space, NULL);

    bus->random = 1;
    *result = bus;
    return ret;
}

/* ------------------------------------------------------------------ ranges */

static int ranges_measure(void *state, double *samples, size_t n)
{
    struct bus *bus = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        for (int k = 0; !ret && k < OPERATIONS; k++) {
            struct bus_range **range = &bus->ranges[bench_random(&bus->random, RANGES_OUT)];

            bus_space_release(bus->space, *range);
            ret = bus_space_alloc(bus->space, RANGE_PAGES * PAGE_SIZE_4K, PAGE_SIZE_4K, range);
        }
        samples[i] = (double)(bench_now_ns() - start) / OPERATIONS;
    }
    return ret;
}

static int ranges_start(struct bus *bus)
{
    int ret = 0;

    for (size_t i = 0; !ret && i < RANGES_OUT; i++)
        ret =
            bus_space_alloc(bus->space, RANGE_PAGES * PAGE_SIZE_4K, PAGE_SIZE_4K, &bus->ranges[i]);
    return ret;
}

static uint64_t hole_pages(uint64_t *random, size_t i)
{
    return 1 + bench_random(random, RANGE_PAGES - 1) + (i % LARGE_EVERY ? 0 : RANGE_PAGES);
}

/* All of the space is out, hole and page in turn; then the holes are given back. */
static int fragment(struct bus *bus, uint64_t random)
{
    struct bus_range **holes = calloc(HOLES, sizeof(struct bus_range *)), *between;
    int ret = 0;

    for (size_t i = 0; !ret && i < HOLES; i++) {
        ret = bus_space_alloc(bus->space, hole_pages(&random, i) * PAGE_SIZE_4K, PAGE_SIZE_4K,
                              &holes[i]);
        if (!ret)
            ret = bus_space_alloc(bus->space, PAGE_SIZE_4K, PAGE_SIZE_4K, &between);
    }
    for (size_t i = 0; !ret && i < HOLES; i++)
        bus_space_release(bus->space, holes[i]);
    free(holes);
    return ret;
}

static int fragmented_start(struct row_run *run)
{
    uint64_t random = 1, pages = HOLES;
    struct bus *ours, *floor;
    int ret;

    for (size_t i = 0; i < HOLES; i++)
        pages += hole_pages(&random, i);
    ret = bus_new(pages, &ours);
    run->ours = (struct subject){ranges_measure, bus_stop, ours};
    if (!ret)
        ret = fragment(ours, 1);
    if (!ret)
        ret = ranges_start(ours);
    if (ret)
        return ret;
    ret = bus_new(pages, &floor);
    run->floor = (struct subject){ranges_measure, bus_stop, floor};
    return ret ? ret : ranges_start(floor);
}

const struct row bus_alloc_fragmented_row = {
    .name = "bus.alloc.fragmented",
    .what = "a range of 1 MiB released and allocated among 40,000 holes, 36,000 of them too small "
            "/ the same in a space with no other hole",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 20,
    .start = fragmented_start,
};

/* ------------------------------------------------------------------ pages */

static int pages_measure(void *state, double *samples, size_t n)
{
    struct bus *bus = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        for (int k = 0; !ret && k < OPERATIONS; k++) {
            uint32_t *page = &bus->pages[bench_random(&bus->random, PAGES_OUT)];

            bus_space_release_pages(bus->space, 1, page);
            ret = bus_space_alloc_pages(bus->space, 1, page);
        }
        samples[i] = (double)(bench_now_ns() - start) / OPERATIONS;
    }
    return ret;
}

static int malloc_measure(void *state, double *samples, size_t n)
{
    struct bus *bus = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (int k = 0; k < OPERATIONS; k++) {
            void **memory = &bus->memory[bench_random(&bus->random, PAGES_OUT)];

            free(*memory);
            *memory = malloc(PAGE_SIZE_4K);
            if (!*memory)
                return -ENOMEM;
        }
        samples[i] = (double)(bench_now_ns() - start) / OPERATIONS;
    }
    return 0;
}

static int page_start(struct row_run *run)
{
    struct bus *ours, *floor;
    int ret = bus_new(UINT64_C(1) << 20, &ours);

    run->ours = (struct subject){pages_measure, bus_stop, ours};
    if (!ret)
        ret = bus_space_alloc_pages(ours->space, PAGES_OUT, ours->pages);
    if (ret)
        return ret;
    ret = bus_new(1, &floor);
    run->floor = (struct subject){malloc_measure, bus_stop, floor};
    for (size_t i = 0; !ret && i < PAGES_OUT; i++)
        floor->memory[i] = malloc(PAGE_SIZE_4K);
    return ret;
}

const struct row bus_alloc_page_row = {
    .name = "bus.alloc.page",
    .what = "a single page released and allocated, 4,096 out / free and malloc of 4 KiB",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 20,
    .start = page_start,
};
