/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One DMA mapping: a range of IOVAs and, where the client gave a file, its bytes in this process.
 *
 * A mapping is born outside the table, with one reference: that of the table, and after it of the
 * unmap that takes it out. Readers and windows take none: their slots (iommu/readers.h) tell the
 * unmap of them. Each window that an unmap gives up waiting for gets a reference then. Range and
 * address never change. The protection is in the table's entry, for it can change.
 */
#ifndef IOMMU_MAPPING_H
#define IOMMU_MAPPING_H

#include "base/range.h"
#include "iommu/pin_state.h"
#include "iommu/view.h"

#define IOMMU_NO_HVA UINT64_MAX

struct iommu_mapping {
    struct range range;
    uint8_t *bytes;          /* of range.first; NULL: memory without a file */
    struct iommu_view *view; /* that those lie in */
    uint64_t hva;            /* where the client has it; IOMMU_NO_HVA: it did not say */
    bool has_large_pages;    /* of its file: they are written as a whole */
    atomic_uint refs;
    /* iommu_unmap_begin() was called: to be gone soon. For pinning, which then refuses. */
    atomic_bool leaving;
    atomic_uint going; /* rights that iommu_protect_begin() announced to be gone soon, likewise */
    struct pin_state pin;       /* under the pins' lock */
    void *_Atomic drain;        /* the unmap that took it out of the table, while that waits */
    struct iommu_mapping *next; /* in a list of mappings that left the table */
};

/* A mapping without a file. −ENOMEM. */
int iommu_mapping_new(struct range range, struct iommu_mapping **mapping);
/* A mapping whose first byte is that of the file at `offset`; takes over the view's reference. */
int iommu_mapping_new_file(struct range range, struct iommu_view *view, uint64_t offset,
                           struct iommu_mapping **mapping);
/* Nobody may hold it. */
void iommu_mapping_free(struct iommu_mapping *mapping);
/* Drop a reference; the last one frees. */
void iommu_mapping_put(struct iommu_mapping *mapping);

#endif
