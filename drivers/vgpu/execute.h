/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Executing commands, a slice at a time.
 *
 * A slice is a bounded piece of a command: a few milliseconds of an engine at most. Between slices
 * nothing is held but struct vgpu_progress, plain numbers, so that an engine can turn to another
 * device, and a reset or an unmap can come in, after every slice. A command that is never
 * continued needs no undoing.
 */
#ifndef VGPU_EXECUTE_H
#define VGPU_EXECUTE_H

#include "packet.h"

/*
 * Bytes that a 2D command touches in a slice, and what moving on to another row counts for: it may
 * be the price of a pin.
 */
#define VGPU_SLICE_BYTES ((uint64_t)8 << 20)
#define VGPU_ROW_BYTES   ((uint64_t)2048)
/* The same for the compute kernels, in inner steps: iterations, multiply-adds, pixels. */
#define VGPU_ROW_ITERATIONS   ((uint64_t)1024)
#define VGPU_ROW_PIXELS       ((uint64_t)256)
#define VGPU_SLICE_ITERATIONS ((uint64_t)4 << 20)
#define VGPU_SLICE_MULADDS    ((uint64_t)8 << 20)
#define VGPU_SLICE_PIXELS     ((uint64_t)1 << 20)

#define VGPU_PANEL_COLUMNS 64 /* MATMUL: columns of b at a time */
#define VGPU_PANEL_ROWS    4  /* MATMUL: rows of a at a time */

enum vgpu_step {
    VGPU_STEP_IDLE,  /* nothing to do */
    VGPU_STEP_MORE,  /* the command goes on with the next slice */
    VGPU_STEP_DONE,  /* the command is complete */
    VGPU_STEP_FAULT, /* the command failed */
    VGPU_STEP_WAIT,  /* page tables have to be read first */
};

/* Where a command stands. All zero at its start. */
struct vgpu_progress {
    uint32_t row;
    uint64_t column; /* bytes in the row for 2D commands, pixels or columns for kernels */
    uint32_t histogram[4][256];
};

/* An engine's private working memory; means nothing between slices. */
union vgpu_scratch {
    uint32_t row[VGPU_SURFACE_MAX];
    struct {
        _Alignas(64) float b[VGPU_MATMUL_MAX][VGPU_PANEL_COLUMNS];
        float a[VGPU_PANEL_ROWS][VGPU_MATMUL_MAX];
        float c[VGPU_PANEL_ROWS][VGPU_PANEL_COLUMNS];
    } matmul;
    struct {
        uint32_t rows[2 * VGPU_BLUR_RADIUS_MAX + 1][VGPU_SURFACE_MAX];
        uint32_t sums[VGPU_SURFACE_MAX][4];
        uint32_t out[VGPU_SURFACE_MAX];
    } blur;
};

typedef enum vgpu_step vgpu_slice_fn(const struct vgpu_memory *memory,
                                     const struct vgpu_command *command,
                                     struct vgpu_progress *progress, union vgpu_scratch *scratch,
                                     struct vgpu_fault *fault);

vgpu_slice_fn vgpu_fill_slice;
vgpu_slice_fn vgpu_copy_slice;
vgpu_slice_fn vgpu_blend_slice;
vgpu_slice_fn vgpu_dispatch_slice;

#endif
