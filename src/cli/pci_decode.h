/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI config space taken apart.
 *
 * Data model. `struct pci_function` holds the header's fields and the two capability lists, each
 * capability with the fields of its kind. The bytes come from a server that is not trusted:
 * a list is followed only as long as its pointers stay inside the space and lead to a place not
 * seen before; how it ended is kept in `chain_end`. A capability whose body does not fit has
 * `truncated` set and no fields. All values are as they were read: nothing is guessed.
 */
#ifndef CLI_PCI_DECODE_H
#define CLI_PCI_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_SPACE_MAX 4096
#define PCI_BAR_COUNT 6

/* The fewest bytes with a whole type 0 header. */
#define PCI_SPACE_MIN 64

enum pci_bar_kind {
    PCI_BAR_NONE,
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64,
    PCI_BAR_UPPER, /* the upper half of the 64-bit BAR before it */
};

struct pci_bar {
    enum pci_bar_kind kind;
    bool prefetchable;
    uint64_t address; /* 0: not assigned */
    uint64_t size;    /* of the region: a BAR is not written to find out */
};

struct pci_pm {
    uint8_t version, power_state, data_select, data_scale;
    uint8_t pme_support; /* bit n: from D0, D1, D2, D3hot, D3cold */
    uint16_t aux_current_ma;
    bool pme_clock, dsi, d1, d2, no_soft_reset, pme_enabled, pme_status;
};

struct pci_msi {
    bool enabled, is64, maskable;
    unsigned vectors, vectors_enabled;
    uint64_t address;
    uint16_t data;
    uint32_t mask, pending; /* where maskable */
};

struct pci_msix {
    bool enabled, function_masked;
    unsigned vectors;
    unsigned table_bar, pba_bar;
    uint32_t table_offset, pba_offset;
    bool table_fits, pba_fits; /* inside their BAR */
};

struct pci_express {
    uint8_t version, type, msi_number;
    bool slot, has_link, has_second; /* link registers; those of version 2 */
    uint32_t device_cap, link_cap, device_cap2;
    uint16_t device_control, device_status, link_control, link_status, device_control2;
};

struct pci_vendor_specific {
    uint16_t id; /* of an extended one */
    uint8_t revision;
    uint16_t length; /* the whole capability with its header */
};

struct pci_capability {
    uint16_t offset, id;
    uint8_t version; /* of an extended one */
    bool extended;
    bool truncated;
    union {
        struct pci_pm pm;
        struct pci_msi msi;
        struct pci_msix msix;
        struct pci_express express;
        struct pci_vendor_specific vendor;
        uint64_t serial;
    };
};

enum pci_chain_end {
    PCI_CHAIN_OK,
    PCI_CHAIN_LOOP,   /* a pointer leads to a capability seen before */
    PCI_CHAIN_RANGE,  /* a pointer leads out of the space or into the header */
    PCI_CHAIN_BROKEN, /* the capability there reads as all ones */
};

#define PCI_CAPABILITIES_MAX ((256 - 64) / 4 + (4096 - 256) / 4)

struct pci_function {
    const uint8_t *bytes;
    size_t size;
    uint16_t vendor, device, command, status;
    uint8_t revision, cache_line, latency, header_type, bist, irq_line, irq_pin;
    bool multifunction;
    uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
    uint16_t subsystem_vendor, subsystem_device;         /* type 0 */
    uint8_t bus_primary, bus_secondary, bus_subordinate; /* type 1 */
    unsigned nbars;
    struct pci_bar bars[PCI_BAR_COUNT];
    bool rom_enabled;
    uint32_t rom_address;
    uint64_t rom_size;
    struct pci_capability capabilities[PCI_CAPABILITIES_MAX];
    size_t ncapabilities;
    enum pci_chain_end chain_end, extended_chain_end;
    uint16_t chain_end_at, extended_chain_end_at; /* the pointer that ended it */
};

/*
 * Take `size` bytes apart, PCI_SPACE_MIN to PCI_SPACE_MAX of them; they must outlive *function.
 * `bar_sizes` and `rom_size` are the sizes of the regions. EINVAL: too few or too many bytes.
 */
int pci_decode(const uint8_t *bytes, size_t size, const uint64_t bar_sizes[PCI_BAR_COUNT],
               uint64_t rom_size, struct pci_function *function);

/* The class as lspci(8) would call it; a base class's name where the subclass is unknown. */
const char *pci_class_name(uint32_t class_code);
/* NULL: unknown. */
const char *pci_capability_name(uint16_t id, bool extended);
/* A short stable word for programs: "msix". NULL: unknown. */
const char *pci_capability_key(uint16_t id, bool extended);
/* "Endpoint"; NULL: reserved. */
const char *pci_express_type_name(uint8_t type);
/* "2.5GT/s" for a link speed field; "unknown". */
const char *pci_express_speed(unsigned speed);

#endif
