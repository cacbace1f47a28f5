/* SPDX-License-Identifier: BSD-3-Clause */
/* VM 1 renders: a Mandelbrot set by compute dispatch, and a matrix product in its own memory. */
#include "demo/demo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 1024,
    HEIGHT = 640,
    BAND = 32, /* rows a dispatch */
    ITERATIONS = 400,
    ORDER = 192, /* of the matrices */
    TIMEOUT_MS = 30000,
};

static const double centre_x = -0.743643887, centre_y = 0.131825904;

struct view {
    double x0, y0, step;
};

/* Each frame looks closer. */
static struct view view_of(unsigned frame)
{
    double step = 0.003 / WIDTH;

    for (unsigned i = 0; i < frame; i++)
        step *= 0.92;
    return (struct view){
        .x0 = centre_x - step * (0.5 * WIDTH),
        .y0 = centre_y - step * (0.5 * HEIGHT),
        .step = step,
    };
}

uint64_t scene_render_memory(const struct vm_job *job)
{
    (void)job;
    return UINT64_C(3) * ORDER * ORDER * sizeof(float) + (1 << 20);
}

/* ------------------------------------------------------------------ the GPU's part */

static int render_bands(struct scene *scene, unsigned frame)
{
    struct view view = view_of(frame);
    int ret = 0;

    for (uint32_t y = 0; !ret && y < HEIGHT; y += BAND) {
        struct vgpu_mandelbrot packet = {
            .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(packet)), VGPU_KERNEL_MANDELBROT},
            .dst = vgpu_guest_surface(VGPU_SPACE_VRAM, 0, VGPU_FORMAT_ARGB8888, WIDTH, HEIGHT),
            .rect = {.y = y, .width = WIDTH, .height = BAND},
            .x0 = view.x0,
            .y0 = view.y0 + y * view.step,
            .dx = view.step,
            .dy = view.step,
            .max_iterations = ITERATIONS,
        };

        ret = vgpu_guest_emit(&scene->guest, &packet, sizeof(packet));
        if (!ret)
            ret = vgpu_guest_finish(&scene->guest, TIMEOUT_MS);
        if (!scene->job->frames || scene->job->frames == 1)
            scene_progress(scene, y + BAND, HEIGHT);
    }
    return ret;
}

static void fill_matrix(float *matrix, unsigned seed)
{
    for (unsigned i = 0; i < ORDER * ORDER; i++)
        matrix[i] = (float)((int)(i * (seed + 7) % 23) - 11) / 4;
}

/* c = a × b where all three lie in guest memory; then the same here. The number of wrong cells. */
static int multiply(struct scene *scene, uint64_t *wrong)
{
    uint64_t size = UINT64_C(1) * ORDER * ORDER * sizeof(float), iova[3];
    uint64_t used = scene->guest.used;
    struct vgpu_surface surfaces[3];
    float *matrices[3];
    int ret;

    for (unsigned i = 0; i < 3; i++) {
        matrices[i] = vgpu_guest_alloc(&scene->guest, size, &iova[i]);
        if (!matrices[i])
            return -ENOMEM;
        surfaces[i] =
            vgpu_guest_surface(VGPU_SPACE_GUEST, iova[i], VGPU_FORMAT_RAW32, ORDER, ORDER);
    }
    fill_matrix(matrices[1], 1);
    fill_matrix(matrices[2], 2);
    struct vgpu_matmul packet = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(packet)), VGPU_KERNEL_MATMUL},
        .c = surfaces[0],
        .a = surfaces[1],
        .b = surfaces[2],
    };
    ret = vgpu_guest_emit(&scene->guest, &packet, sizeof(packet));
    if (!ret)
        ret = vgpu_guest_finish(&scene->guest, TIMEOUT_MS);
    /* The values are small multiples of 1/16: sums are exact in any order. */
    for (unsigned row = 0; !ret && row < ORDER; row++) {
        for (unsigned column = 0; column < ORDER; column++) {
            float sum = 0;

            for (unsigned k = 0; k < ORDER; k++)
                sum += matrices[1][row * ORDER + k] * matrices[2][k * ORDER + column];
            *wrong += matrices[0][row * ORDER + column] != sum;
        }
    }
    scene->guest.used = used;
    return ret;
}

int scene_render(struct scene *scene, unsigned frame, struct picture *result)
{
    uint64_t wrong = 0;
    int ret = render_bands(scene, frame);

    if (!ret && frame == 0)
        ret = multiply(scene, &wrong);
    scene->report.differences += wrong;
    return ret ? ret : scene_read_framebuffer(scene, WIDTH, HEIGHT, result);
}

/* ------------------------------------------------------------------ the reference */

/* 0 up to 255 and down again, for ever. */
static uint32_t reference_wave(uint32_t v)
{
    v %= 512;
    return v < 256 ? v : 511 - v;
}

static uint32_t reference_pixel(double cr, double ci)
{
    double zr = 0, zi = 0;
    uint32_t n = 0;

    while (n < ITERATIONS && !(zr * zr + zi * zi > 4.0)) {
        double next = (zr * zr - zi * zi) + cr;

        zi = (2.0 * zr) * zi + ci;
        zr = next;
        n++;
    }
    if (n == ITERATIONS)
        return 0xff000000u;
    return 0xff000000u | reference_wave(n * 5) << 16 | reference_wave(n * 7 + 64) << 8 |
           reference_wave(n * 11 + 128);
}

int scene_render_check(struct scene *scene, unsigned frame, const struct picture *result)
{
    struct view view = view_of(frame);

    for (uint32_t y = 0; y < HEIGHT; y++) {
        uint32_t band = y - y % BAND;
        double ci = (view.y0 + band * view.step) + (y - band) * view.step;

        for (uint32_t x = 0; x < WIDTH; x++)
            scene->report.differences += result->pixels[(size_t)y * WIDTH + x] !=
                                         reference_pixel(view.x0 + x * view.step, ci);
    }
    return 0;
}
