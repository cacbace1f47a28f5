/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loops that gain from wide vectors, in C's vector extension. meson.build compiles this file
 * once for each instruction set, as VGPU_VECTOR; kernels.c picks one at run time. All of them give
 * the same results to the bit.
 */
#include "vector.h"

#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define CHAINS       4
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define CHAINS       2
#else
#define VECTOR_BYTES 16
#define CHAINS       2
#endif

/* ------------------------------------------------------------------ blend */

/* Two channels at once, in bits 7:0 and 23:16: a × b / 255, rounded to nearest. */
static inline uint32_t scale_pair(uint32_t pair, uint32_t by)
{
    uint32_t t = pair * by + 0x00800080u;

    return (t + (t >> 8 & 0x00ff00ffu)) >> 8 & 0x00ff00ffu;
}

/* a + b, each channel at most 255. */
static inline uint32_t add_pair(uint32_t a, uint32_t b)
{
    uint32_t sum = a + b;
    uint32_t over = sum & 0x01000100u;

    return (sum | (over - (over >> 8))) & 0x00ff00ffu;
}

static inline uint32_t blend_pixel(uint32_t dst, uint32_t src, uint32_t alpha, bool straight)
{
    uint32_t rb = src & 0x00ff00ffu, ag = src >> 8 & 0x00ff00ffu;
    uint32_t inverse;

    if (straight) {
        uint32_t a = src >> 24;

        rb = scale_pair(rb, a);
        ag = scale_pair(ag & 0xff, a) | a << 16;
    }
    rb = scale_pair(rb, alpha);
    ag = scale_pair(ag, alpha);
    inverse = 255 - (ag >> 16);
    rb = add_pair(rb, scale_pair(dst & 0x00ff00ffu, inverse));
    ag = add_pair(ag, scale_pair(dst >> 8 & 0x00ff00ffu, inverse));
    return rb | ag << 8;
}

static void blend_premultiplied(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = blend_pixel(dst[i], src[i], alpha, false);
}

static void blend_straight(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = blend_pixel(dst[i], src[i], alpha, true);
}

/* ------------------------------------------------------------------ Mandelbrot */

typedef double vec_f64 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t vec_i64 __attribute__((vector_size(VECTOR_BYTES)));

#define LANES  ((uint32_t)(VECTOR_BYTES / sizeof(double)))
#define GROUP  (CHAINS * LANES) /* pixels at a time: independent chains hide latencies */
#define ROUNDS 8                /* iterations between two looks at whether any pixel goes on */

struct group {
    vec_f64 cr[CHAINS], zr[CHAINS], zi[CHAINS];
    vec_i64 live[CHAINS], done[CHAINS]; /* live: −1 while the pixel has not escaped */
};

static bool group_lives(const struct group *group)
{
    vec_i64 any = group->live[0];
    int64_t lives = 0;

    for (int chain = 1; chain < CHAINS; chain++)
        any |= group->live[chain];
    for (uint32_t lane = 0; lane < LANES; lane++)
        lives |= any[lane];
    return lives;
}

static inline void group_iterate(struct group *group, uint32_t rounds, double ci)
{
    while (rounds--) {
        for (int chain = 0; chain < CHAINS; chain++) {
            vec_f64 zr = group->zr[chain], zi = group->zi[chain];
            vec_f64 r2 = zr * zr, i2 = zi * zi;

            /* Pixels that are out run on; what they hold no longer counts. */
            group->live[chain] &= ~(vec_i64)(r2 + i2 > 4.0);
            group->done[chain] -= group->live[chain];
            group->zi[chain] = (2.0 * zr) * zi + ci;
            group->zr[chain] = (r2 - i2) + group->cr[chain];
        }
    }
}

static void mandelbrot_counts(uint32_t *counts, uint32_t count, double x0, double dx, uint32_t x,
                              double y, uint32_t max_iterations)
{
    for (uint32_t first = 0; first < count; first += GROUP) {
        struct group group = {0};

        for (uint32_t i = 0; i < GROUP; i++)
            group.cr[i / LANES][i % LANES] = x0 + (double)(x + first + i) * dx;
        for (int chain = 0; chain < CHAINS; chain++)
            group.live[chain] = ~group.live[chain];
        for (uint32_t iteration = 0; iteration < max_iterations && group_lives(&group);
             iteration += ROUNDS) {
            uint32_t rounds = max_iterations - iteration;

            group_iterate(&group, rounds < ROUNDS ? rounds : ROUNDS, y);
        }
        for (uint32_t i = 0; i < GROUP && first + i < count; i++)
            counts[first + i] = (uint32_t)group.done[i / LANES][i % LANES];
    }
}

/* 0 to 255 and back, over and over. */
static inline uint32_t triangle(uint32_t v)
{
    return v & 256 ? 255 - (v & 255) : v & 255;
}

static void mandelbrot_colours(uint32_t *pixels, uint32_t count, uint32_t max_iterations)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = pixels[i];
        uint32_t colour =
            triangle(n * 5) << 16 | triangle(n * 7 + 64) << 8 | triangle(n * 11 + 128);

        pixels[i] = 0xff000000u | (n == max_iterations ? 0 : colour);
    }
}

/* ------------------------------------------------------------------ matrices */

typedef float vec_f32 __attribute__((vector_size(VECTOR_BYTES)));

#define COLUMNS ((uint32_t)(VECTOR_BYTES / sizeof(float)))

_Static_assert(VGPU_PANEL_COLUMNS % (2 * COLUMNS) == 0, "a panel is whole vectors");

static void matmul_panel(float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS],
                         const float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX],
                         const float b[][VGPU_PANEL_COLUMNS], uint32_t k)
{
    /* Four rows by two vectors stay in registers; each sum runs over k in order. */
    for (uint32_t column = 0; column < VGPU_PANEL_COLUMNS; column += 2 * COLUMNS) {
        vec_f32 sum[VGPU_PANEL_ROWS][2] = {0};

        for (uint32_t i = 0; i < k; i++) {
            vec_f32 left, right;

            memcpy(&left, &b[i][column], sizeof(left));
            memcpy(&right, &b[i][column + COLUMNS], sizeof(right));
            for (int row = 0; row < VGPU_PANEL_ROWS; row++) {
                sum[row][0] += a[row][i] * left;
                sum[row][1] += a[row][i] * right;
            }
        }
        for (int row = 0; row < VGPU_PANEL_ROWS; row++)
            memcpy(&c[row][column], sum[row], sizeof(sum[row]));
    }
}

/* ------------------------------------------------------------------ blur, plasma */

static void blur_add(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++)
        for (uint32_t channel = 0; channel < 4; channel++)
            sums[x][channel] += row[x] >> 8 * channel & 0xff;
}

static void blur_subtract(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++)
        for (uint32_t channel = 0; channel < 4; channel++)
            sums[x][channel] -= row[x] >> 8 * channel & 0xff;
}

/* A sine in integers, from parabolas: 1024 steps a turn, 0 to 512. */
static inline uint32_t wave(uint32_t phase)
{
    uint32_t half = phase & 511;
    uint32_t height = half * (512 - half) >> 8;

    return phase & 512 ? 256 - height : 256 + height;
}

static inline uint32_t wave_channel(uint32_t phase)
{
    uint32_t level = wave(phase) >> 1;

    return level < 255 ? level : 255;
}

static void plasma_pixels(uint32_t *pixels, uint32_t count, uint32_t x, uint32_t y, uint32_t time,
                          uint32_t scale)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t column = x + i;
        uint32_t v = wave(column * scale + 3 * time) + wave(y * scale + 5 * time) +
                     wave((column + y) * scale / 2 + time);

        pixels[i] = 0xff000000u | wave_channel(v) << 16 | wave_channel(v + 341) << 8 |
                    wave_channel(v + 682);
    }
}

const struct vgpu_vector VGPU_VECTOR = {
    .blend_premultiplied = blend_premultiplied,
    .blend_straight = blend_straight,
    .mandelbrot_counts = mandelbrot_counts,
    .mandelbrot_colours = mandelbrot_colours,
    .matmul_panel = matmul_panel,
    .blur_add = blur_add,
    .blur_subtract = blur_subtract,
    .plasma_pixels = plasma_pixels,
};
