/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of bus address spaces share. */
#ifndef TESTS_IOMMU_BUS_FIXTURE_H
#define TESTS_IOMMU_BUS_FIXTURE_H

#include "iommu/bus_space.h"
#include "unit.h"

#define PAGE PAGE_SIZE_4K
#define BASE UINT64_C(0x100000000)
/* An aperture of n pages. */
#define SPACE(n) ((struct range){BASE, BASE + (n)*PAGE - 1})

static inline struct bus_space *space_new(struct range aperture, const struct range *reserved,
                                          size_t n)
{
    const struct bus_space_config config = {aperture, reserved, n};
    struct umdev_error error = {""};
    struct bus_space *space = NULL;

    assert_int_equal(bus_space_new(&config, &space, &error), 0);
    assert_string_equal(error.message, "");
    return space;
}

static inline void assert_stats(struct bus_space *space, uint64_t pages, uint64_t largest,
                                size_t ranges)
{
    struct bus_space_stats stats;

    bus_space_get_stats(space, &stats);
    assert_int_equal(stats.free_pages, pages);
    assert_int_equal(stats.largest_pages, largest);
    assert_int_equal(stats.free_ranges, ranges);
}

#endif
