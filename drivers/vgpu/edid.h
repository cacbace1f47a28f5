/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EDID 1.4: how the display tells a guest which modes it likes.
 *
 * One block of 128 bytes: a preferred mode as a detailed timing, smaller and larger ones as
 * established and standard timings, a name and a serial number. Modes that the VRAM can't hold at
 * 32 bits a pixel are left out.
 */
#ifndef VGPU_EDID_H
#define VGPU_EDID_H

#include "vgpu_regs.h"

struct vgpu_edid {
    uint32_t xres, yres; /* the preferred mode, VGPU_EDID_MIN_… to VGPU_EDID_MAX */
    uint64_t vram_size;
    uint32_t serial;
};

/* A detailed timing has 12 bits for each. */
#define VGPU_EDID_MAX      4095
#define VGPU_EDID_MIN_XRES 320
#define VGPU_EDID_MIN_YRES 200

/*
 * Where the VRAM is too small for the preferred mode, the largest one that fits takes its place, or
 * 640 × 480 where none does.
 */
void vgpu_edid_make(const struct vgpu_edid *what, uint8_t edid[VGPU_EDID_SIZE]);

#endif
