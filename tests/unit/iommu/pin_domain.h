/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A parent's IOMMU that believes nothing: it keeps what is mapped, page by page, and counts what a
 * domain's user must never do.
 */
#ifndef TESTS_IOMMU_PIN_DOMAIN_H
#define TESTS_IOMMU_PIN_DOMAIN_H

#include "fixture.h"
#include "iommu/pin.h"

#define DOMAIN_SLOTS 4096 /* pages it can hold, and its hash's size */

struct domain_page {
    uint64_t bus; /* 0: free */
    uint8_t *memory;
    unsigned prot;
    bool stale; /* unmapped, and not flushed */
};

struct test_domain {
    struct iommu_domain *domain;
    struct domain_page pages[DOMAIN_SLOTS];
    size_t count, stale;
    unsigned maps, unmaps, flushes, mistakes;
    int fail_after; /* maps that succeed before one fails with ENXIO; −1: all do */
    bool fail_once; /* and the others after it don't */
};

/* The iommu pins into it from now on, as is returned. The aperture has `pages` pages. */
struct iommu_pinning test_domain_bind(struct test_domain *d, struct iommu *iommu,
                                      enum umdev_bus_mode mode, size_t pages, bool all,
                                      uint64_t limit);
/* After the iommu: nothing may be left. */
void test_domain_end(struct test_domain *d);
/* NULL: nothing there. */
const struct domain_page *test_domain_at(const struct test_domain *d, uint64_t bus);

#endif
