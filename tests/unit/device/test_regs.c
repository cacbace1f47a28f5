/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register files: hooks, masks, reset values, sizes and alignments; descriptions that are refused.
 */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>

enum {
    REG_CONTROL = 0x10, /* 4 bytes; the upper half is the engine's */
    REG_STATUS = 0x14,  /* 4 bytes; computed */
    REG_WIDE = 0x18,    /* 8 bytes */
    REG_BYTE = 0x21,    /* 1 byte */
    REG_PLAIN = 0x40,   /* no hook */
};

struct card {
    struct umdev_regs regs;
};

/* What the hooks saw. */
struct seen {
    char calls[128];
    uint64_t value;
    uint64_t status; /* what REG_STATUS reads as */
};

static void seen_call(struct umdev_device *dev, const char *name, uint64_t value)
{
    struct seen *seen = context_of(dev);
    size_t used = strlen(seen->calls);

    snprintf(seen->calls + used, sizeof(seen->calls) - used, "%s ", name);
    seen->value = value;
}

static void control_write(struct umdev_device *dev, uint64_t value)
{
    seen_call(dev, "control", value);
}

static uint64_t status_read(struct umdev_device *dev)
{
    struct seen *seen = context_of(dev);

    seen_call(dev, "status?", 0);
    return seen->status;
}

static void status_write(struct umdev_device *dev, uint64_t value)
{
    seen_call(dev, "status", value);
}

static void wide_write(struct umdev_device *dev, uint64_t value)
{
    seen_call(dev, "wide", value);
}

static void byte_write(struct umdev_device *dev, uint64_t value)
{
    seen_call(dev, "byte", value);
}

/* Out of order on purpose: umdev sorts them. */
static const struct umdev_reg_hook card_hooks[] = {
    {.offset = REG_BYTE, .size = 1, .reset_value = 0x5a, .write = byte_write},
    {.offset = REG_WIDE, .size = 8, .reset_value = 0x1122334455667788, .write = wide_write},
    {.offset = REG_CONTROL,
     .reset_value = 0xabcd0000,
     .read_only = 0xffff0000,
     .write = control_write},
    {.offset = REG_STATUS, .read = status_read, .write = status_write},
};

static int card_create(struct umdev_device *dev)
{
    struct card *card = umdev_device_priv(dev);

    umdev_regs_set32(&card->regs, REG_PLAIN, 0xcafe);
    return 0;
}

#define CARD(...)                                                                                  \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "card",                                \
        .priv_size = sizeof(struct card), .create = card_create,                                   \
        .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc0, __VA_ARGS__)                            \
    }

#define CARD_REGS UMDEV_REGS(struct card, regs, card_hooks)

static const struct umdev_driver card_driver =
    CARD(.bar[0] = UMDEV_BAR(.size = 4096, .regs = CARD_REGS));

static void test_reset_values(void **state)
{
    struct seen seen = {.status = 7};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(read32(fixture.dev, 0, REG_CONTROL), 0xabcd0000);
        assert_int_equal(read64(fixture.dev, 0, REG_WIDE), 0x1122334455667788);
        assert_int_equal(read32(fixture.dev, 0, REG_BYTE - 1), 0x5a00);
        assert_int_equal(read32(fixture.dev, 0, REG_PLAIN), 0xcafe);
        assert_int_equal(read32(fixture.dev, 0, REG_PLAIN + 4), 0);
        write64(fixture.dev, 0, REG_CONTROL, UINT64_MAX);
        write64(fixture.dev, 0, REG_WIDE, 0);
        write64(fixture.dev, 0, REG_BYTE - 1, 0);
        write64(fixture.dev, 0, REG_PLAIN, UINT64_MAX);
        write32(fixture.dev, 0, 4092, 0x12345678);
        assert_int_equal(read32(fixture.dev, 0, 4092), 0x12345678);
        assert_int_equal(device_reset(fixture.dev), 0);
        assert_int_equal(read32(fixture.dev, 0, 4092), 0);
    }
    fixture_end(&fixture);
}

static void test_read_only_bits(void **state)
{
    struct seen seen = {0};
    struct fixture fixture;
    uint16_t upper = 0xffff;
    uint8_t byte = 0x77;

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    write32(fixture.dev, 0, REG_CONTROL, 0x11112222);
    assert_int_equal(seen.value, 0xabcd2222);
    assert_int_equal(read32(fixture.dev, 0, REG_CONTROL), 0xabcd2222);
    /* Only what may not be written: the hook is still called, with the whole register. */
    assert_int_equal(device_write(fixture.dev, 0, REG_CONTROL + 2, &upper, 2), 0);
    assert_int_equal(seen.value, 0xabcd2222);
    assert_int_equal(device_write(fixture.dev, 0, REG_CONTROL + 1, &byte, 1), 0);
    assert_int_equal(seen.value, 0xabcd7722);
    assert_string_equal(seen.calls, "control control control ");
    fixture_end(&fixture);
}

static void test_access_over_two_hooks(void **state)
{
    struct seen seen = {.status = 0x99887766};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    write64(fixture.dev, 0, REG_CONTROL, 0x55667788aaaabbbb);
    assert_string_equal(seen.calls, "control status ");
    assert_int_equal(seen.value, 0x55667788);
    seen.calls[0] = 0;
    assert_true(read64(fixture.dev, 0, REG_CONTROL) == 0x99887766abcdbbbb);
    assert_string_equal(seen.calls, "status? ");
    fixture_end(&fixture);
}

/* From the middle of one register over others into plain bytes: once each, in order. */
static void test_access_over_many(void **state)
{
    struct seen seen = {.status = 0x04030201};
    struct fixture fixture;
    uint8_t out[0x40], in[0x40];

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(0x80 + i);
    assert_int_equal(device_write(fixture.dev, 0, 0x13, out, 0x20), 0);
    assert_string_equal(seen.calls, "control status wide byte ");
    seen.calls[0] = 0;
    assert_int_equal(device_read(fixture.dev, 0, 0x13, in, 0x20), 0);
    assert_string_equal(seen.calls, "status? ");
    assert_int_equal(in[0], 0xab);
    assert_memory_equal(&in[1], "\x01\x02\x03\x04", 4);
    assert_memory_equal(&in[5], &out[5], 0x1b);
    fixture_end(&fixture);
}

static void test_partial_read(void **state)
{
    struct seen seen = {.status = 0x44332211};
    struct fixture fixture;
    uint8_t bytes[2];

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    assert_int_equal(device_read(fixture.dev, 0, REG_STATUS + 1, bytes, 2), 0);
    assert_memory_equal(bytes, "\x22\x33", 2);
    fixture_end(&fixture);
}

/* A hook's own value does not depend on what an earlier hook of the access stored meanwhile. */
static void clobber(struct umdev_device *dev, uint64_t value)
{
    struct card *card = umdev_device_priv(dev);

    (void)value;
    umdev_regs_set32(&card->regs, 4, 0xdead);
}

static void test_hook_changes_the_next(void **state)
{
    static const struct umdev_reg_hook hooks[] = {{.offset = 0, .write = clobber},
                                                  {.offset = 4, .write = control_write}};
    const struct umdev_driver driver =
        CARD(.bar[2] = UMDEV_BAR(.size = 256, .regs = UMDEV_REGS(struct card, regs, hooks)));
    struct seen seen = {0};
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, &seen);
    write64(fixture.dev, 2, 0, UINT64_C(0x1234) << 32);
    assert_int_equal(seen.value, 0x1234);
    assert_int_equal(read32(fixture.dev, 2, 4), 0xdead);
    fixture_end(&fixture);
}

static void test_get_and_set(void **state)
{
    struct seen seen = {0};
    struct fixture fixture;
    struct umdev_regs *regs;

    (void)state;
    fixture_open(&fixture, &card_driver, &seen);
    regs = &((struct card *)umdev_device_priv(fixture.dev))->regs;
    assert_int_equal(regs->size, 4096);
    umdev_regs_set64(regs, 0x83, 0x8877665544332211);
    assert_true(umdev_regs_get64(regs, 0x83) == 0x8877665544332211);
    assert_int_equal(umdev_regs_get32(regs, 0x84), 0x55443322);
    assert_int_equal(read32(fixture.dev, 0, 0x84), 0x55443322);
    umdev_regs_set32(regs, REG_CONTROL, 1);
    assert_string_equal(seen.calls, "");
    /* Out of the file */
    umdev_regs_set32(regs, 4093, 1);
    umdev_regs_set64(regs, 4089, 1);
    umdev_regs_set64(regs, UINT32_MAX, 1);
    assert_int_equal(umdev_regs_get32(regs, 4092), 0);
    assert_int_equal(umdev_regs_get32(regs, 4093), 0);
    assert_int_equal(umdev_regs_get64(regs, 4089), 0);
    assert_int_equal(umdev_regs_get64(regs, UINT32_MAX), 0);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ sizes set in create() */

static int resize_create(struct umdev_device *dev)
{
    struct card *card = umdev_device_priv(dev);

    assert_int_equal(umdev_region_set_size(dev, 0, 32), -EINVAL); /* a hook would lie outside */
    assert_int_equal(umdev_region_set_size(dev, 0, 5000), -EINVAL);
    assert_int_equal(umdev_region_set_size(dev, 1, 4096), -EINVAL); /* not described */
    assert_int_equal(card->regs.size, 64);
    assert_int_equal(umdev_region_set_size(dev, 0, 8192), 0);
    assert_int_equal(card->regs.size, 8192);
    return 0;
}

static void test_resize(void **state)
{
    struct umdev_driver driver = CARD(.bar[0] = UMDEV_BAR(.size = 64, .regs = CARD_REGS));
    struct seen seen = {0};
    struct fixture fixture;
    struct device_region_info info;

    (void)state;
    driver.create = resize_create;
    fixture_open(&fixture, &driver, &seen);
    assert_int_equal(device_get_region(fixture.dev, 0, &info), 0);
    assert_int_equal(info.size, 8192);
    write32(fixture.dev, 0, 8188, 42);
    assert_int_equal(read32(fixture.dev, 0, 8188), 42);
    assert_int_equal(read32(fixture.dev, 0, REG_CONTROL), 0xabcd0000);
    assert_int_equal(umdev_region_set_size(fixture.dev, 0, 4096), -EBUSY);
    fixture_end(&fixture);
}

static int grow_create(struct umdev_device *dev)
{
    struct card *card = umdev_device_priv(dev);

    assert_null(card->regs.bytes);
    return umdev_region_set_size(dev, 0, 4096);
}

/* No size in the description: create() gives it. */
static void test_size_from_create(void **state)
{
    struct umdev_driver driver = CARD(.bar[0] = UMDEV_BAR(.regs = CARD_REGS));
    struct seen seen = {0};
    struct fixture fixture;

    (void)state;
    fixture_expect_refused(&driver, "no size");
    driver.create = grow_create;
    fixture_open(&fixture, &driver, &seen);
    assert_int_equal(read32(fixture.dev, 0, REG_CONTROL), 0xabcd0000);
    fixture_end(&fixture);
}

/* ------------------------------------------------------------------ descriptions */

/* Hooks as an older driver.h had them. */
struct old_hook {
    uint32_t offset, size;
    uint64_t reset_value;
};

static void test_old_hooks(void **state)
{
    static const struct old_hook hooks[] = {{0, 0, 0x10}, {8, 2, 0x20}};
    static const struct umdev_regs_desc desc = {
        .priv_offset = offsetof(struct card, regs),
        .hooks = (const struct umdev_reg_hook *)(const void *)hooks,
        .nhooks = 2,
        .hook_size = sizeof(struct old_hook),
    };
    const struct umdev_driver driver = CARD(.bar[0] = UMDEV_BAR(.size = 64, .regs = &desc));
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(read32(fixture.dev, 0, 0), 0x10);
    assert_int_equal(read32(fixture.dev, 0, 8), 0x20);
    write32(fixture.dev, 0, 0, 1);
    assert_int_equal(read32(fixture.dev, 0, 0), 1);
    fixture_end(&fixture);
}

static void test_refused(void **state)
{
    static const struct {
        struct umdev_reg_hook hooks[2];
        const char *word;
    } cases[] = {
        {{{.offset = 0, .size = 3}, {.offset = 8}}, "size 3"},
        {{{.offset = 0, .size = 16}, {.offset = 32}}, "size 16"},
        {{{.offset = 2}, {.offset = 8}}, "aligned"},
        {{{.offset = 12, .size = 8}, {.offset = 32}}, "aligned"},
        {{{.offset = 4}, {.offset = 0, .size = 8}}, "overlap"},
        {{{.offset = 4}, {.offset = 4}}, "overlap"},
        {{{.offset = 0}, {.offset = 64}}, "outside"},
        {{{.offset = 0}, {.offset = 0xfffffff8, .size = 8}}, "outside"},
        {{{.offset = 0, .size = 1, .reset_value = 0x100}, {.offset = 8}}, "0x100"},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct umdev_driver driver =
            CARD(.bar[0] =
                     UMDEV_BAR(.size = 64, .regs = UMDEV_REGS(struct card, regs, cases[i].hooks)));

        fixture_expect_refused(&driver, cases[i].word);
    }
}

static void test_refused_files(void **state)
{
    struct umdev_driver twice = CARD(.bar[0] = UMDEV_BAR(.size = 64, .regs = CARD_REGS),
                                     .bar[1] = UMDEV_BAR(.size = 64, .regs = CARD_REGS));
    struct umdev_driver memory =
        CARD(.bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY, .regs = CARD_REGS));
    struct umdev_driver outside = CARD(.bar[0] = UMDEV_BAR(.size = 64, .regs = CARD_REGS));
    struct umdev_regs_desc hookless = *CARD_REGS;
    struct umdev_driver no_hooks = CARD(.bar[0] = UMDEV_BAR(.size = 64, .regs = &hookless));

    (void)state;
    fixture_expect_refused(&twice, "already");
    fixture_expect_refused(&memory, "BAR0");
    outside.priv_size = sizeof(struct card) - 1;
    fixture_expect_refused(&outside, "priv_size");
    hookless.hooks = NULL;
    fixture_expect_refused(&no_hooks, "UMDEV_REGS");
}

/* ------------------------------------------------------------------ with an engine thread */

#define ENGINE_STEPS 20000

static void *engine(void *argument)
{
    struct umdev_regs *regs = argument;

    /* The client writes the lower half of the register only: each store must survive it. */
    for (uint32_t i = 1; i <= ENGINE_STEPS; i++) {
        uint32_t lower = umdev_regs_get32(regs, REG_CONTROL) & 0xffff;

        umdev_regs_set32(regs, REG_CONTROL, i << 16 | lower);
        if (umdev_regs_get32(regs, REG_CONTROL) >> 16 != (i & 0xffff))
            return (void *)"an engine's store was undone";
    }
    return NULL;
}

static void test_engine_bits_survive(void **state)
{
    static const struct umdev_reg_hook hooks[] = {{.offset = REG_CONTROL, .read_only = 0xffff0000}};
    const struct umdev_driver driver =
        CARD(.bar[0] = UMDEV_BAR(.size = 128, .regs = UMDEV_REGS(struct card, regs, hooks)));
    struct fixture fixture;
    pthread_t thread;
    void *complaint;

    (void)state;
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(pthread_create(&thread, NULL, engine,
                                    &((struct card *)umdev_device_priv(fixture.dev))->regs),
                     0);
    for (uint32_t i = 0; i < ENGINE_STEPS; i++)
        write32(fixture.dev, 0, REG_CONTROL, i);
    pthread_join(thread, &complaint);
    if (complaint)
        fail_msg("%s", (const char *)complaint);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_values),
        cmocka_unit_test(test_read_only_bits),
        cmocka_unit_test(test_access_over_two_hooks),
        cmocka_unit_test(test_access_over_many),
        cmocka_unit_test(test_partial_read),
        cmocka_unit_test(test_hook_changes_the_next),
        cmocka_unit_test(test_get_and_set),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_size_from_create),
        cmocka_unit_test(test_old_hooks),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_engine_bits_survive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
