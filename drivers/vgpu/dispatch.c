/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DISPATCH: the compute kernels, cut into slices.
 *
 * Every kernel works on private copies: its inputs are read into the scratch memory, its outputs
 * written from there, so a client that changes its buffers meanwhile spoils its own result only.
 */
#include "kernels.h"

#include <string.h>

/* The pixels from the present place to the end of its row, at most `pixels`. */
static uint32_t next_span(const struct vgpu_area *area, const struct vgpu_progress *progress,
                          uint64_t pixels)
{
    uint64_t rest = area->width - progress->column;

    return (uint32_t)(rest < pixels ? rest : pixels);
}

/* *budget is in pixels, too; `row` of them are what a span costs beside its own. */
static void span_done(const struct vgpu_area *area, struct vgpu_progress *progress, uint32_t count,
                      uint64_t row, uint64_t *budget)
{
    uint64_t cost = count + row;

    *budget -= *budget < cost ? *budget : cost;
    progress->column += count;
    if (progress->column == area->width) {
        progress->column = 0;
        progress->row++;
    }
}

static enum vgpu_step step_of(const struct vgpu_area *area, const struct vgpu_progress *progress)
{
    return progress->row == area->height ? VGPU_STEP_DONE : VGPU_STEP_MORE;
}

static enum vgpu_step mandelbrot_slice(const struct vgpu_memory *memory,
                                       const struct vgpu_command *command,
                                       struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                       struct vgpu_fault *fault)
{
    const struct vgpu_area *area = &command->dst;
    uint32_t max = command->mandelbrot.max_iterations;
    /* As if no pixel ever escaped, and a pixel's own cost beside its iterations. */
    uint64_t pixels = VGPU_SLICE_ITERATIONS / ((uint64_t)max + 8);
    VGPU_VIEW_SCOPED struct vgpu_view view = vgpu_view_open(memory, area, UMDEV_WRITE);

    while (pixels && progress->row < area->height) {
        uint32_t x = (uint32_t)progress->column, count = next_span(area, progress, pixels);

        vgpu_mandelbrot_counts(scratch->row, count, command->mandelbrot.x0, command->mandelbrot.dx,
                               x, command->mandelbrot.y0 + progress->row * command->mandelbrot.dy,
                               max);
        if (area->format == VGPU_FORMAT_ARGB8888)
            vgpu_mandelbrot_colours(scratch->row, count, max);
        if (!vgpu_view_write(&view, x, progress->row, count, scratch->row, fault))
            return VGPU_STEP_FAULT;
        span_done(area, progress, count, VGPU_ROW_ITERATIONS / ((uint64_t)max + 8), &pixels);
    }
    return step_of(area, progress);
}

static enum vgpu_step plasma_slice(const struct vgpu_memory *memory,
                                   const struct vgpu_command *command,
                                   struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                   struct vgpu_fault *fault)
{
    const struct vgpu_area *area = &command->dst;
    uint64_t pixels = VGPU_SLICE_PIXELS;
    VGPU_VIEW_SCOPED struct vgpu_view view = vgpu_view_open(memory, area, UMDEV_WRITE);

    while (pixels && progress->row < area->height) {
        uint32_t x = (uint32_t)progress->column, count = next_span(area, progress, pixels);

        vgpu_plasma_pixels(scratch->row, count, x, progress->row, command->plasma.time,
                           command->plasma.scale);
        if (!vgpu_view_write(&view, x, progress->row, count, scratch->row, fault))
            return VGPU_STEP_FAULT;
        span_done(area, progress, count, VGPU_ROW_PIXELS, &pixels);
    }
    return step_of(area, progress);
}

static enum vgpu_step histogram_slice(const struct vgpu_memory *memory,
                                      const struct vgpu_command *command,
                                      struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                      struct vgpu_fault *fault)
{
    const struct vgpu_area *area = &command->src;
    uint64_t pixels = VGPU_SLICE_PIXELS;
    VGPU_VIEW_SCOPED struct vgpu_view view = vgpu_view_open(memory, area, UMDEV_READ);

    while (pixels && progress->row < area->height) {
        uint32_t x = (uint32_t)progress->column, count = next_span(area, progress, pixels);

        if (!vgpu_view_read(&view, x, progress->row, count, scratch->row, fault))
            return VGPU_STEP_FAULT;
        vgpu_count_pixels(progress->histogram, scratch->row, count, area->bpp);
        span_done(area, progress, count, VGPU_ROW_PIXELS, &pixels);
    }
    if (progress->row < area->height)
        return VGPU_STEP_MORE;
    if (!vgpu_memory_write(memory, command->histogram.space, command->histogram.address,
                           progress->histogram, sizeof(progress->histogram[0]) * area->bpp, fault))
        return VGPU_STEP_FAULT;
    return VGPU_STEP_DONE;
}

/* Columns [column, column + count) of b, into a panel. */
static bool load_panel(const struct vgpu_memory *memory, const struct vgpu_area *b, uint32_t column,
                       uint32_t count, union vgpu_scratch *scratch, struct vgpu_fault *fault)
{
    VGPU_VIEW_SCOPED struct vgpu_view view = vgpu_view_open(memory, b, UMDEV_READ);

    for (uint32_t row = 0; row < b->height; row++) {
        if (!vgpu_view_read(&view, column, row, count, scratch->matmul.b[row], fault))
            return false;
        for (uint32_t i = count; i < VGPU_PANEL_COLUMNS; i++)
            scratch->matmul.b[row][i] = 0;
    }
    return true;
}

/* Rows [progress->row, + rows) of the result, as far as the panel goes. */
static bool multiply_rows(struct vgpu_view *a, struct vgpu_view *c,
                          const struct vgpu_progress *progress, uint32_t rows, uint32_t columns,
                          union vgpu_scratch *scratch, struct vgpu_fault *fault)
{
    uint32_t k = a->area->width;

    for (uint32_t i = 0; i < rows; i++) {
        if (!vgpu_view_read(a, 0, progress->row + i, k, scratch->matmul.a[i], fault))
            return false;
    }
    for (uint32_t i = rows; i < VGPU_PANEL_ROWS; i++)
        memset(scratch->matmul.a[i], 0, sizeof(float) * k);
    vgpu_matmul_panel(scratch->matmul.c, scratch->matmul.a, scratch->matmul.b, k);
    for (uint32_t i = 0; i < rows; i++) {
        if (!vgpu_view_write(c, (uint32_t)progress->column, progress->row + i, columns,
                             scratch->matmul.c[i], fault))
            return false;
    }
    return true;
}

/* Panels of columns from left to right, blocks of rows from top to bottom in each. */
static enum vgpu_step matmul_slice(const struct vgpu_memory *memory,
                                   const struct vgpu_command *command,
                                   struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                   struct vgpu_fault *fault)
{
    const struct vgpu_area *c = &command->dst, *b = &command->b;
    uint64_t block = (uint64_t)b->height * VGPU_PANEL_COLUMNS * VGPU_PANEL_ROWS;
    uint64_t budget = VGPU_SLICE_MULADDS;
    uint32_t columns = c->width - (uint32_t)progress->column;
    VGPU_VIEW_SCOPED struct vgpu_view a_view = vgpu_view_open(memory, &command->src, UMDEV_READ);
    VGPU_VIEW_SCOPED struct vgpu_view c_view = vgpu_view_open(memory, c, UMDEV_WRITE);

    columns = columns < VGPU_PANEL_COLUMNS ? columns : VGPU_PANEL_COLUMNS;
    if (!load_panel(memory, b, (uint32_t)progress->column, columns, scratch, fault))
        return VGPU_STEP_FAULT;
    while (budget && progress->row < c->height) {
        uint32_t rows = c->height - progress->row;

        rows = rows < VGPU_PANEL_ROWS ? rows : VGPU_PANEL_ROWS;
        if (!multiply_rows(&a_view, &c_view, progress, rows, columns, scratch, fault))
            return VGPU_STEP_FAULT;
        progress->row += rows;
        budget -= budget < block ? budget : block;
    }
    if (progress->row == c->height) {
        progress->row = 0;
        progress->column += columns;
    }
    return progress->column == c->width ? VGPU_STEP_DONE : VGPU_STEP_MORE;
}

/* The source's row for a place that may lie above or below it. */
static uint32_t clamp_row(int64_t y, uint32_t height)
{
    return y < 0 ? 0 : y >= height ? height - 1 : (uint32_t)y;
}

/*
 * A band of rows. The sums of the columns slide down: a row enters below, the one that leaves above
 * is still in private memory, where the client can't have changed it.
 */
static enum vgpu_step blur_slice(const struct vgpu_memory *memory,
                                 const struct vgpu_command *command, struct vgpu_progress *progress,
                                 union vgpu_scratch *scratch, struct vgpu_fault *fault)
{
    const struct vgpu_area *dst = &command->dst, *src = &command->src;
    uint32_t width = dst->width, radius = command->radius, size = 2 * radius + 1;
    uint64_t band = VGPU_SLICE_PIXELS / width;
    int64_t below = (int64_t)progress->row - radius; /* next row to enter */
    uint32_t slot = 0;
    VGPU_VIEW_SCOPED struct vgpu_view in = vgpu_view_open(memory, src, UMDEV_READ);
    VGPU_VIEW_SCOPED struct vgpu_view out = vgpu_view_open(memory, dst, UMDEV_WRITE);

    if (band < size)
        band = size; /* or reading in would cost more than the work */
    memset(scratch->blur.sums, 0, sizeof(scratch->blur.sums[0]) * width);
    for (uint32_t i = 0; i < size; i++) {
        if (!vgpu_view_read(&in, 0, clamp_row(below++, src->height), width, scratch->blur.rows[i],
                            fault))
            return VGPU_STEP_FAULT;
        vgpu_blur_add(scratch->blur.sums, scratch->blur.rows[i], width);
    }
    for (;;) {
        vgpu_blur_row(scratch->blur.out, (const uint32_t(*)[4])scratch->blur.sums, width, radius);
        if (!vgpu_view_write(&out, 0, progress->row, width, scratch->blur.out, fault))
            return VGPU_STEP_FAULT;
        if (++progress->row == dst->height)
            return VGPU_STEP_DONE;
        if (--band == 0)
            return VGPU_STEP_MORE;
        vgpu_blur_subtract(scratch->blur.sums, scratch->blur.rows[slot], width);
        if (!vgpu_view_read(&in, 0, clamp_row(below++, src->height), width,
                            scratch->blur.rows[slot], fault))
            return VGPU_STEP_FAULT;
        vgpu_blur_add(scratch->blur.sums, scratch->blur.rows[slot], width);
        slot = slot + 1 == size ? 0 : slot + 1;
    }
}

enum vgpu_step vgpu_dispatch_slice(const struct vgpu_memory *memory,
                                   const struct vgpu_command *command,
                                   struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                   struct vgpu_fault *fault)
{
    switch (command->kernel) {
    case VGPU_KERNEL_MANDELBROT:
        return mandelbrot_slice(memory, command, progress, scratch, fault);
    case VGPU_KERNEL_MATMUL:
        return matmul_slice(memory, command, progress, scratch, fault);
    case VGPU_KERNEL_BLUR:
        return blur_slice(memory, command, progress, scratch, fault);
    case VGPU_KERNEL_HISTOGRAM:
        return histogram_slice(memory, command, progress, scratch, fault);
    case VGPU_KERNEL_PLASMA:
        return plasma_slice(memory, command, progress, scratch, fault);
    default:
        *fault = (struct vgpu_fault){.code = VGPU_ERR_KERNEL};
        return VGPU_STEP_FAULT;
    }
}
