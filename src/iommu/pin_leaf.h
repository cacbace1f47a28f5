/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The leaves of a pin table; for pin_table.c only.
 *
 * A leaf is one of three things, all with the same first members:
 *   few    up to pin_few_max() pins of up to 65,536 pages, in arrays sorted by page: 7 bytes a pin
 *          (3 without bus pages)
 *   dense  the 512 pages of a block, pinned or not: 5 bytes each (1)
 *   wide   the same with 32-bit counts: 8 bytes each (4)
 * In the first two a pin's count and flag are one byte: 7 bits and 1. A page that is pinned more
 * often than PIN_BYTE_MAX times makes its block's leaf wide.
 *
 * `at` is the index of a page in its leaf.
 */
#ifndef IOMMU_PIN_LEAF_H
#define IOMMU_PIN_LEAF_H

#include "iommu/pin_bytes.h"

#define PIN_BLOCK_BITS 9 /* the pages of a dense leaf */
#define PIN_BLOCK      (1u << PIN_BLOCK_BITS)

enum pin_leaf_kind {
    PIN_FEW,
    PIN_DENSE,
    PIN_WIDE,
};

struct pin_leaf {
    uint8_t kind : 7;
    uint8_t with_bus : 1;
    uint8_t capacity; /* of few */
    uint16_t used;    /* pins */
    uint32_t words[]; /* the arrays of the kind */
};

/* More pins than this make a leaf dense: it is no larger than three times as many then. */
static inline size_t pin_few_max(bool with_bus)
{
    return with_bus ? 128 : 64;
}

/* What malloc takes for so many bytes: a word more, in multiples of two. */
static inline size_t pin_chunk(size_t bytes)
{
    size_t chunk = (bytes + 8 + 15) / 16 * 16;

    return chunk < 32 ? 32 : chunk;
}

/* How many pins a few leaf that is made for `pins` has room for: what its chunk of memory has. */
size_t pin_few_capacity(size_t pins, bool with_bus);
/* An empty leaf, a few leaf with room for `pins`. NULL: no memory. */
struct pin_leaf *pin_leaf_new(enum pin_leaf_kind kind, size_t pins, bool with_bus);
size_t pin_leaf_bytes(const struct pin_leaf *leaf);

/*
 * How many of the pages are pinned. *full, where it is wanted (not NULL): whether one of them is as
 * often as the leaf can tell.
 */
size_t pin_leaf_count(const struct pin_leaf *leaf, size_t at, size_t n, bool *full);
/* Whether any page of a wide leaf is pinned more often than `most`; false of others. */
bool pin_leaf_exceeds(const struct pin_leaf *leaf, uint32_t most);

/* There is room, and no page is full. Returns how many were fresh. */
size_t pin_leaf_pin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change);
/* Returns how many were pinned; `used` tells how many are left. */
size_t pin_leaf_unpin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change);

/* The page is pinned. */
void pin_leaf_narrow(struct pin_leaf *leaf, size_t at);

bool pin_leaf_get(const struct pin_leaf *leaf, size_t at, struct pin_page *page);
size_t pin_leaf_get_bus(const struct pin_leaf *leaf, size_t at, size_t n, uint32_t *bus);
/* The first pinned page in [at, end); `end` if there is none. */
size_t pin_leaf_next(const struct pin_leaf *leaf, size_t at, size_t end);
/* Add a pin after all others. There is room. */
void pin_leaf_append(struct pin_leaf *leaf, size_t at, const struct pin_page *page);
/* Append the pins in [at, end), moved down by `down`. */
void pin_leaf_copy(struct pin_leaf *to, const struct pin_leaf *from, size_t at, size_t end,
                   ptrdiff_t down);

#endif
