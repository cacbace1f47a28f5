/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory objects: seals, what a client can do with its fd, and putting them behind BARs.
 */
#include "fixture.h"

#include "device/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int zero_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                     size_t len)
{
    (void)dev;
    (void)region;
    (void)offset;
    memset(buf, 0, len);
    return 0;
}

#define DRIVER(create_it, ...)                                                                     \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "mem", .create = (create_it),          \
        .read = zero_read, .pci = UMDEV_PCI(__VA_ARGS__)                                           \
    }

static int region_fd(const struct fixture *fixture, unsigned region)
{
    struct device_region_info info;

    assert_int_equal(device_get_region(fixture->dev, region, &info), 0);
    assert_true(info.fd >= 0);
    return info.fd;
}

static void test_create(void **state)
{
    static const uint64_t bad[] = {
        0, 1, 4095, 4097, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63};
    const struct umdev_driver driver = DRIVER(NULL, .vendor = 1);
    struct umdev_mem *mem = NULL;
    struct fixture fixture;
    char name[1000];

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(umdev_mem_create(fixture.dev, "bad", bad[i], &mem), -EINVAL);
    assert_null(mem);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    assert_int_equal(umdev_mem_create(fixture.dev, name, 0x3000, &mem), 0);
    assert_int_equal(umdev_mem_size(mem), 0x3000);
    for (unsigned i = 0; i < 0x3000; i++)
        assert_int_equal(((uint8_t *)umdev_mem_ptr(mem))[i], 0);
    memset(umdev_mem_ptr(mem), 1, 0x3000);
    fixture_end(&fixture);
}

/* The client's fd: it sees the driver's bytes, and can't resize the object or unseal it. */
static void test_seals(void **state)
{
    const struct umdev_driver driver =
        DRIVER(NULL, .bar[0] = UMDEV_BAR(.size = 0x2000, .flags = UMDEV_BAR_MEMORY));
    struct fixture fixture;
    uint8_t *client;
    int fd;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    fd = region_fd(&fixture, 0);
    assert_int_equal(ftruncate(fd, 0x1000), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0x3000), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    client = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(client, MAP_FAILED);
    write32(fixture.dev, 0, 0x1ffc, 0x04030201);
    assert_memory_equal(client + 0x1ffc, "\1\2\3\4", 4);
    client[5] = 9;
    assert_int_equal(read32(fixture.dev, 0, 4), 0x900);
    assert_int_equal(((uint8_t *)umdev_mem_ptr(umdev_region_mem(fixture.dev, 0)))[5], 9);
    munmap(client, 0x2000);
    fixture_end(&fixture);
}

/* Whatever a client does with the fd of a read-only BAR, it can't write. */
static void test_read_only(void **state)
{
    const struct umdev_driver driver = DRIVER(
        NULL, .bar[0] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY));
    struct fixture fixture;
    uint8_t *client;
    int fd;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    fd = region_fd(&fixture, 0);
    assert_ptr_equal(mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_not_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 0x1000), 0);
    client = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(client, MAP_FAILED);
    assert_int_not_equal(mprotect(client, 0x1000, PROT_READ | PROT_WRITE), 0);
    /* The driver can. */
    memcpy(umdev_mem_ptr(umdev_region_mem(fixture.dev, 0)), "\1\2\3\4", 4);
    assert_memory_equal(client, "\1\2\3\4", 4);
    munmap(client, 0x1000);
    fixture_end(&fixture);
}

/* Objects made after create() are sealed like the others. */
static void test_late_object(void **state)
{
    const struct umdev_driver driver = DRIVER(NULL, .bar[0] = UMDEV_BAR(.size = 0x1000));
    struct umdev_mem *mem;
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    assert_int_equal(umdev_mem_create(fixture.dev, "late", 0x1000, &mem), 0);
    assert_int_equal(umdev_region_set_mem(fixture.dev, 0, mem, 0, NULL, 0), -EBUSY);
    assert_int_equal(umdev_region_set_size(fixture.dev, 0, 0x2000), -EBUSY);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ behind a BAR */

static struct umdev_mem *make(struct umdev_device *dev, uint64_t size)
{
    struct umdev_mem *mem;

    assert_int_equal(umdev_mem_create(dev, "test", size, &mem), 0);
    return mem;
}

static int set_areas(struct umdev_device *dev, struct umdev_mem *mem, struct umdev_area a,
                     struct umdev_area b)
{
    const struct umdev_area areas[] = {a, b};

    return umdev_region_set_mem(dev, 0, mem, 0x1000, areas, 2);
}

static int picky_create(struct umdev_device *dev)
{
    const struct umdev_area good = {0, 0x1000};
    struct umdev_mem *mem = make(dev, 0x8000);
    struct umdev_mem *foreign = context_of(dev);

    assert_int_equal(umdev_region_set_mem(dev, 0, mem, 1, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 0, mem, 0x1000, NULL, 0), -EINVAL); /* too small */
    assert_int_equal(umdev_region_set_mem(dev, 0, mem, UINT64_MAX - 4095, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 0, NULL, 0, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 0, foreign, 0, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 0, mem, 0, NULL, 1), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 1, mem, 0, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 7, mem, 0, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, UINT32_MAX, mem, 0, NULL, 0), -EINVAL);

    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x1800, 0x1000}), -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x1000, 0x800}), -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x1000, 0}), -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x8000, 0x1000}), -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x7000, 0x1000}), -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0, 0x2000}), -EINVAL);
    assert_int_equal(
        set_areas(dev, mem, (struct umdev_area){0x1000, 0x2000}, (struct umdev_area){0, 0x2000}),
        -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){UINT64_MAX - 4095, 0x1000}),
                     -EINVAL);
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x1000, UINT64_MAX - 4095}),
                     -EINVAL);

    /* What fits can be set again and again; the last counts. */
    assert_int_equal(set_areas(dev, mem, good, (struct umdev_area){0x6000, 0x1000}), 0);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x4000), -EINVAL);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x10000), 0);
    assert_int_equal(umdev_region_set_mem(dev, 0, make(dev, 0x10000), 0, NULL, 0), 0);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x20000), -EINVAL);
    assert_int_equal(umdev_region_set_mem(dev, 0, make(dev, 0x30000), 0x10000, NULL, 0), 0);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x20000), 0);
    return 0;
}

static void test_set_mem(void **state)
{
    const struct umdev_driver other_driver = DRIVER(NULL, .vendor = 1);
    const struct umdev_driver driver = DRIVER(picky_create, .bar[0] = UMDEV_BAR(.size = 0x8000));
    struct fixture other, fixture;
    struct device_region_info info;

    (void)state;
    fixture_new(&other, &other_driver, NULL);
    fixture_new(&fixture, &driver, make(other.dev, 0x8000));
    assert_int_equal(device_get_region(fixture.dev, 0, &info), 0);
    assert_int_equal(info.size, 0x20000);
    assert_int_equal(info.offset, 0x10000);
    assert_int_equal(info.nareas, 0);
    fixture_end(&fixture);
    fixture_end(&other);
}

/* A BAR too small to be mapped is backed all the same. */
static int small_create(struct umdev_device *dev)
{
    return umdev_region_set_mem(dev, 0, make(dev, 0x2000), 0x1000, NULL, 0);
}

static void test_sub_page(void **state)
{
    const struct umdev_driver driver = DRIVER(small_create, .bar[0] = UMDEV_BAR(.size = 256));
    struct device_region_info info;
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(device_get_region(fixture.dev, 0, &info), 0);
    assert_int_equal(info.fd, -1);
    write32(fixture.dev, 0, 252, 77);
    assert_int_equal(((uint8_t *)umdev_mem_ptr(umdev_region_mem(fixture.dev, 0)))[0x10fc], 77);
    fixture_end(&fixture);
}

/* umdev's own object grows with the BAR, and gives way to the driver's. */
static int replace_create(struct umdev_device *dev)
{
    struct umdev_mem *mem;

    assert_int_equal(umdev_mem_size(umdev_region_mem(dev, 0)), 0x1000);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x4000), 0);
    assert_int_equal(umdev_region_set_size(dev, 0, 0x800), -EINVAL);
    assert_int_equal(umdev_mem_size(umdev_region_mem(dev, 0)), 0x4000);
    assert_null(umdev_region_mem(dev, 1));
    assert_int_equal(umdev_region_set_size(dev, 1, 0x2000), 0);
    assert_int_equal(umdev_mem_size(umdev_region_mem(dev, 1)), 0x2000);
    mem = make(dev, 0x2000);
    assert_int_equal(umdev_region_set_mem(dev, 1, mem, 0, NULL, 0), 0);
    assert_ptr_equal(umdev_region_mem(dev, 1), mem);
    return 0;
}

static void test_made_object(void **state)
{
    const struct umdev_driver driver =
        DRIVER(replace_create, .bar[0] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY),
               .bar[1] = UMDEV_BAR(.flags = UMDEV_BAR_MEMORY));
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    write32(fixture.dev, 0, 0x3ffc, 1);
    write32(fixture.dev, 1, 0x1ffc, 2);
    assert_int_equal(read32(fixture.dev, 0, 0x3ffc), 1);
    assert_int_equal(read32(fixture.dev, 1, 0x1ffc), 2);
    fixture_end(&fixture);
}

/* One object behind a read-only BAR and a writable one would be writable. */
static int shared_create(struct umdev_device *dev)
{
    struct umdev_mem *mem = make(dev, 0x2000);

    assert_int_equal(umdev_region_set_mem(dev, 0, mem, 0, NULL, 0), 0);
    return umdev_region_set_mem(dev, 1, mem, 0x1000, NULL, 0);
}

static void test_read_only_twice(void **state)
{
    const struct umdev_driver mixed =
        DRIVER(shared_create, .bar[0] = UMDEV_BAR(.size = 0x1000),
               .bar[1] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_READONLY));
    const struct umdev_driver both =
        DRIVER(shared_create, .bar[0] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_READONLY),
               .bar[1] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_READONLY));
    struct fixture fixture;

    (void)state;
    fixture_expect_refused(&mixed, "read-only");
    fixture_new(&fixture, &both, NULL);
    fixture_end(&fixture);
}

/* A client that has left keeps its file; the device's content goes on in another one. */
static void test_each_client_has_its_own_file(void **state)
{
    const struct umdev_driver driver =
        DRIVER(NULL, .vendor = 1,
               .bar = {UMDEV_BAR(.size = 16 * PAGE_SIZE_4K, .flags = UMDEV_BAR_MEMORY)});
    struct fixture fixture;
    uint8_t *bytes, *kept, byte;
    int first;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    bytes = umdev_mem_ptr(umdev_region_mem(fixture.dev, 0));
    first = dup(region_fd(&fixture, 0));
    kept = mmap(NULL, 16 * PAGE_SIZE_4K, PROT_READ | PROT_WRITE, MAP_SHARED, first, 0);
    assert_ptr_not_equal(kept, MAP_FAILED);
    kept[3 * PAGE_SIZE_4K] = 0x11;
    assert_int_equal(bytes[3 * PAGE_SIZE_4K], 0x11);
    device_close(fixture.dev);
    assert_int_equal(device_open(fixture.dev, &fixture.client), 0);
    assert_ptr_equal(umdev_mem_ptr(umdev_region_mem(fixture.dev, 0)), bytes);
    assert_int_equal(bytes[3 * PAGE_SIZE_4K], 0x11);
    bytes[0] = 0x22;
    assert_int_equal(kept[0], 0);
    kept[1] = 0x33;
    assert_int_equal(bytes[1], 0);
    assert_int_equal(pread(region_fd(&fixture, 0), &byte, 1, 0), 1);
    assert_int_equal(byte, 0x22);
    assert_int_equal(fcntl(region_fd(&fixture, 0), F_GET_SEALS), fcntl(first, F_GET_SEALS));
    munmap(kept, 16 * PAGE_SIZE_4K);
    close(first);
    fixture_end(&fixture);
}

/* Pages given back: zeros for all who map them, and new memory when written to. */
static void test_discard(void **state)
{
    static const struct {
        uint64_t offset, size;
    } bad[] = {
        {0, 0},
        {0, 1},
        {1, 0x1000},
        {0x800, 0x1000},
        {0, 0x5000},
        {0x4000, 0x1000},
        {0x3000, 0x2000},
        {UINT64_MAX - 0xfff, 0x1000},
        {0x1000, UINT64_MAX - 0xfff},
    };
    const struct umdev_driver driver =
        DRIVER(NULL, .bar[0] = UMDEV_BAR(.size = 0x4000, .flags = UMDEV_BAR_MEMORY),
               .bar[1] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY));
    struct fixture fixture;
    struct umdev_mem *mem;
    uint8_t *ours, *theirs;
    struct stat before, after;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    mem = umdev_region_mem(fixture.dev, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(umdev_mem_discard(mem, bad[i].offset, bad[i].size), -EINVAL);
    ours = umdev_mem_ptr(mem);
    theirs = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, region_fd(&fixture, 0), 0);
    assert_ptr_not_equal(theirs, MAP_FAILED);
    memset(ours, 7, 0x4000);
    assert_int_equal(fstat(region_fd(&fixture, 0), &before), 0);
    assert_int_equal(umdev_mem_discard(mem, 0x1000, 0x2000), 0);
    assert_int_equal(fstat(region_fd(&fixture, 0), &after), 0);
    assert_int_equal(before.st_blocks - after.st_blocks, 0x2000 / 512);
    for (unsigned i = 0; i < 0x4000; i++) {
        assert_int_equal(ours[i], i >= 0x1000 && i < 0x3000 ? 0 : 7);
        assert_int_equal(theirs[i], ours[i]);
    }
    theirs[0x1000] = 9;
    assert_int_equal(ours[0x1000], 9);
    assert_int_equal(umdev_mem_discard(mem, 0, 0x4000), 0);
    assert_int_equal(theirs[0x3fff], 0);
    assert_int_equal(umdev_mem_discard(umdev_region_mem(fixture.dev, 1), 0, 0x1000), -EPERM);
    munmap(theirs, 0x4000);
    fixture_end(&fixture);
}

/* No two objects that a client may meet have the same number. */
static void test_ids(void **state)
{
    struct umdev_mem *one, *other, *shared, *shared_other;
    struct mem_list own, parent;

    (void)state;
    mem_list_init(&own);
    mem_list_init_shared(&parent);
    assert_int_equal(mem_list_add(&own, NULL, 4096, &one), 0);
    assert_int_equal(mem_list_add(&own, NULL, 4096, &other), 0);
    assert_int_equal(mem_list_add(&parent, NULL, 4096, &shared), 0);
    assert_int_equal(mem_list_add(&parent, NULL, 4096, &shared_other), 0);
    assert_int_equal(one->id, 1);
    assert_int_equal(other->id, 2);
    assert_int_equal(shared->id, MEM_ID_SHARED | 1);
    assert_int_equal(shared_other->id, MEM_ID_SHARED | 2);
    assert_int_equal(fcntl(shared->fd, F_GET_SEALS) & F_SEAL_SEAL, F_SEAL_SEAL);
    mem_list_remove(&own, other);
    assert_int_equal(mem_list_add(&own, NULL, 4096, &other), 0);
    assert_int_equal(other->id, 3);
    mem_list_fini(&own);
    mem_list_fini(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_seals),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_late_object),
        cmocka_unit_test(test_set_mem),
        cmocka_unit_test(test_sub_page),
        cmocka_unit_test(test_made_object),
        cmocka_unit_test(test_read_only_twice),
        cmocka_unit_test(test_discard),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_each_client_has_its_own_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
