/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The display: what a guest sets a mode with, and the picture that comes of it.
 *
 * Data model. The registers keep what the guest wrote, whatever it is: nothing is refused there.
 * Only vgpu_display_mode() makes a mode of them, once, and there everything is checked: a struct
 * vgpu_mode lies inside the VRAM with every pixel. Nothing else says where pixels are read.
 *
 * No lock here: the device's owner has one. A mode is a copy and outlives later register writes.
 */
#ifndef VGPU_DISPLAY_H
#define VGPU_DISPLAY_H

#include "edid.h"

#include <stdbool.h>
#include <stddef.h>

/* The VGA ports that matter where there is no VGA: blanking, and the palette of 8-bit modes. */
struct vgpu_vga {
    uint8_t attribute_index;
    bool attribute_data; /* the next write to ATTRIBUTE is data */
    uint8_t misc, status;
    uint8_t dac_mask;
    uint8_t dac_write, dac_read;           /* colours */
    uint8_t dac_write_part, dac_read_part; /* 0 red, 1 green, 2 blue */
    uint8_t palette[256][3];
};

struct vgpu_display {
    uint8_t edid[VGPU_EDID_SIZE];
    uint64_t vram_size;
    uint16_t dispi[VGPU_DISPI_COUNT];
    bool big_endian;
    struct vgpu_vga vga;
};

/* `edid->vram_size` is the VRAM's. All registers as after a reset. */
void vgpu_display_init(struct vgpu_display *display, const struct vgpu_edid *edid);
void vgpu_display_reset(struct vgpu_display *display);

/* [offset, offset + len) inside [0, VGPU_DISPLAY_SIZE), of any size and alignment. Reading VGA
 * ports has effects. */
void vgpu_display_read(struct vgpu_display *display, uint32_t offset, void *buf, size_t len);
void vgpu_display_write(struct vgpu_display *display, uint32_t offset, const void *buf, size_t len);

/* vga.c */
void vgpu_vga_reset(struct vgpu_vga *vga);
uint8_t vgpu_vga_read(struct vgpu_vga *vga, uint32_t port);
void vgpu_vga_write(struct vgpu_vga *vga, uint32_t port, uint8_t value);

/* scanout.c */
struct vgpu_mode {
    uint32_t width, height; /* 1 to VGPU_DISPLAY_MAX */
    uint32_t bpp;           /* 8, 15, 16, 24, 32 */
    bool big_endian;
    uint64_t offset, pitch; /* bytes */
    uint32_t palette[256];  /* XRGB8888 of each value, 8 bpp only */
};

/* False: the display is off. Off are: not enabled, blank, and a mode that can't be. */
bool vgpu_display_mode(const struct vgpu_display *display, struct vgpu_mode *mode);
/* The picture as XRGB8888 with X = 0, rows packed. Guests may draw at the same time. */
void vgpu_mode_scan(const struct vgpu_mode *mode, const uint8_t *vram, uint32_t *pixels);

#endif
