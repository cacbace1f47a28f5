/* SPDX-License-Identifier: BSD-3-Clause */
#include "display.h"

/* Retrace and display-enable bits: software may wait for either value of them. */
#define STATUS_BITS 0x09

void vgpu_vga_reset(struct vgpu_vga *vga)
{
    /* A guest that knows the dispi registers only never unblanks. */
    *vga = (struct vgpu_vga){.attribute_index = VGPU_VGA_ATTRIBUTE_SHOW, .dac_mask = 0xff};
}

/* The next part of a colour, and then the next colour. */
static uint8_t *dac_next(struct vgpu_vga *vga, uint8_t *colour, uint8_t *part)
{
    uint8_t *at = &vga->palette[*colour][*part];

    if (++*part == 3) {
        *part = 0;
        ++*colour;
    }
    return at;
}

uint8_t vgpu_vga_read(struct vgpu_vga *vga, uint32_t port)
{
    switch (port) {
    case VGPU_VGA_ATTRIBUTE:
        return vga->attribute_index;
    case VGPU_VGA_DAC_MASK:
        return vga->dac_mask;
    case VGPU_VGA_DAC_WRITE:
        return vga->dac_write;
    case VGPU_VGA_DAC_DATA:
        return *dac_next(vga, &vga->dac_read, &vga->dac_read_part);
    case VGPU_VGA_MISC_READ:
        return vga->misc;
    case VGPU_VGA_STATUS:
        vga->attribute_data = false;
        vga->status ^= STATUS_BITS;
        return vga->status;
    default:
        return 0;
    }
}

void vgpu_vga_write(struct vgpu_vga *vga, uint32_t port, uint8_t value)
{
    switch (port) {
    case VGPU_VGA_ATTRIBUTE:
        if (!vga->attribute_data)
            vga->attribute_index = value & 0x3f;
        vga->attribute_data = !vga->attribute_data;
        break;
    case VGPU_VGA_MISC_WRITE:
        vga->misc = value;
        break;
    case VGPU_VGA_DAC_MASK:
        vga->dac_mask = value;
        break;
    case VGPU_VGA_DAC_READ:
        vga->dac_read = value;
        vga->dac_read_part = 0;
        break;
    case VGPU_VGA_DAC_WRITE:
        vga->dac_write = value;
        vga->dac_write_part = 0;
        break;
    case VGPU_VGA_DAC_DATA:
        *dac_next(vga, &vga->dac_write, &vga->dac_write_part) = value;
        break;
    default:
        break;
    }
}
