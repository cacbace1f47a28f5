/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VM 2 composes: a picture with a shadow, its reflection, and cut-outs beside it, by fills, copies
 * and blends.
 *
 * The composition is written once, in terms of a painter. One painter emits the GPU's packets, the
 * other paints with the plainest code on the CPU: the reference.
 */
#include "demo/demo.h"
#include "demo/landscape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 960,
    HEIGHT = 600,
    MARGIN = 32,
    PICTURE_WIDTH = 640, /* at most; larger pictures are cut to their middle */
    PICTURE_HEIGHT = 400,
    REFLECTION = 96,
    CUT_WIDTH = 192,
    CUT_HEIGHT = 112,
    SHADOW = 24,
    TILE = 80,
    TIMEOUT_MS = 30000,
};

/* What can be painted with and on. */
enum layer {
    SCREEN,
    PICTURE,
    SHADE, /* a soft black patch, straight alpha */
    LAYERS,
};

struct painter {
    int (*fill)(struct painter *painter, struct vgpu_rect rect, uint32_t value);
    int (*copy)(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                uint32_t y);
    int (*blend)(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                 uint32_t y, uint32_t alpha);
    struct scene *scene;                  /* the GPU's */
    struct vgpu_surface surfaces[LAYERS]; /* … */
    struct picture layers[LAYERS];        /* the CPU's */
};

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------ the composition */

static int compose_background(struct painter *painter)
{
    int ret = 0;

    for (uint32_t y = 0; !ret && y < HEIGHT; y += 8) {
        uint32_t shade = 34 + y * 60 / HEIGHT;

        ret = painter->fill(painter, (struct vgpu_rect){0, y, WIDTH, 8},
                            0xff000000u | shade << 16 | shade << 8 | (shade + 14));
    }
    return ret;
}

/* The picture in tiles, as a compositor sends them. */
static int compose_picture(struct painter *painter, struct vgpu_rect part)
{
    int ret = painter->blend(painter, SHADE,
                             (struct vgpu_rect){0, 0, part.width + SHADOW, part.height + SHADOW},
                             MARGIN, MARGIN, 200);

    for (uint32_t y = 0; !ret && y < part.height; y += TILE) {
        for (uint32_t x = 0; !ret && x < part.width; x += TILE) {
            struct vgpu_rect tile = {part.x + x, part.y + y, smaller(TILE, part.width - x),
                                     smaller(TILE, part.height - y)};

            ret = painter->copy(painter, PICTURE, tile, MARGIN + x, MARGIN + y);
        }
    }
    return ret;
}

/* The picture's last rows upside down, fading. */
static int compose_reflection(struct painter *painter, struct vgpu_rect part)
{
    uint32_t rows = smaller(REFLECTION, part.height);
    int ret = 0;

    for (uint32_t row = 0; !ret && row < rows; row++) {
        struct vgpu_rect line = {part.x, part.y + part.height - 1 - row, part.width, 1};

        ret = painter->blend(painter, PICTURE, line, MARGIN, MARGIN + part.height + 6 + row,
                             110 - 110 * row / rows);
    }
    return ret;
}

/* Cut-outs, one under the other, each fainter than the one above. */
static int compose_cuts(struct painter *painter, struct vgpu_rect part)
{
    struct vgpu_rect cut = {.width = smaller(CUT_WIDTH, part.width),
                            .height = smaller(CUT_HEIGHT, part.height)};
    int ret = 0;

    for (uint32_t i = 0; !ret && i < 4; i++) {
        uint32_t x = WIDTH - MARGIN - CUT_WIDTH, y = MARGIN + i * (CUT_HEIGHT + 20);

        cut.x = part.x + (part.width - cut.width) * i / 3;
        cut.y = part.y + (part.height - cut.height) * (i % 2);
        ret = painter->blend(painter, PICTURE, cut, x, y, 255 - 48 * i);
    }
    return ret;
}

/* Frame after frame the picture's window scrolls: a copy of the screen onto itself. */
static int compose_scroll(struct painter *painter, struct vgpu_rect part, unsigned frame)
{
    uint32_t by = 1 + frame % 8;

    if (!frame || part.height <= by)
        return 0;
    return painter->copy(painter, SCREEN,
                         (struct vgpu_rect){MARGIN, MARGIN, part.width, part.height - by}, MARGIN,
                         MARGIN + by);
}

static int compose(struct painter *painter, const struct picture *picture, unsigned frame)
{
    struct vgpu_rect part = {.width = smaller(picture->width, PICTURE_WIDTH),
                             .height = smaller(picture->height, PICTURE_HEIGHT)};
    int ret = compose_background(painter);

    part.x = (picture->width - part.width) / 2;
    part.y = (picture->height - part.height) / 2;
    if (!ret)
        ret = compose_picture(painter, part);
    if (!ret)
        ret = compose_reflection(painter, part);
    if (!ret)
        ret = compose_cuts(painter, part);
    return ret ? ret : compose_scroll(painter, part, frame);
}

/* ------------------------------------------------------------------ the GPU paints */

static int gpu_fill(struct painter *painter, struct vgpu_rect rect, uint32_t value)
{
    struct vgpu_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
        .dst = painter->surfaces[SCREEN],
        .rect = rect,
        .value = value,
    };

    return vgpu_guest_emit(&painter->scene->guest, &packet, sizeof(packet));
}

static int gpu_transfer(struct painter *painter, uint32_t word, uint32_t arg, enum layer from,
                        struct vgpu_rect source, uint32_t x, uint32_t y)
{
    struct vgpu_copy packet = {
        .header = {word, arg},
        .dst = painter->surfaces[SCREEN],
        .src = painter->surfaces[from],
        .dst_x = x,
        .dst_y = y,
        .src_x = source.x,
        .src_y = source.y,
        .width = source.width,
        .height = source.height,
    };

    return vgpu_guest_emit(&painter->scene->guest, &packet, sizeof(packet));
}

static int gpu_copy(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                    uint32_t y)
{
    return gpu_transfer(painter, VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(struct vgpu_copy)), 0, from,
                        source, x, y);
}

static int gpu_blend(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                     uint32_t y, uint32_t alpha)
{
    return gpu_transfer(painter,
                        VGPU_HEADER(VGPU_OP_BLEND, VGPU_BLEND_STRAIGHT, sizeof(struct vgpu_copy)),
                        alpha, from, source, x, y);
}

/* ------------------------------------------------------------------ the CPU paints */

static uint32_t *cpu_pixel(struct painter *painter, enum layer layer, uint32_t x, uint32_t y)
{
    return &painter->layers[layer].pixels[(size_t)y * painter->layers[layer].width + x];
}

static int cpu_fill(struct painter *painter, struct vgpu_rect rect, uint32_t value)
{
    for (uint32_t y = 0; y < rect.height; y++)
        for (uint32_t x = 0; x < rect.width; x++)
            *cpu_pixel(painter, SCREEN, rect.x + x, rect.y + y) = value;
    return 0;
}

static int cpu_copy(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                    uint32_t y)
{
    struct picture part;

    if (picture_new(source.width, source.height, &part))
        return -ENOMEM;
    for (uint32_t row = 0; row < source.height; row++)
        for (uint32_t column = 0; column < source.width; column++)
            part.pixels[row * source.width + column] =
                *cpu_pixel(painter, from, source.x + column, source.y + row);
    for (uint32_t row = 0; row < source.height; row++)
        for (uint32_t column = 0; column < source.width; column++)
            *cpu_pixel(painter, SCREEN, x + column, y + row) =
                part.pixels[row * source.width + column];
    picture_free(&part);
    return 0;
}

/* a × b / 255 to the nearest integer. */
static uint32_t scaled(uint32_t a, uint32_t b)
{
    return (2 * a * b + 255) / 510;
}

static uint32_t cpu_blend_pixel(uint32_t below, uint32_t above, uint32_t alpha)
{
    uint32_t coverage = above >> 24, result = 0;
    uint32_t keep = 255 - scaled(coverage, alpha);

    for (unsigned shift = 0; shift < 32; shift += 8) {
        uint32_t channel = above >> shift & 0xff;
        uint32_t premultiplied = shift == 24 ? channel : scaled(channel, coverage);

        result |= smaller(255, scaled(premultiplied, alpha) + scaled(below >> shift & 0xff, keep))
                  << shift;
    }
    return result;
}

static int cpu_blend(struct painter *painter, enum layer from, struct vgpu_rect source, uint32_t x,
                     uint32_t y, uint32_t alpha)
{
    for (uint32_t row = 0; row < source.height; row++) {
        for (uint32_t column = 0; column < source.width; column++) {
            uint32_t *below = cpu_pixel(painter, SCREEN, x + column, y + row);

            *below = cpu_blend_pixel(
                *below, *cpu_pixel(painter, from, source.x + column, source.y + row), alpha);
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ the scene */

/* Darkest in the middle, nothing at the rim. */
static int make_shade(struct picture *shade)
{
    int ret = picture_new(PICTURE_WIDTH + SHADOW, PICTURE_HEIGHT + SHADOW, shade);

    for (uint32_t y = 0; !ret && y < shade->height; y++) {
        for (uint32_t x = 0; x < shade->width; x++) {
            uint32_t rim =
                smaller(smaller(x, shade->width - 1 - x), smaller(y, shade->height - 1 - y));

            shade->pixels[(size_t)y * shade->width + x] = smaller(rim, SHADOW) * 8 << 24;
        }
    }
    return ret;
}

static int load_picture(struct scene *scene, struct picture *picture)
{
    if (scene->job->image)
        return picture_read(scene->job->image, picture, &scene->error);
    return landscape_make(PICTURE_WIDTH, PICTURE_HEIGHT, picture);
}

uint64_t scene_compose_memory(const struct vm_job *job)
{
    uint64_t picture = job->image ? UINT64_C(4) * PICTURE_MAX * PICTURE_MAX
                                  : UINT64_C(4) * PICTURE_WIDTH * PICTURE_HEIGHT;

    return picture + UINT64_C(4) * (PICTURE_WIDTH + SHADOW) * (PICTURE_HEIGHT + SHADOW) + (1 << 20);
}

/* Put a picture into guest memory, where the GPU fetches it by DMA. */
static int upload(struct scene *scene, const struct picture *picture, struct vgpu_surface *surface)
{
    uint64_t size = UINT64_C(4) * picture->width * picture->height, iova;
    void *memory = vgpu_guest_alloc(&scene->guest, size, &iova);

    if (!memory)
        return -ENOMEM;
    memcpy(memory, picture->pixels, size);
    *surface = vgpu_guest_surface(VGPU_SPACE_GUEST, iova, VGPU_FORMAT_ARGB8888, picture->width,
                                  picture->height);
    return 0;
}

static int load_layers(struct scene *scene, struct painter *painter)
{
    int ret = load_picture(scene, &painter->layers[PICTURE]);

    return ret ? ret : make_shade(&painter->layers[SHADE]);
}

static void free_layers(struct painter *painter)
{
    for (unsigned i = 0; i < LAYERS; i++)
        picture_free(&painter->layers[i]);
}

int scene_compose(struct scene *scene, unsigned frame, struct picture *result)
{
    struct painter painter = {gpu_fill, gpu_copy, gpu_blend, .scene = scene};
    uint64_t used = scene->guest.used;
    int ret = load_layers(scene, &painter);

    painter.surfaces[SCREEN] =
        vgpu_guest_surface(VGPU_SPACE_VRAM, 0, VGPU_FORMAT_ARGB8888, WIDTH, HEIGHT);
    for (unsigned i = PICTURE; !ret && i < LAYERS; i++)
        ret = upload(scene, &painter.layers[i], &painter.surfaces[i]);
    if (!ret)
        ret = compose(&painter, &painter.layers[PICTURE], frame);
    if (!ret)
        ret = vgpu_guest_finish(&scene->guest, TIMEOUT_MS);
    scene->guest.used = used;
    free_layers(&painter);
    if (scene->job->frames == 1)
        scene_progress(scene, 1, 1);
    return ret ? ret : scene_read_framebuffer(scene, WIDTH, HEIGHT, result);
}

int scene_compose_check(struct scene *scene, unsigned frame, const struct picture *result)
{
    struct painter painter = {cpu_fill, cpu_copy, cpu_blend, .scene = scene};
    int ret = load_layers(scene, &painter);

    if (!ret)
        ret = picture_new(WIDTH, HEIGHT, &painter.layers[SCREEN]);
    if (!ret)
        ret = compose(&painter, &painter.layers[PICTURE], frame);
    if (!ret)
        scene->report.differences += picture_differences(&painter.layers[SCREEN], result);
    free_layers(&painter);
    return ret;
}
