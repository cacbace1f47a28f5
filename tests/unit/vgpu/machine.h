/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vgpu without umdev: VRAM, a ring and guest memory in one thread, for tests of what packets do.
 *
 * Guest memory is made of pages that lie scattered in one buffer, so that stretches end where the
 * code under test does not expect them to; each page has a protection of its own, and is pinned as
 * umdev would, into the device's mmu. How bus addresses are made says VGPU_BUS in the environment:
 * contiguous (default), paged or identity. The fake counts pins: none may be left after a turn, but
 * for those of page tables' entries, and of a page that is not pinned nothing can be reached.
 * Writes to tracked pages are those of the test and of pins.
 */
#ifndef TESTS_VGPU_MACHINE_H
#define TESTS_VGPU_MACHINE_H

#include "ring.h"

#define MACHINE_PAGE  4096u
#define MACHINE_PAGES 1024u
#define MACHINE_IOVA  UINT64_C(0x7fff00000000) /* of the first guest page */
#define MACHINE_BUS   UINT64_C(0x12345000)     /* of the first page's bus address */
#define MACHINE_GUEST ((uint64_t)MACHINE_PAGE * MACHINE_PAGES)
/* The ring: the last pages of guest memory. */
#define MACHINE_RING_SIZE 8192u
#define MACHINE_RING      (MACHINE_IOVA + MACHINE_GUEST - MACHINE_RING_SIZE)
/* Guest memory that tests may use for surfaces. */
#define MACHINE_USABLE (MACHINE_GUEST - MACHINE_RING_SIZE)

/* Beyond the VRAM's share; of it the pool has less. */
#define MACHINE_GROW    (64 * (uint64_t)MACHINE_PAGE)
#define MACHINE_POOL    48u
#define MACHINE_ENTRIES 20000u /* of the GGTT */

struct umdev_device {
    uint8_t *pages;
    uint32_t where[MACHINE_PAGES]; /* a guest page's place in `pages` */
    uint8_t prot[MACHINE_PAGES];   /* UMDEV_READ | UMDEV_WRITE; 0: not mapped */
    enum umdev_bus_mode mode;
    struct vgpu_mmu mmu;
    unsigned pins[MACHINE_PAGES];   /* of each page */
    uint8_t entered[MACHINE_PAGES]; /* with this protection in the mmu; 0: not */
    size_t most;                    /* pages that a pin may have, 0: any */
    uint64_t pin_calls;
    int error; /* what every access fails with, if not 0 */
    unsigned tracked[MACHINE_PAGES];
    bool written[MACHINE_PAGES];
    int track_error;  /* what pages can't be tracked for, if not 0 */
    uint64_t leaving; /* a page that is about to be taken away: no more pins. It is gone when
                       * somebody begins to track it. 0: none */
    bool aliases;     /* bits 48 and up of an IOVA are ignored */
    struct umdev_track_range ranges[MACHINE_PAGES]; /* the last report */
};

struct machine {
    struct umdev_device guest;
    uint8_t *vram;
    uint64_t vram_size; /* the share: MACHINE_GROW bytes more can be allocated */
    struct vgpu_vram pages;
    struct vgpu_ggtt ggtt;
    struct vgpu_pool pool;
    struct vgpu_settle settled; /* the last that was due */
    union vgpu_scratch *scratch;
    struct vgpu_ring ring;
    struct vgpu_pins pins;
    struct vgpu_ppgtt ppgtt;
    uint32_t tail;
    uint32_t interrupts; /* collected */
    uint64_t steps;
};

/* Whether VGPU_BUS is identity: no IOMMU. */
bool machine_has_identity(void);
/* `contiguous`: guest pages lie in order. Ends the test on failure. */
void machine_init(struct machine *machine, uint64_t vram_size, bool contiguous, uint64_t seed);
void machine_free(struct machine *machine);
/* Begin the ring anew. */
void machine_restart(struct machine *machine);

/* The test's own way to guest memory, past protections. */
void machine_peek(const struct machine *machine, uint64_t iova, void *buf, size_t len);
void machine_poke(struct machine *machine, uint64_t iova, const void *buf, size_t len);

/* Write a packet into the ring, padding its end where the packet does not fit. */
void machine_emit(struct machine *machine, const void *packet, uint32_t bytes);
/* The client takes pages away, or gives them back with a protection. */
void machine_protect(struct machine *machine, uint64_t iova, uint64_t pages, unsigned prot);

/* Pins of all pages. */
unsigned machine_pinned(const struct machine *machine);
/* A doorbell; then step to the tail, in one turn: VGPU_STEP_IDLE, or VGPU_STEP_FAULT. */
enum vgpu_step machine_run(struct machine *machine);
/* Emit, run, and expect success. */
void machine_do(struct machine *machine, const void *packet, uint32_t bytes);
/* Emit, run, and expect an error. The ring is begun anew. */
void machine_expect(struct machine *machine, const void *packet, uint32_t bytes,
                    enum vgpu_error code);

#endif
