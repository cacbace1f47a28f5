/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions that fault: what a driver may answer, who is given it, and what trapped accesses make of
 * it. Invalidations are in test_fault_invalidate.c.
 */
#include "fault_fixture.h"

#include "device/device_priv.h"
#include "failnth.h"
#include "random.h"

#include <errno.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdio.h>

#define LAST_PAGE (PAGES - 1)

static void start(struct faults *f)
{
    faults_start(f, &fault_driver);
}

/* ------------------------------------------------------------------ answers */

static void test_default(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    /* A window: from page 4 of its object on, whichever page was touched. */
    expect_map(&f, WINDOW, 0, UMDEV_RW, 0, WINDOW_PAGES - 1, 4, UMDEV_RW);
    expect_map(&f, WINDOW, WINDOW_PAGES * PAGE - 1, UMDEV_READ, 0, WINDOW_PAGES - 1, 4, UMDEV_RW);
    assert_int_equal(f.fake.map.fd, f.driver.objects[1]->fd);
    faults_end(&f);
}

static void test_default_without_callback(void **state)
{
    struct umdev_driver driver = fault_driver;
    struct faults f;

    (void)state;
    driver.map_request = NULL;
    driver.pci =
        UMDEV_PCI(.bar[WINDOW] = UMDEV_BAR(.size = WINDOW_PAGES * PAGE, .flags = UMDEV_BAR_FAULT));
    faults_start(&f, &driver);
    expect_map(&f, WINDOW, 5 * PAGE + 1, UMDEV_WRITE, 0, WINDOW_PAGES - 1, 4, UMDEV_RW);
    assert_int_equal(read32(f.fixture.dev, WINDOW, PAGE), page_mark(1, 5));
    faults_end(&f);
}

/* Everything that is right at its very edge. */
static void test_edges(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say(&f, 0, PAGES * PAGE - 1, 0, 0, UMDEV_RW);
    expect_map(&f, TABLE, 0, UMDEV_RW, 0, LAST_PAGE, 0, UMDEV_RW);
    expect_map(&f, TABLE, PAGES * PAGE - 1, UMDEV_RW, 0, LAST_PAGE, 0, UMDEV_RW);
    say(&f, LAST_PAGE * PAGE, PAGES * PAGE - 1, 2, LAST_PAGE * PAGE, UMDEV_READ);
    expect_map(&f, TABLE, LAST_PAGE * PAGE, UMDEV_READ, LAST_PAGE, LAST_PAGE, LAST_PAGE,
               UMDEV_READ);
    faults_end(&f);
}

static void test_bad_answers(void **state)
{
    const uint64_t size = PAGES * PAGE;
    /* The touched page is 8. */
    const struct {
        uint64_t first, last, mem_offset;
        unsigned prot;
        const char *word;
    } bad[] = {
        {0, size, 0, UMDEV_RW, "outside of the region"},
        {0, size + PAGE - 1, 0, UMDEV_RW, "outside of the region"},
        {8 * PAGE, UINT64_MAX, 0, UMDEV_RW, "outside of the region"},
        {9 * PAGE, 8 * PAGE, 0, UMDEV_RW, "outside of the region"},
        {9 * PAGE, 8 * PAGE - 1, 0, UMDEV_RW, "outside of the region"},
        {0, UINT64_MAX, 0, UMDEV_RW, "outside of the region"},
        {8 * PAGE, 8 * PAGE + 5, 0, UMDEV_RW, "not whole pages"},
        {8 * PAGE, 9 * PAGE, 0, UMDEV_RW, "not whole pages"},
        {8 * PAGE - 1, 9 * PAGE - 1, 0, UMDEV_RW, "not whole pages"},
        {8 * PAGE + 8, 9 * PAGE - 1, 0, UMDEV_RW, "not whole pages"},
        {8 * PAGE, 9 * PAGE - 1, 1, UMDEV_RW, "not whole pages"},
        {8 * PAGE, 9 * PAGE - 1, PAGE - 1, UMDEV_RW, "not whole pages"},
        {9 * PAGE, 10 * PAGE - 1, 0, UMDEV_RW, "without the page"},
        {0, 8 * PAGE - 1, 0, UMDEV_RW, "without the page"},
        {8 * PAGE, 9 * PAGE - 1, size, UMDEV_RW, "beyond the end"},
        {8 * PAGE, 9 * PAGE - 1, -PAGE, UMDEV_RW, "beyond the end"},
        {8 * PAGE, 10 * PAGE - 1, size - PAGE, UMDEV_RW, "beyond the end"},
        {0, size - 1, PAGE, UMDEV_RW, "beyond the end"},
        {8 * PAGE, 9 * PAGE - 1, 0, 0, "no protection"},
        {8 * PAGE, 9 * PAGE - 1, 0, 4, "no protection"},
        {8 * PAGE, 9 * PAGE - 1, 0, UMDEV_RW | 8, "no protection"},
        {8 * PAGE, 9 * PAGE - 1, 0, UINT_MAX, "no protection"},
    };
    struct faults f;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        start(&f);
        say(&f, bad[i].first, bad[i].last, 0, bad[i].mem_offset, bad[i].prot);
        expect_refused(&f, TABLE, 8 * PAGE, UMDEV_READ, EIO);
        if (!strstr(f.fixture.last_line, bad[i].word))
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, f.fixture.last_line, bad[i].word);
        assert_non_null(strstr(f.fixture.last_line, "BAR2+0x8000"));
        assert_int_equal(trapped_read(&f, TABLE, 8 * PAGE), -EIO);
        faults_end(&f);
    }
}

static void test_bad_objects(void **state)
{
    struct mem_list foreign;
    struct umdev_mem *mem;
    struct faults f;

    (void)state;
    start(&f);
    f.driver.canned = true;
    f.driver.answer = (struct umdev_map){NULL, 0, 0, PAGE - 1, UMDEV_RW};
    expect_refused(&f, TABLE, 0, UMDEV_READ, EIO);
    /* Another device's, another parent's. */
    mem_list_init(&foreign);
    assert_int_equal(mem_list_add(&foreign, NULL, PAGE, &mem), 0);
    f.driver.answer.mem = mem;
    expect_refused(&f, TABLE, 0, UMDEV_READ, EIO);
    assert_non_null(strstr(f.fixture.last_line, "not this device's"));
    mem_list_fini(&foreign);
    mem_list_init_shared(&foreign);
    assert_int_equal(mem_list_add(&foreign, NULL, PAGE, &mem), 0);
    f.driver.answer.mem = mem;
    expect_refused(&f, TABLE, 0, UMDEV_READ, EIO);
    mem_list_fini(&foreign);
    /* A positive result. */
    f.driver.result = 1;
    expect_refused(&f, TABLE, 0, UMDEV_READ, EIO);
    faults_end(&f);
}

static void test_access(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say(&f, 0, PAGE - 1, 0, 0, UMDEV_READ);
    expect_map(&f, TABLE, 0, UMDEV_READ, 0, 0, 0, UMDEV_READ);
    expect_refused(&f, TABLE, 0, UMDEV_WRITE, EACCES);
    expect_refused(&f, TABLE, 0, UMDEV_RW, EACCES);
    say(&f, 0, PAGE - 1, 0, 0, UMDEV_WRITE);
    expect_map(&f, TABLE, 0, UMDEV_WRITE, 0, 0, 0, UMDEV_WRITE);
    expect_refused(&f, TABLE, 0, UMDEV_READ, EACCES);
    expect_refused(&f, TABLE, 0, UMDEV_RW, EACCES);
    assert_int_equal(f.driver.asked_access, UMDEV_RW);
    faults_end(&f);
}

static void test_read_only_region(void **state)
{
    struct faults f;
    uint8_t byte = 1;

    (void)state;
    start(&f);
    expect_map(&f, READONLY, PAGE, UMDEV_READ, 0, 3, 0, UMDEV_READ);
    f.driver.calls = 0;
    expect_refused(&f, READONLY, PAGE, UMDEV_WRITE, EPERM);
    assert_int_equal(f.driver.calls, 0);
    assert_int_equal(device_write(f.fixture.dev, READONLY, 0, &byte, 1), -EPERM);
    /* Its object is not to be written to by another way. */
    f.driver.answer = (struct umdev_map){f.driver.read_only, 0, 0, PAGE - 1, UMDEV_RW};
    f.driver.canned = true;
    expect_refused(&f, TABLE, 0, UMDEV_READ, EIO);
    f.driver.answer.prot = UMDEV_READ;
    expect_map(&f, TABLE, 0, UMDEV_READ, 0, 0, 0, UMDEV_READ);
    f.driver.canned_everywhere = true;
    say(&f, 0, PAGE - 1, 0, 0, UMDEV_RW);
    expect_refused(&f, READONLY, 0, UMDEV_READ, EIO);
    faults_end(&f);
}

static void test_nonsense(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say(&f, 0, PAGES * PAGE - 1, 0, 0, UMDEV_RW);
    f.driver.calls = 0;
    expect_refused(&f, TABLE, PAGES * PAGE, UMDEV_READ, EINVAL);
    expect_refused(&f, TABLE, UINT64_MAX, UMDEV_READ, EINVAL);
    expect_refused(&f, TABLE, 0, 0, EINVAL);
    expect_refused(&f, TABLE, 0, 4, EINVAL);
    expect_refused(&f, TABLE, 0, UINT_MAX, EINVAL);
    expect_refused(&f, UMDEV_REGION_CONFIG, 0, UMDEV_READ, EINVAL);
    expect_refused(&f, UMDEV_NUM_REGIONS, 0, UMDEV_READ, EINVAL);
    expect_refused(&f, UINT_MAX, 0, UMDEV_READ, EINVAL);
    assert_int_equal(f.driver.calls, 0);
    faults_end(&f);
}

/* The driver's own errno; counted, logged, remembered. */
static void test_refusal(void **state)
{
    struct device_fault_stats stats;
    struct faults f;

    (void)state;
    start(&f);
    f.driver.result = -ENXIO;
    expect_refused(&f, TABLE, 3 * PAGE + 77, UMDEV_WRITE, ENXIO);
    assert_non_null(strstr(f.fixture.last_line, "BAR2+0x3000: write refused: "));
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.resolved, 0);
    assert_int_equal(stats.last.region, TABLE);
    assert_int_equal(stats.last.offset, 3 * PAGE);
    assert_int_equal(stats.last.access, UMDEV_WRITE);
    assert_int_equal(stats.last.error, ENXIO);
    assert_int_not_equal(stats.last.when_ns, 0);
    assert_int_equal(trapped_read(&f, TABLE, 5 * PAGE + 1), -ENXIO);
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stats.last.offset, 5 * PAGE);
    assert_int_equal(stats.last.access, UMDEV_READ);
    faults_end(&f);
}

/* A client can cause refusals at will, but not lines. */
static void test_refusals_are_not_all_logged(void **state)
{
    struct device_fault_stats stats;
    struct faults f;

    (void)state;
    start(&f);
    f.driver.result = -ENXIO;
    for (unsigned i = 0; i < 10 * LOG_LIMIT_LINES; i++) {
        expect_refused(&f, TABLE, 0, UMDEV_READ, ENXIO);
        if (i == LOG_LIMIT_LINES)
            snprintf(f.fixture.last_line, sizeof(f.fixture.last_line), "quiet");
    }
    assert_string_equal(f.fixture.last_line, "quiet");
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.refused, 10 * LOG_LIMIT_LINES);
    faults_end(&f);
}

/* What can't be sent now has changed nothing. */
static void test_no_room(void **state)
{
    struct device_fault_stats stats;
    struct faults f;

    (void)state;
    start(&f);
    f.fake.answer_result = -EAGAIN;
    assert_int_equal(fault(&f, WINDOW, 0, UMDEV_READ), -EAGAIN);
    f.driver.result = -ENXIO;
    assert_int_equal(fault(&f, WINDOW, 0, UMDEV_READ), -EAGAIN);
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.resolved + stats.refused, 0);
    assert_int_equal(umdev_region_invalidate(f.fixture.dev, WINDOW, 0, 0), 0);
    assert_int_equal(f.fake.invalidations, 0);
    faults_end(&f);
}

/* ------------------------------------------------------------------ shared objects */

static void test_shared(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say_shared(&f);
    expect_refused(&f, TABLE, 0, UMDEV_READ, EPERM);
    assert_int_equal(read32(f.fixture.dev, TABLE, 0), page_mark(9, 0));
    write32(f.fixture.dev, TABLE, 0, 77);
    assert_int_equal(*(uint32_t *)umdev_mem_ptr(f.driver.shared), 77);
    faults_end(&f);
    start(&f);
    device_trust_clients(f.fixture.dev);
    say_shared(&f);
    expect_map(&f, TABLE, 0, UMDEV_RW, 0, 0, 0, UMDEV_RW);
    assert_int_equal(f.fake.map.object, MEM_ID_SHARED | 1);
    faults_end(&f);
}

static int shared_create(struct umdev_device *dev)
{
    struct fault_state *s = context_of(dev);
    int ret = umdev_region_set_mem(dev, 0, s->shared, 0, NULL, 0);

    return ret ? ret : umdev_region_set_mem(dev, 1, s->shared, PAGE, NULL, 0);
}

/* Behind a region, 1:1: a client that is not trusted sees neither a mapping nor a fault to try. */
static void test_shared_behind_regions(void **state)
{
    struct umdev_driver driver = {
        .struct_size = sizeof(driver),
        .name = "shared",
        .create = shared_create,
        .pci = UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE),
                         .bar[1] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT)),
    };
    struct device_region_info info;
    struct faults f;

    (void)state;
    for (int trusted = 0; trusted < 2; trusted++) {
        faults_start(&f, &driver);
        if (trusted)
            device_trust_clients(f.fixture.dev);
        assert_int_equal(device_get_region(f.fixture.dev, 0, &info), 0);
        assert_int_equal(!!(info.flags & VFIO_REGION_INFO_FLAG_MMAP), trusted);
        assert_int_equal(info.fd >= 0, trusted);
        assert_int_equal(device_get_region(f.fixture.dev, 1, &info), 0);
        assert_int_equal(info.faults, trusted);
        assert_false(info.flags & VFIO_REGION_INFO_FLAG_MMAP);
        assert_int_equal(read32(f.fixture.dev, 0, 0), page_mark(9, 0));
        assert_int_equal(read32(f.fixture.dev, 1, 0), page_mark(9, 1));
        faults_end(&f);
    }
    driver.pci = UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_READONLY),
                           .bar[1] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT));
    faults_expect_refused(&driver, "of the device's own");
}

/* ------------------------------------------------------------------ descriptions */

static void test_descriptions(void **state)
{
    const struct {
        const struct umdev_pci *pci;
        const char *word;
    } bad[] = {
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = 256, .flags = UMDEV_BAR_FAULT)), "whole pages"},
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = 256, .flags = UMDEV_BAR_FAULT | UMDEV_BAR_IO)),
         "port I/O"},
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT | UMDEV_BAR_MEMORY)),
         "plain memory"},
        {UMDEV_PCI(.msix = {.vectors = 1, .bar = 0},
                   .bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT)),
         "MSI-X"},
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = 1 << 8)), "unknown flags"},
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT_IDENTITY)),
         "regions that fault"},
        {UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE,
                                       .flags = UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY)),
         "needs memory"},
    };
    struct umdev_driver driver = {
        .struct_size = sizeof(driver),
        .name = "bad",
        .map_request = fault_driver.map_request,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        driver.pci = bad[i].pci;
        fixture_expect_refused(&driver, bad[i].word);
    }
    driver.map_request = NULL;
    driver.read = fault_driver.read;
    driver.pci = UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT));
    fixture_expect_refused(&driver, "nobody says what to map");
}

static int areas_create(struct umdev_device *dev)
{
    static const struct umdev_area area = {0, PAGE};
    struct umdev_mem *mem;

    assert_int_equal(umdev_mem_create(dev, NULL, 2 * PAGE, &mem), 0);
    return umdev_region_set_mem(dev, 0, mem, 0, &area, 1);
}

static void test_areas(void **state)
{
    struct umdev_driver driver = {
        .struct_size = sizeof(driver),
        .name = "areas",
        .create = areas_create,
        .pci = UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = 2 * PAGE, .flags = UMDEV_BAR_FAULT)),
    };

    (void)state;
    fixture_expect_refused(&driver, "areas");
}

static void test_region_info(void **state)
{
    struct device_region_info info;
    struct faults f;

    (void)state;
    start(&f);
    assert_int_equal(device_get_region(f.fixture.dev, TABLE, &info), 0);
    assert_true(info.faults);
    assert_int_equal(info.fd, -1);
    assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
    assert_int_equal(device_get_region(f.fixture.dev, READONLY, &info), 0);
    assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ);
    assert_int_equal(device_get_region(f.fixture.dev, UMDEV_REGION_CONFIG, &info), 0);
    assert_false(info.faults);
    faults_end(&f);
}

/* ------------------------------------------------------------------ trapped accesses */

/* Each page from another object; an access over all of them asks for each. */
static void test_straddling(void **state)
{
    struct faults f;
    uint8_t bytes[3 * PAGE + 8], back[sizeof(bytes)];
    uint64_t seed = random_seed();

    (void)state;
    start(&f);
    f.driver.scatter = true;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)random_next(&seed);
    f.driver.calls = 0;
    assert_int_equal(device_write(f.fixture.dev, TABLE, 2 * PAGE - 4, bytes, sizeof(bytes)), 0);
    assert_int_equal(f.driver.calls, 5);
    assert_int_equal(device_read(f.fixture.dev, TABLE, 2 * PAGE - 4, back, sizeof(back)), 0);
    assert_memory_equal(bytes, back, sizeof(bytes));
    /* scatter: page n is page n of object n % 3 */
    assert_memory_equal(object_bytes(&f, 1) + 2 * PAGE - 4, bytes, 4);
    assert_memory_equal(object_bytes(&f, 2) + 2 * PAGE, bytes + 4, PAGE);
    assert_memory_equal(object_bytes(&f, 0) + 3 * PAGE, bytes + 4 + PAGE, PAGE);
    assert_memory_equal(object_bytes(&f, 2) + 5 * PAGE, bytes + 4 + 3 * PAGE, 4);
    faults_end(&f);
}

/* An answer that covers much is asked for once. */
static void test_one_answer_for_many_pages(void **state)
{
    struct faults f;
    uint8_t bytes[WINDOW_PAGES * PAGE];

    (void)state;
    start(&f);
    f.driver.calls = 0;
    assert_int_equal(device_read(f.fixture.dev, WINDOW, 0, bytes, sizeof(bytes)), 0);
    assert_int_equal(f.driver.calls, 1);
    assert_memory_equal(bytes, object_bytes(&f, 1) + 4 * PAGE, sizeof(bytes));
    faults_end(&f);
}

/* Up to the page that is refused. */
static void test_refused_half_way(void **state)
{
    struct faults f;
    uint8_t bytes[16] = "0123456789abcde";

    (void)state;
    start(&f);
    f.driver.scatter = true;
    f.driver.refuse_page = 4;
    assert_int_equal(device_write(f.fixture.dev, TABLE, 4 * PAGE - 8, bytes, 16), -ENOENT);
    assert_memory_equal(object_bytes(&f, 0) + 4 * PAGE - 8, bytes, 8);
    assert_int_equal(device_read(f.fixture.dev, TABLE, 4 * PAGE - 8, bytes, 16), -ENOENT);
    faults_end(&f);
}

/* A page that is read-only is asked for again for the write, and may have become writable. */
static void test_write_asks_for_itself(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say(&f, 0, PAGE - 1, 0, 0, UMDEV_READ);
    assert_int_equal(read32(f.fixture.dev, TABLE, 0), page_mark(0, 0));
    assert_int_equal(f.driver.asked_access, UMDEV_READ);
    assert_int_equal(device_write(f.fixture.dev, TABLE, 0, "x", 1), -EACCES);
    assert_int_equal(f.driver.asked_access, UMDEV_WRITE);
    f.driver.answer.prot = UMDEV_RW;
    assert_int_equal(device_write(f.fixture.dev, TABLE, 0, "x", 1), 0);
    faults_end(&f);
}

/* An aligned register moves as one, also behind a fault: bytes.h. */
static void test_bounds(void **state)
{
    struct faults f;
    uint8_t bytes[8];

    (void)state;
    start(&f);
    f.driver.scatter = true;
    assert_int_equal(device_read(f.fixture.dev, TABLE, PAGES * PAGE - 8, bytes, 8), 0);
    assert_int_equal(device_read(f.fixture.dev, TABLE, PAGES * PAGE - 7, bytes, 8), -EINVAL);
    assert_int_equal(device_read(f.fixture.dev, TABLE, PAGES * PAGE, bytes, 0), 0);
    faults_end(&f);
}

/* ------------------------------------------------------------------ failures */

static int session(void *opaque)
{
    struct faults *f = opaque;
    int ret = faults_try(f, &fault_driver);
    uint32_t value;

    if (ret)
        return ret;
    ret = device_open(f->fixture.dev, &f->fixture.client);
    if (!ret) {
        ret = device_set_mapper(f->fixture.dev, &f->fake.mapper);
        if (!ret) {
            ret = fault(f, WINDOW, 0, UMDEV_READ);
            if (!ret)
                ret = umdev_region_invalidate(f->fixture.dev, WINDOW, 0, 0);
            if (!ret)
                ret = device_read(f->fixture.dev, TABLE, 0, &value, sizeof(value));
            device_unset_mapper(f->fixture.dev);
        }
        device_close(f->fixture.dev);
    }
    device_free(f->fixture.dev);
    mem_list_fini(&f->driver.parent);
    return ret;
}

static void test_failnth(void **state)
{
    struct faults f;

    (void)state;
    assert_true(failnth_run(session, NULL, &f) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_default_without_callback),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_bad_objects),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_read_only_region),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_refusals_are_not_all_logged),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_shared_behind_regions),
        cmocka_unit_test(test_descriptions),
        cmocka_unit_test(test_areas),
        cmocka_unit_test(test_region_info),
        cmocka_unit_test(test_straddling),
        cmocka_unit_test(test_one_answer_for_many_pages),
        cmocka_unit_test(test_refused_half_way),
        cmocka_unit_test(test_write_asks_for_itself),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_failnth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
