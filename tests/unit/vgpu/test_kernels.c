/* SPDX-License-Identifier: BSD-3-Clause */
/* The compute kernels against plain references, to the bit. */
#include "machine.h"
#include "random.h"
#include "unit.h"
#include "vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VRAM ((uint64_t)4 << 20)

struct fixture {
    struct machine machine;
    uint64_t random;
};

static void fixture_init(struct fixture *f)
{
    f->random = random_seed();
    machine_init(&f->machine, VRAM, false, f->random);
}

/* Packed rows, in VRAM or in guest memory, from 1 MiB a slot. */
static struct vgpu_surface surface_in(bool guest, unsigned slot, uint32_t format, uint32_t width,
                                      uint32_t height)
{
    unsigned bpp = format == VGPU_FORMAT_R8 ? 1 : 4;

    return (struct vgpu_surface){
        .format = format | (guest ? VGPU_SPACE_GUEST : VGPU_SPACE_VRAM),
        .pitch = (width + 3) * bpp,
        .width = width,
        .height = height,
        .address = (guest ? MACHINE_IOVA : 0) + ((uint64_t)slot << 20),
    };
}

static uint64_t address_of(const struct vgpu_surface *surface, uint32_t x, uint32_t y)
{
    unsigned bpp = (surface->format & 0xff) == VGPU_FORMAT_R8 ? 1 : 4;

    return surface->address + (uint64_t)y * surface->pitch + (uint64_t)x * bpp;
}

static uint32_t pixel(const struct machine *machine, const struct vgpu_surface *surface, uint32_t x,
                      uint32_t y)
{
    uint64_t address = address_of(surface, x, y);
    size_t bpp = (surface->format & 0xff) == VGPU_FORMAT_R8 ? 1 : 4;
    uint32_t value = 0;

    if (surface->format & VGPU_SPACE_GUEST)
        machine_peek(machine, address, &value, bpp);
    else
        memcpy(&value, machine->vram + address, bpp);
    return value;
}

static void set_pixel(struct machine *machine, const struct vgpu_surface *surface, uint32_t x,
                      uint32_t y, uint32_t value)
{
    uint64_t address = address_of(surface, x, y);
    size_t bpp = (surface->format & 0xff) == VGPU_FORMAT_R8 ? 1 : 4;

    if (surface->format & VGPU_SPACE_GUEST)
        machine_poke(machine, address, &value, bpp);
    else
        memcpy(machine->vram + address, &value, bpp);
}

static void randomise(struct fixture *f, const struct vgpu_surface *surface)
{
    for (uint32_t y = 0; y < surface->height; y++)
        for (uint32_t x = 0; x < surface->width; x++)
            set_pixel(&f->machine, surface, x, y, (uint32_t)random_next(&f->random));
}

/* ------------------------------------------------------------------ Mandelbrot */

static uint32_t reference_count(double cr, double ci, uint32_t max)
{
    volatile double zr = 0, zi = 0; /* volatile: every step is rounded to a double */
    uint32_t n = 0;

    while (n < max) {
        volatile double zr2 = zr * zr, zi2 = zi * zi, sum = zr2 + zi2, twice = 2.0 * zr;
        volatile double product = twice * zi, difference = zr2 - zi2;

        if (sum > 4.0)
            break;
        zi = product + ci;
        zr = difference + cr;
        n++;
    }
    return n;
}

static uint32_t reference_triangle(uint32_t v)
{
    uint32_t low = v % 256;

    return v / 256 % 2 ? 255 - low : low;
}

static uint32_t reference_colour(uint32_t n, uint32_t max)
{
    if (n == max)
        return 0xff000000;
    return 0xff000000 + reference_triangle(n * 5) * 65536 + reference_triangle(n * 7 + 64) * 256 +
           reference_triangle(n * 11 + 128);
}

static void check_mandelbrot(struct fixture *f, const struct vgpu_mandelbrot *p)
{
    bool colours = (p->dst.format & 0xff) == VGPU_FORMAT_ARGB8888;

    machine_do(&f->machine, p, sizeof(*p));
    for (uint32_t y = 0; y < p->rect.height; y++) {
        volatile double step_y = (double)y * p->dy;

        for (uint32_t x = 0; x < p->rect.width; x++) {
            volatile double step_x = (double)x * p->dx;
            uint32_t n = reference_count(p->x0 + step_x, p->y0 + step_y, p->max_iterations);

            assert_int_equal(pixel(&f->machine, &p->dst, p->rect.x + x, p->rect.y + y),
                             colours ? reference_colour(n, p->max_iterations) : n);
        }
    }
}

static void test_mandelbrot(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (unsigned round = 0; round < 24; round++) {
        uint32_t format = round % 2 ? VGPU_FORMAT_ARGB8888 : VGPU_FORMAT_RAW32;
        double zoom = 1.0 / (1u << random_below(&f.random, 20));
        struct vgpu_mandelbrot p = {
            .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_MANDELBROT},
            .dst = surface_in(round % 3 == 0, 0, format, 101, 47),
            .rect = {3, 2, 1 + random_below(&f.random, 98), 1 + random_below(&f.random, 45)},
            .x0 = -0.74364 - zoom * 1.5,
            .y0 = 0.13182 - zoom,
            .dx = zoom * 3 / 98,
            .dy = zoom * 2 / 45,
            .max_iterations = 1 + random_below(&f.random, 300),
        };

        check_mandelbrot(&f, &p);
    }
    machine_free(&f.machine);
}

/* Inside the set every pixel takes all iterations: many slices, cut within rows. */
static void test_mandelbrot_slices(void **state)
{
    struct vgpu_mandelbrot p = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_MANDELBROT},
        .dst = surface_in(false, 0, VGPU_FORMAT_RAW32, 200, 3),
        .rect = {0, 0, 200, 3},
        .x0 = -0.1,
        .y0 = -0.1,
        .dx = 0.001,
        .dy = 0.01,
        .max_iterations = VGPU_ITERATIONS_MAX,
    };
    struct fixture f;

    (void)state;
    fixture_init(&f);
    machine_do(&f.machine, &p, sizeof(p));
    assert_true(f.machine.steps > 9);
    for (uint32_t y = 0; y < 3; y++)
        for (uint32_t x = 0; x < 200; x++)
            assert_int_equal(pixel(&f.machine, &p.dst, x, y), VGPU_ITERATIONS_MAX);
    machine_free(&f.machine);
}

/* Numbers that leave the range of a double behave as IEEE says. */
static void test_mandelbrot_extremes(void **state)
{
    static const double values[] = {1e308, -1e308, 5e-324, 0.0, -0.0, 2.0, -2.0};
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (unsigned i = 0; i < 49; i++) {
        struct vgpu_mandelbrot p = {
            .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_MANDELBROT},
            .dst = surface_in(false, 0, VGPU_FORMAT_RAW32, 9, 3),
            .rect = {0, 0, 9, 3},
            .x0 = values[i % 7],
            .y0 = values[i / 7],
            .dx = values[(i + 3) % 7],
            .dy = values[i % 5],
            .max_iterations = 20,
        };

        check_mandelbrot(&f, &p);
    }
    machine_free(&f.machine);
}

/* ------------------------------------------------------------------ matrices */

static float as_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t as_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static void randomise_floats(struct fixture *f, const struct vgpu_surface *surface)
{
    for (uint32_t y = 0; y < surface->height; y++)
        for (uint32_t x = 0; x < surface->width; x++)
            set_pixel(&f->machine, surface, x, y,
                      as_bits((float)(int32_t)random_next(&f->random) / 65536.0f));
}

static void check_matmul(struct fixture *f, uint32_t m, uint32_t n, uint32_t k, bool guest)
{
    struct vgpu_matmul p = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_MATMUL},
        .c = surface_in(guest, 0, VGPU_FORMAT_RAW32, n, m),
        .a = surface_in(!guest, 1, VGPU_FORMAT_RAW32, k, m),
        .b = surface_in(guest, 2, VGPU_FORMAT_RAW32, n, k),
    };

    randomise_floats(f, &p.a);
    randomise_floats(f, &p.b);
    machine_do(&f->machine, &p, sizeof(p));
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < n; j++) {
            volatile float sum = 0;

            for (uint32_t l = 0; l < k; l++) {
                volatile float product = as_float(pixel(&f->machine, &p.a, l, i)) *
                                         as_float(pixel(&f->machine, &p.b, j, l));

                sum = sum + product;
            }
            assert_int_equal(pixel(&f->machine, &p.c, j, i), as_bits(sum));
        }
    }
}

static void test_matmul(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    check_matmul(&f, 1, 1, 1, false);
    check_matmul(&f, 4, 64, 16, true);
    check_matmul(&f, 5, 65, 33, false);
    check_matmul(&f, 130, 129, 70, true);
    for (unsigned round = 0; round < 12; round++)
        check_matmul(&f, 1 + random_below(&f.random, 40), 1 + random_below(&f.random, 150),
                     1 + random_below(&f.random, 40), round % 2);
    machine_free(&f.machine);
}

/* ------------------------------------------------------------------ blur, histogram, plasma */

static uint32_t clamp(int64_t v, uint32_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : (uint32_t)v;
}

static uint32_t reference_blur(const uint32_t *pixels, uint32_t width, uint32_t height, uint32_t x,
                               uint32_t y, int radius)
{
    uint32_t sums[4] = {0}, count = (2 * radius + 1) * (2 * radius + 1), out = 0;

    for (int dy = -radius; dy <= radius; dy++) {
        for (int dx = -radius; dx <= radius; dx++) {
            uint32_t value = pixels[(size_t)clamp((int64_t)y + dy, height) * width +
                                    clamp((int64_t)x + dx, width)];

            for (unsigned channel = 0; channel < 4; channel++)
                sums[channel] += value >> 8 * channel & 0xff;
        }
    }
    for (unsigned channel = 0; channel < 4; channel++)
        out |= (sums[channel] + count / 2) / count << 8 * channel;
    return out;
}

static void check_blur(struct fixture *f, uint32_t width, uint32_t height, uint32_t radius,
                       bool guest, bool white)
{
    struct vgpu_blur p = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_BLUR},
        .dst = surface_in(guest, 0, VGPU_FORMAT_ARGB8888, width, height),
        .src = surface_in(!guest, 2, VGPU_FORMAT_ARGB8888, width, height),
        .radius = radius,
    };
    uint32_t *pixels = malloc((size_t)width * height * 4);

    assert_non_null(pixels);
    randomise(f, &p.src);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            if (white)
                set_pixel(&f->machine, &p.src, x, y, 0xffffffff);
            pixels[(size_t)y * width + x] = pixel(&f->machine, &p.src, x, y);
        }
    }
    machine_do(&f->machine, &p, sizeof(p));
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            assert_int_equal(pixel(&f->machine, &p.dst, x, y),
                             reference_blur(pixels, width, height, x, y, (int)radius));
    free(pixels);
}

static void test_blur(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    check_blur(&f, 1, 1, VGPU_BLUR_RADIUS_MAX, false, false);
    check_blur(&f, 5, 3, VGPU_BLUR_RADIUS_MAX, true, true);
    check_blur(&f, 70, 70, VGPU_BLUR_RADIUS_MAX, false, false);
    for (unsigned round = 0; round < 10; round++)
        check_blur(&f, 1 + random_below(&f.random, 90), 1 + random_below(&f.random, 60),
                   1 + random_below(&f.random, 5), round % 2, round == 0);
    machine_free(&f.machine);
}

/* Wide enough for several bands: each begins with the rows around it. */
static void test_blur_slices(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    check_blur(&f, 16000, 8, 1, false, false);
    check_blur(&f, 8000, 16, 1, true, false);
    assert_true(f.machine.steps > 2);
    machine_free(&f.machine);
}

static void check_histogram(struct fixture *f, uint32_t format, bool guest)
{
    unsigned channels = format == VGPU_FORMAT_R8 ? 1 : 4;
    struct vgpu_histogram p = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_HISTOGRAM},
        .src = surface_in(guest, 0, format, 123, 77),
        .rect = {5, 6, 100, 70},
        .space = guest ? VGPU_SPACE_VRAM : VGPU_SPACE_GUEST,
        .address = guest ? 0x200000 : MACHINE_IOVA + 0x200ffc,
    };
    uint32_t expected[4][256] = {{0}}, got[4][256];

    randomise(f, &p.src);
    for (uint32_t y = 0; y < 70; y++)
        for (uint32_t x = 0; x < 100; x++)
            for (unsigned channel = 0; channel < channels; channel++)
                expected[channel][pixel(&f->machine, &p.src, 5 + x, 6 + y) >> 8 * channel & 0xff]++;
    machine_do(&f->machine, &p, sizeof(p));
    if (guest)
        memcpy(got, f->machine.vram + p.address, sizeof(got[0]) * channels);
    else
        machine_peek(&f->machine, p.address, got, sizeof(got[0]) * channels);
    assert_memory_equal(got, expected, sizeof(got[0]) * channels);
}

static void test_histogram(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (unsigned round = 0; round < 4; round++)
        check_histogram(&f, round % 2 ? VGPU_FORMAT_R8 : VGPU_FORMAT_ARGB8888, round / 2);
    machine_free(&f.machine);
}

/* More pixels than a slice has: the counts survive from one to the next. */
static void test_histogram_slices(void **state)
{
    struct vgpu_histogram p = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_HISTOGRAM},
        .src = {.format = VGPU_FORMAT_R8, .pitch = 1500, .width = 1500, .height = 2000},
        .rect = {0, 0, 1500, 2000},
        .address = 3000000,
    };
    struct fixture f;
    uint32_t counts[256];

    (void)state;
    fixture_init(&f);
    memset(f.machine.vram, 9, 3000000);
    machine_do(&f.machine, &p, sizeof(p));
    assert_true(f.machine.steps > 2);
    memcpy(counts, f.machine.vram + p.address, sizeof(counts));
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(counts[i], i == 9 ? 3000000 : 0);
    machine_free(&f.machine);
}

static uint32_t reference_wave(uint32_t phase)
{
    uint32_t half = phase % 512, height = half * (512 - half) / 256;

    return phase / 512 % 2 ? 256 - height : 256 + height;
}

static uint32_t reference_level(uint32_t phase)
{
    uint32_t level = reference_wave(phase) / 2;

    return level > 255 ? 255 : level;
}

static void test_plasma(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (unsigned round = 0; round < 10; round++) {
        struct vgpu_plasma p = {
            .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(p)), VGPU_KERNEL_PLASMA},
            .dst = surface_in(round % 2, 0, VGPU_FORMAT_ARGB8888, 90, 50),
            .rect = {2, 3, 80, 40},
            .time = (uint32_t)random_next(&f.random),
            .scale = 1 + random_below(&f.random, VGPU_PLASMA_SCALE_MAX),
        };

        machine_do(&f.machine, &p, sizeof(p));
        for (uint32_t y = 0; y < 40; y++) {
            for (uint32_t x = 0; x < 80; x++) {
                uint32_t v = reference_wave(x * p.scale + p.time * 3) +
                             reference_wave(y * p.scale + p.time * 5) +
                             reference_wave((x + y) * p.scale / 2 + p.time);

                assert_int_equal(pixel(&f.machine, &p.dst, 2 + x, 3 + y),
                                 0xff000000 | reference_level(v) << 16 |
                                     reference_level(v + 341) << 8 | reference_level(v + 682));
            }
        }
    }
    machine_free(&f.machine);
}

/* ------------------------------------------------------------------ instruction sets */

/* What one table of loops makes of the same inputs. */
struct outputs {
    uint32_t premultiplied[301], straight[301], counts[301], colours[301], plasma[301];
    uint32_t sums[301][4];
    float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS];
};

static void run_vector(const struct vgpu_vector *vector, uint64_t random, struct outputs *out)
{
    static float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX], b[50][VGPU_PANEL_COLUMNS];
    uint32_t pixels[301];

    for (unsigned i = 0; i < 301; i++) {
        out->premultiplied[i] = out->straight[i] = (uint32_t)random_next(&random);
        pixels[i] = (uint32_t)random_next(&random);
    }
    for (unsigned i = 0; i < 50 * VGPU_PANEL_COLUMNS; i++)
        b[i / VGPU_PANEL_COLUMNS][i % VGPU_PANEL_COLUMNS] = (float)random_below(&random, 1000) / 7;
    for (unsigned i = 0; i < 50 * VGPU_PANEL_ROWS; i++)
        a[i % VGPU_PANEL_ROWS][i / VGPU_PANEL_ROWS] = (float)random_below(&random, 1000) / 3;
    vector->blend_premultiplied(out->premultiplied, pixels, 301, 200);
    vector->blend_straight(out->straight, pixels, 301, 100);
    vector->mandelbrot_counts(out->counts, 301, -2.0, 0.01, 5, 0.3, 203);
    memcpy(out->colours, out->counts, sizeof(out->colours));
    vector->mandelbrot_colours(out->colours, 301, 203);
    vector->plasma_pixels(out->plasma, 301, 7, 11, 13, 17);
    vector->blur_add(out->sums, pixels, 301);
    vector->blur_add(out->sums, out->straight, 301);
    vector->blur_subtract(out->sums, out->premultiplied, 301);
    vector->matmul_panel(out->c, (const float(*)[VGPU_MATMUL_MAX])a,
                         (const float(*)[VGPU_PANEL_COLUMNS])b, 50);
}

/* The other tests see the best table only: the rest must do the same. */
static void test_instruction_sets(void **state)
{
    static struct outputs first, other;
    const struct vgpu_vector *vector;
    uint64_t seed = random_seed();

    (void)state;
    memset(&first, 0, sizeof(first));
    run_vector(vgpu_vector_get(0), seed, &first);
    for (unsigned n = 1; (vector = vgpu_vector_get(n)) != NULL; n++) {
        memset(&other, 0, sizeof(other));
        run_vector(vector, seed, &other);
        assert_memory_equal(&other, &first, sizeof(first));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mandelbrot),
        cmocka_unit_test(test_mandelbrot_slices),
        cmocka_unit_test(test_mandelbrot_extremes),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_blur),
        cmocka_unit_test(test_blur_slices),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_histogram_slices),
        cmocka_unit_test(test_plasma),
        cmocka_unit_test(test_instruction_sets),
    };

    return cmocka_run_group_tests_name("vgpu kernels", tests, NULL, NULL);
}
