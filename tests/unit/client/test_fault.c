/* SPDX-License-Identifier: BSD-3-Clause */
/* Fault-mapped regions: what a touch gives, and what takes a page away. */
#include "fault_fixture.h"

#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------ first touch */

static void test_first_touch(void **state)
{
    struct umdev_region_info info;
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    assert_int_equal(umdev_client_get_region(client, FAULT_REGION, &info), 0);
    assert_true(info.flags & UMDEV_REGION_FAULT_MAPPED);
    assert_false(info.flags & UMDEV_REGION_MMAP);
    fault_fake_set(&fake, 3, (struct fault_entry){.object = 1, .page = 9, .prot = UMDEV_RW});
    view = map_pages(0, PAGES);
    assert_int_equal(stats().faults, 0);
    assert_true(read_page(view, 3) == fault_stamp(1, 9));
    assert_true(write_page(view, 5));
    assert_int_equal(*(uint64_t *)(fake.memory[0] + 5 * FAULT_PAGE + 8), 1);
    assert_true(read_page(view, 3) == fault_stamp(1, 9));
    assert_true(read_page(view, 5) == fault_stamp(0, 5));
    assert_int_equal(stats().faults, 2);
    assert_int_equal(stats().maps, 2);
    assert_int_equal(fake.nfaults, 2);
    assert_int_equal(umdev_client_unmap_region(client, view), 0);
    assert_int_equal(stats().maps, 0);
    close_all();
}

/* Of a program that knows of less, no more is filled in. */
static void test_stats_size(void **state)
{
    struct umdev_client_fault_stats all = {.struct_size = 0};
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    view = map_pages(0, PAGES);
    assert_true(read_page(view, 3) == fault_stamp(0, 3));
    assert_int_equal(umdev_client_get_fault_stats(client, &all), -EINVAL);
    all.struct_size = offsetof(struct umdev_client_fault_stats, refused);
    all.refused = 77;
    assert_int_equal(umdev_client_get_fault_stats(client, &all), 0);
    assert_true(all.negotiated && all.faults == 1 && all.refused == 77);
    close_all();
}

static void test_not_negotiated(void **state)
{
    struct umdev_connect_options options = {.no_fault = true};
    struct umdev_region_info info;

    (void)state;
    open_with(&options, PAGES);
    assert_int_equal(umdev_client_get_region(client, FAULT_REGION, &info), 0);
    assert_false(info.flags & UMDEV_REGION_FAULT_MAPPED);
    assert_null(umdev_client_map_region(client, FAULT_REGION, 0, FAULT_PAGE));
    assert_int_equal(errno, ENOTSUP);
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 1, UMDEV_READ), -EINVAL);
    assert_false(stats().negotiated);
    close_all();
}

static void test_map_arguments(void **state)
{
    static const struct {
        uint64_t offset, len;
    } bad[] = {
        {1, FAULT_PAGE},
        {0, FAULT_PAGE - 1},
        {0, 0},
        {0, (PAGES + 1) * FAULT_PAGE},
        {PAGES * FAULT_PAGE, FAULT_PAGE},
        {UINT64_MAX - FAULT_PAGE + 1, 2 * FAULT_PAGE},
    };

    (void)state;
    open_with(NULL, PAGES);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_null(umdev_client_map_region(client, FAULT_REGION, bad[i].offset, bad[i].len));
        assert_int_equal(errno, EINVAL);
    }
    close_all();
}

/* An answer for many pages is one question and one mapping; the view cuts it to its size. */
static void test_wide_answers(void **state)
{
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    fake.extend = true;
    view = map_pages(8, 16);
    for (uint64_t i = 0; i < 16; i++)
        assert_true(read_page(view, 15 - i) == fault_stamp(0, 23 - i));
    assert_int_equal(fake.nfaults, 1);
    assert_int_equal(stats().maps, 1);
    assert_int_equal(count_mappings(view, 16), 1);
    close_all();
}

/* Pages that come one by one, in any order, become one mapping. */
static void test_neighbours_join(void **state)
{
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    view = map_pages(0, PAGES);
    for (uint64_t i = 0; i < PAGES; i++)
        assert_true(read_page(view, i * 29 % PAGES) == fault_stamp(0, i * 29 % PAGES));
    assert_int_equal(fake.nfaults, PAGES);
    assert_int_equal(stats().maps, 1);
    assert_int_equal(count_mappings(view, PAGES), 1);
    /* And so do those that are taken away. */
    for (uint64_t i = 0; i < PAGES; i++)
        assert_true(fault_fake_invalidate(&fake, i * 27 % PAGES, i * 27 % PAGES));
    assert_int_equal(stats().maps, 0);
    assert_int_equal(count_mappings(view, PAGES), 1);
    close_all();
}

static void test_not_neighbours(void **state)
{
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    for (uint64_t i = 0; i < PAGES; i++)
        fault_fake_set(&fake, i, (struct fault_entry){.page = PAGES - 1 - i, .prot = UMDEV_RW});
    fault_fake_set(&fake, 8, (struct fault_entry){1, 56, UMDEV_RW, 0});
    view = map_pages(0, PAGES);
    for (uint64_t i = 0; i < PAGES; i++)
        read_page(view, i);
    assert_int_equal(stats().maps, PAGES);
    close_all();
}

/* ------------------------------------------------------------------ protection */

static void read_only(bool no_poison)
{
    uint8_t *view;

    open_with(NULL, PAGES);
    client->no_poison = no_poison;
    for (uint64_t i = 0; i < PAGES; i++)
        fault_fake_set(&fake, i, (struct fault_entry){0, i, UMDEV_READ, 0});
    fake.extend = true;
    view = map_pages(0, PAGES);
    for (uint64_t i = 0; i < PAGES; i++)
        assert_true(read_page(view, i) == fault_stamp(0, i));
    assert_int_equal(fake.nfaults, 1);
    assert_int_equal(count_mappings(view, PAGES), 1);

    /* A write asks; what is writable by now is written. */
    fault_fake_set(&fake, 7, (struct fault_entry){0, 7, UMDEV_RW, 0});
    assert_true(write_page(view, 7));
    assert_int_equal(fake.nfaults, 2);
    assert_int_equal(*(uint64_t *)(fake.memory[0] + 7 * FAULT_PAGE + 8), 1);
    assert_true(read_page(view, 7) == fault_stamp(0, 7));

    /* What is not, is refused, until it is invalidated. */
    assert_false(write_page(view, 9));
    assert_int_equal(*(uint64_t *)(fake.memory[0] + 9 * FAULT_PAGE + 8), 0);
    assert_int_equal(read_page(view, 9), 0);
    assert_true(read_page(view, 8) == fault_stamp(0, 8));
    assert_int_equal(fake.nfaults, 3);
    fault_fake_set(&fake, 9, (struct fault_entry){0, 9, UMDEV_RW, 0});
    assert_true(fault_fake_invalidate(&fake, 9, 9));
    assert_true(write_page(view, 9));
    assert_int_equal(stats().refused, 1);
    close_all();
}

static void test_read_only(void **state)
{
    (void)state;
    read_only(false);
    read_only(true);
}

/* Of many pages for reading some are taken at a time. */
static void test_read_only_window(void **state)
{
    uint8_t *view;

    (void)state;
    open_with(NULL, 2048);
    for (uint64_t i = 0; i < 2048; i++)
        fault_fake_set(&fake, i, (struct fault_entry){0, i, UMDEV_READ, 0});
    fake.extend = true;
    view = map_pages(0, 2048);
    for (uint64_t i = 0; i < 2048; i++)
        assert_true(read_page(view, i) == fault_stamp(0, i));
    assert_int_equal(fake.nfaults, 4);
    assert_int_equal(stats().maps, 1);
    assert_int_equal(count_mappings(view, 2048), 1);
    close_all();
}

static void refusal(bool no_poison)
{
    uint8_t *view;

    open_with(NULL, PAGES);
    client->no_poison = no_poison;
    for (uint64_t i = 10; i < 20; i++)
        fault_fake_set(&fake, i, (struct fault_entry){.error = EPERM});
    view = map_pages(0, PAGES);
    for (int twice = 0; twice < 2; twice++) {
        for (uint64_t i = 10; i < 20; i++) {
            assert_int_equal(read_page(view, i), 0);
            assert_false(write_page(view, i));
        }
    }
    assert_int_equal(fake.nfaults, 10);
    assert_int_equal(stats().refused, 10);
    assert_int_equal(stats().maps, no_poison ? 1 : 0);
    assert_true(read_page(view, 9) == fault_stamp(0, 9));

    /* The others of the invalidated range are as they were. */
    fault_fake_set(&fake, 12, (struct fault_entry){3, 1, UMDEV_RW, 0});
    fault_fake_set(&fake, 13, (struct fault_entry){3, 2, UMDEV_RW, 0});
    assert_int_equal(read_page(view, 12), 0);
    assert_true(fault_fake_invalidate(&fake, 12, 12));
    assert_true(read_page(view, 12) == fault_stamp(3, 1));
    assert_int_equal(read_page(view, 13), 0);
    close_all();
}

static void test_refusal(void **state)
{
    (void)state;
    refusal(false);
    refusal(true);
}

/* Of eight bytes, unseen by sanitizers. */
static long raw(long call, int fd, void *address)
{
    return syscall(call, fd, address, 8);
}

static void answer_busy_once(struct fault_fake *server, const struct wire_fault_packet *fault)
{
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_MAP,
        .tag = fault->tag,
        .region = fault->region,
        .error = EAGAIN,
        .first = fault->first,
        .last = fault->first + FAULT_PAGE - 1,
    };

    fault_fake_send(server, &packet, -1);
    server->answer = NULL;
}

/* A server that could not make up its mind in time is asked again. */
static void test_busy_server(void **state)
{
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    fake.answer = answer_busy_once;
    view = map_pages(0, PAGES);
    assert_true(read_page(view, 0) == fault_stamp(0, 0));
    assert_int_equal(fake.nfaults, 2);
    assert_int_equal(stats().refused, 0);
    close_all();
}

/* The kernel's accesses on our behalf wait, and fail, like our own. */
static void test_system_calls(void **state)
{
    uint64_t value = 0;
    uint8_t *view;
    int ends[2];

    (void)state;
    open_with(NULL, PAGES);
    fault_fake_set(&fake, 1, (struct fault_entry){.error = EPERM});
    view = map_pages(0, PAGES);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(raw(SYS_write, ends[1], view), 8);
    assert_int_equal(read(ends[0], &value, 8), 8);
    assert_true(value == fault_stamp(0, 0));
    assert_int_equal(raw(SYS_write, ends[1], view + FAULT_PAGE), -1);
    assert_true(errno == EFAULT || errno == EHWPOISON);
    assert_int_equal(write(ends[1], &value, 8), 8);
    assert_int_equal(raw(SYS_read, ends[0], view + 2 * FAULT_PAGE), 8);
    assert_true(*(uint64_t *)(fake.memory[0] + 2 * FAULT_PAGE) == value);
    close(ends[0]);
    close(ends[1]);
    close_all();
}

/* ------------------------------------------------------------------ invalidation */

static void test_invalidate(void **state)
{
    static const struct {
        uint64_t first, last;
    } ranges[] = {{0, 0}, {PAGES - 1, PAGES - 1}, {5, 9}, {0, PAGES - 1}};
    uint8_t *view;

    (void)state;
    open_with(NULL, PAGES);
    view = map_pages(0, PAGES);
    for (size_t r = 0; r < ARRAY_SIZE(ranges); r++) {
        for (uint64_t i = 0; i < PAGES; i++)
            fault_fake_set(&fake, i, (struct fault_entry){0, i, UMDEV_RW, 0});
        fake.extend = true;
        assert_true(fault_fake_invalidate(&fake, 0, PAGES - 1));
        for (uint64_t i = 0; i < PAGES; i++)
            assert_true(read_page(view, i) == fault_stamp(0, i));
        for (uint64_t i = 0; i < PAGES; i++)
            fault_fake_set(&fake, i, (struct fault_entry){1, i, UMDEV_RW, 0});
        fake.extend = false;
        assert_true(fault_fake_invalidate(&fake, ranges[r].first, ranges[r].last));
        for (uint64_t i = 0; i < PAGES; i++) {
            bool gone = i >= ranges[r].first && i <= ranges[r].last;

            assert_true(read_page(view, i) == fault_stamp(gone, i));
        }
    }
    assert_int_equal(stats().invalidated, 2 * ARRAY_SIZE(ranges));
    close_all();
}

struct spinner {
    pthread_t thread;
    const uint8_t *view;
    atomic_bool stop;
    uint64_t touches, wrong;
};

/* Page 3 of the region has one of four values that differ in their object. */
static void *spin(void *opaque)
{
    struct spinner *spinner = opaque;

    while (!atomic_load_explicit(&spinner->stop, memory_order_relaxed)) {
        uint64_t value = 0;

        CHECK(fault_try_read(spinner->view + 3 * FAULT_PAGE, &value));
        spinner->touches++;
        if (value < fault_stamp(0, 3) || (value & UINT32_MAX) != 3)
            spinner->wrong++;
    }
    return NULL;
}

/* Somebody spins on a page as it goes and comes: never is there anything else. */
static void test_no_window(void **state)
{
    unsigned rounds = 5000;
    struct spinner spinner = {.stop = false};

    (void)state;
    open_with(NULL, PAGES);
    spinner.view = map_pages(0, PAGES);
    assert_int_equal(pthread_create(&spinner.thread, NULL, spin, &spinner), 0);
    for (unsigned i = 1; i <= rounds; i++) {
        fault_fake_set(
            &fake, 3, (struct fault_entry){i % FAULT_OBJECTS, 3, i % 3 ? UMDEV_RW : UMDEV_READ, 0});
        assert_true(fault_fake_invalidate(&fake, i % 2 ? 3 : 0, i % 5 ? 3 : PAGES - 1));
        assert_true(read_page(spinner.view, 3) == fault_stamp(i % FAULT_OBJECTS, 3));
    }
    atomic_store(&spinner.stop, true);
    pthread_join(spinner.thread, NULL);
    assert_int_equal(spinner.wrong, 0);
    assert_true(spinner.touches > 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_touch),     cmocka_unit_test(test_not_negotiated),
        cmocka_unit_test(test_map_arguments),   cmocka_unit_test(test_wide_answers),
        cmocka_unit_test(test_neighbours_join), cmocka_unit_test(test_not_neighbours),
        cmocka_unit_test(test_read_only),       cmocka_unit_test(test_read_only_window),
        cmocka_unit_test(test_refusal),         cmocka_unit_test(test_busy_server),
        cmocka_unit_test(test_system_calls),    cmocka_unit_test(test_invalidate),
        cmocka_unit_test(test_no_window),       cmocka_unit_test(test_stats_size),
    };

    if (!fault_fake_possible())
        return FAULT_SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
