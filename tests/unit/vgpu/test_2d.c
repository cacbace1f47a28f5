/* SPDX-License-Identifier: BSD-3-Clause */
/* FILL, COPY and BLEND against a reference that goes pixel by pixel. */
#include "machine.h"
#include "random.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VRAM ((uint64_t)2 << 20)

/* Copies of both memories, for the reference to work on. */
struct model {
    uint8_t *vram, *guest;
};

static void model_take(struct model *model, const struct machine *machine)
{
    memcpy(model->vram, machine->vram, machine->vram_size);
    machine_peek(machine, MACHINE_IOVA, model->guest, MACHINE_USABLE);
}

static void model_check(const struct model *model, const struct machine *machine)
{
    uint8_t *guest = malloc(MACHINE_USABLE);

    assert_non_null(guest);
    machine_peek(machine, MACHINE_IOVA, guest, MACHINE_USABLE);
    assert_true(memcmp(model->vram, machine->vram, machine->vram_size) == 0);
    assert_true(memcmp(model->guest, guest, MACHINE_USABLE) == 0);
    free(guest);
}

static unsigned bpp_of(const struct vgpu_surface *surface)
{
    return (surface->format & 0xff) == VGPU_FORMAT_R8 ? 1 : 4;
}

static uint8_t *model_pixel(struct model *model, const struct vgpu_surface *surface, uint32_t x,
                            uint32_t y)
{
    uint64_t offset = (uint64_t)y * surface->pitch + (uint64_t)x * bpp_of(surface);

    if (surface->format & VGPU_SPACE_GUEST)
        return model->guest + (surface->address - MACHINE_IOVA) + offset;
    return model->vram + surface->address + offset;
}

static void model_fill(struct model *model, const struct vgpu_fill *p)
{
    for (uint32_t y = 0; y < p->rect.height; y++)
        for (uint32_t x = 0; x < p->rect.width; x++)
            memcpy(model_pixel(model, &p->dst, p->rect.x + x, p->rect.y + y), &p->value,
                   bpp_of(&p->dst));
}

/* Everything is read before anything is written: memmove in two dimensions. */
static void model_copy(struct model *model, const struct vgpu_copy *p)
{
    unsigned bpp = bpp_of(&p->dst);
    uint8_t *pixels = malloc((size_t)p->width * p->height * bpp);

    assert_non_null(pixels);
    for (uint32_t y = 0; y < p->height; y++)
        for (uint32_t x = 0; x < p->width; x++)
            memcpy(pixels + ((size_t)y * p->width + x) * bpp,
                   model_pixel(model, &p->src, p->src_x + x, p->src_y + y), bpp);
    for (uint32_t y = 0; y < p->height; y++)
        for (uint32_t x = 0; x < p->width; x++)
            memcpy(model_pixel(model, &p->dst, p->dst_x + x, p->dst_y + y),
                   pixels + ((size_t)y * p->width + x) * bpp, bpp);
    free(pixels);
}

static unsigned model_scale(unsigned a, unsigned b)
{
    return (2 * a * b + 255) / 510; /* a × b / 255 to the nearest */
}

static void model_blend(struct model *model, const struct vgpu_copy *p)
{
    bool straight = p->header.word >> 8 & VGPU_BLEND_STRAIGHT;

    for (uint32_t y = 0; y < p->height; y++) {
        for (uint32_t x = 0; x < p->width; x++) {
            const uint8_t *src = model_pixel(model, &p->src, p->src_x + x, p->src_y + y);
            uint8_t *dst = model_pixel(model, &p->dst, p->dst_x + x, p->dst_y + y);
            unsigned alpha = model_scale(src[3], p->header.arg);

            for (unsigned channel = 0; channel < 4; channel++) {
                unsigned value = src[channel];

                if (straight && channel < 3)
                    value = model_scale(value, src[3]);
                value = model_scale(value, p->header.arg);
                value += model_scale(dst[channel], 255 - alpha);
                dst[channel] = (uint8_t)(value < 255 ? value : 255);
            }
        }
    }
}

/* A surface that fits into one of the memories, often without gaps between its rows. */
static struct vgpu_surface random_surface(uint64_t *random, uint32_t format, uint32_t max_width,
                                          uint32_t max_height)
{
    struct vgpu_surface surface = {.format = format};
    unsigned bpp = bpp_of(&surface);
    uint64_t size, limit;

    if (random_below(random, 2))
        surface.format |= VGPU_SPACE_GUEST;
    limit = surface.format & VGPU_SPACE_GUEST ? MACHINE_USABLE : VRAM;
    do {
        surface.width = 1 + random_below(random, max_width);
        surface.height = 1 + random_below(random, max_height);
        surface.pitch = surface.width * bpp;
        if (random_below(random, 2))
            surface.pitch += random_below(random, 64) * bpp;
        size = (uint64_t)surface.pitch * (surface.height - 1) + (uint64_t)surface.width * bpp;
    } while (size > limit);
    surface.address = random_below(random, (uint32_t)(limit - size + 1)) / bpp * bpp;
    if (surface.format & VGPU_SPACE_GUEST)
        surface.address += MACHINE_IOVA;
    return surface;
}

static void fill_random(struct machine *machine, uint64_t *random)
{
    uint64_t *words = malloc(MACHINE_USABLE);

    assert_non_null(words);
    for (size_t i = 0; i < MACHINE_USABLE / 8; i++)
        words[i] = random_next(random);
    machine_poke(machine, MACHINE_IOVA, words, MACHINE_USABLE);
    memcpy(machine->vram, words, VRAM);
    free(words);
}

struct fixture {
    struct machine machine;
    struct model model;
    uint64_t random;
};

static void fixture_init(struct fixture *f, bool contiguous)
{
    f->random = random_seed();
    machine_init(&f->machine, VRAM, contiguous, f->random);
    f->model.vram = malloc(VRAM);
    f->model.guest = malloc(MACHINE_USABLE);
    assert_true(f->model.vram && f->model.guest);
    fill_random(&f->machine, &f->random);
}

static void fixture_free(struct fixture *f)
{
    free(f->model.vram);
    free(f->model.guest);
    machine_free(&f->machine);
}

static uint32_t random_format(uint64_t *random)
{
    return 1 + random_below(random, 3);
}

/* The size a test draws in this round: mostly small, now and then large enough for many pages. */
static uint32_t random_max(uint64_t *random)
{
    return random_below(random, 8) ? 40 : 700;
}

static void test_fill(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, false);
    for (unsigned round = 0; round < 100; round++) {
        uint32_t max = random_max(&f.random);
        struct vgpu_fill p = {
            .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(p)),
            .dst = random_surface(&f.random, random_format(&f.random), max, max),
            .value = random_below(&f.random, 2) ? 0x5a5a5a5a : (uint32_t)random_next(&f.random),
        };

        if (bpp_of(&p.dst) == 1)
            p.value &= 0xff;
        p.rect.width = 1 + random_below(&f.random, p.dst.width);
        p.rect.height = 1 + random_below(&f.random, p.dst.height);
        p.rect.x = random_below(&f.random, p.dst.width - p.rect.width + 1);
        p.rect.y = random_below(&f.random, p.dst.height - p.rect.height + 1);
        model_take(&f.model, &f.machine);
        model_fill(&f.model, &p);
        machine_do(&f.machine, &p, sizeof(p));
        model_check(&f.model, &f.machine);
    }
    fixture_free(&f);
}

/* Rectangles of one size in both surfaces. */
static void random_rects(uint64_t *random, struct vgpu_copy *p)
{
    uint32_t width = p->dst.width < p->src.width ? p->dst.width : p->src.width;
    uint32_t height = p->dst.height < p->src.height ? p->dst.height : p->src.height;

    p->width = random_below(random, 3) ? 1 + random_below(random, width) : width;
    p->height = 1 + random_below(random, height);
    p->dst_x = random_below(random, p->dst.width - p->width + 1);
    p->dst_y = random_below(random, p->dst.height - p->height + 1);
    p->src_x = random_below(random, p->src.width - p->width + 1);
    p->src_y = random_below(random, p->src.height - p->height + 1);
}

static bool overlap(const struct vgpu_copy *p)
{
    uint64_t dst = p->dst.address, src = p->src.address;

    return (p->dst.format & VGPU_SPACE_GUEST) == (p->src.format & VGPU_SPACE_GUEST) &&
           dst < src + (uint64_t)p->src.pitch * p->src.height &&
           src < dst + (uint64_t)p->dst.pitch * p->dst.height;
}

static void test_copy(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, false);
    for (unsigned round = 0; round < 150; round++) {
        uint32_t max = random_max(&f.random), format = random_format(&f.random);
        struct vgpu_copy p = {.header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(p))};

        do {
            p.dst = random_surface(&f.random, format, max, max);
            p.src = random_surface(&f.random, format, max, max);
            random_rects(&f.random, &p);
        } while (overlap(&p));
        model_take(&f.model, &f.machine);
        model_copy(&f.model, &p);
        machine_do(&f.machine, &p, sizeof(p));
        model_check(&f.model, &f.machine);
    }
    fixture_free(&f);
}

/* Within one surface, in every direction, on pages in order and scattered. */
static void copy_inside(bool contiguous)
{
    struct fixture f;

    fixture_init(&f, contiguous);
    for (unsigned round = 0; round < 200; round++) {
        uint32_t max = random_max(&f.random);
        struct vgpu_copy p = {.header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(p))};

        p.dst = random_surface(&f.random, random_format(&f.random), max, max);
        p.src = p.dst;
        random_rects(&f.random, &p);
        model_take(&f.model, &f.machine);
        model_copy(&f.model, &p);
        machine_do(&f.machine, &p, sizeof(p));
        model_check(&f.model, &f.machine);
    }
    fixture_free(&f);
}

static void test_copy_overlapping(void **state)
{
    (void)state;
    copy_inside(true);
    copy_inside(false);
}

/* Different pitches on the same memory: rows from the first down, each as memmove. */
static void test_copy_overlapping_pitches(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, true);
    for (unsigned round = 0; round < 50; round++) {
        struct vgpu_copy p = {
            .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(p)),
            .dst = {.format = VGPU_FORMAT_RAW32, .pitch = 512, .width = 100, .height = 20},
            .src = {.format = VGPU_FORMAT_RAW32, .pitch = 640, .width = 100, .height = 20},
            .width = 100,
            .height = 20,
        };

        p.dst.address = random_below(&f.random, 1000) * 4;
        p.src.address = random_below(&f.random, 1000) * 4;
        model_take(&f.model, &f.machine);
        for (uint32_t y = 0; y < p.height; y++)
            memmove(model_pixel(&f.model, &p.dst, 0, y), model_pixel(&f.model, &p.src, 0, y), 400);
        machine_do(&f.machine, &p, sizeof(p));
        model_check(&f.model, &f.machine);
    }
    fixture_free(&f);
}

static void test_blend(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, false);
    for (unsigned round = 0; round < 150; round++) {
        uint32_t max = random_max(&f.random);
        struct vgpu_copy p = {
            .header.word = VGPU_HEADER(
                VGPU_OP_BLEND, random_below(&f.random, 2) ? VGPU_BLEND_STRAIGHT : 0, sizeof(p)),
            .header.arg = random_below(&f.random, 3) ? random_below(&f.random, 256) : 255,
        };

        do {
            p.dst = random_surface(&f.random, VGPU_FORMAT_ARGB8888, max, max);
            p.src = random_surface(&f.random, VGPU_FORMAT_ARGB8888, max, max);
            random_rects(&f.random, &p);
        } while (overlap(&p));
        model_take(&f.model, &f.machine);
        model_blend(&f.model, &p);
        machine_do(&f.machine, &p, sizeof(p));
        model_check(&f.model, &f.machine);
    }
    fixture_free(&f);
}

/* Commands larger than a slice, and large enough for streaming stores: the whole of it arrives. */
static void test_slices(void **state)
{
    const uint64_t vram = (uint64_t)64 << 20, half = vram / 2;
    struct vgpu_surface low = {
        .format = VGPU_FORMAT_RAW32, .pitch = 16384, .width = 4096, .height = 2048};
    struct vgpu_surface high = low;
    struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = low,
        .rect = {0, 0, 4096, 2048},
        .value = 0x01020304,
    };
    struct vgpu_copy copy = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(copy)),
        .src = low,
        .width = 4096,
        .height = 2048,
    };
    struct machine machine;
    const uint32_t *words;
    uint64_t steps;

    (void)state;
    machine_init(&machine, vram, true, 0);
    words = (const uint32_t *)machine.vram;
    machine_do(&machine, &fill, sizeof(fill));
    assert_true(machine.steps >= half / VGPU_SLICE_BYTES);
    for (uint64_t i = 0; i < half / 4; i++)
        assert_true(words[i] == 0x01020304);
    assert_int_equal(words[half / 4], 0);
    /* The same amount of single bytes, from an odd address on. */
    fill.dst = (struct vgpu_surface){
        .format = VGPU_FORMAT_R8, .pitch = 16384, .width = 16384, .height = 2048, .address = 3};
    fill.rect = (struct vgpu_rect){0, 0, 16384, 2048};
    fill.value = 0x5a;
    machine_do(&machine, &fill, sizeof(fill));
    assert_int_equal(machine.vram[2], 2); /* of 0x01020304 */
    for (uint64_t i = 0; i < half; i++)
        assert_true(machine.vram[3 + i] == 0x5a);
    assert_int_equal(machine.vram[3 + half], 0);
    steps = machine.steps;
    for (uint64_t i = 0; i < half / 4; i++)
        ((uint32_t *)machine.vram)[i] = (uint32_t)i * 2654435761u;
    high.address = half;
    copy.dst = high;
    machine_do(&machine, &copy, sizeof(copy));
    assert_true(machine.steps - steps >= half / VGPU_SLICE_BYTES);
    assert_true(memcmp(machine.vram, machine.vram + half, half) == 0);
    /* Scroll by one row, both ways: far more than a slice, all of it overlapping. */
    copy.dst = low;
    copy.height = 2047;
    copy.dst_y = 1;
    machine_do(&machine, &copy, sizeof(copy));
    assert_true(memcmp(machine.vram + 16384, machine.vram + half, half - 16384) == 0);
    copy.dst_y = 0;
    copy.src_y = 1;
    machine_do(&machine, &copy, sizeof(copy));
    assert_true(memcmp(machine.vram, machine.vram + half, half - 16384) == 0);
    machine_free(&machine);
}

/* A rectangle whose guest memory is not all there stops with the address, and touches no more. */
static void test_faults(void **state)
{
    struct machine machine;
    struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_GUEST,
                .pitch = 4096,
                .width = 1024,
                .height = 8,
                .address = MACHINE_IOVA},
        .rect = {0, 0, 1024, 8},
        .value = 7,
    };
    uint32_t value;

    (void)state;
    machine_init(&machine, VRAM, true, 0);
    machine.guest.prot[3] = 0;
    machine_emit(&machine, &fill, sizeof(fill));
    assert_int_equal(machine_run(&machine), VGPU_STEP_FAULT);
    assert_int_equal(machine.ring.fault.code, VGPU_ERR_DMA_UNMAPPED);
    assert_true(machine.ring.fault.address == MACHINE_IOVA + 3 * MACHINE_PAGE);
    machine_peek(&machine, MACHINE_IOVA + 4 * MACHINE_PAGE, &value, sizeof(value));
    assert_int_equal(value, 0);
    machine_restart(&machine);
    machine.guest.prot[3] = UMDEV_READ;
    machine_expect(&machine, &fill, sizeof(fill), VGPU_ERR_DMA_PROTECTION);
    machine_free(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_overlapping),
        cmocka_unit_test(test_copy_overlapping_pitches),
        cmocka_unit_test(test_blend),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests_name("vgpu 2d", tests, NULL, NULL);
}
