/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FILL, COPY, BLEND: rows of bytes, straight in the memory they belong to.
 *
 * An area without gaps between its rows is one long row. Progress is a row and a byte in it.
 *
 * COPY on overlapping memory behaves as memmove where the two sides have one pitch (rows from the
 * last up when the destination lies behind the source); with different pitches rows go from the
 * first down, each as memmove.
 */
#include "execute.h"
#include "kernels.h"

#include <string.h>

struct lines {
    uint64_t address, pitch, bytes; /* bytes: of a row */
    uint32_t rows;
};

static struct lines lines_of(const struct vgpu_area *area)
{
    return (struct lines){
        .address = area->address,
        .pitch = area->pitch,
        .bytes = (uint64_t)area->width * area->bpp,
        .rows = area->height,
    };
}

static bool lines_gapless(const struct lines *lines)
{
    return lines->rows == 1 || lines->pitch == lines->bytes;
}

static void lines_join(struct lines *lines)
{
    lines->bytes *= lines->rows;
    lines->rows = 1;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A slice's budget, and the place in the rows that goes with it. */
static void advance(struct vgpu_progress *progress, const struct lines *lines, uint64_t bytes,
                    uint64_t *budget)
{
    uint64_t cost = bytes;

    progress->column += bytes;
    if (progress->column == lines->bytes) {
        progress->column = 0;
        progress->row++;
        cost += VGPU_ROW_BYTES;
    }
    *budget -= min64(*budget, cost);
}

static enum vgpu_step step_of(const struct vgpu_progress *progress, const struct lines *lines)
{
    return progress->row == lines->rows ? VGPU_STEP_DONE : VGPU_STEP_MORE;
}

enum vgpu_step vgpu_fill_slice(const struct vgpu_memory *memory, const struct vgpu_command *command,
                               struct vgpu_progress *progress, union vgpu_scratch *scratch,
                               struct vgpu_fault *fault)
{
    const struct vgpu_area *area = &command->dst;
    struct lines lines = lines_of(area);
    uint64_t budget = VGPU_SLICE_BYTES;
    bool stream = lines.bytes * lines.rows >= VGPU_STREAM_FILL;
    VGPU_VIEW_SCOPED struct vgpu_view view = vgpu_view_open(memory, area, UMDEV_WRITE);

    (void)scratch;
    if (lines_gapless(&lines))
        lines_join(&lines);
    while (progress->row < lines.rows && budget) {
        uint64_t address = lines.address + lines.pitch * progress->row + progress->column;
        size_t len;
        uint8_t *ptr = vgpu_view_at(&view, address, area->bpp, &len, fault);

        if (!ptr)
            return VGPU_STEP_FAULT;
        len = min64(len, lines.bytes - progress->column);
        vgpu_fill_bytes(ptr, len, area->bpp, command->fill, stream);
        advance(progress, &lines, len, &budget);
    }
    return step_of(progress, &lines);
}

/* Both sides of a COPY or BLEND, and how their rows are walked. */
struct pair {
    struct lines dst, src;
    struct vgpu_view dst_view, src_view;
    uint8_t bpp;
    bool backward;    /* last row first */
    bool through_row; /* each row is read as a whole before it is written */
    bool stream;      /* too much to be worth caching */
};

static bool areas_overlap(const struct vgpu_area *a, const struct vgpu_area *b)
{
    return a->space == b->space && a->address <= vgpu_area_last(b) &&
           b->address <= vgpu_area_last(a);
}

static void pair_open(struct pair *pair, const struct vgpu_memory *memory,
                      const struct vgpu_command *command, unsigned dst_prot)
{
    const struct vgpu_area *dst = &command->dst, *src = &command->src;

    *pair = (struct pair){.dst = lines_of(dst), .src = lines_of(src), .bpp = dst->bpp};
    pair->stream = pair->dst.bytes * pair->dst.rows >= VGPU_STREAM_COPY;
    if (areas_overlap(dst, src)) {
        pair->backward = dst->pitch == src->pitch && dst->address > src->address;
        pair->through_row = pair->backward || dst->pitch != src->pitch;
        if (pair->backward && dst->address - src->address >= pair->dst.bytes)
            pair->through_row = false; /* a row never meets itself */
    }
    if (!pair->backward && !pair->through_row && lines_gapless(&pair->dst) &&
        lines_gapless(&pair->src)) {
        lines_join(&pair->dst);
        lines_join(&pair->src);
    }
    pair->dst_view = vgpu_view_open(memory, dst, dst_prot);
    pair->src_view = vgpu_view_open(memory, src, UMDEV_READ);
}

static void pair_close(struct pair *pair)
{
    vgpu_view_close(&pair->dst_view);
    vgpu_view_close(&pair->src_view);
}

/* The longest stretch at the present place that is in one piece on both sides; 0: a fault. */
static size_t pair_at(struct pair *pair, const struct vgpu_progress *progress, uint8_t **dst,
                      const uint8_t **src, struct vgpu_fault *fault)
{
    uint64_t row = pair->backward ? pair->dst.rows - 1 - progress->row : progress->row;
    size_t dst_len, src_len;

    *src =
        vgpu_view_at(&pair->src_view, pair->src.address + pair->src.pitch * row + progress->column,
                     pair->bpp, &src_len, fault);
    if (!*src)
        return 0;
    *dst =
        vgpu_view_at(&pair->dst_view, pair->dst.address + pair->dst.pitch * row + progress->column,
                     pair->bpp, &dst_len, fault);
    if (!*dst)
        return 0;
    return min64(min64(dst_len, src_len), pair->dst.bytes - progress->column);
}

/* One row by way of private memory, for rows that overlap themselves. */
static bool copy_row(struct pair *pair, uint32_t width, const struct vgpu_progress *progress,
                     union vgpu_scratch *scratch, struct vgpu_fault *fault)
{
    uint32_t row = pair->backward ? pair->dst.rows - 1 - progress->row : progress->row;

    return vgpu_view_read(&pair->src_view, 0, row, width, scratch->row, fault) &&
           vgpu_view_write(&pair->dst_view, 0, row, width, scratch->row, fault);
}

enum vgpu_step vgpu_copy_slice(const struct vgpu_memory *memory, const struct vgpu_command *command,
                               struct vgpu_progress *progress, union vgpu_scratch *scratch,
                               struct vgpu_fault *fault)
{
    uint64_t budget = VGPU_SLICE_BYTES;
    __attribute__((cleanup(pair_close))) struct pair pair;

    pair_open(&pair, memory, command, UMDEV_WRITE);
    while (progress->row < pair.dst.rows && budget) {
        uint8_t *dst;
        const uint8_t *src;
        size_t len;

        if (pair.through_row) {
            len =
                copy_row(&pair, command->dst.width, progress, scratch, fault) ? pair.dst.bytes : 0;
        } else {
            len = pair_at(&pair, progress, &dst, &src, fault);
            if (len)
                vgpu_copy_bytes(dst, src, len, pair.stream);
        }
        if (!len)
            return VGPU_STEP_FAULT;
        advance(progress, &pair.dst, len, &budget);
    }
    return step_of(progress, &pair.dst);
}

enum vgpu_step vgpu_blend_slice(const struct vgpu_memory *memory,
                                const struct vgpu_command *command, struct vgpu_progress *progress,
                                union vgpu_scratch *scratch, struct vgpu_fault *fault)
{
    bool straight = command->flags & VGPU_BLEND_STRAIGHT;
    uint64_t budget = VGPU_SLICE_BYTES;
    __attribute__((cleanup(pair_close))) struct pair pair;

    (void)scratch;
    pair_open(&pair, memory, command, UMDEV_RW);
    while (progress->row < pair.dst.rows && budget) {
        uint8_t *dst;
        const uint8_t *src;
        size_t len = pair_at(&pair, progress, &dst, &src, fault);

        if (!len)
            return VGPU_STEP_FAULT;
        vgpu_blend_pixels((uint32_t *)dst, (const uint32_t *)src, len / 4, command->alpha,
                          straight);
        advance(progress, &pair.dst, len, &budget);
    }
    return step_of(progress, &pair.dst);
}
