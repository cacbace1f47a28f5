/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a driver's struct umdev_pci to a device's: complete structs whatever header the driver was
 * built against, the place of MSI-X, the config space and what its writes make happen.
 */
#include "device/device_priv.h"
#include "device/pci_space.h"

#include <inttypes.h>

#define MSI_MAX_VECTORS 32u

static int bar_take(struct umdev_device *dev, unsigned index, const struct umdev_bar *from,
                    struct umdev_error *error)
{
    const uint32_t known = UMDEV_BAR_IO | UMDEV_BAR_64BIT | UMDEV_BAR_PREFETCH | UMDEV_BAR_MEMORY |
                           UMDEV_BAR_READONLY | UMDEV_BAR_MSIX_MAPPABLE | UMDEV_BAR_FAULT |
                           UMDEV_BAR_FAULT_IDENTITY;
    const uint32_t no_fault = UMDEV_BAR_IO | UMDEV_BAR_MEMORY | UMDEV_BAR_MSIX_MAPPABLE;
    struct region *region = &dev->regions[index];
    struct umdev_bar bar = {0};

    if (from->struct_size == 0)
        return error_set(error, EINVAL, "BAR%u: struct_size is 0: describe it with UMDEV_BAR()",
                         index);
    memcpy(&bar, from, MIN(from->struct_size, sizeof(bar)));
    if (bar.size != 0 && !is_power_of_two(bar.size))
        return error_set(error, EINVAL, "BAR%u: size 0x%" PRIx64 " is not a power of two", index,
                         bar.size);
    if (bar.flags & ~known)
        return error_set(error, EINVAL, "BAR%u: unknown flags 0x%" PRIx32, index,
                         bar.flags & ~known);
    if (bar.flags & UMDEV_BAR_MEMORY && (bar.flags & UMDEV_BAR_IO || bar.regs))
        return error_set(error, EINVAL, "BAR%u: plain memory can be neither port I/O nor registers",
                         index);
    if (bar.flags & UMDEV_BAR_FAULT && (bar.flags & no_fault || bar.regs))
        return error_set(error, EINVAL,
                         "BAR%u: one that faults can be neither port I/O, plain memory nor "
                         "registers",
                         index);
    region->described = true;
    region->size = bar.size;
    region->flags = bar.flags;
    region->regs = bar.regs;
    return 0;
}

static int extra_take(struct umdev_device *dev, unsigned index,
                      const struct umdev_extra_region *extra, struct umdev_error *error)
{
    const uint32_t known =
        UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY | UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY;
    struct region *region = &dev->regions[index];

    if (extra->type == 0)
        return error_set(error, EINVAL,
                         "region %u: 0 is no type: a client could not tell what it is for", index);
    if (extra->flags & ~known)
        return error_set(error, EINVAL,
                         "region %u: flags 0x%" PRIx32 " are not for it: it can be plain memory "
                         "or fault, and be read-only",
                         index, extra->flags & ~known);
    if (extra->flags & UMDEV_BAR_MEMORY && extra->regs)
        return error_set(error, EINVAL, "region %u: plain memory can't be registers", index);
    if (extra->flags & UMDEV_BAR_FAULT && (extra->flags & UMDEV_BAR_MEMORY || extra->regs))
        return error_set(error, EINVAL,
                         "region %u: one that faults can be neither plain memory nor registers",
                         index);
    region->described = true;
    region->has_type = true;
    region->type = extra->type;
    region->subtype = extra->subtype;
    region->size = extra->size;
    region->flags = extra->flags;
    region->regs = extra->regs;
    return 0;
}

/* Each as far as its driver knew it; the rest is zero. */
static int extras_take(struct umdev_device *dev, struct umdev_error *error)
{
    const struct umdev_pci *pci = &dev->pci;
    int ret = 0;

    for (unsigned i = 0; i < pci->nextra && ret == 0; i++) {
        struct umdev_extra_region extra = {0};

        memcpy(&extra, (const uint8_t *)pci->extra + i * pci->extra_size,
               MIN(pci->extra_size, sizeof(extra)));
        ret = extra_take(dev, UMDEV_NUM_REGIONS + i, &extra, error);
    }
    return ret;
}

static int regions_alloc(struct umdev_device *dev, struct umdev_error *error)
{
    const struct umdev_pci *pci = &dev->pci;

    if (pci->nextra > UMDEV_MAX_EXTRA_REGIONS)
        return error_set(error, EINVAL, "%zu extra regions are too many; at most %d", pci->nextra,
                         UMDEV_MAX_EXTRA_REGIONS);
    if (pci->nextra > 0 && (!pci->extra || pci->extra_size == 0))
        return error_set(error, EINVAL,
                         "%zu extra regions, but no array: describe them with "
                         "UMDEV_EXTRA_REGIONS()",
                         pci->nextra);
    dev->regions = calloc(UMDEV_NUM_REGIONS + pci->nextra, sizeof(*dev->regions));
    if (!dev->regions)
        return error_set(error, ENOMEM, "out of memory for the regions");
    dev->nregions = UMDEV_NUM_REGIONS + (unsigned)pci->nextra;
    return 0;
}

/* Only what the code up to pci_config_new() needs to be safe; the rest is checked there, when the
 * BARs have their final sizes. */
static int interrupts_check(const struct umdev_pci *pci, struct umdev_error *error)
{
    if (pci->msi_vectors > MSI_MAX_VECTORS)
        return error_set(error, EINVAL, "%u MSI vectors are too many; at most %u", pci->msi_vectors,
                         MSI_MAX_VECTORS);
    if (pci->msix.vectors > MSIX_MAX_VECTORS)
        return error_set(error, EINVAL, "%u MSI-X vectors are too many; at most %u",
                         pci->msix.vectors, MSIX_MAX_VECTORS);
    if (pci->msix.bar >= UMDEV_NUM_BARS)
        return error_set(error, EINVAL, "MSI-X: there is no BAR%u", pci->msix.bar);
    return 0;
}

static void msix_place_set(struct umdev_device *dev)
{
    struct pci_msix_layout layout = pci_msix_layout(&dev->pci.msix);

    if (dev->pci.msix.vectors == 0)
        return;
    dev->msix = (struct msix_place){
        .vectors = dev->pci.msix.vectors,
        .bar = dev->pci.msix.bar,
        .table = {layout.table_offset, layout.table_offset + layout.table_size - 1},
        .pba = {layout.pba_offset, layout.pba_offset + layout.pba_size - 1},
    };
}

/* A BAR for MSI-X alone, where the driver described none. */
static void msix_bar_make(struct umdev_device *dev)
{
    uint64_t end = MAX(dev->msix.table.last, dev->msix.pba.last) + 1;
    struct region *region = &dev->regions[dev->msix.bar];

    if (dev->msix.vectors == 0 || region->described)
        return;
    region->made = true;
    region->size = PAGE_SIZE_4K;
    while (region->size < end)
        region->size *= 2;
}

int pci_setup(struct umdev_device *dev, struct umdev_error *error)
{
    const struct umdev_pci *from = dev->type->pci ? dev->type->pci : dev->driver->pci;
    int ret;

    if (!from)
        return error_set(error, EINVAL, "neither type %s nor the driver has a PCI description",
                         dev->type->name);
    if (from->struct_size == 0)
        return error_set(error, EINVAL, "pci.struct_size is 0: describe it with UMDEV_PCI()");
    memcpy(&dev->pci, from, MIN(from->struct_size, sizeof(dev->pci)));
    dev->pci.struct_size = sizeof(dev->pci);
    ret = regions_alloc(dev, error);
    if (ret < 0)
        return ret;
    for (unsigned i = 0; i < UMDEV_NUM_BARS; i++) {
        ret = dev->pci.bar[i] ? bar_take(dev, i, dev->pci.bar[i], error) : 0;
        if (ret < 0)
            return ret;
    }
    ret = extras_take(dev, error);
    if (ret == 0)
        ret = interrupts_check(&dev->pci, error);
    if (ret < 0)
        return ret;
    msix_place_set(dev);
    msix_bar_make(dev);
    return 0;
}

/* ------------------------------------------------------------------ the config space */

/*
 * The ops only note what a write asks for; pci_settle_locked() does it when the config space is
 * done with the write. So a reset drops pending interrupts before it unmasks them, and the
 * driver's reset() finds the config space at rest.
 */

/* Whether MSI-X is on is SET_IRQS's business: a VFIO client need not touch the capability. */
static void config_msix_control(void *opaque, bool enabled, bool function_masked)
{
    struct umdev_device *dev = opaque;

    (void)enabled;
    dev->config_asked.function_masked = function_masked;
}

static void config_flr(void *opaque)
{
    struct umdev_device *dev = opaque;

    dev->config_asked.flr = true;
}

void pci_settle_locked(struct umdev_device *dev)
{
    if (dev->config_asked.flr) {
        int ret;

        dev->config_asked.flr = false;
        ret = device_reset_locked(dev, false);
        if (ret < 0)
            umdev_device_log(dev, UMDEV_LOG_ERROR, "driver %s failed a function-level reset: %s",
                             dev->driver->name, log_errno(-ret));
    }
    irqs_set_intx_disabled(dev->irqs,
                           pci_config_command(dev->config) & PCI_CONFIG_COMMAND_INTX_DISABLE);
    irqs_msix_set_function_mask(dev->irqs, dev->config_asked.function_masked);
}

static bool config_intx_level(void *opaque)
{
    const struct umdev_device *dev = opaque;

    return irqs_level(dev->irqs);
}

int pci_finish(struct umdev_device *dev, struct umdev_error *error)
{
    static const struct pci_config_ops ops = {
        .msix_control = config_msix_control,
        .flr = config_flr,
        .intx_level = config_intx_level,
    };
    struct pci_config_bar bars[UMDEV_NUM_BARS];
    int ret;

    for (unsigned i = 0; i < UMDEV_NUM_BARS; i++) {
        bars[i].size = dev->regions[i].size;
        bars[i].flags = dev->regions[i].flags;
    }
    ret = pci_config_new(&dev->pci, bars, &ops, dev, &dev->config, error);
    if (ret == -ENOMEM)
        error_set(error, ENOMEM, "out of memory for the config space");
    if (ret < 0)
        return ret;
    dev->regions[UMDEV_REGION_CONFIG].size = pci_config_size(dev->config);
    return 0;
}
