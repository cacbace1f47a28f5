/* SPDX-License-Identifier: BSD-3-Clause */
/* The vectorised loops, a table for each instruction set they were compiled for (kernels.h). */
#ifndef VGPU_VECTOR_H
#define VGPU_VECTOR_H

#include "execute.h"

struct vgpu_vector {
    void (*blend_premultiplied)(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha);
    void (*blend_straight)(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha);
    void (*mandelbrot_counts)(uint32_t *counts, uint32_t count, double x0, double dx, uint32_t x,
                              double y, uint32_t max_iterations);
    void (*mandelbrot_colours)(uint32_t *pixels, uint32_t count, uint32_t max_iterations);
    void (*matmul_panel)(float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS],
                         const float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX],
                         const float b[][VGPU_PANEL_COLUMNS], uint32_t k);
    void (*blur_add)(uint32_t sums[][4], const uint32_t *row, uint32_t width);
    void (*blur_subtract)(uint32_t sums[][4], const uint32_t *row, uint32_t width);
    void (*plasma_pixels)(uint32_t *pixels, uint32_t count, uint32_t x, uint32_t y, uint32_t time,
                          uint32_t scale);
};

extern const struct vgpu_vector vgpu_vector_base;
extern const struct vgpu_vector vgpu_vector_avx2;   /* x86-64 only */
extern const struct vgpu_vector vgpu_vector_avx512; /* x86-64 only */

/* The `n`-th table that this processor can run, the best first; NULL: no more. */
const struct vgpu_vector *vgpu_vector_get(unsigned n);

#endif
