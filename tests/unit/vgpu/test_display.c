/* SPDX-License-Identifier: BSD-3-Clause */
/* The display without umdev: registers, and pictures of every mode a guest can think of. */
#include "display.h"
#include "random.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#define VRAM ((uint64_t)1 << 20)

static void init(struct vgpu_display *display, uint64_t vram_size)
{
    const struct vgpu_edid edid = {1024, 768, vram_size, 0x12345678};

    vgpu_display_init(display, &edid);
}

static uint64_t get(struct vgpu_display *display, uint32_t offset, size_t len)
{
    uint64_t value = 0;

    vgpu_display_read(display, offset, &value, len);
    return value;
}

static void set(struct vgpu_display *display, uint32_t offset, uint64_t value, size_t len)
{
    vgpu_display_write(display, offset, &value, len);
}

static uint32_t at(unsigned index)
{
    return VGPU_REG_DISPI + 2 * index;
}

static void dispi(struct vgpu_display *display, unsigned index, uint16_t value)
{
    set(display, at(index), value, 2);
}

/* ------------------------------------------------------------------ registers */

static void test_dispi(void **state)
{
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM);
    assert_int_equal(get(&display, at(VGPU_DISPI_ID), 2), 0xb0c5);
    assert_int_equal(get(&display, at(VGPU_DISPI_MEMORY_64K), 2), 16);
    dispi(&display, VGPU_DISPI_ID, 0xb0c0);
    dispi(&display, VGPU_DISPI_MEMORY_64K, 1);
    assert_int_equal(get(&display, at(VGPU_DISPI_ID), 2), 0xb0c5);
    assert_int_equal(get(&display, at(VGPU_DISPI_MEMORY_64K), 2), 16);
    for (unsigned i = VGPU_DISPI_XRES; i <= VGPU_DISPI_Y_OFFSET; i++) {
        assert_int_equal(get(&display, at(i), 2), 0);
        dispi(&display, i, (uint16_t)(0x1110 * i));
    }
    /* ENABLE now has its CAPS bit clear: 0x4440. */
    for (unsigned i = VGPU_DISPI_XRES; i <= VGPU_DISPI_Y_OFFSET; i++)
        assert_int_equal(get(&display, at(i), 2), 0x1110 * i);
    /* By bytes, dwords, and across registers. */
    set(&display, at(VGPU_DISPI_XRES) + 1, 0xab, 1);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES), 2), 0xab10);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES) + 1, 1), 0xab);
    set(&display, at(VGPU_DISPI_XRES), 0x00200010, 4);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES), 2), 0x10);
    assert_int_equal(get(&display, at(VGPU_DISPI_YRES), 2), 0x20);
    set(&display, at(VGPU_DISPI_XRES) + 1, 0x605544332211, 6);
    assert_true(get(&display, at(VGPU_DISPI_XRES), 8) == 0x4460554433221110);
    dispi(&display, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_CAPS);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES), 2), VGPU_DISPLAY_MAX);
    assert_int_equal(get(&display, at(VGPU_DISPI_YRES), 2), VGPU_DISPLAY_MAX);
    assert_int_equal(get(&display, at(VGPU_DISPI_BPP), 2), 32);
    /* A part that is written while CAPS hides the rest does not store what it shows. */
    set(&display, at(VGPU_DISPI_XRES), 0x77, 1);
    dispi(&display, VGPU_DISPI_ENABLE, 0);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES), 2), 0x1177);
    vgpu_display_reset(&display);
    assert_int_equal(get(&display, at(VGPU_DISPI_XRES), 2), 0);
}

static void test_memory_size(void **state)
{
    struct vgpu_display display;

    (void)state;
    init(&display, (uint64_t)2 << 30);
    assert_int_equal(get(&display, at(VGPU_DISPI_MEMORY_64K), 2), 0x8000);
    init(&display, (uint64_t)4 << 30);
    assert_int_equal(get(&display, at(VGPU_DISPI_MEMORY_64K), 2), 0xffff);
    init(&display, (uint64_t)64 << 30);
    assert_int_equal(get(&display, at(VGPU_DISPI_MEMORY_64K), 2), 0xffff);
}

static void test_byte_order(void **state)
{
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM);
    assert_int_equal(get(&display, VGPU_REG_QEXT_SIZE, 4), 8);
    assert_int_equal(get(&display, VGPU_REG_BYTE_ORDER, 4), VGPU_BYTE_ORDER_LITTLE);
    set(&display, VGPU_REG_BYTE_ORDER, VGPU_BYTE_ORDER_BIG, 4);
    assert_int_equal(get(&display, VGPU_REG_BYTE_ORDER, 4), VGPU_BYTE_ORDER_BIG);
    set(&display, VGPU_REG_BYTE_ORDER, 0, 4);
    set(&display, VGPU_REG_BYTE_ORDER, 0x1e, 1);
    assert_int_equal(get(&display, VGPU_REG_BYTE_ORDER, 4), VGPU_BYTE_ORDER_BIG);
    set(&display, VGPU_REG_QEXT_SIZE, VGPU_BYTE_ORDER_LITTLE * (UINT64_C(1) << 32) + 5, 8);
    assert_true(get(&display, VGPU_REG_QEXT_SIZE, 8) == UINT64_C(0x1e1e1e1e00000008));
}

static void test_holes(void **state)
{
    uint8_t before[VGPU_DISPLAY_SIZE], after[VGPU_DISPLAY_SIZE], ones[VGPU_DISPLAY_SIZE];
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM);
    memset(ones, 0xff, sizeof(ones));
    vgpu_display_read(&display, 0, before, sizeof(before));
    vgpu_display_write(&display, 0, ones, sizeof(ones));
    vgpu_display_read(&display, 0, after, sizeof(after));
    for (uint32_t i = 0; i < VGPU_DISPLAY_SIZE; i++) {
        bool vga = i >= VGPU_REG_VGA && i < VGPU_REG_VGA + VGPU_VGA_PORTS;
        bool written = i >= VGPU_REG_DISPI && i < at(VGPU_DISPI_COUNT);

        if (!vga && !written)
            assert_int_equal(before[i], after[i]);
        if (i >= VGPU_EDID_SIZE && i < VGPU_REG_VGA)
            assert_int_equal(after[i], 0);
    }
}

static void test_vga(void **state)
{
    struct vgpu_display display;
    uint32_t vga = VGPU_REG_VGA;
    uint64_t status;

    (void)state;
    init(&display, VRAM);
    set(&display, vga + VGPU_VGA_MISC_WRITE, 0x67, 1);
    assert_int_equal(get(&display, vga + VGPU_VGA_MISC_READ, 1), 0x67);
    assert_int_equal(get(&display, vga + VGPU_VGA_MISC_WRITE, 1), 0);
    /* Index and data take turns; reading the status begins with an index again. */
    set(&display, vga + VGPU_VGA_ATTRIBUTE, 0x05, 1);
    set(&display, vga + VGPU_VGA_ATTRIBUTE, 0x3f, 1);
    assert_int_equal(get(&display, vga + VGPU_VGA_ATTRIBUTE, 1), 0x05);
    set(&display, vga + VGPU_VGA_ATTRIBUTE, 0x07, 1);
    status = get(&display, vga + VGPU_VGA_STATUS, 1);
    set(&display, vga + VGPU_VGA_ATTRIBUTE, 0x20, 1);
    assert_int_equal(get(&display, vga + VGPU_VGA_ATTRIBUTE, 1), 0x20);
    assert_int_not_equal(get(&display, vga + VGPU_VGA_STATUS, 1), status);
    /* Colours, from one to the next and around. */
    set(&display, vga + VGPU_VGA_DAC_WRITE, 255, 1);
    for (unsigned i = 0; i < 6; i++)
        set(&display, vga + VGPU_VGA_DAC_DATA, 10 + i, 1);
    assert_int_equal(get(&display, vga + VGPU_VGA_DAC_WRITE, 1), 1);
    set(&display, vga + VGPU_VGA_DAC_READ, 255, 1);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(get(&display, vga + VGPU_VGA_DAC_DATA, 1), 10 + i);
}

static void test_edid_is_in_the_registers(void **state)
{
    const struct vgpu_edid what = {1024, 768, VRAM * 16, 0x12345678};
    uint8_t edid[VGPU_EDID_SIZE], read[VGPU_EDID_SIZE];
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM * 16);
    vgpu_edid_make(&what, edid);
    for (uint32_t i = 0; i < VGPU_EDID_SIZE; i++)
        read[i] = (uint8_t)get(&display, i, 1);
    assert_memory_equal(edid, read, sizeof(edid));
}

/* ------------------------------------------------------------------ pictures */

static void set_mode(struct vgpu_display *display, unsigned width, unsigned height, unsigned bpp)
{
    dispi(display, VGPU_DISPI_XRES, (uint16_t)width);
    dispi(display, VGPU_DISPI_YRES, (uint16_t)height);
    dispi(display, VGPU_DISPI_BPP, (uint16_t)bpp);
    dispi(display, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_ON | VGPU_DISPI_ENABLE_LINEAR);
}

static void expect_pixels(const struct vgpu_display *display, const void *vram,
                          const uint32_t *expected, unsigned count)
{
    struct vgpu_mode mode;
    uint32_t pixels[16];

    assert_true(vgpu_display_mode(display, &mode));
    assert_int_equal(mode.width * mode.height, count);
    vgpu_mode_scan(&mode, vram, pixels);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pixels[i], expected[i]);
}

static void test_formats(void **state)
{
    static const uint32_t words[] = {0xff123456, 0x00abcdef};
    static const uint8_t bytes[] = {0x56, 0x34, 0x12, 0xef, 0xcd, 0xab};
    static const uint16_t r5g6b5[] = {0xf800, 0x07e0, 0x001f, 0x8410};
    static const uint16_t x1r5g5b5[] = {0xfc00, 0x03e0, 0x001f, 0x4210};
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM);
    set_mode(&display, 2, 1, 32);
    expect_pixels(&display, words, (uint32_t[]){0x123456, 0xabcdef}, 2);
    set(&display, VGPU_REG_BYTE_ORDER, VGPU_BYTE_ORDER_BIG, 4);
    expect_pixels(&display, words, (uint32_t[]){0x3412ff, 0xcdab00}, 2);
    set_mode(&display, 2, 1, 24);
    expect_pixels(&display, bytes, (uint32_t[]){0x123456, 0xabcdef}, 2);
    set_mode(&display, 1, 1, 16);
    expect_pixels(&display, (uint8_t[]){0xf8, 0x00}, (uint32_t[]){0xff0000}, 1);
    set(&display, VGPU_REG_BYTE_ORDER, VGPU_BYTE_ORDER_LITTLE, 4);
    set_mode(&display, 4, 1, 16);
    expect_pixels(&display, r5g6b5, (uint32_t[]){0xff0000, 0x00ff00, 0x0000ff, 0x848284}, 4);
    set_mode(&display, 4, 1, 15);
    expect_pixels(&display, x1r5g5b5, (uint32_t[]){0xff0000, 0x00ff00, 0x0000ff, 0x848484}, 4);
}

static void test_palette(void **state)
{
    static const uint8_t vram[] = {0, 1, 2, 255};
    struct vgpu_display display;

    (void)state;
    init(&display, VRAM);
    set(&display, VGPU_REG_VGA + VGPU_VGA_DAC_WRITE, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        set(&display, VGPU_REG_VGA + VGPU_VGA_DAC_DATA, (uint8_t[]){0x3f, 0x20, 0x01}[i], 1);
    set(&display, VGPU_REG_VGA + VGPU_VGA_DAC_WRITE, 255, 1);
    for (unsigned i = 0; i < 3; i++)
        set(&display, VGPU_REG_VGA + VGPU_VGA_DAC_DATA, 0xff, 1);
    set_mode(&display, 4, 1, 8);
    expect_pixels(&display, vram, (uint32_t[]){0, 0xff8204, 0, 0xffffff}, 4);
    dispi(&display, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_ON | VGPU_DISPI_ENABLE_8BIT);
    expect_pixels(&display, vram, (uint32_t[]){0, 0x3f2001, 0, 0xffffff}, 4);
    set(&display, VGPU_REG_VGA + VGPU_VGA_DAC_MASK, 0xfd, 1);
    expect_pixels(&display, vram, (uint32_t[]){0, 0x3f2001, 0, 0}, 4);
}

static void test_offsets(void **state)
{
    struct vgpu_display display;
    uint32_t vram[16];

    (void)state;
    for (uint32_t i = 0; i < 16; i++)
        vram[i] = i;
    init(&display, sizeof(vram));
    set_mode(&display, 2, 2, 32);
    expect_pixels(&display, vram, (uint32_t[]){0, 1, 2, 3}, 4);
    dispi(&display, VGPU_DISPI_VIRT_WIDTH, 1); /* counts as XRES */
    expect_pixels(&display, vram, (uint32_t[]){0, 1, 2, 3}, 4);
    dispi(&display, VGPU_DISPI_VIRT_WIDTH, 4);
    expect_pixels(&display, vram, (uint32_t[]){0, 1, 4, 5}, 4);
    dispi(&display, VGPU_DISPI_X_OFFSET, 2);
    dispi(&display, VGPU_DISPI_Y_OFFSET, 2);
    /* To the VRAM's last pixel, and not one further. */
    expect_pixels(&display, vram, (uint32_t[]){10, 11, 14, 15}, 4);
    dispi(&display, VGPU_DISPI_X_OFFSET, 3);
    assert_false(vgpu_display_mode(&display, &(struct vgpu_mode){0}));
}

static void test_off(void **state)
{
    struct vgpu_display display;
    struct vgpu_mode mode;

    (void)state;
    init(&display, VRAM);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, 64, 64, 32);
    assert_true(vgpu_display_mode(&display, &mode));
    set(&display, VGPU_REG_VGA + VGPU_VGA_ATTRIBUTE, 0, 1); /* blank */
    assert_false(vgpu_display_mode(&display, &mode));
    get(&display, VGPU_REG_VGA + VGPU_VGA_STATUS, 1);
    set(&display, VGPU_REG_VGA + VGPU_VGA_ATTRIBUTE, VGPU_VGA_ATTRIBUTE_SHOW, 1);
    assert_true(vgpu_display_mode(&display, &mode));
    dispi(&display, VGPU_DISPI_ENABLE, VGPU_DISPI_ENABLE_LINEAR);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, 0, 64, 32);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, 64, 0, 32);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, 64, 64, 4);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, VGPU_DISPLAY_MAX + 1, 1, 8);
    assert_false(vgpu_display_mode(&display, &mode));
    set_mode(&display, VGPU_DISPLAY_MAX, 1, 8);
    assert_true(vgpu_display_mode(&display, &mode));
    vgpu_display_reset(&display);
    assert_false(vgpu_display_mode(&display, &mode));
}

/* ------------------------------------------------------------------ what a hostile guest sets */

static uint16_t hostile_value(uint64_t *seed)
{
    switch (random_below(seed, 6)) {
    case 0:
        return (uint16_t)random_below(seed, 4);
    case 1:
        return (uint16_t)(0xffff - random_below(seed, 4));
    case 2:
        return (uint16_t)(1u << random_below(seed, 16));
    case 3:
        return (uint16_t)random_below(seed, 64);
    case 4:
        return (uint16_t)random_below(seed, 1200);
    default:
        return (uint16_t)random_next(seed);
    }
}

/*
 * The rules once more, pixel by pixel: where pixel (x, y) begins, in numbers that nothing can make
 * overflow.
 */
static unsigned __int128 reference_address(const uint16_t *regs, unsigned x, unsigned y,
                                           unsigned bytes)
{
    unsigned row = regs[VGPU_DISPI_VIRT_WIDTH] > regs[VGPU_DISPI_XRES] ? regs[VGPU_DISPI_VIRT_WIDTH]
                                                                       : regs[VGPU_DISPI_XRES];

    return (((unsigned __int128)regs[VGPU_DISPI_Y_OFFSET] + y) * row + regs[VGPU_DISPI_X_OFFSET] +
            x) *
           bytes;
}

static bool reference_on(const uint16_t *regs, uint64_t vram_size, unsigned *bytes)
{
    unsigned width = regs[VGPU_DISPI_XRES], height = regs[VGPU_DISPI_YRES];

    *bytes = (regs[VGPU_DISPI_BPP] + 7u) / 8;
    if (!(regs[VGPU_DISPI_ENABLE] & 1) || width - 1 >= 8192 || height - 1 >= 8192)
        return false;
    return reference_address(regs, width - 1, height - 1, *bytes) + *bytes <= vram_size;
}

/* The last byte of the VRAM may be shown, and not one more. */
static void test_edge(void **state)
{
    static const uint16_t formats[] = {8, 15, 16, 24, 32};
    struct vgpu_display display;
    struct vgpu_mode mode;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        unsigned bytes = (formats[i] + 7u) / 8;
        uint16_t regs[VGPU_DISPI_COUNT] = {[VGPU_DISPI_XRES] = 5, [VGPU_DISPI_YRES] = 3};
        uint64_t end;

        regs[VGPU_DISPI_VIRT_WIDTH] = 11;
        regs[VGPU_DISPI_X_OFFSET] = 4;
        regs[VGPU_DISPI_Y_OFFSET] = 7;
        end = (uint64_t)reference_address(regs, 4, 2, bytes) + bytes;
        for (unsigned more = 0; more < 3; more++) {
            init(&display, end - 1 + more);
            set_mode(&display, 5, 3, formats[i]);
            for (unsigned index = VGPU_DISPI_VIRT_WIDTH; index <= VGPU_DISPI_Y_OFFSET; index++)
                dispi(&display, index, regs[index]);
            assert_int_equal(vgpu_display_mode(&display, &mode), more > 0);
        }
    }
}

static void check_pixels(const uint16_t *regs, const struct vgpu_mode *mode, const uint8_t *vram,
                         const uint32_t *pixels, unsigned bytes)
{
    for (unsigned y = 0; y < mode->height; y++) {
        for (unsigned x = 0; x < mode->width; x++) {
            const uint8_t *pixel = vram + (uint64_t)reference_address(regs, x, y, bytes);

            if (bytes >= 3)
                assert_int_equal(pixels[(size_t)y * mode->width + x],
                                 pixel[0] | pixel[1] << 8 | pixel[2] << 16);
            else if (bytes == 1)
                assert_int_equal(pixels[(size_t)y * mode->width + x], mode->palette[*pixel]);
        }
    }
}

static void hostile_round(uint64_t *seed, const uint8_t *vram, uint64_t vram_size, unsigned *on)
{
    static const uint16_t formats[] = {8, 15, 16, 24, 32};
    uint16_t regs[VGPU_DISPI_COUNT];
    struct vgpu_display display;
    struct vgpu_mode mode;
    unsigned bytes;
    uint32_t *pixels;

    init(&display, vram_size);
    for (unsigned i = VGPU_DISPI_XRES; i <= VGPU_DISPI_Y_OFFSET; i++)
        regs[i] = hostile_value(seed);
    if (random_below(seed, 2)) /* otherwise few would be on */
        regs[VGPU_DISPI_X_OFFSET] = regs[VGPU_DISPI_Y_OFFSET] = 0;
    regs[VGPU_DISPI_BPP] = formats[random_below(seed, 5)];
    regs[VGPU_DISPI_ENABLE] |= random_below(seed, 8) != 0;
    for (unsigned i = VGPU_DISPI_XRES; i <= VGPU_DISPI_Y_OFFSET; i++)
        dispi(&display, i, regs[i]);
    assert_int_equal(vgpu_display_mode(&display, &mode), reference_on(regs, vram_size, &bytes));
    if (!vgpu_display_mode(&display, &mode))
        return;
    ++*on;
    pixels = malloc((size_t)mode.width * mode.height * sizeof(*pixels));
    assert_non_null(pixels);
    vgpu_mode_scan(&mode, vram, pixels);
    if ((uint64_t)mode.width * mode.height < 20000)
        check_pixels(regs, &mode, vram, pixels, bytes);
    free(pixels);
}

/* The VRAM is exactly as large as it says, so that a sanitizer sees every byte too many. */
static void test_hostile(void **state)
{
    uint64_t seed = random_seed();
    unsigned on = 0;

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        uint64_t size = 1 + random_below(&seed, i % 2 ? 1 << 20 : 1 << 14);
        uint8_t *vram = malloc(size);

        assert_non_null(vram);
        for (uint64_t b = 0; b < size; b++)
            vram[b] = (uint8_t)random_next(&seed);
        for (unsigned round = 0; round < 300; round++)
            hostile_round(&seed, vram, size, &on);
        free(vram);
    }
    assert_true(on > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dispi),      cmocka_unit_test(test_memory_size),
        cmocka_unit_test(test_byte_order), cmocka_unit_test(test_holes),
        cmocka_unit_test(test_vga),        cmocka_unit_test(test_edid_is_in_the_registers),
        cmocka_unit_test(test_formats),    cmocka_unit_test(test_palette),
        cmocka_unit_test(test_offsets),    cmocka_unit_test(test_off),
        cmocka_unit_test(test_edge),       cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests_name("vgpu display", tests, NULL, NULL);
}
