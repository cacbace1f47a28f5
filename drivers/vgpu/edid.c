/* SPDX-License-Identifier: BSD-3-Clause */
/* Offsets and bits are those of VESA's "Enhanced EDID Standard", release A, revision 2. */
#include "edid.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REFRESH_HZ 60

struct mode {
    uint32_t width, height;
};

/* How a standard timing names the height: by the width. */
enum { ASPECT_16_10 = 0, ASPECT_4_3, ASPECT_5_4, ASPECT_16_9 };

static const struct standard {
    struct mode mode;
    uint8_t aspect;
} standards[] = {
    {{1280, 720}, ASPECT_16_9},  {{1280, 800}, ASPECT_16_10},  {{1440, 900}, ASPECT_16_10},
    {{1280, 1024}, ASPECT_5_4},  {{1680, 1050}, ASPECT_16_10}, {{1600, 1200}, ASPECT_4_3},
    {{1920, 1080}, ASPECT_16_9}, {{1920, 1200}, ASPECT_16_10},
};

static const struct established {
    struct mode mode;
    uint8_t byte, bit;
} establisheds[] = {
    {{640, 480}, 35, 0x20}, /* every display's */
    {{800, 600}, 35, 0x01},
    {{1024, 768}, 36, 0x08},
};

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static bool fits(const struct vgpu_edid *what, struct mode mode)
{
    return (uint64_t)mode.width * mode.height * 4 <= what->vram_size;
}

/* Both tables go from the smallest to the largest. */
static struct mode preferred(const struct vgpu_edid *what)
{
    struct mode mode = {what->xres, what->yres};

    if (fits(what, mode))
        return mode;
    mode = establisheds[0].mode;
    for (size_t i = 1; i < ARRAY_SIZE(establisheds); i++)
        if (fits(what, establisheds[i].mode))
            mode = establisheds[i].mode;
    for (size_t i = 0; i < ARRAY_SIZE(standards); i++)
        if (fits(what, standards[i].mode))
            mode = standards[i].mode;
    return mode;
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* Millimetres of `pixels` at 96 a inch. */
static uint32_t millimetres(uint32_t pixels)
{
    return pixels * 254 / 960;
}

/* sRGB: the white point and the primaries, x and y in 1/1024. */
static void put_chromaticity(uint8_t *at)
{
    static const uint16_t red[] = {655, 338}, green[] = {307, 614}, blue[] = {154, 61},
                          white[] = {320, 337};

    at[0] = (uint8_t)((red[0] & 3) << 6 | (red[1] & 3) << 4 | (green[0] & 3) << 2 | (green[1] & 3));
    at[1] =
        (uint8_t)((blue[0] & 3) << 6 | (blue[1] & 3) << 4 | (white[0] & 3) << 2 | (white[1] & 3));
    for (unsigned i = 0; i < 2; i++) {
        at[2 + i] = (uint8_t)(red[i] >> 2);
        at[4 + i] = (uint8_t)(green[i] >> 2);
        at[6 + i] = (uint8_t)(blue[i] >> 2);
        at[8 + i] = (uint8_t)(white[i] >> 2);
    }
}

/*
 * A detailed timing with the reduced blanking of VESA's CVT: nothing scans the picture out, so only
 * the numbers have to make sense.
 */
static void put_detailed(uint8_t *at, struct mode mode)
{
    enum { H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_FRONT = 3, V_SYNC = 6, V_BACK = 6 };
    /* Lines in the 460 µs that the vertical blanking takes at least. */
    uint32_t v_blank = (uint32_t)((uint64_t)mode.height * 460 * REFRESH_HZ /
                                  (1000000 - UINT64_C(460) * REFRESH_HZ)) +
                       1;
    uint64_t clock_10khz;
    uint32_t width_mm = millimetres(mode.width), height_mm = millimetres(mode.height);

    if (v_blank < V_FRONT + V_SYNC + V_BACK)
        v_blank = V_FRONT + V_SYNC + V_BACK;
    clock_10khz = (uint64_t)(mode.width + H_BLANK) * (mode.height + v_blank) * REFRESH_HZ / 10000;
    /* The largest modes have fewer pictures a second: 16 bits are all there is. */
    put16(at, clock_10khz > UINT16_MAX ? UINT16_MAX : (uint32_t)clock_10khz);
    at[2] = (uint8_t)mode.width;
    at[3] = H_BLANK;
    at[4] = (uint8_t)(mode.width >> 8 << 4);
    at[5] = (uint8_t)mode.height;
    at[6] = (uint8_t)v_blank;
    at[7] = (uint8_t)(mode.height >> 8 << 4 | v_blank >> 8);
    at[8] = H_FRONT;
    at[9] = H_SYNC;
    at[10] = V_FRONT << 4 | V_SYNC;
    at[12] = (uint8_t)width_mm;
    at[13] = (uint8_t)height_mm;
    at[14] = (uint8_t)(width_mm >> 8 << 4 | height_mm >> 8);
    at[17] = 0x1a; /* separate digital syncs, horizontal positive */
}

/* A descriptor of text: ended by a newline, filled up with spaces. */
static void put_text(uint8_t *at, uint8_t tag, const char *text)
{
    size_t len = strnlen(text, 13);

    at[3] = tag;
    memset(at + 5, ' ', 13);
    memcpy(at + 5, text, len);
    if (len < 13)
        at[5 + len] = '\n';
}

static void put_modes(const struct vgpu_edid *what, uint8_t *edid)
{
    edid[establisheds[0].byte] = establisheds[0].bit;
    for (size_t i = 1; i < ARRAY_SIZE(establisheds); i++)
        if (fits(what, establisheds[i].mode))
            edid[establisheds[i].byte] |= establisheds[i].bit;
    for (size_t i = 0; i < ARRAY_SIZE(standards); i++) {
        uint8_t *at = edid + 38 + i * 2;

        put16(at, 0x0101); /* unused */
        if (fits(what, standards[i].mode)) {
            at[0] = (uint8_t)(standards[i].mode.width / 8 - 31);
            at[1] = (uint8_t)(standards[i].aspect << 6 | (REFRESH_HZ - 60));
        }
    }
}

void vgpu_edid_make(const struct vgpu_edid *what, uint8_t edid[VGPU_EDID_SIZE])
{
    static const uint8_t header[] = {0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00};
    struct mode mode = preferred(what);
    char serial[14];
    uint8_t sum = 0;

    memset(edid, 0, VGPU_EDID_SIZE);
    memcpy(edid, header, sizeof(header));
    /* The maker: three letters of 5 bits, the highest first. */
    edid[8] = ('U' - '@') << 2 | ('M' - '@') >> 3;
    edid[9] = (uint8_t)(('M' - '@') << 5 | ('D' - '@'));
    put16(edid + 10, VGPU_PCI_DEVICE);
    put16(edid + 12, what->serial);
    put16(edid + 14, what->serial >> 16);
    edid[17] = 2026 - 1990;
    edid[18] = 1;
    edid[19] = 4;
    edid[20] = 0xa0; /* digital, 8 bits a colour */
    edid[21] = (uint8_t)((millimetres(mode.width) + 5) / 10);
    edid[22] = (uint8_t)((millimetres(mode.height) + 5) / 10);
    edid[23] = 220 - 100; /* gamma 2.2 */
    edid[24] = 0x06;      /* RGB, sRGB; the preferred mode is the native one */
    put_chromaticity(edid + 25);
    put_modes(what, edid);
    put_detailed(edid + 54, mode);
    put_text(edid + 72, 0xfc, "umdev vgpu");
    snprintf(serial, sizeof(serial), "%08x", what->serial);
    put_text(edid + 90, 0xff, serial);
    edid[108 + 3] = 0x10; /* the last descriptor is not used */
    for (size_t i = 0; i < VGPU_EDID_SIZE - 1; i++)
        sum += edid[i];
    edid[VGPU_EDID_SIZE - 1] = (uint8_t)-sum;
}
