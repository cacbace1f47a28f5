/* SPDX-License-Identifier: BSD-3-Clause */
/* What servers say about regions, true and false, and mapping them. */
#include "fake.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE      4096
#define FILE_SIZE (64 * PAGE)

/* A GET_REGION_INFO reply, filled in piece by piece. */
struct info_reply {
    struct wire_region_info info;
    uint8_t caps[70000];
    size_t caps_size;
};

static void info_init(struct info_reply *reply, uint32_t index, uint32_t flags, uint64_t size)
{
    memset(reply, 0, sizeof(*reply));
    reply->info = (struct wire_region_info){
        .argsz = sizeof(reply->info),
        .flags = flags,
        .index = index,
        .size = size,
    };
}

/* Append a capability with `next` as given, and count it in. */
static void info_add(struct info_reply *reply, uint16_t id, uint32_t next, const void *body,
                     size_t size)
{
    struct wire_cap_header header = {.id = id, .version = 1, .next = next};

    if (!reply->info.cap_offset)
        reply->info.cap_offset = sizeof(reply->info);
    reply->info.flags |= WIRE_REGION_FLAG_CAPS;
    memcpy(reply->caps + reply->caps_size, &header, sizeof(header));
    if (size)
        memcpy(reply->caps + reply->caps_size + sizeof(header), body, size);
    reply->caps_size += sizeof(header) + size;
    reply->info.argsz = (uint32_t)(sizeof(reply->info) + reply->caps_size);
}

struct sparse_body {
    uint32_t nr_areas, reserved;
    struct umdev_area areas[8];
};

static void info_add_sparse(struct info_reply *reply, uint32_t next, uint32_t nr_areas,
                            const struct umdev_area *areas, size_t sent)
{
    struct sparse_body body = {.nr_areas = nr_areas};

    if (sent)
        memcpy(body.areas, areas, sent * sizeof(*areas));
    info_add(reply, WIRE_CAP_SPARSE_MMAP, next, &body, 8 + sent * sizeof(*areas));
}

static void info_queue(struct fake *fake, const struct info_reply *reply, int fd)
{
    static uint8_t body[sizeof(struct info_reply)];

    memcpy(body, &reply->info, sizeof(reply->info));
    memcpy(body + sizeof(reply->info), reply->caps, reply->caps_size);
    fake_answer_fds(fake, WIRE_DEVICE_GET_REGION_INFO, body, sizeof(reply->info) + reply->caps_size,
                    &fd, fd >= 0);
}

static int make_file(size_t size)
{
    int fd = memfd_create("region", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

/* ------------------------------------------------------------------ honest servers */

static void test_device_info(void **state)
{
    struct wire_device_info sent = {.argsz = 16, .flags = 3, .num_regions = 9, .num_irqs = 5};
    struct umdev_device_info info;
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer(&fake, WIRE_DEVICE_GET_INFO, &sent, sizeof(sent));
    assert_int_equal(umdev_client_get_info(fake.client, &info), 0);
    assert_int_equal(info.flags, UMDEV_DEVICE_RESET | UMDEV_DEVICE_PCI);
    assert_int_equal(info.num_regions, 9);
    assert_int_equal(info.num_irqs, 5);
    fake_take(&fake, &request);
    assert_int_equal(request.header.command, WIRE_DEVICE_GET_INFO);
    assert_int_equal(request.body_size, 16);
    fake_close(&fake);
}

static void test_plain_region(void **state)
{
    static struct info_reply reply;
    struct wire_region_info asked;
    struct umdev_region_info info;
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    info_init(&reply, 3, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_WRITE, 0x1000);
    info_queue(&fake, &reply, -1);
    for (int i = 0; i < 2; i++) { /* asked once */
        assert_int_equal(umdev_client_get_region(fake.client, 3, &info), 0);
        assert_int_equal(info.index, 3);
        assert_int_equal(info.flags, UMDEV_REGION_READ | UMDEV_REGION_WRITE);
        assert_int_equal(info.size, 0x1000);
        assert_int_equal(info.fd, -1);
        assert_int_equal(info.nareas, 0);
        assert_false(info.sparse || info.msix_mappable || info.has_type);
    }
    fake_take(&fake, &request);
    memcpy(&asked, request.body, sizeof(asked));
    assert_int_equal(asked.index, 3);
    assert_true(asked.argsz >= sizeof(asked));
    assert_int_equal(asked.flags, 0);
    assert_int_equal(asked.cap_offset, 0);
    fake_assert_quiet(&fake);
    assert_null(umdev_client_map_region(fake.client, 3, 0, PAGE));
    assert_int_equal(errno, ENOTSUP);
    fake_close(&fake);
}

static void test_all_capabilities(void **state)
{
    static const struct umdev_area areas[] = {{0, PAGE}, {PAGE, 0}, {4 * PAGE, 2 * PAGE}};
    static const uint32_t type[] = {0x80001234, 7};
    static struct info_reply reply;
    struct umdev_region_info info;
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    info_init(&reply, 2, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_WRITE | WIRE_REGION_FLAG_MMAP,
              FILE_SIZE);
    info_add(&reply, 0x7777, 32 + 16, "unknown!", 8);
    info_add(&reply, WIRE_CAP_TYPE, 32 + 32, type, sizeof(type));
    info_add(&reply, WIRE_CAP_MSIX_MAPPABLE, 32 + 40, NULL, 0);
    info_add_sparse(&reply, 0, 3, areas, 3);
    info_queue(&fake, &reply, fd);
    assert_int_equal(umdev_client_get_region(fake.client, 2, &info), 0);
    assert_true(info.msix_mappable);
    assert_true(info.has_type);
    assert_int_equal(info.type, type[0]);
    assert_int_equal(info.subtype, type[1]);
    assert_true(info.sparse);
    assert_true(info.fd >= 0);
    assert_int_equal(info.nareas, 2); /* an empty one is none */
    assert_int_equal(info.areas[0].offset, 0);
    assert_int_equal(info.areas[0].size, PAGE);
    assert_int_equal(info.areas[1].offset, 4 * PAGE);
    assert_int_equal(info.areas[1].size, 2 * PAGE);
    fake_close(&fake);
}

/* Many areas do not fit the first question: the second one has room. */
static void test_asks_again(void **state)
{
    enum { AREAS = 500 };
    static struct {
        uint32_t nr_areas, reserved;
        struct umdev_area areas[AREAS];
    } body = {.nr_areas = AREAS};
    static struct info_reply cut, whole;
    struct umdev_region_info info;
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    struct fake_request request;
    struct wire_region_info asked;
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < AREAS; i++)
        body.areas[i] = (struct umdev_area){.offset = i * 2 * PAGE, .size = PAGE};
    fake_connect(&fake);
    info_init(&whole, 0, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_MMAP, 2 * AREAS * PAGE);
    cut = whole;
    info_add(&whole, WIRE_CAP_SPARSE_MMAP, 0, &body, sizeof(body));
    cut.info.argsz = whole.info.argsz;
    cut.info.flags |= WIRE_REGION_FLAG_CAPS; /* as kernels do, with cap_offset 0 */
    info_queue(&fake, &cut, fd);
    info_queue(&fake, &whole, fd);
    assert_int_equal(umdev_client_get_region(fake.client, 0, &info), 0);
    assert_int_equal(info.nareas, AREAS);
    assert_int_equal(info.areas[AREAS - 1].offset, (AREAS - 1) * 2 * PAGE);
    fake_take(&fake, &request);
    fake_take(&fake, &request);
    memcpy(&asked, request.body, sizeof(asked));
    assert_int_equal(asked.argsz, whole.info.argsz);
    fake_assert_quiet(&fake);
    fake_close(&fake);
}

static void test_region_errors(void **state)
{
    static struct info_reply reply;
    struct umdev_region_info info;
    struct fake_request request;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer_error(&fake, WIRE_DEVICE_GET_REGION_INFO, EINVAL);
    assert_int_equal(umdev_client_get_region(fake.client, 100, &info), -EINVAL);
    fake_take(&fake, &request);
    /* absurd indices are not even asked for */
    assert_int_equal(umdev_client_get_region(fake.client, UINT32_MAX, &info), -EINVAL);
    fake_assert_quiet(&fake);
    /* an error is not kept */
    info_init(&reply, 100, 0, 0);
    info_queue(&fake, &reply, -1);
    assert_int_equal(umdev_client_get_region(fake.client, 100, &info), 0);
    assert_int_equal(info.size, 0);
    fake_close(&fake);
}

/* ------------------------------------------------------------------ hostile servers */

static void assert_refused(const struct info_reply *reply)
{
    struct umdev_region_info info;
    struct fake fake;

    fake_connect(&fake);
    info_queue(&fake, reply, 0);
    info_queue(&fake, reply, 0);
    assert_int_equal(umdev_client_get_region(fake.client, 2, &info), -EPROTO);
    assert_false(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void hostile_init(struct info_reply *reply)
{
    info_init(reply, 2, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_MMAP, FILE_SIZE);
}

static void test_bad_chains(void **state)
{
    static const uint32_t nexts[] = {
        32,         /* itself */
        8,          /* into the fixed part */
        33,         /* not aligned */
        36,         /* not aligned enough */
        40,         /* cut off by the end */
        48,         /* the end */
        4096,       /* beyond */
        0xfffffff8, /* far beyond */
        0x80000000,
    };
    static struct info_reply reply;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nexts); i++) {
        hostile_init(&reply);
        info_add(&reply, WIRE_CAP_MSIX_MAPPABLE, nexts[i], "1234", 4);
        assert_refused(&reply);
        hostile_init(&reply);
        info_add(&reply, WIRE_CAP_MSIX_MAPPABLE, 0, "1234", 4);
        reply.info.cap_offset = nexts[i] == 32 ? 31 : nexts[i];
        assert_refused(&reply);
    }
    /* two that lead to each other */
    hostile_init(&reply);
    info_add(&reply, WIRE_CAP_MSIX_MAPPABLE, 40, NULL, 0);
    info_add(&reply, WIRE_CAP_MSIX_MAPPABLE, 32, NULL, 0);
    assert_refused(&reply);
    /* the flag, and nothing there */
    hostile_init(&reply);
    reply.info.flags |= WIRE_REGION_FLAG_CAPS;
    reply.info.cap_offset = 32;
    assert_refused(&reply);
}

static void test_bad_capabilities(void **state)
{
    static const struct umdev_area inside[] = {{0, PAGE}};
    static const struct umdev_area outside[] = {
        {0, FILE_SIZE + 1},
        {FILE_SIZE, 1},
        {PAGE, UINT64_MAX},
        {UINT64_MAX, PAGE},
        {UINT64_MAX - PAGE + 1, PAGE},
    };
    static struct info_reply reply;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        hostile_init(&reply);
        info_add_sparse(&reply, 0, 1, &outside[i], 1);
        assert_refused(&reply);
    }
    /* more areas than were sent */
    hostile_init(&reply);
    info_add_sparse(&reply, 0, 2, inside, 1);
    assert_refused(&reply);
    hostile_init(&reply);
    info_add_sparse(&reply, 0, UINT32_MAX, inside, 1);
    assert_refused(&reply);
    /* a sparse capability without its count, a type without its subtype */
    hostile_init(&reply);
    info_add(&reply, WIRE_CAP_SPARSE_MMAP, 0, "1234", 4);
    assert_refused(&reply);
    hostile_init(&reply);
    info_add(&reply, WIRE_CAP_TYPE, 0, "1234", 4);
    assert_refused(&reply);
    /* two sparse capabilities */
    hostile_init(&reply);
    info_add_sparse(&reply, 32 + 32, 1, inside, 1);
    info_add_sparse(&reply, 0, 1, inside, 1);
    assert_refused(&reply);
    /* another region than the one asked for */
    hostile_init(&reply);
    reply.info.index = 1;
    assert_refused(&reply);
}

static void test_absurd_argsz(void **state)
{
    static struct info_reply reply;

    (void)state;
    hostile_init(&reply);
    reply.info.argsz = 65537;
    assert_refused(&reply);
    hostile_init(&reply);
    reply.info.argsz = UINT32_MAX;
    assert_refused(&reply);
}

/* Each answer wants more than the question had room for. */
static void test_argsz_that_grows(void **state)
{
    static struct info_reply reply;
    struct umdev_region_info info;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    for (uint32_t argsz = 2000; argsz < 5000; argsz += 1000) {
        hostile_init(&reply);
        reply.info.argsz = argsz;
        info_queue(&fake, &reply, 0);
    }
    assert_int_equal(umdev_client_get_region(fake.client, 2, &info), -EPROTO);
    fake_close(&fake);
}

/* More body than the question had room for. */
static void test_long_reply(void **state)
{
    static struct info_reply reply;
    struct umdev_region_info info;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    hostile_init(&reply);
    reply.caps_size = 60000;
    info_queue(&fake, &reply, -1);
    assert_int_equal(umdev_client_get_region(fake.client, 2, &info), -EPROTO);
    fake_close(&fake);
}

/* ------------------------------------------------------------------ mapping */

static void connect_with_region(struct fake *fake, uint32_t flags, uint64_t offset, uint64_t size,
                                int fd)
{
    static const struct umdev_area areas[] = {{2 * PAGE, 4 * PAGE}, {8 * PAGE, PAGE}};
    static struct info_reply reply;

    fake_connect(fake);
    info_init(&reply, 2, flags | WIRE_REGION_FLAG_MMAP, size);
    reply.info.offset = offset;
    info_add_sparse(&reply, 0, 2, areas, 2);
    info_queue(fake, &reply, fd);
}

static void test_maps(void **state)
{
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    struct fake fake;
    uint32_t *map, *second, got;

    (void)state;
    connect_with_region(&fake, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_WRITE, 16 * PAGE, FILE_SIZE,
                        fd);
    map = umdev_client_map_region(fake.client, 2, 3 * PAGE, 3 * PAGE);
    assert_non_null(map);
    map[1] = 0xabcd;
    assert_int_equal(pread(fd, &got, 4, (16 + 3) * PAGE + 4), 4);
    assert_int_equal(got, 0xabcd);
    second = umdev_client_map_region(fake.client, 2, 3 * PAGE, PAGE);
    assert_non_null(second);
    assert_int_equal(second[1], 0xabcd);
    assert_int_equal(umdev_client_unmap_region(fake.client, map), 0);
    assert_int_equal(umdev_client_unmap_region(fake.client, map), -EINVAL);
    assert_int_equal(umdev_client_unmap_region(fake.client, second + PAGE / 4), -EINVAL);
    assert_int_equal(umdev_client_unmap_region(fake.client, NULL), -EINVAL);
    assert_int_equal(second[1], 0xabcd);
    fake_close(&fake); /* takes the second along, or it would be a leak */
}

static void test_maps_only_areas(void **state)
{
    static const struct {
        uint64_t offset;
        size_t len;
    } bad[] = {
        {0, PAGE},                       /* before */
        {PAGE, 2 * PAGE},                /* over its beginning */
        {5 * PAGE, 2 * PAGE},            /* over its end */
        {2 * PAGE, 7 * PAGE},            /* over two */
        {7 * PAGE, PAGE},                /* between */
        {9 * PAGE, PAGE},                /* after */
        {2 * PAGE, 0},                   /* nothing */
        {2 * PAGE + 1, PAGE},            /* not aligned */
        {2 * PAGE, PAGE + 1},            /* not aligned */
        {2 * PAGE, SIZE_MAX - PAGE + 1}, /* wraps */
        {UINT64_MAX - PAGE + 1, PAGE},   /* wraps */
    };
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    struct fake fake;

    (void)state;
    connect_with_region(&fake, WIRE_REGION_FLAG_READ, 0, FILE_SIZE, fd);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        errno = 0;
        assert_null(umdev_client_map_region(fake.client, 2, bad[i].offset, bad[i].len));
        assert_int_equal(errno, EINVAL);
    }
    assert_non_null(umdev_client_map_region(fake.client, 2, 2 * PAGE, 4 * PAGE));
    assert_non_null(umdev_client_map_region(fake.client, 2, 8 * PAGE, PAGE));
    fake_close(&fake);
}

/* What the server's file does not have, or can't have, is not mapped: no SIGBUS later. */
static void test_short_file(void **state)
{
    static const uint64_t offsets[] = {FILE_SIZE - 3 * PAGE, FILE_SIZE, 1, INT64_MAX - PAGE + 1,
                                       UINT64_MAX - PAGE + 1};
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    struct fake fake;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        connect_with_region(&fake, WIRE_REGION_FLAG_READ, offsets[i], FILE_SIZE, fd);
        assert_null(umdev_client_map_region(fake.client, 2, 3 * PAGE, PAGE));
        assert_int_equal(errno, ENXIO);
        fake_close(&fake);
    }
}

static void test_without_file(void **state)
{
    struct fake fake;

    (void)state;
    connect_with_region(&fake, WIRE_REGION_FLAG_READ, 0, FILE_SIZE, -1);
    assert_null(umdev_client_map_region(fake.client, 2, 3 * PAGE, PAGE));
    assert_int_equal(errno, ENOTSUP);
    fake_close(&fake);
}

/* The region's flags decide, not the file's mode. */
static void test_map_protection(void **state)
{
    CLEANUP_FD int fd = make_file(FILE_SIZE);
    char path[64];
    CLEANUP_FD int readonly = -1;
    struct fake fake;
    uint8_t *map;

    (void)state;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    readonly = open(path, O_RDONLY | O_CLOEXEC);
    connect_with_region(&fake, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_WRITE, 0, FILE_SIZE,
                        readonly);
    assert_null(umdev_client_map_region(fake.client, 2, 3 * PAGE, PAGE));
    assert_int_equal(errno, EACCES);
    fake_close(&fake);
    connect_with_region(&fake, WIRE_REGION_FLAG_READ, 0, FILE_SIZE, readonly);
    map = umdev_client_map_region(fake.client, 2, 3 * PAGE, PAGE);
    assert_non_null(map);
    assert_int_equal(map[0], 0);
    fake_close(&fake);
}

/* An fd with a region that can't be mapped is not kept, nor more fds than one. */
static void test_unwanted_region_fds(void **state)
{
    static struct info_reply reply;
    struct umdev_region_info info;
    int fds[3] = {0, 1, 2};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    info_init(&reply, 0, WIRE_REGION_FLAG_READ, PAGE);
    fake_answer_fds(&fake, WIRE_DEVICE_GET_REGION_INFO, &reply.info, sizeof(reply.info), fds, 3);
    info_init(&reply, 1, WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_MMAP, PAGE);
    fake_answer_fds(&fake, WIRE_DEVICE_GET_REGION_INFO, &reply.info, sizeof(reply.info), fds, 3);
    assert_int_equal(umdev_client_get_region(fake.client, 0, &info), 0);
    assert_int_equal(info.fd, -1);
    assert_int_equal(umdev_client_get_region(fake.client, 1, &info), 0);
    assert_true(info.fd >= 0);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_info),
        cmocka_unit_test(test_plain_region),
        cmocka_unit_test(test_all_capabilities),
        cmocka_unit_test(test_asks_again),
        cmocka_unit_test(test_region_errors),
        cmocka_unit_test(test_bad_chains),
        cmocka_unit_test(test_bad_capabilities),
        cmocka_unit_test(test_absurd_argsz),
        cmocka_unit_test(test_argsz_that_grows),
        cmocka_unit_test(test_long_reply),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_maps_only_areas),
        cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_without_file),
        cmocka_unit_test(test_map_protection),
        cmocka_unit_test(test_unwanted_region_fds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
