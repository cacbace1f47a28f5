/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/pci_decode.h"

#include "base/range.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <string.h>

/* Callers have checked the bounds. */
static uint8_t get8(const struct pci_function *f, unsigned offset)
{
    return f->bytes[offset];
}

static uint16_t get16(const struct pci_function *f, unsigned offset)
{
    uint16_t value;

    memcpy(&value, f->bytes + offset, sizeof(value));
    return le16toh(value);
}

static uint32_t get32(const struct pci_function *f, unsigned offset)
{
    uint32_t value;

    memcpy(&value, f->bytes + offset, sizeof(value));
    return le32toh(value);
}

/* ------------------------------------------------------------------ the header */

/* Decodes the BAR at `index` and returns how many registers it takes. */
static unsigned decode_bar(struct pci_function *f, unsigned index, uint64_t size)
{
    unsigned offset = PCI_BASE_ADDRESS_0 + 4 * index;
    uint32_t low = get32(f, offset);
    struct pci_bar *bar = &f->bars[index];

    if (low == 0 && size == 0)
        return 1;
    bar->size = size;
    if (low & PCI_BASE_ADDRESS_SPACE_IO) {
        bar->kind = PCI_BAR_IO;
        bar->address = low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
        return 1;
    }
    bar->prefetchable = low & PCI_BASE_ADDRESS_MEM_PREFETCH;
    bar->address = low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
    bar->kind = PCI_BAR_MEM32;
    if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) != PCI_BASE_ADDRESS_MEM_TYPE_64 ||
        index + 1 >= f->nbars)
        return 1;
    bar->kind = PCI_BAR_MEM64;
    bar->address |= (uint64_t)get32(f, offset + 4) << 32;
    f->bars[index + 1].kind = PCI_BAR_UPPER;
    return 2;
}

static void decode_rom(struct pci_function *f, unsigned offset, uint64_t size)
{
    uint32_t value = get32(f, offset);

    f->rom_enabled = value & PCI_ROM_ADDRESS_ENABLE;
    f->rom_address = value & (uint32_t)PCI_ROM_ADDRESS_MASK;
    f->rom_size = size;
}

static void decode_header(struct pci_function *f, const uint64_t bar_sizes[PCI_BAR_COUNT],
                          uint64_t rom_size)
{
    f->vendor = get16(f, PCI_VENDOR_ID);
    f->device = get16(f, PCI_DEVICE_ID);
    f->command = get16(f, PCI_COMMAND);
    f->status = get16(f, PCI_STATUS);
    f->revision = get8(f, PCI_REVISION_ID);
    f->class_code = get32(f, PCI_CLASS_REVISION) >> 8;
    f->cache_line = get8(f, PCI_CACHE_LINE_SIZE);
    f->latency = get8(f, PCI_LATENCY_TIMER);
    f->header_type = get8(f, PCI_HEADER_TYPE) & 0x7f;
    f->multifunction = get8(f, PCI_HEADER_TYPE) & 0x80;
    f->bist = get8(f, PCI_BIST);
    f->irq_line = get8(f, PCI_INTERRUPT_LINE);
    f->irq_pin = get8(f, PCI_INTERRUPT_PIN);
    if (f->header_type == PCI_HEADER_TYPE_NORMAL) {
        f->nbars = 6;
        f->subsystem_vendor = get16(f, PCI_SUBSYSTEM_VENDOR_ID);
        f->subsystem_device = get16(f, PCI_SUBSYSTEM_ID);
        decode_rom(f, PCI_ROM_ADDRESS, rom_size);
    } else if (f->header_type == PCI_HEADER_TYPE_BRIDGE) {
        f->nbars = 2;
        f->bus_primary = get8(f, PCI_PRIMARY_BUS);
        f->bus_secondary = get8(f, PCI_SECONDARY_BUS);
        f->bus_subordinate = get8(f, PCI_SUBORDINATE_BUS);
        decode_rom(f, PCI_ROM_ADDRESS1, rom_size);
    }
    for (unsigned i = 0; i < f->nbars;)
        i += decode_bar(f, i, bar_sizes[i]);
}

/* ------------------------------------------------------------------ capabilities */

static void decode_pm(const struct pci_function *f, unsigned at, struct pci_pm *pm)
{
    static const uint16_t aux_current[] = {0, 55, 100, 160, 220, 270, 320, 375};
    uint16_t pmc = get16(f, at + PCI_PM_PMC);
    uint16_t pmcsr = get16(f, at + PCI_PM_CTRL);

    pm->version = pmc & PCI_PM_CAP_VER_MASK;
    pm->pme_clock = pmc & PCI_PM_CAP_PME_CLOCK;
    pm->dsi = pmc & PCI_PM_CAP_DSI;
    pm->aux_current_ma = aux_current[(pmc & PCI_PM_CAP_AUX_POWER) >> 6];
    pm->d1 = pmc & PCI_PM_CAP_D1;
    pm->d2 = pmc & PCI_PM_CAP_D2;
    pm->pme_support = pmc >> PCI_PM_CAP_PME_SHIFT;
    pm->power_state = pmcsr & PCI_PM_CTRL_STATE_MASK;
    pm->no_soft_reset = pmcsr & PCI_PM_CTRL_NO_SOFT_RESET;
    pm->pme_enabled = pmcsr & PCI_PM_CTRL_PME_ENABLE;
    pm->data_select = (pmcsr & PCI_PM_CTRL_DATA_SEL_MASK) >> 9;
    pm->data_scale = (pmcsr & PCI_PM_CTRL_DATA_SCALE_MASK) >> 13;
    pm->pme_status = pmcsr & PCI_PM_CTRL_PME_STATUS;
}

static size_t msi_length(uint16_t flags)
{
    bool is64 = flags & PCI_MSI_FLAGS_64BIT;

    if (flags & PCI_MSI_FLAGS_MASKBIT)
        return is64 ? 24 : 20;
    return is64 ? 14 : 10;
}

static void decode_msi(const struct pci_function *f, unsigned at, struct pci_msi *msi)
{
    uint16_t flags = get16(f, at + PCI_MSI_FLAGS);
    unsigned after_address = at + PCI_MSI_DATA_32;

    msi->enabled = flags & PCI_MSI_FLAGS_ENABLE;
    msi->is64 = flags & PCI_MSI_FLAGS_64BIT;
    msi->maskable = flags & PCI_MSI_FLAGS_MASKBIT;
    msi->vectors = 1U << ((flags & PCI_MSI_FLAGS_QMASK) >> 1);
    msi->vectors_enabled = 1U << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4);
    msi->address = get32(f, at + PCI_MSI_ADDRESS_LO);
    if (msi->is64) {
        msi->address |= (uint64_t)get32(f, at + PCI_MSI_ADDRESS_HI) << 32;
        after_address = at + PCI_MSI_DATA_64;
    }
    msi->data = get16(f, after_address);
    if (msi->maskable) {
        msi->mask = get32(f, after_address + 4);
        msi->pending = get32(f, after_address + 8);
    }
}

static void decode_msix(const struct pci_function *f, unsigned at,
                        const uint64_t bar_sizes[PCI_BAR_COUNT], struct pci_msix *msix)
{
    uint16_t flags = get16(f, at + PCI_MSIX_FLAGS);
    uint32_t table = get32(f, at + PCI_MSIX_TABLE);
    uint32_t pba = get32(f, at + PCI_MSIX_PBA);

    msix->enabled = flags & PCI_MSIX_FLAGS_ENABLE;
    msix->function_masked = flags & PCI_MSIX_FLAGS_MASKALL;
    msix->vectors = (flags & PCI_MSIX_FLAGS_QSIZE) + 1U;
    msix->table_bar = table & PCI_MSIX_TABLE_BIR;
    msix->table_offset = table & (uint32_t)PCI_MSIX_TABLE_OFFSET;
    msix->pba_bar = pba & PCI_MSIX_PBA_BIR;
    msix->pba_offset = pba & (uint32_t)PCI_MSIX_PBA_OFFSET;
    msix->table_fits =
        msix->table_bar < PCI_BAR_COUNT &&
        span_fits(msix->table_offset, UINT64_C(16) * msix->vectors, bar_sizes[msix->table_bar]);
    msix->pba_fits = msix->pba_bar < PCI_BAR_COUNT &&
                     span_fits(msix->pba_offset, (msix->vectors + UINT64_C(63)) / 64 * 8,
                               bar_sizes[msix->pba_bar]);
}

static bool express_has_link(uint8_t type)
{
    return type != PCI_EXP_TYPE_RC_END && type != PCI_EXP_TYPE_RC_EC;
}

/* Version 1 devices may leave out what they do not have; version 2 has every register. */
static size_t express_length(uint16_t flags)
{
    unsigned version = flags & PCI_EXP_FLAGS_VERS;

    if (version >= 2)
        return PCI_EXP_SLTSTA2 + 2;
    return express_has_link((flags & PCI_EXP_FLAGS_TYPE) >> 4) ? PCI_EXP_LNKSTA + 2
                                                               : PCI_EXP_DEVSTA + 2;
}

static void decode_express(const struct pci_function *f, unsigned at, struct pci_express *express)
{
    uint16_t flags = get16(f, at + PCI_EXP_FLAGS);

    express->version = flags & PCI_EXP_FLAGS_VERS;
    express->type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
    express->slot = flags & PCI_EXP_FLAGS_SLOT;
    express->msi_number = (flags & PCI_EXP_FLAGS_IRQ) >> 9;
    express->device_cap = get32(f, at + PCI_EXP_DEVCAP);
    express->device_control = get16(f, at + PCI_EXP_DEVCTL);
    express->device_status = get16(f, at + PCI_EXP_DEVSTA);
    express->has_link = express_has_link(express->type);
    if (express->has_link) {
        express->link_cap = get32(f, at + PCI_EXP_LNKCAP);
        express->link_control = get16(f, at + PCI_EXP_LNKCTL);
        express->link_status = get16(f, at + PCI_EXP_LNKSTA);
    }
    express->has_second = express->version >= 2;
    if (express->has_second) {
        express->device_cap2 = get32(f, at + PCI_EXP_DEVCAP2);
        express->device_control2 = get16(f, at + PCI_EXP_DEVCTL2);
    }
}

/* The bytes this capability's fields take, header included, as far as `limit` lets it be known. */
static size_t capability_length(const struct pci_function *f, const struct pci_capability *cap,
                                size_t limit)
{
    bool flags_fit = limit - cap->offset >= 4;

    switch (cap->id) {
    case PCI_CAP_ID_PM:
        return PCI_PM_SIZEOF;
    case PCI_CAP_ID_MSI:
        return flags_fit ? msi_length(get16(f, cap->offset + PCI_MSI_FLAGS)) : 10;
    case PCI_CAP_ID_MSIX:
        return PCI_CAP_MSIX_SIZEOF;
    case PCI_CAP_ID_EXP:
        return flags_fit ? express_length(get16(f, cap->offset + PCI_EXP_FLAGS)) : 4;
    case PCI_CAP_ID_VNDR:
        return flags_fit ? MAX(get8(f, cap->offset + 2), 3) : 3;
    default:
        return 2;
    }
}

static void decode_capability(const struct pci_function *f, const uint64_t bar_sizes[PCI_BAR_COUNT],
                              struct pci_capability *cap)
{
    size_t limit = MIN(f->size, 256U);

    cap->truncated = !span_fits(cap->offset, capability_length(f, cap, limit), limit);
    if (cap->truncated)
        return;
    switch (cap->id) {
    case PCI_CAP_ID_PM:
        decode_pm(f, cap->offset, &cap->pm);
        break;
    case PCI_CAP_ID_MSI:
        decode_msi(f, cap->offset, &cap->msi);
        break;
    case PCI_CAP_ID_MSIX:
        decode_msix(f, cap->offset, bar_sizes, &cap->msix);
        break;
    case PCI_CAP_ID_EXP:
        decode_express(f, cap->offset, &cap->express);
        break;
    case PCI_CAP_ID_VNDR:
        cap->vendor.length = get8(f, cap->offset + 2);
        break;
    default:
        break;
    }
}

static void decode_extended(const struct pci_function *f, struct pci_capability *cap)
{
    size_t room = f->size - cap->offset;
    uint32_t header;

    if (cap->id == PCI_EXT_CAP_ID_DSN) {
        cap->truncated = room < 12;
        if (!cap->truncated)
            cap->serial = get32(f, cap->offset + 4U) | (uint64_t)get32(f, cap->offset + 8U) << 32;
    } else if (cap->id == PCI_EXT_CAP_ID_VNDR) {
        cap->truncated = room < 8;
        if (cap->truncated)
            return;
        header = get32(f, cap->offset + PCI_VNDR_HEADER);
        cap->truncated = (header >> 20) > room;
        if (cap->truncated)
            return;
        cap->vendor.id = header & 0xffff;
        cap->vendor.revision = (header >> 16) & 0xf;
        cap->vendor.length = header >> 20;
    }
}

/* ------------------------------------------------------------------ the two lists */

/* Which dwords of the space hold a capability already. */
struct seen {
    bool dword[PCI_SPACE_MAX / 4];
};

/* Whether the list may go on at `pointer`, a capability's place in [first, limit). */
static enum pci_chain_end chain_step(struct seen *seen, unsigned pointer, unsigned first,
                                     size_t limit)
{
    if (pointer < first || pointer + 4 > limit)
        return PCI_CHAIN_RANGE;
    if (seen->dword[pointer / 4])
        return PCI_CHAIN_LOOP;
    seen->dword[pointer / 4] = true;
    return PCI_CHAIN_OK;
}

static struct pci_capability *add_capability(struct pci_function *f, unsigned offset, uint16_t id)
{
    struct pci_capability *cap = &f->capabilities[f->ncapabilities++];

    cap->offset = (uint16_t)offset;
    cap->id = id;
    return cap;
}

static void decode_list(struct pci_function *f, struct seen *seen,
                        const uint64_t bar_sizes[PCI_BAR_COUNT])
{
    size_t limit = MIN(f->size, 256U);
    unsigned pointer = get8(f, PCI_CAPABILITY_LIST) & ~3U;

    if (!(f->status & PCI_STATUS_CAP_LIST) || f->header_type > PCI_HEADER_TYPE_BRIDGE)
        return;
    while (pointer && f->chain_end == PCI_CHAIN_OK) {
        f->chain_end = chain_step(seen, pointer, PCI_STD_HEADER_SIZEOF, limit);
        if (f->chain_end == PCI_CHAIN_OK && get16(f, pointer) == 0xffff)
            f->chain_end = PCI_CHAIN_BROKEN;
        f->chain_end_at = (uint16_t)pointer;
        if (f->chain_end != PCI_CHAIN_OK)
            return;
        decode_capability(f, bar_sizes, add_capability(f, pointer, get8(f, pointer)));
        pointer = get8(f, pointer + PCI_CAP_LIST_NEXT) & ~3U;
    }
}

static void decode_extended_list(struct pci_function *f, struct seen *seen)
{
    unsigned pointer = PCI_CFG_SPACE_SIZE;

    /* No extended capabilities at all: the first header is zero, or all ones where nothing is. */
    if (f->size < PCI_CFG_SPACE_SIZE + 4 || get32(f, pointer) == 0 ||
        get32(f, pointer) == UINT32_MAX)
        return;
    while (pointer && f->extended_chain_end == PCI_CHAIN_OK) {
        struct pci_capability *cap;
        uint32_t header;

        f->extended_chain_end = chain_step(seen, pointer, PCI_CFG_SPACE_SIZE, f->size);
        f->extended_chain_end_at = (uint16_t)pointer;
        if (f->extended_chain_end != PCI_CHAIN_OK)
            return;
        header = get32(f, pointer);
        if (header == UINT32_MAX) {
            f->extended_chain_end = PCI_CHAIN_BROKEN;
            return;
        }
        cap = add_capability(f, pointer, PCI_EXT_CAP_ID(header));
        cap->version = PCI_EXT_CAP_VER(header);
        cap->extended = true;
        decode_extended(f, cap);
        pointer = PCI_EXT_CAP_NEXT(header);
    }
}

int pci_decode(const uint8_t *bytes, size_t size, const uint64_t bar_sizes[PCI_BAR_COUNT],
               uint64_t rom_size, struct pci_function *function)
{
    struct seen seen = {0};

    if (size < PCI_SPACE_MIN || size > PCI_SPACE_MAX)
        return -EINVAL;
    *function = (struct pci_function){.bytes = bytes, .size = size & ~(size_t)3};
    decode_header(function, bar_sizes, rom_size);
    decode_list(function, &seen, bar_sizes);
    decode_extended_list(function, &seen);
    return 0;
}
