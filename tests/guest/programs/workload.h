/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The work a vgpu is given here: rounds of packets that go through FILL, COPY both ways between
 * VRAM and memory, DISPATCH, and a FENCE, each round's result compared with the reference.
 *
 * Data model. The memory of a gpu holds the ring, the fence's word, and the buffers: a picture and
 * a table of counts; VRAM a picture that is rendered and one that was copied back from memory. A
 * round's content depends on its number alone, so the checksum of n rounds is the same on every
 * machine.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "gpu.h"

struct workload {
    struct gpu *gpu;
    uint64_t buffers; /* the IOVA that packets use for the gpu's memory; the ring has gpu->iova */
    uint32_t tail;
    uint64_t fence, checksum;
};

/* Checks that it is a vgpu, resets and starts it. As all here: 0, or −1 and a message on stderr. */
int workload_start(struct workload *work, struct gpu *gpu);
/* Render round `number`, wait for its interrupt, compare every pixel, add to the checksum. */
int workload_round(struct workload *work, uint32_t number);
/* A packet that is wrong: the ring must stop there with the error's interrupt, and start again. */
int workload_error(struct workload *work);
/* Add what the round must render to the checksum, without a device. */
void workload_expect(struct workload *work, uint32_t number);
/* The round's packets again and again, results unseen, `rounds` fences. For the sake of traffic. */
int workload_traffic(struct workload *work, uint32_t rounds);
/* Work for a minute or more that writes to memory all the time. Returns when the device has begun:
 * from then on there is no message between QEMU and the device. */
int workload_long(struct workload *work);
/* After workload_long(): the memory that the device works in has left the machine, the kernel has
 * moved its content elsewhere, and the device still has the old addresses: once at work, once in
 * its ring's base, once in a packet. Each must be an error of its own and end with a reset; at last
 * the device gets the new addresses. */
int workload_moved(struct workload *work);

/* For those who make packets of their own. A round is finished before the next begins, and fits the
 * ring, so there is always room. */
void workload_emit(struct workload *work, const void *packet, uint32_t bytes);
void workload_emit_fence(struct workload *work); /* with an interrupt */
void workload_submit(struct workload *work);
/* Wait for the interrupt of the fence that was emitted last. */
int workload_wait_fence(struct workload *work);
/* The ring stops with this error, and nothing else happens. */
int workload_wait_error(const struct workload *work, uint32_t error);
/* From the ring's beginning. */
int workload_restart(struct workload *work);

#endif
