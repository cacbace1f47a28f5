/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device-specific regions behind the PCI ones, and a BAR whose MSI-X table may be mapped over.
 */
#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#define READ_WRITE (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define MAPPABLE   (READ_WRITE | VFIO_REGION_INFO_FLAG_MMAP)

enum { EXTRA = UMDEV_NUM_REGIONS };

struct card {
    struct umdev_regs regs, others;
};

static int echo_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                     size_t len)
{
    (void)dev;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)(region + offset + i);
    return 0;
}

#define DRIVER(extra_array, ...)                                                                   \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "extra", .read = echo_read,            \
        .priv_size = sizeof(struct card),                                                          \
        .pci = UMDEV_PCI(UMDEV_EXTRA_REGIONS(extra_array), __VA_ARGS__)                            \
    }

static struct device_region_info get_region(const struct fixture *fixture, unsigned region)
{
    struct device_region_info info;

    assert_int_equal(device_get_region(fixture->dev, region, &info), 0);
    return info;
}

static const struct umdev_reg_hook hooks[] = {{.offset = 4, .reset_value = 7}};

static const struct umdev_extra_region kinds[] = {
    {1, 2, 0x3000, UMDEV_BAR_MEMORY, NULL},
    {3, 4, 4096, UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY, NULL},
    {5, 6, 100, 0, UMDEV_REGS(struct card, regs, hooks)},
    {UINT32_MAX, UINT32_MAX, UINT64_MAX, 0, NULL},
};

static void test_kinds(void **state)
{
    static const struct {
        uint64_t size;
        uint32_t flags, type, subtype;
    } expected[] = {
        {0x3000, MAPPABLE, 1, 2},
        {4096, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP, 3, 4},
        {100, READ_WRITE, 5, 6},
        {UINT64_MAX, READ_WRITE, UINT32_MAX, UINT32_MAX},
    };
    const struct umdev_driver driver = DRIVER(kinds, .vendor = 1);
    struct device_info device;
    struct fixture fixture;
    uint8_t byte = 0;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    device_get_info(fixture.dev, &device);
    assert_int_equal(device.num_regions, 13);
    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
        struct device_region_info info = get_region(&fixture, EXTRA + i);

        assert_int_equal(info.size, expected[i].size);
        assert_int_equal(info.flags, expected[i].flags);
        assert_true(info.has_type);
        assert_int_equal(info.type, expected[i].type);
        assert_int_equal(info.subtype, expected[i].subtype);
        assert_int_equal(info.fd >= 0, i < 2);
        assert_null(info.areas);
    }
    assert_false(get_region(&fixture, UMDEV_REGION_VGA).has_type);
    assert_int_equal(device_get_region(fixture.dev, EXTRA + 4, &(struct device_region_info){0}),
                     -EINVAL);
    assert_int_equal(device_read(fixture.dev, EXTRA + 4, 0, &byte, 0), -EINVAL);

    write32(fixture.dev, EXTRA, 0x2ffc, 0x12345678);
    assert_int_equal(read32(fixture.dev, EXTRA, 0x2ffc), 0x12345678);
    assert_int_equal(device_write(fixture.dev, EXTRA + 1, 0, &byte, 1), -EPERM);
    write32(fixture.dev, EXTRA + 2, 4, 9);
    assert_int_equal(device_read(fixture.dev, EXTRA + 3, UINT64_MAX - 1, &byte, 1), 0);
    assert_int_equal(byte, (uint8_t)(EXTRA + 3 + UINT64_MAX - 1));
    assert_int_equal(device_read(fixture.dev, EXTRA + 3, UINT64_MAX, &byte, 1), -EINVAL);
    assert_int_equal(device_reset(fixture.dev), 0);
    assert_int_equal(read32(fixture.dev, EXTRA + 2, 4), 7);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ in create() */

static int resize_create(struct umdev_device *dev)
{
    static const struct umdev_area area = {0x1000, 0x1000};
    struct umdev_mem *mem;

    assert_int_equal(umdev_region_set_size(dev, EXTRA, 12345), 0);
    assert_int_equal(umdev_region_set_size(dev, EXTRA, 0), -EINVAL);
    /* umdev makes the memory, in whole pages; the old one stays */
    assert_int_equal(umdev_region_set_size(dev, EXTRA + 1, 5000), -EINVAL);
    assert_int_equal(umdev_region_set_size(dev, EXTRA + 1, 0x5000), 0);
    assert_int_equal(umdev_mem_size(umdev_region_mem(dev, EXTRA + 1)), 0x5000);
    assert_int_equal(umdev_mem_create(dev, NULL, 0x3000, &mem), 0);
    assert_int_equal(umdev_region_set_mem(dev, EXTRA + 2, mem, 0, NULL, 0), 0);
    assert_int_equal(umdev_region_set_mem(dev, EXTRA + 3, mem, 0, &area, 1), 0);
    assert_int_equal(umdev_region_set_mem(dev, EXTRA + 4, mem, 0, NULL, 0), -EINVAL);
    assert_int_equal(umdev_region_set_size(dev, EXTRA + 4, 4096), -EINVAL);
    assert_null(umdev_region_mem(dev, EXTRA + 4));
    return 0;
}

/* Any size will do; but the rest of a last page is never mapped. */
static void test_sizes(void **state)
{
    static const struct umdev_extra_region extra[] = {
        {1, 0, 0, 0, NULL},
        {1, 1, 0x1000, UMDEV_BAR_MEMORY, NULL},
        {1, 2, 0x2800, 0, NULL},
        {1, 3, 0x2800, 0, NULL},
    };
    struct umdev_driver driver = DRIVER(extra, .vendor = 1);
    struct device_region_info info;
    struct fixture fixture;

    (void)state;
    driver.create = resize_create;
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(get_region(&fixture, EXTRA).size, 12345);
    info = get_region(&fixture, EXTRA + 1);
    assert_int_equal(info.size, 0x5000);
    assert_int_equal(info.flags, MAPPABLE);
    info = get_region(&fixture, EXTRA + 2);
    assert_int_equal(info.flags, READ_WRITE);
    assert_int_equal(info.fd, -1);
    write32(fixture.dev, EXTRA + 2, 0x27fc, 5);
    assert_int_equal(read32(fixture.dev, EXTRA + 2, 0x27fc), 5);
    info = get_region(&fixture, EXTRA + 3);
    assert_int_equal(info.flags, MAPPABLE);
    assert_int_equal(info.nareas, 1);
    assert_int_equal(info.areas[0].offset, 0x1000);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ how they are described */

/* A driver that knew an extra region as its first 16 bytes; what follows is the next one's. */
static void test_older_array(void **state)
{
    static const struct {
        uint32_t type, subtype;
        uint64_t size;
    } array[] = {{1, 2, 3}, {4, 5, 6}};
    const struct umdev_driver driver = {
        .name = "old",
        .read = echo_read,
        .pci = UMDEV_PCI(.extra = (const void *)array, .nextra = 2, .extra_size = 16),
    };
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    assert_int_equal(get_region(&fixture, EXTRA).size, 3);
    assert_int_equal(get_region(&fixture, EXTRA).flags, READ_WRITE);
    assert_int_equal(get_region(&fixture, EXTRA + 1).size, 6);
    assert_int_equal(get_region(&fixture, EXTRA + 1).type, 4);
    fixture_end(&fixture);
}

static void test_as_many_as_there_can_be(void **state)
{
    struct umdev_extra_region extra[UMDEV_MAX_EXTRA_REGIONS + 1];
    const struct umdev_driver most = {
        .name = "most",
        .read = echo_read,
        .pci = UMDEV_PCI(.extra = extra, .nextra = UMDEV_MAX_EXTRA_REGIONS,
                         .extra_size = sizeof(extra[0])),
    };
    const struct umdev_driver more = {
        .name = "more", .read = echo_read, .pci = UMDEV_PCI(UMDEV_EXTRA_REGIONS(extra))};
    struct device_info info;
    struct fixture fixture;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(extra); i++)
        extra[i] = (struct umdev_extra_region){.type = 1, .subtype = i, .size = i + 1};
    fixture_new(&fixture, &most, NULL);
    device_get_info(fixture.dev, &info);
    assert_int_equal(info.num_regions, 100);
    assert_int_equal(get_region(&fixture, 99).size, UMDEV_MAX_EXTRA_REGIONS);
    fixture_end(&fixture);
    fixture_expect_refused(&more, "92 extra regions");
}

static const struct {
    struct umdev_extra_region extra;
    const char *word;
} refused[] = {
    {{0, 1, 4096, 0, NULL}, "no type"},
    {{1, 1, 0, 0, NULL}, "region 9: it has no size"},
    {{1, 1, 5000, UMDEV_BAR_MEMORY, NULL}, "multiple of 4096"},
    {{1, 1, 64, UMDEV_BAR_IO, NULL}, "flags 0x1"},
    {{1, 1, 64, UMDEV_BAR_MSIX_MAPPABLE, NULL}, "flags 0x20"},
    {{1, 1, 64, 1u << 31, NULL}, "flags 0x80000000"},
    {{1, 1, 4096, UMDEV_BAR_MEMORY, UMDEV_REGS(struct card, regs, hooks)}, "plain memory"},
    {{1, 1, 6, 0, UMDEV_REGS(struct card, regs, hooks)}, "region 9"},
    {{1, 1, 64, 0, UMDEV_REGS(struct card, regs, hooks)}, "BAR2's already"},
};

static void test_refused(void **state)
{
    const struct umdev_driver no_array = {.name = "none",
                                          .pci = UMDEV_PCI(.nextra = 1, .extra_size = 32)};
    const struct umdev_driver silent = {
        .name = "silent",
        .pci = UMDEV_PCI(.extra = &refused[7].extra, .nextra = 1, .extra_size = 16)};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        const struct umdev_driver driver = {
            .name = "refused",
            .read = echo_read,
            .priv_size = sizeof(struct card),
            .pci = UMDEV_PCI(.bar[2] = UMDEV_BAR(.size = 64,
                                                 .regs = UMDEV_REGS(struct card, regs, hooks)),
                             .extra = &refused[i].extra, .nextra = 1,
                             .extra_size = sizeof(struct umdev_extra_region)),
        };

        fixture_expect_refused(&driver, refused[i].word);
    }
    fixture_expect_refused(&no_array, "no array");
    fixture_expect_refused(&silent, "region 9: nobody answers");
}

/* ------------------------------------------------------------------ memory of two regions */

static int shared_create(struct umdev_device *dev)
{
    return umdev_region_set_mem(dev, EXTRA, umdev_region_mem(dev, 0), 0, NULL, 0);
}

/* A BAR's memory seen through an extra region, too; not if only one of them is read-only. */
static void test_shared_memory(void **state)
{
    static const struct umdev_extra_region extra[] = {{1, 0, 0x1000, 0, NULL}};
    static const struct umdev_extra_region read_only[] = {{1, 0, 0x1000, UMDEV_BAR_READONLY, NULL}};
    struct umdev_driver driver =
        DRIVER(extra, .bar[0] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY));
    struct umdev_driver mixed =
        DRIVER(read_only, .bar[0] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY));
    struct fixture fixture;

    (void)state;
    driver.create = mixed.create = shared_create;
    fixture_open(&fixture, &driver, NULL);
    write32(fixture.dev, EXTRA, 8, 77);
    assert_int_equal(read32(fixture.dev, 0, 8), 77);
    fixture_end(&fixture);
    fixture_expect_refused(&mixed, "BAR0: its memory is also that of a read-only region");
}

/* ------------------------------------------------------------------ MSIX_MAPPABLE */

#define TABLE_BAR(bar_flags)                                                                       \
    .bar[1] = UMDEV_BAR(.size = 0x4000, .flags = (bar_flags)),                                     \
    .msix = {.vectors = 4, .bar = 1, .table_offset = 0x1000}

static int table_areas_create(struct umdev_device *dev)
{
    static const struct umdev_area areas[] = {{0x1000, 0x2000}};
    struct umdev_mem *mem;

    assert_int_equal(umdev_mem_create(dev, NULL, 0x4000, &mem), 0);
    return umdev_region_set_mem(dev, 1, mem, 0, areas, 1);
}

static void test_msix_mappable(void **state)
{
    const struct umdev_driver whole = {
        .name = "whole",
        .pci = UMDEV_PCI(TABLE_BAR(UMDEV_BAR_MEMORY | UMDEV_BAR_MSIX_MAPPABLE)),
    };
    const struct umdev_driver areas = {
        .name = "areas",
        .read = echo_read,
        .create = table_areas_create,
        .pci = UMDEV_PCI(TABLE_BAR(UMDEV_BAR_MSIX_MAPPABLE)),
    };
    struct device_region_info info;
    struct fixture fixture;
    uint8_t *map;

    (void)state;
    fixture_open(&fixture, &whole, NULL);
    info = get_region(&fixture, 1);
    assert_true(info.has_msix_table && info.msix_mappable);
    assert_null(info.areas);
    assert_false(get_region(&fixture, 0).msix_mappable);
    /* Trapped accesses reach the table, a mapping what lies under it. */
    map = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, info.fd, 0);
    assert_true(map != MAP_FAILED);
    write32(fixture.dev, 1, 0x1000, 0xfee00000);
    assert_int_equal(map[0x1003], 0);
    memset(map + 0x1000, 0x55, 64);
    assert_int_equal(read32(fixture.dev, 1, 0x1000), 0xfee00000);
    munmap(map, 0x4000);
    fixture_end(&fixture);

    fixture_new(&fixture, &areas, NULL);
    info = get_region(&fixture, 1);
    assert_true(info.msix_mappable);
    assert_int_equal(info.nareas, 1);
    assert_int_equal(info.areas[0].size, 0x2000);
    fixture_end(&fixture);
}

static void test_msix_mappable_is_for_the_tables_bar(void **state)
{
    const struct umdev_driver no_table = {
        .name = "no-table",
        .pci = UMDEV_PCI(
            TABLE_BAR(UMDEV_BAR_MEMORY),
            .bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_MSIX_MAPPABLE)),
    };
    const struct umdev_driver no_memory = {
        .name = "no-memory",
        .read = echo_read,
        .pci = UMDEV_PCI(TABLE_BAR(UMDEV_BAR_MSIX_MAPPABLE)),
    };

    (void)state;
    fixture_expect_refused(&no_table, "BAR0: UMDEV_BAR_MSIX_MAPPABLE");
    fixture_expect_refused(&no_memory, "BAR1: UMDEV_BAR_MSIX_MAPPABLE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_older_array),
        cmocka_unit_test(test_as_many_as_there_can_be),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_msix_mappable),
        cmocka_unit_test(test_msix_mappable_is_for_the_tables_bar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
