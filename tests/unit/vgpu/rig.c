/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void log_quietly(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)opaque;
    if (level <= UMDEV_LOG_ERROR)
        fprintf(stderr, "%s\n", line);
}

struct umdev_host *rig_host(unsigned engines)
{
    const struct umdev_host_options options = {
        .struct_size = sizeof(options),
        .log = log_quietly,
        .log_level = UMDEV_LOG_DEBUG,
    };
    const char *bus = getenv("VGPU_BUS");
    char engines_param[32], bus_param[32];
    const char *params[] = {"vram=32M", engines_param, bus_param};
    struct umdev_host *host = NULL;
    struct umdev_error error = {.message = ""};

    snprintf(engines_param, sizeof(engines_param), "engines=%u", engines);
    snprintf(bus_param, sizeof(bus_param), "bus=%s", bus ? bus : "contiguous");
    assert_int_equal(umdev_host_new(&options, &host), 0);
    if (umdev_host_add_parent(host, VGPU_DRIVER, "gpu", params, 3, &error))
        fail_msg("%s", error.message);
    return host;
}

uint32_t rig_read32(const struct rig *rig, uint32_t reg)
{
    uint32_t value = 0;

    assert_int_equal(umdev_client_read32(rig->client, VGPU_BAR_REGS, reg, &value), 0);
    return value;
}

uint64_t rig_read64(const struct rig *rig, uint32_t reg)
{
    uint64_t value = 0;

    assert_int_equal(umdev_client_read64(rig->client, VGPU_BAR_REGS, reg, &value), 0);
    return value;
}

void rig_write32(const struct rig *rig, uint32_t reg, uint32_t value)
{
    assert_int_equal(umdev_client_write32(rig->client, VGPU_BAR_REGS, reg, value), 0);
}

void rig_write64(const struct rig *rig, uint32_t reg, uint64_t value)
{
    assert_int_equal(umdev_client_write64(rig->client, VGPU_BAR_REGS, reg, value), 0);
}

void rig_start(struct rig *rig)
{
    rig_write32(rig, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    rig_write64(rig, VGPU_REG_RING_BASE, RIG_IOVA);
    rig_write32(rig, VGPU_REG_RING_SIZE, RIG_RING);
    rig_write32(rig, VGPU_REG_CONTROL, VGPU_CONTROL_RUN);
    rig->tail = 0;
    assert_int_equal(rig_read32(rig, VGPU_REG_STATUS), VGPU_STATUS_RUNNING);
}

static struct umdev_client *connect_pair(const struct rig *rig)
{
    const struct umdev_connect_options options = {
        .struct_size = sizeof(options),
        .tracker = rig->tracker,
    };
    struct umdev_client *client = NULL;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(umdev_host_serve_fd(rig->host, rig->uuid, pair[0]), 0);
    assert_int_equal(umdev_connect_fd(pair[1], &options, &client), 0);
    return client;
}

void rig_connect(struct rig *rig)
{
    rig_attach(rig, connect_pair(rig));
}

void rig_attach(struct rig *rig, struct umdev_client *client)
{
    const uint16_t command = 0x6; /* memory, bus master */

    rig->client = client;
    rig->memfd = memfd_create("guest", MFD_CLOEXEC);
    assert_true(rig->memfd >= 0);
    assert_int_equal(ftruncate(rig->memfd, RIG_MEMORY), 0);
    rig->memory = mmap(NULL, RIG_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, rig->memfd, 0);
    assert_ptr_not_equal(rig->memory, MAP_FAILED);
    assert_int_equal(umdev_client_dma_map_at(rig->client, rig->memfd, 0, umdev_iova(RIG_IOVA),
                                             RIG_MEMORY, UMDEV_RW, rig->memory),
                     0);
    assert_int_equal(
        umdev_client_write(rig->client, UMDEV_REGION_CONFIG, 4, &command, sizeof(command)), 0);
    rig->irq_fence = umdev_client_irq_eventfd(rig->client, UMDEV_IRQ_MSIX, VGPU_MSIX_FENCE);
    rig->irq_error = umdev_client_irq_eventfd(rig->client, UMDEV_IRQ_MSIX, VGPU_MSIX_ERROR);
    assert_true(rig->irq_fence >= 0 && rig->irq_error >= 0);
    fcntl(rig->irq_fence, F_SETFL, O_NONBLOCK);
    fcntl(rig->irq_error, F_SETFL, O_NONBLOCK);
    rig_write32(rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    rig_start(rig);
}

void rig_disconnect(struct rig *rig)
{
    umdev_client_close(rig->client);
    munmap(rig->memory, RIG_MEMORY);
    close(rig->memfd);
}

void rig_init(struct rig *rig, struct umdev_host *host, const char *type)
{
    rig_init_tracked(rig, host, type, NULL);
}

void rig_init_tracked(struct rig *rig, struct umdev_host *host, const char *type,
                      struct umdev_tracker *tracker)
{
    *rig = (struct rig){.host = host, .tracker = tracker};
    assert_int_equal(umdev_host_create(host, "gpu", type, NULL, rig->uuid, NULL), 0);
    rig_connect(rig);
}

void rig_free(struct rig *rig)
{
    rig_disconnect(rig);
    assert_int_equal(umdev_host_remove(rig->host, rig->uuid), 0);
}

void rig_emit(struct rig *rig, const void *packet, uint32_t bytes)
{
    uint32_t rest = RIG_RING - rig->tail;

    if (bytes > rest) {
        struct vgpu_nop nop = {.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, rest)};

        memcpy(rig->memory + rig->tail, &nop, sizeof(nop));
        rig->tail = 0;
    }
    memcpy(rig->memory + rig->tail, packet, bytes);
    rig->tail = (rig->tail + bytes) % RIG_RING;
}

void rig_doorbell(struct rig *rig)
{
    rig_write32(rig, VGPU_REG_RING_TAIL, rig->tail);
}

void rig_fence(struct rig *rig, uint64_t value)
{
    struct vgpu_fence p = {
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_IRQ, sizeof(p)),
        .value = value,
    };

    rig_emit(rig, &p, sizeof(p));
    rig_doorbell(rig);
}

void rig_wait(int irq)
{
    struct pollfd pollfd = {.fd = irq, .events = POLLIN};
    uint64_t count;

    assert_int_equal(poll(&pollfd, 1, 10000), 1);
    assert_int_equal(read(irq, &count, sizeof(count)), sizeof(count));
}

bool rig_pending(int irq)
{
    uint64_t count;

    return read(irq, &count, sizeof(count)) == sizeof(count);
}

void rig_finish(struct rig *rig, uint64_t value)
{
    rig_fence(rig, value);
    rig_wait(rig->irq_fence);
    assert_true(rig_read64(rig, VGPU_REG_FENCE) == value);
}

static struct umdev_host_stats stats_of(const struct rig *rig)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    assert_int_equal(umdev_host_get_stats(rig->host, rig->uuid, &stats), 0);
    assert_int_equal(stats.failed, 0);
    return stats;
}

uint64_t rig_pinned(const struct rig *rig)
{
    return stats_of(rig).dma_pinned_bytes;
}

uint64_t rig_tracked(const struct rig *rig)
{
    return stats_of(rig).tracked_pages;
}

void rig_wait_unpinned(const struct rig *rig)
{
    while (rig_pinned(rig))
        usleep(100);
}

struct vgpu_fill rig_fill(uint32_t rows, uint32_t value)
{
    return (struct vgpu_fill){
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(struct vgpu_fill)),
        .dst = {.format = VGPU_FORMAT_RAW32, .pitch = 4096, .width = 1024, .height = rows},
        .rect = {0, 0, 1024, rows},
        .value = value,
    };
}

struct vgpu_mandelbrot rig_long(uint32_t rows)
{
    return (struct vgpu_mandelbrot){
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(struct vgpu_mandelbrot)),
                   VGPU_KERNEL_MANDELBROT},
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_GUEST,
                .pitch = 4096,
                .width = 1024,
                .height = rows,
                .address = RIG_IOVA + (8 << 20)},
        .rect = {0, 0, 1024, rows},
        .x0 = -0.1, /* inside the set: every iteration is taken */
        .max_iterations = VGPU_ITERATIONS_MAX,
    };
}
