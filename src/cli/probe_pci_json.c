/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI config space as JSON. Numbers are numbers, also those that people write in hexadecimal.
 */
#include "base/range.h"
#include "cli/probe.h"

#include <jansson.h>
#include <linux/pci_regs.h>

static json_t *bar_json(const struct pci_bar *bar, unsigned index)
{
    const char *type = bar->kind == PCI_BAR_IO ? "io" : "memory";
    int bits = bar->kind == PCI_BAR_MEM64 ? 64 : 32;

    return json_pack("{s:i, s:s, s:i, s:b, s:o, s:o}", "index", (int)index, "type", type, "bits",
                     bits, "prefetchable", bar->prefetchable, "address",
                     probe_json_number(bar->address), "size", probe_json_number(bar->size));
}

/* The BARs that are there: the upper half of a 64-bit one is not one. */
static json_t *bars_json(const struct pci_function *pci)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < pci->nbars; i++) {
        const struct pci_bar *bar = &pci->bars[i];

        if (bar->kind == PCI_BAR_NONE || bar->kind == PCI_BAR_UPPER)
            continue;
        if (json_array_append_new(array, bar_json(bar, i))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *rom_json(const struct pci_function *pci)
{
    if (!pci->rom_address && !pci->rom_size)
        return json_null();
    return json_pack("{s:b, s:I, s:o}", "enabled", pci->rom_enabled, "address",
                     (json_int_t)pci->rom_address, "size", probe_json_number(pci->rom_size));
}

/* ------------------------------------------------------------------ capabilities */

static json_t *pm_json(const struct pci_pm *pm)
{
    return json_pack("{s:i, s:i, s:b, s:b, s:b, s:b, s:b, s:i, s:b, s:b}", "version", pm->version,
                     "power_state", pm->power_state, "d1", pm->d1, "d2", pm->d2, "dsi", pm->dsi,
                     "pme_clock", pm->pme_clock, "no_soft_reset", pm->no_soft_reset, "pme_support",
                     pm->pme_support, "pme_enabled", pm->pme_enabled, "pme_status", pm->pme_status);
}

static json_t *msi_json(const struct pci_msi *msi)
{
    return json_pack("{s:b, s:i, s:i, s:b, s:b, s:o, s:i, s:I, s:I}", "enabled", msi->enabled,
                     "vectors", (int)msi->vectors, "vectors_enabled", (int)msi->vectors_enabled,
                     "address_64", msi->is64, "maskable", msi->maskable, "address",
                     probe_json_number(msi->address), "data", msi->data, "mask",
                     (json_int_t)msi->mask, "pending", (json_int_t)msi->pending);
}

static json_t *msix_json(const struct pci_msix *msix)
{
    return json_pack("{s:b, s:b, s:i, s:{s:i, s:I, s:b}, s:{s:i, s:I, s:b}}", "enabled",
                     msix->enabled, "function_masked", msix->function_masked, "vectors",
                     (int)msix->vectors, "table", "bar", (int)msix->table_bar, "offset",
                     (json_int_t)msix->table_offset, "fits", msix->table_fits, "pba", "bar",
                     (int)msix->pba_bar, "offset", (json_int_t)msix->pba_offset, "fits",
                     msix->pba_fits);
}

static json_t *express_json(const struct pci_express *e)
{
    const char *type = pci_express_type_name(e->type);
    json_t *json =
        json_pack("{s:i, s:i, s:s, s:b, s:i, s:I, s:i, s:i}", "version", e->version, "type",
                  e->type, "type_name", type ? type : "reserved", "slot", e->slot, "msi_number",
                  e->msi_number, "device_capabilities", (json_int_t)e->device_cap, "device_control",
                  e->device_control, "device_status", e->device_status);
    int ret = 0;

    if (e->has_link)
        ret = json_object_update_new(
            json, json_pack("{s:I, s:i, s:i}", "link_capabilities", (json_int_t)e->link_cap,
                            "link_control", e->link_control, "link_status", e->link_status));
    if (!ret && e->has_second)
        ret = json_object_update_new(json, json_pack("{s:I, s:i}", "device_capabilities_2",
                                                     (json_int_t)e->device_cap2, "device_control_2",
                                                     e->device_control2));
    if (ret) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* The body as a string of hexadecimal digits. */
static json_t *bytes_json(const uint8_t *bytes, size_t n)
{
    char text[2 * PCI_SPACE_MAX + 1] = "";

    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

static json_t *vendor_json(const struct pci_function *pci, const struct pci_capability *cap)
{
    size_t header = cap->extended ? 8 : 3;
    size_t length = MAX((size_t)cap->vendor.length, header);
    json_t *bytes = bytes_json(pci->bytes + cap->offset + header, length - header);

    if (!cap->extended)
        return json_pack("{s:i, s:o}", "length", cap->vendor.length, "data", bytes);
    return json_pack("{s:i, s:i, s:i, s:o}", "id", cap->vendor.id, "revision", cap->vendor.revision,
                     "length", cap->vendor.length, "data", bytes);
}

/* What is known of this kind of capability; an empty object for the others. */
static json_t *fields_json(const struct pci_function *pci, const struct pci_capability *cap)
{
    if (cap->truncated)
        return json_object();
    if (cap->extended) {
        if (cap->id == PCI_EXT_CAP_ID_DSN)
            return json_pack("{s:o}", "serial",
                             json_sprintf("%016llx", (unsigned long long)cap->serial));
        return cap->id == PCI_EXT_CAP_ID_VNDR ? vendor_json(pci, cap) : json_object();
    }
    switch (cap->id) {
    case PCI_CAP_ID_PM:
        return pm_json(&cap->pm);
    case PCI_CAP_ID_MSI:
        return msi_json(&cap->msi);
    case PCI_CAP_ID_MSIX:
        return msix_json(&cap->msix);
    case PCI_CAP_ID_EXP:
        return express_json(&cap->express);
    case PCI_CAP_ID_VNDR:
        return vendor_json(pci, cap);
    default:
        return json_object();
    }
}

static json_t *capability_json(const struct pci_function *pci, const struct pci_capability *cap)
{
    const char *key = pci_capability_key(cap->id, cap->extended);
    json_t *name = key ? json_string(key) : json_null();
    json_t *version = cap->extended ? json_integer(cap->version) : json_null();

    return json_pack("{s:i, s:i, s:o, s:b, s:o, s:b, s:o}", "offset", cap->offset, "id", cap->id,
                     "name", name, "extended", cap->extended, "version", version, "truncated",
                     cap->truncated, "fields", fields_json(pci, cap));
}

static json_t *capabilities_json(const struct pci_function *pci)
{
    json_t *array = json_array();

    for (size_t i = 0; i < pci->ncapabilities; i++)
        if (json_array_append_new(array, capability_json(pci, &pci->capabilities[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* null for a list that ends as it should. */
static json_t *chain_json(enum pci_chain_end end, uint16_t at)
{
    static const char *const words[] = {
        [PCI_CHAIN_LOOP] = "loop",
        [PCI_CHAIN_RANGE] = "out-of-range",
        [PCI_CHAIN_BROKEN] = "nothing-there",
    };

    if (end == PCI_CHAIN_OK)
        return json_null();
    return json_pack("{s:s, s:i}", "problem", words[end], "at", at);
}

json_t *probe_pci_json(const struct pci_function *pci)
{
    return json_pack(
        "{s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:i, s:i, s:i, s:b, s:i, s:i, s:i, s:i, s:i,"
        " s:o, s:o, s:o, s:o, s:o}",
        "vendor_id", pci->vendor, "device_id", pci->device, "subsystem_vendor_id",
        pci->subsystem_vendor, "subsystem_id", pci->subsystem_device, "revision", pci->revision,
        "class_code", (json_int_t)pci->class_code, "class_name", pci_class_name(pci->class_code),
        "command", pci->command, "status", pci->status, "header_type", pci->header_type,
        "multifunction", pci->multifunction, "cache_line", pci->cache_line, "latency", pci->latency,
        "interrupt_pin", pci->irq_pin, "interrupt_line", pci->irq_line, "config_size",
        (int)pci->size, "bars", bars_json(pci), "rom", rom_json(pci), "capabilities",
        capabilities_json(pci), "capabilities_problem",
        chain_json(pci->chain_end, pci->chain_end_at), "extended_capabilities_problem",
        chain_json(pci->extended_chain_end, pci->extended_chain_end_at));
}
