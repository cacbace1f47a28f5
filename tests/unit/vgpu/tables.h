/* SPDX-License-Identifier: BSD-3-Clause */
/* Page tables in a machine's memory. Pages are numbered from MACHINE_IOVA on. */
#ifndef TESTS_VGPU_TABLES_H
#define TESTS_VGPU_TABLES_H

#include "machine.h"

#define PAGE MACHINE_PAGE

#define RW    (VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE)
#define GUEST VGPU_SPACE_GUEST

static inline uint64_t iova_of(uint64_t page)
{
    return MACHINE_IOVA + page * PAGE;
}

/* An entry that names a table; one that names memory of the guest. */
static inline uint64_t table_entry(uint64_t page)
{
    return iova_of(page) | VGPU_GGTT_VALID | GUEST;
}

static inline uint64_t page_entry(uint64_t page)
{
    return iova_of(page) | RW | GUEST;
}

void tables_set(struct machine *machine, uint64_t table, unsigned index, uint64_t entry);

/* Packets. */
struct vgpu_ppgtt_set ppgtt_packet(uint64_t root_page, uint32_t levels);
/* FILL of `bytes` bytes at an address. */
struct vgpu_fill fill_packet(uint32_t space, uint64_t address, uint32_t bytes, uint8_t value);

/* Put page tables in force, with nothing else. */
void tables_select(struct machine *machine, uint64_t root_page, uint32_t levels);
/*
 * Fill `bytes` bytes at a virtual address by the ring: VGPU_ERR_NONE, or what it stopped with; then
 * it is begun anew, with no page tables in force.
 */
enum vgpu_error tables_fill(struct machine *machine, uint64_t address, uint32_t bytes,
                            uint8_t value);

#endif
