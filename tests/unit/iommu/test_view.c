/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: one mapping of a file for all that a client maps of it, and copies through aliases.
 */
#include "fixture.h"

#include "failnth.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int map(struct fixture *f, uint64_t iova, uint64_t size, int fd, uint64_t offset,
               unsigned prot)
{
    return iommu_map(f->iommu, IOVA(iova), size, fd, offset, prot);
}

static void test_mappings_of_a_file_share_it(void **state)
{
    struct fixture *f = *state;
    unsigned maps = fixture_count_maps();
    int again = fixture_reopen(f->fd, O_RDWR);

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    assert_int_equal(fixture_count_maps(), maps + 1);
    fixture_map(f, 0x2000, 4 * PAGE, 3 * PAGE, UMDEV_READ);
    assert_int_equal(map(f, 0x10000, PAGE, again, 15 * PAGE, UMDEV_WRITE), 0);
    assert_int_equal(fixture_count_maps(), maps + 1);
    fixture_unmap(f, 0x1000, 5 * PAGE, 5 * PAGE);
    assert_int_equal(fixture_count_maps(), maps + 1);
    fixture_unmap(f, 0x10000, PAGE, PAGE);
    assert_int_equal(fixture_count_maps(), maps);
    close(again);
}

/* The access that a mapping can be given later is that of its own fd. */
static void test_views_for_reading(void **state)
{
    struct fixture *f = *state;
    int reading = fixture_reopen(f->fd, O_RDONLY);
    unsigned maps = fixture_count_maps();

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_READ);
    assert_int_equal(map(f, 0x2000, PAGE, reading, 0, UMDEV_READ), 0);
    assert_int_equal(fixture_count_maps(), maps + 2);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x2000), PAGE, UMDEV_RW), -EPERM);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x1000), PAGE, UMDEV_RW), 0);
    close(reading);
}

static void test_growing_file(void **state)
{
    struct fixture *f = *state;
    int fd = fixture_memfd(PAGE);
    unsigned maps = fixture_count_maps();

    for (uint64_t page = 0; page < 1000; page++) {
        uint64_t found;

        assert_int_equal(ftruncate(fd, (off_t)((page + 1) * PAGE)), 0);
        assert_int_equal(pwrite(fd, &page, sizeof(page), (off_t)(page * PAGE)), sizeof(page));
        assert_int_equal(map(f, page * PAGE, PAGE, fd, page * PAGE, UMDEV_RW), 0);
        assert_int_equal(iommu_read(f->iommu, IOVA(page * PAGE), &found, sizeof(found)), 0);
        assert_int_equal(found, page);
    }
    assert_true(fixture_count_maps() <= maps + 11);
    assert_false(iommu_lost(f->iommu));
    close(fd);
}

/* More than the kernel grants mappings to a process. */
static void test_all_the_mappings_there_can_be(void **state)
{
    struct fixture *f = *state;
    int fd = fixture_memfd(IOMMU_MAX_MAPPINGS * PAGE);
    struct iommu_stats stats;
    uint64_t found = 1;

    for (uint64_t i = 0; i < IOMMU_MAX_MAPPINGS; i++)
        assert_int_equal(map(f, 2 * i * PAGE, PAGE, fd, i * PAGE, UMDEV_RW), 0);
    iommu_get_stats(f->iommu, &stats);
    assert_int_equal(stats.maps, IOMMU_MAX_MAPPINGS);
    assert_int_equal(fixture_count_maps(), 1);
    assert_int_equal(iommu_read(f->iommu, IOVA(2 * 65534 * PAGE), &found, 8), 0);
    assert_int_equal(found, 0);
    assert_int_equal(map(f, PAGE, PAGE, fd, 0, UMDEV_RW), -ENOSPC);
    fixture_unmap(f, 0, UINT64_C(1) << 40, IOMMU_MAX_MAPPINGS * PAGE);
    assert_int_equal(fixture_count_maps(), 0);
    close(fd);
}

static void test_sparse_file(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = UINT64_C(1) << 40;
    int fd = fixture_memfd(size);
    uint64_t word = 7;
    int ret = map(f, 0, size, fd, 0, UMDEV_RW);

    if (ret == -ENOMEM) {
        close(fd);
        print_message("the process has not so much address space\n");
        skip();
    }
    assert_int_equal(ret, 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(size - 8), &word, 8), 0);
    word = 0;
    assert_int_equal(pread(fd, &word, 8, (off_t)(size - 8)), 8);
    assert_int_equal(word, 7);
    fixture_unmap(f, 0, size, size);
    close(fd);
}

/* A view that the last client's window keeps is not the next client's. */
static void test_next_client_has_views_of_its_own(void **state)
{
    struct fixture *f = *state;
    uint64_t word = 5;
    size_t got;
    void *hold;
    void *ptr;

    guard_take_over();
    fixture_map(f, 0x1000, PAGE, 8 * PAGE, UMDEV_RW);
    assert_int_equal(iommu_acquire(f->iommu, IOVA(0x1000), 8, UMDEV_RW, &ptr, &got, &hold), 0);
    assert_int_equal(ftruncate(f->fd, 0), 0);
    *(volatile uint64_t *)ptr = 3;
    assert_true(iommu_lost(f->iommu));
    assert_int_equal(iommu_unmap_all(f->iommu, 0), -ETIMEDOUT);
    assert_int_equal(ftruncate(f->fd, FIXTURE_PAGES * PAGE), 0);
    fixture_map(f, 0x1000, PAGE, 8 * PAGE, UMDEV_RW);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), &word, 8), 0);
    assert_int_equal(pread(f->fd, &word, 8, 8 * PAGE), 8);
    assert_int_equal(word, 5);
    assert_false(iommu_lost(f->iommu));
    iommu_release(f->iommu, hold);
}

static void test_thousands_of_files(void **state)
{
    struct fixture *f = *state;
    unsigned maps = fixture_count_maps();

    for (uint64_t i = 0; i < 3000; i++) {
        int fd = fixture_memfd(PAGE);

        assert_int_equal(pwrite(fd, &i, sizeof(i), 0), sizeof(i));
        assert_int_equal(map(f, i * PAGE, PAGE, fd, 0, UMDEV_RW), 0);
        close(fd);
    }
    assert_int_equal(fixture_count_maps(), maps + 3000);
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t found;

        assert_int_equal(iommu_read(f->iommu, IOVA(i * PAGE), &found, sizeof(found)), 0);
        assert_int_equal(found, i);
    }
    fixture_unmap(f, 0, 3000 * PAGE, 3000 * PAGE);
    assert_int_equal(fixture_count_maps(), maps);
}

/* ------------------------------------------------------------------------ aliases */

static void fill(const struct fixture *f, uint8_t *bytes)
{
    for (size_t i = 0; i < FIXTURE_PAGES * PAGE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(pwrite(f->fd, bytes, FIXTURE_PAGES * PAGE, 0), FIXTURE_PAGES * PAGE);
}

static void check_file(const struct fixture *f, const uint8_t *expected)
{
    static uint8_t found[FIXTURE_PAGES * PAGE];

    assert_int_equal(pread(f->fd, found, sizeof(found), 0), sizeof(found));
    assert_memory_equal(found, expected, sizeof(found));
}

static void test_copy_onto_an_alias(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[FIXTURE_PAGES * PAGE];

    fill(f, bytes);
    fixture_map(f, 0x10000, 4 * PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x20000, 4 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x20100), IOVA(0x10000), 2 * PAGE), 0);
    memmove(bytes + 0x100, bytes, 2 * PAGE);
    check_file(f, bytes);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x10000), IOVA(0x20100), 2 * PAGE), 0);
    memmove(bytes, bytes + 0x100, 2 * PAGE);
    check_file(f, bytes);
}

/* The views are two, the page is one: addresses tell nothing. */
static void test_copy_between_views(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[FIXTURE_PAGES * PAGE];
    int reading = fixture_reopen(f->fd, O_RDONLY);

    fill(f, bytes);
    fixture_map(f, 0x10000, 4 * PAGE, 0, UMDEV_RW);
    assert_int_equal(map(f, 0x20000, 4 * PAGE, reading, 0, UMDEV_READ), 0);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x10100), IOVA(0x20000), 2 * PAGE), 0);
    memmove(bytes + 0x100, bytes, 2 * PAGE);
    check_file(f, bytes);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x10000), IOVA(0x20100), 2 * PAGE), 0);
    memmove(bytes, bytes + 0x100, 2 * PAGE);
    check_file(f, bytes);
    close(reading);
}

/* No order of the pages is right. `pages` of them, each a mapping, against their mirror image. */
static void check_mirror(struct fixture *f, size_t pages)
{
    uint8_t expected[2] = {0};
    int fd = fixture_memfd(pages * PAGE);

    for (size_t i = 0; i < pages; i++) {
        uint8_t number = (uint8_t)(i + 1);

        assert_int_equal(pwrite(fd, &number, 1, (off_t)(i * PAGE)), 1);
        assert_int_equal(map(f, 0x100000 + i * PAGE, PAGE, fd, i * PAGE, UMDEV_RW), 0);
        assert_int_equal(map(f, 0x400000 + i * PAGE, PAGE, fd, (pages - 1 - i) * PAGE, UMDEV_RW),
                         0);
    }
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x400000), IOVA(0x100000), pages * PAGE), 0);
    for (size_t i = 0; i < pages; i++) {
        assert_int_equal(pread(fd, expected, 1, (off_t)(i * PAGE)), 1);
        assert_int_equal(expected[0], pages - i);
    }
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    close(fd);
}

static void test_copy_that_swaps(void **state)
{
    check_mirror(*state, 2);
    check_mirror(*state, 7);
    check_mirror(*state, 200);
}

/* ------------------------------------------------------------------------ failing calls */

#define MANY 40

static int use_views(struct fixture *f, const int *fds)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < MANY; i++) {
        ret = map(f, i * 2 * PAGE, PAGE, fds[i], PAGE, UMDEV_RW);
        if (ret == 0)
            ret = map(f, (i * 2 + 1) * PAGE, PAGE, fds[i], 0, UMDEV_READ);
    }
    return ret;
}

static void test_failing_calls(void **state)
{
    struct fixture *f = *state;
    unsigned maps = fixture_count_maps();
    int fds[MANY];
    bool failed = true;
    unsigned n;

    for (size_t i = 0; i < MANY; i++)
        fds[i] = fixture_memfd(4 * PAGE);
    for (n = 1; failed; n++) {
        int ret;

        failnth_arm(n);
        ret = use_views(f, fds);
        failed = failnth_disarm();
        /* Where a whole view can't be made an exact one is. */
        assert_true(ret == 0 || (failed && ret == -ENOMEM));
        assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
        assert_int_equal(fixture_count_maps(), maps);
    }
    /* Two mappings, a view and its mmap() for each; a whole view that fails may become an exact
     * one.
     */
    assert_true(n > 3 * MANY);
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define TEST_UNWATCHED(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, fixture_setup_unwatched, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_mappings_of_a_file_share_it),
        TEST(test_views_for_reading),
        TEST_UNWATCHED(test_growing_file),
        TEST_UNWATCHED(test_all_the_mappings_there_can_be),
        TEST(test_sparse_file),
        TEST(test_next_client_has_views_of_its_own),
        TEST_UNWATCHED(test_thousands_of_files),
        TEST(test_copy_onto_an_alias),
        TEST(test_copy_between_views),
        TEST_UNWATCHED(test_copy_that_swaps),
        TEST_UNWATCHED(test_failing_calls),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
