/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults the short way: everything at once, and how it ends. */
#include "identity.h"

#define BUSY_PAGES 64u
#define ROUNDS     3000

/* ------------------------------------------------------------------ the end */

static void test_server_ends(void **state)
{
    open_all();
    (void)state;
    assert_int_equal(read_page(1), 1001);
    umdev_host_free(host);
    assert_int_equal(read_page(1), 1001);
    assert_int_equal(read_page(2), UINT64_MAX);
    assert_false(write_page(3, 1));
    assert_int_equal(read_page(1), 1001);
    assert_false(umdev_client_alive(client));
    assert_int_equal(umdev_client_unmap_region(client, view), 0);
    umdev_client_close(client);
    assert_int_equal(leaks_count_fds(), fds_before);
}

static void *touch_one(void *opaque)
{
    return (void *)(uintptr_t)(read_at(opaque) == UINT64_MAX);
}

/* The server has read the touch, and dies before it does anything about it. */
static void test_server_killed(void **state)
{
    uint8_t *pages[TOUCHERS];
    pthread_t threads[TOUCHERS];
    uint64_t value;
    int pair[2];
    pid_t pid;

    (void)state;
    make_pair(pair);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[1]);
        if (umdev_host_new(NULL, &host) ||
            umdev_host_add_parent_static(host, &checked_driver, "p", NULL, 0, NULL) ||
            umdev_host_create(host, "p", "checked-1", UUID_A, NULL, NULL))
            _exit(1);
        atomic_store(&((struct checked *)umdev_device_priv(device))->table[8], STUCK);
        if (umdev_host_serve_fd(host, UUID_A, pair[0]))
            _exit(1);
        for (;;)
            pause();
    }
    close(pair[0]);
    touch_catch(SIGBUS);
    assert_int_equal(umdev_connect_fd(pair[1], NULL, &client), 0);
    view = umdev_client_map_region(client, BAR, 0, PAGES * PAGE);
    assert_non_null(view);
    assert_int_equal(read_page(1), 1001);
    for (unsigned i = 0; i < TOUCHERS; i++) {
        pages[i] = view + (8 + i) * PAGE;
        assert_int_equal(pthread_create(&threads[i], NULL, touch_one, pages[i]), 0);
    }
    usleep(50000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (unsigned i = 0; i < TOUCHERS; i++) {
        void *refused;

        pthread_join(threads[i], &refused);
        /* The one that the server was stuck with, certainly. */
        assert_true(refused || i > 0);
    }
    value = read_page(1);
    assert_int_equal(value, 1001);
    assert_int_equal(read_page(20), UINT64_MAX);
    umdev_client_close(client);
}

/* ------------------------------------------------------------------ all at once */

/* What the table said when the change before was over, and says now; with the number of the change.
 */
static atomic_uint before[PAGES], after[PAGES];
static atomic_bool stop;

static uint64_t expected(unsigned page, unsigned entry)
{
    return entry % 2 == ALLOW ? (page == PAGES - 1 ? 0 : 1000 + page) : UINT64_MAX;
}

static void *touch(void *opaque)
{
    unsigned seed = (unsigned)(uintptr_t)opaque;
    uintptr_t wrong = 0;

    while (!stop) {
        unsigned page = (unsigned)rand_r(&seed) % BUSY_PAGES, old = before[page], now;
        uint64_t value = read_page(page);

        now = after[page];
        if (value != expected(page, old) && value != expected(page, now) && before[page] == old)
            wrong++;
    }
    return (void *)wrong;
}

/* Another view comes and goes. */
static void *map_and_unmap(void *opaque)
{
    uintptr_t wrong = 0;

    (void)opaque;
    while (!stop) {
        uint8_t *other = umdev_client_map_region(client, BAR, 0, 2 * PAGE);
        uint64_t value;

        if (!other)
            return (void *)1;
        value = read_at(other + PAGE);
        if (value != 1001 && value != UINT64_MAX)
            wrong++;
        umdev_client_unmap_region(client, other);
    }
    return (void *)wrong;
}

static void test_busy(void **state)
{
    struct checked *checked = open_all();
    pthread_t threads[TOUCHERS + 1];
    unsigned seed = (unsigned)getpid();

    (void)state;
    print_message("seed %u\n", seed);
    stop = false;
    for (unsigned i = 0; i < PAGES; i++)
        before[i] = after[i] = ALLOW;
    for (uintptr_t i = 0; i < TOUCHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, touch, (void *)(seed + i)), 0);
    assert_int_equal(pthread_create(&threads[TOUCHERS], NULL, map_and_unmap, NULL), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned page = (unsigned)rand_r(&seed) % BUSY_PAGES;
        unsigned entry = (unsigned)rand_r(&seed) % 2 ? REFUSE : ALLOW;

        if (round % 64 == 0)
            invalidate(0, BUSY_PAGES - 1);
        after[page] = round * 2 + entry;
        change(checked, page, entry);
        before[page] = round * 2 + entry;
        /* When the call has returned there is nothing old any more. */
        if (read_page(page) != expected(page, entry))
            fail_msg("round %u: page %u is not what it should be", round, page);
    }
    stop = true;
    for (unsigned i = 0; i <= TOUCHERS; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_true(umdev_client_alive(client));
    close_all();
}

static atomic_uint go, gone;

static void *touch_in_turn(void *opaque)
{
    (void)opaque;
    for (unsigned round = 1; !stop; round++) {
        while (go < round && !stop)
            ;
        read_page(0);
        gone = round;
    }
    return NULL;
}

/* A page is taken back while an answer that has it is being mapped, which takes a while. */
static void test_invalidate_while_mapping(void **state)
{
    struct checked *checked = open_all();
    unsigned seed = (unsigned)getpid();
    pthread_t thread;

    (void)state;
    print_message("seed %u\n", seed);
    checked->extent = PAGES;
    stop = false;
    go = gone = 0;
    *page_at(checked, PAGES - 1) = 1000 + PAGES - 1;
    assert_int_equal(pthread_create(&thread, NULL, touch_in_turn, NULL), 0);
    for (unsigned round = 1; round <= 300; round++) {
        unsigned asked = checked->asked, until = (unsigned)rand_r(&seed) % 4000;

        go = round;
        while (checked->asked == asked)
            ;
        for (volatile unsigned spin = 0; spin < until; spin = spin + 1)
            ;
        change(checked, PAGES - 1, REFUSE);
        if (read_page(PAGES - 1) != UINT64_MAX)
            fail_msg("round %u: a page that was taken back can be read", round);
        while (gone < round)
            ;
        change(checked, PAGES - 1, ALLOW);
        invalidate(0, PAGES - 1);
    }
    stop = true;
    pthread_join(thread, NULL);
    close_all();
}

/* The connection goes while pages are touched: nobody hangs, nobody reads what is not there. */
static void test_lost_while_busy(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct checked *checked = open_all();
        pthread_t threads[TOUCHERS];

        checked->extent = 1;
        stop = false;
        for (unsigned i = 0; i < PAGES; i++) {
            before[i] = ALLOW;
            after[i] = REFUSE;
        }
        for (uintptr_t i = 0; i < TOUCHERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, touch, (void *)(round + i)), 0);
        usleep(round * 50);
        umdev_host_free(host);
        stop = true;
        for (unsigned i = 0; i < TOUCHERS; i++) {
            void *wrong;

            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
        umdev_client_close(client);
        assert_int_equal(leaks_count_fds(), fds_before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_ends),
        cmocka_unit_test(test_server_killed),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_invalidate_while_mapping),
        cmocka_unit_test(test_lost_while_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
