/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trapped accesses: who answers which bytes, and passing them on.
 *
 * An access is cut into pieces that one and the same answers: the MSI-X table, the pending bits,
 * the register file, the pages that a fault would map, the memory object, the driver. Nothing here
 * allocates; a serialised device holds call_lock over all pieces of an access, so that they are one
 * to the driver.
 */
#include "device/bytes.h"
#include "device/device_priv.h"

enum answerer {
    ANSWER_CONFIG,
    ANSWER_MSIX_TABLE,
    ANSWER_MSIX_PBA,
    ANSWER_REGS,
    ANSWER_FAULT,
    ANSWER_MEM,
    ANSWER_DRIVER,
    ANSWER_NOBODY, /* reserved: reads as zeros, writes are dropped */
};

struct piece {
    enum answerer answerer;
    size_t len;
};

/* Whether `offset` lies in `range`; if not, *end is brought down to where the range begins. */
static bool range_reached(struct range range, uint64_t offset, uint64_t *end)
{
    if (range_has(range, offset)) {
        *end = MIN(*end, range.last + 1);
        return true;
    }
    if (range.first > offset)
        *end = MIN(*end, range.first);
    return false;
}

/* The same for the areas that the memory object backs. */
static bool region_mem_reached(const struct region *region, uint64_t offset, uint64_t *end)
{
    size_t low = 0, high = region->nbacked;

    if (!region->mem)
        return false;
    if (high == 0)
        return true;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (region->backed[middle].offset + region->backed[middle].size <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == region->nbacked)
        return false;
    return range_reached((struct range){region->backed[low].offset,
                                        region->backed[low].offset + region->backed[low].size - 1},
                         offset, end);
}

/* The answerer of the byte at `offset`, and how far it answers, up to `end`. */
static struct piece region_piece(const struct umdev_device *dev, unsigned index, uint64_t offset,
                                 uint64_t end)
{
    const struct region *region = &dev->regions[index];
    enum answerer answerer = ANSWER_DRIVER;

    if (index == UMDEV_REGION_CONFIG)
        return (struct piece){ANSWER_CONFIG, end - offset};
    if (dev->msix.vectors && dev->msix.bar == index) {
        if (range_reached(dev->msix.table, offset, &end))
            return (struct piece){ANSWER_MSIX_TABLE, end - offset};
        if (range_reached(dev->msix.pba, offset, &end))
            return (struct piece){ANSWER_MSIX_PBA, end - offset};
    }
    if (region->file.regs)
        answerer = ANSWER_REGS;
    else if (region->flags & UMDEV_BAR_FAULT)
        answerer = ANSWER_FAULT;
    else if (region_mem_reached(region, offset, &end))
        answerer = ANSWER_MEM;
    else if (region->made)
        answerer = ANSWER_NOBODY;
    return (struct piece){answerer, end - offset};
}

static int piece_read(struct umdev_device *dev, unsigned index, enum answerer answerer,
                      uint64_t offset, uint8_t *buf, size_t len)
{
    const struct region *region = &dev->regions[index];

    switch (answerer) {
    case ANSWER_CONFIG:
        pci_config_read(dev->config, (uint32_t)offset, buf, len);
        return 0;
    case ANSWER_MSIX_TABLE:
        msix_table_read(dev->msix_table, offset - dev->msix.table.first, buf, len);
        return 0;
    case ANSWER_MSIX_PBA:
        msix_pba_read(dev->msix_table, offset - dev->msix.pba.first, buf, len);
        return 0;
    case ANSWER_REGS:
        regs_file_read(&region->file, dev, offset, buf, len);
        return 0;
    case ANSWER_FAULT:
        return fault_read(dev, index, offset, buf, len);
    case ANSWER_MEM:
        bytes_load(buf, region->mem->bytes + region->mem_offset + offset, len);
        return 0;
    case ANSWER_NOBODY:
        memset(buf, 0, len);
        return 0;
    case ANSWER_DRIVER:
        break;
    }
    if (!dev->driver->read)
        return -EIO;
    return driver_result(dev->driver->read(dev, index, offset, buf, len));
}

static int piece_write(struct umdev_device *dev, unsigned index, enum answerer answerer,
                       uint64_t offset, const uint8_t *buf, size_t len)
{
    const struct region *region = &dev->regions[index];

    switch (answerer) {
    case ANSWER_CONFIG:
        pci_config_write(dev->config, (uint32_t)offset, buf, len);
        pci_settle_locked(dev);
        return 0;
    case ANSWER_MSIX_TABLE:
        msix_table_write(dev->msix_table, offset - dev->msix.table.first, buf, len);
        return 0;
    case ANSWER_REGS:
        regs_file_write(&region->file, dev, offset, buf, len);
        return 0;
    case ANSWER_FAULT:
        return fault_write(dev, index, offset, buf, len);
    case ANSWER_MEM:
        bytes_store(region->mem->bytes + region->mem_offset + offset, buf, len);
        return 0;
    case ANSWER_MSIX_PBA:
    case ANSWER_NOBODY:
        return 0;
    case ANSWER_DRIVER:
        break;
    }
    if (!dev->driver->write)
        return -EIO;
    return driver_result(dev->driver->write(dev, index, offset, buf, len));
}

static int access_check(const struct umdev_device *dev, unsigned index, uint64_t offset, size_t len)
{
    if (index >= dev->nregions || !span_fits(offset, len, dev->regions[index].size))
        return -EINVAL;
    return 0;
}

/* The config space can reset the device, and has no lock of its own. */
static pthread_mutex_t *access_lock(struct umdev_device *dev, unsigned index)
{
    if (index == UMDEV_REGION_CONFIG)
        return cleanup_mutex_lock(&dev->call_lock);
    return device_serialise(dev);
}

#define ACCESS_LOCK_FOR_SCOPE(dev, index)                                                          \
    pthread_mutex_t *CLEANUP_NAME(__LINE__) __attribute__((cleanup(cleanup_mutex), unused)) =      \
        access_lock((dev), (index))

static void count(atomic_uint_least64_t *calls, atomic_uint_least64_t *bytes, size_t len)
{
    atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(bytes, len, memory_order_relaxed);
}

int device_read(struct umdev_device *dev, unsigned index, uint64_t offset, void *buf, size_t len)
{
    uint64_t end = offset + len;
    uint8_t *to = buf;
    int ret = access_check(dev, index, offset, len);

    if (ret < 0 || len == 0)
        return ret;
    count(&dev->counters.traps_read, &dev->counters.bytes_read, len);
    ACCESS_LOCK_FOR_SCOPE(dev, index);
    while (ret == 0 && offset < end) {
        struct piece piece = region_piece(dev, index, offset, end);

        ret = piece_read(dev, index, piece.answerer, offset, to, piece.len);
        offset += piece.len;
        to += piece.len;
    }
    return ret;
}

bool region_is_trapped(const struct umdev_device *dev, unsigned index, uint64_t offset, size_t len)
{
    struct piece piece = region_piece(dev, index, offset, offset + len);

    return piece.len == len && (piece.answerer == ANSWER_REGS || piece.answerer == ANSWER_DRIVER);
}

int region_write(struct umdev_device *dev, unsigned index, uint64_t offset, const void *buf,
                 size_t len)
{
    uint64_t end = offset + len;
    const uint8_t *from = buf;
    int ret = 0;

    ACCESS_LOCK_FOR_SCOPE(dev, index);
    while (ret == 0 && offset < end) {
        struct piece piece = region_piece(dev, index, offset, end);

        ret = piece_write(dev, index, piece.answerer, offset, from, piece.len);
        offset += piece.len;
        from += piece.len;
    }
    return ret;
}

int device_write(struct umdev_device *dev, unsigned index, uint64_t offset, const void *buf,
                 size_t len)
{
    int ret = access_check(dev, index, offset, len);

    if (ret < 0 || len == 0)
        return ret;
    if (dev->regions[index].flags & UMDEV_BAR_READONLY)
        return -EPERM;
    count(&dev->counters.traps_write, &dev->counters.bytes_written, len);
    return region_write(dev, index, offset, buf, len);
}
