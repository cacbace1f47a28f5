/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells: what a description makes of them, what ringing does, descriptions that are refused.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>

enum { REG_ANY = 0x10, REG_MATCH = 0x18, REG_QUIET = 0x20 };

struct card {
    struct umdev_regs regs;
    struct umdev_mem *mem;
};

/* What the driver heard. */
struct heard {
    unsigned hooks, writes, inside, overlaps;
    uint64_t value;
    unsigned region;
    uint64_t offset;
    uint8_t bytes[8];
    size_t len;
};

static void hook_write(struct umdev_device *dev, uint64_t value)
{
    struct heard *heard = context_of(dev);

    heard->overlaps += heard->inside++ != 0;
    heard->hooks++;
    heard->value = value;
    heard->inside--;
}

static int card_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                      size_t len)
{
    struct heard *heard = context_of(dev);

    heard->overlaps += heard->inside++ != 0;
    heard->writes++;
    heard->region = region;
    heard->offset = offset;
    heard->len = len;
    assert_true(len <= sizeof(heard->bytes));
    memcpy(heard->bytes, buf, len);
    heard->inside--;
    return offset == 0x40 ? -EREMOTEIO : 0;
}

static int card_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                     size_t len)
{
    (void)dev;
    (void)region;
    (void)offset;
    memset(buf, 0, len);
    return 0;
}

static const struct umdev_reg_hook card_hooks[] = {
    {.offset = REG_MATCH,
     .size = 8,
     .read_only = 0xff,
     .reset_value = 0x11,
     .write = hook_write,
     .flags = UMDEV_DOORBELL_MATCH,
     .match = 0x8877665544332211},
    {.offset = REG_ANY, .reset_value = 0xabcd, .write = hook_write, .flags = UMDEV_DOORBELL},
    {.offset = REG_QUIET, .write = hook_write},
};

static const struct umdev_doorbell more_of_registers[] = {
    {.offset = REG_QUIET, .match = 3, .size = 1, .flags = UMDEV_DOORBELL_MATCH},
    {.offset = REG_QUIET, .match = 4, .size = 1, .flags = UMDEV_DOORBELL_MATCH},
};

static const struct umdev_doorbell of_driver[] = {
    {.offset = 0x10},
    {.offset = 0x20, .size = 2, .match = 0x0201, .flags = UMDEV_DOORBELL_MATCH | UMDEV_DOORBELL},
    {.offset = 0x40, .size = 8},
    {.offset = 0x10, .size = 2},
};

#define CARD(...)                                                                                  \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "card",                                \
        .priv_size = sizeof(struct card), .write = card_write,                                     \
        .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc0, __VA_ARGS__)                            \
    }

#define CARD_REGS UMDEV_REGS(struct card, regs, card_hooks)

static const struct umdev_driver card_driver =
    CARD(.bar = {
             UMDEV_BAR(.size = 4096, .regs = CARD_REGS,
                       .doorbells = UMDEV_DOORBELLS(more_of_registers)),
             UMDEV_BAR(.size = 4096, .doorbells = UMDEV_DOORBELLS(of_driver)),
             UMDEV_BAR(.size = 256, .flags = UMDEV_BAR_IO, .doorbells = UMDEV_DOORBELLS(of_driver)),
             UMDEV_BAR(.size = 4096),
         });

static const struct device_doorbell *doorbells_of(struct fixture *fixture, unsigned region,
                                                  size_t expected)
{
    const struct device_doorbell *doorbells;
    size_t count;

    assert_int_equal(device_get_doorbells(fixture->dev, region, &doorbells, &count), 0);
    assert_int_equal(count, expected);
    return doorbells;
}

static void test_description(void **state)
{
    const struct device_doorbell *bells;
    struct heard heard = {0};
    struct fixture fixture;
    size_t count;

    (void)state;
    fixture_open(&fixture, &card_driver, &heard);
    /* the hooks by offset, then the list */
    bells = doorbells_of(&fixture, 0, 4);
    assert_int_equal(bells[0].offset, REG_ANY);
    assert_int_equal(bells[0].size, 4);
    assert_false(bells[0].has_match || bells[0].port);
    assert_int_equal(bells[1].offset, REG_MATCH);
    assert_int_equal(bells[1].size, 8);
    assert_true(bells[1].has_match);
    assert_int_equal(bells[1].match, 0x8877665544332211);
    assert_int_equal(bells[2].match, 3);
    assert_int_equal(bells[3].match, 4);
    bells = doorbells_of(&fixture, 1, 4);
    assert_int_equal(bells[0].size, 4);
    assert_int_equal(bells[1].size, 2);
    assert_false(bells[2].port);
    assert_true(doorbells_of(&fixture, 2, 4)->port);
    doorbells_of(&fixture, 3, 0);
    doorbells_of(&fixture, UMDEV_REGION_CONFIG, 0);
    assert_int_equal(device_get_doorbells(fixture.dev, UMDEV_NUM_REGIONS, &bells, &count), -EINVAL);
    fixture_end(&fixture);
}

static void test_ring_registers(void **state)
{
    struct heard heard = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &card_driver, &heard);
    /* any value: the one that is stored */
    assert_int_equal(device_ring(fixture.dev, 0, 0), 0);
    assert_int_equal(heard.hooks, 1);
    assert_int_equal(heard.value, 0xabcd);
    assert_int_equal(read32(fixture.dev, 0, REG_ANY), 0xabcd);
    /* a value: as its write, which spares the read-only bits */
    assert_int_equal(device_ring(fixture.dev, 0, 1), 0);
    assert_int_equal(heard.hooks, 2);
    assert_int_equal(heard.value, 0x8877665544332211);
    assert_int_equal(read64(fixture.dev, 0, REG_MATCH), 0x8877665544332211);
    /* a part of a register: the hook gets the whole */
    write32(fixture.dev, 0, REG_QUIET, 0x11223344);
    assert_int_equal(device_ring(fixture.dev, 0, 3), 0);
    assert_int_equal(heard.value, 0x11223304);
    assert_int_equal(heard.hooks, 4);
    assert_int_equal(heard.writes, 0);
    fixture_end(&fixture);
}

static void test_ring_driver(void **state)
{
    struct heard heard = {.bytes = {1, 1, 1, 1}};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &card_driver, &heard);
    assert_int_equal(device_ring(fixture.dev, 1, 0), 0);
    assert_int_equal(heard.writes, 1);
    assert_int_equal(heard.region, 1);
    assert_int_equal(heard.offset, 0x10);
    assert_int_equal(heard.len, 4);
    assert_memory_equal(heard.bytes, "\0\0\0\0", 4);
    assert_int_equal(device_ring(fixture.dev, 2, 1), 0);
    assert_int_equal(heard.region, 2);
    assert_int_equal(heard.len, 2);
    assert_memory_equal(heard.bytes, "\1\2", 2);
    assert_int_equal(device_ring(fixture.dev, 1, 2), -EREMOTEIO);
    assert_int_equal(device_ring(fixture.dev, 1, 4), -EINVAL);
    assert_int_equal(device_ring(fixture.dev, UMDEV_NUM_REGIONS, 0), -EINVAL);
    assert_int_equal(device_ring(fixture.dev, UMDEV_REGION_CONFIG, 0), -EINVAL);
    fixture_end(&fixture);
}

/* A signal is no trap: the trapped accesses' counts do not know it. */
static void test_not_counted_as_traps(void **state)
{
    struct device_stats before, after;
    struct heard heard = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &card_driver, &heard);
    device_get_stats(fixture.dev, &before);
    assert_int_equal(device_ring(fixture.dev, 0, 1), 0);
    assert_int_equal(device_ring(fixture.dev, 1, 0), 0);
    device_get_stats(fixture.dev, &after);
    assert_int_equal(after.traps_write, before.traps_write);
    fixture_end(&fixture);
}

static void *ring_and_write(void *opaque)
{
    struct umdev_device *dev = opaque;

    for (unsigned i = 0; i < 2000; i++) {
        device_ring(dev, 0, i % 4);
        device_ring(dev, 1, i % 4);
        write32(dev, 0, REG_ANY, i);
    }
    return NULL;
}

/* Ringing is serialised with trapped writes. */
static void test_serialised(void **state)
{
    struct heard heard = {0};
    struct fixture fixture;
    pthread_t threads[3];

    (void)state;
    fixture_open(&fixture, &card_driver, &heard);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ring_and_write, fixture.dev), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(heard.overlaps, 0);
    assert_int_equal(heard.hooks, 3 * 2 * 2000);
    assert_int_equal(heard.writes, 3 * 2000);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ what is refused */

/* A register that is no good doorbell. */
static void expect_hook_refused(struct umdev_reg_hook hook, const char *word)
{
    const struct umdev_regs_desc regs = {
        .priv_offset = 0, .hooks = &hook, .nhooks = 1, .hook_size = sizeof(hook)};
    const struct umdev_bar bar = {.struct_size = sizeof(bar), .size = 4096, .regs = &regs};
    const struct umdev_driver driver = CARD(.bar[0] = &bar);

    fixture_expect_refused(&driver, word);
}

static void test_bad_hooks(void **state)
{
    (void)state;
    expect_hook_refused((struct umdev_reg_hook){.offset = 8, .flags = UMDEV_DOORBELL},
                        "there is no write()");
    expect_hook_refused(
        (struct umdev_reg_hook){.offset = 8, .write = hook_write, .flags = 4 | UMDEV_DOORBELL},
        "unknown flags 0x4");
    expect_hook_refused(
        (struct umdev_reg_hook){.offset = 8, .write = hook_write, .flags = UINT64_C(1) << 63},
        "unknown flags 0x8000000000000000");
    expect_hook_refused((struct umdev_reg_hook){.offset = 8, .write = hook_write, .match = 1},
                        "needs UMDEV_DOORBELL_MATCH");
    expect_hook_refused((struct umdev_reg_hook){.offset = 8,
                                                .size = 2,
                                                .write = hook_write,
                                                .match = 0x10000,
                                                .flags = UMDEV_DOORBELL_MATCH},
                        "0x10000 does not fit in 2 bytes");
}

static void test_no_bar(void **state)
{
    const struct umdev_extra_region extra[] = {
        {.type = 1, .size = 4096, .regs = CARD_REGS},
    };
    const struct umdev_driver driver = CARD(UMDEV_EXTRA_REGIONS(extra));

    (void)state;
    fixture_expect_refused(&driver, "only BARs can have doorbells");
}

static int memory_create(struct umdev_device *dev)
{
    static const struct umdev_area area = {0x1000, 0x1000};
    struct card *card = umdev_device_priv(dev);
    int ret = umdev_mem_create(dev, "card", 0x4000, &card->mem);

    return ret ? ret : umdev_region_set_mem(dev, 0, card->mem, 0, &area, 1);
}

/* Two doorbells (the second may be the first again) in a BAR of 16 KiB, of which the second page
 * can be mapped. */
static void expect_list_refused(uint32_t bar_flags, struct umdev_doorbell one,
                                struct umdev_doorbell two, const char *word)
{
    const struct umdev_doorbell list[] = {one, two};
    const struct umdev_doorbells_desc desc = {list, 2, sizeof(list[0])};
    const struct umdev_bar bar = {
        .struct_size = sizeof(bar), .size = 0x4000, .flags = bar_flags, .doorbells = &desc};
    const struct umdev_pci read_only = {
        .struct_size = sizeof(read_only), .vendor = 1, .device = 1, .bar[0] = &bar};
    struct umdev_driver driver =
        CARD(.msix = {.vectors = 1, .bar = 0, .table_offset = 0x3000}, .bar[0] = &bar);

    if (bar_flags & UMDEV_BAR_READONLY)
        driver.pci = &read_only;
    driver.create = memory_create;
    fixture_expect_refused(&driver, word);
}

#define BELL(...) ((struct umdev_doorbell){__VA_ARGS__})

static void test_bad_lists(void **state)
{
    const struct umdev_doorbell good = {.offset = 0x100};

    (void)state;
    expect_list_refused(0, good, BELL(.offset = 0x4000), "outside of the BAR");
    expect_list_refused(0, good, BELL(.offset = UINT64_MAX - 3), "outside of the BAR");
    expect_list_refused(0, good, BELL(.offset = 0x102), "aligned");
    expect_list_refused(0, good, BELL(.offset = 0x200, .size = 3), "1, 2, 4 or 8");
    expect_list_refused(0, good, BELL(.offset = 0x200, .size = 16), "1, 2, 4 or 8");
    expect_list_refused(0, good, BELL(.offset = 0x1000), "not heard");
    expect_list_refused(0, good, BELL(.offset = 0x1ff8, .size = 8), "not heard");
    expect_list_refused(0, good, BELL(.offset = 0x3000), "not heard");
    expect_list_refused(0, good, BELL(.offset = 0x3010), "not heard");
    expect_list_refused(UMDEV_BAR_READONLY, good, good, "read-only");
    expect_list_refused(0, good, good, "rung by the same write");
    expect_list_refused(0, good, BELL(.offset = 0x100, .match = 5, .flags = UMDEV_DOORBELL_MATCH),
                        "rung by the same write");
    expect_list_refused(0, BELL(.offset = 0, .match = 5, .flags = UMDEV_DOORBELL_MATCH),
                        BELL(.offset = 0, .match = 5, .flags = UMDEV_DOORBELL_MATCH),
                        "rung by the same write");
}

static void test_driver_without_write(void **state)
{
    struct umdev_driver driver = card_driver;

    (void)state;
    driver.write = NULL;
    driver.read = card_read;
    fixture_expect_refused(&driver, "BAR1: doorbell 0x10: there is no write()");
}

/* A BAR's struct that ends before doorbells were thought of. */
static void test_older_bar(void **state)
{
    const struct umdev_doorbells_desc *nonsense = (const void *)(uintptr_t)1;
    const struct umdev_bar bar = {
        .struct_size = offsetof(struct umdev_bar, doorbells), .size = 4096, .doorbells = nonsense};
    const struct umdev_driver driver = CARD(.bar[0] = &bar);
    struct heard heard = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, &heard);
    doorbells_of(&fixture, 0, 0);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_ring_registers),
        cmocka_unit_test(test_ring_driver),
        cmocka_unit_test(test_not_counted_as_traps),
        cmocka_unit_test(test_serialised),
        cmocka_unit_test(test_bad_hooks),
        cmocka_unit_test(test_no_bar),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_driver_without_write),
        cmocka_unit_test(test_older_bar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
