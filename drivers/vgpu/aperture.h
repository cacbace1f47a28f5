/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BAR4, the aperture: umdev's side of the GGTT (ggtt.h).
 *
 * A touch is answered by what the entry says: VRAM is mapped, in runs; guest memory, which the
 * client has already, is left to messages, which are copies. A change is settled, that is, what it
 * made untrue is taken back from whoever mapped it, and freed VRAM is punched out: in the callback
 * that wrote an entry, and by the device's *keeper*, a thread of its own, for the ring. An engine
 * is not to wait for a client that takes its time: it leaves the device to the keeper, works for
 * others, and the ring goes on when all is settled.
 */
#ifndef VGPU_APERTURE_H
#define VGPU_APERTURE_H

#include "vgpu.h"

int vgpu_aperture_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                              unsigned access, struct umdev_map *map);
/* Messages to pages of guest memory. */
int vgpu_aperture_read(struct vgpu *gpu, uint64_t offset, void *buf, size_t len);
int vgpu_aperture_write(struct vgpu *gpu, uint64_t offset, const void *buf, size_t len);

/*
 * The window to the GGTT: `len` bytes, whole dwords, at `offset` of it. Entries behind the table's
 * end are 0 and not written. Writing returns when it is settled. No lock held.
 */
void vgpu_window_read(struct vgpu *gpu, uint32_t index, uint64_t offset, uint8_t *buf, size_t len);
void vgpu_window_write(struct vgpu *gpu, uint32_t index, uint64_t offset, const uint8_t *buf,
                       size_t len);

/* Do what is due, and clear it. May wait for the client; no lock held. */
void vgpu_aperture_settle(struct vgpu *gpu, struct vgpu_settle *settle);
/* The device is quiet: nothing is allocated any more, and nothing mapped through the aperture. */
void vgpu_aperture_clear(struct vgpu *gpu);

/* −EAGAIN, −ENOMEM. */
int vgpu_keeper_start(struct vgpu *gpu);
/* The device is quiet, and stays so. */
void vgpu_keeper_stop(struct vgpu *gpu);

#endif
