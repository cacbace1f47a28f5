/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write tracking, by itself, against the ioctls that it can't do without. Client and daemon are
 * this process: what counts is what the kernel does to the address space, and that is the same.
 *
 * Pages are made "written" by taking their protection away, which leaves them as a write does but
 * takes a fraction of the time; where few are, they are written.
 */
#include "bench.h"

#include "base/uffd.h"
#include "iommu/iommu.h"
#include "track/track.h"
#include "track/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MANY = 262144,
    WRITES = 512, /* a sample */
    REGIONS = 512,
};

struct tracking {
    size_t pages, written; /* before each collect */
    bool by_unprotecting;
    int uffd, pagemap;
    uint8_t *memory;
    struct track_hub *hub;
    struct track *track;
    struct iommu *iommu;
    struct track_written regions[REGIONS];
};

static struct range bytes_of(const struct tracking *t)
{
    uint64_t first = (uintptr_t)t->memory;

    return (struct range){first, first + t->pages * PAGE_SIZE_4K - 1};
}

static struct range iovas_of(const struct tracking *t)
{
    return (struct range){0, t->pages * PAGE_SIZE_4K - 1};
}

/* ------------------------------------------------------------------ the client and the device */

static void tracking_free(void *state)
{
    struct tracking *t = state;

    if (t->track) {
        iommu_track_end(t->iommu);
        track_end(t->track);
    }
    iommu_free(t->iommu);
    track_free(t->track);
    track_hub_free(t->hub);
    if (t->memory)
        munmap(t->memory, t->pages * PAGE_SIZE_4K);
    if (t->uffd >= 0)
        close(t->uffd);
    if (t->pagemap >= 0)
        close(t->pagemap);
    free(t);
}

static int open_fds(struct tracking *t, bool sync)
{
    int ret = uffd_open_tracking(sync, &t->uffd);

    if (ret)
        return ret;
    t->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (t->pagemap < 0)
        return -errno;
    return uffd_register_wp(t->uffd, t->memory, t->pages * PAGE_SIZE_4K);
}

static int make_memory(struct tracking *t, int fd)
{
    size_t size = t->pages * PAGE_SIZE_4K;

    if (fd < 0 || ftruncate(fd, (off_t)size))
        return -errno;
    t->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (t->memory == MAP_FAILED) {
        t->memory = NULL;
        return -errno;
    }
    for (size_t at = 0; at < size; at += PAGE_SIZE_4K)
        t->memory[at] = 1;
    return 0;
}

static int read_page(void *opaque, uint64_t iova, void *page)
{
    const struct tracking *t = opaque;

    return iommu_peek_page(t->iommu, iova, page);
}

static void ignore_written(void *opaque, struct range range)
{
    (void)opaque;
    (void)range;
}

static int make_device(struct tracking *t, int fd, bool sync)
{
    const struct track_ops ops = {.read = read_page, .written = ignore_written};
    int ret = track_hub_new(&t->hub);

    if (!ret)
        ret = iommu_new(NULL, NULL, &t->iommu);
    if (!ret)
        ret = track_new(t->hub, &ops, t, &t->track);
    if (ret)
        return ret;
    iommu_set_track(t->iommu, t->hub, t->track);
    if (sync)
        ret = track_set_mode(t->track, UMDEV_TRACK_NOTIFY);
    if (!ret)
        ret = track_give(t->track, dup(t->uffd), dup(t->pagemap), sync);
    if (!ret)
        ret = iommu_map_at(t->iommu, umdev_iova(0), t->pages * PAGE_SIZE_4K, fd, 0, UMDEV_RW,
                           (uintptr_t)t->memory);
    return ret ? ret : iommu_track_begin(t->iommu);
}

/* A subject whose state it is. */
static int tracking_start(struct subject *subject,
                          int (*measure)(void *state, double *samples, size_t n), size_t pages,
                          bool sync)
{
    struct tracking *t = calloc(1, sizeof(*t));
    int fd, ret;

    if (!t)
        return -ENOMEM;
    t->pages = pages;
    t->uffd = t->pagemap = -1;
    *subject = (struct subject){measure, tracking_free, t};
    fd = memfd_create("bench", MFD_CLOEXEC);
    ret = make_memory(t, fd);
    if (!ret)
        ret = open_fds(t, sync);
    if (!ret)
        ret = make_device(t, fd, sync);
    if (fd >= 0)
        close(fd);
    return ret;
}

static int add_all(const struct tracking *t)
{
    return track_add(t->track, iovas_of(t));
}

/* ------------------------------------------------------------------ arming */

static int arm_ours(void *state, double *samples, size_t n)
{
    struct tracking *t = state;
    int ret = 0;

    for (size_t i = 0; i < n && !ret; i++) {
        uint64_t start;

        ret = track_uffd_protect(t->uffd, bytes_of(t), false);
        start = bench_now_ns();
        if (!ret)
            ret = add_all(t);
        samples[i] = (double)(bench_now_ns() - start);
        if (!ret)
            ret = track_remove(t->track, iovas_of(t));
    }
    return ret;
}

static int arm_floor(void *state, double *samples, size_t n)
{
    const struct tracking *t = state;
    int ret = 0;

    for (size_t i = 0; i < n && !ret; i++) {
        uint64_t start;

        ret = track_uffd_protect(t->uffd, bytes_of(t), false);
        start = bench_now_ns();
        if (!ret)
            ret = track_uffd_protect(t->uffd, bytes_of(t), true);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return ret;
}

/* ------------------------------------------------------------------ collecting */

static int make_written(const struct tracking *t)
{
    if (t->written == t->pages)
        return track_uffd_protect(t->uffd, bytes_of(t), false);
    for (size_t i = 0; i < t->written; i++)
        ((volatile uint8_t *)t->memory)[i * (t->pages / t->written) * PAGE_SIZE_4K]++;
    return 0;
}

/* The pages of the ranges, which are the written ones. */
static int collect_ours(void *state, double *samples, size_t n)
{
    struct tracking *t = state;
    const struct umdev_track_range *ranges;
    size_t count;

    for (size_t i = 0; i < n; i++) {
        size_t pages = 0;
        int ret = make_written(t);
        uint64_t start = bench_now_ns();

        if (!ret)
            ret = track_collect(t->track, &ranges, &count);
        samples[i] = (double)(bench_now_ns() - start);
        for (size_t k = 0; !ret && k < count; k++)
            pages += ranges[k].size / PAGE_SIZE_4K;
        if (ret || pages != t->written)
            return ret ? ret : -EIO;
    }
    return 0;
}

static int collect_floor(void *state, double *samples, size_t n)
{
    struct tracking *t = state;
    struct range range = bytes_of(t);

    for (size_t i = 0; i < n; i++) {
        int ret = make_written(t);
        uint64_t end = range.first, start = bench_now_ns();

        while (!ret && end <= range.last) {
            ret = track_pagemap_take(t->pagemap, (struct range){end, range.last}, t->regions,
                                     REGIONS, &end);
            if (ret > 0)
                ret = 0;
        }
        samples[i] = (double)(bench_now_ns() - start);
        if (ret)
            return ret;
    }
    return 0;
}

static int pair_start(struct row_run *run, size_t pages, size_t written, bool collect)
{
    struct tracking *ours, *floor;
    int ret = tracking_start(&run->ours, collect ? collect_ours : arm_ours, pages, false);

    if (!ret)
        ret = tracking_start(&run->floor, collect ? collect_floor : arm_floor, pages, false);
    if (ret || !collect)
        return ret;
    ours = run->ours.state;
    floor = run->floor.state;
    ours->written = floor->written = written;
    ret = track_uffd_protect(floor->uffd, bytes_of(floor), true);
    return ret ? ret : add_all(ours);
}

#define PAIR_ROW(symbol, row_name, row_what, row_samples, row_pages, row_written, collect)         \
    static int symbol##_start(struct row_run *run)                                                 \
    {                                                                                              \
        return pair_start(run, row_pages, row_written, collect);                                   \
    }                                                                                              \
    const struct row symbol##_row = {                                                              \
        .name = (row_name),                                                                        \
        .what = (row_what),                                                                        \
        .unit = "ns",                                                                              \
        .kind = ROW_NS,                                                                            \
        .samples = (row_samples),                                                                  \
        .start = symbol##_start,                                                                   \
    }

PAIR_ROW(track_arm_1, "track.arm.1", "a page added / UFFDIO_WRITEPROTECT", 500, 1, 0, false);
PAIR_ROW(track_arm_512, "track.arm.512", "512 pages in a row added / the same", 200, 512, 0, false);
PAIR_ROW(track_arm_262144, "track.arm.262144", "1 GiB added / the same", 2, MANY, 0, false);
PAIR_ROW(track_clean_1, "track.collect.1.clean",
         "a collect of a page that was not written / PAGEMAP_SCAN", 500, 1, 0, true);
PAIR_ROW(track_all_1, "track.collect.1.all", "of a page that was written / the same", 500, 1, 1,
         true);
PAIR_ROW(track_clean_512, "track.collect.512.clean", "of 512, of which none was written / the same",
         300, 512, 0, true);
PAIR_ROW(track_percent_512, "track.collect.512.1pct", "of which 5 were written / the same", 300,
         512, 5, true);
PAIR_ROW(track_all_512, "track.collect.512.all", "of which all were written / the same", 200, 512,
         512, true);
PAIR_ROW(track_clean_262144, "track.collect.262144.clean", "of 1 GiB, not written / the same", 10,
         MANY, 0, true);
PAIR_ROW(track_percent_262144, "track.collect.262144.1pct",
         "with every hundredth page written / the same", 5, MANY, MANY / 100, true);
PAIR_ROW(track_all_262144, "track.collect.262144.all", "of which all was written / the same", 2,
         MANY, MANY, true);

/* ------------------------------------------------------------------ writing */

static void write_pages(const struct tracking *t, double *sample)
{
    uint64_t start = bench_now_ns();

    for (size_t i = 0; i < WRITES; i++)
        ((volatile uint8_t *)t->memory)[i * PAGE_SIZE_4K]++;
    *sample = (double)(bench_now_ns() - start) / WRITES;
}

static int write_tracked(void *state, double *samples, size_t n)
{
    struct tracking *t = state;
    const struct umdev_track_range *ranges;
    size_t count;
    int ret = 0;

    for (size_t i = 0; i < n && !ret; i++) {
        ret = track_collect(t->track, &ranges, &count);
        write_pages(t, &samples[i]);
    }
    return ret;
}

static int write_untracked(void *state, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++)
        write_pages(state, &samples[i]);
    return 0;
}

static int write_start(struct row_run *run, bool sync)
{
    int ret = tracking_start(&run->ours, write_tracked, WRITES, sync);

    if (!ret)
        ret = tracking_start(&run->floor, write_untracked, WRITES, sync);
    return ret ? ret : add_all(run->ours.state);
}

static int write_collect_start(struct row_run *run)
{
    return write_start(run, false);
}

static int write_notify_start(struct row_run *run)
{
    return write_start(run, true);
}

const struct row track_write_collect_row = {
    .name = "track.write.collect",
    .what = "a write to a tracked page, the first since a report / to an untracked one",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 50,
    .start = write_collect_start,
};

const struct row track_write_notify_row = {
    .name = "track.write.notify",
    .what = "the same, and a callback before it, by a thread on the same CPU",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 20,
    .start = write_notify_start,
};

static int device_write(void *state, double *samples, size_t n)
{
    const struct tracking *t = state;
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < WRITES; k++, value++) {
            int ret = iommu_write(t->iommu, umdev_iova(k * PAGE_SIZE_4K), &value, sizeof(value));

            if (ret)
                return ret;
        }
        samples[i] = (double)(bench_now_ns() - start) / WRITES;
    }
    return 0;
}

static int device_start(struct row_run *run)
{
    const struct tracking *floor;
    int ret = tracking_start(&run->ours, device_write, WRITES, false);

    if (!ret)
        ret = tracking_start(&run->floor, device_write, WRITES, false);
    if (ret)
        return ret;
    /* Nobody listens to the other one. */
    floor = run->floor.state;
    iommu_track_end(floor->iommu);
    track_end(floor->track);
    return add_all(run->ours.state);
}

const struct row track_device_write_row = {
    .name = "track.write.device",
    .what = "a copy of 8 bytes by a device to a tracked page / where nobody tracks",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 200,
    .start = device_start,
};

/* ------------------------------------------------------------------ memory */

static int measure_bytes(void *state, double *samples, size_t n)
{
    const struct tracking *t = state;
    struct track_stats stats;

    track_get_stats(t->track, &stats);
    for (size_t i = 0; i < n; i++)
        samples[i] = (double)stats.bytes / (double)stats.pages;
    return 0;
}

static int bytes_start(struct row_run *run, size_t step)
{
    const struct tracking *t;
    int ret = tracking_start(&run->ours, measure_bytes, 65536, false);

    if (ret)
        return ret;
    t = run->ours.state;
    for (size_t page = 0; !ret && page < t->pages; page += step)
        ret = track_add(
            t->track, (struct range){page * PAGE_SIZE_4K, page * PAGE_SIZE_4K + PAGE_SIZE_4K - 1});
    return ret;
}

static int bytes_dense_start(struct row_run *run)
{
    return bytes_start(run, 1);
}

static int bytes_sparse_start(struct row_run *run)
{
    return bytes_start(run, 64);
}

const struct row track_bytes_dense_row = {
    .name = "track.bytes.dense",
    .what = "memory for a tracked page, of 65,536 in a row",
    .unit = "bytes",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = bytes_dense_start,
};

const struct row track_bytes_sparse_row = {
    .name = "track.bytes.sparse",
    .what = "of 1,024, one in 64",
    .unit = "bytes",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = bytes_sparse_start,
};
