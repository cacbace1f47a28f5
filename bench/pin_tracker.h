/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trackers of pinned pages behind one interface, that of iommu/pin_table.h: what the library uses,
 * and the structures that it was measured against (docs/iommu.md).
 *
 *   flat      an array of all pages of the mapping, mapped from the kernel, which gives a page of
 *             memory when one of its entries is first written
 *   rbtree    a red-black tree with a node of 24 bytes a pinned page, in a pool
 *   twolevel  an array of pointers, one for each 512 pages, to arrays of these 512, made with the
 *             first pin among them and freed with the last
 *   hybrid    the library's
 *
 * The first three tell counts up to 127 and fail above (EOVERFLOW): what the library does beyond is
 * the same work for each of them.
 */
#ifndef BENCH_PIN_TRACKER_H
#define BENCH_PIN_TRACKER_H

#include "iommu/pin_bytes.h"

struct pin_tracker {
    const char *name;
    uint32_t max_count;
    int (*create)(uint64_t npages, bool with_bus, void **table);
    void (*destroy)(void *table);
    size_t (*count_new)(const void *table, uint64_t first, size_t count);
    int (*pin)(void *table, uint64_t first, size_t count, bool write, const uint32_t *bus,
               uint64_t fresh[PIN_WORDS]);
    size_t (*unpin)(void *table, uint64_t first, size_t count, uint64_t freed[PIN_WORDS],
                    uint32_t *freed_bus, uint64_t written[PIN_WORDS]);
    bool (*get)(const void *table, uint64_t page, struct pin_page *out);
    size_t (*get_bus)(const void *table, uint64_t first, size_t count, uint32_t *bus);
    bool (*next)(const void *table, uint64_t from, struct pin_run *run);
    uint64_t (*pinned)(const void *table);
    /* What malloc gave with what it adds, and of mappings the memory that was touched. */
    size_t (*bytes)(const void *table);
};

extern const struct pin_tracker pin_flat_tracker, pin_rbtree_tracker, pin_twolevel_tracker,
    pin_hybrid_tracker;

/* Of an array of states as in iommu/pin_bytes.h: how many, from the first, are pinned and have its
 * flag. */
size_t pin_state_run(const uint8_t *state, size_t n);

/* Memory that takes room when it is touched, in pages of 4 KiB. NULL: there is none. */
void *pin_lazy_new(size_t size);
void pin_lazy_free(void *memory, size_t size);
/* What of it was touched. */
size_t pin_lazy_bytes(void *memory, size_t size);

#endif
