/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows, the unmap that waits for them, and memory that the client takes away.
 */
#include "fixture.h"

#include "guard.h"
#include "iommu/dirty_log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct window {
    uint8_t *ptr;
    size_t len;
    void *hold;
};

static int acquire(struct fixture *f, uint64_t iova, size_t len, unsigned prot,
                   struct window *window)
{
    void *ptr;
    int ret = iommu_acquire(f->iommu, IOVA(iova), len, prot, &ptr, &window->len, &window->hold);

    if (ret == 0)
        window->ptr = ptr;
    return ret;
}

static void test_window_sees_the_memory(void **state)
{
    struct fixture *f = *state;
    struct window window;
    uint8_t byte = 5;

    fixture_map(f, 0x1000, 2 * PAGE, PAGE, UMDEV_RW);
    assert_int_equal(acquire(f, 0x1800, 16, UMDEV_RW, &window), 0);
    assert_int_equal(window.len, 16);
    assert_int_equal(pwrite(f->fd, &byte, 1, PAGE + 0x800), 1);
    assert_int_equal(window.ptr[0], 5);
    window.ptr[1] = 9;
    assert_int_equal(pread(f->fd, &byte, 1, PAGE + 0x801), 1);
    assert_int_equal(byte, 9);
    iommu_release(f->iommu, window.hold);
    iommu_release(f->iommu, NULL);
}

static void test_window_ends_with_the_mapping(void **state)
{
    struct fixture *f = *state;
    struct window window;

    fixture_map(f, 0x1000, 2 * PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x3000, PAGE, 8 * PAGE, UMDEV_READ);
    fixture_map(f, -PAGE, PAGE, 0, UMDEV_RW);
    assert_int_equal(acquire(f, 0x2ff8, 4 * PAGE, UMDEV_WRITE, &window), 0);
    assert_int_equal(window.len, 8);
    iommu_release(f->iommu, window.hold);
    /* The rest can be another matter. */
    assert_int_equal(acquire(f, 0x3000, 1, UMDEV_WRITE, &window), -EPERM);
    assert_int_equal(acquire(f, 0x3000, 3 * PAGE, UMDEV_READ, &window), 0);
    assert_int_equal(window.len, PAGE);
    iommu_release(f->iommu, window.hold);
    assert_int_equal(acquire(f, -PAGE, PAGE, UMDEV_RW, &window), 0);
    assert_int_equal(window.len, PAGE);
    iommu_release(f->iommu, window.hold);
}

static void test_acquire_errors(void **state)
{
    struct fixture *f = *state;
    struct window window;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_READ);
    assert_int_equal(iommu_map(f->iommu, IOVA(0x4000), PAGE, -1, 0, UMDEV_RW), 0);
    assert_int_equal(acquire(f, 0x1000, 0, UMDEV_READ, &window), -EINVAL);
    assert_int_equal(acquire(f, 0x1000, 1, 0, &window), -EINVAL);
    assert_int_equal(acquire(f, 0x1000, 1, 4, &window), -EINVAL);
    assert_int_equal(acquire(f, 0x1000, 1, UMDEV_RW, &window), -EPERM);
    assert_int_equal(acquire(f, 0x2000, 1, UMDEV_READ, &window), -EFAULT);
    assert_int_equal(acquire(f, 0x0fff, 2, UMDEV_READ, &window), -EFAULT);
    assert_int_equal(acquire(f, 0x4000, 1, UMDEV_READ, &window), -EOPNOTSUPP);
    assert_int_equal(acquire(f, 0x1000, SIZE_MAX, UMDEV_READ, &window), -EOVERFLOW);
}

static void test_unmap_gives_up(void **state)
{
    struct fixture *f = *state;
    struct window window;
    struct window again;
    unsigned maps = fixture_count_maps();
    uint64_t unmapped = 0;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x2000, PAGE, 4 * PAGE, UMDEV_RW);
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &window), 0);
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &again), 0);
    assert_int_equal(iommu_unmap(f->iommu, IOVA(0), 0x10000, 20, &unmapped), -ETIMEDOUT);
    assert_int_equal(unmapped, 2 * PAGE);
    /* Gone from the table, and the addresses are free for others, but the memory is there. */
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &again), -EFAULT);
    fixture_map(f, 0x1000, PAGE, 8 * PAGE, UMDEV_RW);
    window.ptr[0] = 77;
    fixture_unmap(f, 0x1000, PAGE, PAGE);
    iommu_release(f->iommu, window.hold);
    again.ptr[1] = 78;
    assert_int_equal(fixture_count_maps(), maps + 1);
    iommu_release(f->iommu, again.hold);
    assert_int_equal(fixture_count_maps(), maps);
    assert_int_equal(pread(f->fd, &unmapped, 2, 0), 2);
    assert_int_equal(unmapped & 0xffff, 77 | 78 << 8);
}

static void test_negative_timeout_is_none(void **state)
{
    struct fixture *f = *state;
    struct window window;
    uint64_t unmapped;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &window), 0);
    assert_int_equal(iommu_unmap(f->iommu, IOVA(0x1000), PAGE, -1, &unmapped), -ETIMEDOUT);
    iommu_release(f->iommu, window.hold);
}

/* A window that outlives its iommu, as a driver's forgotten one does: leaks are checked after it.
 */
static void test_window_outlives_the_iommu(void **state)
{
    struct fixture *f = *state;
    struct window windows[3];
    struct iommu *iommu = f->iommu;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x2000, PAGE, PAGE, UMDEV_RW);
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &windows[0]), 0);
    assert_int_equal(acquire(f, 0x2000, 8, UMDEV_RW, &windows[1]), 0);
    assert_int_equal(acquire(f, 0x2000, 8, UMDEV_RW, &windows[2]), 0);
    iommu_free(f->iommu);
    f->iommu = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
        windows[i].ptr[0] = 1;
        iommu_release(iommu, windows[i].hold);
    }
}

struct holder {
    struct fixture *f;
    struct window window;
    atomic_bool released;
};

static void *release_soon(void *opaque)
{
    struct holder *holder = opaque;
    const struct timespec moment = {.tv_nsec = 50000000};

    nanosleep(&moment, NULL);
    holder->window.ptr[0] = 42;
    holder->released = true;
    iommu_release(holder->f->iommu, holder->window.hold);
    return NULL;
}

static void test_unmap_waits(void **state)
{
    struct holder holder = {.f = *state};
    pthread_t thread;
    uint64_t unmapped;
    uint8_t byte;

    fixture_map(holder.f, 0x1000, PAGE, 0, UMDEV_RW);
    assert_int_equal(acquire(holder.f, 0x1000, 8, UMDEV_RW, &holder.window), 0);
    assert_int_equal(pthread_create(&thread, NULL, release_soon, &holder), 0);
    assert_int_equal(iommu_unmap(holder.f->iommu, IOVA(0x1000), PAGE, 60000, &unmapped), 0);
    assert_true(holder.released);
    assert_int_equal(unmapped, PAGE);
    pthread_join(thread, NULL);
    assert_int_equal(pread(holder.f->fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 42);
}

/* ------------------------------------------------------------------------ memory taken away */

static void test_truncated_before_an_access(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[16];

    guard_take_over();
    fixture_map(f, 0x1000, 4 * PAGE, 0, UMDEV_RW);
    memset(buf, 1, sizeof(buf));
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), buf, sizeof(buf)), 0);
    assert_false(iommu_lost(f->iommu));
    assert_int_equal(ftruncate(f->fd, PAGE), 0);
    /* Nobody has looked there yet. */
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), buf, sizeof(buf)), 0);
    assert_int_equal(buf[0], 1);
    assert_false(iommu_lost(f->iommu));
    assert_int_equal(iommu_read(f->iommu, IOVA(0x2000), buf, sizeof(buf)), -EIO);
    assert_int_equal(buf[0], 0);
    assert_true(iommu_lost(f->iommu));
    /* And from now on nothing of this client is believed. */
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), buf, 1), -EIO);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), buf, 1), -EIO);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x1000), IOVA(0x2000), 1), -EIO);
}

static void test_truncated_under_write_and_copy(void **state)
{
    struct fixture *f = *state;
    static uint8_t buf[8 * PAGE];

    guard_take_over();
    fixture_map(f, 0x10000, 8 * PAGE, 0, UMDEV_RW);
    assert_int_equal(ftruncate(f->fd, 4 * PAGE), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x10000), buf, sizeof(buf)), -EIO);
    assert_true(iommu_lost(f->iommu));
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
    assert_false(iommu_lost(f->iommu));

    assert_int_equal(ftruncate(f->fd, 8 * PAGE), 0);
    fixture_map(f, 0x10000, 8 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x10000), buf, sizeof(buf)), 0);
    assert_int_equal(ftruncate(f->fd, 4 * PAGE), 0);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x10000), IOVA(0x14000), PAGE), -EIO);
    assert_true(iommu_lost(f->iommu));
}

static void test_truncated_under_a_window(void **state)
{
    struct fixture *f = *state;
    struct window window;
    struct window other;
    uint64_t unmapped;

    guard_take_over();
    fixture_map(f, 0x1000, 2 * PAGE, 0, UMDEV_RW);
    assert_int_equal(acquire(f, 0x2000, PAGE, UMDEV_RW, &window), 0);
    memset(window.ptr, 0xff, PAGE);
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(((volatile uint8_t *)window.ptr)[100], 0);
    window.ptr[100] = 3;
    /* Known without another access, and for as long as there are mappings of this client. */
    assert_true(iommu_lost(f->iommu));
    assert_int_equal(acquire(f, 0x1000, 8, UMDEV_RW, &other), -EIO);
    assert_int_equal(iommu_unmap(f->iommu, IOVA(0x1000), 2 * PAGE, 0, &unmapped), -ETIMEDOUT);
    assert_true(iommu_lost(f->iommu));
    iommu_release(f->iommu, window.hold);
}

/* The last client's forgotten window tells nothing about the next client. */
static void test_late_loss_is_not_the_next_clients(void **state)
{
    struct fixture *f = *state;
    struct window window;
    uint8_t byte = 1;
    int next = fixture_memfd(PAGE);

    guard_take_over();
    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    assert_int_equal(acquire(f, 0x1000, PAGE, UMDEV_RW, &window), 0);
    assert_int_equal(iommu_unmap_all(f->iommu, 0), -ETIMEDOUT);
    assert_int_equal(iommu_map(f->iommu, IOVA(0x1000), PAGE, next, 0, UMDEV_RW), 0);
    assert_int_equal(ftruncate(f->fd, 0), 0);
    window.ptr[0] = 1;
    assert_false(iommu_lost(f->iommu));
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), &byte, 1), 0);
    iommu_release(f->iommu, window.hold);
    close(next);
}

static void test_other_devices_go_on(void **state)
{
    struct fixture *f = *state;
    struct iommu *other;
    uint8_t byte = 1;
    int fd = fixture_memfd(PAGE);

    guard_take_over();
    assert_int_equal(iommu_new(&f->log, "other", &other), 0);
    assert_int_equal(iommu_map(other, IOVA(0x1000), PAGE, fd, 0, UMDEV_RW), 0);
    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x1000), &byte, 1), -EIO);
    assert_int_equal(iommu_read(other, IOVA(0x1000), &byte, 1), 0);
    assert_false(iommu_lost(other));
    iommu_free(other);
    close(fd);
}

/* ------------------------------------------------------------------ the log of writes */

/* The pages of the 64 from address 0 on that were written since this was last asked. */
static uint64_t written(struct fixture *f)
{
    uint64_t bitmap;

    assert_int_equal(dirty_log_report(iommu_dirty_log(f->iommu), 0, 64 * PAGE, PAGE, &bitmap), 0);
    return bitmap;
}

static void test_log_of_windows(void **state)
{
    struct fixture *f = *state;
    struct window window;

    fixture_map(f, 0x1000, 8 * PAGE, 0, UMDEV_RW);
    assert_int_equal(dirty_log_start(iommu_dirty_log(f->iommu), PAGE, NULL, 0), 0);
    assert_int_equal(acquire(f, 0x2fff, 2, UMDEV_READ, &window), 0);
    iommu_release(f->iommu, window.hold);
    assert_int_equal(written(f), 0);
    for (int with_read = 0; with_read < 2; with_read++) {
        unsigned prot = with_read ? UMDEV_RW : UMDEV_WRITE;

        assert_int_equal(acquire(f, 0x2fff, 2, prot, &window), 0);
        assert_int_equal(written(f), 1 << 2 | 1 << 3);
        assert_int_equal(written(f), 0);
        iommu_release(f->iommu, window.hold);
        assert_int_equal(written(f), 1 << 2 | 1 << 3);
    }
    assert_int_equal(written(f), 0);
}

static void test_log_of_copies(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[8] = {0};

    guard_take_over();
    fixture_map(f, 0x1000, 8 * PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x9000, PAGE, 0, UMDEV_READ);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), bytes, 8), 0);
    assert_int_equal(dirty_log_start(iommu_dirty_log(f->iommu), PAGE, NULL, 0), 0);
    assert_int_equal(written(f), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1ffc), bytes, 8), 0);
    assert_int_equal(written(f), 1 << 1 | 1 << 2);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x4000), IOVA(0x1ffc), 8), 0);
    assert_int_equal(written(f), 1 << 4);
    assert_int_equal(iommu_read(f->iommu, IOVA(0x4000), bytes, 8), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x8ffc), bytes, 8), -EPERM);
    assert_int_equal(iommu_copy(f->iommu, IOVA(0x9000), IOVA(0x1000), 8), -EPERM);
    assert_int_equal(written(f), 0);
    /* Some of what could not be written may have been. */
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x1000), bytes, 8), -EIO);
    assert_int_equal(written(f), 1 << 1);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_window_sees_the_memory),
        TEST(test_window_ends_with_the_mapping),
        TEST(test_acquire_errors),
        TEST(test_unmap_gives_up),
        TEST(test_negative_timeout_is_none),
        TEST(test_window_outlives_the_iommu),
        TEST(test_unmap_waits),
        TEST(test_truncated_before_an_access),
        TEST(test_truncated_under_write_and_copy),
        TEST(test_truncated_under_a_window),
        TEST(test_late_loss_is_not_the_next_clients),
        TEST(test_other_devices_go_on),
        TEST(test_log_of_windows),
        TEST(test_log_of_copies),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
