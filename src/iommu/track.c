/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a tracker of writes is told: of mappings, and of what the device writes.
 */
#include "track/track.h"

#include "base/cleanup.h"
#include "iommu/lookup.h"
#include "iommu/private.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ mappings */

static struct track_memory memory_of(const struct iommu_mapping *mapping)
{
    const struct iommu_view *view = mapping->view;
    struct track_memory memory = {.has_hva = mapping->hva != IOMMU_NO_HVA, .has_file = view};

    if (memory.has_hva)
        memory.hva = mapping->hva;
    if (view) {
        memory.device = view->device;
        memory.inode = view->inode;
        memory.offset = iommu_view_offset(view, mapping->bytes);
    }
    return memory;
}

static int tell(struct iommu *iommu, const struct iommu_mapping *mapping)
{
    struct track_memory memory = memory_of(mapping);

    return track_map(iommu->track, mapping->range, &memory);
}

int iommu_track_map(struct iommu *iommu, const struct iommu_mapping *mapping)
{
    return iommu->tracks ? tell(iommu, mapping) : 0;
}

void iommu_track_unmap(struct iommu *iommu, struct range range)
{
    if (iommu->tracks)
        track_unmap(iommu->track, range);
}

/* Tell of all that there are; after an error, of none. With `changes`. */
static int tell_all(struct iommu *iommu)
{
    struct iommu_place place = {.root = iommu_table_root(&iommu->table)};
    const struct iommu_entry *entry;
    int ret = 0;

    for (; !ret && (entry = iommu_place_entry(&place)); iommu_place_next(&place))
        ret = tell(iommu, iommu_entry_mapping(entry));
    if (ret)
        track_unmap(iommu->track, (struct range){0, UINT64_MAX});
    return ret;
}

int iommu_track_begin(struct iommu *iommu)
{
    int ret;

    if (atomic_load(&iommu->tracks))
        return 0;
    LOCK_FOR_SCOPE(&iommu->changes);
    if (atomic_load(&iommu->tracks))
        return 0;
    ret = tell_all(iommu);
    if (ret)
        return ret;
    track_begin(iommu->track);
    atomic_store(&iommu->tracks, true);
    return 0;
}

void iommu_track_end(struct iommu *iommu)
{
    LOCK_FOR_SCOPE(&iommu->changes);

    iommu->tracks = false;
}

/* ------------------------------------------------------------------ writes */

static void note_held(void *opaque)
{
    struct iommu *iommu = opaque;

    if (atomic_load_explicit(&iommu->pins.bytes, memory_order_relaxed))
        iommu_note_held(iommu, (struct range){0, UINT64_MAX});
}

void iommu_set_track(struct iommu *iommu, struct track_hub *hub, struct track *track)
{
    iommu->hub = hub;
    iommu->track = track;
    iommu->writer = (struct track_writer){.held = note_held, .opaque = iommu};
    track_hub_add_writer(hub, &iommu->writer);
}

void iommu_track_leave(struct iommu *iommu)
{
    struct track_hub *hub = atomic_exchange(&iommu->hub, NULL);

    if (hub)
        track_hub_remove_writer(hub, &iommu->writer);
}

void iommu_track_note_mapping(struct iommu *iommu, const struct iommu_mapping *mapping,
                              struct range range)
{
    struct track_hub *hub = atomic_load_explicit(&iommu->hub, memory_order_relaxed);
    const struct track_memory memory = memory_of(mapping);
    uint64_t offset = memory.offset + (range.first - mapping->range.first);

    /* Memory without a file is written by the client itself. */
    if (memory.has_file && hub)
        track_hub_note(hub, memory.device, memory.inode,
                       (struct range){offset, offset + range_size_minus_1(range)});
}

void iommu_track_note(struct iommu *iommu, const struct iommu_directory *root, struct range range)
{
    struct iommu_place place = iommu_place_at(root, range.first);
    const struct iommu_entry *entry;

    for (; (entry = iommu_place_entry(&place)) && entry->first <= range.last;
         iommu_place_next(&place)) {
        struct range part = {MAX(range.first, entry->first), MIN(range.last, entry->last)};

        iommu_track_note_mapping(iommu, iommu_entry_mapping(entry), part);
    }
}

/* ------------------------------------------------------------------ content */

int iommu_peek_page(struct iommu *iommu, uint64_t iova, void *page)
{
    const struct iommu_entry *entry;
    struct iommu_section section;
    int ret = iommu_section_begin(iommu, &section);

    if (ret)
        return ret;
    entry = iommu_section_find(&section, iova);
    if (!entry)
        ret = -EFAULT;
    else if (!entry->bytes)
        ret = -EOPNOTSUPP;
    else
        memcpy(page, iommu_entry_at(entry, iova), PAGE_SIZE_4K);
    iommu_section_end(iommu, &section);
    return ret;
}
