/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages of one DMA mapping are pinned, how often, and, where each page has a bus page of its
 * own, at which.
 *
 * Data model. A mapping has up to 2^52 pages, each with a count. A page with a count of 0 is not
 * pinned and takes no memory of its own; one with a count above has a flag (whether it was pinned
 * for write since its count was 0) and, in a table with bus pages, a 32-bit bus page. Pins are in
 * *leaves* (pin_leaf.h): a sorted array of few pins, or an array of all 512 pages of a block.
 * Leaves hang in a tree of *nodes* of 128 words. Where 65,536 pages have few pins, one leaf has
 * them all; it bursts into a node with leaves for blocks when they become too many, and comes back
 * when they are few again. docs/iommu.md has what this was measured against.
 *
 * Invariants, between calls. A leaf has a pin, a node a word that is not 0: without pins there are
 * neither. Pins are all or none. Unpins need no memory: a leaf that cannot be made smaller for want
 * of it stays as it is until the next unpin.
 *
 * No locks here: the caller's is held. `first` and `count` are the caller's to have checked: 1 to
 * PIN_MAX_PAGES pages that lie inside the mapping.
 */
#ifndef IOMMU_PIN_TABLE_H
#define IOMMU_PIN_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIN_MAX_PAGES 512                  /* a call */
#define PIN_WORDS     (PIN_MAX_PAGES / 64) /* of a bitmap: bit i is page first + i */
#define PIN_MAX_COUNT (UINT32_C(1) << 24)  /* of a page: what comes near it is a leak */
#define PIN_TABLE_MAX (UINT64_C(1) << 52)  /* pages of a mapping */

struct pin_table;

struct pin_page {
    uint32_t count; /* at least 1 */
    bool write;
    uint32_t bus; /* 0 in a table without bus pages */
};

/* Pinned pages in a row, all of them pinned for write or none. */
struct pin_run {
    uint64_t first;
    size_t count; /* up to PIN_MAX_PAGES */
    bool write;
};

/* EINVAL: no pages, or too many. ENOMEM. */
int pin_table_new(uint64_t npages, bool with_bus, struct pin_table **table);
/* Whatever is pinned is forgotten. NULL is fine. */
void pin_table_free(struct pin_table *table);

/* How many of the pages are not pinned: so many bus pages a pin of them takes. */
size_t pin_table_count_new(const struct pin_table *table, uint64_t first, size_t count);

/*
 * Pin all of the pages or none. Those that were not pinned are marked in `fresh` and take bus pages
 * from `bus` in order (NULL in a table without). ENOMEM; EOVERFLOW: one of them is pinned
 * PIN_MAX_COUNT times.
 */
int pin_table_pin(struct pin_table *table, uint64_t first, size_t count, bool write,
                  const uint32_t *bus, uint64_t fresh[PIN_WORDS]);

/*
 * Unpin. Returns how many of the pages were not pinned, a mistake of the caller's that changes
 * nothing. Those whose count came to 0 are marked in `freed`, those of them that were pinned for
 * write in `written` too; `freed_bus` has their bus pages in order (NULL: not wanted). Never fails.
 */
size_t pin_table_unpin(struct pin_table *table, uint64_t first, size_t count,
                       uint64_t freed[PIN_WORDS], uint32_t *freed_bus, uint64_t written[PIN_WORDS]);

/* A pinned page counts as pinned for reading only. */
void pin_table_narrow(struct pin_table *table, uint64_t page);

/* Whether the page is pinned; `out` is filled in then. */
bool pin_table_get(const struct pin_table *table, uint64_t page, struct pin_page *out);

/* The bus pages of those that are pinned, in order. Returns how many. */
size_t pin_table_get_bus(const struct pin_table *table, uint64_t first, size_t count,
                         uint32_t *bus);

/*
 * The first run of pinned pages at or after `from`, which may lie past the end. False: there is
 * none. What follows a run may be pinned, too.
 */
bool pin_table_next(const struct pin_table *table, uint64_t from, struct pin_run *run);

/* How many pages are pinned. */
uint64_t pin_table_pinned(const struct pin_table *table);
/* The memory it takes, with what glibc's malloc adds. */
size_t pin_table_bytes(const struct pin_table *table);

#endif
