/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding and checking packets: pure functions of their bytes and of what VRAM there is. */
#include "packet.h"

#include "ppgtt.h"

#include <math.h>
#include <string.h>

/* The sizes are the wire format: a compiler that lays them out otherwise must not build this. */
_Static_assert(sizeof(struct vgpu_surface) == 24, "surface");
_Static_assert(sizeof(struct vgpu_fill) == 56, "FILL");
_Static_assert(sizeof(struct vgpu_copy) == 80, "COPY");
_Static_assert(sizeof(struct vgpu_fence) == 24, "FENCE");
_Static_assert(sizeof(struct vgpu_batch) == 24, "BATCH");
_Static_assert(sizeof(struct vgpu_mandelbrot) == 88, "MANDELBROT");
_Static_assert(sizeof(struct vgpu_matmul) == 80, "MATMUL");
_Static_assert(sizeof(struct vgpu_blur) == 64, "BLUR");
_Static_assert(sizeof(struct vgpu_histogram) == 64, "HISTOGRAM");
_Static_assert(sizeof(struct vgpu_plasma) == 56, "PLASMA");
_Static_assert(sizeof(struct vgpu_ggtt_fill) == 24, "GGTT_FILL");
_Static_assert(sizeof(struct vgpu_ggtt_load) == 24, "GGTT_LOAD");
_Static_assert(sizeof(struct vgpu_alloc) == 32, "ALLOC");
_Static_assert(sizeof(struct vgpu_free) == 24, "FREE");
_Static_assert(sizeof(struct vgpu_ppgtt_set) == 16, "PPGTT");

struct decoder {
    const struct vgpu_memory *memory;
    bool in_batch;
    struct vgpu_fault *fault;
};

static bool refuse(const struct decoder *dec, enum vgpu_error code, size_t field)
{
    *dec->fault = (struct vgpu_fault){.code = code, .field = (uint32_t)field};
    return false;
}

/* `size` bytes at `address`: VRAM that is there, or not wrapping the address space. */
static bool check_extent(const struct decoder *dec, uint8_t space, uint64_t address, uint64_t size,
                         size_t field)
{
    uint64_t last;

    if (__builtin_add_overflow(address, size - 1, &last) ||
        (space == VGPU_IN_VRAM && !vgpu_vram_holds(dec->memory->vram, address, size)))
        return refuse(dec, VGPU_ERR_BOUNDS, field);
    return true;
}

/*
 * A batch that is executed while page tables are in force is a process's: it sees what they map and
 * nothing else.
 */
static bool is_confined(const struct decoder *dec)
{
    return dec->in_batch && vgpu_ppgtt_in_force(dec->memory->ppgtt);
}

static bool check_space(const struct decoder *dec, uint32_t bits, uint8_t *space, size_t field)
{
    switch (bits) {
    case VGPU_SPACE_VRAM:
        *space = VGPU_IN_VRAM;
        break;
    case VGPU_SPACE_GUEST:
        *space = VGPU_IN_GUEST;
        break;
    case VGPU_SPACE_VIRTUAL:
        *space = VGPU_IN_VIRTUAL;
        break;
    default:
        return refuse(dec, VGPU_ERR_RESERVED, field);
    }
    if (*space == VGPU_IN_VIRTUAL ? !vgpu_ppgtt_in_force(dec->memory->ppgtt) : is_confined(dec))
        return refuse(dec, VGPU_ERR_SPACE, field);
    return true;
}

/* What only the ring may do, and batches while there are no page tables. */
static bool check_privilege(const struct decoder *dec)
{
    return !is_confined(dec) || refuse(dec, VGPU_ERR_SPACE, 0);
}

static bool check_format(const struct decoder *dec, uint32_t word, struct vgpu_area *area,
                         size_t field)
{
    uint32_t format = word & 0xff;

    if (!check_space(dec, word & ~0xffu, &area->space, field))
        return false;
    switch (format) {
    case VGPU_FORMAT_ARGB8888:
    case VGPU_FORMAT_RAW32:
        area->bpp = 4;
        break;
    case VGPU_FORMAT_R8:
        area->bpp = 1;
        break;
    default:
        return refuse(dec, VGPU_ERR_SURFACE, field);
    }
    area->format = (uint8_t)format;
    return true;
}

/* A whole surface as an area. `field` is where it lies in the packet. */
static bool check_surface(const struct decoder *dec, const struct vgpu_surface *surface,
                          struct vgpu_area *area, size_t field)
{
    uint64_t row;

    if (!check_format(dec, surface->format, area, field + offsetof(struct vgpu_surface, format)))
        return false;
    if (surface->width - 1 >= VGPU_SURFACE_MAX) /* 0 too */
        return refuse(dec, VGPU_ERR_SURFACE, field + offsetof(struct vgpu_surface, width));
    if (surface->height - 1 >= VGPU_SURFACE_MAX)
        return refuse(dec, VGPU_ERR_SURFACE, field + offsetof(struct vgpu_surface, height));
    row = (uint64_t)surface->width * area->bpp;
    if (surface->pitch < row || surface->pitch % area->bpp)
        return refuse(dec, VGPU_ERR_SURFACE, field + offsetof(struct vgpu_surface, pitch));
    if (surface->address % area->bpp)
        return refuse(dec, VGPU_ERR_SURFACE, field + offsetof(struct vgpu_surface, address));
    area->width = surface->width;
    area->height = surface->height;
    area->pitch = surface->pitch;
    area->address = surface->address;
    /* 2^14 rows of less than 2^32 bytes: no overflow. */
    return check_extent(dec, area->space, surface->address,
                        area->pitch * (surface->height - 1) + row,
                        field + offsetof(struct vgpu_surface, address));
}

/* Narrow an area to a rectangle of it. */
static bool check_rect(const struct decoder *dec, uint32_t x, uint32_t y, uint32_t width,
                       uint32_t height, struct vgpu_area *area, size_t field)
{
    if (width == 0 || width > area->width || x > area->width - width || height == 0 ||
        height > area->height || y > area->height - height)
        return refuse(dec, VGPU_ERR_RECT, field);
    area->address += area->pitch * y + (uint64_t)x * area->bpp;
    area->width = width;
    area->height = height;
    return true;
}

static bool check_surface_rect(const struct decoder *dec, const struct vgpu_surface *surface,
                               const struct vgpu_rect *rect, struct vgpu_area *area,
                               size_t surface_field, size_t rect_field)
{
    return check_surface(dec, surface, area, surface_field) &&
           check_rect(dec, rect->x, rect->y, rect->width, rect->height, area, rect_field);
}

/* Kernels that read one area while they write the other need them apart. */
static bool check_apart(const struct decoder *dec, const struct vgpu_area *dst,
                        const struct vgpu_area *src, size_t field)
{
    if (dst->space == src->space && dst->address <= vgpu_area_last(src) &&
        src->address <= vgpu_area_last(dst))
        return refuse(dec, VGPU_ERR_PARAMETER, field);
    return true;
}

static bool check_zero(const struct decoder *dec, uint64_t value, size_t field)
{
    return value == 0 || refuse(dec, VGPU_ERR_RESERVED, field);
}

/* Where a number is to be stored in guest memory, if it is. */
static bool check_store(const struct decoder *dec, bool wanted, uint64_t address, size_t field)
{
    if (!wanted)
        return check_zero(dec, address, field);
    return address % 8 == 0 || refuse(dec, VGPU_ERR_PARAMETER, field);
}

static bool decode_nop(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    (void)dec;
    (void)bytes;
    (void)command;
    return true;
}

static bool decode_fill(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_fill p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_surface_rect(dec, &p.dst, &p.rect, &command->dst, offsetof(struct vgpu_fill, dst),
                            offsetof(struct vgpu_fill, rect)))
        return false;
    if (command->dst.bpp == 1 && p.value > 0xff)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_fill, value));
    command->fill = p.value;
    return check_zero(dec, p.reserved, offsetof(struct vgpu_fill, reserved));
}

/* COPY and BLEND: two surfaces, a rectangle in each. */
static bool decode_pair(const struct decoder *dec, const struct vgpu_copy *p,
                        struct vgpu_command *command)
{
    return check_surface(dec, &p->dst, &command->dst, offsetof(struct vgpu_copy, dst)) &&
           check_surface(dec, &p->src, &command->src, offsetof(struct vgpu_copy, src)) &&
           check_rect(dec, p->dst_x, p->dst_y, p->width, p->height, &command->dst,
                      offsetof(struct vgpu_copy, dst_x)) &&
           check_rect(dec, p->src_x, p->src_y, p->width, p->height, &command->src,
                      offsetof(struct vgpu_copy, src_x));
}

static bool decode_copy(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_copy p;

    memcpy(&p, bytes, sizeof(p));
    if (!decode_pair(dec, &p, command))
        return false;
    if (command->dst.bpp != command->src.bpp)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_copy, src.format));
    return true;
}

static bool decode_blend(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_copy p;

    memcpy(&p, bytes, sizeof(p));
    if (p.header.arg > 0xff)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_copy, header.arg));
    command->alpha = (uint8_t)p.header.arg;
    if (!decode_pair(dec, &p, command))
        return false;
    if (command->dst.format != VGPU_FORMAT_ARGB8888)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_copy, dst.format));
    if (command->src.format != VGPU_FORMAT_ARGB8888)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_copy, src.format));
    return true;
}

static bool decode_fence(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_fence p;

    memcpy(&p, bytes, sizeof(p));
    command->fence.space = VGPU_IN_GUEST;
    command->fence.address = p.address;
    command->fence.value = p.value;
    if (p.header.arg || (command->flags & VGPU_FENCE_WRITE && is_confined(dec))) {
        if (p.header.arg & ~VGPU_SPACE_VIRTUAL)
            return refuse(dec, VGPU_ERR_RESERVED, offsetof(struct vgpu_fence, header.arg));
        if (!check_space(dec, p.header.arg, &command->fence.space,
                         offsetof(struct vgpu_fence, header.arg)))
            return false;
    }
    return check_store(dec, command->flags & VGPU_FENCE_WRITE, p.address,
                       offsetof(struct vgpu_fence, address));
}

static bool decode_batch(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_batch p;

    memcpy(&p, bytes, sizeof(p));
    if (dec->in_batch)
        return refuse(dec, VGPU_ERR_NESTED, 0);
    if (!check_space(dec, p.header.arg, &command->batch.space,
                     offsetof(struct vgpu_batch, header.arg)))
        return false;
    if (p.address % 8)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_batch, address));
    if (p.bytes == 0 || p.bytes % 8 || p.bytes > VGPU_BATCH_MAX)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_batch, bytes));
    command->batch.address = p.address;
    command->batch.bytes = p.bytes;
    return check_extent(dec, command->batch.space, p.address, p.bytes,
                        offsetof(struct vgpu_batch, address)) &&
           check_zero(dec, p.reserved, offsetof(struct vgpu_batch, reserved));
}

static bool check_entries(const struct decoder *dec, uint32_t first, uint32_t count,
                          size_t first_field, size_t count_field)
{
    uint32_t entries = dec->memory->ggtt->count;

    if (count == 0)
        return refuse(dec, VGPU_ERR_PARAMETER, count_field);
    if (first >= entries || count > entries - first)
        return refuse(dec, VGPU_ERR_BOUNDS, first_field);
    return true;
}

static bool decode_ggtt_fill(const struct decoder *dec, const void *bytes,
                             struct vgpu_command *command)
{
    struct vgpu_ggtt_fill p;

    memcpy(&p, bytes, sizeof(p));
    command->ggtt.first = p.first;
    command->ggtt.count = p.count;
    command->ggtt.entry = p.entry;
    return check_privilege(dec) &&
           check_entries(dec, p.first, p.count, offsetof(struct vgpu_ggtt_fill, first),
                         offsetof(struct vgpu_ggtt_fill, count));
}

static bool decode_ggtt_load(const struct decoder *dec, const void *bytes,
                             struct vgpu_command *command)
{
    struct vgpu_ggtt_load p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_space(dec, p.header.arg, &command->ggtt.space,
                     offsetof(struct vgpu_ggtt_load, header.arg)))
        return false;
    if (p.address % 8)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_ggtt_load, address));
    command->ggtt.first = p.first;
    command->ggtt.count = p.count;
    command->ggtt.address = p.address;
    return check_privilege(dec) &&
           check_entries(dec, p.first, p.count, offsetof(struct vgpu_ggtt_load, first),
                         offsetof(struct vgpu_ggtt_load, count)) &&
           check_extent(dec, command->ggtt.space, p.address, (uint64_t)p.count * sizeof(uint64_t),
                        offsetof(struct vgpu_ggtt_load, address));
}

/* ALLOC and FREE: whole pages of the VRAM that is not always there. */
static bool check_growable(const struct decoder *dec, uint64_t address, uint64_t bytes,
                           struct vgpu_command *command)
{
    const size_t field = offsetof(struct vgpu_alloc, address);

    if (!check_privilege(dec))
        return false;
    if (address % VGPU_PAGE)
        return refuse(dec, VGPU_ERR_PARAMETER, field);
    if (bytes == 0 || bytes % VGPU_PAGE)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_alloc, bytes));
    if (!vgpu_vram_growable(dec->memory->vram, address, bytes))
        return refuse(dec, VGPU_ERR_BOUNDS, field);
    command->alloc.address = address;
    command->alloc.bytes = bytes;
    return true;
}

static bool decode_alloc(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_alloc p;

    memcpy(&p, bytes, sizeof(p));
    command->alloc.result = p.result;
    return check_growable(dec, p.address, p.bytes, command) &&
           check_store(dec, command->flags & VGPU_ALLOC_RESULT, p.result,
                       offsetof(struct vgpu_alloc, result));
}

static bool decode_free(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_free p;

    memcpy(&p, bytes, sizeof(p));
    return check_growable(dec, p.address, p.bytes, command);
}

static bool decode_mandelbrot(const struct decoder *dec, const void *bytes,
                              struct vgpu_command *command)
{
    struct vgpu_mandelbrot p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_surface_rect(dec, &p.dst, &p.rect, &command->dst,
                            offsetof(struct vgpu_mandelbrot, dst),
                            offsetof(struct vgpu_mandelbrot, rect)))
        return false;
    if (command->dst.bpp != 4)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_mandelbrot, dst.format));
    if (!isfinite(p.x0) || !isfinite(p.y0) || !isfinite(p.dx) || !isfinite(p.dy))
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_mandelbrot, x0));
    if (p.max_iterations - 1 >= VGPU_ITERATIONS_MAX)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_mandelbrot, max_iterations));
    command->mandelbrot.x0 = p.x0;
    command->mandelbrot.y0 = p.y0;
    command->mandelbrot.dx = p.dx;
    command->mandelbrot.dy = p.dy;
    command->mandelbrot.max_iterations = p.max_iterations;
    return check_zero(dec, p.reserved, offsetof(struct vgpu_mandelbrot, reserved));
}

static bool check_matrix(const struct decoder *dec, const struct vgpu_surface *surface,
                         struct vgpu_area *area, size_t field)
{
    if (!check_surface(dec, surface, area, field))
        return false;
    if (area->format != VGPU_FORMAT_RAW32 || area->width > VGPU_MATMUL_MAX ||
        area->height > VGPU_MATMUL_MAX)
        return refuse(dec, VGPU_ERR_SURFACE, field);
    return true;
}

static bool decode_matmul(const struct decoder *dec, const void *bytes,
                          struct vgpu_command *command)
{
    const struct vgpu_area *c = &command->dst, *a = &command->src, *b = &command->b;
    struct vgpu_matmul p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_matrix(dec, &p.c, &command->dst, offsetof(struct vgpu_matmul, c)) ||
        !check_matrix(dec, &p.a, &command->src, offsetof(struct vgpu_matmul, a)) ||
        !check_matrix(dec, &p.b, &command->b, offsetof(struct vgpu_matmul, b)))
        return false;
    if (a->height != c->height)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_matmul, a));
    if (b->width != c->width || b->height != a->width)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_matmul, b));
    return check_apart(dec, c, a, offsetof(struct vgpu_matmul, a)) &&
           check_apart(dec, c, b, offsetof(struct vgpu_matmul, b));
}

static bool decode_blur(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_blur p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_surface(dec, &p.dst, &command->dst, offsetof(struct vgpu_blur, dst)) ||
        !check_surface(dec, &p.src, &command->src, offsetof(struct vgpu_blur, src)))
        return false;
    if (command->dst.format != VGPU_FORMAT_ARGB8888)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_blur, dst.format));
    if (command->src.format != VGPU_FORMAT_ARGB8888)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_blur, src.format));
    if (p.src.width != p.dst.width || p.src.height != p.dst.height)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_blur, src));
    if (p.radius - 1 >= VGPU_BLUR_RADIUS_MAX)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_blur, radius));
    command->radius = p.radius;
    return check_apart(dec, &command->dst, &command->src, offsetof(struct vgpu_blur, src)) &&
           check_zero(dec, p.reserved, offsetof(struct vgpu_blur, reserved));
}

static bool decode_histogram(const struct decoder *dec, const void *bytes,
                             struct vgpu_command *command)
{
    struct vgpu_histogram p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_surface_rect(dec, &p.src, &p.rect, &command->src,
                            offsetof(struct vgpu_histogram, src),
                            offsetof(struct vgpu_histogram, rect)))
        return false;
    if (command->src.format == VGPU_FORMAT_RAW32)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_histogram, src.format));
    if (!check_space(dec, p.space, &command->histogram.space,
                     offsetof(struct vgpu_histogram, space)))
        return false;
    if (p.address % 4)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_histogram, address));
    command->histogram.address = p.address;
    return check_extent(dec, command->histogram.space, p.address,
                        (uint64_t)command->src.bpp * 256 * sizeof(uint32_t),
                        offsetof(struct vgpu_histogram, address)) &&
           check_zero(dec, p.reserved, offsetof(struct vgpu_histogram, reserved));
}

static bool decode_plasma(const struct decoder *dec, const void *bytes,
                          struct vgpu_command *command)
{
    struct vgpu_plasma p;

    memcpy(&p, bytes, sizeof(p));
    if (!check_surface_rect(dec, &p.dst, &p.rect, &command->dst, offsetof(struct vgpu_plasma, dst),
                            offsetof(struct vgpu_plasma, rect)))
        return false;
    if (command->dst.format != VGPU_FORMAT_ARGB8888)
        return refuse(dec, VGPU_ERR_SURFACE, offsetof(struct vgpu_plasma, dst.format));
    if (p.scale - 1 >= VGPU_PLASMA_SCALE_MAX)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_plasma, scale));
    command->plasma.time = p.time;
    command->plasma.scale = p.scale;
    return true;
}

static bool decode_ppgtt(const struct decoder *dec, const void *bytes, struct vgpu_command *command)
{
    struct vgpu_ppgtt_set p;

    memcpy(&p, bytes, sizeof(p));
    if (dec->in_batch)
        return refuse(dec, VGPU_ERR_NESTED, 0);
    command->ppgtt.levels = p.header.arg;
    command->ppgtt.root = p.root;
    if (p.header.arg == 0)
        return check_zero(dec, p.root, offsetof(struct vgpu_ppgtt_set, root));
    if (p.header.arg < VGPU_PPGTT_LEVELS_MIN || p.header.arg > VGPU_PPGTT_LEVELS_MAX)
        return refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_ppgtt_set, header.arg));
    return p.root % VGPU_PAGE == 0 ||
           refuse(dec, VGPU_ERR_PARAMETER, offsetof(struct vgpu_ppgtt_set, root));
}

/* What a kind of packet looks like from outside. */
struct shape {
    uint32_t bytes; /* 0: any */
    uint32_t flags; /* the ones it knows */
    bool takes_arg;
    bool (*decode)(const struct decoder *dec, const void *bytes, struct vgpu_command *command);
};

static const struct shape packet_shapes[VGPU_OP_COUNT] = {
    [VGPU_OP_NOP] = {0, 0, false, decode_nop},
    [VGPU_OP_FILL] = {sizeof(struct vgpu_fill), 0, false, decode_fill},
    [VGPU_OP_COPY] = {sizeof(struct vgpu_copy), 0, false, decode_copy},
    [VGPU_OP_BLEND] = {sizeof(struct vgpu_copy), VGPU_BLEND_STRAIGHT, true, decode_blend},
    [VGPU_OP_FENCE] = {sizeof(struct vgpu_fence), VGPU_FENCE_WRITE | VGPU_FENCE_IRQ, true,
                       decode_fence},
    [VGPU_OP_BATCH] = {sizeof(struct vgpu_batch), 0, true, decode_batch},
    [VGPU_OP_GGTT_FILL] = {sizeof(struct vgpu_ggtt_fill), VGPU_GGTT_FILL_STEP, false,
                           decode_ggtt_fill},
    [VGPU_OP_GGTT_LOAD] = {sizeof(struct vgpu_ggtt_load), 0, true, decode_ggtt_load},
    [VGPU_OP_ALLOC] = {sizeof(struct vgpu_alloc), VGPU_ALLOC_RESULT, false, decode_alloc},
    [VGPU_OP_FREE] = {sizeof(struct vgpu_free), 0, false, decode_free},
    [VGPU_OP_PPGTT] = {sizeof(struct vgpu_ppgtt_set), 0, true, decode_ppgtt},
};

static const struct shape kernel_shapes[VGPU_KERNEL_COUNT] = {
    [VGPU_KERNEL_MANDELBROT] = {sizeof(struct vgpu_mandelbrot), 0, true, decode_mandelbrot},
    [VGPU_KERNEL_MATMUL] = {sizeof(struct vgpu_matmul), 0, true, decode_matmul},
    [VGPU_KERNEL_BLUR] = {sizeof(struct vgpu_blur), 0, true, decode_blur},
    [VGPU_KERNEL_HISTOGRAM] = {sizeof(struct vgpu_histogram), 0, true, decode_histogram},
    [VGPU_KERNEL_PLASMA] = {sizeof(struct vgpu_plasma), 0, true, decode_plasma},
};

bool vgpu_packet_decode(const void *bytes, uint32_t fetched, uint32_t available, bool in_batch,
                        const struct vgpu_memory *memory, struct vgpu_command *command,
                        struct vgpu_fault *fault)
{
    struct decoder dec = {.memory = memory, .in_batch = in_batch, .fault = fault};
    struct vgpu_header header;
    const struct shape *shape;
    uint32_t opcode;

    memset(command, 0, sizeof(*command));
    memcpy(&header, bytes, sizeof(header));
    opcode = header.word & 0xff;
    if (opcode >= VGPU_OP_COUNT)
        return refuse(&dec, VGPU_ERR_OPCODE, 0);
    command->opcode = opcode;
    command->flags = header.word >> 8 & 0xff;
    command->bytes = (header.word >> 16) * 4;
    if (command->bytes == 0 || command->bytes % 8 || command->bytes > available)
        return refuse(&dec, VGPU_ERR_LENGTH, 0);
    if (opcode == VGPU_OP_DISPATCH) {
        if (header.arg >= VGPU_KERNEL_COUNT)
            return refuse(&dec, VGPU_ERR_KERNEL, offsetof(struct vgpu_header, arg));
        command->kernel = header.arg;
        shape = &kernel_shapes[header.arg];
    } else {
        shape = &packet_shapes[opcode];
    }
    if (shape->bytes && (command->bytes != shape->bytes || shape->bytes > fetched))
        return refuse(&dec, VGPU_ERR_LENGTH, 0);
    if (command->flags & ~shape->flags)
        return refuse(&dec, VGPU_ERR_RESERVED, 0);
    if (!shape->takes_arg && header.arg)
        return refuse(&dec, VGPU_ERR_RESERVED, offsetof(struct vgpu_header, arg));
    return shape->decode(&dec, bytes, command);
}
