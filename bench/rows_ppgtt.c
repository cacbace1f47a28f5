/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vgpu's page tables: a frame by virtual addresses, of which some mean other pages each time,
 * against the same frame by IOVAs. Both are the same device's, in turn.
 */
#include "bench.h"

#include "vgpu_guest.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PAGE = 4096,
    WIDTH = 1024,
    HEIGHT = 1024,
    BYTES = WIDTH * HEIGHT * 4,
    PAGES = BYTES / PAGE,
    TABLES = 2 * PAGES / VGPU_PPGTT_ENTRIES, /* of the lowest level, for two surfaces */
    TIMEOUT_MS = 10000,
};

/* The destination is at virtual address 0, the source behind it. */
struct ppgtt {
    pid_t pid;
    struct vgpu_guest guest;
    struct umdev_tracker *tracker;
    unsigned changes; /* a frame */
    uint64_t root;
    uint64_t *entries;              /* of the lowest level */
    uint64_t target, source, other; /* surfaces' IOVAs */
    bool swapped;
};

static uint64_t page_entry(uint64_t iova)
{
    return iova | VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE | VGPU_SPACE_GUEST;
}

/* Tables of two levels, in memory of the guest. */
static int make_tables(struct ppgtt *p)
{
    uint64_t tables;
    uint64_t *top = vgpu_guest_alloc(&p->guest, PAGE, &p->root);
    int ret = 0;

    p->entries = vgpu_guest_alloc(&p->guest, (uint64_t)TABLES * PAGE, &tables);
    if (!top || !p->entries || !vgpu_guest_alloc(&p->guest, BYTES, &p->target) ||
        !vgpu_guest_alloc(&p->guest, BYTES, &p->source) ||
        !vgpu_guest_alloc(&p->guest, BYTES, &p->other))
        ret = -ENOMEM;
    for (unsigned i = 0; !ret && i < TABLES; i++)
        top[i] = (tables + (uint64_t)i * PAGE) | VGPU_GGTT_VALID | VGPU_SPACE_GUEST;
    for (unsigned i = 0; !ret && i < PAGES; i++) {
        p->entries[i] = page_entry(p->target + (uint64_t)i * PAGE);
        p->entries[PAGES + i] = page_entry(p->source + (uint64_t)i * PAGE);
    }
    return ret;
}

/* Two copies and a blend, doorbell to fence. */
static int draw(struct vgpu_guest *guest, uint32_t space, uint64_t target, uint64_t source)
{
    struct vgpu_copy packet = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(packet)),
        .dst = vgpu_guest_surface(space, target, VGPU_FORMAT_ARGB8888, WIDTH, HEIGHT),
        .src = vgpu_guest_surface(space, source, VGPU_FORMAT_ARGB8888, WIDTH, HEIGHT),
        .width = WIDTH,
        .height = HEIGHT,
    };
    int ret = vgpu_guest_emit(guest, &packet, sizeof(packet));

    packet.header = (struct vgpu_header){VGPU_HEADER(VGPU_OP_BLEND, 0, sizeof(packet)), 128};
    if (!ret)
        ret = vgpu_guest_emit(guest, &packet, sizeof(packet));
    packet.header = (struct vgpu_header){VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(packet)), 0};
    if (!ret)
        ret = vgpu_guest_emit(guest, &packet, sizeof(packet));
    return ret ? ret : vgpu_guest_finish(guest, TIMEOUT_MS);
}

static int shadowed_measure(void *state, double *samples, size_t n)
{
    struct ppgtt *p = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns(), source;

        p->swapped = !p->swapped;
        source = p->swapped ? p->other : p->source;
        for (unsigned entry = 0; entry < p->changes; entry++)
            p->entries[PAGES + entry] = page_entry(source + (uint64_t)entry * PAGE);
        ret = vgpu_guest_ppgtt(&p->guest, p->root, 2);
        if (!ret)
            ret = draw(&p->guest, VGPU_SPACE_VIRTUAL, 0, BYTES);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return ret;
}

static int flat_measure(void *state, double *samples, size_t n)
{
    struct ppgtt *p = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        uint64_t start = bench_now_ns();

        p->swapped = !p->swapped;
        ret = draw(&p->guest, VGPU_SPACE_GUEST, p->target,
                   p->swapped && p->changes ? p->other : p->source);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return ret;
}

static void ppgtt_stop(void *state)
{
    struct ppgtt *p = state;

    vgpu_guest_close(&p->guest);
    umdev_tracker_free(p->tracker);
    bench_kill(p->pid);
    free(p);
}

static int ppgtt_start(struct row_run *run, unsigned changes)
{
    struct umdev_connect_options options = {.struct_size = sizeof(options)};
    struct ppgtt *p = calloc(1, sizeof(*p));
    struct umdev_client *client;
    int sock, ret;

    p->changes = changes;
    p->pid = bench_spawn(run->server_cpu, bench_vgpu_serve, (char[]){"vram=64M"}, &sock);
    if (p->pid < 0)
        return p->pid;
    ret = umdev_tracker_new(0, &p->tracker);
    options.tracker = p->tracker;
    if (!ret)
        ret = umdev_connect_fd(sock, &options, &client);
    if (ret)
        return ret;
    run->ours = (struct subject){shadowed_measure, ppgtt_stop, p};
    run->floor = (struct subject){flat_measure, NULL, p};
    ret = vgpu_guest_start(client, 4 * (uint64_t)BYTES, &p->guest);
    return ret ? ret : make_tables(p);
}

static int ppgtt_0_start(struct row_run *run)
{
    return ppgtt_start(run, 0);
}

static int ppgtt_10_start(struct row_run *run)
{
    return ppgtt_start(run, 10);
}

static int ppgtt_1000_start(struct row_run *run)
{
    return ppgtt_start(run, 1000);
}

const struct row vgpu_ppgtt_0_row = {
    .name = "vgpu.ppgtt.0",
    .what = "a frame by page tables that stay as they are / the same by IOVAs",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 20,
    .start = ppgtt_0_start,
};

const struct row vgpu_ppgtt_10_row = {
    .name = "vgpu.ppgtt.10",
    .what = "the same with 10 entries rewritten",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 20,
    .start = ppgtt_10_start,
};

const struct row vgpu_ppgtt_1000_row = {
    .name = "vgpu.ppgtt.1000",
    .what = "the same with 1,000 entries rewritten",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 20,
    .start = ppgtt_1000_start,
};
