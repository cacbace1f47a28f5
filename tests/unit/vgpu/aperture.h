/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of the aperture need: its view, its table, and touches that may fail. */
#ifndef TESTS_VGPU_APERTURE_H
#define TESTS_VGPU_APERTURE_H

#include "rig.h"

#define PAGE     UINT64_C(4096)
#define APERTURE (UINT64_C(256) << 20)
#define VALID    ((uint64_t)VGPU_GGTT_VALID)
#define RW       ((uint64_t)(VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE))

/* The aperture, mapped. */
uint8_t *aperture_map(const struct rig *rig);
/* A touch of the first eight bytes of page `page` of a view; false: it failed (touch.h). */
bool aperture_read(const uint8_t *view, uint64_t page, uint64_t *value);
bool aperture_write(uint8_t *view, uint64_t page, uint64_t value);

/* An entry, by the window. */
void aperture_set(const struct rig *rig, uint32_t index, uint64_t entry);
uint64_t aperture_get(const struct rig *rig, uint32_t index);
/* … by the ring; rig_finish() is the caller's. */
void aperture_emit_fill(struct rig *rig, uint32_t first, uint32_t count, uint64_t entry,
                        uint32_t flags);

/* ALLOC and FREE, of pages from the end of the VRAM's share on; waits. The result of ALLOC. */
uint64_t aperture_alloc(struct rig *rig, uint64_t page, uint64_t pages);
void aperture_free(struct rig *rig, uint64_t page, uint64_t pages);

#endif
