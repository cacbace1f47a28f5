/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that are their own memory object, faults the short way, with both ends real. */
#include "identity.h"

static void test_touch(void **state)
{
    struct checked *checked = open_all();
    uint64_t value;

    (void)state;
    for (unsigned i = 0; i < PAGES - 1; i++)
        assert_int_equal(read_page(i), 1000 + i);
    assert_int_equal(checked->asked, PAGES - 1);
    assert_true(write_page(5, 77));
    assert_int_equal(checked->asked, PAGES - 1);
    assert_int_equal(page_at(checked, 5)[1], 77);
    assert_int_equal(umdev_client_read64(client, BAR, 5 * PAGE + 8, &value), 0);
    assert_int_equal(value, 77);
    /* None of it went the ordinary way. */
    assert_int_equal(stats().faults, 0);
    assert_int_equal(stats().maps, 0);
    close_all();
}

static void test_write_first(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    assert_true(write_page(7, 78));
    assert_int_equal(page_at(checked, 7)[1], 78);
    assert_int_equal(read_page(7), 1007);
    assert_int_equal(checked->asked, 1);
    close_all();
}

/* An answer that covers more is mapped from the touched page on. */
static void test_extent(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    checked->extent = 16;
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(read_page(i), 1000 + i);
    assert_int_equal(checked->asked, 2);
    assert_int_equal(read_page(40), 1040);
    assert_int_equal(read_page(47), 1047);
    assert_int_equal(checked->asked, 3);
    assert_int_equal(read_page(32), 1032);
    assert_int_equal(checked->asked, 4);
    invalidate(32, 32);
    assert_int_equal(read_page(33), 1033);
    assert_int_equal(checked->asked, 4);
    /* The whole answer, but for what is there already. */
    assert_int_equal(read_page(32), 1032);
    assert_int_equal(checked->asked, 5);
    checked->extent = PAGES;
    invalidate(0, PAGES - 1);
    for (unsigned i = 0; i < PAGES; i++)
        assert_int_equal(read_page(i), i == PAGES - 1 ? 0 : 1000 + i);
    /* The last page was a hole: its touch was another. */
    assert_int_equal(checked->asked, 7);
    close_all();
}

static void test_holes(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    assert_int_equal(read_page(PAGES - 1), 0);
    assert_true(write_page(PAGES - 1, 5));
    assert_int_equal(page_at(checked, PAGES - 1)[1], 5);
    assert_int_equal(read_page(3), 1003);
    assert_int_equal(umdev_mem_discard(checked->mem, (MEM_OFFSET + 3) * PAGE, PAGE), 0);
    assert_int_equal(read_page(3), 0);
    assert_true(write_page(3, 6));
    assert_int_equal(page_at(checked, 3)[1], 6);
    close_all();
}

static void test_invalidate(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    assert_int_equal(read_page(1), 1001);
    assert_int_equal(read_page(2), 1002);
    assert_int_equal(checked->asked, 2);
    invalidate(1, 1);
    assert_int_equal(read_page(2), 1002);
    assert_int_equal(checked->asked, 2);
    assert_int_equal(read_page(1), 1001);
    assert_int_equal(checked->asked, 3);
    assert_int_equal(stats().invalidated, 1);
    /* Nobody was told of these. */
    invalidate(10, 20);
    assert_int_equal(stats().invalidated, 1);
    close_all();
}

static void test_refusal(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    change(checked, 2, REFUSE);
    assert_int_equal(read_page(2), UINT64_MAX);
    assert_false(write_page(2, 1));
    assert_int_equal(checked->asked, 1);
    assert_int_equal(read_page(3), 1003);
    change(checked, 3, REFUSE);
    assert_int_equal(read_page(3), UINT64_MAX);
    change(checked, 2, ALLOW);
    assert_int_equal(read_page(2), 1002);
    assert_int_equal(read_page(3), UINT64_MAX);
    change(checked, 3, ALLOW);
    assert_true(write_page(3, 1));
    close_all();
}

static void test_prefault(void **state)
{
    struct checked *checked = open_all();

    (void)state;
    assert_int_equal(umdev_client_prefault(client, BAR, 4 * PAGE, 4 * PAGE, UMDEV_READ), 0);
    assert_int_equal(checked->asked, 4);
    assert_int_equal(read_page(7), 1007);
    assert_int_equal(checked->asked, 4);
    change(checked, 9, REFUSE);
    assert_int_equal(umdev_client_prefault(client, BAR, 8 * PAGE, 4 * PAGE, UMDEV_RW), -EPERM);
    change(checked, 9, ALLOW);
    assert_int_equal(umdev_client_prefault(client, BAR, 8 * PAGE, 4 * PAGE, UMDEV_RW), 0);
    assert_int_equal(umdev_client_prefault(client, BAR, PAGES * PAGE, PAGE, UMDEV_RW), -EINVAL);
    close_all();
}

static void test_driver_mistakes(void **state)
{
    static const unsigned mistakes[] = {ELSEWHERE, READ_ONLY};
    struct checked *checked = open_all();
    uint64_t value;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(mistakes); i++) {
        change(checked, i, mistakes[i]);
        assert_int_equal(read_page(i), UINT64_MAX);
        assert_int_equal(umdev_client_read64(client, BAR, i * PAGE, &value), -EIO);
        change(checked, i, ALLOW);
        assert_int_equal(read_page(i), 1000 + i);
    }
    close_all();
}

/* Views of parts; more than the short way takes; and some that are mapped and gone again. */
static void test_views(void **state)
{
    struct checked *checked = open_all();
    uint8_t *views[20];

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(views); i++) {
            views[i] = umdev_client_map_region(client, BAR, i * PAGE, 4 * PAGE);
            assert_non_null(views[i]);
            assert_int_equal(read_at(views[i] + PAGE), 1001 + i);
        }
        assert_true(stats().maps > 0);
        for (unsigned page = 0; page < 24; page++)
            change(checked, page, REFUSE);
        for (unsigned i = 0; i < ARRAY_SIZE(views); i++)
            assert_int_equal(read_at(views[i] + PAGE), UINT64_MAX);
        for (unsigned page = 0; page < 24; page++)
            change(checked, page, ALLOW);
        for (unsigned i = 0; i < ARRAY_SIZE(views); i++) {
            assert_int_equal(read_at(views[i] + PAGE), 1001 + i);
            assert_int_equal(umdev_client_unmap_region(client, views[i]), 0);
        }
        assert_int_equal(stats().maps, 0);
    }
    assert_int_equal(read_page(1), 1001);
    close_all();
}

/* What the short way can't do, the ordinary one does. */
static void test_ordinary(void **state)
{
    open_with(&(struct umdev_connect_options){.struct_size = sizeof(struct umdev_connect_options),
                                              .fault_timeout_ms = 10000});
    (void)state;
    assert_int_equal(read_page(1), 1001);
    assert_int_equal(stats().faults, 1);
    assert_int_equal(stats().maps, 1);
    close_all();
}

static void test_fork(void **state)
{
    struct checked *checked = open_all();
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(read_page(1), 1001);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        (void)*(volatile uint8_t *)(view + PAGE);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    pid = fork();
    if (pid == 0) {
        umdev_client_close(client);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    change(checked, 1, REFUSE);
    assert_int_equal(read_page(1), UINT64_MAX);
    assert_int_equal(read_page(2), 1002);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_touch),      cmocka_unit_test(test_write_first),
        cmocka_unit_test(test_extent),     cmocka_unit_test(test_holes),
        cmocka_unit_test(test_invalidate), cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_prefault),   cmocka_unit_test(test_driver_mistakes),
        cmocka_unit_test(test_views),      cmocka_unit_test(test_ordinary),
        cmocka_unit_test(test_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
