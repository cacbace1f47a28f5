/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions whose pages are mapped as they are touched (UMDEV_BAR_FAULT), for the files of src/device
 * only.
 *
 * Data model. Whoever needs a page makes an *ask*: it calls the driver, checks what it says, and
 * settles the ask under `lock` by doing something with the answer there and then: the client's
 * representative sends it, a trapped access copies. An invalidation takes the same lock to mark the
 * asks under way that it hits; a marked one is not settled but asked again. So no answer is used
 * that is older than an invalidation which has begun. An ask that is hit again and again is
 * *starving*: invalidations then wait a moment before they begin.
 *
 * `told` has a bit for each page that the client was told of, mapped or refused, since it was last
 * taken back: what was never told needs no message. An invalidation is *pending* from its message
 * to its acknowledgement; another one over the same pages sends a message of its own, for the
 * client handles them in order.
 *
 * Locks. `lock` is taken inside call_lock and held for copies and non-blocking sends only. The
 * driver is called, and acknowledgements are waited for, without it. The mapper stays as long as
 * `users` counts someone who waits in it.
 */
#ifndef DEVICE_FAULT_H
#define DEVICE_FAULT_H

#include "base/range.h"
#include "device/device.h"

/* How long a client may take for an acknowledgement: driver.h promises five seconds. */
#define FAULT_TIMEOUT_MS 5000

struct fault_ask {
    struct fault_ask *next;
    unsigned long thread;
    unsigned region;
    bool hit; /* by invalidations, all of them in this range */
    struct range hit_range;
};

struct device_faults {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `users` or `starving` is 0; CLOCK_MONOTONIC */
    struct device_mapper *mapper;
    unsigned users;
    struct fault_ask *asks;
    unsigned starving; /* asks that have been hit too often */
    struct device_invalidation *pending;
    struct log_limit limit;
    int timeout_ms; /* FAULT_TIMEOUT_MS, but for tests */
    bool trusted;   /* the client, by the operator; fixed before there is one */
    struct device_fault_stats stats;
};

void faults_init(struct device_faults *faults);
void faults_fini(struct device_faults *faults);

/* After create(): whether the region can be one. EINVAL. */
int fault_region_check(const struct umdev_device *dev, unsigned index, struct umdev_error *error);
/* Whether a client could be given pages of it, and should be told so. */
bool fault_region_is_offered(const struct umdev_device *dev, unsigned index);

/* … and is told that the pages are the region's object's, 1:1. */
bool fault_region_is_identity(const struct umdev_device *dev, unsigned index);

/* An object that this client must not have: it is shared, and the client not trusted. */
bool mem_is_kept(const struct umdev_device *dev, const struct umdev_mem *mem);

/*
 * A trapped access that was checked, under the lock that callbacks need: the pages are the driver's
 * choice, one after the other, up to the first that is refused.
 */
int fault_read(struct umdev_device *dev, unsigned index, uint64_t offset, uint8_t *buf, size_t len);
int fault_write(struct umdev_device *dev, unsigned index, uint64_t offset, const uint8_t *buf,
                size_t len);

/* Whether this thread is inside the device's map_request(). */
bool fault_is_asking(struct umdev_device *dev);

/* fault_told.c: the bits of a region. With the lock. */
int fault_told_reset(struct umdev_device *dev);
void fault_told_add(struct umdev_device *dev, unsigned index, struct range range);
bool fault_told_any(const struct umdev_device *dev, unsigned index, struct range range);
/* Returns how many there were. */
uint64_t fault_told_remove(struct umdev_device *dev, unsigned index, struct range range);

#endif
