/* SPDX-License-Identifier: BSD-3-Clause */
/* The inner loops. */
#include "kernels.h"

#include <string.h>
#include <wchar.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * Loops that gain from wider vectors are compiled once for each instruction set and picked at load
 * time. Sanitizers run code in front of the pickers that is not ready for it yet.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(undefined_behavior_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(SANITIZED) &&                            \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTORISED
#endif

/* ------------------------------------------------------------------ 2D */

_Static_assert(sizeof(wchar_t) == sizeof(uint32_t), "wmemset fills 32-bit words");

void vgpu_fill_bytes(uint8_t *ptr, size_t len, unsigned bpp, uint32_t value)
{
    if (bpp == 1 || value == (value & 0xff) * 0x01010101u)
        memset(ptr, (int)(value & 0xff), len);
    else
        wmemset((wchar_t *)ptr, (wchar_t)value, len / 4);
}

#ifdef __SSE2__
/* Stores past the caches save reading what is overwritten. */
static void copy_stream(uint8_t *dst, const uint8_t *src, size_t len)
{
    size_t head = -(uintptr_t)dst & 63, i;

    memmove(dst, src, head);
    dst += head;
    src += head;
    len -= head;
    for (i = 0; len - i >= 64; i += 64) {
        __m128i a = _mm_loadu_si128((const __m128i *)(src + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(src + i + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(src + i + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(src + i + 48));

        _mm_stream_si128((__m128i *)(dst + i), a);
        _mm_stream_si128((__m128i *)(dst + i + 16), b);
        _mm_stream_si128((__m128i *)(dst + i + 32), c);
        _mm_stream_si128((__m128i *)(dst + i + 48), d);
    }
    _mm_sfence();
    memmove(dst + i, src + i, len - i);
}
#endif

void vgpu_copy_bytes(uint8_t *dst, const uint8_t *src, size_t len, bool stream)
{
#ifdef __SSE2__
    if (stream && len >= 4096) {
        copy_stream(dst, src, len);
        return;
    }
#else
    (void)stream;
#endif
    memmove(dst, src, len);
}

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

VECTORISED
static void blend_premultiplied(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = blend_pixel(dst[i], src[i], alpha, false);
}

VECTORISED
static void blend_straight(uint32_t *dst, const uint32_t *src, size_t count, uint32_t alpha)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = blend_pixel(dst[i], src[i], alpha, true);
}

void vgpu_blend_pixels(uint32_t *dst, const uint32_t *src, size_t count, uint8_t alpha,
                       bool straight)
{
    if (straight)
        blend_straight(dst, src, count, alpha);
    else
        blend_premultiplied(dst, src, count, alpha);
}

/* ------------------------------------------------------------------ Mandelbrot */

#define LANES  8
#define ROUNDS 8 /* iterations between two looks at whether any lane goes on */

typedef double lanes_f64 __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t lanes_i64 __attribute__((vector_size(LANES * sizeof(int64_t))));

VECTORISED
void vgpu_mandelbrot_counts(uint32_t *counts, uint32_t count, double x0, double dx, uint32_t x,
                            double y, uint32_t max_iterations)
{
    for (uint32_t first = 0; first < count; first += LANES) {
        lanes_f64 cr, zr = {0}, zi = {0};
        lanes_i64 live = {-1, -1, -1, -1, -1, -1, -1, -1}, done = {0};
        uint32_t iteration = 0;

        for (uint32_t lane = 0; lane < LANES; lane++)
            cr[lane] = x0 + (double)(x + first + lane) * dx;
        while (iteration < max_iterations) {
            uint32_t rounds = max_iterations - iteration;
            int64_t any = 0;

            rounds = rounds < ROUNDS ? rounds : ROUNDS;
            iteration += rounds;
            while (rounds--) {
                lanes_f64 zr2 = zr * zr, zi2 = zi * zi;

                /* Lanes that are out run on; what they hold no longer counts. */
                live &= ~(lanes_i64)(zr2 + zi2 > 4.0);
                done -= live;
                zi = (2.0 * zr) * zi + y;
                zr = (zr2 - zi2) + cr;
            }
            for (uint32_t lane = 0; lane < LANES; lane++)
                any |= live[lane];
            if (!any)
                break;
        }
        for (uint32_t lane = 0; lane < LANES && first + lane < count; lane++)
            counts[first + lane] = (uint32_t)done[lane];
    }
}

/* 0 to 255 and back, over and over. */
static inline uint32_t triangle(uint32_t v)
{
    return v & 256 ? 255 - (v & 255) : v & 255;
}

VECTORISED
void vgpu_mandelbrot_colours(uint32_t *pixels, uint32_t count, uint32_t max_iterations)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = pixels[i];
        uint32_t colour =
            triangle(n * 5) << 16 | triangle(n * 7 + 64) << 8 | triangle(n * 11 + 128);

        pixels[i] = 0xff000000u | (n == max_iterations ? 0 : colour);
    }
}

/* ------------------------------------------------------------------ matrices */

typedef float lanes_f32 __attribute__((vector_size(8 * sizeof(float))));

VECTORISED
void vgpu_matmul_panel(float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS],
                       const float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX],
                       const float b[][VGPU_PANEL_COLUMNS], uint32_t k)
{
    /* Four rows by sixteen columns stay in registers; each sum runs over k in order. */
    for (uint32_t column = 0; column < VGPU_PANEL_COLUMNS; column += 16) {
        lanes_f32 sum[VGPU_PANEL_ROWS][2] = {0};

        for (uint32_t i = 0; i < k; i++) {
            lanes_f32 left, right;

            memcpy(&left, &b[i][column], sizeof(left));
            memcpy(&right, &b[i][column + 8], sizeof(right));
            for (int row = 0; row < VGPU_PANEL_ROWS; row++) {
                sum[row][0] += a[row][i] * left;
                sum[row][1] += a[row][i] * right;
            }
        }
        for (int row = 0; row < VGPU_PANEL_ROWS; row++)
            memcpy(&c[row][column], sum[row], sizeof(sum[row]));
    }
}

/* ------------------------------------------------------------------ blur */

VECTORISED
void vgpu_blur_add(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++)
        for (uint32_t channel = 0; channel < 4; channel++)
            sums[x][channel] += row[x] >> 8 * channel & 0xff;
}

VECTORISED
void vgpu_blur_subtract(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++)
        for (uint32_t channel = 0; channel < 4; channel++)
            sums[x][channel] -= row[x] >> 8 * channel & 0xff;
}

void vgpu_blur_row(uint32_t *out, const uint32_t sums[][4], uint32_t width, uint32_t radius)
{
    uint32_t size = 2 * radius + 1, pixels = size * size;
    /* Exact for the sums that can occur: below 2^21, divided by less than 2^13. */
    uint64_t reciprocal = ((uint64_t)1 << 40) / pixels + 1;
    uint32_t window[4];

    for (uint32_t channel = 0; channel < 4; channel++) {
        window[channel] = (radius + 1) * sums[0][channel];
        for (uint32_t i = 1; i <= radius; i++)
            window[channel] += sums[i < width ? i : width - 1][channel];
    }
    for (uint32_t x = 0; x < width; x++) {
        const uint32_t *enter = sums[width - x > radius + 1 ? x + radius + 1 : width - 1];
        const uint32_t *leave = sums[x > radius ? x - radius : 0];
        uint32_t pixel = 0;

        for (uint32_t channel = 0; channel < 4; channel++) {
            uint32_t mean = (uint32_t)((window[channel] + pixels / 2) * reciprocal >> 40);

            pixel |= mean << 8 * channel;
            window[channel] += enter[channel] - leave[channel];
        }
        out[x] = pixel;
    }
}

/* ------------------------------------------------------------------ plasma */

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

VECTORISED
void vgpu_plasma_pixels(uint32_t *pixels, uint32_t count, uint32_t x, uint32_t y, uint32_t time,
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
