/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a driver's description makes a PCI device.
 */
#include "base/log.h"
#include "base/range.h"
#include "device/msix_table.h"
#include "device/pci_space.h"

#include <errno.h>
#include <inttypes.h>

#define IO_BAR_MIN       4
#define IO_BAR_MAX       256
#define MEMORY_BAR_MIN   16
#define MEMORY_BAR32_MAX (UINT64_C(1) << 31)
#define MSI_MAX          32

static int check_identity(const struct umdev_pci *pci, struct umdev_error *error)
{
    if (pci->vendor == 0xffff || (pci->vendor == 0 && pci->device != 0))
        return error_set(error, EINVAL,
                         "vendor ID %04x is nobody's; give the vendor's, or neither vendor nor "
                         "device for a default",
                         pci->vendor);
    if (pci->class_code > 0xffffff)
        return error_set(error, EINVAL,
                         "class code %#" PRIx32 " has more than 24 bits (class, subclass, "
                         "programming interface)",
                         pci->class_code);
    if (pci->intx_pin > 4)
        return error_set(error, EINVAL,
                         "INTx pin %u does not exist; 1 to 4 are INTA to INTD, 0 is none",
                         pci->intx_pin);
    if (pci->msi_vectors && (!is_power_of_two(pci->msi_vectors) || pci->msi_vectors > MSI_MAX))
        return error_set(error, EINVAL,
                         "%u MSI vectors: the number must be 0, 1, 2, 4, 8, 16 or 32",
                         pci->msi_vectors);
    if (pci->serial_number && !pci->pcie)
        return error_set(error, EINVAL,
                         "serial number %#" PRIx64 " needs pcie: it lies in the extended config "
                         "space",
                         pci->serial_number);
    return 0;
}

static int check_io_bar(unsigned bar, const struct pci_config_bar *desc, struct umdev_error *error)
{
    const uint32_t impossible = UMDEV_BAR_64BIT | UMDEV_BAR_PREFETCH | UMDEV_BAR_MEMORY;

    if (desc->flags & impossible)
        return error_set(error, EINVAL,
                         "BAR%u: an I/O BAR (flags %#" PRIx32 ") can't be 64-bit, prefetchable "
                         "or plain memory",
                         bar, desc->flags);
    if (desc->size < IO_BAR_MIN || desc->size > IO_BAR_MAX)
        return error_set(error, EINVAL, "BAR%u: an I/O BAR has %u to %u bytes, not %" PRIu64, bar,
                         IO_BAR_MIN, IO_BAR_MAX, desc->size);
    return 0;
}

static int check_memory_bar(unsigned bar, const struct pci_config_bar bars[UMDEV_NUM_BARS],
                            struct umdev_error *error)
{
    const struct pci_config_bar *desc = &bars[bar];
    uint64_t min = desc->flags & UMDEV_BAR_MEMORY ? PAGE_SIZE_4K : MEMORY_BAR_MIN;

    if (desc->size < min)
        return error_set(error, EINVAL, "BAR%u: %" PRIu64 " bytes are too few; at least %" PRIu64,
                         bar, desc->size, min);
    if (!(desc->flags & UMDEV_BAR_64BIT)) {
        if (desc->size > MEMORY_BAR32_MAX)
            return error_set(error, EINVAL,
                             "BAR%u: %#" PRIx64 " bytes need UMDEV_BAR_64BIT; a 32-bit BAR has "
                             "2 GiB at most",
                             bar, desc->size);
        return 0;
    }
    if (bar == UMDEV_NUM_BARS - 1)
        return error_set(error, EINVAL,
                         "BAR%u: a 64-bit BAR takes the next one too, and this is the last", bar);
    if (bars[bar + 1].size)
        return error_set(error, EINVAL,
                         "BAR%u: it is the upper half of 64-bit BAR%u and can't be a BAR of its "
                         "own",
                         bar + 1, bar);
    return 0;
}

static int check_bars(const struct pci_config_bar bars[UMDEV_NUM_BARS], struct umdev_error *error)
{
    for (unsigned bar = 0; bar < UMDEV_NUM_BARS; bar++) {
        const struct pci_config_bar *desc = &bars[bar];
        int ret;

        if (!desc->size)
            continue;
        if (!is_power_of_two(desc->size))
            return error_set(error, EINVAL, "BAR%u: size %#" PRIx64 " is no power of two", bar,
                             desc->size);
        ret = desc->flags & UMDEV_BAR_IO ? check_io_bar(bar, desc, error)
                                         : check_memory_bar(bar, bars, error);
        if (ret)
            return ret;
    }
    return 0;
}

/* One of MSI-X's two structures, `what`, in its BAR. */
static int check_msix_part(const char *what, uint64_t offset, uint64_t size, unsigned bar,
                           const struct pci_config_bar *desc, struct umdev_error *error)
{
    if (!is_aligned(offset, 8))
        return error_set(error, EINVAL, "MSI-X: %s at %#" PRIx64 " must start at a multiple of 8",
                         what, offset);
    if (!span_fits(offset, size, desc->size))
        return error_set(error, EINVAL,
                         "MSI-X: %s, %" PRIu64 " bytes at %#" PRIx64 ", ends outside BAR%u of "
                         "%#" PRIx64 " bytes",
                         what, size, offset, bar, desc->size);
    if (offset > UINT32_MAX)
        return error_set(error, EINVAL,
                         "MSI-X: %s at %#" PRIx64 " must lie in the BAR's first "
                         "4 GiB",
                         what, offset);
    return 0;
}

static int check_msix(const struct umdev_msix *msix,
                      const struct pci_config_bar bars[UMDEV_NUM_BARS], struct umdev_error *error)
{
    struct pci_msix_layout layout = pci_msix_layout(msix);
    int ret;

    if (!msix->vectors)
        return 0;
    if (msix->vectors > MSIX_MAX_VECTORS)
        return error_set(error, EINVAL, "%u MSI-X vectors are too many; at most %u", msix->vectors,
                         MSIX_MAX_VECTORS);
    if (msix->bar >= UMDEV_NUM_BARS || !bars[msix->bar].size)
        return error_set(error, EINVAL, "MSI-X: there is no BAR%u to hold the table", msix->bar);
    if (bars[msix->bar].flags & UMDEV_BAR_IO)
        return error_set(error, EINVAL, "MSI-X: BAR%u is I/O, but the table needs a memory BAR",
                         msix->bar);

    ret = check_msix_part("the table", layout.table_offset, layout.table_size, msix->bar,
                          &bars[msix->bar], error);
    if (!ret)
        ret = check_msix_part("the pending bits", layout.pba_offset, layout.pba_size, msix->bar,
                              &bars[msix->bar], error);
    if (ret)
        return ret;
    if (layout.table_offset < layout.pba_offset + layout.pba_size &&
        layout.pba_offset < layout.table_offset + layout.table_size)
        return error_set(error, EINVAL,
                         "MSI-X: the pending bits at %#" PRIx64 " lie over the table, %" PRIu64
                         " bytes at %#" PRIx64,
                         layout.pba_offset, layout.table_size, layout.table_offset);
    return 0;
}

static int check_vendor_cap(const struct umdev_pci *pci, struct umdev_error *error)
{
    size_t max = pci_vendor_cap_max(pci);

    if (pci->vendor_cap_size > 0 && !pci->vendor_cap)
        return error_set(error, EINVAL, "a vendor capability of %zu bytes, but no bytes",
                         pci->vendor_cap_size);
    if (pci->vendor_cap_size > max)
        return error_set(error, EINVAL,
                         "a vendor capability of %zu bytes is too long; beside this device's other "
                         "capabilities at most %zu",
                         pci->vendor_cap_size, max);
    return 0;
}

int pci_check(const struct umdev_pci *pci, const struct pci_config_bar bars[UMDEV_NUM_BARS],
              struct umdev_error *error)
{
    int ret = check_identity(pci, error);

    if (!ret)
        ret = check_bars(bars, error);
    if (!ret)
        ret = check_msix(&pci->msix, bars, error);
    if (!ret)
        ret = check_vendor_cap(pci, error);
    return ret;
}
