/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets: what is refused, why and where; and that nothing unsafe is ever let through. */
#include "machine.h"
#include "random.h"
#include "unit.h"

#include <math.h>
#include <string.h>

#define VRAM ((uint64_t)1 << 20)

#define ENTRIES 64u

/* A page of VRAM beyond the first MiB is there: the third of four. */
static uint64_t allocated[] = {1 << 2};
static struct vgpu_vram vram = {.share = VRAM, .size = VRAM + 4 * VGPU_PAGE, .pages = allocated};
static struct vgpu_ggtt ggtt = {.count = ENTRIES, .vram = &vram};
static struct vgpu_ppgtt no_tables;
static const struct vgpu_memory memory = {.vram = &vram, .ggtt = &ggtt, .ppgtt = &no_tables};

static const struct vgpu_surface picture = {
    .format = VGPU_FORMAT_ARGB8888, .pitch = 256, .width = 64, .height = 32, .address = 4096};
static const struct vgpu_surface picture_2 = {
    .format = VGPU_FORMAT_ARGB8888, .pitch = 256, .width = 64, .height = 32, .address = 65536};
static const struct vgpu_surface matrix = {
    .format = VGPU_FORMAT_RAW32, .pitch = 64, .width = 16, .height = 16, .address = 0};

/* A packet of any kind, large enough to be fetched whole. */
union packet {
    struct vgpu_header header;
    struct vgpu_fill fill;
    struct vgpu_copy copy;
    struct vgpu_fence fence;
    struct vgpu_batch batch;
    struct vgpu_mandelbrot mandelbrot;
    struct vgpu_matmul matmul;
    struct vgpu_blur blur;
    struct vgpu_histogram histogram;
    struct vgpu_plasma plasma;
    struct vgpu_ggtt_fill ggtt_fill;
    struct vgpu_ggtt_load ggtt_load;
    struct vgpu_alloc alloc;
    struct vgpu_free free;
    struct vgpu_ppgtt_set ppgtt_set;
    uint32_t words[VGPU_PACKET_MAX / 4];
};

#define PACKET(member, opcode, argument, ...)                                                      \
    ((union packet){                                                                               \
        .member = {{VGPU_HEADER(opcode, 0, sizeof(((union packet *)0)->member)), argument},        \
                   __VA_ARGS__}})

static union packet good_fill(void)
{
    return PACKET(fill, VGPU_OP_FILL, 0, .dst = picture, .rect = {4, 2, 60, 30}, .value = 1);
}

static union packet good_copy(void)
{
    return PACKET(copy, VGPU_OP_COPY, 0, .dst = picture, .src = picture_2, .dst_x = 4, .width = 60,
                  .height = 32);
}

static union packet good_blend(void)
{
    return PACKET(copy, VGPU_OP_BLEND, 255, .dst = picture, .src = picture_2, .width = 64,
                  .height = 32);
}

static union packet good_fence(void)
{
    union packet p = PACKET(fence, VGPU_OP_FENCE, 0, .address = 64, .value = 1);

    p.header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_WRITE, sizeof(struct vgpu_fence));
    return p;
}

static union packet good_batch(void)
{
    return PACKET(batch, VGPU_OP_BATCH, VGPU_SPACE_GUEST, .address = 4096, .bytes = 64);
}

static union packet good_mandelbrot(void)
{
    return PACKET(mandelbrot, VGPU_OP_DISPATCH, VGPU_KERNEL_MANDELBROT, .dst = picture,
                  .rect = {0, 0, 64, 32}, .x0 = -2, .y0 = -1, .dx = 0.04, .dy = 0.04,
                  .max_iterations = 100);
}

static union packet good_matmul(void)
{
    union packet p =
        PACKET(matmul, VGPU_OP_DISPATCH, VGPU_KERNEL_MATMUL, .c = matrix, .a = matrix, .b = matrix);

    p.matmul.a.address = 4096;
    p.matmul.b.address = 8192;
    return p;
}

static union packet good_blur(void)
{
    return PACKET(blur, VGPU_OP_DISPATCH, VGPU_KERNEL_BLUR, .dst = picture, .src = picture_2,
                  .radius = 3);
}

static union packet good_histogram(void)
{
    return PACKET(histogram, VGPU_OP_DISPATCH, VGPU_KERNEL_HISTOGRAM, .src = picture,
                  .rect = {0, 0, 64, 32}, .address = 0x80000);
}

static union packet good_plasma(void)
{
    return PACKET(plasma, VGPU_OP_DISPATCH, VGPU_KERNEL_PLASMA, .dst = picture,
                  .rect = {0, 0, 64, 32}, .scale = 8);
}

static union packet good_ggtt_fill(void)
{
    return PACKET(ggtt_fill, VGPU_OP_GGTT_FILL, 0, .first = 1, .count = ENTRIES - 1, .entry = 1);
}

static union packet good_ggtt_load(void)
{
    return PACKET(ggtt_load, VGPU_OP_GGTT_LOAD, VGPU_SPACE_GUEST, .address = 8, .first = 0,
                  .count = ENTRIES);
}

static union packet good_alloc(void)
{
    union packet p =
        PACKET(alloc, VGPU_OP_ALLOC, 0, .address = VRAM, .bytes = 4 * VGPU_PAGE, .result = 4096);

    p.header.word = VGPU_HEADER(VGPU_OP_ALLOC, VGPU_ALLOC_RESULT, sizeof(p.alloc));
    return p;
}

static union packet good_free(void)
{
    return PACKET(free, VGPU_OP_FREE, 0, .address = VRAM + VGPU_PAGE, .bytes = VGPU_PAGE);
}

static union packet good_ppgtt(void)
{
    return PACKET(ppgtt_set, VGPU_OP_PPGTT, VGPU_PPGTT_LEVELS_MAX, .root = 4096);
}

static union packet (*const good[])(void) = {
    good_fill,       good_copy,      good_blend, good_fence,     good_batch,
    good_mandelbrot, good_matmul,    good_blur,  good_histogram, good_plasma,
    good_ggtt_fill,  good_ggtt_load, good_alloc, good_free,      good_ppgtt,
};
#define NGOOD (sizeof(good) / sizeof(good[0]))

static bool decode(const union packet *p, struct vgpu_command *command, struct vgpu_fault *fault)
{
    return vgpu_packet_decode(p, sizeof(*p), sizeof(*p), false, &memory, command, fault);
}

static void expect(union packet p, enum vgpu_error code, size_t field)
{
    struct vgpu_command command;
    struct vgpu_fault fault = {0};

    assert_false(decode(&p, &command, &fault));
    assert_int_equal(fault.code, code);
    assert_int_equal(fault.field, field);
}

#define EXPECT(make, change, code, field)                                                          \
    do {                                                                                           \
        union packet p = make();                                                                   \
        change;                                                                                    \
        expect(p, code, field);                                                                    \
    } while (0)

static void test_good_packets_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < NGOOD; i++) {
        union packet p = good[i]();
        struct vgpu_command command;
        struct vgpu_fault fault;

        assert_true(decode(&p, &command, &fault));
        assert_int_equal(command.bytes, (p.header.word >> 16) * 4);
    }
}

static void test_headers(void **state)
{
    (void)state;
    EXPECT(good_fill, p.header.word = VGPU_HEADER(VGPU_OP_COUNT, 0, 8), VGPU_ERR_OPCODE, 0);
    EXPECT(good_fill, p.header.word = VGPU_HEADER(255, 0, 8), VGPU_ERR_OPCODE, 0);
    EXPECT(good_fill, p.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, 0), VGPU_ERR_LENGTH, 0);
    EXPECT(good_fill, p.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, 12), VGPU_ERR_LENGTH, 0);
    EXPECT(good_fill, p.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, VGPU_PACKET_MAX + 8),
           VGPU_ERR_LENGTH, 0);
    for (size_t i = 0; i < NGOOD; i++) {
        size_t bytes = (good[i]().header.word >> 16) * 4;

        EXPECT(good[i], p.header.word += 2u << 16, VGPU_ERR_LENGTH, 0);
        EXPECT(good[i], p.header.word -= 2u << 16, VGPU_ERR_LENGTH, 0);
        EXPECT(good[i], p.header.word |= 0x8000, VGPU_ERR_RESERVED, 0);
        /* The same packet where the last bytes were not given. */
        {
            union packet p = good[i]();
            struct vgpu_command command;
            struct vgpu_fault fault;

            assert_true(vgpu_packet_decode(&p, bytes, bytes, false, &memory, &command, &fault));
            assert_false(
                vgpu_packet_decode(&p, bytes - 8, bytes - 8, false, &memory, &command, &fault));
            assert_int_equal(fault.code, VGPU_ERR_LENGTH);
        }
    }
    EXPECT(good_fill, p.header.arg = 1, VGPU_ERR_RESERVED, 4);
    EXPECT(good_copy, p.header.arg = 1, VGPU_ERR_RESERVED, 4);
    EXPECT(good_fence, p.header.arg = 1, VGPU_ERR_RESERVED, 4);
    EXPECT(good_blend, p.header.arg = 256, VGPU_ERR_PARAMETER, 4);
    EXPECT(good_batch, p.header.arg = 1, VGPU_ERR_RESERVED, 4);
    EXPECT(good_plasma, p.header.arg = VGPU_KERNEL_COUNT, VGPU_ERR_KERNEL, 4);
}

#define AT(type, member) offsetof(struct vgpu_##type, member)

static void test_surfaces(void **state)
{
    (void)state;
    EXPECT(good_fill, p.fill.dst.format = 0, VGPU_ERR_SURFACE, AT(fill, dst.format));
    EXPECT(good_fill, p.fill.dst.format = 4, VGPU_ERR_SURFACE, AT(fill, dst.format));
    EXPECT(good_fill, p.fill.dst.format |= 1 << 10, VGPU_ERR_RESERVED, AT(fill, dst.format));
    EXPECT(good_fill, p.fill.dst.format |= 3 << 8, VGPU_ERR_RESERVED, AT(fill, dst.format));
    EXPECT(good_fill, p.fill.dst.format |= 1 << 9, VGPU_ERR_SPACE, AT(fill, dst.format));
    EXPECT(good_fill, p.fill.dst.width = 0, VGPU_ERR_SURFACE, AT(fill, dst.width));
    EXPECT(good_fill, p.fill.dst.width = VGPU_SURFACE_MAX + 1, VGPU_ERR_SURFACE,
           AT(fill, dst.width));
    EXPECT(good_fill, p.fill.dst.height = 0, VGPU_ERR_SURFACE, AT(fill, dst.height));
    EXPECT(good_fill, p.fill.dst.height = VGPU_SURFACE_MAX + 1, VGPU_ERR_SURFACE,
           AT(fill, dst.height));
    EXPECT(good_fill, p.fill.dst.pitch = 252, VGPU_ERR_SURFACE, AT(fill, dst.pitch));
    EXPECT(good_fill, p.fill.dst.pitch = 258, VGPU_ERR_SURFACE, AT(fill, dst.pitch));
    EXPECT(good_fill, p.fill.dst.address = 2, VGPU_ERR_SURFACE, AT(fill, dst.address));
    /* To the last byte, and one pixel more. */
    {
        union packet p = good_fill();
        struct vgpu_command command;
        struct vgpu_fault fault;

        p.fill.dst.address = VRAM - 256 * 32;
        assert_true(decode(&p, &command, &fault));
        p.fill.dst.address += 4;
        expect(p, VGPU_ERR_BOUNDS, AT(fill, dst.address));
    }
    EXPECT(good_fill, p.fill.dst.pitch = 0xfffffffc, VGPU_ERR_BOUNDS, AT(fill, dst.address));
    EXPECT(good_fill, p.fill.dst.address = UINT64_MAX - 3, VGPU_ERR_BOUNDS, AT(fill, dst.address));
    EXPECT(good_fill, p.fill.dst.format |= VGPU_SPACE_GUEST;
           p.fill.dst.address = UINT64_MAX - 256 * 32 + 5, VGPU_ERR_BOUNDS, AT(fill, dst.address));
    /* A surface that ends with the address space is one. */
    {
        union packet p = good_fill();
        struct vgpu_command command;
        struct vgpu_fault fault;

        p.fill.dst.format |= VGPU_SPACE_GUEST;
        p.fill.dst.address = UINT64_MAX - 256 * 32 + 1;
        assert_true(decode(&p, &command, &fault));
        assert_true(vgpu_area_last(&command.dst) == UINT64_MAX);
    }
    EXPECT(good_copy, p.copy.src.format = VGPU_FORMAT_R8, VGPU_ERR_SURFACE, AT(copy, src.format));
    EXPECT(good_blend, p.copy.src.format = VGPU_FORMAT_RAW32, VGPU_ERR_SURFACE,
           AT(copy, src.format));
    EXPECT(good_blend, p.copy.dst.format = VGPU_FORMAT_RAW32, VGPU_ERR_SURFACE,
           AT(copy, dst.format));
}

static void test_rects(void **state)
{
    static const struct vgpu_rect bad[] = {
        {0, 0, 0, 1},   {0, 0, 1, 0},  {0, 0, 65, 1},         {0, 0, 1, 33},
        {64, 0, 1, 1},  {0, 32, 1, 1}, {0xffffffff, 0, 2, 1}, {0, 0xffffffff, 1, 2},
        {63, 31, 2, 1}, {1, 0, 64, 1}, {0, 0, 0xffffffff, 1}, {1, 0, 0xffffffff, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        EXPECT(good_fill, p.fill.rect = bad[i], VGPU_ERR_RECT, AT(fill, rect));
        EXPECT(good_mandelbrot, p.mandelbrot.rect = bad[i], VGPU_ERR_RECT, AT(mandelbrot, rect));
        EXPECT(good_histogram, p.histogram.rect = bad[i], VGPU_ERR_RECT, AT(histogram, rect));
        EXPECT(good_plasma, p.plasma.rect = bad[i], VGPU_ERR_RECT, AT(plasma, rect));
    }
    EXPECT(good_copy, p.copy.dst_x = 5, VGPU_ERR_RECT, AT(copy, dst_x));
    EXPECT(good_copy, p.copy.dst_y = 1, VGPU_ERR_RECT, AT(copy, dst_x));
    EXPECT(good_copy, p.copy.src_x = 5, VGPU_ERR_RECT, AT(copy, src_x));
    EXPECT(good_copy, p.copy.src_y = 1, VGPU_ERR_RECT, AT(copy, src_x));
    EXPECT(good_copy, p.copy.width = 0, VGPU_ERR_RECT, AT(copy, dst_x));
}

static void test_parameters(void **state)
{
    (void)state;
    EXPECT(good_fill, p.fill.dst.format = VGPU_FORMAT_R8;
           p.fill.value = 256, VGPU_ERR_PARAMETER, AT(fill, value));
    EXPECT(good_fill, p.fill.reserved = 1, VGPU_ERR_RESERVED, AT(fill, reserved));
    EXPECT(good_fence, p.fence.address = 4, VGPU_ERR_PARAMETER, AT(fence, address));
    EXPECT(good_fence, p.header.word &= ~0xff00u, VGPU_ERR_RESERVED, AT(fence, address));
    EXPECT(good_batch, p.batch.address = 4, VGPU_ERR_PARAMETER, AT(batch, address));
    EXPECT(good_batch, p.batch.address = UINT64_MAX - 7, VGPU_ERR_BOUNDS, AT(batch, address));
    EXPECT(good_batch, p.header.arg = 0;
           p.batch.address = VRAM - 56, VGPU_ERR_BOUNDS, AT(batch, address));
    EXPECT(good_batch, p.batch.bytes = 0, VGPU_ERR_PARAMETER, AT(batch, bytes));
    EXPECT(good_batch, p.batch.bytes = 4, VGPU_ERR_PARAMETER, AT(batch, bytes));
    EXPECT(good_batch, p.batch.bytes = VGPU_BATCH_MAX + 8, VGPU_ERR_PARAMETER, AT(batch, bytes));
    EXPECT(good_batch, p.batch.reserved = 1, VGPU_ERR_RESERVED, AT(batch, reserved));
    EXPECT(good_mandelbrot, p.mandelbrot.x0 = (double)NAN, VGPU_ERR_PARAMETER, AT(mandelbrot, x0));
    EXPECT(good_mandelbrot, p.mandelbrot.dy = (double)INFINITY, VGPU_ERR_PARAMETER,
           AT(mandelbrot, x0));
    EXPECT(good_mandelbrot, p.mandelbrot.max_iterations = 0, VGPU_ERR_PARAMETER,
           AT(mandelbrot, max_iterations));
    EXPECT(good_mandelbrot, p.mandelbrot.max_iterations = VGPU_ITERATIONS_MAX + 1,
           VGPU_ERR_PARAMETER, AT(mandelbrot, max_iterations));
    EXPECT(good_matmul, p.matmul.a.address = 0, VGPU_ERR_PARAMETER, AT(matmul, a));
    EXPECT(good_matmul, p.matmul.b.address = 1020, VGPU_ERR_PARAMETER, AT(matmul, b));
    EXPECT(good_matmul, p.matmul.a.height = 15, VGPU_ERR_PARAMETER, AT(matmul, a));
    EXPECT(good_matmul, p.matmul.b.height = 15, VGPU_ERR_PARAMETER, AT(matmul, b));
    EXPECT(good_matmul, p.matmul.b.width = 15, VGPU_ERR_PARAMETER, AT(matmul, b));
    EXPECT(good_matmul, p.matmul.c.format = VGPU_FORMAT_ARGB8888, VGPU_ERR_SURFACE, AT(matmul, c));
    EXPECT(good_blur, p.blur.radius = 0, VGPU_ERR_PARAMETER, AT(blur, radius));
    EXPECT(good_blur, p.blur.radius = VGPU_BLUR_RADIUS_MAX + 1, VGPU_ERR_PARAMETER,
           AT(blur, radius));
    EXPECT(good_blur, p.blur.src.height = 31, VGPU_ERR_PARAMETER, AT(blur, src));
    EXPECT(good_blur, p.blur.src.address = p.blur.dst.address + 256 * 32 - 4, VGPU_ERR_PARAMETER,
           AT(blur, src));
    EXPECT(good_histogram, p.histogram.address = VRAM - 4092, VGPU_ERR_BOUNDS,
           AT(histogram, address));
    EXPECT(good_histogram, p.histogram.address = 2, VGPU_ERR_PARAMETER, AT(histogram, address));
    EXPECT(good_histogram, p.histogram.space = 2, VGPU_ERR_RESERVED, AT(histogram, space));
    EXPECT(good_histogram, p.histogram.src.format = VGPU_FORMAT_RAW32, VGPU_ERR_SURFACE,
           AT(histogram, src.format));
    EXPECT(good_plasma, p.plasma.scale = 0, VGPU_ERR_PARAMETER, AT(plasma, scale));
    EXPECT(good_ggtt_fill, p.ggtt_fill.count = 0, VGPU_ERR_PARAMETER, AT(ggtt_fill, count));
    EXPECT(good_ggtt_fill, p.ggtt_fill.count = ENTRIES, VGPU_ERR_BOUNDS, AT(ggtt_fill, first));
    EXPECT(good_ggtt_fill, p.ggtt_fill.first = ENTRIES, VGPU_ERR_BOUNDS, AT(ggtt_fill, first));
    EXPECT(good_ggtt_fill, p.ggtt_fill.count = UINT32_MAX, VGPU_ERR_BOUNDS, AT(ggtt_fill, first));
    EXPECT(good_ggtt_load, p.header.arg = 1, VGPU_ERR_RESERVED, 4);
    EXPECT(good_ggtt_load, p.ggtt_load.address = 4, VGPU_ERR_PARAMETER, AT(ggtt_load, address));
    EXPECT(good_ggtt_load, p.ggtt_load.address = -(uint64_t)8, VGPU_ERR_BOUNDS,
           AT(ggtt_load, address));
    EXPECT(good_ggtt_load, (p.header.arg = 0, p.ggtt_load.address = VRAM - 8), VGPU_ERR_BOUNDS,
           AT(ggtt_load, address));
    EXPECT(good_ggtt_load, p.ggtt_load.first = 1, VGPU_ERR_BOUNDS, AT(ggtt_load, first));
    EXPECT(good_alloc, p.alloc.address += 8, VGPU_ERR_PARAMETER, AT(alloc, address));
    EXPECT(good_alloc, p.alloc.address -= VGPU_PAGE, VGPU_ERR_BOUNDS, AT(alloc, address));
    EXPECT(good_alloc, p.alloc.address = -VGPU_PAGE, VGPU_ERR_BOUNDS, AT(alloc, address));
    EXPECT(good_alloc, p.alloc.bytes += VGPU_PAGE, VGPU_ERR_BOUNDS, AT(alloc, address));
    EXPECT(good_alloc, p.alloc.bytes = -VGPU_PAGE, VGPU_ERR_BOUNDS, AT(alloc, address));
    EXPECT(good_alloc, p.alloc.bytes = 0, VGPU_ERR_PARAMETER, AT(alloc, bytes));
    EXPECT(good_alloc, p.alloc.bytes = 8, VGPU_ERR_PARAMETER, AT(alloc, bytes));
    EXPECT(good_alloc, p.alloc.result = 4, VGPU_ERR_PARAMETER, AT(alloc, result));
    EXPECT(good_alloc, p.header.word &= ~0xff00u, VGPU_ERR_RESERVED, AT(alloc, result));
    EXPECT(good_free, p.free.address = VRAM - VGPU_PAGE, VGPU_ERR_BOUNDS, AT(free, address));
    EXPECT(good_ppgtt, p.ppgtt_set.root += 8, VGPU_ERR_PARAMETER, AT(ppgtt_set, root));
    EXPECT(good_ppgtt, p.header.arg = 0, VGPU_ERR_RESERVED, AT(ppgtt_set, root));
    EXPECT(good_ppgtt, p.header.arg = 1, VGPU_ERR_PARAMETER, 4);
    EXPECT(good_ppgtt, p.header.arg = 5, VGPU_ERR_PARAMETER, 4);
    EXPECT(good_ppgtt, p.header.arg = UINT32_MAX, VGPU_ERR_PARAMETER, 4);
    EXPECT(good_free, p.free.bytes = 0, VGPU_ERR_PARAMETER, AT(free, bytes));
    /* Of the VRAM beyond the share only what is allocated is there. */
    EXPECT(good_fill, p.fill.dst.address = VRAM, VGPU_ERR_BOUNDS, AT(fill, dst.address));
    EXPECT(good_fill, p.fill.dst.address = VRAM + 2 * VGPU_PAGE, VGPU_ERR_BOUNDS,
           AT(fill, dst.address));
    {
        union packet p = good_fill();
        struct vgpu_command command;
        struct vgpu_fault fault;

        p.fill.dst.height = 16;
        p.fill.rect.height = 14;
        p.fill.dst.address = VRAM + 2 * VGPU_PAGE;
        assert_true(decode(&p, &command, &fault));
    }
    EXPECT(good_plasma, p.plasma.dst.format = VGPU_FORMAT_RAW32, VGPU_ERR_SURFACE,
           AT(plasma, dst.format));
}

/* What everything behind the decoder relies on. */
static void check_area(const struct vgpu_area *area)
{
    if (!area->bpp)
        return; /* the command has none */
    assert_in_range(area->width, 1, VGPU_SURFACE_MAX);
    assert_in_range(area->height, 1, VGPU_SURFACE_MAX);
    assert_true(area->pitch >= (uint64_t)area->width * area->bpp);
    assert_true(area->address % area->bpp == 0 && area->pitch % area->bpp == 0);
    assert_true(vgpu_area_last(area) >= area->address);
    assert_true(area->space != VGPU_IN_VRAM ||
                vgpu_vram_holds(&vram, area->address, vgpu_area_last(area) - area->address + 1));
}

static void test_fuzz(void **state)
{
    static const uint32_t edges[] = {0,
                                     1,
                                     3,
                                     4,
                                     255,
                                     256,
                                     0x7fffffff,
                                     0x80000000,
                                     0xfffffffc,
                                     0xffffffff,
                                     0x4000,
                                     0x4001,
                                     (1 << 20) - 256};
    uint64_t random = random_seed();
    unsigned passed = 0;

    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        union packet p = good[random_below(&random, NGOOD)]();
        uint32_t words = p.header.word >> 16;
        struct vgpu_command command;
        struct vgpu_fault fault = {0};

        for (uint32_t changes = random_below(&random, 4); changes; changes--) {
            uint32_t *word = &p.words[random_below(&random, words)];

            if (random_below(&random, 3) == 0)
                *word = (uint32_t)random_next(&random);
            else if (random_below(&random, 2))
                *word = edges[random_below(&random, sizeof(edges) / sizeof(edges[0]))];
            else
                *word ^= 1u << random_below(&random, 32);
        }
        if (!decode(&p, &command, &fault)) {
            assert_int_not_equal(fault.code, VGPU_ERR_NONE);
            assert_true(fault.field < VGPU_PACKET_MAX);
            continue;
        }
        passed++;
        check_area(&command.dst);
        check_area(&command.src);
        check_area(&command.b);
        assert_true(command.bytes && command.bytes % 8 == 0 && command.bytes <= sizeof(p));
    }
    assert_true(passed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_packets_pass), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_surfaces),          cmocka_unit_test(test_rects),
        cmocka_unit_test(test_parameters),        cmocka_unit_test(test_fuzz),
    };

    return cmocka_run_group_tests_name("vgpu packets", tests, NULL, NULL);
}
