/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/iommu.h"

#include "base/cleanup.h"
#include "base/sigbus.h"
#include "iommu/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A client that sends nothing but bad maps does not fill the log with them. */
#define MAX_COMPLAINTS 16

static int iommu_init_locks(struct iommu *iommu)
{
    pthread_rwlockattr_t lock_attr;
    pthread_condattr_t cond_attr;
    int ret;

    pthread_rwlockattr_init(&lock_attr);
    pthread_rwlockattr_setkind_np(&lock_attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_condattr_init(&cond_attr);
    pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
    ret = pthread_rwlock_init(&iommu->lock, &lock_attr);
    if (!ret)
        ret = pthread_cond_init(&iommu->drained, &cond_attr);
    if (!ret)
        ret = pthread_mutex_init(&iommu->changes, NULL);
    if (!ret)
        ret = pthread_mutex_init(&iommu->windows, NULL);
    pthread_condattr_destroy(&cond_attr);
    pthread_rwlockattr_destroy(&lock_attr);
    return -ret;
}

int iommu_new(const struct log *log, const char *name, struct iommu **iommu)
{
    CLEANUP_FREE struct iommu *made = NULL;
    int ret = sigbus_install();

    if (ret)
        return ret;
    made = calloc(1, sizeof(*made));
    if (!made)
        return -ENOMEM;
    ret = iommu_init_locks(made);
    if (!ret)
        ret = dirty_log_init(&made->dirty);
    if (ret)
        return ret;
    made->log = log;
    made->name = name;
    made->refs = 1;
    iommu_file_rules_init(&made->rules);
    *iommu = TAKE_POINTER(made);
    return 0;
}

void iommu_put(struct iommu *iommu)
{
    if (atomic_fetch_sub_explicit(&iommu->refs, 1, memory_order_acq_rel) != 1)
        return;
    dirty_log_fini(&iommu->dirty);
    pthread_mutex_destroy(&iommu->windows);
    pthread_mutex_destroy(&iommu->changes);
    pthread_cond_destroy(&iommu->drained);
    pthread_rwlock_destroy(&iommu->lock);
    free(iommu);
}

void iommu_free(struct iommu *iommu)
{
    if (!iommu)
        return;
    iommu_unmap_all(iommu, 0);
    dirty_log_stop(&iommu->dirty);
    iommu_put(iommu);
}

/* ---------------------------------------------------------------------------------- mapping */

/* The client's loss flag, which its first file brings to life. */
static struct iommu_loss *iommu_get_loss(struct iommu *iommu)
{
    if (!iommu->loss) {
        struct iommu_loss *loss = iommu_loss_new();

        pthread_rwlock_wrlock(&iommu->lock);
        iommu->loss = loss;
        pthread_rwlock_unlock(&iommu->lock);
    }
    return iommu->loss;
}

static int iommu_map_file(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                          unsigned prot, struct iommu_mapping **mapping, struct umdev_error *error)
{
    struct iommu_file_span span;
    struct iommu_loss *loss;
    int ret;

    ret = iommu_file_check(&iommu->rules, fd, offset, range_size_minus_1(range) + 1, &span, error);
    if (ret)
        return ret;
    if (!span_fits(iommu->table.address_space, span.size, IOMMU_MAX_FILE_BYTES)) {
        return error_set(error, ENOMEM,
                         "%" PRIu64 " bytes of files are mapped; the limit is %" PRIu64,
                         iommu->table.address_space, IOMMU_MAX_FILE_BYTES);
    }
    loss = iommu_get_loss(iommu);
    if (!loss)
        return error_set(error, ENOMEM, "no memory");
    return iommu_mapping_new_file(range, prot, fd, &span, loss, mapping, error);
}

/* All that comes before the mapping can be put into the table, but for errors of the table itself.
 */
static int iommu_map_range(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                           unsigned prot, struct iommu_mapping **mapping, struct umdev_error *error)
{
    int ret;

    if (iommu_table_overlaps(&iommu->table, range))
        return error_set(error, EEXIST, "overlaps another mapping");
    if (iommu->table.count >= IOMMU_MAX_MAPPINGS)
        return error_set(error, ENOSPC, "there are %u mappings: no more", IOMMU_MAX_MAPPINGS);
    if (fd >= 0)
        return iommu_map_file(iommu, range, fd, offset, prot, mapping, error);
    ret = iommu_mapping_new(range, prot, mapping);
    return ret ? error_set(error, -ret, "no memory") : 0;
}

static int iommu_map_checked(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                             unsigned prot, struct umdev_error *error)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_mapping *mapping = NULL;
    int ret = iommu_map_range(iommu, range, fd, offset, prot, &mapping, error);

    if (!mapping)
        return ret;
    pthread_rwlock_wrlock(&iommu->lock);
    ret = iommu_table_reserve(&iommu->table);
    if (!ret)
        iommu_table_insert(&iommu->table, mapping);
    pthread_rwlock_unlock(&iommu->lock);
    if (ret) {
        iommu_mapping_free(mapping);
        return error_set(error, -ret, "no memory");
    }
    return 0;
}

/* A range as a client writes it; *range is set in any case. */
static int iommu_range_make(umdev_iova_t iova, uint64_t size, struct range *range,
                            struct umdev_error *error)
{
    const char *wrong = NULL;

    *range = (struct range){iova.value, iova.value};
    if (size == 0)
        wrong = "the size is 0";
    else if (!is_aligned(iova.value | size, PAGE_SIZE_4K))
        wrong = "IOVA and size must be multiples of 4096";
    else if (range_make(iova.value, size, range))
        wrong = "reaches past the end of the address space";
    return wrong ? error_set(error, EINVAL, "%s", wrong) : 0;
}

static int iommu_map_args_check(umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
                                unsigned prot, struct range *range, struct umdev_error *error)
{
    if (prot == 0 || (prot & ~(unsigned)UMDEV_RW))
        return error_set(error, EINVAL, "the protection must be read, write or both");
    if (fd >= 0 && !is_aligned(offset, PAGE_SIZE_4K))
        return error_set(error, EINVAL, "the offset must be a multiple of 4096");
    return iommu_range_make(iova, size, range, error);
}

int iommu_map(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
              unsigned prot)
{
    struct umdev_error error = {0};
    struct range range = {0};
    int ret = iommu_map_args_check(iova, size, fd, offset, prot, &range, &error);

    if (!ret)
        ret = iommu_map_checked(iommu, range, fd, offset, prot, &error);
    if (ret) {
        bool often = atomic_fetch_add(&iommu->complaints, 1) >= MAX_COMPLAINTS;

        log_print(iommu->log, often ? UMDEV_LOG_DEBUG : UMDEV_LOG_WARNING, iommu->name,
                  "refused to map IOVA 0x%" PRIx64 ", size 0x%" PRIx64 ", %s at offset 0x%" PRIx64
                  ", protection 0x%x: %s",
                  iova.value, size, fd >= 0 ? "file" : "no file", offset, prot, error.message);
    }
    return ret;
}

/* -------------------------------------------------------------------------------- unmapping */

int iommu_unmap_check(struct iommu *iommu, umdev_iova_t iova, uint64_t size)
{
    struct range range;
    size_t begin;
    size_t end;
    int ret = iommu_range_make(iova, size, &range, NULL);

    if (ret)
        return ret;
    LOCK_FOR_SCOPE(&iommu->changes);
    return iommu_table_slice(&iommu->table, range, &begin, &end);
}

/* Take the mappings in `range` out of the table. */
static int iommu_take(struct iommu *iommu, struct range range, struct iommu_mapping **list,
                      uint64_t *bytes)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    uint64_t before = iommu->table.bytes;
    size_t begin;
    size_t end;
    int ret = iommu_table_slice(&iommu->table, range, &begin, &end);

    if (ret)
        return ret;
    pthread_rwlock_wrlock(&iommu->lock);
    *list = iommu_table_remove(&iommu->table, begin, end);
    pthread_rwlock_unlock(&iommu->lock);
    *bytes = before - iommu->table.bytes;
    return 0;
}

int iommu_unmap(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int timeout_ms,
                uint64_t *unmapped)
{
    struct iommu_mapping *list;
    struct range range;
    int ret = iommu_range_make(iova, size, &range, NULL);

    *unmapped = 0;
    if (!ret)
        ret = iommu_take(iommu, range, &list, unmapped);
    return ret ? ret : iommu_drain(iommu, list, timeout_ms);
}

/* Empties the table and forgets what is known of the client. */
static struct iommu_mapping *iommu_take_all(struct iommu *iommu, struct iommu_loss **loss)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_mapping *list;

    pthread_rwlock_wrlock(&iommu->lock);
    list = iommu_table_remove(&iommu->table, 0, iommu->table.count);
    iommu_table_free(&iommu->table);
    *loss = iommu->loss;
    iommu->loss = NULL;
    pthread_rwlock_unlock(&iommu->lock);
    iommu->complaints = 0;
    return list;
}

int iommu_unmap_all(struct iommu *iommu, int timeout_ms)
{
    struct iommu_loss *loss;
    struct iommu_mapping *list = iommu_take_all(iommu, &loss);
    int ret = iommu_drain(iommu, list, timeout_ms);

    iommu_loss_put(loss);
    return ret;
}

/* ---------------------------------------------------------------------------------- queries */

/* The ranges of all mappings; NULL with a count: no memory. */
static struct range *iommu_get_ranges(struct iommu *iommu, size_t *count)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct range *ranges = NULL;

    *count = iommu->table.count;
    if (*count > 0)
        ranges = malloc(*count * sizeof(*ranges));
    for (size_t i = 0; ranges && i < *count; i++)
        ranges[i] = iommu->table.entries[i].mapping->range;
    return ranges;
}

int iommu_for_each(struct iommu *iommu, void (*each)(void *opaque, struct range range),
                   void *opaque)
{
    size_t count;
    struct range *ranges = iommu_get_ranges(iommu, &count);

    if (count > 0 && !ranges)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        each(opaque, ranges[i]);
    free(ranges);
    return 0;
}

bool iommu_lost(const struct iommu *iommu)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&iommu->lock;
    bool lost;

    pthread_rwlock_rdlock(lock);
    lost = iommu->loss && atomic_load_explicit(&iommu->loss->lost, memory_order_acquire);
    pthread_rwlock_unlock(lock);
    return lost;
}

void iommu_get_stats(struct iommu *iommu, struct iommu_stats *stats)
{
    pthread_rwlock_rdlock(&iommu->lock);
    stats->maps = iommu->table.count;
    stats->mapped_bytes = iommu->table.bytes;
    pthread_rwlock_unlock(&iommu->lock);
    /* All 2^64 bytes: one more than can be said. */
    if (stats->maps > 0 && stats->mapped_bytes == 0)
        stats->mapped_bytes = UINT64_MAX;
    stats->bytes_read = atomic_load_explicit(&iommu->bytes_read, memory_order_relaxed);
    stats->bytes_written = atomic_load_explicit(&iommu->bytes_written, memory_order_relaxed);
}
