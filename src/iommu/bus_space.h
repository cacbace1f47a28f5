/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A parent's bus address space: which addresses its devices may use for DMA, and who has them.
 *
 * Data model. The space is an aperture less its reserved windows, in pages of 4096 bytes. Each page
 * is free, or part of one allocated range, or part of one chunk. Ranges are what contiguous
 * mappings take. Chunks are up to 512 pages that single pages come from; one is taken when no other
 * has a free page, and given back with its last allocated page. What is free in a chunk is free for
 * single pages only.
 *
 * Invariants. Free neighbours are one free range, so that what was allocated and released in any
 * order leaves the space as it was. Releasing never fails and needs no memory: allocating has made
 * all that it takes. While any page that single pages can reach is free, one can be allocated.
 *
 * Threads. Any function but bus_space_free() may be called by any thread at any time. One mutex, a
 * leaf: nobody is called with it held. It is held for one range, or for at most 512 pages.
 *
 * The addresses are numbers only: nothing here is mapped or touched.
 */
#ifndef IOMMU_BUS_SPACE_H
#define IOMMU_BUS_SPACE_H

#include "base/range.h"

#include <stddef.h>
#include <umdev/types.h>

struct bus_space;

struct bus_space_config {
    struct range aperture; /* whole pages */
    /* Never handed out, nor is a page that is partly in one. May overlap, or be out of reach. */
    const struct range *reserved;
    size_t nreserved;
};

/* An allocated range: whole pages. For its owner to read. */
struct bus_range {
    struct range range;
};

struct bus_space_stats {
    /* In pages: the bytes of the whole address space would not fit. */
    uint64_t free_pages;    /* in free ranges */
    uint64_t largest_pages; /* in the largest of them */
    uint64_t chunk_pages;   /* free in chunks: for single pages only */
    size_t free_ranges;
};

/*
 * `config` is copied. EINVAL: an aperture or a window that ends before it begins, an aperture that
 * is not whole pages, or of which the windows leave nothing; the message says which. ENOMEM.
 */
int bus_space_new(const struct bus_space_config *config, struct bus_space **space,
                  struct umdev_error *error);
/* Also frees the ranges that were not released. NULL does nothing. */
void bus_space_free(struct bus_space *space);

/*
 * A free range of `size` bytes whose first address is a multiple of `align`, in the smallest hole
 * that takes it (a larger one where many lie badly for the alignment). ENOSPC: there is none.
 * EINVAL: size 0 or not whole pages, align less than a page or no power of two. ENOMEM. The range
 * lives until it is released.
 *
 * O(log n) of the number of free ranges; but where every hole that is large enough for the size and
 * its alignment together is gone, the others are looked at one by one (10 to 25 ns each).
 */
int bus_space_alloc(struct bus_space *space, uint64_t size, uint64_t align,
                    struct bus_range **range);
void bus_space_release(struct bus_space *space, struct bus_range *range);

/*
 * Single pages, by their number from the first page of the aperture: those of its first 16 TiB can
 * be had. All `count` or, on failure, none, whatever `pages` then holds. ENOSPC, ENOMEM. Calls at
 * the same time take turns, so that of two which don't both fit both may fail. count 0 is a
 * success.
 */
int bus_space_alloc_pages(struct bus_space *space, size_t count, uint32_t *pages);
/* In any order, and not only as they were allocated together. */
void bus_space_release_pages(struct bus_space *space, size_t count, const uint32_t *pages);
/* The bus address of a page. Takes no lock. */
uint64_t bus_space_page_address(const struct bus_space *space, uint32_t page);

void bus_space_get_stats(struct bus_space *space, struct bus_space_stats *stats);

#endif
