/* SPDX-License-Identifier: BSD-3-Clause */
/* Guarded memory that is taken away. What happens to other faults: test_sigbus_chain.c. */
#include "base/sigbus.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "failnth.h"
#include "guard.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

/* Memory of a client: a file of ours, mapped and guarded, that can be shrunk. */
struct victim {
    int fd;
    size_t len;
    volatile unsigned char *map;
    atomic_bool lost;
    int slot;
};

static void victim_make(struct victim *victim, size_t len, unsigned flags)
{
    guard_take_over();
    victim->len = len;
    victim->lost = false;
    victim->map = MAP_FAILED;
    victim->slot = -1;
    victim->fd = memfd_create("victim", MFD_CLOEXEC | flags);
    if (victim->fd < 0 || ftruncate(victim->fd, (off_t)len))
        return;
    victim->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, victim->fd, 0);
    if (victim->map == MAP_FAILED)
        return;
    victim->slot = sigbus_guard_add((void *)victim->map, len, &victim->lost);
}

static void victim_free(struct victim *victim)
{
    if (victim->map != MAP_FAILED) {
        sigbus_guard_remove(victim->slot);
        munmap((void *)victim->map, victim->len);
    }
    close(victim->fd);
}

static void test_lost_memory_reads_as_zeros(void **state)
{
    struct victim victim;

    (void)state;
    victim_make(&victim, 4 * PAGE, 0);
    assert_true(victim.slot >= 0);
    memset((void *)victim.map, 0xaa, victim.len);
    assert_int_equal(ftruncate(victim.fd, (off_t)PAGE), 0);
    assert_false(victim.lost);

    errno = ENOTTY;
    assert_int_equal(victim.map[2 * PAGE + 5], 0);
    assert_int_equal(errno, ENOTTY);
    assert_true(victim.lost);
    /* The page that the file still has is gone from here too, and comes back for nobody. */
    assert_int_equal(victim.map[0], 0);
    victim.map[3 * PAGE] = 7;
    assert_int_equal(victim.map[3 * PAGE], 7);
    assert_int_equal(ftruncate(victim.fd, (off_t)victim.len), 0);
    assert_int_equal(victim.map[PAGE], 0);
    victim_free(&victim);
}

static void test_a_write_is_what_faults(void **state)
{
    struct victim victim;

    (void)state;
    victim_make(&victim, PAGE, 0);
    assert_int_equal(ftruncate(victim.fd, 0), 0);
    victim.map[17] = 3;
    assert_true(victim.lost);
    assert_int_equal(victim.map[17], 3);
    victim_free(&victim);
}

static void test_only_the_range_that_faults_is_replaced(void **state)
{
    struct victim touched, other;

    (void)state;
    victim_make(&touched, PAGE, 0);
    victim_make(&other, PAGE, 0);
    other.map[0] = 0xaa;
    assert_int_equal(ftruncate(touched.fd, 0), 0);
    assert_int_equal(touched.map[0], 0);
    assert_false(other.lost);
    assert_int_equal(other.map[0], 0xaa);
    victim_free(&touched);
    victim_free(&other);
}

static void test_huge_pages(void **state)
{
    struct victim victim;
    const size_t huge = 2 << 20;

    (void)state;
    victim_make(&victim, 2 * huge, MFD_HUGETLB | (21u << 26));
    if (victim.map == MAP_FAILED) {
        if (victim.fd >= 0)
            close(victim.fd);
        print_message("# the system has no free 2 MiB pages (vm.nr_hugepages)\n");
        skip();
    }
    assert_int_equal(ftruncate(victim.fd, 0), 0);
    assert_int_equal(victim.map[huge + 1], 0);
    assert_true(victim.lost);
    assert_int_equal(victim.map[0], 0);
    victim_free(&victim);
}

/* The handler's mapping of the whole range is refused, as under strict overcommit. */
static void test_page_by_page_where_the_whole_is_refused(void **state)
{
    struct victim victim;

    (void)state;
    victim_make(&victim, 3 * PAGE, 0);
    memset((void *)victim.map, 0xaa, victim.len);
    assert_int_equal(ftruncate(victim.fd, (off_t)PAGE), 0);
    failnth_arm(1);
    assert_int_equal(victim.map[PAGE], 0);
    assert_true(failnth_disarm());
    assert_true(victim.lost);
    /* The rest is the file's, until it faults in its turn. */
    assert_int_equal(victim.map[0], 0xaa);
    assert_int_equal(victim.map[2 * PAGE], 0);
    assert_int_equal(victim.map[0], 0);
    victim_free(&victim);
}

static void test_bad_ranges(void **state)
{
    atomic_bool lost = false;

    (void)state;
    assert_int_equal(sigbus_guard_add((void *)PAGE, 0, &lost), -EINVAL);
    assert_int_equal(sigbus_guard_add((void *)-PAGE, 2 * PAGE, &lost), -EINVAL);
}

static void test_handle_knows_only_guarded_addresses(void **state)
{
    struct victim victim;

    (void)state;
    victim_make(&victim, 2 * PAGE, 0);
    assert_false(sigbus_handle((char *)victim.map - 1));
    assert_false(sigbus_handle((char *)victim.map + 2 * PAGE));
    assert_false(sigbus_handle(NULL));
    assert_false(victim.lost);
    assert_true(sigbus_handle((char *)victim.map + 2 * PAGE - 1));
    assert_true(victim.lost);
    victim_free(&victim);
    assert_false(sigbus_handle((char *)victim.map));
}

static void test_slot_is_used_again(void **state)
{
    struct victim first, second;

    (void)state;
    victim_make(&first, PAGE, 0);
    assert_int_equal(ftruncate(first.fd, 0), 0);
    assert_int_equal(first.map[0], 0);
    victim_free(&first);

    victim_make(&second, PAGE, 0);
    assert_int_equal(second.slot, first.slot);
    assert_false(second.lost);
    assert_int_equal(ftruncate(second.fd, 0), 0);
    assert_int_equal(second.map[0], 0);
    assert_true(second.lost);
    victim_free(&second);
}

#define MANY 5000

/* More ranges than several chunks have: one file, each page of it guarded for itself. */
static void test_thousands_of_slots(void **state)
{
    CLEANUP_FD int fd = memfd_create("many", MFD_CLOEXEC);
    CLEANUP_FREE atomic_bool *lost = calloc(MANY, sizeof(*lost));
    CLEANUP_FREE int *slots = calloc(MANY, sizeof(*slots));
    volatile unsigned char *map;

    (void)state;
    guard_take_over();
    assert_true(fd >= 0 && lost && slots);
    assert_int_equal(ftruncate(fd, (off_t)(MANY * PAGE)), 0);
    map = mmap(NULL, MANY * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    for (size_t i = 0; i < MANY; i++) {
        slots[i] = sigbus_guard_add((void *)(map + i * PAGE), PAGE, &lost[i]);
        assert_true(slots[i] >= 0);
    }
    assert_int_equal(ftruncate(fd, 0), 0);
    /* Backwards and with gaps, so that chance helps nobody. */
    for (size_t i = MANY; i-- > 0;) {
        if (i % 7 == 0)
            assert_int_equal(map[i * PAGE + i % PAGE], 0);
    }
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(lost[i], i % 7 == 0);
    for (size_t i = 0; i < MANY; i++)
        sigbus_guard_remove(slots[i]);
    munmap((void *)map, MANY * PAGE);
}

/* However many ranges clients ask for, the process can still make mappings of its own. */
static void test_mappings_are_left(void **state)
{
    static int slots[1 << 20];
    atomic_bool lost = false;
    unsigned count = 0;
    unsigned long max_map_count = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

    (void)state;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &max_map_count), 1);
    fclose(file);
    if (max_map_count > ARRAY_SIZE(slots)) {
        print_message("# vm.max_map_count is too large to be reached\n");
        skip();
    }
    while ((slots[count] = sigbus_guard_add((void *)((count + 1) * PAGE), PAGE, &lost)) >= 0)
        count++;
    assert_int_equal(slots[count], -ENOMEM);
    assert_in_range(count, max_map_count / 2, max_map_count - 1000);
    sigbus_guard_remove(slots[--count]);
    slots[count] = sigbus_guard_add((void *)PAGE, PAGE, &lost);
    assert_true(slots[count] >= 0);
    for (unsigned i = 0; i <= count; i++)
        sigbus_guard_remove(slots[i]);
}

static void test_no_memory_for_slots(void **state)
{
    static int slots[1 << 16];
    size_t count = 0;
    atomic_bool lost = false;
    int ret;

    (void)state;
    failnth_arm(1);
    while ((ret = sigbus_guard_add((void *)PAGE, PAGE, &lost)) >= 0) {
        assert_true(count < ARRAY_SIZE(slots));
        slots[count++] = ret;
    }
    assert_true(failnth_disarm());
    assert_int_equal(ret, -ENOMEM);
    ret = sigbus_guard_add((void *)PAGE, PAGE, &lost);
    assert_true(ret >= 0);
    sigbus_guard_remove(ret);
    while (count > 0)
        sigbus_guard_remove(slots[--count]);
}

#define THREADS 4

struct reader {
    pthread_t thread;
    const volatile unsigned char *map;
    size_t len;
    atomic_bool *go;
    unsigned wrong;
};

/*
 * Walk the memory until it is all zeros; whatever is there is either old or zero. To the thread
 * sanitizer the handler's mmap() is a write that races with the reads: it can't know that it is
 * meant to.
 */
__attribute__((no_sanitize("thread"))) static void *read_until_zero(void *opaque)
{
    struct reader *reader = opaque;
    bool all_zero = false;

    while (!*reader->go)
        ;
    while (!all_zero) {
        all_zero = true;
        for (size_t offset = 0; offset < reader->len; offset += PAGE) {
            unsigned char byte = reader->map[offset];

            all_zero &= byte == 0;
            reader->wrong += byte != 0 && byte != 0xaa;
        }
    }
    return NULL;
}

static void test_truncated_under_several_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct victim victim;
        struct reader readers[THREADS];
        atomic_bool go = false;

        victim_make(&victim, 64 * PAGE, 0);
        memset((void *)victim.map, 0xaa, victim.len);
        for (int i = 0; i < THREADS; i++) {
            readers[i] = (struct reader){.map = victim.map, .len = victim.len, .go = &go};
            assert_int_equal(pthread_create(&readers[i].thread, NULL, read_until_zero, &readers[i]),
                             0);
        }
        go = true;
        assert_int_equal(ftruncate(victim.fd, 0), 0);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(readers[i].thread, NULL);
            assert_int_equal(readers[i].wrong, 0);
        }
        assert_true(victim.lost);
        victim_free(&victim);
    }
}

/* What one thread does to its own ranges while the others' come and go around them. */
static void *lose_again_and_again(void *opaque)
{
    unsigned *wrong = opaque;

    for (int round = 0; round < 100; round++) {
        struct victim victim;

        victim_make(&victim, 2 * PAGE, 0);
        if (victim.map == MAP_FAILED || victim.slot < 0) {
            ++*wrong;
            break;
        }
        victim.map[PAGE] = 0xaa;
        if (ftruncate(victim.fd, 0))
            ++*wrong;
        *wrong += victim.map[PAGE] != 0;
        *wrong += !victim.lost;
        victim_free(&victim);
    }
    return NULL;
}

static void test_slots_come_and_go_under_faults(void **state)
{
    pthread_t threads[THREADS];
    unsigned wrong[THREADS] = {0};

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, lose_again_and_again, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_memory_reads_as_zeros),
        cmocka_unit_test(test_a_write_is_what_faults),
        cmocka_unit_test(test_only_the_range_that_faults_is_replaced),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_page_by_page_where_the_whole_is_refused),
        cmocka_unit_test(test_bad_ranges),
        cmocka_unit_test(test_handle_knows_only_guarded_addresses),
        cmocka_unit_test(test_slot_is_used_again),
        cmocka_unit_test(test_thousands_of_slots),
        cmocka_unit_test(test_no_memory_for_slots),
        cmocka_unit_test(test_truncated_under_several_threads),
        cmocka_unit_test(test_slots_come_and_go_under_faults),
        cmocka_unit_test(test_mappings_are_left), /* last: afterwards the table is large */
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
