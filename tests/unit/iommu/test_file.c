/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which client files are mapped, and which are refused: size, kind, file system, access.
 */
#include "fixture.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

static int map_fd(struct fixture *f, int fd, uint64_t size, uint64_t offset, unsigned prot)
{
    return iommu_map(f->iommu, IOVA(0x100000), size, fd, offset, prot);
}

/* Map, and show that the bytes are the file's; unmap. */
static void check_maps(struct fixture *f, int fd, uint64_t size, uint64_t offset)
{
    static const char text[] = "client memory";
    char found[sizeof(text)] = {0};
    int ret = map_fd(f, fd, size, offset, UMDEV_RW);

    if (ret)
        fail_msg("map gave %d: %s", ret, f->line);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x100000), text, sizeof(text)), 0);
    assert_int_equal(pread(fd, found, sizeof(found), (off_t)offset), sizeof(found));
    assert_string_equal(found, text);
    fixture_unmap(f, 0x100000, size, size);
}

static void test_file_too_short(void **state)
{
    struct fixture *f = *state;
    int fd = fixture_memfd(PAGE + 1);

    assert_int_equal(map_fd(f, f->fd, (FIXTURE_PAGES + 1) * PAGE, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(map_fd(f, f->fd, PAGE, FIXTURE_PAGES * PAGE, UMDEV_RW), -EINVAL);
    assert_int_equal(map_fd(f, f->fd, 2 * PAGE, (FIXTURE_PAGES - 1) * PAGE, UMDEV_RW), -EINVAL);
    assert_int_equal(map_fd(f, f->fd, PAGE, -PAGE, UMDEV_RW), -EINVAL);
    assert_int_equal(map_fd(f, f->fd, PAGE, UINT64_C(1) << 63, UMDEV_RW), -EINVAL);
    assert_int_equal(
        iommu_map(f->iommu, IOVA(0), UINT64_C(1) << 63, f->fd, UINT64_C(1) << 63, UMDEV_RW),
        -EINVAL);
    fixture_assert_logged(f, "too short");
    /* A page that is only partly there is not there. */
    assert_int_equal(map_fd(f, fd, 2 * PAGE, 0, UMDEV_RW), -EINVAL);
    check_maps(f, fd, PAGE, 0);
    close(fd);
    check_maps(f, f->fd, PAGE, (FIXTURE_PAGES - 1) * PAGE);
}

static void test_not_a_file(void **state)
{
    struct fixture *f = *state;
    int fds[] = {
        eventfd(0, EFD_CLOEXEC),
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
        open("/dev/zero", O_RDWR | O_CLOEXEC),
        open("/", O_RDONLY | O_CLOEXEC),
    };

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        assert_true(fds[i] >= 0);
        assert_int_equal(map_fd(f, fds[i], PAGE, 0, UMDEV_READ), -EINVAL);
        fixture_assert_logged(f, "not a regular file");
        close(fds[i]);
    }
    fds[0] = fixture_reopen(f->fd, O_PATH);
    assert_int_equal(map_fd(f, fds[0], PAGE, 0, UMDEV_READ), -EINVAL);
    fixture_assert_logged(f, "not open");
    close(fds[0]);
    /* A number that is no fd. */
    assert_int_equal(map_fd(f, 1000000, PAGE, 0, UMDEV_READ), -EINVAL);
}

static void test_access_mode(void **state)
{
    struct fixture *f = *state;
    int reading = fixture_reopen(f->fd, O_RDONLY);
    int writing = fixture_reopen(f->fd, O_WRONLY);
    uint8_t byte = 1;

    assert_int_equal(map_fd(f, reading, PAGE, 0, UMDEV_WRITE), -EINVAL);
    assert_int_equal(map_fd(f, reading, PAGE, 0, UMDEV_RW), -EINVAL);
    fixture_assert_logged(f, "not open for reading and writing");
    assert_int_equal(map_fd(f, writing, PAGE, 0, UMDEV_WRITE), -EINVAL);
    assert_int_equal(map_fd(f, writing, PAGE, 0, UMDEV_READ), -EINVAL);
    fixture_assert_logged(f, "not open for reading");
    assert_int_equal(map_fd(f, reading, PAGE, 0, UMDEV_READ), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x100000), &byte, 1), 0);
    assert_int_equal(byte, 0);
    close(reading);
    close(writing);
}

static void test_sealed_against_writing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fcntl(f->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_int_equal(map_fd(f, f->fd, PAGE, 0, UMDEV_RW), -EINVAL);
    assert_int_equal(map_fd(f, f->fd, PAGE, 0, UMDEV_READ), 0);
}

static void test_fd_stays_with_the_caller(void **state)
{
    struct fixture *f = *state;
    int fd = fixture_memfd(PAGE);
    uint8_t byte = 7;

    assert_int_equal(map_fd(f, fd, PAGE, 0, UMDEV_RW), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x100000), &byte, 1), 0);
}

/* A file on a file system that is neither memory nor a local disk, yet as large as it says. */
static void test_foreign_file_system(void **state)
{
    struct fixture *f = *state;
    int fd = open("/sys/kernel/profiling", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fd = open("/sys/power/state", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || lseek(fd, 0, SEEK_END) < (off_t)PAGE) {
        if (fd >= 0)
            close(fd);
        print_message("no file of a page in sysfs\n");
        skip();
    }
    assert_int_equal(map_fd(f, fd, PAGE, 0, UMDEV_READ), -EINVAL);
    fixture_assert_logged(f, "file system of type 0x62656572");
    close(fd);
}

/* A file in `folder`, which has no name any more; −1: can't be made there. */
static int file_in(const char *folder, uint64_t size)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/umdev-test-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
    }
    return fd;
}

static void test_tmpfs(void **state)
{
    int fd = file_in("/dev/shm", 4 * PAGE);

    if (fd < 0) {
        print_message("no file in /dev/shm\n");
        skip();
    }
    check_maps(*state, fd, 2 * PAGE, 2 * PAGE);
    close(fd);
}

static void test_local_disk(void **state)
{
    struct fixture *f = *state;
    int fd = file_in(P_tmpdir, 4 * PAGE);
    struct statfs status;

    if (fd < 0 || fstatfs(fd, &status)) {
        print_message("no file in " P_tmpdir "\n");
        skip();
    }
    if (status.f_type == OVERLAYFS_SUPER_MAGIC) {
        assert_int_equal(map_fd(f, fd, PAGE, 0, UMDEV_READ), -EINVAL);
        fixture_assert_logged(f, "file system");
    } else {
        check_maps(f, fd, 2 * PAGE, PAGE);
    }
    close(fd);
}

/* Mapped in whole huge pages, seen in pages of 4 KiB. */
static void test_huge_pages(void **state)
{
    struct fixture *f = *state;
    const uint64_t huge = UINT64_C(2) << 20;
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    uint64_t word = 0x1234;

    guard_take_over();
    if (fd < 0 || ftruncate(fd, (off_t)(2 * huge)) ||
        map_fd(f, fd, PAGE, huge, UMDEV_RW) == -ENOMEM) {
        if (fd >= 0)
            close(fd);
        print_message("no huge pages of 2 MiB\n");
        skip();
    }
    fixture_unmap(f, 0x100000, PAGE, PAGE);
    /* A part that begins in one huge page and ends in the next. */
    assert_int_equal(map_fd(f, fd, 2 * PAGE, huge - PAGE, UMDEV_RW), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x100000 + PAGE - 4), &word, 8), 0);
    word = 0;
    assert_int_equal(pread(fd, &word, 8, (off_t)(huge - 4)), 8);
    assert_int_equal(word, 0x1234);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x100000 + 2 * PAGE), &word, 1), -EFAULT);
    assert_int_equal(map_fd(f, fd, 2 * PAGE, 2 * huge - PAGE, UMDEV_RW), -EEXIST);
    assert_int_equal(iommu_map(f->iommu, IOVA(0), 2 * PAGE, fd, 2 * huge - PAGE, UMDEV_RW),
                     -EINVAL);
    /* Taken away, they are zeros as any others. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x100000), &word, 8), -EIO);
    assert_int_equal(word, 0);
    fixture_unmap(f, 0x100000, 2 * PAGE, 2 * PAGE);
    close(fd);
}

/* Files without content are free for the client, the address space they are mapped into is not. */
static void test_address_space_limit(void **state)
{
    struct fixture *f = *state;
    const uint64_t half = IOMMU_MAX_FILE_BYTES / 2;
    int fd = fixture_memfd(IOMMU_MAX_FILE_BYTES + PAGE);
    int other = fixture_memfd(PAGE);
    int ret;

    assert_int_equal(iommu_map(f->iommu, IOVA(0), IOMMU_MAX_FILE_BYTES + PAGE, fd, 0, UMDEV_RW),
                     -ENOMEM);
    fixture_assert_logged(f, "the limit is");
    ret = iommu_map(f->iommu, IOVA(0), half, fd, 0, UMDEV_RW);
    if (ret == -ENOMEM) {
        close(fd);
        close(other);
        print_message("the process has not so much address space\n");
        skip();
    }
    assert_int_equal(ret, 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(half), half, fd, half, UMDEV_RW), 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(2 * half), PAGE, other, 0, UMDEV_RW), -ENOMEM);
    /* What is mapped already takes no more, and memory without a file none. */
    fixture_unmap(f, 0, half, half);
    assert_int_equal(iommu_map(f->iommu, IOVA(0), half, fd, 0, UMDEV_RW), 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(2 * half), PAGE, fd, half, UMDEV_RW), 0);
    assert_int_equal(iommu_map(f->iommu, IOVA(3 * half), half, -1, 0, UMDEV_RW), 0);
    fixture_unmap(f, 2 * half, PAGE, PAGE);
    fixture_unmap(f, half, half, half);
    assert_int_equal(iommu_map(f->iommu, IOVA(half), PAGE, other, 0, UMDEV_RW), 0);
    close(fd);
    close(other);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file_too_short),
        TEST(test_not_a_file),
        TEST(test_access_mode),
        TEST(test_sealed_against_writing),
        TEST(test_fd_stays_with_the_caller),
        TEST(test_foreign_file_system),
        TEST(test_tmpfs),
        TEST(test_local_disk),
        TEST(test_huge_pages),
        TEST(test_address_space_limit),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
