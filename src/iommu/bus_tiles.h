/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ranges of a bus space, free and taken.
 *
 * Data model. A tile is a range of pages that is free or taken. All tiles are in a list in order of
 * address: each page of the space is in exactly one, reserved windows are in none, and no two free
 * tiles touch. Free tiles are holes; they are in a tree, too, by size, then by address: one tree
 * for those that begin where page numbers reach (low), one for the others.
 *
 * Neighbours come from the list, so that no tree by address is needed. Taking cuts one hole into at
 * most three tiles and makes the two that are new; giving back only merges. A tile keeps its first
 * address as long as it lives: cuts and merges change last ones. So a space that got everything
 * back has the very tiles, and the memory, that it began with.
 *
 * No locks here: the space's is held.
 */
#ifndef IOMMU_BUS_TILES_H
#define IOMMU_BUS_TILES_H

#include "iommu/bus_space.h"

#include <bsd/sys/tree.h>
#include <sys/queue.h>

struct bus_tile {
    struct bus_range taken; /* its range, also while it is free; the first member */
    bool is_free;
    TAILQ_ENTRY(bus_tile) in_order;
    RB_ENTRY(bus_tile) by_size; /* while it is free */
};

/* RB_GENERATE_STATIC() needs a macro __unused, which libbsd leaves to the system's libc. */
#define BUS_TREE_GENERATE(name, type, field, compare)                                              \
    RB_GENERATE_INTERNAL(name, type, field, compare, __attribute__((unused)) static)

TAILQ_HEAD(bus_tile_list, bus_tile);
RB_HEAD(bus_hole_tree, bus_tile);

struct bus_tiles {
    struct bus_tile_list list;
    struct bus_hole_tree low, high;
    uint64_t low_last; /* a hole that begins at or below it is in `low` */
    uint64_t free_pages;
    size_t num_holes;
};

/*
 * One hole for each piece of `aperture` between the windows. All zeros before; to be emptied also
 * on failure. EINVAL: there is no such piece. ENOMEM.
 */
int bus_tiles_init(struct bus_tiles *tiles, struct range aperture, const struct range *reserved,
                   size_t nreserved);
/* Frees all tiles, the taken ones, too. */
void bus_tiles_empty(struct bus_tiles *tiles);

/* Whole pages, align a power of two and at least a page. ENOSPC, ENOMEM: nothing has changed. */
int bus_tiles_take(struct bus_tiles *tiles, uint64_t size, uint64_t align, struct bus_tile **tile);
/* At most `size` bytes that end at or below low_last; as many as any hole there has. */
int bus_tiles_take_low(struct bus_tiles *tiles, uint64_t size, struct bus_tile **tile);
void bus_tiles_give(struct bus_tiles *tiles, struct bus_tile *tile);

/* The pages of the largest hole; 0: there is none. */
uint64_t bus_tiles_largest(struct bus_tiles *tiles);

#endif
