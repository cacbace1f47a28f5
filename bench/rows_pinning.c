/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning as a driver does it: looked up by IOVA, checked, counted, with bus addresses. The floor
 * is what no pinning can do without: a lock taken twice, a byte for each page up and down, and the
 * addresses written out.
 */
#include "bench.h"

#include "iommu/iommu.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGES = 1 << 18, /* 1 GiB */
    BATCH = 1024,    /* pages a sample */
};

struct pinning {
    struct iommu *iommu;
    struct iommu_domain *domain;
    pthread_mutex_t lock;
    uint8_t *array;
    uint64_t random;
};

static int ignore_map(void *opaque, uint64_t bus, void *memory, uint64_t size, unsigned prot)
{
    (void)opaque, (void)bus, (void)memory, (void)size, (void)prot;
    return 0;
}

static void ignore_unmap(void *opaque, uint64_t bus, uint64_t size)
{
    (void)opaque, (void)bus, (void)size;
}

static void pinning_free(void *opaque)
{
    struct pinning *pinning = opaque;

    iommu_free(pinning->iommu);
    iommu_domain_free(pinning->domain);
    pthread_mutex_destroy(&pinning->lock);
    free(pinning->array);
    free(pinning);
}

static int pinning_map(struct pinning *pinning)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    int ret = -errno;

    if (fd < 0)
        return ret;
    ret = ftruncate(fd, (off_t)PAGES * 4096);
    if (!ret)
        ret = iommu_map(pinning->iommu, umdev_iova(0), (uint64_t)PAGES * 4096, fd, 0, UMDEV_RW);
    close(fd);
    return ret;
}

static struct pinning *pinning_new(enum umdev_bus_mode mode)
{
    const struct umdev_domain config = {.struct_size = sizeof(config), .mode = mode};
    struct iommu_pinning how = {.ops = {ignore_map, ignore_unmap, NULL}};
    struct pinning *pinning = calloc(1, sizeof(*pinning));

    if (!pinning)
        return NULL;
    pthread_mutex_init(&pinning->lock, NULL);
    pinning->array = calloc(1, PAGES);
    if (!pinning->array || iommu_domain_new(&config, &pinning->domain, NULL) ||
        iommu_new(NULL, NULL, &pinning->iommu))
        goto fail;
    how.domain = pinning->domain;
    iommu_set_pinning(pinning->iommu, &how);
    if (pinning_map(pinning))
        goto fail;
    return pinning;
fail:
    pinning_free(pinning);
    return NULL;
}

static uint64_t random_page(struct pinning *pinning, size_t count)
{
    return bench_random(&pinning->random, PAGES / count) * count;
}

static int measure_ours(struct pinning *pinning, double *samples, size_t n, size_t count)
{
    umdev_bus_t bus[UMDEV_PIN_MAX];
    size_t pairs = BATCH / count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < pairs; k++) {
            umdev_iova_t iova = umdev_iova(random_page(pinning, count) * 4096);

            if (iommu_pin(pinning->iommu, iova, count, UMDEV_RW, bus))
                return -EIO;
            iommu_unpin(pinning->iommu, iova, count);
        }
        samples[i] = (double)(bench_now_ns() - start) / (double)pairs;
    }
    return 0;
}

static int measure_floor(struct pinning *pinning, double *samples, size_t n, size_t count)
{
    umdev_bus_t bus[UMDEV_PIN_MAX];
    size_t pairs = BATCH / count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (size_t k = 0; k < pairs; k++) {
            uint64_t page = random_page(pinning, count);

            pthread_mutex_lock(&pinning->lock);
            for (size_t j = 0; j < count; j++) {
                pinning->array[page + j]++;
                bus[j] = umdev_bus((page + j) * 4096);
            }
            __asm__ volatile("" : : "r"(bus) : "memory");
            pthread_mutex_unlock(&pinning->lock);
            pthread_mutex_lock(&pinning->lock);
            for (size_t j = 0; j < count; j++)
                pinning->array[page + j]--;
            pthread_mutex_unlock(&pinning->lock);
        }
        samples[i] = (double)(bench_now_ns() - start) / (double)pairs;
    }
    return 0;
}

#define PINNING_ROW(row_symbol, row_name, row_what, row_mode, row_count)                           \
    static int row_symbol##_ours(void *opaque, double *samples, size_t n)                          \
    {                                                                                              \
        return measure_ours(opaque, samples, n, row_count);                                        \
    }                                                                                              \
    static int row_symbol##_floor(void *opaque, double *samples, size_t n)                         \
    {                                                                                              \
        return measure_floor(opaque, samples, n, row_count);                                       \
    }                                                                                              \
    static int row_symbol##_start(struct row_run *run)                                             \
    {                                                                                              \
        struct pinning *ours = pinning_new(row_mode), *floor = pinning_new(row_mode);              \
                                                                                                   \
        if (ours)                                                                                  \
            run->ours = (struct subject){row_symbol##_ours, pinning_free, ours};                   \
        if (floor)                                                                                 \
            run->floor = (struct subject){row_symbol##_floor, pinning_free, floor};                \
        return ours && floor ? 0 : -ENOMEM;                                                        \
    }                                                                                              \
    const struct row row_symbol##_row = {                                                          \
        .name = (row_name),                                                                        \
        .what = (row_what),                                                                        \
        .unit = "ns",                                                                              \
        .kind = ROW_NS,                                                                            \
        .samples = 200,                                                                            \
        .start = row_symbol##_start,                                                               \
    }

PINNING_ROW(pinning_contiguous_1, "pinning.contiguous.1",
            "a page pinned and unpinned by IOVA / a lock twice, a byte up and down",
            UMDEV_BUS_CONTIGUOUS, 1);
PINNING_ROW(pinning_contiguous_512, "pinning.contiguous.512", "the same of 512 pages in a row",
            UMDEV_BUS_CONTIGUOUS, 512);
PINNING_ROW(pinning_paged_1, "pinning.paged.1", "a page with a bus address of its own",
            UMDEV_BUS_PAGED, 1);
PINNING_ROW(pinning_paged_512, "pinning.paged.512", "512 such pages in a row", UMDEV_BUS_PAGED,
            512);
