/* SPDX-License-Identifier: BSD-3-Clause */
/* What an operator sees of a vgpu: its VRAM, its engines' time, its mode. */
#include "rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    *state = rig_host(1);
    return 0;
}

static int teardown(void **state)
{
    umdev_host_free(*state);
    return 0;
}

static const char *attr(const struct rig *rig, const char *name)
{
    static char text[UMDEV_ATTR_SIZE + 1];
    int length = umdev_host_attr_read(rig->host, rig->uuid, name, text, UMDEV_ATTR_SIZE);

    assert_true(length > 1 && text[length - 1] == '\n');
    text[length - 1] = '\0';
    return text;
}

static uint64_t number(const struct rig *rig, const char *name)
{
    return strtoull(attr(rig, name), NULL, 10);
}

static uint64_t parent_number(const struct rig *rig, const char *name)
{
    char text[32] = "";

    assert_true(umdev_host_parent_attr_read(rig->host, "gpu", NULL, name, text, sizeof(text) - 1) >
                1);
    return strtoull(text, NULL, 10);
}

static void allocate(struct rig *rig, uint64_t address, uint64_t bytes)
{
    const struct vgpu_alloc packet = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, 0, sizeof(packet)),
        .address = address,
        .bytes = bytes,
    };

    rig_emit(rig, &packet, sizeof(packet));
}

static void give_back(struct rig *rig, uint64_t address, uint64_t bytes)
{
    const struct vgpu_free packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FREE, 0, sizeof(packet)),
        .address = address,
        .bytes = bytes,
    };

    rig_emit(rig, &packet, sizeof(packet));
}

static void test_vram(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_int_equal(number(&rig, "vram_used"), RIG_VRAM);
    assert_int_equal(number(&rig, "vram_size"), 2 * RIG_VRAM);
    assert_int_equal(parent_number(&rig, "vram_free"), 7 * RIG_VRAM);
    rig_start(&rig);
    allocate(&rig, RIG_VRAM, 64 << 10);
    rig_finish(&rig, 1);
    assert_int_equal(number(&rig, "vram_used"), RIG_VRAM + (64 << 10));
    assert_int_equal(parent_number(&rig, "vram_free"), 7 * RIG_VRAM - (64 << 10));
    give_back(&rig, RIG_VRAM, 4096);
    rig_finish(&rig, 2);
    assert_int_equal(number(&rig, "vram_used"), RIG_VRAM + (60 << 10));
    rig_free(&rig);
}

static void test_engine_time(void **state)
{
    struct vgpu_fill fill = rig_fill(256, 7);
    uint64_t before;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_int_equal(number(&rig, "engine_ns"), 0);
    rig_start(&rig);
    rig_emit(&rig, &fill, sizeof(fill));
    rig_finish(&rig, 1);
    rig_wait_unpinned(&rig);
    before = number(&rig, "engine_ns");
    assert_true(before > 0);
    assert_int_equal(number(&rig, "engine_ns"), before);
    rig_free(&rig);
}

static void set(const struct rig *rig, unsigned index, uint16_t value)
{
    assert_int_equal(umdev_client_write(rig->client, VGPU_BAR_REGS, VGPU_REG_DISPI + 2 * index,
                                        &value, sizeof(value)),
                     0);
}

static void test_mode(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_string_equal(attr(&rig, "mode"), "off");
    set(&rig, VGPU_DISPI_BPP, 32);
    set(&rig, VGPU_DISPI_XRES, 640);
    set(&rig, VGPU_DISPI_YRES, 480);
    set(&rig, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_ON | VGPU_DISPI_ENABLE_LINEAR);
    assert_string_equal(attr(&rig, "mode"), "640x480");
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mode, setup, teardown),
    };

    return cmocka_run_group_tests_name("attributes of a vgpu", tests, NULL, NULL);
}
