/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the config space's tests share: one device that has everything, with its layout written
 * down by hand, and a record of what writes made happen. cmocka is the includer's.
 */
#ifndef TESTS_PCI_FIXTURE_H
#define TESTS_PCI_FIXTURE_H

#include "device/pci_config.h"

#include <endian.h>
#include <string.h>

/* "c0007 m10 f": the calls of pci_config_ops, in order. */
struct pci_record {
    char text[256];
    bool level;
    struct pci_config *reset_on_flr;
};

static inline void record_add(struct pci_record *record, const char *format, unsigned value)
{
    size_t used = strlen(record->text);

    snprintf(record->text + used, sizeof(record->text) - used, format, value);
}

static inline void record_command(void *opaque, uint16_t command)
{
    record_add(opaque, "c%04x ", command);
}

static inline void record_msix_control(void *opaque, bool enabled, bool function_masked)
{
    record_add(opaque, "m%02x ", enabled << 4 | function_masked);
}

static inline void record_flr(void *opaque)
{
    struct pci_record *record = opaque;

    record_add(record, "f ", 0);
    if (record->reset_on_flr)
        pci_config_reset(record->reset_on_flr);
}

static inline bool record_intx_level(void *opaque)
{
    return ((const struct pci_record *)opaque)->level;
}

static const struct pci_config_ops record_ops = {
    .command = record_command,
    .msix_control = record_msix_control,
    .flr = record_flr,
    .intx_level = record_intx_level,
};

/* What happened since the last call. */
#define assert_happened(record, expected)                                                          \
    do {                                                                                           \
        assert_string_equal((record)->text, expected);                                             \
        (record)->text[0] = '\0';                                                                  \
    } while (0)

/* Every capability, every kind of BAR. */
static const struct umdev_pci full_pci = {
    .struct_size = sizeof(struct umdev_pci),
    .vendor = 0x1234,
    .device = 0x5678,
    .subsys_vendor = 0x9abc,
    .subsys_device = 0xdef0,
    .class_code = 0x030201,
    .revision = 0x42,
    .intx_pin = 2,
    .msi_vectors = 8,
    .msix = {.vectors = 100, .bar = 5, .table_offset = 0x1000, .pba_offset = 0x800},
    .pcie = true,
    .serial_number = 0x1122334455667788,
    .vendor_cap = "\x11\x22\x33\x44\x55\x66",
    .vendor_cap_size = 6,
};
static const struct pci_config_bar full_bars[UMDEV_NUM_BARS] = {
    {.size = 0x10000},
    {.size = 64, .flags = UMDEV_BAR_IO},
    {.size = UINT64_C(1) << 33, .flags = UMDEV_BAR_64BIT | UMDEV_BAR_PREFETCH},
    {0},
    {.size = 16, .flags = UMDEV_BAR_PREFETCH},
    {.size = 0x2000},
};

static inline struct pci_config *fixture_config(const struct umdev_pci *pci,
                                                const struct pci_config_bar *bars,
                                                struct pci_record *record)
{
    struct pci_config *config = NULL;
    struct umdev_error error = {""};
    int ret = pci_config_new(pci, bars, &record_ops, record, &config, &error);

    if (ret)
        fail_msg("pci_config_new: %d, %s", ret, error.message);
    return config;
}

static inline uint32_t config_read(struct pci_config *config, uint32_t offset, size_t len)
{
    uint32_t value = 0;

    pci_config_read(config, offset, &value, len);
    return le32toh(value);
}

static inline void config_write(struct pci_config *config, uint32_t offset, size_t len,
                                uint32_t value)
{
    value = htole32(value);
    pci_config_write(config, offset, &value, len);
}

#endif
