/* SPDX-License-Identifier: BSD-3-Clause */
#include "reference.h"

/* A sine by two parabolas: 1024 steps a turn, from 0 to 512. */
static uint32_t wave(uint32_t phase)
{
    uint32_t x = phase % 512;
    uint32_t arc = x * (512 - x) / 256;

    return phase % 1024 < 512 ? 256 + arc : 256 - arc;
}

static uint32_t channel(uint32_t phase)
{
    uint32_t level = wave(phase) / 2;

    return level > 255 ? 255 : level;
}

uint32_t reference_plasma(uint32_t x, uint32_t y, uint32_t time, uint32_t scale)
{
    uint32_t v =
        wave(x * scale + 3 * time) + wave(y * scale + 5 * time) + wave((x + y) * scale / 2 + time);

    return 0xff000000u | channel(v) << 16 | channel(v + 341) << 8 | channel(v + 682);
}

uint32_t reference_mandelbrot(double cr, double ci, uint32_t max)
{
    double zr = 0, zi = 0;
    uint32_t n;

    for (n = 0; n < max && zr * zr + zi * zi <= 4; n++) {
        double next = zr * zr - zi * zi + cr;

        zi = 2 * zr * zi + ci;
        zr = next;
    }
    return n;
}
