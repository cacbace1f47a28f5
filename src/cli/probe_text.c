/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A probe as text for people.
 */
#include "base/parse.h"
#include "base/range.h"
#include "cli/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

const char *probe_region_name(uint32_t index, char buf[PROBE_NAME_MAX])
{
    static const char *const names[UMDEV_NUM_REGIONS] = {
        "BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM", "config", "VGA",
    };

    if (index < ARRAY_SIZE(names))
        return names[index];
    snprintf(buf, PROBE_NAME_MAX, "region %" PRIu32, index);
    return buf;
}

const char *probe_irq_name(uint32_t index, char buf[PROBE_NAME_MAX])
{
    static const char *const names[UMDEV_NUM_IRQS] = {"INTx", "MSI", "MSI-X", "ERR", "REQ"};

    if (index < ARRAY_SIZE(names))
        return names[index];
    snprintf(buf, PROBE_NAME_MAX, "irq %" PRIu32, index);
    return buf;
}

/* A server's errno is any number. */
const char *probe_error_text(int error, char buf[PROBE_NAME_MAX])
{
    const char *text = strerrordesc_np(error);

    if (text)
        return text;
    snprintf(buf, PROBE_NAME_MAX, "error %d", error);
    return buf;
}

struct flag_name {
    uint32_t bit;
    const char *name;
};

/* " read write" for the bits that are set; unknown ones as one number. */
static void print_flags(FILE *out, uint32_t flags, const struct flag_name *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (flags & names[i].bit)
            fprintf(out, " %s", names[i].name);
        flags &= ~names[i].bit;
    }
    if (flags)
        fprintf(out, " 0x%" PRIx32, flags);
}

static const char *size_text(uint64_t size, char buf[PARSE_SIZE_TEXT_MAX])
{
    parse_size_format(size, buf);
    return buf;
}

static void print_server(const struct probe *probe, FILE *out)
{
    static const struct flag_name flags[] = {
        {UMDEV_DEVICE_PCI, "pci"},
        {UMDEV_DEVICE_RESET, "reset"},
    };
    const struct umdev_client_limits *limits = &probe->limits;
    char size[PARSE_SIZE_TEXT_MAX];
    const char *comma = "";

    fprintf(out, "%s: vfio-user %u.%u\n", probe->path, limits->major, limits->minor);
    fprintf(out,
            "\tLimits: %" PRIu32 " fds a message, %s a transfer, %" PRIu64
            " DMA mappings, pages of ",
            limits->max_msg_fds, size_text(limits->max_data_xfer_size, size), limits->max_dma_maps);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(limits->pgsizes & UINT64_C(1) << bit))
            continue;
        fprintf(out, "%s%s", comma, size_text(UINT64_C(1) << bit, size));
        comma = ", ";
    }
    fprintf(out, "%s\n", limits->write_multiple ? "; several writes in a message" : "");
    fprintf(out, "\tDevice:");
    print_flags(out, probe->device.flags, flags, ARRAY_SIZE(flags));
    fprintf(out, "; %" PRIu32 " regions, %" PRIu32 " interrupt types\n", probe->device.num_regions,
            probe->device.num_irqs);
}

static void print_areas(const struct umdev_region_info *info, FILE *out)
{
    char size[PARSE_SIZE_TEXT_MAX];

    for (size_t i = 0; i < info->nareas; i++) {
        const struct umdev_area *area = &info->areas[i];

        fprintf(out, "\t\tmappable area 0x%" PRIx64 "-0x%" PRIx64 " [size=%s]\n", area->offset,
                area->offset + (area->size - 1), size_text(area->size, size));
    }
    if (info->sparse && !info->nareas)
        fprintf(out, "\t\tno mappable area\n");
}

static void print_doorbells(const struct probe_region *region, FILE *out)
{
    char text[PROBE_NAME_MAX];

    /* Optional: of a server that does not know the question nothing is missing. */
    if (region->doorbells_error && region->doorbells_error != ENOSYS)
        fprintf(out, "\t\tdoorbells refused (%s)\n",
                probe_error_text(region->doorbells_error, text));
    for (size_t i = 0; i < region->ndoorbells; i++) {
        const struct umdev_io_fd *doorbell = &region->doorbells[i];

        fprintf(out, "\t\tdoorbell 0x%" PRIx64, doorbell->offset);
        if (doorbell->size)
            fprintf(out, " [size=%" PRIu64 "]", doorbell->size);
        if (doorbell->type == UMDEV_IO_FD_REGION)
            fprintf(out, " ioregionfd, user data 0x%" PRIx64, doorbell->datamatch);
        else if (doorbell->flags & UMDEV_IO_FD_DATAMATCH)
            fprintf(out, " value 0x%" PRIx64, doorbell->datamatch);
        else
            fprintf(out, " any value");
        fputc('\n', out);
    }
}

static void print_region(const struct probe_region *region, uint32_t index, FILE *out)
{
    static const struct flag_name flags[] = {
        {UMDEV_REGION_READ, "read"},
        {UMDEV_REGION_WRITE, "write"},
        {UMDEV_REGION_MMAP, "mmap"},
        {UMDEV_REGION_CAPS, "caps"},
        {UMDEV_REGION_FAULT_MAPPED, "fault-mapped"},
    };
    const struct umdev_region_info *info = &region->info;
    char name[PROBE_NAME_MAX], text[PROBE_NAME_MAX], size[PARSE_SIZE_TEXT_MAX];

    fprintf(out, "\t%s: ", probe_region_name(index, name));
    if (region->error) {
        fprintf(out, "refused (%s)\n", probe_error_text(region->error, text));
        return;
    }
    fprintf(out, "[size=%s]", size_text(info->size, size));
    print_flags(out, info->flags, flags, ARRAY_SIZE(flags));
    if (info->flags & UMDEV_REGION_MMAP)
        fprintf(out, " at offset 0x%" PRIx64, info->offset);
    if (info->flags & UMDEV_REGION_MMAP && info->fd < 0)
        fprintf(out, ", but came without a file");
    else if (region->tried_map && region->map_error)
        fprintf(out, ", does not map (%s)", probe_error_text(region->map_error, text));
    else if (region->tried_map)
        fprintf(out, ", maps");
    fputc('\n', out);
    print_areas(info, out);
    if (info->has_type)
        fprintf(out, "\t\ttype 0x%" PRIx32 " subtype 0x%" PRIx32 "\n", info->type, info->subtype);
    if (info->msix_mappable)
        fprintf(out, "\t\tmappable over the MSI-X table\n");
    print_doorbells(region, out);
}

static bool is_absent(const struct probe_region *region)
{
    return !region->error && !region->info.size && !region->info.has_type;
}

/* In one line, as most devices have several. */
static void print_absent(const struct probe *probe, FILE *out)
{
    const char *separator = "\tnot implemented: ";
    char name[PROBE_NAME_MAX];

    for (unsigned i = 0; i < probe->nregions; i++) {
        if (!is_absent(&probe->regions[i]))
            continue;
        fprintf(out, "%s%s", separator, probe_region_name(i, name));
        separator = ", ";
    }
    if (*separator == ',')
        fputc('\n', out);
}

static void print_regions(const struct probe *probe, FILE *out)
{
    fprintf(out, "Regions:\n");
    for (unsigned i = 0; i < probe->nregions; i++)
        if (!is_absent(&probe->regions[i]))
            print_region(&probe->regions[i], i, out);
    print_absent(probe, out);
    if (probe->nregions < probe->device.num_regions)
        fprintf(out, "\tand %" PRIu32 " more\n",
                probe->device.num_regions - (uint32_t)probe->nregions);
}

static void print_irqs(const struct probe *probe, FILE *out)
{
    static const struct flag_name flags[] = {
        {UMDEV_IRQ_INFO_EVENTFD, "eventfd"},
        {UMDEV_IRQ_INFO_MASKABLE, "maskable"},
        {UMDEV_IRQ_INFO_AUTOMASKED, "automasked"},
        {UMDEV_IRQ_INFO_NORESIZE, "noresize"},
    };

    fprintf(out, "Interrupts:\n");
    for (unsigned i = 0; i < probe->nirqs; i++) {
        const struct probe_irq *irq = &probe->irqs[i];
        char name[PROBE_NAME_MAX], text[PROBE_NAME_MAX];

        fprintf(out, "\t%s: ", probe_irq_name(i, name));
        if (irq->error) {
            fprintf(out, "refused (%s)\n", probe_error_text(irq->error, text));
            continue;
        }
        fprintf(out, "%" PRIu32 "%s", irq->info.count,
                irq->info.count == 1 ? " vector" : " vectors");
        print_flags(out, irq->info.flags, flags, ARRAY_SIZE(flags));
        fputc('\n', out);
    }
    if (probe->nirqs < probe->device.num_irqs)
        fprintf(out, "\tand %" PRIu32 " more\n", probe->device.num_irqs - (uint32_t)probe->nirqs);
}

static void print_config(const struct probe *probe, FILE *out)
{
    char text[PROBE_NAME_MAX];

    if (probe->has_config)
        probe_print_pci(&probe->pci, out);
    else if (probe->config_error == EMSGSIZE)
        fprintf(out, "PCI: the config space is smaller than a header\n");
    else if (probe->config_error)
        fprintf(out, "PCI: the config space can't be read (%s)\n",
                probe_error_text(probe->config_error, text));
}

void probe_print_text(const struct probe *probe, FILE *out)
{
    print_server(probe, out);
    print_regions(probe, out);
    print_irqs(probe, out);
    print_config(probe, out);
}
