/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a device's regions come to be: register files and memory objects from the description,
 * the driver's changes in create(), and at the end what a client may map.
 */
#include "device/device_priv.h"

#include <inttypes.h>
#include <stdio.h>

void region_name(unsigned index, char name[REGION_NAME_SIZE])
{
    if (index < UMDEV_NUM_BARS)
        snprintf(name, REGION_NAME_SIZE, "BAR%u", index);
    else if (index >= UMDEV_NUM_REGIONS)
        snprintf(name, REGION_NAME_SIZE, "region %u", index);
    else
        snprintf(name, REGION_NAME_SIZE, "%s",
                 index == UMDEV_REGION_ROM      ? "ROM"
                 : index == UMDEV_REGION_CONFIG ? "config"
                                                : "VGA");
}

/* ------------------------------------------------------------------ from the description */

static int region_make_regs(struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    struct region *region = &dev->regions[index];
    const struct umdev_regs_desc *desc = region->regs;
    char name[REGION_NAME_SIZE], other[REGION_NAME_SIZE];
    struct umdev_regs *regs;

    region_name(index, name);
    if (!span_fits(desc->priv_offset, sizeof(*regs), dev->driver->priv_size) ||
        !is_aligned(desc->priv_offset, _Alignof(struct umdev_regs)))
        return error_set(error, EINVAL, "%s: registers at offset %zu are not inside priv_size %zu",
                         name, desc->priv_offset, dev->driver->priv_size);
    regs = (struct umdev_regs *)(void *)((uint8_t *)dev->priv + desc->priv_offset);
    for (unsigned i = 0; i < index; i++) {
        if (dev->regions[i].file.regs != regs)
            continue;
        region_name(i, other);
        return error_set(error, EINVAL, "%s: its registers are %s's already", name, other);
    }
    return regs_file_init(&region->file, regs, desc, region->size, name, error);
}

/* A new memory object for a UMDEV_BAR_MEMORY region, in place of the one it had. */
static int region_make_mem(struct umdev_device *dev, unsigned index, uint64_t size,
                           struct umdev_error *error)
{
    struct region *region = &dev->regions[index];
    char name[REGION_NAME_SIZE];
    struct umdev_mem *mem;
    int ret;

    region_name(index, name);
    ret = mem_list_add(&dev->mems, name, size, &mem);
    if (ret == -EINVAL)
        return error_set(error, EINVAL,
                         "%s: memory of 0x%" PRIx64 " bytes can't be mapped: it must be a "
                         "multiple of 4096",
                         name, size);
    if (ret < 0)
        return error_set(error, -ret, "%s: can't make memory of 0x%" PRIx64 " bytes: %s", name,
                         size, log_errno(-ret));
    if (region->mem_made)
        mem_list_remove(&dev->mems, region->mem);
    region->mem = mem;
    region->mem_made = true;
    return 0;
}

int regions_setup(struct umdev_device *dev, struct umdev_error *error)
{
    for (unsigned i = 0; i < dev->nregions; i++) {
        const struct region *region = &dev->regions[i];
        int ret = 0;

        if (region->regs)
            ret = region_make_regs(dev, i, error);
        else if (region->flags & UMDEV_BAR_MEMORY && region->size > 0)
            ret = region_make_mem(dev, i, region->size, error);
        if (ret < 0)
            return ret;
    }
    return 0;
}

void regions_fini(struct umdev_device *dev)
{
    for (unsigned i = 0; i < dev->nregions; i++) {
        regs_file_fini(&dev->regions[i].file);
        free(dev->regions[i].backed);
        free(dev->regions[i].mappable);
        free(dev->regions[i].doorbells);
        free(dev->regions[i].told);
    }
    free(dev->regions);
}

/* ------------------------------------------------------------------ from create() */

static bool region_mem_fits(const struct umdev_mem *mem, uint64_t mem_offset, uint64_t size,
                            const struct umdev_area *areas, size_t nareas)
{
    if (nareas == 0)
        return span_fits(mem_offset, size, mem->size);
    for (size_t i = 0; i < nareas; i++) {
        uint64_t place;

        if (!span_fits(areas[i].offset, areas[i].size, size) ||
            ADD_OVERFLOW(mem_offset, areas[i].offset, &place) ||
            !span_fits(place, areas[i].size, mem->size))
            return false;
    }
    return true;
}

static int area_compare(const void *left, const void *right)
{
    const struct umdev_area *a = left, *b = right;

    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* A sorted copy, checked. `areas` fit their region. */
static int areas_copy(const struct umdev_area *areas, size_t nareas, struct umdev_area **copy_out)
{
    CLEANUP_FREE struct umdev_area *copy = calloc(nareas, sizeof(*copy));

    if (!copy)
        return -ENOMEM;
    memcpy(copy, areas, nareas * sizeof(*copy));
    qsort(copy, nareas, sizeof(*copy), area_compare);
    for (size_t i = 0; i < nareas; i++) {
        if (copy[i].size == 0 || !is_aligned(copy[i].size, PAGE_SIZE_4K) ||
            !is_aligned(copy[i].offset, PAGE_SIZE_4K))
            return -EINVAL;
        if (i > 0 && copy[i - 1].offset + copy[i - 1].size > copy[i].offset)
            return -EINVAL;
    }
    *copy_out = TAKE_POINTER(copy);
    return 0;
}

/* A BAR decodes an address: only powers of two will do. */
static bool region_size_is_possible(const struct region *region, uint64_t size)
{
    return region->has_type ? size > 0 : is_power_of_two(size);
}

int umdev_region_set_size(struct umdev_device *dev, unsigned index, uint64_t size)
{
    struct umdev_error error = {{0}};
    char name[REGION_NAME_SIZE];
    struct region *region;
    int ret = 0;

    if (!dev->creating)
        return -EBUSY;
    if (index >= dev->nregions || !dev->regions[index].described ||
        !region_size_is_possible(&dev->regions[index], size))
        return -EINVAL;
    region = &dev->regions[index];
    region_name(index, name);
    if (region->mem && !region->mem_made &&
        !region_mem_fits(region->mem, region->mem_offset, size, region->backed, region->nbacked))
        return -EINVAL;
    if (region->file.regs)
        ret = regs_file_resize(&region->file, size, name, &error);
    else if (region->flags & UMDEV_BAR_MEMORY && (!region->mem || region->mem_made))
        ret = region_make_mem(dev, index, size, &error);
    if (ret < 0) {
        umdev_device_log(dev, UMDEV_LOG_ERROR, "%s", error.message);
        return ret;
    }
    region->size = size;
    return 0;
}

bool device_has_mem(const struct umdev_device *dev, const struct umdev_mem *mem)
{
    return mem_list_has((struct mem_list *)&dev->mems, mem) ||
           (dev->parent_mems && mem_list_has(dev->parent_mems, mem));
}

int umdev_region_set_mem(struct umdev_device *dev, unsigned index, struct umdev_mem *mem,
                         uint64_t mem_offset, const struct umdev_area *areas, size_t nareas)
{
    struct umdev_area *copy = NULL;
    struct region *region;

    if (!dev->creating)
        return -EBUSY;
    if (index >= dev->nregions || !dev->regions[index].described || !mem)
        return -EINVAL;
    region = &dev->regions[index];
    /* Another device's object would let this client reach that device's pages. */
    if (region->file.regs || !device_has_mem(dev, mem))
        return -EINVAL;
    if (!is_aligned(mem_offset, PAGE_SIZE_4K) || (nareas > 0 && !areas) ||
        !region_mem_fits(mem, mem_offset, region->size, areas, nareas))
        return -EINVAL;
    if (nareas > 0) {
        int ret = areas_copy(areas, nareas, &copy);

        if (ret < 0)
            return ret;
    }
    if (region->mem_made && region->mem != mem)
        mem_list_remove(&dev->mems, region->mem);
    region->mem_made = region->mem_made && region->mem == mem;
    region->mem = mem;
    region->mem_offset = mem_offset;
    free(region->backed);
    region->backed = copy;
    region->nbacked = nareas;
    return 0;
}

struct umdev_mem *umdev_region_mem(struct umdev_device *dev, unsigned index)
{
    return index < dev->nregions ? dev->regions[index].mem : NULL;
}

/* ------------------------------------------------------------------ after create() */

static bool region_is_answered(const struct umdev_device *dev, unsigned index)
{
    const struct region *region = &dev->regions[index];

    return region->file.regs || region->mem || region->made || dev->driver->read ||
           dev->driver->write || (dev->msix.vectors && dev->msix.bar == index);
}

static int region_check(const struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    const struct region *region = &dev->regions[index];
    bool has_msix = dev->msix.vectors && dev->msix.bar == index;
    char name[REGION_NAME_SIZE];

    if (!region->described)
        return 0;
    region_name(index, name);
    if (region->size == 0)
        return error_set(error, EINVAL, "%s: it has no size: describe one or set it in create()",
                         name);
    if (region->flags & (UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY))
        return fault_region_check(dev, index, error);
    if (!region_is_answered(dev, index))
        return error_set(error, EINVAL,
                         "%s: nobody answers for it: give it registers, memory, or the driver a "
                         "read or write callback",
                         name);
    if (region->flags & UMDEV_BAR_READONLY && has_msix)
        return error_set(error, EINVAL, "%s: the MSI-X table can't lie in a read-only BAR", name);
    if (region->flags & UMDEV_BAR_MSIX_MAPPABLE && !(has_msix && region->mem))
        return error_set(error, EINVAL,
                         "%s: UMDEV_BAR_MSIX_MAPPABLE is for a memory BAR that the MSI-X table "
                         "lies in",
                         name);
    return 0;
}

/* An object is the client's to write, or not: not both, in two regions. */
static int regions_set_read_only(struct umdev_device *dev, struct umdev_error *error)
{
    char name[REGION_NAME_SIZE];

    for (unsigned i = 0; i < dev->nregions; i++) {
        if (!dev->regions[i].mem || !(dev->regions[i].flags & UMDEV_BAR_READONLY))
            continue;
        region_name(i, name);
        if (dev->regions[i].mem->list->shared)
            return error_set(error, EINVAL,
                             "%s: a read-only region needs memory of the device's own", name);
        dev->regions[i].mem->read_only = true;
    }
    for (unsigned i = 0; i < dev->nregions; i++) {
        if (!dev->regions[i].mem || !dev->regions[i].mem->read_only ||
            dev->regions[i].flags & UMDEV_BAR_READONLY)
            continue;
        region_name(i, name);
        return error_set(error, EINVAL,
                         "%s: its memory is also that of a read-only region, where the client "
                         "must not write",
                         name);
    }
    return 0;
}

/* Take the pages of `hole` out of `areas`, which has room for one more. Returns the new number. */
static size_t areas_subtract(struct umdev_area *areas, size_t nareas, struct range hole)
{
    uint64_t first = align_down(hole.first, PAGE_SIZE_4K);
    uint64_t end = align_down(hole.last, PAGE_SIZE_4K) + PAGE_SIZE_4K;
    size_t i = 0;

    while (i < nareas) {
        struct umdev_area area = areas[i];
        uint64_t area_end = area.offset + area.size;
        struct umdev_area before = {area.offset, first > area.offset ? first - area.offset : 0};
        struct umdev_area after = {end, area_end > end ? area_end - end : 0};
        size_t left = (before.size > 0) + (after.size > 0);

        if (end <= area.offset || area_end <= first) {
            i++;
            continue;
        }
        memmove(&areas[i + left], &areas[i + 1], (nareas - i - 1) * sizeof(*areas));
        if (before.size > 0)
            areas[i++] = before;
        if (after.size > 0)
            areas[i++] = after;
        nareas = nareas - 1 + left;
    }
    return nareas;
}

/* What a client may map: see struct region. */
static int region_set_mappable(struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    const struct umdev_area whole = {0, dev->regions[index].size};
    struct region *region = &dev->regions[index];
    bool keep_msix =
        dev->msix.vectors && dev->msix.bar == index && !(region->flags & UMDEV_BAR_MSIX_MAPPABLE);
    const struct umdev_area *from = region->nbacked ? region->backed : &whole;
    size_t count = region->nbacked ? region->nbacked : 1;

    if (region->flags & UMDEV_BAR_FAULT)
        return 0;
    /* The rest of a last page that is the region's in part would go with it. */
    if (!region->mem || (!region->nbacked && !is_aligned(region->size, PAGE_SIZE_4K)))
        return 0;
    region->can_map = true;
    if (!region->nbacked && !keep_msix)
        return 0;
    region->mappable = calloc(count + 2, sizeof(*region->mappable));
    if (!region->mappable)
        return error_set(error, ENOMEM, "region %u: out of memory for %zu areas", index, count);
    memcpy(region->mappable, from, count * sizeof(*from));
    if (keep_msix) {
        count = areas_subtract(region->mappable, count, dev->msix.table);
        count = areas_subtract(region->mappable, count, dev->msix.pba);
    }
    region->nmappable = count;
    region->can_map = count > 0;
    return 0;
}

int regions_finish(struct umdev_device *dev, struct umdev_error *error)
{
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < dev->nregions; i++) {
        ret = region_check(dev, i, error);
        if (ret == 0)
            ret = region_set_mappable(dev, i, error);
        if (ret == 0)
            ret = doorbells_finish(dev, i, error);
        if (ret == 0 && dev->regions[i].file.regs) {
            ret = regs_file_save(&dev->regions[i].file);
            if (ret < 0)
                error_set(error, -ret, "region %u: out of memory for its registers", i);
        }
    }
    if (ret == 0)
        ret = regions_set_read_only(dev, error);
    if (ret == 0) {
        ret = mem_list_seal(&dev->mems);
        if (ret < 0)
            error_set(error, -ret, "can't seal a memory object: %s", log_errno(-ret));
    }
    return ret;
}

int device_get_region(const struct umdev_device *dev, unsigned index,
                      struct device_region_info *info)
{
    const struct region *region;

    if (index >= dev->nregions)
        return -EINVAL;
    region = &dev->regions[index];
    *info = (struct device_region_info){
        .size = region->size,
        .fd = -1,
        .has_type = region->has_type,
        .type = region->type,
        .subtype = region->subtype,
    };
    if (region->size == 0)
        return 0;
    info->flags = VFIO_REGION_INFO_FLAG_READ;
    if (!(region->flags & UMDEV_BAR_READONLY))
        info->flags |= VFIO_REGION_INFO_FLAG_WRITE;
    info->has_msix_table = dev->msix.vectors && dev->msix.bar == index;
    info->msix_mappable = region->flags & UMDEV_BAR_MSIX_MAPPABLE;
    info->faults = fault_region_is_offered(dev, index);
    info->identity = fault_region_is_identity(dev, index);
    if (region->can_map && !mem_is_kept(dev, region->mem)) {
        info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
        info->fd = region->mem->fd;
        atomic_store(&region->mem->given, true);
        info->offset = region->mem_offset;
        info->areas = region->mappable;
        info->nareas = region->nmappable;
    }
    return 0;
}
