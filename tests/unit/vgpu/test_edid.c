/* SPDX-License-Identifier: BSD-3-Clause */
/* EDID blocks of many preferred modes and VRAM sizes, taken apart again. */
#include "edid.h"
#include "unit.h"

#include <string.h>

struct size {
    uint32_t width, height;
};

static struct size preferred(const uint8_t *edid)
{
    const uint8_t *timing = edid + 54;

    return (struct size){timing[2] | (timing[4] & 0xf0u) << 4, timing[5] | (timing[7] & 0xf0u)
                                                                               << 4};
}

static void check_standard(const uint8_t *timing, uint64_t vram_size)
{
    static const unsigned ratios[4][2] = {{16, 10}, {4, 3}, {5, 4}, {16, 9}};
    const unsigned *ratio = ratios[timing[1] >> 6];
    uint64_t width, height;

    if (timing[0] == 1 && timing[1] == 1)
        return;
    width = (timing[0] + 31u) * 8;
    height = width * ratio[1] / ratio[0];
    assert_int_equal(timing[1] & 0x3f, 0); /* 60 Hz */
    assert_true(width >= 1280 && width <= 1920 && height >= 720 && height <= 1200);
    assert_true(width * height * 4 <= vram_size);
}

static void check_edid(const struct vgpu_edid *what)
{
    static const uint8_t header[] = {0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00};
    uint8_t edid[VGPU_EDID_SIZE], sum = 0;
    uint64_t total, clock;
    struct size size;

    memset(edid, 0xaa, sizeof(edid));
    vgpu_edid_make(what, edid);
    for (unsigned i = 0; i < VGPU_EDID_SIZE; i++)
        sum += edid[i];
    assert_int_equal(sum, 0);
    assert_memory_equal(edid, header, sizeof(header));
    assert_true(edid[18] == 1 && edid[19] == 4 && edid[126] == 0);
    assert_int_equal(edid[12] | edid[13] << 8 | edid[14] << 16 | (uint32_t)edid[15] << 24,
                     what->serial);
    assert_true(edid[35] & 0x20);
    for (unsigned i = 38; i < 54; i += 2)
        check_standard(edid + i, what->vram_size);
    size = preferred(edid);
    if ((uint64_t)what->xres * what->yres * 4 <= what->vram_size)
        assert_true(size.width == what->xres && size.height == what->yres);
    else
        assert_true((uint64_t)size.width * size.height * 4 <= what->vram_size ||
                    (size.width == 640 && size.height == 480));
    /* 60 pictures a second, or as many as the clock's field allows. */
    total = (uint64_t)(size.width + edid[57]) * (size.height + (edid[60] | (edid[61] & 0xfu) << 8));
    clock = (uint64_t)(edid[54] | edid[55] << 8) * 10000;
    assert_true((clock / total >= 59 && clock / total <= 60) || clock == 655350000);
    assert_memory_equal(edid + 72, "\0\0\0\xfc\0umdev vgpu\n  ", 18);
    assert_memory_equal(edid + 90, "\0\0\0\xff\0", 5);
    assert_memory_equal(edid + 108, "\0\0\0\x10\0", 5);
}

static void test_edid(void **state)
{
    static const struct size sizes[] = {{320, 200},   {640, 480},   {800, 600},   {1024, 768},
                                        {1366, 768},  {1920, 1080}, {2560, 1600}, {3840, 2160},
                                        {4095, 4095}, {4095, 200},  {320, 4095}};
    struct vgpu_edid what = {.serial = 0xfedcba98};

    (void)state;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned shift = 20; shift <= 36; shift++) {
            what.xres = sizes[i].width;
            what.yres = sizes[i].height;
            what.vram_size = (uint64_t)1 << shift;
            check_edid(&what);
        }
    }
}

/* Where the preferred mode does not fit: the largest that does. */
static void test_edid_small_vram(void **state)
{
    const struct vgpu_edid what = {4000, 3000, 4 << 20, 0};
    uint8_t edid[VGPU_EDID_SIZE];

    (void)state;
    vgpu_edid_make(&what, edid);
    assert_int_equal(preferred(edid).width, 1280);
    assert_int_equal(preferred(edid).height, 800);
    assert_true(edid[36] & 0x08); /* 1024 × 768 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edid),
        cmocka_unit_test(test_edid_small_vram),
    };

    return cmocka_run_group_tests_name("vgpu EDID", tests, NULL, NULL);
}
