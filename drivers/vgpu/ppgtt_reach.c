/* SPDX-License-Identifier: BSD-3-Clause */
/* From a virtual address to a pointer: the engine's way through the shadow. */
#include "ppgtt.h"

#include <errno.h>

#define PROT_BITS ((uint64_t)(UMDEV_READ | UMDEV_WRITE))

/* The table of level 1 for an address, or NULL. */
static struct vgpu_table *find_table(struct vgpu_ppgtt *ppgtt, uint64_t address)
{
    const struct vgpu_process *process = ppgtt->current;
    uint64_t number = address / vgpu_ppgtt_block(2);
    struct vgpu_table *table;

    if (ppgtt->hint && ppgtt->hint_number == number)
        return ppgtt->hint;
    if (address >> VGPU_PPGTT_BITS(process->levels))
        return NULL;
    for (table = process->top; table && table->level > 1;)
        table = table->below[vgpu_ppgtt_index(address, table->level)];
    ppgtt->hint = table;
    ppgtt->hint_number = number;
    return table;
}

/* An entry that may be used for `prot`. */
static bool check_leaf(uint64_t entry, uint64_t address, unsigned prot, struct vgpu_fault *fault)
{
    if (!(entry & VGPU_GGTT_VALID))
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_UNMAPPED, address);
    if (!vgpu_entry_is_page(entry))
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_ENTRY, address);
    if (prot & UMDEV_WRITE && !(entry & VGPU_GGTT_WRITABLE))
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_PROTECTION, address);
    return true;
}

/* Entries from `index` on, as many as `most`, that name pages which follow each other. */
static unsigned entry_run(const struct vgpu_table *table, unsigned index, uint64_t most)
{
    unsigned run = 1;

    while (run < most && index + run < VGPU_PPGTT_ENTRIES &&
           table->entries[index + run] == table->entries[index] + run * VGPU_PAGE)
        run++;
    return run;
}

/* ------------------------------------------------------------------ pins */

/* Pages that are not pinned for `prot` yet, all alike, and no tables. */
static unsigned unpinned_run(const struct vgpu_ppgtt *ppgtt, const struct vgpu_table *table,
                             unsigned index, unsigned most)
{
    unsigned run = 0;

    while (run < most &&
           (table->pins[index + run] & PROT_BITS) == (table->pins[index] & PROT_BITS) &&
           !vgpu_ppgtt_find(ppgtt, table->process, vgpu_entry_address(table->entries[index + run])))
        run++;
    return run;
}

static int pin_some(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned index,
                    unsigned *count, unsigned prot)
{
    struct umdev_device *dev = ppgtt->memory->pins->dev;
    umdev_iova_t iova = umdev_iova(vgpu_entry_address(table->entries[index]));
    umdev_bus_t bus[VGPU_PPGTT_ENTRIES];
    int ret;

    while ((ret = umdev_dma_pin(dev, iova, *count, prot, bus)) != 0) {
        if (*count == 1 || ret == -ENODEV || ret == -EIO)
            return ret;
        *count /= 2;
    }
    if (table->pins[index]) {
        umdev_dma_unpin(dev, iova, *count);
    } else {
        table->pinned += *count;
        ppgtt->pinned += *count;
    }
    for (unsigned i = 0; i < *count; i++)
        table->pins[index + i] = bus[i].value | prot;
    return 0;
}

/* As many of `most` entries as can be had, at least one; *fault. */
static bool pin(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned index, unsigned most,
                unsigned prot, uint64_t address, struct vgpu_fault *fault)
{
    uint64_t iova = vgpu_entry_address(table->entries[index]), last;
    unsigned count = unpinned_run(ppgtt, table, index, most);
    int ret;

    if (count == 0)
        return vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_ENTRY, address);
    /* What was pinned to be read stays so where it is written, too. */
    ret = pin_some(ppgtt, table, index, &count, prot | (table->pins[index] & PROT_BITS));
    if (ret)
        return vgpu_memory_fault(fault, ret, iova);
    last = iova + (count - 1) * VGPU_PAGE;
    if (table->pinned == count || iova < table->first_pinned)
        table->first_pinned = iova;
    if (table->pinned == count || last > table->last_pinned)
        table->last_pinned = last;
    return true;
}

/* ENODEV: bus mastering is off. EIO: the device has failed. */
static bool check_access(const struct vgpu_ppgtt *ppgtt, uint64_t iova, struct vgpu_fault *fault)
{
    uint8_t none;
    int ret = umdev_dma_read(ppgtt->memory->pins->dev, umdev_iova(0), &none, 0);

    return ret == 0 || vgpu_memory_fault(fault, ret, iova);
}

/* Pinned entries from `index` on whose bus addresses follow each other. */
static unsigned bus_run(const struct vgpu_table *table, unsigned index, uint64_t most)
{
    unsigned run = 1;

    while (run < most && index + run < VGPU_PPGTT_ENTRIES &&
           table->pins[index + run] == table->pins[index] + run * VGPU_PAGE)
        run++;
    return run;
}

/* ------------------------------------------------------------------ pieces */

static size_t reach_guest(struct vgpu_ppgtt *ppgtt, struct vgpu_table *table, unsigned index,
                          uint64_t address, size_t len, unsigned prot, uint8_t **ptr,
                          struct vgpu_fault *fault)
{
    const struct vgpu_pins *pins = ppgtt->memory->pins;
    uint64_t iova = vgpu_entry_address(table->entries[index]), offset = address % VGPU_PAGE;
    uint64_t most = (offset + len - 1) / VGPU_PAGE + 1;
    size_t piece;

    if ((table->pins[index] & prot) == prot) {
        if (!check_access(ppgtt, iova, fault))
            return 0;
    } else if (!pin(ppgtt, table, index, entry_run(table, index, most), prot, address, fault)) {
        return 0;
    }
    piece = bus_run(table, index, most) * VGPU_PAGE - offset;
    piece = vgpu_mmu_walk(pins->mmu, (table->pins[index] & ~PROT_BITS) + offset,
                          piece < len ? piece : len, prot, ptr);
    if (piece == 0)
        vgpu_memory_fault(fault, -EFAULT, iova);
    return piece;
}

static size_t reach_vram(struct vgpu_ppgtt *ppgtt, const struct vgpu_table *table, unsigned index,
                         uint64_t address, size_t len, uint8_t **ptr, struct vgpu_fault *fault)
{
    const struct vgpu_vram *vram = ppgtt->memory->vram;
    uint64_t at = vgpu_entry_address(table->entries[index]), offset = address % VGPU_PAGE;
    unsigned most = entry_run(table, index, (offset + len - 1) / VGPU_PAGE + 1), run = 0;
    size_t piece;

    while (run < most && vgpu_vram_holds(vram, at + run * VGPU_PAGE, VGPU_PAGE))
        run++;
    if (run == 0) {
        vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_ENTRY, address);
        return 0;
    }
    piece = run * VGPU_PAGE - offset;
    *ptr = vram->bytes + at + offset;
    return piece < len ? piece : len;
}

static size_t reach_piece(struct vgpu_ppgtt *ppgtt, uint64_t address, size_t len, unsigned prot,
                          uint8_t **ptr, struct vgpu_fault *fault)
{
    struct vgpu_table *table = find_table(ppgtt, address);
    unsigned index = vgpu_ppgtt_index(address, 1);

    if (!table) {
        vgpu_ppgtt_fault(fault, VGPU_ERR_VIRT_UNMAPPED, address);
        return 0;
    }
    if (!check_leaf(table->entries[index], address, prot, fault))
        return 0;
    if (table->entries[index] & VGPU_SPACE_GUEST)
        return reach_guest(ppgtt, table, index, address, len, prot, ptr, fault);
    return reach_vram(ppgtt, table, index, address, len, ptr, fault);
}

size_t vgpu_ppgtt_reach(struct vgpu_ppgtt *ppgtt, uint64_t address, size_t len, unsigned prot,
                        uint8_t **ptr, struct vgpu_fault *fault)
{
    size_t got = reach_piece(ppgtt, address, len, prot, ptr, fault);

    while (got > 0 && got < len) {
        struct vgpu_fault later;
        uint8_t *at;
        size_t piece = reach_piece(ppgtt, address + got, len - got, prot, &at, &later);

        if (piece == 0 || at != *ptr + got)
            break;
        got += piece;
    }
    return got;
}
