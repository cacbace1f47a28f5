/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver as it ships: a host with a vgpu parent, and clients with memory and a ring, over
 * umdev's public headers alone.
 */
#ifndef TESTS_VGPU_RIG_H
#define TESTS_VGPU_RIG_H

#include "vgpu_regs.h"

#include <stddef.h>
#include <umdev/client.h>
#include <umdev/host.h>

#define RIG_IOVA   UINT64_C(0x40000000)
#define RIG_MEMORY (UINT64_C(16) << 20)
#define RIG_RING   4096u               /* at the start of the memory */
#define RIG_VRAM   (UINT64_C(4) << 20) /* of a vgpu-1 */

/*
 * A host with one parent "gpu" of 32 MiB VRAM and `engines` engines, its bus that of VGPU_BUS in
 * the environment (contiguous by default). Ends the test on failure.
 */
struct umdev_host *rig_host(unsigned engines);

struct rig {
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];
    struct umdev_client *client;
    struct umdev_tracker *tracker; /* NULL: none */
    int memfd;
    uint8_t *memory;
    uint32_t tail;
    int irq_fence, irq_error;
};

/* A new device of `type`, and a client on it with memory, interrupts and a running ring. */
void rig_init(struct rig *rig, struct umdev_host *host, const char *type);
/* The same, with a tracker. */
void rig_init_tracked(struct rig *rig, struct umdev_host *host, const char *type,
                      struct umdev_tracker *tracker);
/* Close the client; remove the device. */
void rig_free(struct rig *rig);
/* The two halves of a client's life. Another may follow at once. */
void rig_connect(struct rig *rig);
void rig_disconnect(struct rig *rig);
/* The first half for a client that exists, maybe in a process without the host. */
void rig_attach(struct rig *rig, struct umdev_client *client);

uint32_t rig_read32(const struct rig *rig, uint32_t reg);
uint64_t rig_read64(const struct rig *rig, uint32_t reg);
void rig_write32(const struct rig *rig, uint32_t reg, uint32_t value);
void rig_write64(const struct rig *rig, uint32_t reg, uint64_t value);

/* Set the ring up at the start of the memory and run it. */
void rig_start(struct rig *rig);
/* Write a packet, with padding before the ring's end; the device sees it at the next doorbell. */
void rig_emit(struct rig *rig, const void *packet, uint32_t bytes);
void rig_doorbell(struct rig *rig);
/* Emit a fence with an interrupt, ring the doorbell. */
void rig_fence(struct rig *rig, uint64_t value);
/* Wait for an interrupt; the test ends if there is none for ten seconds. */
void rig_wait(int irq);
/* Whether an interrupt is there, without waiting. */
bool rig_pending(int irq);
/* rig_fence() and rig_wait(). */
void rig_finish(struct rig *rig, uint64_t value);

/* Client memory that the device has pinned now. The test ends if the device has failed. */
uint64_t rig_pinned(const struct rig *rig);
/* Pages of its memory that are tracked for writes. */
uint64_t rig_tracked(const struct rig *rig);
/* Wait until nothing is pinned: the engine's turn is over. */
void rig_wait_unpinned(const struct rig *rig);

/* A FILL of `rows` rows of 4096 pixels in VRAM, from the start. */
struct vgpu_fill rig_fill(uint32_t rows, uint32_t value);
/* A Mandelbrot that takes an engine many slices. */
struct vgpu_mandelbrot rig_long(uint32_t rows);

#endif
