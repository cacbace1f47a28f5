/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table's nodes: spare ones, and retired ones that readers may still see. For the table only,
 * under the iommu's `changes`.
 *
 * Retired nodes are looked after in batches, when spare ones run short, so that a change rarely
 * looks at the readers and never waits for them; but for one that would keep more than
 * IOMMU_RETIRED_BYTES because a copy over many mappings takes its time.
 */
#ifndef IOMMU_POOL_H
#define IOMMU_POOL_H

#include "iommu/table.h"

#define IOMMU_RETIRED_BYTES ((size_t)16 << 20)
/* What a removal may need: the two leaves at the ends of its range, and a directory. */
#define IOMMU_REMOVAL_LEAVES      2
#define IOMMU_REMOVAL_DIRECTORIES 1

/* Have so many spare leaves and directories of that capacity, in leaves. −ENOMEM. */
int iommu_pool_reserve(struct iommu_table *table, size_t leaves, size_t directories,
                       size_t capacity);
/* The same for a removal; waits for readers rather than fail. */
void iommu_pool_reserve_removal(struct iommu_table *table, size_t capacity);

/* Reserved before. */
struct iommu_leaf *iommu_pool_take_leaf(struct iommu_table *table);
struct iommu_directory *iommu_pool_take_directory(struct iommu_table *table, size_t capacity);

void iommu_pool_retire_leaf(struct iommu_table *table, struct iommu_leaf *leaf);
void iommu_pool_retire_directory(struct iommu_table *table, struct iommu_directory *directory);

/* Free what is spare; and what is retired, which nobody may see. */
void iommu_pool_free_spare(struct iommu_table *table);
void iommu_pool_free_retired(struct iommu_table *table);

#endif
