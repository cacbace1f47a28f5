/* SPDX-License-Identifier: BSD-3-Clause */
/* The inner loops: those that need no vectors, and the choice of those that do. */
#include "kernels.h"
#include "vector.h"

#include <string.h>
#include <wchar.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ------------------------------------------------------------------ the choice */

const struct vgpu_vector *vgpu_vector_get(unsigned n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && n-- == 0)
        return &vgpu_vector_avx512;
    if (__builtin_cpu_supports("avx2") && n-- == 0)
        return &vgpu_vector_avx2;
#endif
    return n == 0 ? &vgpu_vector_base : NULL;
}

static const struct vgpu_vector *best(void)
{
    return vgpu_vector_get(0);
}

void vgpu_blend_pixels(uint32_t *dst, const uint32_t *src, size_t count, uint8_t alpha,
                       bool straight)
{
    if (straight)
        best()->blend_straight(dst, src, count, alpha);
    else
        best()->blend_premultiplied(dst, src, count, alpha);
}

void vgpu_mandelbrot_counts(uint32_t *counts, uint32_t count, double x0, double dx, uint32_t x,
                            double y, uint32_t max_iterations)
{
    best()->mandelbrot_counts(counts, count, x0, dx, x, y, max_iterations);
}

void vgpu_mandelbrot_colours(uint32_t *pixels, uint32_t count, uint32_t max_iterations)
{
    best()->mandelbrot_colours(pixels, count, max_iterations);
}

void vgpu_matmul_panel(float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS],
                       const float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX],
                       const float b[][VGPU_PANEL_COLUMNS], uint32_t k)
{
    best()->matmul_panel(c, a, b, k);
}

void vgpu_blur_add(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    best()->blur_add(sums, row, width);
}

void vgpu_blur_subtract(uint32_t sums[][4], const uint32_t *row, uint32_t width)
{
    best()->blur_subtract(sums, row, width);
}

void vgpu_plasma_pixels(uint32_t *pixels, uint32_t count, uint32_t x, uint32_t y, uint32_t time,
                        uint32_t scale)
{
    best()->plasma_pixels(pixels, count, x, y, time, scale);
}

/* ------------------------------------------------------------------ fill, copy */

_Static_assert(sizeof(wchar_t) == sizeof(uint32_t), "wmemset fills 32-bit words");

/* Shorter pieces are not worth the detour. */
#define STREAM_PIECE 4096

static void fill_cached(uint8_t *ptr, size_t len, unsigned bpp, uint32_t value)
{
    if (bpp == 1 || value == (value & 0xff) * 0x01010101u)
        memset(ptr, (int)(value & 0xff), len);
    else
        wmemset((wchar_t *)ptr, (wchar_t)value, len / 4);
}

#ifdef __SSE2__
/* Stores past the caches save reading what is overwritten. */
static void fill_stream(uint8_t *ptr, size_t len, unsigned bpp, uint32_t value)
{
    const __m128i words = _mm_set1_epi32((int)(bpp == 1 ? value * 0x01010101u : value));
    size_t head = -(uintptr_t)ptr & 63, i;

    fill_cached(ptr, head, bpp, value);
    ptr += head;
    len -= head;
    for (i = 0; len - i >= 64; i += 64) {
        _mm_stream_si128((__m128i *)(ptr + i), words);
        _mm_stream_si128((__m128i *)(ptr + i + 16), words);
        _mm_stream_si128((__m128i *)(ptr + i + 32), words);
        _mm_stream_si128((__m128i *)(ptr + i + 48), words);
    }
    _mm_sfence();
    fill_cached(ptr + i, len - i, bpp, value);
}

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
#else
#define fill_stream fill_cached
#define copy_stream memmove
#endif

void vgpu_fill_bytes(uint8_t *ptr, size_t len, unsigned bpp, uint32_t value, bool stream)
{
    if (stream && len >= STREAM_PIECE)
        fill_stream(ptr, len, bpp, value);
    else
        fill_cached(ptr, len, bpp, value);
}

void vgpu_copy_bytes(uint8_t *dst, const uint8_t *src, size_t len, bool stream)
{
    if (stream && len >= STREAM_PIECE)
        copy_stream(dst, src, len);
    else
        memmove(dst, src, len);
}

/* ------------------------------------------------------------------ blur, histogram */

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

void vgpu_count_pixels(uint32_t histogram[4][256], const void *pixels, size_t count, unsigned bpp)
{
    const uint8_t *bytes = pixels;

    if (bpp == 1) {
        for (size_t i = 0; i < count; i++)
            histogram[0][bytes[i]]++;
        return;
    }
    for (size_t i = 0; i < count; i++, bytes += 4) {
        histogram[0][bytes[0]]++;
        histogram[1][bytes[1]]++;
        histogram[2][bytes[2]]++;
        histogram[3][bytes[3]]++;
    }
}
