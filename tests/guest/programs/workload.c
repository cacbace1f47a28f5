/* SPDX-License-Identifier: BSD-3-Clause */
#include "workload.h"

#include "reference.h"

#include <stdio.h>
#include <string.h>

/* In the gpu's memory. The ring is as small as can be, so that it soon wraps. */
#define RING      0x0u
#define RING_SIZE VGPU_RING_MIN
#define FENCE     0x1000u
#define PICTURE   0x10000u
#define COUNTS    0x20000u

/* In VRAM. */
#define RENDERED 0x100000u
#define RETURNED 0x200000u

#define WIDTH  256u
#define HEIGHT 64u
#define BORDER 8u

#define COUNTS_WIDTH  64u
#define COUNTS_HEIGHT 32u
#define LONG_HEIGHT   2048u /* of what takes long */

#define TIMEOUT_MS 20000

#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static int fail(const char *text)
{
    fprintf(stderr, "vgpu-guest: %s\n", text);
    return -1;
}

/* ------------------------------------------------------------------ what a round is made of */

static uint32_t round_colour(uint32_t number)
{
    return 0xff000000u | (number * 0x9e3779b1u >> 8);
}

static uint32_t round_scale(uint32_t number)
{
    return 1 + number * 7 % VGPU_PLASMA_SCALE_MAX;
}

static uint32_t round_iterations(uint32_t number)
{
    return 20 + number % 50;
}

/* Where the counts' rect begins in the complex plane, and its step. Exact in binary. */
#define STEP     0.046875
#define ORIGIN_X (-2.25)
#define ORIGIN_Y (-0.75)

static uint32_t expected_pixel(uint32_t number, uint32_t x, uint32_t y)
{
    if (x < BORDER || x >= WIDTH - BORDER || y < BORDER || y >= HEIGHT - BORDER)
        return round_colour(number);
    return reference_plasma(x - BORDER, y - BORDER, number * 37, round_scale(number));
}

static uint32_t expected_count(uint32_t number, uint32_t x, uint32_t y)
{
    return reference_mandelbrot(ORIGIN_X + x * STEP, ORIGIN_Y + y * STEP, round_iterations(number));
}

static void add_to_checksum(struct workload *work, uint32_t word)
{
    work->checksum = (work->checksum ^ word) * FNV_PRIME;
}

/* ------------------------------------------------------------------ packets */

static void emit_bytes(struct workload *work, const void *packet, uint32_t bytes)
{
    memcpy(work->gpu->memory + RING + work->tail, packet, bytes);
    work->tail = (work->tail + bytes) % RING_SIZE;
}

void workload_emit(struct workload *work, const void *packet, uint32_t bytes)
{
    uint32_t left = RING_SIZE - work->tail;

    if (left < bytes) {
        struct vgpu_nop nop = {.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, left)};

        memcpy(work->gpu->memory + RING + work->tail, &nop, sizeof(nop));
        work->tail = 0;
    }
    emit_bytes(work, packet, bytes);
}

static struct vgpu_surface picture_in(uint32_t space, uint64_t address)
{
    return (struct vgpu_surface){
        .format = VGPU_FORMAT_ARGB8888 | space,
        .pitch = WIDTH * 4,
        .width = WIDTH,
        .height = HEIGHT,
        .address = address,
    };
}

static void emit_copy(struct workload *work, struct vgpu_surface dst, struct vgpu_surface src)
{
    struct vgpu_copy copy = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(copy)),
        .dst = dst,
        .src = src,
        .width = WIDTH,
        .height = HEIGHT,
    };

    workload_emit(work, &copy, sizeof(copy));
}

static void emit_counts(struct workload *work, double step, uint32_t height,
                        uint32_t max_iterations)
{
    struct vgpu_mandelbrot mandelbrot = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(mandelbrot)), VGPU_KERNEL_MANDELBROT},
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_GUEST,
                .pitch = COUNTS_WIDTH * 4,
                .width = COUNTS_WIDTH,
                .height = height,
                .address = work->buffers + COUNTS},
        .rect = {.width = COUNTS_WIDTH, .height = height},
        .x0 = step * (ORIGIN_X / STEP),
        .y0 = step * (ORIGIN_Y / STEP),
        .dx = step,
        .dy = step,
        .max_iterations = max_iterations,
    };

    workload_emit(work, &mandelbrot, sizeof(mandelbrot));
}

static void emit_picture(struct workload *work, uint32_t number)
{
    struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = picture_in(VGPU_SPACE_VRAM, RENDERED),
        .rect = {.width = WIDTH, .height = HEIGHT},
        .value = round_colour(number),
    };
    struct vgpu_plasma plasma = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(plasma)), VGPU_KERNEL_PLASMA},
        .dst = picture_in(VGPU_SPACE_VRAM, RENDERED),
        .rect = {BORDER, BORDER, WIDTH - 2 * BORDER, HEIGHT - 2 * BORDER},
        .time = number * 37,
        .scale = round_scale(number),
    };

    workload_emit(work, &fill, sizeof(fill));
    workload_emit(work, &plasma, sizeof(plasma));
}

void workload_emit_fence(struct workload *work)
{
    struct vgpu_fence fence = {
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_WRITE | VGPU_FENCE_IRQ, sizeof(fence)),
        .address = work->gpu->iova + FENCE,
        .value = ++work->fence,
    };

    workload_emit(work, &fence, sizeof(fence));
}

static void emit_round(struct workload *work, uint32_t number)
{
    struct vgpu_surface in_memory = picture_in(VGPU_SPACE_GUEST, work->buffers + PICTURE);

    emit_picture(work, number);
    emit_copy(work, in_memory, picture_in(VGPU_SPACE_VRAM, RENDERED));
    emit_copy(work, picture_in(VGPU_SPACE_VRAM, RETURNED), in_memory);
    emit_counts(work, STEP, COUNTS_HEIGHT, round_iterations(number));
    workload_emit_fence(work);
}

/* ------------------------------------------------------------------ running */

void workload_submit(struct workload *work)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    gpu_write32(work->gpu, VGPU_REG_RING_TAIL, work->tail);
}

static int report_stop(const struct gpu *gpu, const char *what)
{
    fprintf(stderr, "vgpu-guest: %s: status 0x%x, error %u, head 0x%x, tail 0x%x, fence %llu\n",
            what, gpu_read32(gpu, VGPU_REG_STATUS), gpu_read32(gpu, VGPU_REG_ERROR),
            gpu_read32(gpu, VGPU_REG_RING_HEAD), gpu_read32(gpu, VGPU_REG_RING_TAIL),
            (unsigned long long)gpu_read64(gpu, VGPU_REG_FENCE));
    return -1;
}

int workload_wait_fence(struct workload *work)
{
    struct gpu *gpu = work->gpu;

    if (gpu->take(gpu, VGPU_MSIX_FENCE, TIMEOUT_MS))
        return report_stop(gpu, "no interrupt of the fence");
    /* The fence's value is in memory before its interrupt. */
    if (*(volatile uint64_t *)(gpu->memory + FENCE) != work->fence)
        return report_stop(gpu, "an interrupt, but the fence is not in memory");
    if (gpu_read64(gpu, VGPU_REG_FENCE) != work->fence)
        return report_stop(gpu, "the fence is in memory, but not in its register");
    if (gpu_read32(gpu, VGPU_REG_INT_STATUS) != VGPU_INT_FENCE)
        return report_stop(gpu, "INT_STATUS has not the fence alone");
    gpu_write32(gpu, VGPU_REG_INT_STATUS, VGPU_INT_FENCE);
    if (gpu_read32(gpu, VGPU_REG_INT_STATUS) != 0)
        return report_stop(gpu, "INT_STATUS was not cleared");
    return 0;
}

int workload_restart(struct workload *work)
{
    const struct gpu *gpu = work->gpu;

    work->tail = 0;
    gpu_write32(gpu, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    gpu_write32(gpu, VGPU_REG_INT_STATUS, VGPU_INT_ALL);
    gpu_write32(gpu, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    gpu_write64(gpu, VGPU_REG_RING_BASE, gpu->iova + RING);
    gpu_write32(gpu, VGPU_REG_RING_SIZE, RING_SIZE);
    gpu_write32(gpu, VGPU_REG_CONTROL, VGPU_CONTROL_RUN);
    if (gpu_read32(gpu, VGPU_REG_STATUS) != VGPU_STATUS_RUNNING)
        return report_stop(gpu, "the ring did not start");
    return 0;
}

int workload_start(struct workload *work, struct gpu *gpu)
{
    *work = (struct workload){.gpu = gpu, .checksum = FNV_START};
    if (!gpu)
        return 0;
    work->buffers = gpu->iova;
    if (gpu_read32(gpu, VGPU_REG_ID) != VGPU_ID)
        return fail("no vgpu behind BAR 2");
    if (gpu_read64(gpu, VGPU_REG_VRAM_SIZE) != gpu->vram_size)
        return fail("VRAM_SIZE is not the size of BAR 0");
    return workload_restart(work);
}

/* Pixels by 64 bits: with a BAR that is not mapped each access is a message. */
static int compare_picture(struct workload *work, uint32_t number)
{
    const uint32_t *copy = (const uint32_t *)(work->gpu->memory + PICTURE);
    const volatile uint64_t *vram = (const volatile uint64_t *)(work->gpu->vram + RETURNED);

    for (uint32_t i = 0; i < WIDTH * HEIGHT; i += 2) {
        uint32_t x = i % WIDTH, y = i / WIDTH;
        uint32_t left = expected_pixel(number, x, y), right = expected_pixel(number, x + 1, y);

        if (copy[i] != left || copy[i + 1] != right ||
            vram[i / 2] != ((uint64_t)right << 32 | left)) {
            fprintf(
                stderr,
                "vgpu-guest: round %u, pixels (%u, %u) and next: 0x%x 0x%x in memory, 0x%llx in "
                "VRAM, not 0x%x 0x%x\n",
                number, x, y, copy[i], copy[i + 1], (unsigned long long)vram[i / 2], left, right);
            return -1;
        }
        add_to_checksum(work, left);
        add_to_checksum(work, right);
    }
    return 0;
}

static int compare_counts(struct workload *work, uint32_t number)
{
    const uint32_t *counts = (const uint32_t *)(work->gpu->memory + COUNTS);

    for (uint32_t i = 0; i < COUNTS_WIDTH * COUNTS_HEIGHT; i++) {
        uint32_t expected = expected_count(number, i % COUNTS_WIDTH, i / COUNTS_WIDTH);

        if (counts[i] != expected) {
            fprintf(stderr, "vgpu-guest: round %u, count %u is %u, not %u\n", number, i, counts[i],
                    expected);
            return -1;
        }
        add_to_checksum(work, expected);
    }
    return 0;
}

int workload_round(struct workload *work, uint32_t number)
{
    memset(work->gpu->memory + PICTURE, 0, WIDTH * HEIGHT * 4);
    memset(work->gpu->memory + COUNTS, 0, COUNTS_WIDTH * COUNTS_HEIGHT * 4);
    emit_round(work, number);
    workload_submit(work);
    if (workload_wait_fence(work) || compare_picture(work, number))
        return -1;
    return compare_counts(work, number);
}

int workload_traffic(struct workload *work, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        emit_round(work, i);
        workload_submit(work);
        if (workload_wait_fence(work))
            return -1;
    }
    return 0;
}

int workload_long(struct workload *work)
{
    /* All points are 0, which never escapes. */
    for (int i = 0; i < 32; i++)
        emit_counts(work, 0, LONG_HEIGHT, VGPU_ITERATIONS_MAX);
    workload_submit(work);
    if (gpu_read32(work->gpu, VGPU_REG_STATUS) != (VGPU_STATUS_RUNNING | VGPU_STATUS_BUSY))
        return report_stop(work->gpu, "the device is not busy");
    return 0;
}

int workload_wait_error(const struct workload *work, uint32_t error)
{
    struct gpu *gpu = work->gpu;

    if (gpu->take(gpu, VGPU_MSIX_ERROR, TIMEOUT_MS))
        return report_stop(gpu, "no interrupt of an error");
    if (gpu_read32(gpu, VGPU_REG_STATUS) != VGPU_STATUS_ERROR ||
        gpu_read32(gpu, VGPU_REG_ERROR) != error ||
        gpu_read32(gpu, VGPU_REG_ERROR_RING) != gpu_read32(gpu, VGPU_REG_RING_HEAD))
        return report_stop(gpu, "the error is not the one that was made");
    if (gpu->take(gpu, VGPU_MSIX_FENCE, 0) == 0)
        return report_stop(gpu, "an interrupt that nobody asked for");
    return 0;
}

int workload_error(struct workload *work)
{
    const uint32_t at = work->tail, wrong[2] = {VGPU_HEADER(0xee, 0, 8), 0};

    emit_bytes(work, wrong, sizeof(wrong));
    workload_submit(work);
    if (workload_wait_error(work, VGPU_ERR_OPCODE))
        return -1;
    if (gpu_read32(work->gpu, VGPU_REG_ERROR_RING) != at)
        return report_stop(work->gpu, "the error is somewhere else");
    return workload_restart(work);
}

/* A round that fails in its packet at `ring_offset`, at the address. */
static int round_unmapped(struct workload *work, uint32_t ring_offset, uint64_t address)
{
    const struct gpu *gpu = work->gpu;

    if (workload_restart(work))
        return -1;
    emit_round(work, 0);
    workload_submit(work);
    if (workload_wait_error(work, VGPU_ERR_DMA_UNMAPPED))
        return -1;
    if (gpu_read32(gpu, VGPU_REG_ERROR_RING) != ring_offset ||
        gpu_read64(gpu, VGPU_REG_ERROR_ADDR) != address)
        return report_stop(gpu, "the error is somewhere else");
    return 0;
}

int workload_moved(struct workload *work)
{
    struct gpu *gpu = work->gpu;
    const uint64_t old = gpu->iova;

    if (workload_wait_error(work, VGPU_ERR_DMA_UNMAPPED))
        return -1;
    if (gpu_read64(gpu, VGPU_REG_ERROR_ADDR) - old >= GPU_MEMORY_SIZE)
        return report_stop(gpu, "the error is somewhere else");
    if (round_unmapped(work, 0, old + RING))
        return -1;
    if (gpu_locate(gpu))
        return -1;
    if (gpu->iova == old)
        return fail("the memory was not moved");
    /* Behind what draws in VRAM comes the first packet with an address in memory. */
    if (round_unmapped(work, sizeof(struct vgpu_fill) + sizeof(struct vgpu_plasma), old + PICTURE))
        return -1;
    work->buffers = gpu->iova;
    return workload_restart(work);
}

void workload_expect(struct workload *work, uint32_t number)
{
    for (uint32_t i = 0; i < WIDTH * HEIGHT; i++)
        add_to_checksum(work, expected_pixel(number, i % WIDTH, i / WIDTH));
    for (uint32_t i = 0; i < COUNTS_WIDTH * COUNTS_HEIGHT; i++)
        add_to_checksum(work, expected_count(number, i % COUNTS_WIDTH, i / COUNTS_WIDTH));
}
