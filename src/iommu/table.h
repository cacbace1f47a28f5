/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mappings of an iommu: an array sorted by first IOVA, without overlaps.
 *
 * No locks here: the iommu's are held. The address of each entry is beside its pointer, so that a
 * search touches the array only. The hint is the entry that the last search found: device accesses
 * come in runs. Readers set it without exclusion; it is checked before it is believed.
 */
#ifndef IOMMU_TABLE_H
#define IOMMU_TABLE_H

#include "iommu/mapping.h"

struct iommu_table_entry {
    uint64_t first;
    struct iommu_mapping *mapping;
};

struct iommu_table {
    struct iommu_table_entry *entries;
    size_t count, capacity;
    uint64_t bytes;         /* of all ranges; modulo 2^64: 0 with entries is the whole space */
    uint64_t address_space; /* of this process: what their files take */
    atomic_size_t hint;
};

/* An empty table is all zeros; this frees the array of one that was emptied. */
void iommu_table_free(struct iommu_table *table);

/* The index of the mapping that has `iova`; false: there is none. */
bool iommu_table_find(struct iommu_table *table, uint64_t iova, size_t *index);

/* Whether any mapping overlaps `range`. */
bool iommu_table_overlaps(const struct iommu_table *table, struct range range);

/* The entries [*begin, *end) that lie in `range`, perhaps none. EINVAL: one is partly inside. */
int iommu_table_slice(const struct iommu_table *table, struct range range, size_t *begin,
                      size_t *end);

/* Make room for one more, which iommu_table_insert() then takes. −ENOMEM. */
int iommu_table_reserve(struct iommu_table *table);
/* Put in a mapping that overlaps none. */
void iommu_table_insert(struct iommu_table *table, struct iommu_mapping *mapping);
/* Take out the entries [begin, end): a list through `next`, in order. */
struct iommu_mapping *iommu_table_remove(struct iommu_table *table, size_t begin, size_t end);

#endif
