/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of pages of the whole address space: pages are put in by any thread at any time, without a
 * lock, and taken out again a range at a time.
 *
 * Data model. A radix tree over 52-bit page numbers (4096 bytes each). Its leaves are bitmaps of
 * 256 MiB of addresses, with a summary bit for each word that may have bits; above them are four
 * levels of nodes with 512 slots. Leaves and nodes come with the first page put into them and stay.
 * A slot also has a bit of its own: all of its pages are in the set. That is how whole slots are
 * put in, and what is left where a child can't be made: no page is ever lost, there may be more.
 *
 * What makes it safe. A page is put in from the bottom up: its bit, then the summary. It is taken
 * out from the top down: the summary bit is cleared, then the word is fetched and cleared; where a
 * part of the word stays, the summary is set again. All of these are sequentially consistent, so
 * whoever finds a summary bit set and leaves it so has its page seen by the one who clears it.
 * Children are only ever added. Taking out is for one thread at a time.
 *
 * Memory. The bytes of all nodes and leaves are counted and limited.
 */
#ifndef IOMMU_DIRTY_TREE_H
#define IOMMU_DIRTY_TREE_H

#include "base/range.h"

#include <stddef.h>

#define DIRTY_PAGE_SHIFT 12
#define DIRTY_LAST_PAGE  (UINT64_MAX >> DIRTY_PAGE_SHIFT)

struct dirty_tree;

/* An empty set that takes at most about `max_bytes`. NULL: no memory. */
struct dirty_tree *dirty_tree_new(size_t max_bytes);
/* Nobody else uses it. NULL does nothing. */
void dirty_tree_free(struct dirty_tree *tree);

/* Put in the pages with these numbers. Any thread. */
void dirty_tree_mark(struct dirty_tree *tree, struct range pages);

/* Where pages that are taken out go: page n sets bit (n − first) >> shift. */
struct dirty_bits {
    uint64_t *words;
    uint64_t first;
    unsigned shift;
};
/* Take out all that is in `pages`. Bits are set, none is cleared. One thread at a time. */
void dirty_tree_take(struct dirty_tree *tree, struct range pages, const struct dirty_bits *bits);

/* What it takes now. */
size_t dirty_tree_bytes(const struct dirty_tree *tree);

#endif
