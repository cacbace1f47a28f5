/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What PCI's numbers are called: classes, capabilities, port types, link speeds.
 */
#include "base/range.h"
#include "cli/pci_decode.h"

#include <linux/pci_regs.h>

struct class_name {
    uint8_t base, sub;
    const char *name;
};

static const struct class_name classes[] = {
    {0x00, 0x00, "Non-VGA unclassified device"},
    {0x00, 0x01, "VGA compatible unclassified device"},
    {0x01, 0x00, "SCSI storage controller"},
    {0x01, 0x01, "IDE interface"},
    {0x01, 0x02, "Floppy disk controller"},
    {0x01, 0x03, "IPI bus controller"},
    {0x01, 0x04, "RAID bus controller"},
    {0x01, 0x05, "ATA controller"},
    {0x01, 0x06, "SATA controller"},
    {0x01, 0x07, "Serial Attached SCSI controller"},
    {0x01, 0x08, "Non-Volatile memory controller"},
    {0x01, 0x09, "Universal Flash Storage controller"},
    {0x01, 0x80, "Mass storage controller"},
    {0x02, 0x00, "Ethernet controller"},
    {0x02, 0x01, "Token ring network controller"},
    {0x02, 0x02, "FDDI network controller"},
    {0x02, 0x03, "ATM network controller"},
    {0x02, 0x04, "ISDN controller"},
    {0x02, 0x06, "PICMG controller"},
    {0x02, 0x07, "InfiniBand controller"},
    {0x02, 0x08, "Fabric controller"},
    {0x02, 0x80, "Network controller"},
    {0x03, 0x00, "VGA compatible controller"},
    {0x03, 0x01, "XGA compatible controller"},
    {0x03, 0x02, "3D controller"},
    {0x03, 0x80, "Display controller"},
    {0x04, 0x00, "Multimedia video controller"},
    {0x04, 0x01, "Multimedia audio controller"},
    {0x04, 0x02, "Computer telephony device"},
    {0x04, 0x03, "Audio device"},
    {0x04, 0x80, "Multimedia controller"},
    {0x05, 0x00, "RAM memory"},
    {0x05, 0x01, "FLASH memory"},
    {0x05, 0x02, "CXL memory"},
    {0x05, 0x80, "Memory controller"},
    {0x06, 0x00, "Host bridge"},
    {0x06, 0x01, "ISA bridge"},
    {0x06, 0x02, "EISA bridge"},
    {0x06, 0x04, "PCI bridge"},
    {0x06, 0x05, "PCMCIA bridge"},
    {0x06, 0x07, "CardBus bridge"},
    {0x06, 0x09, "Semi-transparent PCI-to-PCI bridge"},
    {0x06, 0x0a, "InfiniBand to PCI host bridge"},
    {0x06, 0x80, "Bridge"},
    {0x07, 0x00, "Serial controller"},
    {0x07, 0x01, "Parallel controller"},
    {0x07, 0x02, "Multiport serial controller"},
    {0x07, 0x03, "Modem"},
    {0x07, 0x04, "GPIB controller"},
    {0x07, 0x05, "Smart card controller"},
    {0x07, 0x80, "Communication controller"},
    {0x08, 0x00, "PIC"},
    {0x08, 0x01, "DMA controller"},
    {0x08, 0x02, "Timer"},
    {0x08, 0x03, "RTC"},
    {0x08, 0x04, "PCI Hot-plug controller"},
    {0x08, 0x05, "SD Host controller"},
    {0x08, 0x06, "IOMMU"},
    {0x08, 0x80, "System peripheral"},
    {0x09, 0x00, "Keyboard controller"},
    {0x09, 0x01, "Digitizer pen"},
    {0x09, 0x02, "Mouse controller"},
    {0x09, 0x03, "Scanner controller"},
    {0x09, 0x04, "Gameport controller"},
    {0x09, 0x80, "Input device controller"},
    {0x0a, 0x00, "Generic docking station"},
    {0x0a, 0x80, "Docking station"},
    {0x0b, 0x40, "Co-processor"},
    {0x0c, 0x00, "FireWire (IEEE 1394)"},
    {0x0c, 0x03, "USB controller"},
    {0x0c, 0x04, "Fibre Channel"},
    {0x0c, 0x05, "SMBus"},
    {0x0c, 0x06, "InfiniBand"},
    {0x0c, 0x07, "IPMI interface"},
    {0x0c, 0x09, "CAN bus"},
    {0x0c, 0x80, "Serial bus controller"},
    {0x0d, 0x00, "IRDA controller"},
    {0x0d, 0x11, "Bluetooth"},
    {0x0d, 0x20, "802.1a controller"},
    {0x0d, 0x21, "802.1b controller"},
    {0x0d, 0x80, "Wireless controller"},
    {0x0e, 0x00, "I2O"},
    {0x0f, 0x01, "Satellite TV controller"},
    {0x0f, 0x02, "Satellite audio communication controller"},
    {0x0f, 0x03, "Satellite voice communication controller"},
    {0x0f, 0x04, "Satellite data communication controller"},
    {0x10, 0x00, "Network and computing encryption device"},
    {0x10, 0x10, "Entertainment encryption device"},
    {0x10, 0x80, "Encryption controller"},
    {0x11, 0x00, "DPIO module"},
    {0x11, 0x01, "Performance counters"},
    {0x11, 0x10, "Communication synchronizer"},
    {0x11, 0x20, "Signal processing management"},
    {0x11, 0x80, "Signal processing controller"},
    {0x12, 0x00, "Processing accelerators"},
    {0x12, 0x01, "SNIA Smart Data Accelerator Interface controller"},
    {0x13, 0x00, "Non-Essential Instrumentation"},
};

static const char *const base_classes[] = {
    "Unclassified device",
    "Mass storage controller",
    "Network controller",
    "Display controller",
    "Multimedia controller",
    "Memory controller",
    "Bridge",
    "Communication controller",
    "Generic system peripheral",
    "Input device controller",
    "Docking station",
    "Processor",
    "Serial bus controller",
    "Wireless controller",
    "Intelligent controller",
    "Satellite communications controller",
    "Encryption controller",
    "Signal processing controller",
    "Processing accelerators",
    "Non-Essential Instrumentation",
};

const char *pci_class_name(uint32_t class_code)
{
    uint8_t base = (uint8_t)(class_code >> 16), sub = (uint8_t)(class_code >> 8);

    for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
        if (classes[i].base == base && classes[i].sub == sub)
            return classes[i].name;
    if (base < ARRAY_SIZE(base_classes))
        return base_classes[base];
    if (base == 0x40)
        return "Coprocessor";
    return base == 0xff ? "Unassigned class" : "Unknown class";
}

struct capability_name {
    uint16_t id;
    const char *key, *name;
};

static const struct capability_name capabilities[] = {
    {PCI_CAP_ID_PM, "pm", "Power Management"},
    {PCI_CAP_ID_AGP, "agp", "AGP"},
    {PCI_CAP_ID_VPD, "vpd", "Vital Product Data"},
    {PCI_CAP_ID_SLOTID, "slot-id", "Slot ID"},
    {PCI_CAP_ID_MSI, "msi", "MSI"},
    {PCI_CAP_ID_CHSWP, "cpci-hot-swap", "CompactPCI hot-swap"},
    {PCI_CAP_ID_PCIX, "pci-x", "PCI-X"},
    {PCI_CAP_ID_HT, "hypertransport", "HyperTransport"},
    {PCI_CAP_ID_VNDR, "vendor", "Vendor Specific Information"},
    {PCI_CAP_ID_DBG, "debug-port", "Debug port"},
    {PCI_CAP_ID_CCRC, "cpci-resource", "CompactPCI central resource control"},
    {PCI_CAP_ID_SHPC, "hot-plug", "Hot-plug capable"},
    {PCI_CAP_ID_SSVID, "bridge-subsystem", "Bridge subsystem"},
    {PCI_CAP_ID_AGP3, "agp3", "AGP3"},
    {PCI_CAP_ID_SECDEV, "secure-device", "Secure device"},
    {PCI_CAP_ID_EXP, "express", "Express"},
    {PCI_CAP_ID_MSIX, "msix", "MSI-X"},
    {PCI_CAP_ID_SATA, "sata", "SATA HBA"},
    {PCI_CAP_ID_AF, "advanced-features", "PCI Advanced Features"},
    {PCI_CAP_ID_EA, "enhanced-allocation", "Enhanced Allocation"},
};

static const struct capability_name extended_capabilities[] = {
    {PCI_EXT_CAP_ID_ERR, "aer", "Advanced Error Reporting"},
    {PCI_EXT_CAP_ID_VC, "vc", "Virtual Channel"},
    {PCI_EXT_CAP_ID_DSN, "dsn", "Device Serial Number"},
    {PCI_EXT_CAP_ID_PWR, "power-budgeting", "Power Budgeting"},
    {PCI_EXT_CAP_ID_RCLD, "rc-link", "Root Complex Link Declaration"},
    {PCI_EXT_CAP_ID_RCILC, "rc-internal-link", "Root Complex Internal Link Control"},
    {PCI_EXT_CAP_ID_RCEC, "rc-event-collector", "Root Complex Event Collector"},
    {PCI_EXT_CAP_ID_MFVC, "mfvc", "Multi-Function Virtual Channel"},
    {PCI_EXT_CAP_ID_VC9, "vc-mfvc", "Virtual Channel (with MFVC)"},
    {PCI_EXT_CAP_ID_RCRB, "rcrb", "Root Complex Register Block Header"},
    {PCI_EXT_CAP_ID_VNDR, "vsec", "Vendor Specific Extended Capability"},
    {PCI_EXT_CAP_ID_CAC, "config-access", "Config Access Correlation"},
    {PCI_EXT_CAP_ID_ACS, "acs", "Access Control Services"},
    {PCI_EXT_CAP_ID_ARI, "ari", "Alternative Routing-ID Interpretation"},
    {PCI_EXT_CAP_ID_ATS, "ats", "Address Translation Service"},
    {PCI_EXT_CAP_ID_SRIOV, "sriov", "Single Root I/O Virtualization"},
    {PCI_EXT_CAP_ID_MRIOV, "mriov", "Multi-Root I/O Virtualization"},
    {PCI_EXT_CAP_ID_MCAST, "multicast", "Multicast"},
    {PCI_EXT_CAP_ID_PRI, "pri", "Page Request Interface"},
    {PCI_EXT_CAP_ID_REBAR, "rebar", "Physical Resizable BAR"},
    {PCI_EXT_CAP_ID_DPA, "dpa", "Dynamic Power Allocation"},
    {PCI_EXT_CAP_ID_TPH, "tph", "Transaction Processing Hints"},
    {PCI_EXT_CAP_ID_LTR, "ltr", "Latency Tolerance Reporting"},
    {PCI_EXT_CAP_ID_SECPCI, "secondary-express", "Secondary PCI Express"},
    {PCI_EXT_CAP_ID_PMUX, "pmux", "Protocol Multiplexing"},
    {PCI_EXT_CAP_ID_PASID, "pasid", "Process Address Space ID"},
    {PCI_EXT_CAP_ID_DPC, "dpc", "Downstream Port Containment"},
    {PCI_EXT_CAP_ID_L1SS, "l1ss", "L1 PM Substates"},
    {PCI_EXT_CAP_ID_PTM, "ptm", "Precision Time Measurement"},
    {PCI_EXT_CAP_ID_DVSEC, "dvsec", "Designated Vendor-Specific"},
    {PCI_EXT_CAP_ID_DLF, "dlf", "Data Link Feature"},
    {PCI_EXT_CAP_ID_PL_16GT, "physical-16gt", "Physical Layer 16.0 GT/s"},
    {PCI_EXT_CAP_ID_DOE, "doe", "Data Object Exchange"},
};

static const struct capability_name *find_capability(uint16_t id, bool extended)
{
    const struct capability_name *names = extended ? extended_capabilities : capabilities;
    size_t n = extended ? ARRAY_SIZE(extended_capabilities) : ARRAY_SIZE(capabilities);

    for (size_t i = 0; i < n; i++)
        if (names[i].id == id)
            return &names[i];
    return NULL;
}

const char *pci_capability_name(uint16_t id, bool extended)
{
    const struct capability_name *found = find_capability(id, extended);

    return found ? found->name : NULL;
}

const char *pci_capability_key(uint16_t id, bool extended)
{
    const struct capability_name *found = find_capability(id, extended);

    return found ? found->key : NULL;
}

const char *pci_express_type_name(uint8_t type)
{
    static const char *const names[16] = {
        [PCI_EXP_TYPE_ENDPOINT] = "Endpoint",
        [PCI_EXP_TYPE_LEG_END] = "Legacy Endpoint",
        [PCI_EXP_TYPE_ROOT_PORT] = "Root Port",
        [PCI_EXP_TYPE_UPSTREAM] = "Upstream Port",
        [PCI_EXP_TYPE_DOWNSTREAM] = "Downstream Port",
        [PCI_EXP_TYPE_PCI_BRIDGE] = "PCI-Express to PCI/PCI-X Bridge",
        [PCI_EXP_TYPE_PCIE_BRIDGE] = "PCI/PCI-X to PCI-Express Bridge",
        [PCI_EXP_TYPE_RC_END] = "Root Complex Integrated Endpoint",
        [PCI_EXP_TYPE_RC_EC] = "Root Complex Event Collector",
    };

    return type < ARRAY_SIZE(names) ? names[type] : NULL;
}

const char *pci_express_speed(unsigned speed)
{
    static const char *const names[] = {
        "unknown", "2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s",
    };

    return speed < ARRAY_SIZE(names) ? names[speed] : names[0];
}
