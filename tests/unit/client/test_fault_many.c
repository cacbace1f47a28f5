/* SPDX-License-Identifier: BSD-3-Clause */
/* Fault-mapped regions: many pages, views, clients and threads; prefault; children. */
#include "fault_fixture.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------ how many */

static void test_eviction(void **state)
{
    struct umdev_connect_options options = {.max_fault_maps = 3};
    uint8_t *view;

    (void)state;
    open_with(&options, PAGES);
    view = map_pages(0, PAGES);
    for (uint64_t i = 0; i < PAGES; i += 2) {
        assert_true(read_page(view, i) == fault_stamp(0, i));
        assert_true(stats().maps <= 3);
    }
    assert_int_equal(stats().evicted, PAGES / 2 - 3);
    assert_int_equal(fake.nfaults, PAGES / 2);
    /* The youngest three are there; the others are asked for again. */
    for (uint64_t i = PAGES - 6; i < PAGES; i += 2)
        read_page(view, i);
    assert_int_equal(fake.nfaults, PAGES / 2);
    assert_true(read_page(view, 0) == fault_stamp(0, 0));
    assert_int_equal(stats().maps, 3);
    assert_int_equal(fake.nfaults, PAGES / 2 + 1);
    assert_true(read_page(view, PAGES - 2) == fault_stamp(0, PAGES - 2));
    assert_int_equal(fake.nfaults, PAGES / 2 + 1);
    assert_true(read_page(view, PAGES - 6) == fault_stamp(0, PAGES - 6));
    assert_int_equal(fake.nfaults, PAGES / 2 + 2);
    assert_int_equal(stats().maps, 3);
    assert_int_equal(count_mappings(view, PAGES), 6);
    close_all();
}

static void test_thousands(void **state)
{
    uint64_t pages = 40000;
    uint8_t *view;

    (void)state;
    open_with(NULL, pages);
    view = map_pages(0, pages);
    for (uint64_t i = 0; i < pages; i += 2)
        CHECK(read_page(view, i) == fault_stamp(0, i));
    assert_int_equal(stats().maps, 16384);
    assert_int_equal(stats().evicted, 20000 - 16384);
    for (uint64_t i = 1; i < pages; i += 2)
        CHECK(read_page(view, i) == fault_stamp(0, i));
    for (uint64_t i = 0; i < pages; i++)
        CHECK(read_page(view, i) == fault_stamp(0, i));
    assert_true(fault_fake_invalidate(&fake, 0, pages - 1));
    assert_int_equal(stats().maps, 0);
    assert_int_equal(count_mappings(view, pages), 1);
    close_all();
}

/* ------------------------------------------------------------------ several */

static void test_several_views(void **state)
{
    uint8_t *a, *b, *c;

    (void)state;
    open_with(NULL, PAGES);
    a = map_pages(0, PAGES);
    b = map_pages(0, PAGES);
    c = map_pages(32, 16);
    assert_true(read_page(a, 40) == fault_stamp(0, 40));
    assert_true(read_page(b, 40) == fault_stamp(0, 40));
    assert_true(read_page(c, 8) == fault_stamp(0, 40));
    assert_int_equal(fake.nfaults, 3);
    fault_fake_set(&fake, 40, (struct fault_entry){2, 1, UMDEV_RW, 0});
    assert_true(fault_fake_invalidate(&fake, 40, 40));
    assert_int_equal(umdev_client_unmap_region(client, b), 0);
    assert_true(read_page(a, 40) == fault_stamp(2, 1));
    assert_true(read_page(c, 8) == fault_stamp(2, 1));
    assert_int_equal(umdev_client_unmap_region(client, b), -EINVAL);
    close_all();
}

static void test_several_clients(void **state)
{
    struct fault_fake others[3];
    struct umdev_client *clients[3];
    uint8_t *views[3], *view;

    (void)state;
    open_with(NULL, PAGES);
    view = map_pages(0, PAGES);
    for (unsigned i = 0; i < 3; i++) {
        fault_fake_open(&others[i], PAGES, PAGES);
        fault_fake_set(&others[i], 1, (struct fault_entry){i + 1, 1, UMDEV_RW, 0});
        assert_int_equal(fault_fake_connect(&others[i], NULL, &clients[i]), 0);
        views[i] = umdev_client_map_region(clients[i], FAULT_REGION, 0, PAGES * FAULT_PAGE);
        assert_non_null(views[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_true(read_page(views[i], 1) == fault_stamp(i + 1, 1));
        umdev_client_close(clients[i]);
        fault_fake_close(&others[i]);
        assert_true(read_page(view, i) == fault_stamp(0, i));
    }
    close_all();
}

/* More threads wait than questions may be open. */
static void test_many_touchers(void **state)
{
    enum { THREADS = WIRE_FAULTS_MAX + 36 };
    pthread_t threads[THREADS];
    uint8_t *view;

    (void)state;
    open_with(NULL, 2 * THREADS);
    fake.mute = true;
    view = map_pages(0, 2 * (uint64_t)THREADS);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, touch_one, view + 2 * i * FAULT_PAGE),
                         0);
    fault_fake_wait_faults(&fake, WIRE_FAULTS_MAX);
    usleep(10000);
    assert_int_equal(fake.nfaults, WIRE_FAULTS_MAX);
    fault_fake_unmute(&fake);
    for (size_t i = 0; i < THREADS; i++) {
        void *value;

        pthread_join(threads[i], &value);
        assert_true((uintptr_t)value == fault_stamp(0, 2 * i));
    }
    close_all();
}

/* Threads that wait for one page are one question. */
static void test_one_question(void **state)
{
    pthread_t threads[8];
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    fake.mute = true;
    view = map_pages(0, PAGES);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, touch_one, view + 8 * i), 0);
    fault_fake_wait_faults(&fake, 1);
    usleep(10000);
    assert_int_equal(fake.nfaults, 1);
    fault_fake_unmute(&fake);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fake.nfaults, 1);
    close_all();
}

/* ------------------------------------------------------------------ prefault */

static void test_prefault(void **state)
{
    uint8_t *a, *b;
    uint64_t page = FAULT_PAGE;

    (void)state;
    open_with(NULL, PAGES);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, page, UMDEV_READ), -EINVAL);
    a = map_pages(0, 32);
    b = map_pages(16, 32);
    fault_fake_set(&fake, 5, (struct fault_entry){0, 5, UMDEV_READ, 0});
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 16 * page, UMDEV_READ), 0);
    assert_int_equal(fake.nfaults, 16);
    /* Bytes are pages, and what is there is not asked for; a page that both views have is, twice.
     */
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 16 * page - 1, page, UMDEV_RW), 0);
    assert_int_equal(fake.nfaults, 18);
    for (uint64_t i = 0; i <= 16; i++)
        assert_true(read_page(a, i) == fault_stamp(0, i));
    assert_true(read_page(b, 0) == fault_stamp(0, 16));
    assert_int_equal(fake.nfaults, 18);
    assert_int_equal(stats().faults, 0);
    /* A refusal is told, and is none for those who touch. */
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 16 * page, UMDEV_RW), -EACCES);
    assert_true(read_page(a, 5) == fault_stamp(0, 5));
    fault_fake_set(&fake, 20, (struct fault_entry){.error = EPERM});
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 20 * page, 1, UMDEV_READ), -EPERM);
    fault_fake_set(&fake, 20, (struct fault_entry){0, 20, UMDEV_RW, 0});
    assert_true(read_page(a, 20) == fault_stamp(0, 20));
    /* Arguments. */
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 0, UMDEV_READ), -EINVAL);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, page, 0), -EINVAL);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, page, 4), -EINVAL);
    assert_int_equal(umdev_client_prefault(client, 3, 0, page, UMDEV_READ), -EINVAL);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 48 * page, page, UMDEV_READ),
                     -EINVAL);
    assert_int_equal(
        umdev_client_prefault(client, FAULT_REGION, UINT64_MAX, UINT64_MAX, UMDEV_READ), -EINVAL);
    close_all();
}

/* More than there may be mappings: it ends nevertheless. */
static void test_prefault_evicts(void **state)
{
    struct umdev_connect_options options = {.max_fault_maps = 2};

    (void)state;
    open_with(&options, PAGES);
    for (uint64_t i = 0; i < PAGES; i++)
        fault_fake_set(&fake, i, (struct fault_entry){.page = PAGES - 1 - i, .prot = UMDEV_RW});
    map_pages(0, PAGES);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, PAGES * FAULT_PAGE, UMDEV_RW),
                     0);
    assert_int_equal(stats().maps, 2);
    close_all();
}

/* A call's time is over; the server was just slow, and its answer is good. */
static void test_prefault_timeout(void **state)
{
    struct umdev_connect_options options = {.timeout_ms = 50};
    pthread_t toucher;
    uint8_t *view;
    void *value;

    (void)state;
    open_with(&options, PAGES);
    view = map_pages(0, PAGES);
    fake.mute = true;
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 1, UMDEV_READ), -ETIMEDOUT);
    assert_true(umdev_client_alive(client));
    assert_int_equal(pthread_create(&toucher, NULL, touch_one, view), 0);
    usleep(100000);
    fault_fake_unmute(&fake);
    pthread_join(toucher, &value);
    assert_true((uintptr_t)value == fault_stamp(0, 0));
    assert_int_equal(fake.nfaults, 1);
    close_all();
}

/* A toucher relied on the question of a prefault, which was refused: it asks for itself. */
static void test_prefault_refused_under_toucher(void **state)
{
    struct umdev_connect_options options = {.timeout_ms = -1};
    pthread_t toucher, prefaulter;
    uint8_t *view;
    void *value;

    (void)state;
    open_with(&options, PAGES);
    fault_fake_set(&fake, 0, (struct fault_entry){.error = EPERM});
    fake.mute = true;
    view = map_pages(0, PAGES);

    assert_int_equal(pthread_create(&prefaulter, NULL, prefault, NULL), 0);
    fault_fake_wait_faults(&fake, 1);
    assert_int_equal(pthread_create(&toucher, NULL, touch_one, view), 0);
    usleep(10000);
    fault_fake_unmute(&fake);
    pthread_join(prefaulter, &value);
    assert_int_equal((intptr_t)value, -EPERM);
    pthread_join(toucher, &value);
    assert_null(value);
    assert_int_equal(fake.nfaults, 2);
    close_all();
}

/* ------------------------------------------------------------------ fork */

static void test_fork(void **state)
{
    uint8_t *view;
    int status;
    pid_t child;

    (void)state;
    open_with(NULL, PAGES);
    view = map_pages(0, PAGES);
    assert_true(read_page(view, 0) == fault_stamp(0, 0));
    for (int does = 0; does < 3; does++) {
        child = fork();
        if (child == 0) {
            if (does == 1)
                umdev_client_close(client);
            /* Neither what was mapped nor what was not. */
            if (does == 2 && (mincore(view, FAULT_PAGE, (unsigned char[1]){0}) == 0 ||
                              mincore(view + FAULT_PAGE, FAULT_PAGE, (unsigned char[1]){0}) == 0))
                _exit(1);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_true(read_page(view, (uint64_t)does + 1) == fault_stamp(0, (uint64_t)does + 1));
        assert_true(fault_fake_invalidate(&fake, 0, 1));
    }
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_thousands),
        cmocka_unit_test(test_several_views),
        cmocka_unit_test(test_several_clients),
        cmocka_unit_test(test_many_touchers),
        cmocka_unit_test(test_one_question),
        cmocka_unit_test(test_prefault),
        cmocka_unit_test(test_prefault_evicts),
        cmocka_unit_test(test_prefault_timeout),
        cmocka_unit_test(test_prefault_refused_under_toucher),
        cmocka_unit_test(test_fork),
    };

    if (!fault_fake_possible())
        return FAULT_SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
