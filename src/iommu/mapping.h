/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One DMA mapping: a range of IOVAs and, where the client gave a file, its bytes in this process.
 *
 * A mapping is born outside the table, with one reference: that of whoever puts it into the table.
 * Each window adds one. Range, protection and address never change. The memory is guarded against
 * truncation (base/sigbus.h) for as long as it is mapped.
 *
 * The loss flag is one for all mappings of a client: a client that took memory away once is not to
 * be trusted again, and one flag tells it without a search. It is counted, since windows can keep a
 * mapping of the last client alive while the next one has a flag of its own.
 */
#ifndef IOMMU_MAPPING_H
#define IOMMU_MAPPING_H

#include "base/range.h"
#include "iommu/file.h"

#include <stdatomic.h>

struct iommu_loss {
    atomic_uint refs;
    atomic_bool lost;
};

struct iommu_mapping {
    struct range range;
    unsigned prot;
    /* References; IOMMU_DRAINING is set when the mapping has left the table. */
    atomic_uint refs;
    uint8_t *bytes; /* of range.first; NULL: memory without a file */

    void *base; /* what is mapped and guarded: whole pages */
    size_t size;
    int guard;
    struct iommu_loss *loss;
    struct iommu_mapping *next; /* in a list of mappings that left the table */
};

#define IOMMU_DRAINING 0x80000000u

/* One reference, nothing lost. NULL: no memory. */
struct iommu_loss *iommu_loss_new(void);
void iommu_loss_put(struct iommu_loss *loss);

/* A mapping without a file. −ENOMEM. */
int iommu_mapping_new(struct range range, unsigned prot, struct iommu_mapping **mapping);
/*
 * A mapping of a part of a file, which the caller has checked; takes a reference of `loss`. EINVAL:
 * the file does not allow the access. ENOMEM: no memory, address space or mappings left.
 */
int iommu_mapping_new_file(struct range range, unsigned prot, int fd,
                           const struct iommu_file_span *span, struct iommu_loss *loss,
                           struct iommu_mapping **mapping, struct umdev_error *error);
/* Nobody may hold it. */
void iommu_mapping_free(struct iommu_mapping *mapping);

/* The bytes from `iova`, an address inside, to the mapping's end. */
static inline uint64_t iommu_mapping_left(const struct iommu_mapping *mapping, uint64_t iova)
{
    /* Sizes are below 2^64: the sum does not wrap. */
    return mapping->range.last - iova + 1;
}

static inline uint8_t *iommu_mapping_at(const struct iommu_mapping *mapping, uint64_t iova)
{
    return mapping->bytes + (iova - mapping->range.first);
}

#endif
