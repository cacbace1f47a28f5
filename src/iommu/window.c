/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows: references to mappings, and the unmap that waits for them.
 */
#include "iommu/lookup.h"
#include "iommu/private.h"

#include <errno.h>
#include <time.h>

#define NS_PER_S  1000000000L
#define NS_PER_MS 1000000L

int iommu_acquire(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, void **ptr,
                  size_t *got, void **hold)
{
    struct iommu_mapping *mapping;
    struct range range;
    size_t index;
    int ret;

    if (len == 0 || prot == 0 || (prot & ~(unsigned)UMDEV_RW))
        return -EINVAL;
    ret = range_make(iova.value, len, &range);
    if (ret)
        return ret;
    pthread_rwlock_rdlock(&iommu->lock);
    /* The rest of the range is looked at when it is asked for. */
    ret = iommu_lookup(iommu, (struct range){range.first, range.first}, prot, &index);
    if (!ret)
        ret = iommu_lookup_lost(iommu);
    if (!ret) {
        mapping = iommu->table.entries[index].mapping;
        atomic_fetch_add_explicit(&mapping->refs, 1, memory_order_relaxed);
        *ptr = iommu_mapping_at(mapping, iova.value);
        *got = MIN(len, iommu_mapping_left(mapping, iova.value));
        *hold = iommu_hold_make(mapping, prot & UMDEV_WRITE);
        if (prot & UMDEV_WRITE)
            iommu_note_write(iommu, (struct range){range.first, range.first + (*got - 1)});
        iommu_count(iommu, prot & UMDEV_READ ? *got : 0, prot & UMDEV_WRITE ? *got : 0);
    }
    pthread_rwlock_unlock(&iommu->lock);
    return ret;
}

/* A window of a mapping that has left the table: somebody may wait for it, or it is the last. */
static void iommu_release_draining(struct iommu *iommu, struct iommu_mapping *mapping)
{
    bool last;

    /* Inside the lock: after it the waiting unmap may end, and the iommu's owner free it. */
    pthread_mutex_lock(&iommu->windows);
    last =
        atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_acq_rel) == (IOMMU_DRAINING | 1);
    pthread_cond_broadcast(&iommu->drained);
    pthread_mutex_unlock(&iommu->windows);
    if (last) {
        iommu_mapping_free(mapping);
        iommu_put(iommu);
    }
}

void iommu_release(struct iommu *iommu, void *hold)
{
    struct iommu_mapping *mapping = iommu_hold_mapping(hold);
    unsigned refs;

    if (!mapping)
        return;
    refs = atomic_load_explicit(&mapping->refs, memory_order_relaxed);
    while (!(refs & IOMMU_DRAINING)) {
        if (atomic_compare_exchange_weak_explicit(&mapping->refs, &refs, refs - 1,
                                                  memory_order_release, memory_order_relaxed))
            return;
    }
    iommu_release_draining(iommu, mapping);
}

static struct timespec deadline_in(int timeout_ms)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    if (timeout_ms > 0) {
        deadline.tv_sec += timeout_ms / 1000;
        deadline.tv_nsec += timeout_ms % 1000 * NS_PER_MS;
    }
    if (deadline.tv_nsec >= NS_PER_S) {
        deadline.tv_sec++;
        deadline.tv_nsec -= NS_PER_S;
    }
    return deadline;
}

static void free_list(struct iommu_mapping *list)
{
    while (list) {
        struct iommu_mapping *mapping = list;

        list = mapping->next;
        iommu_mapping_free(mapping);
    }
}

static void push(struct iommu_mapping **list, struct iommu_mapping *mapping)
{
    mapping->next = *list;
    *list = mapping;
}

/* No new windows: frees the mappings that have none and returns the others. */
static struct iommu_mapping *drain_idle(struct iommu_mapping *list)
{
    struct iommu_mapping *held = NULL;

    while (list) {
        struct iommu_mapping *mapping = list;

        list = mapping->next;
        if (atomic_fetch_or_explicit(&mapping->refs, IOMMU_DRAINING, memory_order_acq_rel) == 1)
            iommu_mapping_free(mapping);
        else
            push(&held, mapping);
    }
    return held;
}

/* Whether the mapping's last window went before the deadline. */
static bool drain_wait(struct iommu *iommu, const struct iommu_mapping *mapping,
                       const struct timespec *deadline)
{
    int ret = 0;

    while (mapping->refs > (IOMMU_DRAINING | 1) && ret == 0)
        ret = pthread_cond_timedwait(&iommu->drained, &iommu->windows, deadline);
    return mapping->refs == (IOMMU_DRAINING | 1);
}

int iommu_drain(struct iommu *iommu, struct iommu_mapping *list, int timeout_ms)
{
    struct iommu_mapping *held = drain_idle(list);
    struct iommu_mapping *ended = NULL;
    struct timespec deadline;
    int ret = 0;

    if (!held)
        return 0;
    if (iommu->waiting)
        iommu->waiting(iommu->waiting_opaque);
    deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&iommu->windows);
    while (held) {
        struct iommu_mapping *mapping = held;

        held = mapping->next;
        if (drain_wait(iommu, mapping, &deadline)) {
            push(&ended, mapping);
        } else {
            /* Its last window frees it, and the iommu where the owner has left, too. */
            atomic_fetch_add_explicit(&iommu->refs, 1, memory_order_relaxed);
            atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_relaxed);
            ret = -ETIMEDOUT;
        }
    }
    pthread_mutex_unlock(&iommu->windows);
    free_list(ended);
    return ret;
}
