/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/dirty_log.h"

#include "base/cleanup.h"
#include "iommu/dirty_tree.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

/* All ranges are in bytes, sorted, and apart from each other by a page at least. */
struct dirty_run {
    struct dirty_tree *tree;
    size_t nranges;
    struct range ranges[];
};

int dirty_log_init(struct dirty_log *log)
{
    memset(log, 0, sizeof(*log));
    log->max_bytes = DIRTY_LOG_MAX_BYTES;
    return -pthread_mutex_init(&log->lock, NULL);
}

void dirty_log_fini(struct dirty_log *log)
{
    dirty_log_stop(log);
    pthread_mutex_destroy(&log->lock);
}

void dirty_log_on_report(struct dirty_log *log, void (*held)(void *opaque, struct range range),
                         void *opaque)
{
    log->held = held;
    log->held_opaque = opaque;
}

/* ------------------------------------------------------------------ start and stop */

static void run_free(struct dirty_run *run)
{
    if (run)
        dirty_tree_free(run->tree);
    free(run);
}

/* The client's ranges, checked, sorted, and with neighbours made one. */
static int run_set_ranges(struct dirty_run *run, uint64_t page_size,
                          const struct dirty_log_range *ranges, size_t nranges)
{
    uint64_t align = MAX(page_size, DIRTY_LOG_PAGE_SIZE);
    size_t n = 0;

    for (size_t i = 0; i < nranges; i++) {
        if (!is_aligned(ranges[i].iova | ranges[i].length, align) ||
            range_make(ranges[i].iova, ranges[i].length, &run->ranges[i]))
            return -EINVAL;
    }
    qsort(run->ranges, nranges, sizeof(*run->ranges), range_compare);
    for (size_t i = 1; i < nranges; i++) {
        if (run->ranges[i].first <= run->ranges[i - 1].last)
            return -EINVAL;
    }
    for (size_t i = 1; i < nranges; i++) {
        if (run->ranges[i].first == run->ranges[n].last + 1)
            run->ranges[n].last = run->ranges[i].last;
        else
            run->ranges[++n] = run->ranges[i];
    }
    run->nranges = n + 1;
    return 0;
}

static int run_new(size_t max_bytes, uint64_t page_size, const struct dirty_log_range *ranges,
                   size_t nranges, struct dirty_run **made)
{
    struct dirty_run *run = calloc(1, sizeof(*run) + MAX(nranges, 1) * sizeof(run->ranges[0]));
    int ret = 0;

    if (!run)
        return -ENOMEM;
    if (nranges > 0) {
        ret = run_set_ranges(run, page_size, ranges, nranges);
    } else {
        run->ranges[0] = (struct range){0, UINT64_MAX};
        run->nranges = 1;
    }
    if (!ret) {
        run->tree = dirty_tree_new(max_bytes);
        ret = run->tree ? 0 : -ENOMEM;
    }
    if (ret) {
        run_free(run);
        return ret;
    }
    *made = run;
    return 0;
}

/*
 * A thread that has written and found the log off may have looked before its bytes left the
 * processor. This makes all threads pass a barrier: then they are in memory for the client to see,
 * which has not been told yet that the log is on. A kernel that has no such call has none of the
 * threads' writes wait for longer than a system call takes, either.
 */
static void wait_for_writes(void)
{
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static void log_mark_held(struct dirty_log *log, struct range range)
{
    if (log->held)
        log->held(log->held_opaque, range);
}

int dirty_log_start(struct dirty_log *log, uint64_t page_size, const struct dirty_log_range *ranges,
                    size_t nranges)
{
    LOCK_FOR_SCOPE(&log->lock);
    struct dirty_run *run;
    int ret;

    if (log->run || !is_power_of_two(page_size))
        return -EINVAL;
    if (nranges > DIRTY_LOG_MAX_RANGES)
        return -E2BIG;
    ret = run_new(log->max_bytes, page_size, ranges, nranges, &run);
    if (ret)
        return ret;
    atomic_store(&log->run, run);
    wait_for_writes();
    for (size_t i = 0; i < run->nranges; i++)
        log_mark_held(log, run->ranges[i]);
    return 0;
}

void dirty_log_stop(struct dirty_log *log)
{
    LOCK_FOR_SCOPE(&log->lock);
    struct dirty_run *run = atomic_exchange(&log->run, NULL);

    if (!run)
        return;
    /* Who enters from now on finds no run. */
    for (unsigned i = 0; i < DIRTY_LOG_SEATS; i++) {
        while (atomic_load(&log->seats[i].taken))
            sched_yield();
    }
    while (atomic_load(&log->standing))
        sched_yield();
    run_free(run);
}

/* ------------------------------------------------------------------ marks */

/* The first range that does not lie below `first`; nranges: there is none. */
static size_t run_find(const struct dirty_run *run, uint64_t first)
{
    size_t from = 0, to = run->nranges;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (run->ranges[middle].last < first)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static void run_mark(struct dirty_run *run, struct range range)
{
    for (size_t i = run_find(run, range.first); i < run->nranges; i++) {
        struct range pages = {MAX(range.first, run->ranges[i].first) >> DIRTY_PAGE_SHIFT,
                              MIN(range.last, run->ranges[i].last) >> DIRTY_PAGE_SHIFT};

        if (run->ranges[i].first > range.last)
            return;
        dirty_tree_mark(run->tree, pages);
    }
}

void dirty_log_mark_on(struct dirty_log *log, struct range range)
{
    /* Stacks lie far apart: these bits differ between threads. */
    unsigned seat = (unsigned)((uintptr_t)pthread_self() >> 12) % DIRTY_LOG_SEATS;
    bool stands = atomic_exchange(&log->seats[seat].taken, true);
    struct dirty_run *run;

    if (stands)
        atomic_fetch_add(&log->standing, 1);
    run = atomic_load(&log->run);
    if (run)
        run_mark(run, range);
    /* A seat is left by a store, which is cheap: only who has it leaves it. */
    if (stands)
        atomic_fetch_sub_explicit(&log->standing, 1, memory_order_release);
    else
        atomic_store_explicit(&log->seats[seat].taken, false, memory_order_release);
}

/* ------------------------------------------------------------------ reports */

/* With the lock. */
static int log_check(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
                     struct range *range)
{
    const struct dirty_run *run = atomic_load_explicit(&log->run, memory_order_relaxed);
    size_t i;

    if (!run || !is_power_of_two(page_size) || page_size < DIRTY_LOG_PAGE_SIZE ||
        page_size > DIRTY_LOG_MAX_PAGE_SIZE || !is_aligned(iova | length, DIRTY_LOG_PAGE_SIZE) ||
        range_make(iova, length, range))
        return -EINVAL;
    i = run_find(run, range->first);
    return i < run->nranges && range_contains(run->ranges[i], *range) ? 0 : -EINVAL;
}

static uint64_t bitmap_bytes_for(struct range range, uint64_t page_size)
{
    return (range_size_minus_1(range) / page_size / 64 + 1) * sizeof(uint64_t);
}

int dirty_log_check(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
                    uint64_t *bitmap_bytes)
{
    LOCK_FOR_SCOPE(&log->lock);
    struct range range;
    int ret = log_check(log, iova, length, page_size, &range);

    if (!ret)
        *bitmap_bytes = bitmap_bytes_for(range, page_size);
    return ret;
}

int dirty_log_report(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
                     uint64_t *bitmap)
{
    LOCK_FOR_SCOPE(&log->lock);
    struct dirty_bits bits = {.words = bitmap, .first = iova >> DIRTY_PAGE_SHIFT};
    struct range range, pages;
    int ret = log_check(log, iova, length, page_size, &range);

    if (ret)
        return ret;
    bits.shift = (unsigned)__builtin_ctzll(page_size) - DIRTY_PAGE_SHIFT;
    pages = (struct range){range.first >> DIRTY_PAGE_SHIFT, range.last >> DIRTY_PAGE_SHIFT};
    memset(bitmap, 0, bitmap_bytes_for(range, page_size));
    dirty_tree_take(atomic_load_explicit(&log->run, memory_order_relaxed)->tree, pages, &bits);
    log_mark_held(log, range);
    return 0;
}
