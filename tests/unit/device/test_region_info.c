/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What region info says of each kind of region, and descriptions that make no device.
 */
#include "fixture.h"

#include <linux/vfio.h>
#include <sys/mman.h>

#define READ_WRITE (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define MAPPABLE   (READ_WRITE | VFIO_REGION_INFO_FLAG_MMAP)

static int nop_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                    size_t len)
{
    (void)dev;
    (void)region;
    (void)offset;
    memset(buf, 0xee, len);
    return 0;
}

#define DRIVER(...)                                                                                \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "info", .read = nop_read,              \
        .pci = UMDEV_PCI(__VA_ARGS__)                                                              \
    }

static struct device_region_info get_region(const struct fixture *fixture, unsigned region)
{
    struct device_region_info info;

    assert_int_equal(device_get_region(fixture->dev, region, &info), 0);
    return info;
}

static void expect_plain(const struct fixture *fixture, unsigned region, uint64_t size,
                         uint32_t flags)
{
    struct device_region_info info = get_region(fixture, region);

    assert_int_equal(info.size, size);
    assert_int_equal(info.flags, flags);
    assert_int_equal(info.fd, -1);
    assert_int_equal(info.nareas, 0);
}

static void expect_areas(const struct fixture *fixture, unsigned region,
                         const struct umdev_area *areas, size_t nareas)
{
    struct device_region_info info = get_region(fixture, region);

    assert_int_equal(info.flags, MAPPABLE);
    assert_true(info.fd >= 0);
    assert_int_equal(info.nareas, nareas);
    assert_memory_equal(info.areas, areas, nareas * sizeof(*areas));
}

static void test_device_info(void **state)
{
    const struct umdev_driver driver = DRIVER(.intx_pin = 1, .msi_vectors = 4);
    static const unsigned counts[] = {1, 4, 0, 1, 1};
    struct device_info info;
    struct fixture fixture;
    struct irqs_info irq;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    device_get_info(fixture.dev, &info);
    assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
    assert_int_equal(info.num_regions, 9);
    assert_int_equal(info.num_irqs, 5);
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++) {
        assert_int_equal(device_get_irq(fixture.dev, i, &irq), 0);
        assert_int_equal(irq.count, counts[i]);
    }
    assert_int_equal(device_get_irq(fixture.dev, UMDEV_NUM_IRQS, &irq), -EINVAL);
    fixture_end(&fixture);
}

static void test_kinds(void **state)
{
    const struct umdev_driver driver =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 1 << 20, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_64BIT |
                                                             UMDEV_BAR_PREFETCH),
               .bar[2] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY),
               .bar[3] = UMDEV_BAR(.size = 16),
               .bar[4] = UMDEV_BAR(.size = 64, .flags = UMDEV_BAR_IO));
    struct device_region_info info;
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    info = get_region(&fixture, 0);
    assert_int_equal(info.size, 1 << 20);
    assert_int_equal(info.flags, MAPPABLE);
    assert_int_equal(info.offset, 0);
    assert_true(info.fd >= 0);
    assert_null(info.areas);
    assert_false(info.has_msix_table);
    expect_plain(&fixture, 1, 0, 0);
    info = get_region(&fixture, 2);
    assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP);
    expect_plain(&fixture, 3, 16, READ_WRITE);
    expect_plain(&fixture, 4, 64, READ_WRITE);
    expect_plain(&fixture, 5, 0, 0);
    expect_plain(&fixture, UMDEV_REGION_ROM, 0, 0);
    expect_plain(&fixture, UMDEV_REGION_CONFIG, 256, READ_WRITE);
    expect_plain(&fixture, UMDEV_REGION_VGA, 0, 0);
    assert_int_equal(device_get_region(fixture.dev, UMDEV_NUM_REGIONS, &info), -EINVAL);
    fixture_end(&fixture);
}

static void test_express_config(void **state)
{
    const struct umdev_driver driver = DRIVER(.pcie = true);
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    expect_plain(&fixture, UMDEV_REGION_CONFIG, 4096, READ_WRITE);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ MSI-X */

/* umdev makes the BAR; bytes that are neither table nor pending bits are nobody's. */
static void test_made_bar(void **state)
{
    const struct umdev_driver small = DRIVER(.msix = {.vectors = 3, .bar = 2});
    const struct umdev_driver large =
        DRIVER(.msix = {.vectors = 2048, .bar = 5, .pba_offset = 0x9000});
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &small, NULL);
    expect_plain(&fixture, 2, 4096, READ_WRITE);
    assert_true(get_region(&fixture, 2).has_msix_table);
    assert_false(get_region(&fixture, 1).has_msix_table);
    write32(fixture.dev, 2, 4, 0x1234);
    assert_int_equal(read32(fixture.dev, 2, 4), 0x1234);
    write32(fixture.dev, 2, 0x800, 0x1234);
    assert_int_equal(read32(fixture.dev, 2, 0x800), 0);
    fixture_end(&fixture);

    fixture_new(&fixture, &large, NULL);
    expect_plain(&fixture, 5, 0x10000, READ_WRITE);
    fixture_end(&fixture);
}

/* Table and pending bits in memory: their pages are not for mapping, all else is. */
static void test_msix_in_memory(void **state)
{
    static const struct {
        uint32_t table, pba;
        struct umdev_area areas[3];
        size_t nareas;
    } cases[] = {
        {0x2000, 0x5ff8, {{0, 0x2000}, {0x3000, 0x2000}, {0x6000, 0x2000}}, 3},
        {0x2ff8, 0, {{0, 0x2000}, {0x4000, 0x4000}}, 2}, /* over the end of a page */
        {0, 0x7ff8, {{0x1000, 0x6000}}, 1},
        {0x7f00, 0x1000, {{0, 0x1000}, {0x2000, 0x5000}}, 2},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct umdev_driver driver =
            DRIVER(.bar[1] = UMDEV_BAR(.size = 0x8000, .flags = UMDEV_BAR_MEMORY),
                   .msix = {.vectors = 4,
                            .bar = 1,
                            .table_offset = cases[i].table,
                            .pba_offset = cases[i].pba});
        struct fixture fixture;

        fixture_new(&fixture, &driver, NULL);
        expect_areas(&fixture, 1, cases[i].areas, cases[i].nareas);
        assert_true(get_region(&fixture, 1).has_msix_table);
        fixture_end(&fixture);
    }
}

static void test_msix_fills_memory(void **state)
{
    const struct umdev_driver driver =
        DRIVER(.bar[1] = UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY),
               .msix = {.vectors = 4, .bar = 1});
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &driver, NULL);
    expect_plain(&fixture, 1, 0x1000, READ_WRITE);
    fixture_end(&fixture);
}

static int areas_create(struct umdev_device *dev)
{
    static const struct umdev_area areas[] = {{0x5000, 0x1000}, {0x1000, 0x3000}, {0x8000, 0x8000}};
    struct umdev_mem *mem;

    assert_int_equal(umdev_mem_create(dev, NULL, 0x20000, &mem), 0);
    assert_int_equal(umdev_region_set_mem(dev, 1, mem, 0x10000, areas, 3), 0);
    assert_ptr_equal(umdev_region_mem(dev, 1), mem);
    assert_null(umdev_region_mem(dev, 0));
    assert_null(umdev_region_mem(dev, UMDEV_REGION_CONFIG));
    return 0;
}

/* The table takes a piece out of the driver's areas, the pending bits a whole one. */
static void test_msix_in_areas(void **state)
{
    static const struct umdev_area expected[] = {
        {0x1000, 0x1000}, {0x3000, 0x1000}, {0x8000, 0x8000}};
    struct umdev_driver driver =
        DRIVER(.bar[1] = UMDEV_BAR(.size = 0x10000),
               .msix = {.vectors = 1, .bar = 1, .table_offset = 0x2800, .pba_offset = 0x5000});
    struct fixture fixture;

    (void)state;
    driver.create = areas_create;
    fixture_new(&fixture, &driver, NULL);
    expect_areas(&fixture, 1, expected, 3);
    assert_int_equal(get_region(&fixture, 1).offset, 0x10000);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ descriptions */

static void test_refused(void **state)
{
    const struct umdev_driver none = {.name = "none"};
    static const struct umdev_pci sizeless = {.vendor = 1};
    const struct umdev_driver bad_pci = {.name = "bad", .pci = &sizeless};
    static const struct umdev_bar sizeless_bar = {.size = 4096};
    const struct umdev_driver bad_bar = DRIVER(.bar[3] = &sizeless_bar);
    const struct umdev_driver odd = DRIVER(.bar[0] = UMDEV_BAR(.size = 3000));
    const struct umdev_driver zero = DRIVER(.bar[0] = UMDEV_BAR(.size = 0));
    const struct umdev_driver flags = DRIVER(.bar[0] = UMDEV_BAR(.size = 16, .flags = 0x100));
    const struct umdev_driver io_memory =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 16, .flags = UMDEV_BAR_IO | UMDEV_BAR_MEMORY));
    const struct umdev_driver small =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 2048, .flags = UMDEV_BAR_MEMORY));
    const struct umdev_driver over =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_64BIT),
               .bar[1] = UMDEV_BAR(.size = 4096));
    const struct umdev_driver msix_over =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_64BIT),
               .msix = {.vectors = 1, .bar = 1});
    const struct umdev_driver many = DRIVER(.msix = {.vectors = 2049});
    const struct umdev_driver many_msi = DRIVER(.msi_vectors = 64);
    const struct umdev_driver bar6 = DRIVER(.msix = {.vectors = 1, .bar = 6});
    const struct umdev_driver outside =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 4096), .msix = {.vectors = 2, .table_offset = 4080});
    const struct umdev_driver read_only =
        DRIVER(.bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_READONLY),
               .msix = {.vectors = 2});

    (void)state;
    fixture_expect_refused(&none, "PCI description");
    fixture_expect_refused(&bad_pci, "UMDEV_PCI");
    fixture_expect_refused(&bad_bar, "UMDEV_BAR");
    fixture_expect_refused(&odd, "power of two");
    fixture_expect_refused(&zero, "no size");
    fixture_expect_refused(&flags, "0x100");
    fixture_expect_refused(&io_memory, "port I/O");
    fixture_expect_refused(&small, "4096");
    fixture_expect_refused(&over, "64-bit");
    fixture_expect_refused(&msix_over, "64-bit");
    fixture_expect_refused(&many, "2049");
    fixture_expect_refused(&many_msi, "64 MSI");
    fixture_expect_refused(&bar6, "BAR6");
    fixture_expect_refused(&outside, "MSI-X");
    fixture_expect_refused(&read_only, "read-only");
}

/* A type's own description goes before the driver's; a short one's missing members are zero. */
static void test_older_structs(void **state)
{
    static const struct umdev_bar short_bar = {
        .struct_size = offsetof(struct umdev_bar, regs),
        .size = 32,
        .regs = (const struct umdev_regs_desc *)1, /* never looked at */
    };
    static const struct umdev_pci full = {
        .struct_size = sizeof(full), .vendor = 0x1af4, .device = 7, .bar[0] = &short_bar};
    static const struct umdev_pci short_pci = {.struct_size = offsetof(struct umdev_pci, msix),
                                               .vendor = 0x1b36,
                                               .device = 8,
                                               .msix = {.vectors = 9999}};
    const struct umdev_type types[] = {{.name = "a", .pci = &full}};
    const struct umdev_driver typed = {
        .name = "typed", .types = types, .ntypes = 1, .read = nop_read, .pci = &short_pci};
    const struct umdev_driver untyped = {.name = "untyped", .pci = &short_pci};
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &typed, NULL);
    assert_int_equal(read32(fixture.dev, UMDEV_REGION_CONFIG, 0), 0x00071af4);
    expect_plain(&fixture, 0, 32, READ_WRITE);
    fixture_end(&fixture);
    fixture_new(&fixture, &untyped, NULL);
    assert_int_equal(read32(fixture.dev, UMDEV_REGION_CONFIG, 0), 0x00081b36);
    expect_plain(&fixture, 0, 0, 0);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_info),    cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_express_config), cmocka_unit_test(test_made_bar),
        cmocka_unit_test(test_msix_in_memory), cmocka_unit_test(test_msix_fills_memory),
        cmocka_unit_test(test_msix_in_areas),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_older_structs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
