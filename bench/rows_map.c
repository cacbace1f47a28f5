/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapping without messages: a large file once, and as many small mappings as there can be. */
#include "bench.h"

#include "iommu/iommu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (UINT64_C(16) << 30)

struct map_state {
    struct iommu *iommu; /* NULL: the floor */
    int memfd;
};

static void stop(void *opaque)
{
    struct map_state *state = opaque;

    iommu_free(state->iommu);
    if (state->memfd >= 0)
        close(state->memfd);
    free(state);
}

static struct map_state *map_state_new(uint64_t size, bool ours)
{
    struct map_state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->memfd = memfd_create("bench", MFD_CLOEXEC);
    if (state->memfd < 0 || ftruncate(state->memfd, (off_t)size) ||
        (ours && iommu_new(NULL, NULL, &state->iommu))) {
        stop(state);
        return NULL;
    }
    return state;
}

static int start(struct row_run *run, uint64_t size,
                 int (*ours_measure)(void *opaque, double *samples, size_t n),
                 int (*floor_measure)(void *opaque, double *samples, size_t n))
{
    struct map_state *ours = map_state_new(size, true);
    struct map_state *floor = map_state_new(size, false);

    if (ours)
        run->ours = (struct subject){ours_measure, stop, ours};
    if (floor)
        run->floor = (struct subject){floor_measure, stop, floor};
    return ours && floor ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------ one of 16 GiB */

static int large_measure(void *opaque, double *samples, size_t n)
{
    struct map_state *state = opaque;

    for (size_t i = 0; i < n; i++) {
        uint64_t begin = bench_now_ns();
        uint64_t unmapped;
        int ret = iommu_map(state->iommu, umdev_iova(0), LARGE, state->memfd, 0, UMDEV_RW);

        if (!ret)
            ret = iommu_unmap(state->iommu, umdev_iova(0), LARGE, 0, &unmapped);
        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - begin);
    }
    return 0;
}

static int large_floor(void *opaque, double *samples, size_t n)
{
    const struct map_state *state = opaque;

    for (size_t i = 0; i < n; i++) {
        uint64_t begin = bench_now_ns();
        void *address = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, state->memfd, 0);

        if (address == MAP_FAILED)
            return -errno;
        munmap(address, LARGE);
        samples[i] = (double)(bench_now_ns() - begin);
    }
    return 0;
}

static int large_start(struct row_run *run)
{
    return start(run, LARGE, large_measure, large_floor);
}

const struct row dma_map_unmap_16g_row = {
    .name = "dma.map-unmap.16g",
    .what = "map and unmap of 16 GiB in the server / mmap + munmap",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 500,
    .start = large_start,
};

/* ------------------------------------------------------------------ 65,535 of 4 KiB */

static int many_measure(void *opaque, double *samples, size_t n)
{
    struct map_state *state = opaque;

    for (size_t k = 0; k < n; k++) {
        uint64_t begin = bench_now_ns();
        int ret = 0;

        for (uint64_t i = 0; !ret && i < IOMMU_MAX_MAPPINGS; i++)
            ret = iommu_map(state->iommu, umdev_iova(i * PAGE_SIZE_4K), PAGE_SIZE_4K, state->memfd,
                            i * PAGE_SIZE_4K, UMDEV_RW);
        samples[k] = (double)(bench_now_ns() - begin) / IOMMU_MAX_MAPPINGS;
        if (!ret)
            ret = iommu_unmap_all(state->iommu, 0);
        if (ret)
            return ret;
    }
    return 0;
}

/* The same number one after the other: as many at once are more than the system allows. */
static int many_floor(void *opaque, double *samples, size_t n)
{
    const struct map_state *state = opaque;

    for (size_t k = 0; k < n; k++) {
        uint64_t begin = bench_now_ns();

        for (uint64_t i = 0; i < IOMMU_MAX_MAPPINGS; i++) {
            void *address = mmap(NULL, PAGE_SIZE_4K, PROT_READ | PROT_WRITE, MAP_SHARED,
                                 state->memfd, (off_t)(i * PAGE_SIZE_4K));

            if (address == MAP_FAILED)
                return -errno;
            munmap(address, PAGE_SIZE_4K);
        }
        samples[k] = (double)(bench_now_ns() - begin) / IOMMU_MAX_MAPPINGS;
    }
    return 0;
}

static int many_start(struct row_run *run)
{
    return start(run, IOMMU_MAX_MAPPINGS * PAGE_SIZE_4K, many_measure, many_floor);
}

const struct row dma_map_65535_row = {
    .name = "dma.map.65535",
    .what = "a map in the server, of 65,535 pages of a file / mmap + munmap of a page",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 1,
    .start = many_start,
};
