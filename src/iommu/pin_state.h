/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a mapping belongs to pinning (iommu/pin.h), and how an iommu pins.
 */
#ifndef IOMMU_PIN_STATE_H
#define IOMMU_PIN_STATE_H

#include "iommu/domain.h"
#include "iommu/pin_table.h"

/* All zeros at the mapping's birth, and again before its end. */
struct pin_state {
    struct pin_table *table;   /* NULL: nothing was pinned yet */
    struct bus_range *bus;     /* contiguous: its addresses */
    unsigned prot;             /* the mapping's */
    bool whole;                /* pinned from its birth */
    uint32_t *numbers;         /* whole, and paged: of all its pages */
    bool cut;                  /* out of the domain, for good */
    uint64_t held;             /* pins of the driver's, all counts summed up */
    struct pin_orphan *orphan; /* identity: to keep the memory with, should pins be torn */
};

struct iommu_pinning {
    struct iommu_domain *domain; /* NULL: identity; outlives the iommu */
    struct iommu_domain_ops ops;
    void *opaque;
    bool all;       /* everything with memory, from its mapping on */
    uint64_t limit; /* bytes, a page counted once; 0: any */
};

#endif
