/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of mapping and unmapping: ranges, protections, limits, overlaps, type1 v2's unmap.
 */
#include "fixture.h"

#include "failnth.h"
#include "leaks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOP (UINT64_MAX - PAGE + 1) /* the last page */

static int map(struct fixture *f, uint64_t iova, uint64_t size, uint64_t offset, unsigned prot)
{
    return iommu_map(f->iommu, IOVA(iova), size, f->fd, offset, prot);
}

static uint64_t count(struct fixture *f)
{
    struct iommu_stats stats;

    iommu_get_stats(f->iommu, &stats);
    return stats.maps;
}

static void test_bad_ranges(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0x1000, 0, 0, UMDEV_RW), -EINVAL);
    fixture_assert_logged(f, "the size is 0");
    assert_int_equal(map(f, 0x1001, PAGE, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(map(f, 0x1000, PAGE + 1, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(map(f, 0x1000, 512, 0, UMDEV_RW), -EINVAL);
    fixture_assert_logged(f, "multiples of 4096");
    assert_int_equal(map(f, 0x1000, PAGE, 512, UMDEV_RW), -EINVAL);
    fixture_assert_logged(f, "offset must be a multiple");
    assert_int_equal(map(f, TOP, 2 * PAGE, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(map(f, PAGE, -PAGE + PAGE, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(iommu_map(f->iommu, IOVA(2 * PAGE), -PAGE, -1, 0, UMDEV_RW), -EINVAL);
    fixture_assert_logged(f, "past the end");
    assert_int_equal(count(f), 0);
}

static void test_bad_protections(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0x1000, PAGE, 0, 0), -EINVAL);
    assert_int_equal(map(f, 0x1000, PAGE, 0, 4), -EINVAL);
    assert_int_equal(map(f, 0x1000, PAGE, 0, UMDEV_RW | 0x80000000u), -EINVAL);
    fixture_assert_logged(f, "protection must be");
    assert_int_equal(count(f), 0);
}

static void test_bad_map_says_what_and_not_for_ever(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0xabc000, PAGE, 0x7000, 0), -EINVAL);
    fixture_assert_logged(f,
                          "dev: refused to map IOVA 0xabc000, size 0x1000, file at offset 0x7000");
    for (int i = 0; i < 1000; i++)
        map(f, 0x1000, PAGE, 0, 0);
    assert_int_equal(f->lines, 16);
    /* The next client is listened to again. */
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    map(f, 0x1000, PAGE, 0, 0);
    assert_int_equal(f->lines, 17);
}

static void test_overlaps(void **state)
{
    struct fixture *f = *state;

    fixture_map(f, 0x10000, 4 * PAGE, 0, UMDEV_RW);
    assert_int_equal(map(f, 0x10000, 4 * PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(map(f, 0x0f000, 2 * PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(map(f, 0x13000, 2 * PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(map(f, 0x11000, PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(map(f, 0x0f000, 6 * PAGE, 0, UMDEV_RW), -EEXIST);
    fixture_assert_logged(f, "overlaps");
    assert_int_equal(count(f), 1);
    /* Neighbours are none. */
    fixture_map(f, 0x0f000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x14000, PAGE, 0, UMDEV_RW);
    assert_int_equal(count(f), 3);
}

static void test_first_and_last_page(void **state)
{
    struct fixture *f = *state;
    uint8_t out[2] = {1, 2};
    uint8_t in[2] = {0};

    fixture_map(f, 0, PAGE, 0, UMDEV_RW);
    fixture_map(f, TOP, PAGE, PAGE, UMDEV_RW);
    assert_int_equal(map(f, TOP, PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(iommu_write(f->iommu, IOVA(UINT64_MAX - 1), out, 2), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(UINT64_MAX - 1), in, 2), 0);
    assert_memory_equal(in, out, 2);
    assert_int_equal(iommu_read(f->iommu, IOVA(UINT64_MAX), in, 2), -EOVERFLOW);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0), IOVA(UINT64_MAX - 1), 2), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0), in, 2), 0);
    assert_memory_equal(in, out, 2);
    fixture_unmap(f, TOP, PAGE, PAGE);
    fixture_unmap(f, 0, PAGE, PAGE);
}

static void test_whole_address_space(void **state)
{
    struct fixture *f = *state;
    struct iommu_stats stats;
    uint64_t half = UINT64_C(1) << 63;

    assert_int_equal(iommu_map(f->iommu, IOVA(0), half, -1, 0, UMDEV_RW), 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(half), half, -1, 0, UMDEV_RW), 0);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.maps, 2);
    assert_true(stats.mapped_bytes == UINT64_MAX);
    assert_int_equal(map(f, 0x5000, PAGE, 0, UMDEV_RW), -EEXIST);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0), -PAGE), -EINVAL);
    fixture_unmap(f, half, half, half);
    iommu_get_stats(f->iommu, &stats);
    assert_true(stats.mapped_bytes == half);
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    iommu_get_stats(f->iommu, &stats);
    assert_true(stats.maps == 0 && stats.mapped_bytes == 0);
}

static void test_entry_limit(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < IOMMU_MAX_MAPPINGS; i++)
        assert_int_equal(iommu_map(f->iommu, IOVA(2 * i * PAGE), PAGE, -1, 0, UMDEV_READ), 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(TOP), PAGE, -1, 0, UMDEV_READ), -ENOSPC);
    assert_int_equal(map(f, TOP, PAGE, 0, UMDEV_READ), -ENOSPC);
    fixture_unmap(f, 0, PAGE, PAGE);
    assert_int_equal(iommu_map(f->iommu, IOVA(TOP), PAGE, -1, 0, UMDEV_READ), 0);
    assert_int_equal(count(f), IOMMU_MAX_MAPPINGS);
}

static void test_unmap_bad_ranges(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t iova, size;
    } bad[] = {
        {0x1000, 0}, {0x1001, PAGE}, {0x1000, 100}, {TOP, 2 * PAGE}, {2 * PAGE, -PAGE},
    };

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t unmapped = 7;

        assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(bad[i].iova), bad[i].size), -EINVAL);
        assert_int_equal(iommu_unmap(f->iommu, IOVA(bad[i].iova), bad[i].size, 0, &unmapped),
                         -EINVAL);
        assert_int_equal(unmapped, 0);
    }
    assert_int_equal(count(f), 1);
}

static void test_unmap_does_not_bisect(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t iova, size;
    } bad[] = {
        {0x10000, 3 * PAGE}, {0x11000, 3 * PAGE},  {0x11000, PAGE},
        {0x0f000, 2 * PAGE}, {0x13000, 16 * PAGE}, {0x00000, 0x21000},
    };

    fixture_map(f, 0x10000, 4 * PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x20000, 4 * PAGE, 4 * PAGE, UMDEV_RW);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t unmapped = 7;

        assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(bad[i].iova), bad[i].size), -EINVAL);
        assert_int_equal(iommu_unmap(f->iommu, IOVA(bad[i].iova), bad[i].size, 0, &unmapped),
                         -EINVAL);
        assert_int_equal(unmapped, 0);
    }
    assert_int_equal(count(f), 2);
}

static void test_unmap_none_or_many(void **state)
{
    struct fixture *f = *state;

    fixture_unmap(f, 0, PAGE, 0);
    fixture_map(f, 0x10000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x20000, 2 * PAGE, PAGE, UMDEV_READ);
    fixture_map(f, 0x22000, PAGE, 3 * PAGE, UMDEV_WRITE);
    fixture_map(f, 0x40000, PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0x11000), 0xf000), 0);
    fixture_unmap(f, 0x11000, 0xf000, 0);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0x11000), 0x20000), 0);
    assert_int_equal(count(f), 4);
    fixture_unmap(f, 0x11000, 0x20000, 3 * PAGE);
    assert_int_equal(count(f), 2);
    fixture_unmap(f, 0x10000, 0x31000, 2 * PAGE);
    assert_int_equal(count(f), 0);
}

/* What QEMU sends when it takes a translated domain down. */
static void test_unmap_as_qemu(void **state)
{
    struct fixture *f = *state;

    fixture_map(f, 0, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0xc0000, 4 * PAGE, 0, UMDEV_READ);
    fixture_map(f, 0xfedff000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0xfef00000, PAGE, 0, UMDEV_RW);
    fixture_map(f, UINT64_C(1) << 32, 8 * PAGE, 0, UMDEV_RW);
    fixture_map(f, TOP, PAGE, 0, UMDEV_RW);
    fixture_unmap(f, 0, 0xfee00000, 6 * PAGE);
    fixture_unmap(f, 0xfef00000, 0xffffffff01100000, 10 * PAGE);
    fixture_unmap(f, 0xfef00000, 0xffffffff01100000, 0);
    assert_int_equal(count(f), 0);
}

static void test_map_again_after_unmap(void **state)
{
    struct fixture *f = *state;
    unsigned maps = fixture_count_maps();
    unsigned fds = leaks_count_fds();

    for (int i = 0; i < 1000; i++) {
        fixture_map(f, 0x1000, 8 * PAGE, 0, UMDEV_RW);
        fixture_map(f, 0x9000, 8 * PAGE, 0, UMDEV_READ);
        fixture_unmap(f, 0, 0x100000, 16 * PAGE);
    }
    assert_int_equal(fixture_count_maps(), maps);
    assert_int_equal(leaks_count_fds(), fds);
}

struct ranges {
    struct fixture *f;
    size_t count;
    struct range ranges[8];
};

/* Calls back in, which a lock held would not survive. */
static void collect(void *opaque, struct range range)
{
    struct ranges *ranges = opaque;

    assert_true(ranges->count < ARRAY_SIZE(ranges->ranges));
    ranges->ranges[ranges->count++] = range;
    fixture_unmap(ranges->f, range.first, range_size_minus_1(range) + 1,
                  range_size_minus_1(range) + 1);
}

static void test_for_each(void **state)
{
    struct fixture *f = *state;
    struct ranges found = {.f = f};

    assert_int_equal(iommu_for_each(f->iommu, collect, &found), 0);
    assert_int_equal(found.count, 0);
    fixture_map(f, 0x5000, PAGE, 0, UMDEV_RW);
    fixture_map(f, TOP, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0, 2 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_for_each(f->iommu, collect, &found), 0);
    assert_int_equal(found.count, 3);
    assert_true(found.ranges[0].first == 0 && found.ranges[0].last == 2 * PAGE - 1);
    assert_true(found.ranges[1].first == 0x5000 && found.ranges[1].last == 0x5fff);
    assert_true(found.ranges[2].first == TOP && found.ranges[2].last == UINT64_MAX);
    assert_int_equal(count(f), 0);
}

/* ------------------------------------------------------------------------ failing calls */

static void ignore(void *opaque, struct range range)
{
    (void)opaque;
    (void)range;
}

/* More mappings than the table's first array has room for. */
#define MANY 40

static int use_iommu(void *opaque)
{
    const struct fixture *f = opaque;
    struct iommu *iommu;
    int ret = iommu_new(&f->log, "dev", &iommu);

    for (unsigned i = 0; ret == 0 && i < MANY; i++) {
        ret = iommu_map(iommu, IOVA(i * 2 * PAGE), PAGE, i % 3 ? f->fd : -1, 0, UMDEV_RW);
        if (ret)
            iommu_free(iommu);
    }
    if (ret)
        return ret;
    ret = iommu_for_each(iommu, ignore, NULL);
    iommu_free(iommu);
    return ret;
}

static void test_failing_calls(void **state)
{
    /* An iommu, a loss flag, MANY mappings, a view and its mmap(), and the table's nodes. */
    assert_true(failnth_run(use_iommu, NULL, *state) >= MANY + 10);
}

/* So many that everything that grows has grown. */
static void test_failed_map_changes_nothing(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 1000; i++) {
        int ret = -ENOMEM;

        for (unsigned n = 1; ret; n++) {
            failnth_arm(n);
            ret = map(f, i * 2 * PAGE, PAGE, 0, UMDEV_RW);
            failnth_disarm();
            assert_true(ret == 0 || ret == -ENOMEM);
            assert_int_equal(count(f), ret ? i : i + 1);
        }
    }
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    assert_int_equal(fixture_count_maps(), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define TEST_UNWATCHED(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, fixture_setup_unwatched, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_bad_ranges),
        TEST(test_bad_protections),
        TEST(test_bad_map_says_what_and_not_for_ever),
        TEST(test_overlaps),
        TEST(test_first_and_last_page),
        TEST(test_whole_address_space),
        TEST_UNWATCHED(test_entry_limit),
        TEST(test_unmap_bad_ranges),
        TEST(test_unmap_does_not_bisect),
        TEST(test_unmap_none_or_many),
        TEST(test_unmap_as_qemu),
        TEST(test_map_again_after_unmap),
        TEST(test_for_each),
        TEST_UNWATCHED(test_failing_calls),
        TEST_UNWATCHED(test_failed_map_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
