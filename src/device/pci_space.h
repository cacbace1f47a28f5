/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pci_check.c, pci_caps.c (a description becomes bytes and masks) and pci_config.c (the bytes
 * live) share; the data model is in pci_config.h.
 */
#ifndef DEVICE_PCI_SPACE_H
#define DEVICE_PCI_SPACE_H

#include "device/pci_config.h"

#include <stdatomic.h>

struct pci_config {
    struct pci_config_ops ops;
    void *opaque;
    size_t size;
    uint8_t *values;
    uint8_t *writable;               /* bits that a write changes */
    uint8_t *clearable;              /* bits that a write of 1 clears */
    uint8_t *initial;                /* values after a reset */
    unsigned pm, msi, msix, express; /* where the capabilities start; 0: not there */
    _Atomic uint16_t command;        /* as it counts: read by any thread */
};

/* EINVAL, and `error` says why, for a description that makes no PCI device. */
int pci_check(const struct umdev_pci *pci, const struct pci_config_bar bars[UMDEV_NUM_BARS],
              struct umdev_error *error);

/* Fill in initial, writable and clearable, and the capabilities' places. */
void pci_caps_build(struct pci_config *config, const struct umdev_pci *pci,
                    const struct pci_config_bar bars[UMDEV_NUM_BARS]);

/* The bytes left for the body of a vendor-specific capability, beside the others `pci` has. */
size_t pci_vendor_cap_max(const struct umdev_pci *pci);

/* Where MSI-X's two structures lie in their BAR, pba_offset 0 replaced by what it stands for. */
struct pci_msix_layout {
    uint64_t table_offset, table_size;
    uint64_t pba_offset, pba_size;
};
struct pci_msix_layout pci_msix_layout(const struct umdev_msix *msix);

static inline uint16_t pci_get16(const uint8_t *bytes, unsigned offset)
{
    return (uint16_t)(bytes[offset] | bytes[offset + 1] << 8);
}

static inline void pci_put16(uint8_t *bytes, unsigned offset, uint16_t value)
{
    bytes[offset] = (uint8_t)value;
    bytes[offset + 1] = (uint8_t)(value >> 8);
}

#endif
