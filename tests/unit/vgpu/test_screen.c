/* SPDX-License-Identifier: BSD-3-Clause */
/* From a client that draws to the pixels of a screenshot, through the driver as it ships. */
#include "random.h"
#include "rig.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
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

static void write_dispi(const struct rig *rig, unsigned index, uint16_t value)
{
    assert_int_equal(umdev_client_write(rig->client, VGPU_BAR_REGS, VGPU_REG_DISPI + 2 * index,
                                        &value, sizeof(value)),
                     0);
}

static void set_mode(const struct rig *rig, uint16_t width, uint16_t height, uint16_t bpp)
{
    write_dispi(rig, VGPU_DISPI_ENABLE, 0);
    write_dispi(rig, VGPU_DISPI_BPP, bpp);
    write_dispi(rig, VGPU_DISPI_XRES, width);
    write_dispi(rig, VGPU_DISPI_YRES, height);
    write_dispi(rig, VGPU_DISPI_VIRT_WIDTH, width);
    write_dispi(rig, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_ON | VGPU_DISPI_ENABLE_LINEAR);
}

static int screenshot(const struct rig *rig, struct umdev_picture *picture)
{
    *picture = (struct umdev_picture){.struct_size = sizeof(*picture)};
    return umdev_host_screenshot(rig->host, rig->uuid, picture);
}

static void test_pixels(void **state)
{
    static const uint16_t sizes[][2] = {{1, 1}, {64, 64}, {640, 480}, {1024, 768}};
    struct umdev_picture picture;
    uint64_t seed = random_seed();
    uint32_t *vram;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_int_equal(screenshot(&rig, &picture), -ENODATA);
    assert_null(picture.pixels);
    vram = umdev_client_map_region(rig.client, VGPU_BAR_VRAM, 0, RIG_VRAM);
    assert_non_null(vram);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t count = (uint32_t)sizes[i][0] * sizes[i][1];

        for (uint32_t p = 0; p < count; p++)
            vram[p] = (uint32_t)random_next(&seed);
        set_mode(&rig, sizes[i][0], sizes[i][1], 32);
        assert_int_equal(screenshot(&rig, &picture), 0);
        assert_int_equal(picture.width, sizes[i][0]);
        assert_int_equal(picture.height, sizes[i][1]);
        for (uint32_t p = 0; p < count; p++)
            assert_int_equal(picture.pixels[p], vram[p] & 0xffffff);
        umdev_picture_free(&picture);
        assert_null(picture.pixels);
    }
    rig_free(&rig);
}

/* The screen is the device's: it stays when the client goes, and a new client's reset ends it. */
static void test_life(void **state)
{
    struct umdev_picture picture;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    set_mode(&rig, 320, 200, 32);
    assert_int_equal(umdev_client_write32(rig.client, VGPU_BAR_VRAM, 0, 0xff00ff), 0);
    rig_disconnect(&rig);
    assert_int_equal(screenshot(&rig, &picture), 0);
    assert_int_equal(picture.pixels[0], 0xff00ff);
    umdev_picture_free(&picture);
    rig_connect(&rig);
    assert_int_equal(screenshot(&rig, &picture), -ENODATA);
    set_mode(&rig, 320, 200, 16);
    assert_int_equal(screenshot(&rig, &picture), 0);
    assert_int_equal(picture.pixels[0], 0);
    umdev_picture_free(&picture);
    assert_int_equal(umdev_client_reset(rig.client), 0);
    assert_int_equal(screenshot(&rig, &picture), -ENODATA);
    rig_free(&rig);
    assert_int_equal(screenshot(&rig, &picture), -ENODEV);
}

static void test_arguments(void **state)
{
    struct umdev_picture picture = {0};
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    set_mode(&rig, 320, 200, 32);
    assert_int_equal(umdev_host_screenshot(rig.host, rig.uuid, &picture), -EINVAL);
    picture.struct_size = sizeof(picture);
    assert_int_equal(umdev_host_screenshot(rig.host, "nobody", &picture), -ENODEV);
    rig_free(&rig);
}

static void test_accesses(void **state)
{
    uint8_t all[0x1100];
    uint64_t value = 0;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, VGPU_REG_DISPI, &value, 2), 0);
    assert_int_equal(value, VGPU_DISPI_ID_VALUE);
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, 1, all, 1), 0);
    assert_int_equal(all[0], 0xff);
    assert_int_equal(umdev_client_read(rig.client, UMDEV_REGION_CONFIG, 8, all, 1), 0);
    assert_int_equal(all[0], VGPU_PCI_REVISION);
    /* Out of the display into the GPU's registers: those take whole dwords only. */
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, 0, all, sizeof(all)), 0);
    memcpy(&value, all + VGPU_REG_ID, 4);
    assert_int_equal(value, VGPU_ID);
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, 0xffe, all, 6), 0);
    memcpy(&value, all + 2, 4);
    assert_int_equal(value, VGPU_ID);
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, 0xffe, all, 4), -EINVAL);
    assert_int_equal(umdev_client_read(rig.client, VGPU_BAR_REGS, 0x1001, all, 3), -EINVAL);
    rig_free(&rig);
}

/* ------------------------------------------------------------------ at any moment */

struct watcher {
    struct rig *rig;
    atomic_bool stop;
    unsigned shown, off;
};

static void *watch(void *opaque)
{
    struct watcher *watcher = opaque;

    while (!atomic_load(&watcher->stop)) {
        struct umdev_picture picture;

        if (screenshot(watcher->rig, &picture) == 0)
            watcher->shown++;
        else
            watcher->off++;
        umdev_picture_free(&picture);
    }
    return NULL;
}

/* Modes of every kind set, one register after the other, while screenshots are taken. */
static void test_while_modes_change(void **state)
{
    struct watcher watcher = {.rig = NULL};
    uint64_t seed = random_seed();
    pthread_t thread;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    watcher.rig = &rig;
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned index = 1 + random_below(&seed, VGPU_DISPI_COUNT - 1);

        write_dispi(&rig, index, (uint16_t)(random_next(&seed) >> random_below(&seed, 16)));
        write_dispi(&rig, VGPU_DISPI_ENABLE, (uint16_t)random_below(&seed, 4));
        if (i % 8 == 0)
            set_mode(&rig, (uint16_t)(1 + random_below(&seed, 200)), 100, 32);
    }
    atomic_store(&watcher.stop, true);
    pthread_join(thread, NULL);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pixels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accesses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_while_modes_change, setup, teardown),
    };

    return cmocka_run_group_tests_name("vgpu screen", tests, NULL, NULL);
}
