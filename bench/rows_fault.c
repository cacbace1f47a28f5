/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault-mapped regions: pages that come at first touch, stay, and are taken back.
 */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <umdev/client.h>

/* A sample: the first touch of a range that comes with one answer, and of the rest of it. */
static int ours_measure_touch(void *state, double *samples, size_t n)
{
    struct fault_client *ours = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        int ret = ours->next + ours->extent > FAULT_REGION_PAGES ? fault_client_empty(ours) : 0;

        if (ret)
            return ret;
        start = bench_now_ns();
        fault_touch(ours->view + ours->next * BENCH_PAGE, ours->extent, 1);
        samples[i] = (double)(bench_now_ns() - start);
        ours->next += ours->extent;
    }
    return 0;
}

static int raw_measure_touch(void *state, double *samples, size_t n)
{
    struct fault_raw *raw = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        int ret = raw->next + raw->extent > FAULT_REGION_PAGES ? fault_raw_empty(raw) : 0;

        if (ret)
            return ret;
        start = bench_now_ns();
        fault_touch(raw->pages + raw->next * BENCH_PAGE, raw->extent, 1);
        samples[i] = (double)(bench_now_ns() - start);
        raw->next += raw->extent;
    }
    return 0;
}

/* ------------------------------------------------------------------ first touches */

static int touch_start(struct row_run *run, size_t extent)
{
    int ret = fault_client_start(run, FAULT_BAR_PAGES, extent, ours_measure_touch);

    return ret ? ret : fault_raw_start(run, extent, raw_measure_touch);
}

static int first_touch_start(struct row_run *run)
{
    return touch_start(run, 1);
}

static int first_touch_16_start(struct row_run *run)
{
    return touch_start(run, 16);
}

static int first_touch_512_start(struct row_run *run)
{
    return touch_start(run, 512);
}

const struct row fault_first_touch_row = {
    .name = "fault.first-touch",
    .what = "first touch of a page of a fault-mapped region, to the page in use",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = first_touch_start,
};

const struct row fault_first_touch_16_row = {
    .name = "fault.first-touch.16",
    .what = "16 pages that come with one answer, all touched",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 500,
    .start = first_touch_16_start,
};

const struct row fault_first_touch_512_row = {
    .name = "fault.first-touch.512",
    .what = "512 pages that come with one answer, all touched",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 100,
    .start = first_touch_512_start,
};

/* ------------------------------------------------------------------ a plain fault */

static int minor_measure(void *state, double *samples, size_t n)
{
    const struct fault_raw *raw = state;
    uint8_t *pages = mmap(NULL, n * BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, raw->fd, 0);

    if (pages == MAP_FAILED)
        return -errno;
    /* Page by page: the kernel maps neighbours that are read along. */
    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        *(volatile uint8_t *)(pages + i * BENCH_PAGE) = 1;
        samples[i] = (double)(bench_now_ns() - start);
    }
    munmap(pages, n * BENCH_PAGE);
    return 0;
}

static int minor_start(struct row_run *run)
{
    int ret = fault_raw_start(run, 1, raw_measure_touch);

    /* For comparison: beside it stands what userfaultfd costs by hand. */
    if (!ret)
        run->ours = (struct subject){minor_measure, NULL, run->floor.state};
    return ret;
}

const struct row fault_minor_row = {
    .name = "fault.minor",
    .what = "first touch of a page of a file that is mapped plainly",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 1000,
    .start = minor_start,
};

/* ------------------------------------------------------------------ thirty thousand */

/* Both sides' mappings at once would be more than the kernel allows. */
static int ours_measure_scattered(void *state, double *samples, size_t n)
{
    struct fault_client *ours = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        fault_touch(ours->view, FAULT_SCATTERED, 2);
        samples[i] = (double)(bench_now_ns() - start) / FAULT_SCATTERED;
        ret = fault_client_empty(ours);
    }
    return ret;
}

static int raw_measure_scattered(void *state, double *samples, size_t n)
{
    struct fault_raw *raw = state;
    int ret = fault_raw_empty(raw);

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        fault_touch(raw->pages, FAULT_SCATTERED, 2);
        samples[i] = (double)(bench_now_ns() - start) / FAULT_SCATTERED;
        ret = fault_raw_empty(raw);
    }
    return ret;
}

static int scattered_start(struct row_run *run)
{
    int ret = fault_client_start(run, FAULT_BAR_PAGES, 1, ours_measure_scattered);

    return ret ? ret : fault_raw_start(run, 1, raw_measure_scattered);
}

const struct row fault_scattered_row = {
    .name = "fault.scattered.30000",
    .what = "first touch of a page, over 30,000 that lie apart",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 1,
    .start = scattered_start,
};

/* ------------------------------------------------------------------ use */

/* Eight bytes from each of the object's pages, a thousand times: nanoseconds an access. */
static double access_pages(const uint8_t *pages)
{
    uint64_t start = bench_now_ns();

    for (size_t round = 0; round < 100; round++)
        for (size_t i = 0; i < FAULT_OBJECT_PAGES; i++)
            (void)*(const volatile uint64_t *)(pages + i * BENCH_PAGE + i % 64 * 64);
    return (double)(bench_now_ns() - start) / (100 * FAULT_OBJECT_PAGES);
}

static int ours_measure_access(void *state, double *samples, size_t n)
{
    const struct fault_client *ours = state;

    for (size_t i = 0; i < n; i++)
        samples[i] = access_pages(ours->view);
    return 0;
}

static int plain_measure_access(void *state, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++)
        samples[i] = access_pages(state);
    return 0;
}

static void plain_stop(void *state)
{
    munmap(state, FAULT_OBJECT_PAGES * BENCH_PAGE);
}

static int access_start(struct row_run *run)
{
    int fd = memfd_create("plain", MFD_CLOEXEC), ret = -EIO;
    void *pages = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)) == 0)
        pages = mmap(NULL, FAULT_OBJECT_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (pages != MAP_FAILED) {
        run->floor = (struct subject){plain_measure_access, plain_stop, pages};
        ret = fault_client_start(run, FAULT_BAR_PAGES, 1, ours_measure_access);
    }
    return ret;
}

const struct row fault_mapped_access_row = {
    .name = "fault.mapped-access",
    .what = "a read of a page that is mapped",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 5,
    .start = access_start,
};
