/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA logging: which pages of client memory the device has written.
 *
 * Data model. A log is off, or has a *run*: the ranges to be logged, and the set of pages of them
 * that were written since they were last reported (dirty_tree.h). A run begins with start and ends
 * with stop; what is not reported by then is forgotten. The log knows addresses only: neither what
 * is mapped, nor who writes.
 *
 * A writer writes first and marks then. A report reads and clears: a mark that comes during it is
 * in this one or in the next.
 *
 * Some memory can be written without further notice, for as long as somebody has it (pins). Whoever
 * keeps count of it is asked at start, and again after each report, and marks what of the range is
 * still held: so it is dirty in each report, until the one after it was given back and marked for
 * the last time.
 *
 * Locks. Marks take none: each takes one of a few seats, or where that is taken stands, and stop
 * waits until nobody sits or stands before it frees the run. Start, stop and report exclude each
 * other by `lock`; under it `held` is called.
 */
#ifndef IOMMU_DIRTY_LOG_H
#define IOMMU_DIRTY_LOG_H

#include "base/range.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

/* The granularity of a log. */
#define DIRTY_LOG_PAGE_SIZE PAGE_SIZE_4K
/* And the coarsest of a report. */
#define DIRTY_LOG_MAX_PAGE_SIZE (UINT64_C(1) << 30)
/* The kernel's LOG_MAX_RANGES. */
#define DIRTY_LOG_MAX_RANGES 256u
/*
 * What a run may take: a bit for each page of nearly all the files that a client can map. Beyond,
 * pages next to those that were written are reported, too.
 */
#define DIRTY_LOG_MAX_BYTES ((size_t)256 << 20)

struct dirty_run;

#define DIRTY_LOG_SEATS 8u

struct dirty_log {
    _Atomic(struct dirty_run *) run; /* NULL: off */
    /* Marks under way. A seat is the thread's to try; apart, so that threads do not meet. */
    atomic_uint standing;
    struct {
        atomic_bool taken;
        char pad[63];
    } seats[DIRTY_LOG_SEATS];
    pthread_mutex_t lock;
    size_t max_bytes; /* DIRTY_LOG_MAX_BYTES, but for tests */
    void (*held)(void *opaque, struct range range);
    void *held_opaque;
};

/* A range as a client says it. */
struct dirty_log_range {
    uint64_t iova, length;
};

/* Off. −errno as pthread_mutex_init(). */
int dirty_log_init(struct dirty_log *log);
/* Ends a run. Nobody marks any more. */
void dirty_log_fini(struct dirty_log *log);
/*
 * Call `held` at each start and after each report: it marks what of `range` may be written without
 * being marked afterwards. In the thread of start or report; not to call them itself. Set once,
 * before the first start.
 */
void dirty_log_on_report(struct dirty_log *log, void (*held)(void *opaque, struct range range),
                         void *opaque);

/*
 * Begin to log writes to the ranges; none: to everything. `page_size` is a hint that is checked,
 * but all logs are of DIRTY_LOG_PAGE_SIZE. EINVAL: the log is on; a page size that is no power of
 * two; a range that is empty, wraps, overlaps another or is not a multiple of the page size (and of
 * ours). E2BIG: more than DIRTY_LOG_MAX_RANGES. ENOMEM.
 */
int dirty_log_start(struct dirty_log *log, uint64_t page_size, const struct dirty_log_range *ranges,
                    size_t nranges);
/* Forget everything. Nothing happens if the log is off. */
void dirty_log_stop(struct dirty_log *log);

/*
 * Whether [iova, iova + length) can be reported at `page_size`, and how many bytes the bitmap
 * takes: an array of 64-bit words in which bit n is the n-th page from `iova` on. EINVAL: the log
 * is off; the page size is no power of two from 4096 to DIRTY_LOG_MAX_PAGE_SIZE; the range is
 * empty, wraps, is not a multiple of 4096, or is not wholly logged.
 */
int dirty_log_check(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
                    uint64_t *bitmap_bytes);
/* As dirty_log_check(); then fill in such a bitmap, all of it, and forget what is in it. */
int dirty_log_report(struct dirty_log *log, uint64_t iova, uint64_t length, uint64_t page_size,
                     uint64_t *bitmap);

/* The rest of dirty_log_mark(). */
void dirty_log_mark_on(struct dirty_log *log, struct range range);

/* The device has written somewhere in `range`. Any thread, in any lock; takes none. */
static inline void dirty_log_mark(struct dirty_log *log, struct range range)
{
    /* What was written stays before the look: start has the processor see to the rest. */
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&log->run, memory_order_relaxed))
        dirty_log_mark_on(log, range);
}

#endif
