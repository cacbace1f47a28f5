/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions mapped into this process.
 *
 * Data model. One struct client_mapping for each successful umdev_client_map_region(), in a list
 * under device_lock, found by its address. One of a fault-mapped region is a view (fault.h).
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "client/fault.h"
#include "client/regions.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct client_mapping {
    struct client_mapping *next;
    void *addr;
    size_t len;
    struct fault_view *view; /* NULL: pages of the region's file */
};

static bool inside_an_area(const struct umdev_region_info *info, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < info->nareas; i++) {
        const struct umdev_area *area = &info->areas[i];

        if (offset >= area->offset && span_fits(offset - area->offset, len, area->size))
            return true;
    }
    return false;
}

/* A page beyond the end of a file would be a SIGBUS in waiting. */
static int check_file(int fd, uint64_t first, size_t len)
{
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    if (S_ISREG(st.st_mode) && !span_fits(first, len, (uint64_t)st.st_size))
        return -ENXIO;
    return 0;
}

static int map_prot(uint32_t flags)
{
    return (flags & UMDEV_REGION_READ ? PROT_READ : 0) |
           (flags & UMDEV_REGION_WRITE ? PROT_WRITE : 0);
}

/* −EINVAL, −ENOTSUP, −ENXIO: why [offset, offset + len) can't be mapped; else its place in the
 * file. */
static int check_mapping(const struct umdev_region_info *info, uint64_t offset, size_t len,
                         uint64_t *file_offset)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!(info->flags & UMDEV_REGION_MMAP) || info->fd < 0)
        return -ENOTSUP;
    if (!len || !is_aligned(offset, page) || !is_aligned(len, page) ||
        !inside_an_area(info, offset, len))
        return -EINVAL;
    if (ADD_OVERFLOW(info->offset, offset, file_offset) || *file_offset > INT64_MAX ||
        !is_aligned(*file_offset, page))
        return -ENXIO;
    return check_file(info->fd, *file_offset, len);
}

static int map_file(const struct umdev_region_info *info, uint64_t offset,
                    struct client_mapping *mapping)
{
    uint64_t file_offset;
    int ret = check_mapping(info, offset, mapping->len, &file_offset);

    if (ret)
        return ret;
    mapping->addr =
        mmap(NULL, mapping->len, map_prot(info->flags), MAP_SHARED, info->fd, (off_t)file_offset);
    return mapping->addr == MAP_FAILED ? -errno : 0;
}

static int map_view(struct umdev_client *client, const struct umdev_region_info *info,
                    uint64_t offset, struct client_mapping *mapping)
{
    struct range range;
    int ret;

    if (!is_aligned(offset | mapping->len, PAGE_SIZE_4K) ||
        range_make(offset, mapping->len, &range) || range.last >= info->size)
        return -EINVAL;
    ret = client_fault_map_view(client, info->index, range, &mapping->view);
    if (!ret)
        mapping->addr = mapping->view->addr;
    return ret;
}

static int map_region(struct umdev_client *client, unsigned index, uint64_t offset, size_t len,
                      void **addr)
{
    CLEANUP_FREE struct client_mapping *mapping = NULL;
    const struct client_region *region;
    int ret;

    ret = client_region_get(client, index, &region);
    if (ret)
        return ret;
    mapping = calloc(1, sizeof(*mapping));
    if (!mapping)
        return -ENOMEM;
    mapping->len = len;
    if (region->info.flags & UMDEV_REGION_FAULT_MAPPED)
        ret = map_view(client, &region->info, offset, mapping);
    else
        ret = map_file(&region->info, offset, mapping);
    if (ret)
        return ret;
    *addr = mapping->addr;
    LOCK_FOR_SCOPE(&client->device_lock);
    mapping->next = client->mappings;
    client->mappings = TAKE_POINTER(mapping);
    return 0;
}

void *umdev_client_map_region(struct umdev_client *client, unsigned region, uint64_t offset,
                              size_t len)
{
    void *addr = NULL;
    int ret = map_region(client, region, offset, len, &addr);

    if (ret)
        errno = -ret;
    return addr;
}

int umdev_client_unmap_region(struct umdev_client *client, void *ptr)
{
    CLEANUP_FREE struct client_mapping *mapping = NULL;
    struct client_mapping **link = &client->mappings;

    LOCK_FOR_SCOPE(&client->device_lock);
    while (*link && (*link)->addr != ptr)
        link = &(*link)->next;
    if (!*link)
        return -EINVAL;
    mapping = *link;
    *link = mapping->next;
    if (mapping->view)
        client_fault_unmap_view(client, mapping->view);
    else
        munmap(mapping->addr, mapping->len);
    return 0;
}

void client_mappings_free(struct umdev_client *client)
{
    while (client->mappings)
        umdev_client_unmap_region(client, client->mappings->addr);
}
