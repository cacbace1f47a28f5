/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inner loops: pure functions of their arguments, the only code here built for speed. Their
 * arithmetic is specified to the bit in docs/vgpu.md, so they are built without contraction of
 * floating-point expressions and give the same result on every instruction set.
 */
#ifndef VGPU_KERNELS_H
#define VGPU_KERNELS_H

#include "execute.h"

/* A command that writes this many bytes or more goes past the caches, which it would only empty. */
#define VGPU_STREAM_FILL ((uint64_t)32 << 20)
#define VGPU_STREAM_COPY ((uint64_t)4 << 20)

/* `len` is a multiple of `bpp`, `ptr` aligned to it. */
void vgpu_fill_bytes(uint8_t *ptr, size_t len, unsigned bpp, uint32_t value, bool stream);
/* As memmove for dst <= src or areas that do not overlap. */
void vgpu_copy_bytes(uint8_t *dst, const uint8_t *src, size_t len, bool stream);
void vgpu_blend_pixels(uint32_t *dst, const uint32_t *src, size_t count, uint8_t alpha,
                       bool straight);

/* Iteration counts of `count` pixels of a row, the first in column `x`. */
void vgpu_mandelbrot_counts(uint32_t *counts, uint32_t count, double x0, double dx, uint32_t x,
                            double y, uint32_t max_iterations);
/* Counts to colours, in place. */
void vgpu_mandelbrot_colours(uint32_t *pixels, uint32_t count, uint32_t max_iterations);

/* c = a × b for four rows of a (`k` long) and a panel of b. */
void vgpu_matmul_panel(float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS],
                       const float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX],
                       const float b[][VGPU_PANEL_COLUMNS], uint32_t k);

/* Add a row of ARGB pixels to the sums of its columns, or take it away. */
void vgpu_blur_add(uint32_t sums[][4], const uint32_t *row, uint32_t width);
void vgpu_blur_subtract(uint32_t sums[][4], const uint32_t *row, uint32_t width);
/* A row of output from the sums of 2 × radius + 1 rows. */
void vgpu_blur_row(uint32_t *out, const uint32_t sums[][4], uint32_t width, uint32_t radius);

/* Count the values of `count` pixels of `bpp` bytes, each byte in a table of its own. */
void vgpu_count_pixels(uint32_t histogram[4][256], const void *pixels, size_t count, unsigned bpp);

void vgpu_plasma_pixels(uint32_t *pixels, uint32_t count, uint32_t x, uint32_t y, uint32_t time,
                        uint32_t scale);

#endif
