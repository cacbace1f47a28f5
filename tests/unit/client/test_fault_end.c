/* SPDX-License-Identifier: BSD-3-Clause */
/* How fault-mapped regions end: servers that die, that lie, that never answer, and clients that
 * close while others wait. */
#include "fault_fixture.h"

#include "base/cleanup.h"
#include "client/client.h"
#include "failnth.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define TOUCHERS 6

static uint8_t *view;
static atomic_int lost_cause;
static atomic_uint log_lines;

static void on_lost(void *opaque, int cause)
{
    CHECK(opaque == &fake && cause < 0);
    CHECK(atomic_exchange(&lost_cause, cause) == 0);
}

static void on_log(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)level;
    CHECK(opaque == &fake && *line);
    log_lines++;
}

static struct umdev_connect_options options_with(int fault_timeout_ms)
{
    return (struct umdev_connect_options){
        .timeout_ms = -1,
        .log = on_log,
        .log_opaque = &fake,
        .fault_timeout_ms = fault_timeout_ms,
        .lost = on_lost,
        .lost_opaque = &fake,
    };
}

static void open_timeout(int fault_timeout_ms)
{
    struct umdev_connect_options options = options_with(fault_timeout_ms);

    lost_cause = 0;
    log_lines = 0;
    open_with(&options, PAGES);
    view = map_pages(0, PAGES);
}

static void open_all(void)
{
    open_timeout(0);
}

/* Threads that wait for pages 8, 9 … */
static void start_touchers(pthread_t threads[TOUCHERS])
{
    uint64_t before = fake.nfaults;

    fake.mute = true;
    for (size_t i = 0; i < TOUCHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, touch_one, view + (8 + i) * FAULT_PAGE),
                         0);
    fault_fake_wait_faults(&fake, before + TOUCHERS);
}

/* Nobody hangs, and what they read is what the test gave. */
static void join_touchers(pthread_t threads[TOUCHERS], bool refused)
{
    for (size_t i = 0; i < TOUCHERS; i++) {
        void *value;

        pthread_join(threads[i], &value);
        assert_true((uintptr_t)value == (refused ? 0 : fault_stamp(0, 8 + i)));
    }
}

/* The connection is over: what was mapped is there, and nothing else. Page 1 was. */
static void check_lost(void)
{
    for (uint64_t i = 0; i < PAGES; i++)
        assert_true(read_page(view, i) == (i == 1 ? fault_stamp(0, 1) : 0));
    assert_true(fault_try_write(view + FAULT_PAGE + 8, 1));
    assert_int_equal(umdev_client_prefault(client, FAULT_REGION, 0, 1, UMDEV_READ), -ENOTCONN);
    assert_false(umdev_client_alive(client));
    assert_true(stats().lost);
    while (!lost_cause)
        usleep(100);
    assert_int_equal(log_lines, 1);
}

/* ------------------------------------------------------------------ a server that dies */

static void test_lost_when_idle(void **state)
{
    (void)state;
    open_all();
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    fault_fake_die(&fake);
    check_lost();
    assert_int_equal(lost_cause, -ENOTCONN);
    close_all();
}

static void test_lost_before_the_answer(void **state)
{
    pthread_t threads[TOUCHERS];

    (void)state;
    open_all();
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    start_touchers(threads);
    fault_fake_die(&fake);
    join_touchers(threads, true);
    check_lost();
    close_all();
}

static void test_lost_in_prefault(void **state)
{
    pthread_t thread;
    void *ret;

    (void)state;
    open_all();
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    fake.mute = true;
    assert_int_equal(pthread_create(&thread, NULL, prefault, NULL), 0);
    fault_fake_wait_faults(&fake, 2);
    fault_fake_die(&fake);
    pthread_join(thread, &ret);
    assert_int_equal((intptr_t)ret, -ENOTCONN);
    check_lost();
    close_all();
}

static void *invalidate(void *opaque)
{
    (void)opaque;
    while (fault_fake_invalidate(&fake, 2, PAGES - 1))
        ;
    return NULL;
}

static void *touch_all(void *opaque)
{
    (void)opaque;
    for (uint64_t i = 2; read_page(view, i) && !lost_cause; i = i + 1 < PAGES ? i + 1 : 2)
        ;
    return NULL;
}

/* At any moment of a busy life. */
static void test_lost_when_busy(void **state)
{
    unsigned seed = (unsigned)getpid();

    (void)state;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 30; round++) {
        pthread_t threads[3];

        open_all();
        assert_true(read_page(view, 1) == fault_stamp(0, 1));
        pthread_create(&threads[0], NULL, invalidate, NULL);
        pthread_create(&threads[1], NULL, touch_all, NULL);
        pthread_create(&threads[2], NULL, touch_all, NULL);
        usleep((unsigned)rand_r(&seed) % 3000);
        shutdown(fake.sock, SHUT_RDWR);
        shutdown(fake.channel, SHUT_RDWR);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        while (!lost_cause)
            usleep(100);
        /* The rest may have been mapped. */
        assert_true(read_page(view, 1) == fault_stamp(0, 1));
        for (uint64_t i = 2; i < PAGES; i++) {
            uint64_t value = read_page(view, i);

            assert_true(value == 0 || value == fault_stamp(0, i));
        }
        close_all();
    }
}

/* A page for reading that is written when nobody can be asked any more. */
static void test_lost_read_only(void **state)
{
    (void)state;
    open_all();
    fault_fake_set(&fake, 1, (struct fault_entry){0, 1, UMDEV_READ, 0});
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    fault_fake_die(&fake);
    while (!lost_cause)
        usleep(100);
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    assert_false(fault_try_write(view + FAULT_PAGE + 8, 1));
    assert_int_equal(*(uint64_t *)(fake.memory[0] + FAULT_PAGE + 8), 0);
    close_all();
}

/* Where the kernel has no poison, and one mapping is all there may be. */
static void test_lost_without_poison(void **state)
{
    (void)state;
    open_all();
    client->no_poison = true;
    fault_fake_die(&fake);
    while (!lost_cause)
        usleep(100);
    for (uint64_t i = 0; i < PAGES; i++)
        assert_true(read_page(view, i * 29 % PAGES) == 0);
    close_all();
}

/* ------------------------------------------------------------------ a client that closes */

static void test_close_under_touchers(void **state)
{
    pthread_t threads[TOUCHERS];

    (void)state;
    open_all();
    start_touchers(threads);
    umdev_client_close(client);
    join_touchers(threads, true);
    client = NULL;
    assert_int_equal(lost_cause, 0);
    assert_int_equal(log_lines, 0);
    close_all();
}

/* The answer to what has been unmapped is for nobody; a view that is there again asks again. */
static void test_unmap_under_touchers(void **state)
{
    pthread_t threads[TOUCHERS];

    (void)state;
    open_all();
    start_touchers(threads);
    assert_int_equal(umdev_client_unmap_region(client, view), 0);
    join_touchers(threads, true);
    view = map_pages(0, PAGES);
    fault_fake_unmute(&fake);
    assert_true(read_page(view, 8) == fault_stamp(0, 8));
    assert_int_equal(fake.nfaults, TOUCHERS + 1);
    close_all();
}

/* ------------------------------------------------------------------ a server that is slow */

static void test_slow_server(void **state)
{
    pthread_t threads[TOUCHERS];

    (void)state;
    open_timeout(0);
    start_touchers(threads);
    usleep(300000);
    fault_fake_unmute(&fake);
    join_touchers(threads, false);
    assert_true(umdev_client_alive(client));
    close_all();
}

static void test_fault_timeout(void **state)
{
    pthread_t threads[TOUCHERS];

    (void)state;
    open_timeout(150);
    /* Idle or in time, nothing happens. */
    usleep(200000);
    assert_true(read_page(view, 1) == fault_stamp(0, 1));
    start_touchers(threads);
    join_touchers(threads, true);
    check_lost();
    assert_int_equal(lost_cause, -ETIMEDOUT);
    close_all();
}

/* ------------------------------------------------------------------ a server that lies */

/* What a bad answer differs in from a good one. */
struct lie {
    const char *name;
    void (*tell)(struct wire_fault_packet *packet, int *fd);
};

#define LIE(name, statement)                                                                       \
    static void name(struct wire_fault_packet *packet, int *fd)                                    \
    {                                                                                              \
        (void)packet;                                                                              \
        (void)fd;                                                                                  \
        statement;                                                                                 \
    }

static int other_file(int flags, off_t size, unsigned seals)
{
    int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING | (unsigned)flags);

    CHECK(fd >= 0 && ftruncate(fd, size) == 0);
    CHECK(!seals || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

/* Of another file system than a memfd is. */
static int named_file_make(void)
{
    int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    CHECK(fd >= 0 && ftruncate(fd, PAGES * FAULT_PAGE) == 0);
    return fd;
}

LIE(type_zero, packet->type = 0)
LIE(type_of_client, packet->type = WIRE_FAULT_ACK)
LIE(unknown_type, packet->type = 5)
LIE(unknown_flag, packet->flags |= 2)
LIE(unknown_tag, packet->tag++)
LIE(late_tag, packet->tag += WIRE_FAULTS_MAX)
LIE(other_region, packet->region++)
LIE(no_region, packet->region = UINT32_MAX)
LIE(padding, packet->zero[15] = 1)
LIE(first_unaligned, packet->first++)
LIE(last_unaligned, packet->last--)
LIE(last_before_first, packet->last = packet->first - 1)
LIE(elsewhere, (packet->first += FAULT_PAGE, packet->last += FAULT_PAGE))
LIE(beyond_region, packet->last = PAGES * FAULT_PAGE + FAULT_PAGE - 1)
LIE(everything, (packet->first = 0, packet->last = UINT64_MAX))
LIE(offset_unaligned, packet->object_offset += 8)
LIE(offset_beyond, packet->object_offset = PAGES * FAULT_PAGE)
LIE(offset_wraps, packet->object_offset = UINT64_MAX - FAULT_PAGE + 1)
LIE(unknown_object, packet->object = 77)
LIE(no_prot, packet->prot = 0)
LIE(unknown_prot, packet->prot |= 4)
LIE(lacks_access, packet->prot = UMDEV_READ)
LIE(huge_errno, packet->error = 4096)
LIE(negative_errno, packet->error = (uint32_t)-EPERM)
LIE(known_object_again, (packet->flags = WIRE_FAULT_MAP_FD, *fd = dup(fake.objects[0])))
LIE(fd_without_flag, *fd = dup(fake.objects[1]))
LIE(flag_without_fd, (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5))
LIE(fd_with_errno, (packet->flags = WIRE_FAULT_MAP_FD, packet->error = EPERM, packet->object = 5,
                    *fd = dup(fake.objects[1])))
LIE(short_file,
    (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5, *fd = other_file(0, FAULT_PAGE, 0)))
LIE(empty_file, (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5, *fd = other_file(0, 0, 0)))
LIE(file_not_to_be_written, (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5,
                             *fd = other_file(0, PAGES *FAULT_PAGE, F_SEAL_WRITE)))
LIE(no_file,
    (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5, *fd = socket(AF_UNIX, SOCK_STREAM, 0)))
LIE(named_file, (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5, *fd = named_file_make()))
/* Where 4 KiB of it were to be, mmap() would put 2 MiB, over whatever lies there. */
LIE(huge_pages, (packet->flags = WIRE_FAULT_MAP_FD, packet->object = 5,
                 *fd = other_file(MFD_HUGETLB, 2 << 20, 0)))
LIE(invalidate_with_fd, (packet->type = WIRE_FAULT_INVALIDATE, *fd = dup(fake.objects[0])))
LIE(invalidate_unaligned, (packet->type = WIRE_FAULT_INVALIDATE, packet->first += 1))
LIE(invalidate_backwards, (packet->type = WIRE_FAULT_INVALIDATE, packet->first = FAULT_PAGE * 60))
LIE(invalidate_wraps, (packet->type = WIRE_FAULT_INVALIDATE, packet->last = UINT64_MAX))
LIE(invalidate_no_region, (packet->type = WIRE_FAULT_INVALIDATE, packet->region = 256))
LIE(invalidate_flags, (packet->type = WIRE_FAULT_INVALIDATE, packet->flags = 1))

#define ENTRY(name)                                                                                \
    {                                                                                              \
#name, name                                                                                \
    }
static const struct lie lies[] = {
    ENTRY(type_zero),
    ENTRY(type_of_client),
    ENTRY(unknown_type),
    ENTRY(unknown_flag),
    ENTRY(unknown_tag),
    ENTRY(late_tag),
    ENTRY(other_region),
    ENTRY(no_region),
    ENTRY(padding),
    ENTRY(first_unaligned),
    ENTRY(last_unaligned),
    ENTRY(last_before_first),
    ENTRY(elsewhere),
    ENTRY(beyond_region),
    ENTRY(everything),
    ENTRY(offset_unaligned),
    ENTRY(offset_beyond),
    ENTRY(offset_wraps),
    ENTRY(unknown_object),
    ENTRY(no_prot),
    ENTRY(unknown_prot),
    ENTRY(lacks_access),
    ENTRY(huge_errno),
    ENTRY(negative_errno),
    ENTRY(known_object_again),
    ENTRY(fd_without_flag),
    ENTRY(flag_without_fd),
    ENTRY(fd_with_errno),
    ENTRY(short_file),
    ENTRY(empty_file),
    ENTRY(file_not_to_be_written),
    ENTRY(no_file),
    ENTRY(named_file),
    ENTRY(huge_pages),
    ENTRY(invalidate_with_fd),
    ENTRY(invalidate_unaligned),
    ENTRY(invalidate_backwards),
    ENTRY(invalidate_wraps),
    ENTRY(invalidate_no_region),
    ENTRY(invalidate_flags),
};

static void tell_lie(struct fault_fake *server, const struct wire_fault_packet *fault)
{
    const struct lie *lie = server->opaque;
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_MAP,
        .tag = fault->tag,
        .region = fault->region,
        .first = fault->first,
        .last = fault->first + FAULT_PAGE - 1,
        .object_offset = fault->first,
        .prot = UMDEV_RW,
    };
    CLEANUP_FD int fd = -1;

    lie->tell(&packet, &fd);
    fault_fake_send(server, &packet, fd);
}

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        open_all();
        assert_true(read_page(view, 1) == fault_stamp(0, 1));
        pthread_mutex_lock(&fake.lock);
        fake.opaque = (void *)&lies[i];
        fake.answer = tell_lie;
        pthread_mutex_unlock(&fake.lock);
        if (fault_try_write(view + 32 * FAULT_PAGE + 8, 1))
            fail_msg("%s: the page was mapped", lies[i].name);
        check_lost();
        if (lost_cause != -EPROTO)
            fail_msg("%s: %d", lies[i].name, lost_cause);
        close_all();
    }
}

/* Packets that are too short, too long, empty. */
static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 65, 128};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint8_t bytes[128] = {WIRE_FAULT_INVALIDATE};

        open_all();
        assert_true(read_page(view, 1) == fault_stamp(0, 1));
        pthread_mutex_lock(&fake.lock);
        assert_int_equal(send(fake.channel, bytes, sizes[i], MSG_NOSIGNAL), sizes[i]);
        pthread_mutex_unlock(&fake.lock);
        while (!lost_cause)
            usleep(100);
        check_lost();
        close_all();
    }
}

static void test_refused_channel(void **state)
{
    (void)state;
    leaks_begin();
    fault_fake_open(&fake, PAGES, PAGES);
    fake.refuse_channel = EPERM;
    assert_int_equal(fault_fake_connect(&fake, NULL, &client), 0);
    assert_null(umdev_client_map_region(client, FAULT_REGION, 0, FAULT_PAGE));
    assert_int_equal(errno, EPERM);
    assert_true(umdev_client_alive(client));
    close_all();
}

/* ------------------------------------------------------------------ what fails here */

static int connect_and_map(void)
{
    struct umdev_connect_options options = options_with(0);
    int ret = fault_fake_connect(&fake, &options, &client);

    if (ret)
        return ret;
    view = umdev_client_map_region(client, FAULT_REGION, 0, PAGES * FAULT_PAGE);
    ret = view ? umdev_client_prefault(client, FAULT_REGION, 0, 3, UMDEV_READ) : -errno;
    if (ret)
        umdev_client_close(client);
    return ret;
}

static void test_fail_nth(void **state)
{
    bool failed = true;
    unsigned n = 1;

    (void)state;
    for (; failed; n++) {
        int ret;

        leaks_begin();
        fault_fake_open(&fake, PAGES, PAGES);
        failnth_arm(n);
        ret = connect_and_map();
        failed = failnth_disarm();
        assert_true(failed ? ret < 0 : ret == 0);
        if (!ret)
            umdev_client_close(client);
        client = NULL;
        fault_fake_close(&fake);
        if (leaks_end("after the client"))
            fail_msg("something is left behind after call %u failed", n);
    }
    /* records; uffd, sockets, the refused file; bell, blank, view; two threads */
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_when_idle),
        cmocka_unit_test(test_lost_before_the_answer),
        cmocka_unit_test(test_lost_in_prefault),
        cmocka_unit_test(test_lost_when_busy),
        cmocka_unit_test(test_lost_read_only),
        cmocka_unit_test(test_lost_without_poison),
        cmocka_unit_test(test_close_under_touchers),
        cmocka_unit_test(test_unmap_under_touchers),
        cmocka_unit_test(test_slow_server),
        cmocka_unit_test(test_fault_timeout),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_refused_channel),
        cmocka_unit_test(test_fail_nth),
    };

    if (!fault_fake_possible())
        return FAULT_SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
