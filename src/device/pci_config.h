/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI config space: 256 bytes, or 4096 for PCI Express.
 *
 * Data model. Four byte arrays of the space's size: the values, the bits a write may change, the
 * bits that a write of 1 clears, and the values after a reset. A write is applied byte by byte
 * through both masks, whatever its size and alignment; then the fields it touched are looked at as
 * a whole and their effects happen: power state, MSI (both only correct what makes no sense),
 * function-level reset, or else command register and then MSI-X control where they changed.
 *
 * Layout: type 0 header; capabilities from 0x40 up, linked in the order PM, MSI (64-bit, no
 * masking), MSI-X, PCIe (version 2 endpoint), vendor-specific; extended capabilities from 0x100
 * (device serial number).
 *
 * Nothing here locks: the caller lets reads, writes and resets of one space not overlap.
 * pci_config_command() alone may be called at any time by any thread.
 */
#ifndef DEVICE_PCI_CONFIG_H
#define DEVICE_PCI_CONFIG_H

#include <umdev/driver.h>

struct pci_config;

/*
 * What a write made happen; each may be NULL. Called from pci_config_write() and _reset() as the
 * last thing they do, so that they may come back into the space, to reset it for example.
 */
struct pci_config_ops {
    /* INTx disable, bus master, memory and I/O enable: as pci_config_command(). */
    void (*command)(void *opaque, uint16_t command);
    void (*msix_control)(void *opaque, bool enabled, bool function_masked);
    /* Function-level reset was asked for; the space has been reset already, ops told. */
    void (*flr)(void *opaque);
    /* Whether the INTx line is raised, for the status register's interrupt bit. */
    bool (*intx_level)(void *opaque);
};

struct pci_config_bar {
    uint64_t size;  /* 0: not there */
    uint32_t flags; /* enum umdev_bar_flags */
};

/*
 * `bars`: as they are after the driver's create(), MSI-X's own BAR included. EINVAL (and a log line
 * by the caller from `error`): sizes that are no power of two or too small, a 64-bit BAR in the
 * last place or over another, an I/O BAR that is too large, MSI-X table or pending bits outside
 * their BAR or over each other, odd MSI counts, a class code over 24 bits, a pin over 4, a serial
 * number without pcie, vendor 0xffff, a vendor capability that does not fit. Vendor and device both
 * 0 become 1af4:10f0, which their owner set aside for experiments. `ops` is copied. ENOMEM.
 */
int pci_config_new(const struct umdev_pci *pci, const struct pci_config_bar bars[UMDEV_NUM_BARS],
                   const struct pci_config_ops *ops, void *opaque, struct pci_config **config,
                   struct umdev_error *error);
void pci_config_free(struct pci_config *config);

size_t pci_config_size(const struct pci_config *config);
/* Any size and alignment inside the space; the caller has checked the bounds. */
void pci_config_read(struct pci_config *config, uint32_t offset, void *buf, size_t len);
void pci_config_write(struct pci_config *config, uint32_t offset, const void *buf, size_t len);
/* Values as after creation; the ops are told of the new command and MSI-X control. */
void pci_config_reset(struct pci_config *config);

/*
 * The command register as it counts: in D3hot, memory, I/O and bus master are off whatever it
 * says. Its bits.
 */
uint16_t pci_config_command(const struct pci_config *config);
enum {
    PCI_CONFIG_COMMAND_IO = 1 << 0,
    PCI_CONFIG_COMMAND_MEMORY = 1 << 1,
    PCI_CONFIG_COMMAND_MASTER = 1 << 2,
    PCI_CONFIG_COMMAND_INTX_DISABLE = 1 << 10,
};

#endif
