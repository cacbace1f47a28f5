/* SPDX-License-Identifier: BSD-3-Clause */
/* What the vgpu has to render, worked out pixel by pixel from its datasheet. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdint.h>

/* The plasma's pixel (x, y) of its rect. */
uint32_t reference_plasma(uint32_t x, uint32_t y, uint32_t time, uint32_t scale);
/* Iterations of z² + c from 0 before |z| exceeds 2, at most `max`. */
uint32_t reference_mandelbrot(double cr, double ci, uint32_t max);

#endif
