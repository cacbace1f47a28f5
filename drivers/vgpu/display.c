/* SPDX-License-Identifier: BSD-3-Clause */
/* The first 4 KiB of BAR2: EDID, VGA ports, dispi registers, byte order. */
#include "display.h"

#include <string.h>

#define QEXT_SIZE 8

void vgpu_display_init(struct vgpu_display *display, const struct vgpu_edid *edid)
{
    display->vram_size = edid->vram_size;
    vgpu_edid_make(edid, display->edid);
    vgpu_display_reset(display);
}

void vgpu_display_reset(struct vgpu_display *display)
{
    memset(display->dispi, 0, sizeof(display->dispi));
    display->big_endian = false;
    vgpu_vga_reset(&display->vga);
}

/* ------------------------------------------------------------------ single registers */

static uint16_t memory_64k(const struct vgpu_display *display)
{
    uint64_t units = display->vram_size >> 16;

    return units > UINT16_MAX ? UINT16_MAX : (uint16_t)units;
}

static uint16_t dispi_get(const struct vgpu_display *display, uint32_t index)
{
    bool caps = display->dispi[VGPU_DISPI_ENABLE] & VGPU_DISPI_ENABLE_CAPS;

    switch (index) {
    case VGPU_DISPI_ID:
        return VGPU_DISPI_ID_VALUE;
    case VGPU_DISPI_MEMORY_64K:
        return memory_64k(display);
    case VGPU_DISPI_XRES:
    case VGPU_DISPI_YRES:
        return caps ? VGPU_DISPLAY_MAX : display->dispi[index];
    case VGPU_DISPI_BPP:
        return caps ? 32 : display->dispi[index];
    default:
        return display->dispi[index];
    }
}

static uint32_t byte_order_get(const struct vgpu_display *display)
{
    return display->big_endian ? VGPU_BYTE_ORDER_BIG : VGPU_BYTE_ORDER_LITTLE;
}

static void byte_order_set(struct vgpu_display *display, uint32_t value)
{
    if (value == VGPU_BYTE_ORDER_BIG)
        display->big_endian = true;
    else if (value == VGPU_BYTE_ORDER_LITTLE)
        display->big_endian = false;
}

/* ------------------------------------------------------------------ accesses */

/*
 * What answers at an offset: a register's value and size there, or a single byte. A write to a part
 * of a register keeps the rest of it.
 */
struct place {
    enum { PLACE_NONE, PLACE_EDID, PLACE_VGA, PLACE_DISPI, PLACE_QEXT_SIZE, PLACE_BYTE_ORDER } kind;
    uint32_t first; /* offset of the register */
    uint32_t size;
};

static struct place place_of(uint32_t offset)
{
    if (offset < VGPU_EDID_SIZE)
        return (struct place){PLACE_EDID, offset, 1};
    if (offset >= VGPU_REG_VGA && offset < VGPU_REG_VGA + VGPU_VGA_PORTS)
        return (struct place){PLACE_VGA, offset, 1};
    if (offset >= VGPU_REG_DISPI && offset < VGPU_REG_DISPI + 2 * VGPU_DISPI_COUNT)
        return (struct place){PLACE_DISPI, offset & ~1u, 2};
    if (offset >= VGPU_REG_QEXT_SIZE && offset < VGPU_REG_QEXT_SIZE + 4)
        return (struct place){PLACE_QEXT_SIZE, VGPU_REG_QEXT_SIZE, 4};
    if (offset >= VGPU_REG_BYTE_ORDER && offset < VGPU_REG_BYTE_ORDER + 4)
        return (struct place){PLACE_BYTE_ORDER, VGPU_REG_BYTE_ORDER, 4};
    return (struct place){PLACE_NONE, offset, 1};
}

static uint32_t dispi_index(const struct place *place)
{
    return (place->first - VGPU_REG_DISPI) / 2;
}

static uint32_t place_get(struct vgpu_display *display, const struct place *place)
{
    switch (place->kind) {
    case PLACE_EDID:
        return display->edid[place->first - VGPU_REG_EDID];
    case PLACE_VGA:
        return vgpu_vga_read(&display->vga, place->first - VGPU_REG_VGA);
    case PLACE_DISPI:
        return dispi_get(display, dispi_index(place));
    case PLACE_QEXT_SIZE:
        return QEXT_SIZE;
    case PLACE_BYTE_ORDER:
        return byte_order_get(display);
    default:
        return 0;
    }
}

/* What a write to a part of a register leaves of it: reading it here has no effect. */
static uint32_t place_stored(const struct vgpu_display *display, const struct place *place)
{
    switch (place->kind) {
    case PLACE_DISPI:
        return display->dispi[dispi_index(place)];
    case PLACE_BYTE_ORDER:
        return byte_order_get(display);
    default:
        return 0;
    }
}

static void place_set(struct vgpu_display *display, const struct place *place, uint32_t value)
{
    switch (place->kind) {
    case PLACE_VGA:
        vgpu_vga_write(&display->vga, place->first - VGPU_REG_VGA, (uint8_t)value);
        break;
    case PLACE_DISPI:
        display->dispi[dispi_index(place)] = (uint16_t)value;
        break;
    case PLACE_BYTE_ORDER:
        byte_order_set(display, value);
        break;
    default:
        break;
    }
}

/* The bytes of the register at `offset` that an access of `len` bytes covers. */
static size_t covered(const struct place *place, uint32_t offset, size_t len)
{
    size_t rest = place->first + place->size - offset;

    return len < rest ? len : rest;
}

void vgpu_display_read(struct vgpu_display *display, uint32_t offset, void *buf, size_t len)
{
    uint8_t *bytes = buf;

    while (len > 0) {
        struct place place = place_of(offset);
        size_t count = covered(&place, offset, len);
        uint32_t value = place_get(display, &place) >> 8 * (offset - place.first);

        memcpy(bytes, &value, count);
        bytes += count;
        offset += (uint32_t)count;
        len -= count;
    }
}

void vgpu_display_write(struct vgpu_display *display, uint32_t offset, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;

    while (len > 0) {
        struct place place = place_of(offset);
        size_t count = covered(&place, offset, len);
        uint32_t value = place_stored(display, &place);

        memcpy((uint8_t *)&value + (offset - place.first), bytes, count);
        place_set(display, &place, value);
        bytes += count;
        offset += (uint32_t)count;
        len -= count;
    }
}
