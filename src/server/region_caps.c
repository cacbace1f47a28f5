/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/region_caps.h"

#include "wire/vfio_user.h"

/* Where the next capability goes, and the one before, which has to say so. */
struct chain {
    uint8_t *body;
    size_t next;
    struct wire_cap_header *last; /* NULL: there is none yet */
};

static size_t areas_size(const struct device_region_info *info)
{
    const struct wire_cap_sparse_mmap *cap = NULL;

    return sizeof(*cap) + info->nareas * sizeof(cap->areas[0]);
}

size_t region_caps_size(const struct device_region_info *info)
{
    size_t size = 0;

    if (info->areas)
        size += areas_size(info);
    if (info->has_type)
        size += sizeof(struct wire_cap_type);
    if (info->msix_mappable)
        size += sizeof(struct wire_cap_header);
    if (info->faults)
        size += sizeof(struct wire_cap_umdev_fault);
    return size;
}

static void *chain_add(struct chain *chain, uint16_t id, size_t size)
{
    struct wire_cap_header *header = (void *)(chain->body + chain->next);

    *header = (struct wire_cap_header){.id = id, .version = 1};
    if (chain->last)
        chain->last->next = (uint32_t)chain->next;
    chain->last = header;
    chain->next += size;
    return header;
}

static void put_areas(struct chain *chain, const struct device_region_info *info)
{
    struct wire_cap_sparse_mmap *cap = chain_add(chain, WIRE_CAP_SPARSE_MMAP, areas_size(info));

    cap->nr_areas = (uint32_t)info->nareas;
    cap->reserved = 0;
    for (size_t i = 0; i < info->nareas; i++) {
        cap->areas[i].offset = info->areas[i].offset;
        cap->areas[i].size = info->areas[i].size;
    }
}

static void put_type(struct chain *chain, const struct device_region_info *info)
{
    struct wire_cap_type *cap = chain_add(chain, WIRE_CAP_TYPE, sizeof(*cap));

    cap->type = info->type;
    cap->subtype = info->subtype;
}

static void put_fault(struct chain *chain, const struct device_region_info *info)
{
    struct wire_cap_umdev_fault *cap = chain_add(chain, WIRE_CAP_UMDEV_FAULT, sizeof(*cap));

    cap->flags = info->identity ? WIRE_CAP_UMDEV_FAULT_IDENTITY : 0u;
    cap->reserved = 0;
}

void region_caps_put(uint8_t *body, size_t offset, const struct device_region_info *info)
{
    struct chain chain = {.body = body, .next = offset};

    if (info->areas)
        put_areas(&chain, info);
    if (info->has_type)
        put_type(&chain, info);
    if (info->msix_mappable)
        chain_add(&chain, WIRE_CAP_MSIX_MAPPABLE, sizeof(struct wire_cap_header));
    if (info->faults)
        put_fault(&chain, info);
}
