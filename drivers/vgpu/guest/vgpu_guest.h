/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other side of a vgpu: a small userspace driver for the device, as a VM's kernel would have
 * one. The demo, the benchmarks and the tests use it; it knows umdev/client.h and the datasheet.
 *
 * Data model. The guest owns `memory_size` bytes of memory, a memfd that the device reaches at
 * VGPU_GUEST_IOVA, and a page more behind it for what packets answer. The ring lies at its start,
 * buffers are handed out behind it and never taken back one by one. Packets are written at `tail`;
 * a doorbell tells the device; fences count up and signal MSI-X vector 0. One thread at a time.
 */
#ifndef VGPU_GUEST_H
#define VGPU_GUEST_H

#include "vgpu_regs.h"

#include <stddef.h>
#include <stdint.h>
#include <umdev/client.h>

#define VGPU_GUEST_IOVA UINT64_C(0x100000)
#define VGPU_GUEST_RING 65536u

struct vgpu_guest {
    struct umdev_client *client;
    uint8_t *memory;
    uint64_t memory_size, used;
    uint8_t *vram; /* BAR 0, mapped */
    uint64_t vram_size;
    uint32_t head, tail;      /* head: as last read */
    uint64_t fence;           /* the last value emitted */
    int irq_fence, irq_error; /* eventfds */
    uint8_t *aperture;        /* BAR 4, once it is mapped */
    uint64_t aperture_size;
};

/*
 * Connect to the device at a socket, check that it is a vgpu, give it `memory_size` bytes (rounded
 * up to pages), start its ring.
 * −errno of umdev/client.h; ENODEV: no vgpu, or of another version. `guest` is ready for
 * vgpu_guest_close() in any case.
 */
int vgpu_guest_open(const char *socket, uint64_t memory_size, struct vgpu_guest *guest);
/*
 * The same over a client that exists, which the guest then owns. If that has a tracker the device
 * learns by it of writes to page tables; else it compares them.
 */
int vgpu_guest_start(struct umdev_client *client, uint64_t memory_size, struct vgpu_guest *guest);
void vgpu_guest_close(struct vgpu_guest *guest);

/* `size` bytes of guest memory, page-aligned; *iova is where the device sees them. NULL: full. */
void *vgpu_guest_alloc(struct vgpu_guest *guest, uint64_t size, uint64_t *iova);

/*
 * Write a packet of `bytes` bytes into the ring; the device sees it at the next submit. Waits for
 * room (submitting what is there). EIO: the ring stopped with an error. Others: umdev/client.h.
 */
int vgpu_guest_emit(struct vgpu_guest *guest, const void *packet, uint32_t bytes);
/* Ring the doorbell. */
int vgpu_guest_submit(struct vgpu_guest *guest);
/*
 * Emit a fence, submit, and sleep until its interrupt. EIO: the ring stopped with an error.
 * ETIMEDOUT: nothing for `timeout_ms`.
 */
int vgpu_guest_finish(struct vgpu_guest *guest, int timeout_ms);

/*
 * Map the aperture, all of it: guest->aperture. What a page of it shows its entry of the GGTT says;
 * touching one that has none is SIGBUS. ENOTSUP: no fault-mapping here; umdev_client_read() and
 * _write() reach it. Others: umdev/client.h.
 */
int vgpu_guest_map_aperture(struct vgpu_guest *guest);
/* Write entries (VGPU_GGTT_*) by the window; when it returns nobody sees the old ones' pages. */
int vgpu_guest_ggtt_write(struct vgpu_guest *guest, uint32_t first, const uint64_t *entries,
                          uint32_t count);
/* The entries of `bytes` bytes of VRAM at `address`, by the ring. Emits; see vgpu_guest_finish().
 */
int vgpu_guest_ggtt_map(struct vgpu_guest *guest, uint32_t first, uint64_t address, uint64_t bytes);

/*
 * Make pages of the VRAM beyond guest->vram_size be there, or no more, and wait for it. ENOSPC: the
 * parent has not so many left. Otherwise as vgpu_guest_finish(); a range that can't be is EIO.
 */
int vgpu_guest_vram_alloc(struct vgpu_guest *guest, uint64_t address, uint64_t bytes,
                          int timeout_ms);
int vgpu_guest_vram_free(struct vgpu_guest *guest, uint64_t address, uint64_t bytes,
                         int timeout_ms);

/* Put page tables in force whose top is at an IOVA; `levels` 0: none. Emits. */
int vgpu_guest_ppgtt(struct vgpu_guest *guest, uint64_t root, uint32_t levels);

/* A surface in VRAM or another space, rows packed. */
struct vgpu_surface vgpu_guest_surface(uint32_t space, uint64_t address, uint32_t format,
                                       uint32_t width, uint32_t height);

int vgpu_guest_read32(struct vgpu_guest *guest, uint32_t reg, uint32_t *value);
int vgpu_guest_read64(struct vgpu_guest *guest, uint32_t reg, uint64_t *value);
int vgpu_guest_write32(struct vgpu_guest *guest, uint32_t reg, uint32_t value);

#endif
