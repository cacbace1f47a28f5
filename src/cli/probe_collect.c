/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asking. Nothing here may change the device: no writes, no interrupts set up, no DMA mappings.
 */
#include "base/range.h"
#include "cli/probe.h"

#include <errno.h>
#include <unistd.h>

/* The smallest piece that every server gives out of a config space. */
#define CONFIG_PIECE 4

/* Whether the first mappable page can really be mapped; it is let go at once, untouched. */
static void try_map(struct umdev_client *client, struct probe_region *region)
{
    const struct umdev_region_info *info = &region->info;
    void *map;

    if (!(info->flags & UMDEV_REGION_MMAP) || !info->nareas)
        return;
    region->tried_map = true;
    map = umdev_client_map_region(client, info->index, info->areas[0].offset,
                                  (size_t)sysconf(_SC_PAGESIZE));
    if (map)
        umdev_client_unmap_region(client, map);
    else
        region->map_error = errno;
}

/* Answers with an error are facts to show; only the end of the connection ends the probing. */
static int collect_regions(struct umdev_client *client, struct probe *probe)
{
    probe->nregions = MIN(probe->device.num_regions, (uint32_t)PROBE_MAX_REGIONS);
    for (unsigned i = 0; i < probe->nregions; i++) {
        struct probe_region *region = &probe->regions[i];
        int ret = umdev_client_get_region(client, i, &region->info);

        if (ret && !umdev_client_alive(client))
            return ret;
        region->error = -ret;
        if (!ret)
            try_map(client, region);
    }
    return 0;
}

static int collect_irqs(struct umdev_client *client, struct probe *probe)
{
    probe->nirqs = MIN(probe->device.num_irqs, (uint32_t)PROBE_MAX_IRQS);
    for (unsigned i = 0; i < probe->nirqs; i++) {
        int ret = umdev_client_get_irq(client, i, &probe->irqs[i].info);

        if (ret && !umdev_client_alive(client))
            return ret;
        probe->irqs[i].error = -ret;
    }
    return 0;
}

static uint64_t region_size(const struct probe *probe, unsigned index)
{
    if (index >= probe->nregions || probe->regions[index].error)
        return 0;
    return probe->regions[index].info.size;
}

/* All at once; a server that wants register-sized accesses gets those. */
static int read_config(struct umdev_client *client, uint8_t *config, size_t size)
{
    int ret = umdev_client_read(client, UMDEV_REGION_CONFIG, 0, config, size);

    if (!ret || !umdev_client_alive(client))
        return ret;
    for (size_t at = 0; at < size; at += CONFIG_PIECE) {
        ret = umdev_client_read(client, UMDEV_REGION_CONFIG, at, config + at, CONFIG_PIECE);
        if (ret)
            return ret;
    }
    return 0;
}

static int collect_config(struct umdev_client *client, struct probe *probe)
{
    uint64_t bars[PCI_BAR_COUNT];
    uint64_t whole = region_size(probe, UMDEV_REGION_CONFIG);
    size_t size = (size_t)MIN(whole, (uint64_t)PCI_SPACE_MAX) & ~(size_t)(CONFIG_PIECE - 1);
    int ret;

    if (!(probe->device.flags & UMDEV_DEVICE_PCI) || !whole)
        return 0;
    if (size < PCI_SPACE_MIN) {
        probe->config_error = EMSGSIZE;
        return 0;
    }
    ret = read_config(client, probe->config, size);
    probe->config_error = -ret;
    if (ret)
        return umdev_client_alive(client) ? 0 : ret;
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        bars[i] = region_size(probe, i);
    probe->has_config = true;
    return pci_decode(probe->config, size, bars, region_size(probe, UMDEV_REGION_ROM), &probe->pci);
}

/* Many servers have no doorbells and some lose their heads over the question: it comes last, and
 * what was found out before is shown all the same. */
static void collect_doorbells(struct umdev_client *client, struct probe *probe)
{
    int error = 0;

    for (unsigned i = 0; i < probe->nregions; i++) {
        struct probe_region *region = &probe->regions[i];

        if (region->error || !region->info.size || !(region->info.flags & UMDEV_REGION_WRITE) ||
            i == UMDEV_REGION_CONFIG)
            continue;
        if (error != ENOSYS)
            error = -umdev_client_get_io_fds(client, i, &region->doorbells, &region->ndoorbells);
        region->doorbells_error = error;
    }
}

int probe_collect(struct umdev_client *client, struct probe *probe)
{
    int ret;

    umdev_client_get_limits(client, &probe->limits);
    ret = umdev_client_get_info(client, &probe->device);
    if (!ret)
        ret = collect_regions(client, probe);
    if (!ret)
        ret = collect_irqs(client, probe);
    if (!ret)
        ret = collect_config(client, probe);
    if (!ret)
        collect_doorbells(client, probe);
    return ret;
}
