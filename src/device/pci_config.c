/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/pci_config.h"

#include "base/range.h"
#include "device/pci_space.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ what the fields mean */

static bool in_d3hot(const struct pci_config *config)
{
    return (pci_get16(config->values, config->pm + PCI_PM_CTRL) & PCI_PM_CTRL_STATE_MASK) == 3;
}

/* The command register as it counts: in D3hot a device answers nothing and starts nothing. */
static uint16_t command_in_force(const struct pci_config *config)
{
    uint16_t command = pci_get16(config->values, PCI_COMMAND);

    if (in_d3hot(config))
        command &= (uint16_t) ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return command;
}

static uint16_t msix_control(const struct pci_config *config)
{
    return config->msix ? pci_get16(config->values, config->msix + PCI_MSIX_FLAGS) : 0;
}

static void tell_command(struct pci_config *config)
{
    uint16_t command = command_in_force(config);

    atomic_store_explicit(&config->command, command, memory_order_release);
    if (config->ops.command)
        config->ops.command(config->opaque, command);
}

static void tell_msix_control(struct pci_config *config)
{
    uint16_t control = msix_control(config);

    if (config->msix && config->ops.msix_control)
        config->ops.msix_control(config->opaque, control & PCI_MSIX_FLAGS_ENABLE,
                                 control & PCI_MSIX_FLAGS_MASKALL);
}

/* ------------------------------------------------------------------ birth and death */

int pci_config_new(const struct umdev_pci *pci, const struct pci_config_bar bars[UMDEV_NUM_BARS],
                   const struct pci_config_ops *ops, void *opaque, struct pci_config **result,
                   struct umdev_error *error)
{
    size_t size = pci->pcie ? PCI_CFG_SPACE_EXP_SIZE : PCI_CFG_SPACE_SIZE;
    int ret = pci_check(pci, bars, error);

    if (ret)
        return ret;

    struct pci_config *config = calloc(1, sizeof(*config) + 4 * size);
    if (!config)
        return -ENOMEM;
    config->ops = *ops;
    config->opaque = opaque;
    config->size = size;
    config->values = (uint8_t *)(config + 1);
    config->writable = config->values + size;
    config->clearable = config->writable + size;
    config->initial = config->clearable + size;
    pci_caps_build(config, pci, bars);
    memcpy(config->values, config->initial, size);
    atomic_init(&config->command, command_in_force(config));
    *result = config;
    return 0;
}

void pci_config_free(struct pci_config *config)
{
    free(config);
}

size_t pci_config_size(const struct pci_config *config)
{
    return config->size;
}

uint16_t pci_config_command(const struct pci_config *config)
{
    return atomic_load_explicit(&config->command, memory_order_acquire);
}

/* ------------------------------------------------------------------ accesses */

void pci_config_read(struct pci_config *config, uint32_t offset, void *buf, size_t len)
{
    memcpy(buf, config->values + offset, len);
    if (offset <= PCI_STATUS && len > PCI_STATUS - offset && config->ops.intx_level &&
        config->ops.intx_level(config->opaque))
        ((uint8_t *)buf)[PCI_STATUS - offset] |= PCI_STATUS_INTERRUPT;
}

/* A power state that the device does not have leaves it in the one it is in. */
static void settle_power_state(struct pci_config *config, uint16_t old_control)
{
    unsigned offset = config->pm + PCI_PM_CTRL;
    uint16_t control = pci_get16(config->values, offset);
    uint16_t state = control & PCI_PM_CTRL_STATE_MASK;

    if (state == 1 || state == 2)
        pci_put16(config->values, offset,
                  (uint16_t)((control & ~PCI_PM_CTRL_STATE_MASK) |
                             (old_control & PCI_PM_CTRL_STATE_MASK)));
}

/* No more messages can be enabled than the device is capable of. */
static void settle_msi(struct pci_config *config)
{
    unsigned offset = config->msi + PCI_MSI_FLAGS;
    uint16_t flags = config->msi ? pci_get16(config->values, offset) : 0;
    unsigned capable = (flags & PCI_MSI_FLAGS_QMASK) >> 1;
    unsigned enabled = (flags & PCI_MSI_FLAGS_QSIZE) >> 4;

    if (enabled > capable)
        pci_put16(config->values, offset,
                  (uint16_t)((flags & ~PCI_MSI_FLAGS_QSIZE) | capable << 4));
}

/* Whether a function-level reset was asked for; the reset takes the bit back to 0. */
static bool flr_requested(const struct pci_config *config)
{
    return config->express &&
           pci_get16(config->values, config->express + PCI_EXP_DEVCTL) & PCI_EXP_DEVCTL_BCR_FLR;
}

void pci_config_write(struct pci_config *config, uint32_t offset, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;
    uint16_t old_command = command_in_force(config);
    uint16_t old_msix = msix_control(config);
    uint16_t old_power = pci_get16(config->values, config->pm + PCI_PM_CTRL);

    for (size_t i = 0; i < len; i++) {
        uint8_t *value = &config->values[offset + i];
        uint8_t writable = config->writable[offset + i];

        *value = (uint8_t)((*value & ~writable) | (bytes[i] & writable));
        *value &= (uint8_t) ~(bytes[i] & config->clearable[offset + i]);
    }
    settle_power_state(config, old_power);
    settle_msi(config);

    if (flr_requested(config)) {
        pci_config_reset(config);
        if (config->ops.flr)
            config->ops.flr(config->opaque);
        return;
    }
    if (command_in_force(config) != old_command)
        tell_command(config);
    if (msix_control(config) != old_msix)
        tell_msix_control(config);
}

void pci_config_reset(struct pci_config *config)
{
    memcpy(config->values, config->initial, config->size);
    tell_command(config);
    tell_msix_control(config);
}
