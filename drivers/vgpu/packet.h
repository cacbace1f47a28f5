/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets: from bytes that a client wrote to a command that is safe to execute.
 *
 * A decoded command holds checked values only: areas lie inside their surfaces, these in VRAM that
 * is there (or do not wrap the address space), numbers inside their limits, reserved bits are 0.
 * VRAM stays as long as the command: only another command of the ring can free it. What can't be
 * known here is whether guest and virtual addresses are mapped: that shows when they are used.
 */
#ifndef VGPU_PACKET_H
#define VGPU_PACKET_H

#include "memory.h"

struct vgpu_command {
    enum vgpu_opcode opcode;
    uint32_t bytes; /* of the packet: where the next one begins */
    uint32_t flags;
    enum vgpu_kernel kernel;      /* DISPATCH */
    struct vgpu_area dst, src, b; /* b: MATMUL's right factor; src is its left one */
    union {
        uint32_t fill; /* FILL: the value */
        uint8_t alpha; /* BLEND */
        struct {
            uint8_t space;
            uint64_t address, value;
        } fence;
        struct {
            uint8_t space; /* enum vgpu_space, as the others */
            uint64_t address;
            uint32_t bytes;
        } batch;
        struct {
            double x0, y0, dx, dy;
            uint32_t max_iterations;
        } mandelbrot;
        uint32_t radius; /* BLUR */
        struct {
            uint8_t space;
            uint64_t address;
        } histogram;
        struct {
            uint32_t time, scale;
        } plasma;
        struct {
            uint32_t first, count;
            uint64_t entry;   /* GGTT_FILL */
            uint64_t address; /* GGTT_LOAD: of the entries */
            uint8_t space;    /* GGTT_LOAD */
        } ggtt;
        struct {
            uint64_t address, bytes;
            uint64_t result; /* IOVA */
        } alloc;             /* ALLOC, FREE */
        struct {
            uint32_t levels; /* 0: none */
            uint64_t root;
        } ppgtt;
    };
};

/*
 * Decode the packet at `bytes`, a private copy. `fetched` bytes are there; `available` (at least
 * as many) lie before the end of the ring's or batch's contents. Both are multiples of 8, not 0.
 * False with *fault filled in. Of `memory` the VRAM and the GGTT are looked at.
 */
bool vgpu_packet_decode(const void *bytes, uint32_t fetched, uint32_t available, bool in_batch,
                        const struct vgpu_memory *memory, struct vgpu_command *command,
                        struct vgpu_fault *fault);

#endif
