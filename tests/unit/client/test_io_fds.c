/* SPDX-License-Identifier: BSD-3-Clause */
/* What servers say about doorbells, true and false. */
#include "fake.h"

#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REGION      2
#define REGION_SIZE 0x1000
#define MAX_BELLS   300

struct io_fds_reply {
    struct wire_region_io_fds fixed;
    struct wire_io_fd entries[MAX_BELLS];
} WIRE_PACKED;

static struct io_fds_reply reply;
static int bells[4]; /* eventfds, the test's own */

static const struct umdev_io_fd *got;
static size_t ngot;

/* `count` honest doorbells: entry n at 4n, with fd n % nfds. */
static void make_reply(uint32_t count, uint32_t nfds)
{
    memset(&reply, 0, sizeof(reply));
    reply.fixed.argsz = (uint32_t)(sizeof(reply.fixed) + count * sizeof(reply.entries[0]));
    reply.fixed.index = REGION;
    reply.fixed.count = count;
    for (uint32_t i = 0; i < count; i++)
        reply.entries[i] =
            (struct wire_io_fd){.offset = UINT64_C(4) * i, .size = 4, .fd_index = i % nfds};
}

static void answer_region(struct fake *fake)
{
    struct wire_region_info info = {
        .argsz = sizeof(info), .flags = 3, .index = REGION, .size = REGION_SIZE};

    fake_answer(fake, WIRE_DEVICE_GET_REGION_INFO, &info, sizeof(info));
}

static void answer(struct fake *fake, size_t size, unsigned nfds)
{
    fake_answer_fds(fake, WIRE_DEVICE_GET_REGION_IO_FDS, &reply, size, bells, nfds);
}

static void start(struct fake *fake)
{
    fake_connect(fake);
    for (unsigned i = 0; i < ARRAY_SIZE(bells); i++)
        bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    answer_region(fake);
}

static void end(struct fake *fake)
{
    for (unsigned i = 0; i < ARRAY_SIZE(bells); i++)
        close(bells[i]);
    fake_close(fake);
}

static int get(struct fake *fake)
{
    return umdev_client_get_io_fds(fake->client, REGION, &got, &ngot);
}

static void test_doorbells(void **state)
{
    struct wire_region_io_fds asked;
    struct fake_request request;
    struct fake fake;
    uint64_t value = 3;

    (void)state;
    start(&fake);
    make_reply(4, 2);
    reply.entries[1].flags = 3;
    reply.entries[1].datamatch = 0x77;
    reply.entries[2].size = 0;
    reply.entries[3].type = WIRE_IO_FD_IOREGIONFD;
    reply.entries[3].size = 0x100;
    answer(&fake, reply.fixed.argsz, 2);
    for (int i = 0; i < 2; i++) { /* asked once */
        assert_int_equal(get(&fake), 0);
        assert_int_equal(ngot, 4);
    }
    assert_int_equal(got[1].offset, 4);
    assert_int_equal(got[1].size, 4);
    assert_int_equal(got[1].type, UMDEV_IO_FD_EVENTFD);
    assert_int_equal(got[1].flags, UMDEV_IO_FD_DATAMATCH | UMDEV_IO_FD_PIO);
    assert_int_equal(got[1].datamatch, 0x77);
    assert_int_equal(got[3].type, UMDEV_IO_FD_REGION);
    assert_int_equal(got[0].fd, got[2].fd);
    assert_int_not_equal(got[0].fd, got[1].fd);
    /* it is the server's eventfd */
    assert_int_equal(write(got[1].fd, &value, sizeof(value)), sizeof(value));
    assert_int_equal(read(bells[1], &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, 3);
    fake_take(&fake, &request);
    fake_take(&fake, &request);
    assert_int_equal(request.header.command, WIRE_DEVICE_GET_REGION_IO_FDS);
    assert_int_equal(request.body_size, sizeof(asked));
    memcpy(&asked, request.body, sizeof(asked));
    assert_int_equal(asked.index, REGION);
    assert_int_equal(asked.flags, 0);
    assert_int_equal(asked.count, 0);
    fake_assert_quiet(&fake);
    end(&fake);
}

static void test_none(void **state)
{
    struct fake fake;

    (void)state;
    start(&fake);
    make_reply(0, 1);
    answer(&fake, sizeof(reply.fixed), 0);
    assert_int_equal(get(&fake), 0);
    assert_int_equal(ngot, 0);
    end(&fake);
}

/* More than the first question has room for. */
static void test_second_question(void **state)
{
    struct wire_region_io_fds asked;
    struct fake_request request;
    struct fake fake;

    (void)state;
    start(&fake);
    make_reply(200, 4);
    answer(&fake, sizeof(reply.fixed), 0);
    answer(&fake, reply.fixed.argsz, 4);
    assert_int_equal(get(&fake), 0);
    assert_int_equal(ngot, 200);
    assert_int_equal(got[199].offset, 796);
    for (int i = 0; i < 3; i++)
        fake_take(&fake, &request);
    memcpy(&asked, request.body, sizeof(asked));
    assert_int_equal(asked.argsz, reply.fixed.argsz);
    end(&fake);
}

/* Entries may grow: their size is the reply's. */
static void test_larger_entries(void **state)
{
    uint8_t body[sizeof(reply.fixed) + 2 * 48] = {0};
    struct fake fake;

    (void)state;
    start(&fake);
    make_reply(2, 2);
    reply.fixed.argsz = sizeof(body);
    memcpy(body, &reply.fixed, sizeof(reply.fixed));
    for (size_t i = 0; i < 2; i++)
        memcpy(body + sizeof(reply.fixed) + i * 48, &reply.entries[i], sizeof(reply.entries[i]));
    fake_answer_fds(&fake, WIRE_DEVICE_GET_REGION_IO_FDS, body, sizeof(body), bells, 2);
    assert_int_equal(get(&fake), 0);
    assert_int_equal(ngot, 2);
    assert_int_equal(got[1].offset, 4);
    end(&fake);
}

static void test_refused(void **state)
{
    struct fake fake;

    (void)state;
    start(&fake);
    fake_answer_error(&fake, WIRE_DEVICE_GET_REGION_IO_FDS, ENOSYS);
    assert_int_equal(get(&fake), -ENOSYS);
    assert_true(umdev_client_alive(fake.client));
    /* asked again, as nothing is known */
    make_reply(1, 1);
    answer(&fake, reply.fixed.argsz, 1);
    assert_int_equal(get(&fake), 0);
    assert_int_equal(umdev_client_get_io_fds(fake.client, 256, &got, &ngot), -EINVAL);
    end(&fake);
}

/* ------------------------------------------------------------------ broken servers */

/* The prepared reply, with so many fds, is no vfio-user. */
static void expect_broken(struct fake *fake, size_t size, unsigned nfds)
{
    answer(fake, size, nfds);
    assert_int_equal(get(fake), -EPROTO);
    assert_false(umdev_client_alive(fake->client));
    end(fake);
}

static void test_lies(void **state)
{
    /* what is wrong with the second entry of two */
    static const struct wire_io_fd lies[] = {
        {.offset = 4, .size = 4, .fd_index = 2},
        {.offset = 4, .size = 4, .fd_index = UINT32_MAX},
        {.offset = REGION_SIZE, .size = 4},
        {.offset = REGION_SIZE, .size = 0},
        {.offset = REGION_SIZE - 2, .size = 4},
        {.offset = UINT64_MAX - 3, .size = 4},
        {.offset = 4, .size = UINT64_MAX, .type = 1},
        {.offset = 4, .size = 3},
        {.offset = 4, .size = 16},
        {.offset = 4, .size = 0, .flags = 1},
        {.offset = 4, .size = 4, .type = 2},
        {.offset = 4, .size = 4, .type = UINT32_MAX},
    };
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        start(&fake);
        make_reply(2, 2);
        reply.entries[1] = lies[i];
        expect_broken(&fake, reply.fixed.argsz, 2);
    }
}

static void test_wrong_counts(void **state)
{
    static const uint32_t counts[] = {3, 5, 81, UINT32_MAX};
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        start(&fake);
        make_reply(2, 2);
        reply.fixed.count = counts[i];
        expect_broken(&fake, sizeof(reply.fixed) + 80, 2);
    }
    /* no entries, though it says so */
    start(&fake);
    make_reply(2, 2);
    reply.fixed.argsz = sizeof(reply.fixed);
    expect_broken(&fake, sizeof(reply.fixed), 0);
    /* no fds */
    start(&fake);
    make_reply(2, 2);
    expect_broken(&fake, reply.fixed.argsz, 0);
    /* another region */
    start(&fake);
    make_reply(1, 1);
    reply.fixed.index = REGION + 1;
    expect_broken(&fake, reply.fixed.argsz, 1);
    /* out of its mind */
    start(&fake);
    make_reply(0, 1);
    reply.fixed.argsz = UINT32_MAX;
    expect_broken(&fake, sizeof(reply.fixed), 0);
    /* shorter than its fixed part */
    start(&fake);
    expect_broken(&fake, sizeof(reply.fixed) - 1, 0);
}

/* What it takes changes with each question. */
static void test_moving_goal(void **state)
{
    struct fake fake;

    (void)state;
    start(&fake);
    make_reply(200, 4);
    answer(&fake, sizeof(reply.fixed), 0);
    reply.fixed.argsz += 40;
    expect_broken(&fake, sizeof(reply.fixed), 0);
}

/* A pipe could make a writer wait. */
static void test_no_eventfd(void **state)
{
    struct fake fake;
    int ends[2];

    (void)state;
    start(&fake);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    make_reply(1, 1);
    fake_answer_fds(&fake, WIRE_DEVICE_GET_REGION_IO_FDS, &reply, reply.fixed.argsz, &ends[1], 1);
    assert_int_equal(get(&fake), -EPROTO);
    close(ends[0]);
    close(ends[1]);
    end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doorbells),       cmocka_unit_test(test_none),
        cmocka_unit_test(test_second_question), cmocka_unit_test(test_larger_entries),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_lies),
        cmocka_unit_test(test_wrong_counts),    cmocka_unit_test(test_moving_goal),
        cmocka_unit_test(test_no_eventfd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
