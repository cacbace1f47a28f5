/* SPDX-License-Identifier: BSD-3-Clause */
/* From registers to a checked mode, and from a mode to pixels. */
#include "display.h"

#include <string.h>

/* Bytes a pixel; 0: no such format. */
static uint32_t pixel_bytes(uint32_t bpp)
{
    switch (bpp) {
    case 8:
        return 1;
    case 15:
    case 16:
        return 2;
    case 24:
        return 3;
    case 32:
        return 4;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------ modes */

/* A colour of the DAC: 8 bits, or 6 that are spread to 8. */
static uint32_t dac_part(uint8_t value, bool eight)
{
    return eight ? value : (value & 0x3fu) << 2 | (value & 0x3fu) >> 4;
}

static void palette_make(const struct vgpu_display *display, struct vgpu_mode *mode)
{
    bool eight = display->dispi[VGPU_DISPI_ENABLE] & VGPU_DISPI_ENABLE_8BIT;

    for (unsigned i = 0; i < 256; i++) {
        const uint8_t *colour = display->vga.palette[i & display->vga.dac_mask];

        mode->palette[i] = dac_part(colour[0], eight) << 16 | dac_part(colour[1], eight) << 8 |
                           dac_part(colour[2], eight);
    }
}

bool vgpu_display_mode(const struct vgpu_display *display, struct vgpu_mode *mode)
{
    const uint16_t *dispi = display->dispi;
    uint32_t bytes = pixel_bytes(dispi[VGPU_DISPI_BPP]);
    uint32_t row = dispi[VGPU_DISPI_VIRT_WIDTH];
    uint64_t end;

    if (!(dispi[VGPU_DISPI_ENABLE] & VGPU_DISPI_ENABLE_ON) ||
        !(display->vga.attribute_index & VGPU_VGA_ATTRIBUTE_SHOW) || bytes == 0)
        return false;
    *mode = (struct vgpu_mode){
        .width = dispi[VGPU_DISPI_XRES],
        .height = dispi[VGPU_DISPI_YRES],
        .bpp = dispi[VGPU_DISPI_BPP],
        .big_endian = display->big_endian,
    };
    if (mode->width == 0 || mode->width > VGPU_DISPLAY_MAX || mode->height == 0 ||
        mode->height > VGPU_DISPLAY_MAX)
        return false;
    if (row < mode->width)
        row = mode->width;
    /* All of these have 16 bits: no sum or product comes near 64. */
    mode->pitch = (uint64_t)row * bytes;
    mode->offset =
        dispi[VGPU_DISPI_Y_OFFSET] * mode->pitch + (uint64_t)dispi[VGPU_DISPI_X_OFFSET] * bytes;
    end = mode->offset + (mode->height - 1) * mode->pitch + (uint64_t)mode->width * bytes;
    if (end > display->vram_size)
        return false;
    if (mode->bpp == 8)
        palette_make(display, mode);
    return true;
}

/* ------------------------------------------------------------------ pixels */

/* `bits` bits from `shift` on, spread to 8. */
static uint32_t spread(uint32_t value, unsigned shift, unsigned bits)
{
    uint32_t part = value >> shift & ((1u << bits) - 1);

    return part << (8 - bits) | part >> (2 * bits - 8);
}

static uint32_t pixel_16(const struct vgpu_mode *mode, uint16_t value)
{
    if (mode->big_endian)
        value = __builtin_bswap16(value);
    if (mode->bpp == 15)
        return spread(value, 10, 5) << 16 | spread(value, 5, 5) << 8 | spread(value, 0, 5);
    return spread(value, 11, 5) << 16 | spread(value, 5, 6) << 8 | spread(value, 0, 5);
}

static void scan_row_8(const struct vgpu_mode *mode, const uint8_t *row, uint32_t *pixels)
{
    for (uint32_t x = 0; x < mode->width; x++)
        pixels[x] = mode->palette[row[x]];
}

static void scan_row_16(const struct vgpu_mode *mode, const uint8_t *row, uint32_t *pixels)
{
    for (uint32_t x = 0; x < mode->width; x++) {
        uint16_t value;

        memcpy(&value, row + (size_t)x * 2, sizeof(value));
        pixels[x] = pixel_16(mode, value);
    }
}

static void scan_row_24(const struct vgpu_mode *mode, const uint8_t *row, uint32_t *pixels)
{
    for (uint32_t x = 0; x < mode->width; x++, row += 3)
        pixels[x] = (uint32_t)row[2] << 16 | (uint32_t)row[1] << 8 | row[0];
}

static void scan_row_32(const struct vgpu_mode *mode, const uint8_t *row, uint32_t *pixels)
{
    for (uint32_t x = 0; x < mode->width; x++) {
        uint32_t value;

        memcpy(&value, row + (size_t)x * 4, sizeof(value));
        pixels[x] = (mode->big_endian ? __builtin_bswap32(value) : value) & 0xffffff;
    }
}

void vgpu_mode_scan(const struct vgpu_mode *mode, const uint8_t *vram, uint32_t *pixels)
{
    for (uint32_t y = 0; y < mode->height; y++, pixels += mode->width) {
        const uint8_t *row = vram + mode->offset + y * mode->pitch;

        switch (mode->bpp) {
        case 8:
            scan_row_8(mode, row, pixels);
            break;
        case 15:
        case 16:
            scan_row_16(mode, row, pixels);
            break;
        case 24:
            scan_row_24(mode, row, pixels);
            break;
        default:
            scan_row_32(mode, row, pixels);
            break;
        }
    }
}
