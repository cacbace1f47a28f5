/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trapped accesses: who answers which bytes, bounds, errors; and what region info says.
 */
#include "fixture.h"

#include "random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BAR0_SIZE   0x10000u
#define TABLE       0x3010u /* in a page that a memory area covers, too */
#define VECTORS     5u
#define TABLE_END   (TABLE + 16 * VECTORS)
#define PBA         0x8ff8u /* at the end of the second area */
#define PBA_END     0x9000u
#define AREA_A      0x2000u /* 3 pages of memory */
#define AREA_A_SIZE 0x3000u
#define AREA_B      0x8000u /* 1 page */
#define AREA_B_SIZE 0x1000u
#define MEM_OFFSET  0x1000u

enum { BAR_MIXED = 0, BAR_REGS = 1, BAR_READONLY = 3, BAR_DRIVER = 4 };

struct board {
    struct umdev_regs regs;
};

/* The driver's side: its bytes, and its last call. */
struct backing {
    uint8_t mixed[BAR0_SIZE], driver[256];
    unsigned calls;
    uint64_t offset;
    size_t len;
    int answer; /* what the callbacks return */
    struct umdev_mem *mem;
};

static uint8_t *backing_bytes(struct backing *backing, unsigned region)
{
    assert_true(region == BAR_MIXED || region == BAR_DRIVER);
    return region == BAR_MIXED ? backing->mixed : backing->driver;
}

static int board_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                      size_t len)
{
    struct backing *backing = context_of(dev);

    backing->calls++;
    backing->offset = offset;
    backing->len = len;
    memcpy(buf, backing_bytes(backing, region) + offset, len);
    return backing->answer;
}

static int board_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                       size_t len)
{
    struct backing *backing = context_of(dev);

    backing->calls++;
    backing->offset = offset;
    backing->len = len;
    if (backing->answer == 0)
        memcpy(backing_bytes(backing, region) + offset, buf, len);
    return backing->answer;
}

static int board_create(struct umdev_device *dev)
{
    /* Not in order: umdev sorts them. */
    static const struct umdev_area areas[] = {{AREA_B, AREA_B_SIZE}, {AREA_A, AREA_A_SIZE}};
    struct backing *backing = context_of(dev);

    assert_int_equal(umdev_mem_create(dev, "board", MEM_OFFSET + 0x9000, &backing->mem), 0);
    return umdev_region_set_mem(dev, BAR_MIXED, backing->mem, MEM_OFFSET, areas, 2);
}

static const struct umdev_reg_hook no_hooks[] = {{.offset = 0}};

static const struct umdev_driver board_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "board",
    .priv_size = sizeof(struct board),
    .create = board_create,
    .read = board_read,
    .write = board_write,
    .pci =
        UMDEV_PCI(.vendor = 0x1b36, .device = 0xc0, .bar[BAR_MIXED] = UMDEV_BAR(.size = BAR0_SIZE),
                  .bar[BAR_REGS] =
                      UMDEV_BAR(.size = 512, .regs = UMDEV_REGS(struct board, regs, no_hooks)),
                  .bar[BAR_READONLY] =
                      UMDEV_BAR(.size = 0x2000, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY),
                  .bar[BAR_DRIVER] = UMDEV_BAR(.size = 256, .flags = UMDEV_BAR_IO),
                  .msix = {.vectors = VECTORS,
                           .bar = BAR_MIXED,
                           .table_offset = TABLE,
                           .pba_offset = PBA}),
};

static struct backing *backing_new(void)
{
    struct backing *backing = calloc(1, sizeof(*backing));

    assert_non_null(backing);
    return backing;
}

/* ------------------------------------------------------------------ model */

/* Every byte of every BAR as the client should see it. */
struct model {
    uint8_t bytes[UMDEV_NUM_BARS][BAR0_SIZE];
    uint64_t size[UMDEV_NUM_BARS + 1]; /* the ROM's, too: nothing */
};

static bool in_pba(unsigned region, uint64_t at)
{
    return region == BAR_MIXED && at >= PBA && at < PBA_END;
}

static void model_write(struct model *model, unsigned region, uint64_t at, uint8_t byte)
{
    if (in_pba(region, at))
        return;
    if (region == BAR_MIXED && at >= TABLE && at < TABLE_END && (at - TABLE) % 16 >= 12)
        byte &= (at - TABLE) % 16 == 12 ? 1 : 0;
    model->bytes[region][at] = byte;
}

static int model_check(const struct model *model, unsigned region, uint64_t offset, size_t len,
                       bool write)
{
    if (len > model->size[region] || offset > model->size[region] - len)
        return -EINVAL;
    return write && len > 0 && region == BAR_READONLY ? -EPERM : 0;
}

/* Mostly inside or just over an edge; now and then near the end of the address space. */
static uint64_t random_offset(uint64_t *random)
{
    static const uint64_t edges[] = {0,      512,       TABLE,      TABLE_END,
                                     AREA_A, 0x5000,    AREA_B,     PBA,
                                     0x9000, BAR0_SIZE, UINT64_MAX, (uint64_t)INT64_MAX};
    uint64_t choice = random_next(random);

    if (choice % 2)
        return random_next(random) % BAR0_SIZE;
    return edges[(choice >> 8) % ARRAY_SIZE(edges)] + (choice >> 32) % 64 - 32;
}

static void test_model(void **state)
{
    static const uint64_t sizes[UMDEV_NUM_BARS + 1] = {BAR0_SIZE, 512, 0, 0x2000, 256};
    struct model *model = calloc(1, sizeof(*model));
    struct backing *backing = backing_new();
    uint64_t random = random_seed();
    static uint8_t buf[BAR0_SIZE];
    struct fixture fixture;

    (void)state;
    assert_non_null(model);
    memcpy(model->size, sizes, sizeof(sizes));
    fixture_open(&fixture, &board_driver, backing);
    for (unsigned step = 0; step < 30000; step++) {
        unsigned region = (unsigned)(random_next(&random) % 7);
        uint64_t offset = random_offset(&random);
        size_t len = random_next(&random) % (random_next(&random) % 16 ? 40 : 0x8000);
        bool write = random_next(&random) % 2;
        int expected = model_check(model, region, offset, len, write);
        int ret;

        for (size_t i = 0; i < len; i++)
            buf[i] = (uint8_t)random_next(&random);
        if (write)
            ret = device_write(fixture.dev, region, offset, buf, len);
        else
            ret = device_read(fixture.dev, region, offset, buf, len);
        if (ret != expected)
            fail_msg("step %u: BAR%u+0x%" PRIx64 " len %zu: %d, not %d", step, region, offset, len,
                     ret, expected);
        for (size_t i = 0; ret == 0 && i < len; i++) {
            if (write)
                model_write(model, region, offset + i, buf[i]);
            else if (buf[i] != model->bytes[region][offset + i])
                fail_msg("step %u: BAR%u+0x%" PRIx64 " is 0x%02x, not 0x%02x", step, region,
                         offset + i, buf[i], model->bytes[region][offset + i]);
        }
    }
    /* What lies in the areas must have gone to the memory object, and only there. */
    for (uint64_t at = AREA_A; at < TABLE; at++) {
        const uint8_t *mem = umdev_mem_ptr(backing->mem);

        assert_int_equal(mem[MEM_OFFSET + at], model->bytes[BAR_MIXED][at]);
        assert_int_equal(backing->mixed[at], 0);
    }
    fixture_end(&fixture);
    free(backing);
    free(model);
}

/* ------------------------------------------------------------------ bounds and errors */

static void test_bounds(void **state)
{
    struct backing *backing = backing_new();
    struct fixture fixture;
    uint8_t buf[16];

    (void)state;
    fixture_open(&fixture, &board_driver, backing);
    for (unsigned region = 0; region < UMDEV_NUM_REGIONS + 2; region++) {
        struct device_region_info info = {0};
        bool valid = device_get_region(fixture.dev, region, &info) == 0;

        assert_int_equal(valid, region < UMDEV_NUM_REGIONS);
        assert_int_equal(device_read(fixture.dev, region, 0, buf, 0), valid ? 0 : -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, info.size, buf, 0), valid ? 0 : -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, info.size + 1, buf, 0), -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, info.size, buf, 1), -EINVAL);
        assert_int_equal(device_write(fixture.dev, region, info.size, buf, 1), -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, UINT64_MAX, buf, 1), -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, UINT64_MAX - 7, buf, 16), -EINVAL);
        assert_int_equal(device_write(fixture.dev, region, UINT64_MAX - 7, buf, 16), -EINVAL);
        assert_int_equal(device_read(fixture.dev, region, 1, buf, SIZE_MAX), -EINVAL);
    }
    assert_int_equal(backing->calls, 0);
    fixture_end(&fixture);
    free(backing);
}

/* The driver sees its own part of an access that others answer, too. */
static void test_straddling(void **state)
{
    struct backing *backing = backing_new();
    struct fixture fixture;
    uint8_t buf[0x2000];

    (void)state;
    fixture_open(&fixture, &board_driver, backing);
    memset(buf, 0x77, sizeof(buf));
    assert_int_equal(device_write(fixture.dev, BAR_MIXED, AREA_A - 3, buf, 5), 0);
    assert_int_equal(backing->calls, 1);
    assert_int_equal(backing->offset, AREA_A - 3);
    assert_int_equal(backing->len, 3);
    assert_int_equal(read32(fixture.dev, BAR_MIXED, AREA_A), 0x7777);
    /* memory, the pending bits at its end, the driver */
    assert_int_equal(device_write(fixture.dev, BAR_MIXED, 0x8ff0, buf, 0x20), 0);
    assert_int_equal(backing->calls, 2);
    assert_int_equal(backing->offset, 0x9000);
    assert_int_equal(backing->len, 0x10);
    /* inside the table's page, beside the table: memory */
    assert_int_equal(device_read(fixture.dev, BAR_MIXED, TABLE_END - 1, buf, 32), 0);
    assert_int_equal(backing->calls, 2);
    /* the driver between two areas */
    assert_int_equal(device_read(fixture.dev, BAR_MIXED, 0x7000, buf, 0x2000), 0);
    assert_int_equal(backing->calls, 3);
    assert_int_equal(backing->len, 0x1000);
    fixture_end(&fixture);
    free(backing);
}

static void test_driver_errors(void **state)
{
    struct backing *backing = backing_new();
    struct fixture fixture;
    uint8_t buf[8] = {0};

    (void)state;
    fixture_open(&fixture, &board_driver, backing);
    backing->answer = -ENOSPC;
    assert_int_equal(device_read(fixture.dev, BAR_DRIVER, 0, buf, 8), -ENOSPC);
    assert_int_equal(device_write(fixture.dev, BAR_DRIVER, 0, buf, 8), -ENOSPC);
    /* The pieces before the driver's don't make it a success. */
    assert_int_equal(device_write(fixture.dev, BAR_MIXED, 0x8ffe, buf, 8), -ENOSPC);
    backing->answer = 8; /* a count, as a careless driver would return it */
    assert_int_equal(device_read(fixture.dev, BAR_DRIVER, 0, buf, 8), -EIO);
    assert_int_equal(device_write(fixture.dev, BAR_DRIVER, 0, buf, 8), -EIO);
    assert_int_equal(device_write(fixture.dev, BAR_READONLY, 0, buf, 8), -EPERM);
    assert_int_equal(device_read(fixture.dev, BAR_READONLY, 0, buf, 8), 0);
    fixture_end(&fixture);
    free(backing);
}

static void test_no_callbacks(void **state)
{
    const struct umdev_driver write_only = {
        .name = "wo",
        .write = board_write,
        .pci = UMDEV_PCI(.bar[BAR_DRIVER] = UMDEV_BAR(.size = 256)),
    };
    const struct umdev_driver nothing = {
        .name = "nothing",
        .pci = UMDEV_PCI(.bar[2] = UMDEV_BAR(.size = 256)),
    };
    struct backing *backing = backing_new();
    struct fixture fixture;
    uint8_t buf[4];

    (void)state;
    fixture_open(&fixture, &write_only, backing);
    assert_int_equal(device_read(fixture.dev, BAR_DRIVER, 0, buf, 4), -EIO);
    write32(fixture.dev, BAR_DRIVER, 4, 99);
    assert_int_equal(backing->driver[4], 99);
    fixture_end(&fixture);
    free(backing);
    fixture_expect_refused(&nothing, "nobody answers");
}

static void test_counters(void **state)
{
    struct backing *backing = backing_new();
    struct device_stats stats;
    struct fixture fixture;
    uint8_t buf[100] = {0};

    (void)state;
    fixture_new(&fixture, &board_driver, backing);
    assert_int_equal(device_write(fixture.dev, BAR_MIXED, 0x8ff0, buf, 100), 0);
    assert_int_equal(device_read(fixture.dev, BAR_DRIVER, 0, buf, 7), 0);
    assert_int_equal(device_read(fixture.dev, UMDEV_REGION_CONFIG, 0, buf, 2), 0);
    assert_int_equal(device_read(fixture.dev, BAR_DRIVER, 256, buf, 7), -EINVAL);
    device_count_request(fixture.dev, false);
    device_count_request(fixture.dev, true);
    device_get_stats(fixture.dev, &stats);
    assert_int_equal(stats.traps_write, 1);
    assert_int_equal(stats.trap_bytes_written, 100);
    assert_int_equal(stats.traps_read, 2);
    assert_int_equal(stats.trap_bytes_read, 9);
    assert_int_equal(stats.messages, 2);
    assert_int_equal(stats.errors, 1);
    fixture_end(&fixture);
    free(backing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_straddling),   cmocka_unit_test(test_driver_errors),
        cmocka_unit_test(test_no_callbacks), cmocka_unit_test(test_counters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
