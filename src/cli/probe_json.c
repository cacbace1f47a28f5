/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A probe as one JSON object. Keys are only ever added.
 *
 * Built with jansson's habit: adding a NULL value fails, so one that could not be made shows as a
 * failure of the object it belongs to (json_pack(), json_object_set_new()).
 */
#include "base/range.h"
#include "cli/probe.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

json_t *probe_json_number(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

struct flag_key {
    uint32_t bit;
    const char *key;
};

static json_t *flags_json(uint32_t flags, const struct flag_key *keys, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        if (flags & keys[i].bit && json_array_append_new(array, json_string(keys[i].key))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* null, or the errno's name: "EINVAL". */
static json_t *error_json(int error)
{
    const char *name = error ? strerrorname_np(error) : NULL;

    if (!error)
        return json_null();
    return name ? json_string(name) : json_sprintf("%d", error);
}

static json_t *limits_json(const struct umdev_client_limits *limits)
{
    return json_pack("{s:i, s:o, s:o, s:o, s:b}", "max_msg_fds", (int)limits->max_msg_fds,
                     "max_data_xfer_size", probe_json_number(limits->max_data_xfer_size),
                     "max_dma_maps", probe_json_number(limits->max_dma_maps), "pgsizes",
                     probe_json_number(limits->pgsizes), "write_multiple", limits->write_multiple);
}

static json_t *device_json(const struct umdev_device_info *device)
{
    static const struct flag_key keys[] = {
        {UMDEV_DEVICE_RESET, "reset"},
        {UMDEV_DEVICE_PCI, "pci"},
    };

    return json_pack("{s:o, s:I, s:I}", "flags", flags_json(device->flags, keys, ARRAY_SIZE(keys)),
                     "num_regions", (json_int_t)device->num_regions, "num_irqs",
                     (json_int_t)device->num_irqs);
}

/* ------------------------------------------------------------------ regions and interrupts */

static json_t *areas_json(const struct umdev_region_info *info)
{
    json_t *array = json_array();

    for (size_t i = 0; i < info->nareas; i++) {
        json_t *area = json_pack("{s:o, s:o}", "offset", probe_json_number(info->areas[i].offset),
                                 "size", probe_json_number(info->areas[i].size));

        if (json_array_append_new(array, area)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *doorbell_json(const struct umdev_io_fd *doorbell)
{
    bool ioregionfd = doorbell->type == UMDEV_IO_FD_REGION;
    bool has_match = !ioregionfd && doorbell->flags & UMDEV_IO_FD_DATAMATCH;
    json_t *match = has_match ? probe_json_number(doorbell->datamatch) : json_null();
    json_t *data = ioregionfd ? probe_json_number(doorbell->datamatch) : json_null();

    return json_pack(
        "{s:o, s:o, s:s, s:b, s:o, s:o}", "offset", probe_json_number(doorbell->offset), "size",
        probe_json_number(doorbell->size), "type", ioregionfd ? "ioregionfd" : "ioeventfd", "port",
        !ioregionfd && doorbell->flags & UMDEV_IO_FD_PIO, "match", match, "user_data", data);
}

static json_t *doorbells_json(const struct probe_region *region)
{
    json_t *array = json_array();

    for (size_t i = 0; i < region->ndoorbells; i++)
        if (json_array_append_new(array, doorbell_json(&region->doorbells[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *region_json(const struct probe_region *region, uint32_t index)
{
    static const struct flag_key keys[] = {
        {UMDEV_REGION_READ, "read"},
        {UMDEV_REGION_WRITE, "write"},
        {UMDEV_REGION_MMAP, "mmap"},
        {UMDEV_REGION_CAPS, "caps"},
        {UMDEV_REGION_FAULT_MAPPED, "fault-mapped"},
    };
    const struct umdev_region_info *info = &region->info;
    char name[PROBE_NAME_MAX];
    json_t *type;

    if (region->error)
        return json_pack("{s:I, s:s, s:o}", "index", (json_int_t)index, "name",
                         probe_region_name(index, name), "error", error_json(region->error));
    type = info->has_type ? json_pack("{s:I, s:I}", "type", (json_int_t)info->type, "subtype",
                                      (json_int_t)info->subtype)
                          : json_null();
    return json_pack("{s:I, s:s, s:n, s:o, s:o, s:o, s:b, s:o, s:b, s:o, s:b, s:o, s:o, s:o}",
                     "index", (json_int_t)index, "name", probe_region_name(index, name), "error",
                     "size", probe_json_number(info->size), "offset",
                     probe_json_number(info->offset), "flags",
                     flags_json(info->flags, keys, ARRAY_SIZE(keys)), "sparse", info->sparse,
                     "areas", areas_json(info), "msix_mappable", info->msix_mappable, "type", type,
                     "maps", region->tried_map && !region->map_error, "map_error",
                     error_json(region->map_error), "doorbells", doorbells_json(region),
                     "doorbells_error", error_json(region->doorbells_error));
}

static json_t *irq_json(const struct probe_irq *irq, uint32_t index)
{
    static const struct flag_key keys[] = {
        {UMDEV_IRQ_INFO_EVENTFD, "eventfd"},
        {UMDEV_IRQ_INFO_MASKABLE, "maskable"},
        {UMDEV_IRQ_INFO_AUTOMASKED, "automasked"},
        {UMDEV_IRQ_INFO_NORESIZE, "noresize"},
    };
    char name[PROBE_NAME_MAX];

    if (irq->error)
        return json_pack("{s:I, s:s, s:o}", "index", (json_int_t)index, "name",
                         probe_irq_name(index, name), "error", error_json(irq->error));
    return json_pack("{s:I, s:s, s:n, s:I, s:o}", "index", (json_int_t)index, "name",
                     probe_irq_name(index, name), "error", "count", (json_int_t)irq->info.count,
                     "flags", flags_json(irq->info.flags, keys, ARRAY_SIZE(keys)));
}

static json_t *regions_json(const struct probe *probe)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < probe->nregions; i++)
        if (json_array_append_new(array, region_json(&probe->regions[i], i))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *irqs_json(const struct probe *probe)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < probe->nirqs; i++)
        if (json_array_append_new(array, irq_json(&probe->irqs[i], i))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* ------------------------------------------------------------------ the whole */

/* JSON is UTF-8; a path is any bytes. */
static json_t *path_json(const char *path)
{
    json_t *json = json_string(path);
    char *ascii;

    if (json)
        return json;
    ascii = strdup(path);
    if (!ascii)
        return NULL;
    for (char *c = ascii; *c; c++)
        if (*c & 0x80)
            *c = '?';
    json = json_string(ascii);
    free(ascii);
    return json;
}

static json_t *probe_json(const struct probe *probe)
{
    json_t *pci = probe->has_config ? probe_pci_json(&probe->pci) : json_null();

    return json_pack("{s:o, s:{s:i, s:i}, s:o, s:o, s:o, s:o, s:o, s:o}", "socket",
                     path_json(probe->path), "version", "major", probe->limits.major, "minor",
                     probe->limits.minor, "limits", limits_json(&probe->limits), "device",
                     device_json(&probe->device), "regions", regions_json(probe), "irqs",
                     irqs_json(probe), "pci_error", error_json(probe->config_error), "pci", pci);
}

int probe_print_json(const struct probe *probe, FILE *out)
{
    json_t *root = probe_json(probe);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

    json_decref(root);
    if (!text)
        return -ENOMEM;
    fprintf(out, "%s\n", text);
    free(text);
    return 0;
}
