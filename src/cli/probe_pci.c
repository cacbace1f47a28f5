/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI config space as text, in the manner of lspci -vv: a flag that is set has a + behind it.
 */
#include "base/parse.h"
#include "base/range.h"
#include "cli/probe.h"

#include <inttypes.h>
#include <linux/pci_regs.h>

static char sign(bool set)
{
    return set ? '+' : '-';
}

struct bit_name {
    uint32_t bit;
    const char *name;
};

/* "Mem+ BusMaster-" */
static void print_bits(FILE *out, uint32_t value, const struct bit_name *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%s%c", i ? " " : "", names[i].name, sign(value & names[i].bit));
}

/* ------------------------------------------------------------------ the header */

static void print_command(const struct pci_function *pci, FILE *out)
{
    static const struct bit_name bits[] = {
        {PCI_COMMAND_IO, "I/O"},
        {PCI_COMMAND_MEMORY, "Mem"},
        {PCI_COMMAND_MASTER, "BusMaster"},
        {PCI_COMMAND_SPECIAL, "SpecCycle"},
        {PCI_COMMAND_INVALIDATE, "MemWINV"},
        {PCI_COMMAND_VGA_PALETTE, "VGASnoop"},
        {PCI_COMMAND_PARITY, "ParErr"},
        {PCI_COMMAND_WAIT, "Stepping"},
        {PCI_COMMAND_SERR, "SERR"},
        {PCI_COMMAND_FAST_BACK, "FastB2B"},
        {PCI_COMMAND_INTX_DISABLE, "DisINTx"},
    };

    fprintf(out, "\tControl: ");
    print_bits(out, pci->command, bits, ARRAY_SIZE(bits));
    fputc('\n', out);
}

static void print_status(const struct pci_function *pci, FILE *out)
{
    static const struct bit_name before[] = {
        {PCI_STATUS_CAP_LIST, "Cap"},      {PCI_STATUS_66MHZ, "66MHz"},   {PCI_STATUS_UDF, "UDF"},
        {PCI_STATUS_FAST_BACK, "FastB2B"}, {PCI_STATUS_PARITY, "ParErr"},
    };
    static const struct bit_name after[] = {
        {PCI_STATUS_SIG_TARGET_ABORT, ">TAbort"}, {PCI_STATUS_REC_TARGET_ABORT, "<TAbort"},
        {PCI_STATUS_REC_MASTER_ABORT, "<MAbort"}, {PCI_STATUS_SIG_SYSTEM_ERROR, ">SERR"},
        {PCI_STATUS_DETECTED_PARITY, "<PERR"},    {PCI_STATUS_INTERRUPT, "INTx"},
    };
    static const char *const timings[] = {"fast", "medium", "slow", "??"};

    fprintf(out, "\tStatus: ");
    print_bits(out, pci->status, before, ARRAY_SIZE(before));
    fprintf(out, " DEVSEL=%s ", timings[(pci->status & PCI_STATUS_DEVSEL_MASK) >> 9]);
    print_bits(out, pci->status, after, ARRAY_SIZE(after));
    fputc('\n', out);
}

static void print_size(FILE *out, uint64_t size)
{
    char text[PARSE_SIZE_TEXT_MAX];

    parse_size_format(size, text);
    fprintf(out, " [size=%s]", text);
}

static void print_bar(const struct pci_function *pci, unsigned index, FILE *out)
{
    const struct pci_bar *bar = &pci->bars[index];
    bool is_io = bar->kind == PCI_BAR_IO;
    bool enabled = pci->command & (is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);

    if (bar->kind == PCI_BAR_NONE || bar->kind == PCI_BAR_UPPER)
        return;
    fprintf(out, "\tRegion %u: %s at ", index, is_io ? "I/O ports" : "Memory");
    if (bar->address)
        fprintf(out, is_io ? "%04" PRIx64 : "%08" PRIx64, bar->address);
    else
        fprintf(out, "<unassigned>");
    if (!is_io)
        fprintf(out, " (%s, %sprefetchable)", bar->kind == PCI_BAR_MEM64 ? "64-bit" : "32-bit",
                bar->prefetchable ? "" : "non-");
    if (!enabled)
        fprintf(out, " [disabled]");
    print_size(out, bar->size);
    fputc('\n', out);
}

static void print_rom(const struct pci_function *pci, FILE *out)
{
    if (!pci->rom_address && !pci->rom_size)
        return;
    fprintf(out, "\tExpansion ROM at ");
    if (pci->rom_address)
        fprintf(out, "%08" PRIx32, pci->rom_address);
    else
        fprintf(out, "<unassigned>");
    if (!pci->rom_enabled || !(pci->command & PCI_COMMAND_MEMORY))
        fprintf(out, " [disabled]");
    print_size(out, pci->rom_size);
    fputc('\n', out);
}

static void print_interrupt(const struct pci_function *pci, FILE *out)
{
    if (!pci->irq_pin)
        return;
    if (pci->irq_pin <= 4)
        fprintf(out, "\tInterrupt: pin %c", 'A' + pci->irq_pin - 1);
    else
        fprintf(out, "\tInterrupt: pin %u (reserved)", pci->irq_pin);
    if (pci->irq_line != 0xff)
        fprintf(out, " routed to IRQ %u", pci->irq_line);
    fputc('\n', out);
}

static void print_header(const struct pci_function *pci, FILE *out)
{
    fprintf(out, "PCI: %s [%04" PRIx32 "]: %04x:%04x (rev %02x)", pci_class_name(pci->class_code),
            pci->class_code >> 8, pci->vendor, pci->device, pci->revision);
    if (pci->class_code & 0xff)
        fprintf(out, " (prog-if %02" PRIx32 ")", pci->class_code & 0xff);
    fprintf(out, "\n\tHeader: type %u, %s-function, %zu bytes of config space\n", pci->header_type,
            pci->multifunction ? "multi" : "single", pci->size);
    if (pci->header_type == PCI_HEADER_TYPE_NORMAL)
        fprintf(out, "\tSubsystem: %04x:%04x\n", pci->subsystem_vendor, pci->subsystem_device);
    print_command(pci, out);
    print_status(pci, out);
    fprintf(out, "\tLatency: %u, Cache Line Size: %u bytes\n", pci->latency, pci->cache_line * 4u);
    if (pci->bist)
        fprintf(out, "\tBIST: %02x\n", pci->bist);
    print_interrupt(pci, out);
    if (pci->header_type == PCI_HEADER_TYPE_BRIDGE)
        fprintf(out, "\tBus: primary=%02x, secondary=%02x, subordinate=%02x\n", pci->bus_primary,
                pci->bus_secondary, pci->bus_subordinate);
    for (unsigned i = 0; i < pci->nbars; i++)
        print_bar(pci, i, out);
    print_rom(pci, out);
}

/* ------------------------------------------------------------------ capabilities */

static void print_pm(const struct pci_pm *pm, FILE *out)
{
    static const char *const states[] = {"D0", "D1", "D2", "D3hot", "D3cold"};

    fprintf(out, " version %u\n\t\tFlags: PMEClk%c DSI%c D1%c D2%c AuxCurrent=%umA PME(",
            pm->version, sign(pm->pme_clock), sign(pm->dsi), sign(pm->d1), sign(pm->d2),
            pm->aux_current_ma);
    for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
        fprintf(out, "%s%s%c", i ? "," : "", states[i], sign(pm->pme_support & 1 << i));
    fprintf(out, ")\n\t\tStatus: D%u NoSoftRst%c PME-Enable%c DSel=%u DScale=%u PME%c\n",
            pm->power_state, sign(pm->no_soft_reset), sign(pm->pme_enabled), pm->data_select,
            pm->data_scale, sign(pm->pme_status));
}

static void print_msi(const struct pci_msi *msi, FILE *out)
{
    fprintf(out, ": Enable%c Count=%u/%u Maskable%c 64bit%c\n", sign(msi->enabled),
            msi->vectors_enabled, msi->vectors, sign(msi->maskable), sign(msi->is64));
    fprintf(out, "\t\tAddress: %0*" PRIx64 "  Data: %04x\n", msi->is64 ? 16 : 8, msi->address,
            msi->data);
    if (msi->maskable)
        fprintf(out, "\t\tMasking: %08" PRIx32 "  Pending: %08" PRIx32 "\n", msi->mask,
                msi->pending);
}

static void print_msix(const struct pci_msix *msix, FILE *out)
{
    fprintf(out, ": Enable%c Count=%u Masked%c\n", sign(msix->enabled), msix->vectors,
            sign(msix->function_masked));
    fprintf(out, "\t\tVector table: BAR=%u offset=%08" PRIx32 "%s\n", msix->table_bar,
            msix->table_offset, msix->table_fits ? "" : " <outside the BAR>");
    fprintf(out, "\t\tPBA: BAR=%u offset=%08" PRIx32 "%s\n", msix->pba_bar, msix->pba_offset,
            msix->pba_fits ? "" : " <outside the BAR>");
}

/* Payload and request sizes: 0 is 128 bytes; 6 and 7 are reserved. */
static unsigned payload(uint32_t field)
{
    return 128U << field;
}

static void print_express_device(const struct pci_express *e, FILE *out)
{
    static const struct bit_name cap[] = {
        {PCI_EXP_DEVCAP_EXT_TAG, "ExtTag"},  {PCI_EXP_DEVCAP_ATN_BUT, "AttnBtn"},
        {PCI_EXP_DEVCAP_ATN_IND, "AttnInd"}, {PCI_EXP_DEVCAP_PWR_IND, "PwrInd"},
        {PCI_EXP_DEVCAP_RBER, "RBE"},        {PCI_EXP_DEVCAP_FLR, "FLReset"},
    };
    static const struct bit_name control[] = {
        {PCI_EXP_DEVCTL_CERE, "CorrErr"},       {PCI_EXP_DEVCTL_NFERE, "NonFatalErr"},
        {PCI_EXP_DEVCTL_FERE, "FatalErr"},      {PCI_EXP_DEVCTL_URRE, "UnsupReq"},
        {PCI_EXP_DEVCTL_RELAX_EN, "RlxdOrd"},   {PCI_EXP_DEVCTL_EXT_TAG, "ExtTag"},
        {PCI_EXP_DEVCTL_PHANTOM, "PhantFunc"},  {PCI_EXP_DEVCTL_AUX_PME, "AuxPwr"},
        {PCI_EXP_DEVCTL_NOSNOOP_EN, "NoSnoop"},
    };
    static const struct bit_name status[] = {
        {PCI_EXP_DEVSTA_CED, "CorrErr"},  {PCI_EXP_DEVSTA_NFED, "NonFatalErr"},
        {PCI_EXP_DEVSTA_FED, "FatalErr"}, {PCI_EXP_DEVSTA_URD, "UnsupReq"},
        {PCI_EXP_DEVSTA_AUXPD, "AuxPwr"}, {PCI_EXP_DEVSTA_TRPND, "TransPend"},
    };

    fprintf(out, "\t\tDevCap: MaxPayload %u bytes ",
            payload(e->device_cap & PCI_EXP_DEVCAP_PAYLOAD));
    print_bits(out, e->device_cap, cap, ARRAY_SIZE(cap));
    fprintf(out, "\n\t\tDevCtl: ");
    print_bits(out, e->device_control, control, ARRAY_SIZE(control));
    fprintf(out, " MaxPayload %u bytes, MaxReadReq %u bytes\n\t\tDevSta: ",
            payload((e->device_control & PCI_EXP_DEVCTL_PAYLOAD) >> 5),
            payload((e->device_control & PCI_EXP_DEVCTL_READRQ) >> 12));
    print_bits(out, e->device_status, status, ARRAY_SIZE(status));
    fputc('\n', out);
}

static void print_express_link(const struct pci_express *e, FILE *out)
{
    static const char *const aspm[] = {"Disabled", "L0s", "L1", "L0s L1"};
    static const struct bit_name control[] = {
        {PCI_EXP_LNKCTL_LD, "Disabled"},
        {PCI_EXP_LNKCTL_CCC, "CommClk"},
        {PCI_EXP_LNKCTL_ES, "ExtSynch"},
    };
    static const struct bit_name status[] = {
        {PCI_EXP_LNKSTA_LT, "Train"},
        {PCI_EXP_LNKSTA_SLC, "SlotClk"},
        {PCI_EXP_LNKSTA_DLLLA, "DLActive"},
    };

    fprintf(out, "\t\tLnkCap: Port #%" PRIu32 ", Speed %s, Width x%" PRIu32 ", ASPM %s\n",
            e->link_cap >> 24, pci_express_speed(e->link_cap & PCI_EXP_LNKCAP_SLS),
            (e->link_cap & PCI_EXP_LNKCAP_MLW) >> 4,
            (e->link_cap & PCI_EXP_LNKCAP_ASPMS) ? aspm[(e->link_cap & PCI_EXP_LNKCAP_ASPMS) >> 10]
                                                 : "not supported");
    fprintf(out, "\t\tLnkCtl: ASPM %s; ", aspm[e->link_control & PCI_EXP_LNKCTL_ASPMC]);
    print_bits(out, e->link_control, control, ARRAY_SIZE(control));
    fprintf(out, "\n\t\tLnkSta: Speed %s, Width x%u ",
            pci_express_speed(e->link_status & PCI_EXP_LNKSTA_CLS),
            (e->link_status & PCI_EXP_LNKSTA_NLW) >> 4);
    print_bits(out, e->link_status, status, ARRAY_SIZE(status));
    fputc('\n', out);
}

static void print_express(const struct pci_express *e, FILE *out)
{
    static const struct bit_name cap2[] = {
        {PCI_EXP_DEVCAP2_COMP_TMOUT_DIS, "TimeoutDis"},
        {PCI_EXP_DEVCAP2_ARI, "ARIFwd"},
        {PCI_EXP_DEVCAP2_ATOMIC_COMP32, "32bitAtomic"},
        {PCI_EXP_DEVCAP2_ATOMIC_COMP64, "64bitAtomic"},
        {PCI_EXP_DEVCAP2_LTR, "LTR"},
    };
    static const struct bit_name control2[] = {
        {PCI_EXP_DEVCTL2_COMP_TMOUT_DIS, "TimeoutDis"},
        {PCI_EXP_DEVCTL2_ARI, "ARIFwd"},
        {PCI_EXP_DEVCTL2_ATOMIC_REQ, "AtomicReq"},
        {PCI_EXP_DEVCTL2_LTR_EN, "LTR"},
    };
    const char *type = pci_express_type_name(e->type);

    fprintf(out, " (v%u) %s, Slot%c, MSI %02x\n", e->version, type ? type : "reserved type",
            sign(e->slot), e->msi_number);
    print_express_device(e, out);
    if (e->has_link)
        print_express_link(e, out);
    if (!e->has_second)
        return;
    fprintf(out, "\t\tDevCap2: ");
    print_bits(out, e->device_cap2, cap2, ARRAY_SIZE(cap2));
    fprintf(out, "\n\t\tDevCtl2: ");
    print_bits(out, e->device_control2, control2, ARRAY_SIZE(control2));
    fputc('\n', out);
}

/* The bytes after the header of a vendor's capability; their meaning is the vendor's. */
static void print_vendor(const struct pci_function *pci, const struct pci_capability *cap,
                         unsigned header, FILE *out)
{
    fprintf(out, ": Len=%02x", cap->vendor.length);
    for (unsigned i = header; i < cap->vendor.length; i++)
        fprintf(out, "%s%02x", (i - header) % 16 ? " " : "\n\t\t", pci->bytes[cap->offset + i]);
    fputc('\n', out);
}

static void print_serial(uint64_t serial, FILE *out)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        fprintf(out, "%c%02x", shift == 56 ? ' ' : '-', (unsigned)(serial >> shift) & 0xff);
    fputc('\n', out);
}

static void print_standard(const struct pci_function *pci, const struct pci_capability *cap,
                           FILE *out)
{
    switch (cap->id) {
    case PCI_CAP_ID_PM:
        print_pm(&cap->pm, out);
        break;
    case PCI_CAP_ID_MSI:
        print_msi(&cap->msi, out);
        break;
    case PCI_CAP_ID_MSIX:
        print_msix(&cap->msix, out);
        break;
    case PCI_CAP_ID_EXP:
        print_express(&cap->express, out);
        break;
    case PCI_CAP_ID_VNDR:
        print_vendor(pci, cap, 3, out);
        break;
    default:
        fputc('\n', out);
    }
}

static void print_extended(const struct pci_function *pci, const struct pci_capability *cap,
                           FILE *out)
{
    switch (cap->id) {
    case PCI_EXT_CAP_ID_DSN:
        print_serial(cap->serial, out);
        break;
    case PCI_EXT_CAP_ID_VNDR:
        fprintf(out, ": ID=%04x Rev=%x", cap->vendor.id, cap->vendor.revision);
        print_vendor(pci, cap, 8, out);
        break;
    default:
        fputc('\n', out);
    }
}

static void print_capability(const struct pci_function *pci, const struct pci_capability *cap,
                             FILE *out)
{
    const char *name = pci_capability_name(cap->id, cap->extended);

    if (cap->extended)
        fprintf(out, "\tCapabilities: [%03x v%u] ", cap->offset, cap->version);
    else
        fprintf(out, "\tCapabilities: [%02x] ", cap->offset);
    if (name)
        fprintf(out, "%s", name);
    else
        fprintf(out, "#%02x", cap->id);
    if (cap->truncated)
        fprintf(out, " <runs out of the config space>\n");
    else if (cap->extended)
        print_extended(pci, cap, out);
    else
        print_standard(pci, cap, out);
}

static void print_chain_end(enum pci_chain_end end, uint16_t at, const char *list, FILE *out)
{
    static const char *const words[] = {
        [PCI_CHAIN_LOOP] = "leads back to [%02x]",
        [PCI_CHAIN_RANGE] = "leads to [%02x], where no capability can be",
        [PCI_CHAIN_BROKEN] = "leads to [%02x], where nothing is",
    };

    if (end == PCI_CHAIN_OK)
        return;
    fprintf(out, "\tThe %s list is broken: it ", list);
    fprintf(out, words[end], at);
    fputc('\n', out);
}

void probe_print_pci(const struct pci_function *pci, FILE *out)
{
    print_header(pci, out);
    for (size_t i = 0; i < pci->ncapabilities; i++)
        print_capability(pci, &pci->capabilities[i], out);
    print_chain_end(pci->chain_end, pci->chain_end_at, "capability", out);
    print_chain_end(pci->extended_chain_end, pci->extended_chain_end_at, "extended capability",
                    out);
}
