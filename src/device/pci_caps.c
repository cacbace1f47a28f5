/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A description becomes a config space: the type 0 header, then a function a capability.
 */
#include "base/range.h"
#include "device/msix_table.h"
#include "device/pci_space.h"

#include <linux/pci_regs.h>
#include <string.h>

/* Set aside for experiments by their owner, so that a driver without an identity has one. */
#define DEFAULT_VENDOR 0x1af4
#define DEFAULT_DEVICE 0x10f0

/* Sizes that linux/pci_regs.h does not have. */
enum {
    PM_SIZE = 8,
    MSI_64_SIZE = 14,
    MSIX_SIZE = 12,
    EXPRESS_V2_SIZE = 60,
    VENDOR_HEADER_SIZE = 3,
};

/* Capabilities start at multiples of 4. */
static unsigned align_up4(unsigned size)
{
    return (unsigned)align_down(size + 3, 4);
}

/* A little-endian field: what it is after a reset, and which bits a write changes. */
static void put_field(struct pci_config *config, unsigned offset, unsigned size, uint32_t value,
                      uint32_t writable)
{
    for (unsigned i = 0; i < size; i++) {
        config->initial[offset + i] = (uint8_t)(value >> (8 * i));
        config->writable[offset + i] = (uint8_t)(writable >> (8 * i));
    }
}

/* ------------------------------------------------------------------ header */

static uint16_t command_writable(const struct umdev_pci *pci,
                                 const struct pci_config_bar bars[UMDEV_NUM_BARS])
{
    uint16_t mask = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR;

    for (unsigned bar = 0; bar < UMDEV_NUM_BARS; bar++)
        if (bars[bar].size)
            mask |= bars[bar].flags & UMDEV_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if (pci->intx_pin)
        mask |= PCI_COMMAND_INTX_DISABLE;
    return mask;
}

static void build_bars(struct pci_config *config, const struct pci_config_bar bars[UMDEV_NUM_BARS])
{
    for (unsigned bar = 0; bar < UMDEV_NUM_BARS; bar++) {
        uint64_t address_bits = ~(bars[bar].size - 1);
        unsigned offset = PCI_BASE_ADDRESS_0 + 4 * bar;
        uint32_t type = 0;

        if (!bars[bar].size)
            continue;
        if (bars[bar].flags & UMDEV_BAR_IO)
            type |= PCI_BASE_ADDRESS_SPACE_IO;
        if (bars[bar].flags & UMDEV_BAR_PREFETCH)
            type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
        if (bars[bar].flags & UMDEV_BAR_64BIT)
            type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
        put_field(config, offset, 4, type, (uint32_t)address_bits);
        if (bars[bar].flags & UMDEV_BAR_64BIT)
            put_field(config, offset + 4, 4, 0, (uint32_t)(address_bits >> 32));
    }
}

static void build_header(struct pci_config *config, const struct umdev_pci *pci,
                         const struct pci_config_bar bars[UMDEV_NUM_BARS])
{
    const uint16_t errors = PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT |
                            PCI_STATUS_REC_TARGET_ABORT | PCI_STATUS_REC_MASTER_ABORT |
                            PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY;
    uint16_t vendor = pci->vendor ? pci->vendor : DEFAULT_VENDOR;
    uint16_t device = pci->vendor ? pci->device : DEFAULT_DEVICE;

    put_field(config, PCI_VENDOR_ID, 2, vendor, 0);
    put_field(config, PCI_DEVICE_ID, 2, device, 0);
    put_field(config, PCI_COMMAND, 2, 0, command_writable(pci, bars));
    put_field(config, PCI_STATUS, 2, PCI_STATUS_CAP_LIST, 0);
    pci_put16(config->clearable, PCI_STATUS, errors);
    put_field(config, PCI_CLASS_REVISION, 4, pci->class_code << 8 | pci->revision, 0);
    put_field(config, PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
    /* PCI Express has no shared bus whose time could be limited. */
    put_field(config, PCI_LATENCY_TIMER, 1, 0, pci->pcie ? 0 : 0xff);
    build_bars(config, bars);
    put_field(config, PCI_SUBSYSTEM_VENDOR_ID, 2, pci->subsys_vendor ? pci->subsys_vendor : vendor,
              0);
    put_field(config, PCI_SUBSYSTEM_ID, 2, pci->subsys_device ? pci->subsys_device : device, 0);
    put_field(config, PCI_INTERRUPT_LINE, 1, 0, 0xff);
    put_field(config, PCI_INTERRUPT_PIN, 1, pci->intx_pin, 0);
}

/* ------------------------------------------------------------------ capabilities */

/* Where the next capability goes, and the pointer that has to say so. */
struct cap_list {
    unsigned next, link;
};

static unsigned cap_add(struct pci_config *config, struct cap_list *list, uint8_t id, unsigned size)
{
    unsigned offset = list->next;

    put_field(config, list->link, 1, offset, 0);
    put_field(config, offset, 1, id, 0);
    list->link = offset + PCI_CAP_LIST_NEXT;
    list->next = offset + align_up4(size);
    return offset;
}

/* D0 and D3hot. Nothing is lost in D3hot, so the way back to D0 is no reset. */
static void build_pm(struct pci_config *config, struct cap_list *list)
{
    config->pm = cap_add(config, list, PCI_CAP_ID_PM, PM_SIZE);
    put_field(config, config->pm + PCI_PM_PMC, 2, 3, 0);
    put_field(config, config->pm + PCI_PM_CTRL, 2, PCI_PM_CTRL_NO_SOFT_RESET,
              PCI_PM_CTRL_STATE_MASK);
}

static void build_msi(struct pci_config *config, struct cap_list *list, unsigned vectors)
{
    unsigned log2 = (unsigned)__builtin_ctz(vectors);

    config->msi = cap_add(config, list, PCI_CAP_ID_MSI, MSI_64_SIZE);
    put_field(config, config->msi + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_64BIT | log2 << 1,
              PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    put_field(config, config->msi + PCI_MSI_ADDRESS_LO, 4, 0, ~UINT32_C(3));
    put_field(config, config->msi + PCI_MSI_ADDRESS_HI, 4, 0, ~UINT32_C(0));
    put_field(config, config->msi + PCI_MSI_DATA_64, 2, 0, 0xffff);
}

struct pci_msix_layout pci_msix_layout(const struct umdev_msix *msix)
{
    struct pci_msix_layout layout = {
        .table_offset = msix->table_offset,
        .table_size = (uint64_t)msix->vectors * MSIX_ENTRY_SIZE,
        .pba_offset = msix->pba_offset,
        .pba_size = msix_pba_size(msix->vectors),
    };

    if (!layout.pba_offset)
        layout.pba_offset = layout.table_offset + layout.table_size;
    return layout;
}

static void build_msix(struct pci_config *config, struct cap_list *list,
                       const struct umdev_msix *msix)
{
    struct pci_msix_layout layout = pci_msix_layout(msix);

    config->msix = cap_add(config, list, PCI_CAP_ID_MSIX, MSIX_SIZE);
    put_field(config, config->msix + PCI_MSIX_FLAGS, 2, msix->vectors - 1u,
              PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    put_field(config, config->msix + PCI_MSIX_TABLE, 4, (uint32_t)layout.table_offset | msix->bar,
              0);
    put_field(config, config->msix + PCI_MSIX_PBA, 4, (uint32_t)layout.pba_offset | msix->bar, 0);
}

/*
 * A version 2 endpoint behind a 5 GT/s x16 link that is up: no driver is told that its card sits in
 * too slow a slot. It has a function-level reset, 128-byte payloads, and no limits on latency.
 */
static void build_express(struct pci_config *config, struct cap_list *list)
{
    enum {
        SPEED = PCI_EXP_LNKCAP_SLS_5_0GB,
        WIDTH = 16 << 4, /* the same place in capabilities and status */
    };
    unsigned cap = cap_add(config, list, PCI_CAP_ID_EXP, EXPRESS_V2_SIZE);

    config->express = cap;
    put_field(config, cap + PCI_EXP_FLAGS, 2, 2 | PCI_EXP_TYPE_ENDPOINT << 4, 0);
    put_field(config, cap + PCI_EXP_DEVCAP, 4,
              PCI_EXP_DEVCAP_L0S | PCI_EXP_DEVCAP_L1 | PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR, 0);
    put_field(config, cap + PCI_EXP_DEVCTL, 2,
              PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B,
              PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
                  PCI_EXP_DEVCTL_URRE | PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN |
                  PCI_EXP_DEVCTL_READRQ | PCI_EXP_DEVCTL_BCR_FLR);
    pci_put16(config->clearable, cap + PCI_EXP_DEVSTA,
              PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED | PCI_EXP_DEVSTA_URD);
    put_field(config, cap + PCI_EXP_LNKCAP, 4, SPEED | WIDTH | 1 << 22 /* ASPM optional */, 0);
    put_field(config, cap + PCI_EXP_LNKCTL, 2, 0,
              PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
    put_field(config, cap + PCI_EXP_LNKSTA, 2, SPEED | WIDTH | PCI_EXP_LNKSTA_SLC, 0);
    put_field(config, cap + PCI_EXP_DEVCAP2, 4, PCI_EXP_DEVCAP2_COMP_TMOUT_DIS, 0);
    put_field(config, cap + PCI_EXP_DEVCTL2, 2, 0, PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
    put_field(config, cap + PCI_EXP_LNKCAP2, 4,
              PCI_EXP_LNKCAP2_SLS_2_5GB | PCI_EXP_LNKCAP2_SLS_5_0GB, 0);
    put_field(config, cap + PCI_EXP_LNKCTL2, 2, SPEED, PCI_EXP_LNKCTL2_TLS);
}

/* ID, next, length of all, and then what only the vendor's driver understands. */
static void build_vendor(struct pci_config *config, struct cap_list *list,
                         const struct umdev_pci *pci)
{
    unsigned size = VENDOR_HEADER_SIZE + (unsigned)pci->vendor_cap_size;
    unsigned cap = cap_add(config, list, PCI_CAP_ID_VNDR, size);

    put_field(config, cap + PCI_CAP_FLAGS, 1, size, 0);
    memcpy(config->initial + cap + VENDOR_HEADER_SIZE, pci->vendor_cap, pci->vendor_cap_size);
}

size_t pci_vendor_cap_max(const struct umdev_pci *pci)
{
    unsigned used = PCI_STD_HEADER_SIZEOF + PM_SIZE;

    if (pci->msi_vectors)
        used += align_up4(MSI_64_SIZE);
    if (pci->msix.vectors)
        used += MSIX_SIZE;
    if (pci->pcie)
        used += EXPRESS_V2_SIZE;
    return PCI_CFG_SPACE_SIZE - used - VENDOR_HEADER_SIZE;
}

/* The first, and only, extended capability; without it the dword at 0x100 stays 0: none. */
static void build_serial_number(struct pci_config *config, uint64_t serial)
{
    put_field(config, PCI_CFG_SPACE_SIZE, 4, PCI_EXT_CAP_ID_DSN | 1 << 16, 0);
    put_field(config, PCI_CFG_SPACE_SIZE + 4, 4, (uint32_t)serial, 0);
    put_field(config, PCI_CFG_SPACE_SIZE + 8, 4, (uint32_t)(serial >> 32), 0);
}

void pci_caps_build(struct pci_config *config, const struct umdev_pci *pci,
                    const struct pci_config_bar bars[UMDEV_NUM_BARS])
{
    struct cap_list list = {.next = PCI_STD_HEADER_SIZEOF, .link = PCI_CAPABILITY_LIST};

    build_header(config, pci, bars);
    build_pm(config, &list);
    if (pci->msi_vectors)
        build_msi(config, &list, pci->msi_vectors);
    if (pci->msix.vectors)
        build_msix(config, &list, &pci->msix);
    if (pci->pcie)
        build_express(config, &list);
    if (pci->vendor_cap_size)
        build_vendor(config, &list, pci);
    if (pci->serial_number)
        build_serial_number(config, pci->serial_number);
}
