/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of pinned pages beside a bare array of bytes, which counts but can do nothing else: it
 * does not say what is new, cannot fail, has no bus pages and takes memory for every page there is.
 */
#include "bench.h"

#include "iommu/pin_table.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PAGES = 1 << 22, /* 16 GiB */
    SPARSE = PAGES / 100,
    BATCH = 1024, /* calls a sample */
};

/* A table and an array with the same pins; pages to go through, in no order. */
struct pins {
    struct pin_table *table;
    uint8_t *array;
    uint32_t pages[BATCH];
    uint64_t random;
};

static uint32_t random_page(struct pins *pins)
{
    return (uint32_t)bench_random(&pins->random, PAGES);
}

static int pin_pages(struct pins *pins, uint64_t first, size_t count)
{
    uint32_t bus[PIN_MAX_PAGES] = {0};
    uint64_t fresh[PIN_WORDS];

    for (size_t i = 0; i < count; i++)
        pins->array[first + i]++;
    return pin_table_pin(pins->table, first, count, false, bus, fresh);
}

static void pins_free(void *state)
{
    struct pins *pins = state;

    pin_table_free(pins->table);
    free(pins->array);
    free(pins);
}

static int pins_new(struct pins **new)
{
    struct pins *pins = calloc(1, sizeof(*pins));

    if (!pins)
        return -ENOMEM;
    pins->array = calloc(1, PAGES);
    if (!pins->array || pin_table_new(PAGES, true, &pins->table)) {
        pins_free(pins);
        return -ENOMEM;
    }
    for (size_t i = 0; i < BATCH; i++)
        pins->pages[i] = random_page(pins);
    *new = pins;
    return 0;
}

/* One of a hundred pages, anywhere. */
static int pins_new_sparse(struct pins **pins)
{
    int ret = pins_new(pins);

    if (ret)
        return ret;
    for (size_t i = 0; !ret && i < SPARSE; i++)
        ret = pin_pages(*pins, random_page(*pins), 1);
    if (ret)
        pins_free(*pins);
    return ret;
}

static int pins_new_dense(struct pins **pins)
{
    int ret = pins_new(pins);

    if (ret)
        return ret;
    for (uint64_t page = 0; !ret && page < PAGES; page += PIN_MAX_PAGES)
        ret = pin_pages(*pins, page, PIN_MAX_PAGES);
    if (ret)
        pins_free(*pins);
    return ret;
}

/* ------------------------------------------------------------------ time */

static int table_pairs(struct pins *pins, double *samples, size_t n, size_t count)
{
    uint32_t bus[PIN_MAX_PAGES] = {0};
    uint64_t changed[PIN_WORDS], written[PIN_WORDS];
    size_t batch = BATCH / count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < batch; k++) {
            uint64_t page = pins->pages[k] & ~(count - 1);

            if (pin_table_pin(pins->table, page, count, false, bus, changed))
                return -ENOMEM;
            pin_table_unpin(pins->table, page, count, changed, bus, written);
        }
        samples[i] = (double)(bench_now_ns() - start) / (double)batch;
    }
    return 0;
}

static int array_pairs(struct pins *pins, double *samples, size_t n, size_t count)
{
    size_t batch = BATCH / count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < batch; k++) {
            uint8_t *array = pins->array + (pins->pages[k] & ~(count - 1));

            for (size_t p = 0; p < count; p++)
                array[p]++;
            __asm__ volatile("" ::: "memory");
            for (size_t p = 0; p < count; p++)
                array[p]--;
            __asm__ volatile("" ::: "memory");
        }
        samples[i] = (double)(bench_now_ns() - start) / (double)batch;
    }
    return 0;
}

static int table_pair_1(void *state, double *samples, size_t n)
{
    return table_pairs(state, samples, n, 1);
}

static int array_pair_1(void *state, double *samples, size_t n)
{
    return array_pairs(state, samples, n, 1);
}

static int table_pair_512(void *state, double *samples, size_t n)
{
    return table_pairs(state, samples, n, PIN_MAX_PAGES);
}

static int array_pair_512(void *state, double *samples, size_t n)
{
    return array_pairs(state, samples, n, PIN_MAX_PAGES);
}

static int table_lookup(void *state, double *samples, size_t n)
{
    const struct pins *pins = state;
    uint32_t found = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        struct pin_page page = {0};

        for (size_t k = 0; k < BATCH; k++)
            found += pin_table_get(pins->table, pins->pages[k], &page);
        samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    __asm__ volatile("" ::"r"(found));
    return 0;
}

static int array_lookup(void *state, double *samples, size_t n)
{
    const struct pins *pins = state;
    uint32_t found = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < BATCH; k++) {
            found += pins->array[pins->pages[k]] != 0;
            __asm__ volatile("" : "+r"(found)); /* one by one, as calls are */
        }
        samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    return 0;
}

/* Both subjects have the same state; the floor is stopped after ours and frees it. */
static int start_times(struct row_run *run, int (*new)(struct pins **pins),
                       int (*ours)(void *state, double *samples, size_t n),
                       int (*floor)(void *state, double *samples, size_t n))
{
    struct pins *pins;
    int ret = new (&pins);

    if (ret)
        return ret;
    run->ours = (struct subject){ours, NULL, pins};
    run->floor = (struct subject){floor, pins_free, pins};
    return 0;
}

static int pair_1_start(struct row_run *run)
{
    return start_times(run, pins_new_sparse, table_pair_1, array_pair_1);
}

static int pair_512_start(struct row_run *run)
{
    return start_times(run, pins_new, table_pair_512, array_pair_512);
}

static int lookup_start(struct row_run *run)
{
    return start_times(run, pins_new_sparse, table_lookup, array_lookup);
}

const struct row pin_pair_1_row = {
    .name = "pin.pair.1",
    .what = "pin and unpin a page, 1 % of 16 GiB pinned at random / a byte up and down",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 200,
    .start = pair_1_start,
};

const struct row pin_pair_512_row = {
    .name = "pin.pair.512",
    .what = "pin and unpin 512 pages in a row / 512 bytes up and down",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 1000,
    .start = pair_512_start,
};

const struct row pin_lookup_row = {
    .name = "pin.lookup",
    .what = "whether a page is pinned, 1 % of 16 GiB pinned at random / a byte read",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 200,
    .start = lookup_start,
};

/* ------------------------------------------------------------------ memory */

static int table_bytes(void *state, double *samples, size_t n)
{
    const struct pins *pins = state;

    for (size_t i = 0; i < n; i++)
        samples[i] = (double)pin_table_bytes(pins->table) / (double)pin_table_pinned(pins->table);
    return 0;
}

/* A count of a byte and a bus page of four; sparse pins also say which page, in four. */
static int dense_floor(void *state, double *samples, size_t n)
{
    (void)state;
    for (size_t i = 0; i < n; i++)
        samples[i] = 1 + 4;
    return 0;
}

static int sparse_floor(void *state, double *samples, size_t n)
{
    (void)state;
    for (size_t i = 0; i < n; i++)
        samples[i] = 1 + 4 + 4;
    return 0;
}

static int bytes_dense_start(struct row_run *run)
{
    return start_times(run, pins_new_dense, table_bytes, dense_floor);
}

static int bytes_sparse_start(struct row_run *run)
{
    return start_times(run, pins_new_sparse, table_bytes, sparse_floor);
}

const struct row pin_bytes_dense_row = {
    .name = "pin.bytes.dense",
    .what = "memory a pinned page with a bus page, 16 GiB pinned / a count and a bus page",
    .unit = "B",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = bytes_dense_start,
};

const struct row pin_bytes_sparse_row = {
    .name = "pin.bytes.sparse",
    .what = "the same, 1 % of 16 GiB pinned at random / a page number, a count and a bus page",
    .unit = "B",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = bytes_sparse_start,
};
