/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A parent's bus address space, and how an iommu puts pinned pages into it.
 *
 * Data model. A domain is a mode and, but for identity, the space of addresses (bus_space.h) that
 * all devices of the parent draw from: an address in use belongs to one device. It is made once and
 * fixed; its space locks itself. A *binding* joins an iommu to a domain: the parent's operations
 * and what they are called with.
 *
 * Operations work on *runs*: memory and bus addresses that are contiguous both here and there.
 */
#ifndef IOMMU_DOMAIN_H
#define IOMMU_DOMAIN_H

#include "base/range.h"
#include "iommu/bus_space.h"

#include <umdev/driver.h>

struct iommu_domain {
    enum umdev_bus_mode mode;
    uint64_t align;          /* of a mapping's range */
    struct bus_space *space; /* NULL: identity */
};

/* As umdev_parent_set_domain(), which see for the errors; the callbacks are not looked at. */
int iommu_domain_new(const struct umdev_domain *config, struct iommu_domain **domain,
                     struct umdev_error *error);
/* No iommu is bound to it any more. NULL is ignored. */
void iommu_domain_free(struct iommu_domain *domain);

struct iommu_domain_ops {
    /* As in struct umdev_domain; any may be NULL: nothing to do. */
    int (*map)(void *opaque, uint64_t bus, void *memory, uint64_t size, unsigned prot);
    void (*unmap)(void *opaque, uint64_t bus, uint64_t size);
    void (*flush)(void *opaque);
};

#endif
