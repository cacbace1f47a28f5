/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking pages back, and whoever maps them for the client. fault.h has the model.
 */
#include "base/clock.h"
#include "device/device_priv.h"

/* ------------------------------------------------------------------ the mapper */

int device_set_mapper(struct umdev_device *dev, struct device_mapper *mapper)
{
    struct device_faults *faults = &dev->faults;
    LOCK_FOR_SCOPE(&faults->lock);
    int ret;

    if (faults->mapper)
        return -EEXIST;
    ret = fault_told_reset(dev);
    if (ret == 0)
        faults->mapper = mapper;
    return ret;
}

void device_unset_mapper(struct umdev_device *dev)
{
    struct device_faults *faults = &dev->faults;
    LOCK_FOR_SCOPE(&faults->lock);

    faults->mapper = NULL;
    while (faults->users > 0)
        pthread_cond_wait(&faults->changed, &faults->lock);
}

int device_mapper_timeout_ms(const struct umdev_device *dev)
{
    return dev->faults.timeout_ms;
}

void device_trust_clients(struct umdev_device *dev)
{
    dev->faults.trusted = true;
}

void device_get_fault_stats(struct umdev_device *dev, struct device_fault_stats *stats)
{
    LOCK_FOR_SCOPE(&dev->faults.lock);
    *stats = dev->faults.stats;
}

/* ------------------------------------------------------------------ invalidation */

/* So long an invalidation waits for asks that starve. They may need a lock that its caller holds.
 */
#define COURTESY_NS 10000000

/* With the lock, given up meanwhile. */
static void asks_let_through(struct device_faults *faults)
{
    const struct timespec until = clock_timespec(clock_now_ns() + COURTESY_NS);

    while (faults->starving > 0)
        if (pthread_cond_timedwait(&faults->changed, &faults->lock, &until))
            return;
}

/* With the lock: answers under way are not to be used any more. */
static void asks_hit(struct device_faults *faults, unsigned region, struct range range)
{
    for (struct fault_ask *ask = faults->asks; ask; ask = ask->next) {
        if (ask->region != region)
            continue;
        if (!ask->hit)
            ask->hit_range = range;
        ask->hit = true;
        ask->hit_range.first = MIN(ask->hit_range.first, range.first);
        ask->hit_range.last = MAX(ask->hit_range.last, range.last);
    }
}

static bool pending_overlaps(const struct device_faults *faults, unsigned region,
                             struct range range)
{
    for (const struct device_invalidation *i = faults->pending; i; i = i->next)
        if (i->region == region && range_overlaps((struct range){i->first, i->last}, range))
            return true;
    return false;
}

/*
 * With the lock, which is given up while the client's channel is full. 0: the client was told, or
 * has no need to be any more (*sent).
 */
static int invalidation_send(struct umdev_device *dev, struct device_invalidation *invalidation,
                             uint64_t deadline_ns, bool *sent)
{
    const struct range range = {invalidation->first, invalidation->last};
    struct device_faults *faults = &dev->faults;
    int ret = -EAGAIN;

    *sent = false;
    while (ret == -EAGAIN && faults->mapper) {
        struct device_mapper *mapper = faults->mapper;

        ret = mapper->invalidate(mapper, invalidation);
        if (ret != -EAGAIN)
            break;
        faults->users++;
        pthread_mutex_unlock(&faults->lock);
        ret = mapper->wait_room(mapper, deadline_ns);
        pthread_mutex_lock(&faults->lock);
        if (--faults->users == 0)
            pthread_cond_broadcast(&faults->changed);
        if (ret == 0)
            ret = -EAGAIN;
    }
    if (ret == 0) {
        *sent = true;
        faults->stats.revoked += fault_told_remove(dev, invalidation->region, range);
    }
    return ret == -ETIMEDOUT ? ret : 0;
}

/* With the lock, given up to wait. −ETIMEDOUT: the client does not do its part. */
static int invalidation_run(struct umdev_device *dev, struct device_invalidation *invalidation)
{
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)dev->faults.timeout_ms * UINT64_C(1000000);
    struct device_faults *faults = &dev->faults;
    struct device_invalidation **link;
    struct device_mapper *mapper;
    bool sent;
    int ret = invalidation_send(dev, invalidation, deadline_ns, &sent);

    if (!sent)
        return ret;
    mapper = faults->mapper;
    invalidation->next = faults->pending;
    faults->pending = invalidation;
    faults->users++;
    pthread_mutex_unlock(&faults->lock);
    ret = mapper->wait(mapper, invalidation, deadline_ns);
    pthread_mutex_lock(&faults->lock);
    for (link = &faults->pending; *link != invalidation; link = &(*link)->next)
        ;
    *link = invalidation->next;
    if (--faults->users == 0)
        pthread_cond_broadcast(&faults->changed);
    return ret;
}

int umdev_region_invalidate(struct umdev_device *dev, unsigned index, uint64_t first, uint64_t last)
{
    const struct range pages = {align_down(first, PAGE_SIZE_4K), last | (PAGE_SIZE_4K - 1)};
    struct device_invalidation invalidation = {
        .region = index, .first = pages.first, .last = pages.last};
    struct device_faults *faults = &dev->faults;
    int ret = 0;

    if (index >= dev->nregions || !(dev->regions[index].flags & UMDEV_BAR_FAULT) || first > last ||
        last >= dev->regions[index].size)
        return -EINVAL;
    if (fault_is_asking(dev))
        return -EDEADLK;
    pthread_mutex_lock(&faults->lock);
    asks_let_through(faults);
    asks_hit(faults, index, pages);
    if (faults->mapper &&
        (fault_told_any(dev, index, pages) || pending_overlaps(faults, index, pages)))
        ret = invalidation_run(dev, &invalidation);
    pthread_mutex_unlock(&faults->lock);
    if (ret == -ETIMEDOUT) {
        umdev_device_log(dev, UMDEV_LOG_WARNING,
                         "the client did not take back pages for %d ms: it is cut off",
                         faults->timeout_ms);
        device_disconnect(dev);
    }
    return 0;
}
