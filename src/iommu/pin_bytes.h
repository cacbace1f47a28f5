/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arrays of pages' states of one byte: how often a page is pinned (7 bits, 0: it is not) and
 * whether for write (the highest). Beside it may be an array of the pages' bus pages, which are
 * worth something only where a page is pinned; NULL: there are none.
 *
 * The pages are worked on in groups of up to eight, as the bytes of a word.
 */
#ifndef IOMMU_PIN_BYTES_H
#define IOMMU_PIN_BYTES_H

#include "iommu/pin_table.h"

#define PIN_BYTE_MAX   0x7f
#define PIN_BYTE_WRITE 0x80

/* What a pin or unpin is given and gives, from one array to the next. */
struct pin_change {
    bool write;
    const uint32_t *bus; /* pin: what the next fresh page takes */
    uint32_t *freed_bus; /* unpin: where the next freed page's goes; NULL: nowhere */
    uint64_t *changed;   /* bitmap of fresh or freed pages */
    uint64_t *written;   /* unpin */
    size_t offset;       /* the bit of the array's first page */
};

/* Set up to eight bits of a bitmap. */
static inline void pin_bitmap_set(uint64_t *map, size_t at, uint64_t bits)
{
    unsigned shift = at % 64;

    map[at / 64] |= bits << shift;
    if (shift > 64 - 8 && bits >> (64 - shift))
        map[at / 64 + 1] |= bits >> (64 - shift);
}

/* How many are pinned. */
size_t pin_bytes_count(const uint8_t *state, size_t n);
/* Whether one of them is pinned PIN_BYTE_MAX times. */
bool pin_bytes_full(const uint8_t *state, size_t n);
/* The first that is pinned, n if none is. */
size_t pin_bytes_next(const uint8_t *state, size_t n);
/* None is pinned PIN_BYTE_MAX times. Returns how many were not pinned. */
size_t pin_bytes_pin(uint8_t *state, uint32_t *bus, size_t n, struct pin_change *change);
/* Returns how many were pinned; *freed: how many are not any more. */
size_t pin_bytes_unpin(uint8_t *state, const uint32_t *bus, size_t n, struct pin_change *change,
                       size_t *freed);
/* The bus pages of those that are pinned; returns how many. */
size_t pin_bytes_get_bus(const uint8_t *state, const uint32_t *bus, size_t n, uint32_t *to);

/* Whether the page is pinned. */
static inline bool pin_byte_get(uint8_t state, uint32_t bus, struct pin_page *page)
{
    *page = (struct pin_page){state & PIN_BYTE_MAX, state & PIN_BYTE_WRITE, bus};
    return state != 0;
}

#endif
