/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vgpu's fill and copy in its own memory, against memset and memcpy of the same size here; what a
 * change of the aperture's page table costs beside a fence.
 */
#include "bench.h"

#include "vgpu_guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* One surface of 16 MiB: larger than the caches, a hundred times a command's overhead. */
enum {
    WIDTH = 2048,
    HEIGHT = 2048,
    BYTES = WIDTH * HEIGHT * 4,
    COMMANDS = 4,
    GGTT_PAGES = 512,
    TIMEOUT_MS = 10000,
};

struct vgpu_ours {
    pid_t pid;
    struct vgpu_guest guest;
    uint64_t page; /* vgpu.ggtt */
};

struct vgpu_floor {
    uint8_t *memory;
};

static struct vgpu_surface surface(unsigned n)
{
    return vgpu_guest_surface(VGPU_SPACE_VRAM, (uint64_t)n * BYTES, VGPU_FORMAT_RAW32, WIDTH,
                              HEIGHT);
}

/* COMMANDS of one packet, then their fence: bytes per nanosecond. */
static int run_packets(struct vgpu_guest *guest, const void *packet, uint32_t size, double *sample)
{
    uint64_t start = bench_now_ns();
    int ret = 0;

    for (int i = 0; !ret && i < COMMANDS; i++)
        ret = vgpu_guest_emit(guest, packet, size);
    if (!ret)
        ret = vgpu_guest_finish(guest, TIMEOUT_MS);
    *sample = (double)COMMANDS * BYTES / (double)(bench_now_ns() - start);
    return ret;
}

static int fill_measure(void *state, double *samples, size_t n)
{
    struct vgpu_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(packet)),
        .dst = surface(0),
        .rect = {.width = WIDTH, .height = HEIGHT},
    };
    struct vgpu_ours *ours = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        packet.value = 0x01010101u * (uint32_t)(i & 0xff);
        ret = run_packets(&ours->guest, &packet, sizeof(packet), &samples[i]);
    }
    return ret;
}

static int copy_measure(void *state, double *samples, size_t n)
{
    struct vgpu_copy packet = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(packet)),
        .dst = surface(1),
        .src = surface(0),
        .width = WIDTH,
        .height = HEIGHT,
    };
    struct vgpu_ours *ours = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++)
        ret = run_packets(&ours->guest, &packet, sizeof(packet), &samples[i]);
    return ret;
}

static int memset_measure(void *state, double *samples, size_t n)
{
    struct vgpu_floor *floor = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (int k = 0; k < COMMANDS; k++)
            memset(floor->memory, (int)i + k, BYTES);
        samples[i] = (double)COMMANDS * BYTES / (double)(bench_now_ns() - start);
    }
    return 0;
}

static int memcpy_measure(void *state, double *samples, size_t n)
{
    struct vgpu_floor *floor = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (int k = 0; k < COMMANDS; k++) {
            floor->memory[k] = (uint8_t)i;
            memcpy(floor->memory + BYTES, floor->memory, BYTES);
        }
        samples[i] = (double)COMMANDS * BYTES / (double)(bench_now_ns() - start);
    }
    return 0;
}

static void ours_stop(void *state)
{
    struct vgpu_ours *ours = state;

    vgpu_guest_close(&ours->guest);
    bench_kill(ours->pid);
    free(ours);
}

static void floor_stop(void *state)
{
    struct vgpu_floor *floor = state;

    munmap(floor->memory, 2 * (size_t)BYTES);
    free(floor);
}

static int device_start(struct row_run *run, int (*measure)(void *, double *, size_t))
{
    struct vgpu_ours *ours = calloc(1, sizeof(*ours));
    struct umdev_client *client;
    int sock, ret;

    ours->pid = bench_spawn(run->server_cpu, bench_vgpu_serve, (char[]){"vram=256M"}, &sock);
    if (ours->pid < 0)
        return ours->pid;
    ret = umdev_connect_fd(sock, NULL, &client);
    if (ret)
        return ret;
    run->ours = (struct subject){measure, ours_stop, ours};
    return vgpu_guest_start(client, 1 << 20, &ours->guest);
}

static int vgpu_start(struct row_run *run, int (*measure)(void *, double *, size_t),
                      int (*measure_floor)(void *, double *, size_t))
{
    struct vgpu_floor *floor = calloc(1, sizeof(*floor));
    int ret = device_start(run, measure);

    if (ret)
        return ret;
    /* Shared memory, as the device's is: private memory would have the help of huge pages. */
    floor->memory = mmap(NULL, 2 * (size_t)BYTES, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    run->floor = (struct subject){measure_floor, floor_stop, floor};
    return floor->memory == MAP_FAILED ? -ENOMEM : 0;
}

static int vgpu_fill_start(struct row_run *run)
{
    return vgpu_start(run, fill_measure, memset_measure);
}

static int vgpu_copy_start(struct row_run *run)
{
    return vgpu_start(run, copy_measure, memcpy_measure);
}

/* ------------------------------------------------------------------ the GGTT */

/* Every time other pages. Nobody has touched the aperture: it is the hand-over that costs. */
static int ggtt_measure(void *state, double *samples, size_t n)
{
    struct vgpu_ours *ours = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        ours->page ^= 4096;
        ret = vgpu_guest_ggtt_map(&ours->guest, 0, ours->page, (uint64_t)GGTT_PAGES * 4096);
        if (!ret)
            ret = vgpu_guest_finish(&ours->guest, TIMEOUT_MS);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return ret;
}

static int fence_measure(void *state, double *samples, size_t n)
{
    struct vgpu_ours *ours = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        ret = vgpu_guest_finish(&ours->guest, TIMEOUT_MS);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return ret;
}

static int vgpu_ggtt_start(struct row_run *run)
{
    int ret = device_start(run, ggtt_measure);

    /* The floor is the same device's. */
    if (!ret)
        run->floor = (struct subject){fence_measure, NULL, run->ours.state};
    return ret;
}

const struct row vgpu_ggtt_row = {
    .name = "vgpu.ggtt",
    .what = "GGTT_FILL of 512 entries, doorbell to fence / a fence alone",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 200,
    .start = vgpu_ggtt_start,
};

const struct row vgpu_fill_row = {
    .name = "vgpu.fill",
    .what = "FILL of 16 MiB, doorbell to fence / memset",
    .unit = "GB/s",
    .kind = ROW_RATE,
    .samples = 4,
    .start = vgpu_fill_start,
};

const struct row vgpu_copy_row = {
    .name = "vgpu.copy",
    .what = "COPY of 16 MiB, doorbell to fence / memcpy",
    .unit = "GB/s",
    .kind = ROW_RATE,
    .samples = 4,
    .start = vgpu_copy_start,
};
