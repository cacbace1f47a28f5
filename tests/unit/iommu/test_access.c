/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads, writes and copies: errnos, borders of mappings, overlaps, counters.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file's pages hold different bytes everywhere. */
static void fill(const struct fixture *f, uint8_t bytes[FIXTURE_PAGES * PAGE])
{
    for (size_t i = 0; i < FIXTURE_PAGES * PAGE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(pwrite(f->fd, bytes, FIXTURE_PAGES * PAGE, 0), FIXTURE_PAGES * PAGE);
}

/* Three neighbours whose pages lie in the file in another order: 0x10000 to 0x15fff. */
static void map_neighbours(struct fixture *f)
{
    fixture_map(f, 0x12000, 3 * PAGE, 8 * PAGE, UMDEV_RW);
    fixture_map(f, 0x10000, 2 * PAGE, 12 * PAGE, UMDEV_RW);
    fixture_map(f, 0x15000, PAGE, 0, UMDEV_RW);
}

/* Where a byte of those lies in the file. */
static uint64_t neighbour_offset(uint64_t iova)
{
    if (iova < 0x12000)
        return iova - 0x10000 + 12 * PAGE;
    return iova < 0x15000 ? iova - 0x12000 + 8 * PAGE : iova - 0x15000;
}

static void test_not_mapped(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[2 * PAGE] = {0};

    assert_int_equal(iommu_read(f->iommu, IOVA(0x10000), buf, 1), -EFAULT);
    map_neighbours(f);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x0ffff), buf, 1), -EFAULT);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x0ffff), buf, 2), -EFAULT);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x16000), buf, 1), -EFAULT);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x15fff), buf, 2), -EFAULT);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x15000), buf, sizeof(buf)), -EFAULT);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x15fff), IOVA(0x10000), 2), -EFAULT);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x10000), IOVA(0x15fff), 2), -EFAULT);
    /* A hole between two. */
    fixture_map(f, 0x17000, PAGE, PAGE, UMDEV_RW);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x15fff), buf, PAGE + 2), -EFAULT);
}

static void test_protections(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[2] = {0};

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_READ);
    fixture_map(f, 0x2000, PAGE, PAGE, UMDEV_WRITE);
    fixture_map(f, 0x3000, PAGE, 2 * PAGE, UMDEV_RW);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), buf, 1), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), buf, 1), -EPERM);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x2000), buf, 1), -EPERM);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x2000), buf, 1), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1fff), buf, 2), -EPERM);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1fff), buf, 2), -EPERM);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x2fff), buf, 2), 0);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x2000), IOVA(0x1000), PAGE), 0);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x1000), IOVA(0x3000), 1), -EPERM);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x3000), IOVA(0x2000), 1), -EPERM);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x3000), IOVA(0x1000), PAGE + 1), -EPERM);
}

static void test_memory_without_a_file(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[2] = {0};

    assert_int_equal(iommu_map(f->iommu, IOVA(0x1000), PAGE, -1, 0, UMDEV_READ), 0);
    fixture_map(f, 0x2000, PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), buf, 1), -EOPNOTSUPP);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), buf, 1), -EPERM);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1fff), buf, 2), -EOPNOTSUPP);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x2000), IOVA(0x1000), 1), -EOPNOTSUPP);
}

static void test_wrapping_and_empty(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[8] = {0};

    assert_int_equal(iommu_read(f->iommu, IOVA(UINT64_MAX - 3), buf, 5), -EOVERFLOW);
    assert_int_equal(iommu_write(f->iommu, IOVA(UINT64_MAX - 3), buf, 5), -EOVERFLOW);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0), IOVA(UINT64_MAX - 3), 5), -EOVERFLOW);
    assert_int_equal(iommu_copy(f->iommu, IOVA(UINT64_MAX - 3), IOVA(0), 5), -EOVERFLOW);
    assert_int_equal(iommu_read(f->iommu, IOVA(1), buf, SIZE_MAX), -EFAULT);
    assert_int_equal(iommu_read(f->iommu, IOVA(0), NULL, 0), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(UINT64_MAX), NULL, 0), 0);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0), IOVA(5), 0), 0);
}

static void test_nothing_moves_before_all_is_checked(void **state)
{
    struct fixture *f = *state;
    uint8_t ones[PAGE + 1];
    uint8_t found[PAGE];
    uint8_t zeros[PAGE] = {0};

    memset(ones, 1, sizeof(ones));
    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x2000, PAGE, PAGE, UMDEV_READ);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), ones, sizeof(ones)), -EPERM);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), found, PAGE), 0);
    assert_memory_equal(found, zeros, PAGE);
}

static void test_all_sizes_and_alignments(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[FIXTURE_PAGES * PAGE];

    fill(f, bytes);
    map_neighbours(f);
    for (uint64_t iova = 0x12000 - 20; iova < 0x12000 + 20; iova++) {
        for (size_t len = 1; len <= 33; len++) {
            uint8_t found[40];
            uint8_t out[40];

            memset(found, 0xee, sizeof(found));
            assert_int_equal(iommu_read(f->iommu, IOVA(iova), found, len), 0);
            for (size_t i = 0; i < len; i++)
                assert_int_equal(found[i], bytes[neighbour_offset(iova + i)]);
            assert_int_equal(found[len], 0xee);
            for (size_t i = 0; i < len; i++)
                out[i] = bytes[neighbour_offset(iova + i)] += (uint8_t)(len + i);
            assert_int_equal(iommu_write(f->iommu, IOVA(iova), out, len), 0);
        }
    }
    for (uint64_t iova = 0x10000; iova < 0x16000; iova++) {
        uint8_t found;

        assert_int_equal(pread(f->fd, &found, 1, (off_t)neighbour_offset(iova)), 1);
        assert_int_equal(found, bytes[neighbour_offset(iova)]);
    }
}

static void test_across_all_borders(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[FIXTURE_PAGES * PAGE];
    static uint8_t found[6 * PAGE];

    fill(f, bytes);
    map_neighbours(f);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x10000), found, sizeof(found)), 0);
    for (size_t i = 0; i < sizeof(found); i++)
        assert_int_equal(found[i], bytes[neighbour_offset(0x10000 + i)]);
}

/* Copy within the neighbours and compare with memmove on their bytes in a row. */
static void check_copy(const struct fixture *f, uint64_t dst, uint64_t src, size_t len)
{
    static uint8_t expected[6 * PAGE];
    static uint8_t found[6 * PAGE];

    assert_int_equal(iommu_read(f->iommu, IOVA(0x10000), expected, sizeof(expected)), 0);
    memmove(expected + (dst - 0x10000), expected + (src - 0x10000), len);
    assert_int_equal(iommu_copy(f->iommu, IOVA(dst), IOVA(src), len), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x10000), found, sizeof(found)), 0);
    assert_memory_equal(found, expected, sizeof(found));
}

static void test_copy(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[FIXTURE_PAGES * PAGE];

    fill(f, bytes);
    map_neighbours(f);
    check_copy(f, 0x10000, 0x14000, 2 * PAGE);
    check_copy(f, 0x14000, 0x10000, 2 * PAGE);
    check_copy(f, 0x10003, 0x15001, 17);
    check_copy(f, 0x12000, 0x12000, PAGE);
    /* Overlaps: inside one mapping, over borders, over the whole, by one byte, both ways. */
    check_copy(f, 0x12001, 0x12000, PAGE);
    check_copy(f, 0x12000, 0x12001, PAGE);
    check_copy(f, 0x10001, 0x10000, 6 * PAGE - 1);
    check_copy(f, 0x10000, 0x10001, 6 * PAGE - 1);
    check_copy(f, 0x11000, 0x10000, 5 * PAGE);
    check_copy(f, 0x10000, 0x11000, 5 * PAGE);
    check_copy(f, 0x10fff, 0x10002, 4 * PAGE + 5);
    check_copy(f, 0x10002, 0x10fff, 4 * PAGE + 5);
}

static void test_counters(void **state)
{
    struct fixture *f = *state;
    struct iommu_stats stats;
    uint8_t buf[100] = {0};
    void *hold;
    void *ptr;
    size_t got;

    fixture_map(f, 0x1000, 2 * PAGE, 0, UMDEV_RW);
    iommu_read(f->iommu, IOVA(0x1000), buf, 100);
    iommu_write(f->iommu, IOVA(0x1000), buf, 10);
    iommu_copy(f->iommu, IOVA(0x2000), IOVA(0x1000), 1000);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.bytes_read, 1100);
    assert_int_equal(stats.bytes_written, 1010);
    /* What failed is not counted. */
    iommu_read(f->iommu, IOVA(0x2fff), buf, 100);
    iommu_write(f->iommu, IOVA(0), buf, 100);
    iommu_copy(f->iommu, IOVA(0), IOVA(0x1000), 100);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.bytes_read, 1100);
    assert_int_equal(stats.bytes_written, 1010);
    /* Windows count by their protection, as much as was given. */
    assert_int_equal(iommu_acquire(f->iommu, IOVA(0x2ff0), 100, UMDEV_READ, &ptr, &got, &hold), 0);
    iommu_release(f->iommu, hold);
    assert_int_equal(iommu_acquire(f->iommu, IOVA(0x1000), 100, UMDEV_RW, &ptr, &got, &hold), 0);
    iommu_release(f->iommu, hold);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.bytes_read, 1216);
    assert_int_equal(stats.bytes_written, 1110);
    assert_int_equal(stats.maps, 1);
    assert_int_equal(stats.mapped_bytes, 2 * PAGE);
    /* "Ever" is longer than a client. */
    iommu_unmap_all(f->iommu, 0);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.bytes_read, 1216);
    assert_int_equal(stats.maps, 0);
    assert_int_equal(stats.mapped_bytes, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_not_mapped),
        TEST(test_protections),
        TEST(test_memory_without_a_file),
        TEST(test_wrapping_and_empty),
        TEST(test_nothing_moves_before_all_is_checked),
        TEST(test_all_sizes_and_alignments),
        TEST(test_across_all_borders),
        TEST(test_copy),
        TEST(test_counters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
