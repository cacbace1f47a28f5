/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of written pages, by itself, of 16 GiB, against a flat bitmap of that size. A mark is an
 * atomic or into it. A report of nothing is its copy; but where there is something to be taken out
 * while others go on putting in, each word that is not 0 must be exchanged.
 */
#include "bench.h"

#include "iommu/dirty_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGES = 1 << 22, /* 16 GiB of them */
    WORDS = PAGES / 64,
    PERCENT = PAGES / 100,
    MARKS = 1000, /* a sample */
};

struct dirty_ours {
    struct dirty_log log;
    uint64_t bitmap[WORDS];
    unsigned dirty; /* pages written before each report */
    uint32_t random;
};

struct dirty_floor {
    atomic_uint_least64_t flat[WORDS];
    uint64_t bitmap[WORDS];
    uint32_t random;
};

/* A page anywhere. */
static uint32_t next_page(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random >> 10;
}

static void mark_page(struct dirty_ours *ours, uint64_t page)
{
    uint64_t iova = page * PAGE_SIZE_4K;

    dirty_log_mark(&ours->log, (struct range){iova, iova + (PAGE_SIZE_4K - 1)});
}

static int report_measure(void *state, double *samples, size_t n)
{
    struct dirty_ours *ours = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        int ret;

        for (unsigned page = 0; page < ours->dirty; page++)
            mark_page(ours, next_page(&ours->random));
        start = bench_now_ns();
        ret = dirty_log_report(&ours->log, 0, PAGES * PAGE_SIZE_4K, PAGE_SIZE_4K, ours->bitmap);
        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int copy_measure(void *state, double *samples, size_t n)
{
    struct dirty_floor *floor = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        memcpy(floor->bitmap, (const void *)floor->flat, sizeof(floor->bitmap));
        __asm__ volatile("" ::"r"(floor->bitmap) : "memory");
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int exchange_measure(void *state, double *samples, size_t n)
{
    struct dirty_floor *floor = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start;

        for (unsigned dirty = 0; dirty < PERCENT; dirty++) {
            uint32_t page = next_page(&floor->random);

            atomic_fetch_or(&floor->flat[page / 64], UINT64_C(1) << page % 64);
        }
        start = bench_now_ns();
        for (size_t word = 0; word < WORDS; word++) {
            bool some = atomic_load_explicit(&floor->flat[word], memory_order_relaxed);

            floor->bitmap[word] = some ? atomic_exchange(&floor->flat[word], 0) : 0;
        }
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int mark_measure(void *state, double *samples, size_t n)
{
    struct dirty_ours *ours = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (unsigned mark = 0; mark < MARKS; mark++)
            mark_page(ours, next_page(&ours->random));
        samples[i] = (double)(bench_now_ns() - start) / MARKS;
    }
    return 0;
}

static int or_measure(void *state, double *samples, size_t n)
{
    struct dirty_floor *floor = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (unsigned mark = 0; mark < MARKS; mark++) {
            uint32_t page = next_page(&floor->random);

            atomic_fetch_or(&floor->flat[page / 64], UINT64_C(1) << page % 64);
        }
        samples[i] = (double)(bench_now_ns() - start) / MARKS;
    }
    return 0;
}

static void ours_stop(void *state)
{
    struct dirty_ours *ours = state;

    dirty_log_fini(&ours->log);
    free(ours);
}

/* All pages were written once: every part of the log is there, as after a while of use. */
static int ours_new(unsigned dirty, struct dirty_ours **made)
{
    struct dirty_ours *ours = calloc(1, sizeof(*ours));
    int ret = ours ? dirty_log_init(&ours->log) : -ENOMEM;

    if (ret) {
        free(ours);
        return ret;
    }
    *made = ours;
    ours->dirty = dirty;
    ret = dirty_log_start(&ours->log, PAGE_SIZE_4K, NULL, 0);
    for (uint64_t page = 0; page < PAGES; page += 64)
        mark_page(ours, page);
    if (!ret)
        ret = dirty_log_report(&ours->log, 0, PAGES * PAGE_SIZE_4K, PAGE_SIZE_4K, ours->bitmap);
    return ret;
}

static int dirty_start(struct row_run *run, unsigned dirty,
                       int (*ours_measure)(void *state, double *samples, size_t n),
                       int (*floor_measure)(void *state, double *samples, size_t n))
{
    struct dirty_floor *floor = calloc(1, sizeof(*floor));
    struct dirty_ours *ours = NULL;
    int ret;

    if (!floor)
        return -ENOMEM;
    memset(floor->bitmap, 1, sizeof(floor->bitmap));
    run->floor = (struct subject){floor_measure, free, floor};
    ret = ours_new(dirty, &ours);
    if (ours)
        run->ours = (struct subject){ours_measure, ours_stop, ours};
    return ret;
}

static int clean_start(struct row_run *run)
{
    return dirty_start(run, 0, report_measure, copy_measure);
}

static int percent_start(struct row_run *run)
{
    return dirty_start(run, PERCENT, report_measure, exchange_measure);
}

static int mark_start(struct row_run *run)
{
    return dirty_start(run, 0, mark_measure, or_measure);
}

const struct row dirty_clean_row = {
    .name = "dirty.report.16g.clean",
    .what = "a report of 16 GiB in which no page was written / memcpy of a flat bitmap",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 200,
    .start = clean_start,
};

const struct row dirty_percent_row = {
    .name = "dirty.report.16g.1pct",
    .what = "the same with every hundredth page written, all over / exchanges in a flat bitmap",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 50,
    .start = percent_start,
};

const struct row dirty_mark_row = {
    .name = "dirty.mark",
    .what = "a page marked as written, somewhere in 16 GiB / an atomic or into a flat bitmap",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 200,
    .start = mark_start,
};
