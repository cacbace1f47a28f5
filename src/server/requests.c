/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests: each checks its message, calls the device, and describes the reply.
 *
 * A table gives each command its handler and the least body it needs, so that a handler can read
 * its fixed part. Bodies longer than their command defines are refused, as are fds where none
 * belong.
 */
#include "server/session.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "iommu/dirty_log.h"
#include "server/region_caps.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

struct request {
    struct session *session;
    const struct wire_message *message;
    struct session_reply *reply;
};

int session_dma_prot(uint32_t flags, unsigned *prot)
{
    *prot = 0;
    if (flags & ~(uint32_t)(WIRE_DMA_MAP_READ | WIRE_DMA_MAP_WRITE))
        return -EINVAL;
    if (flags & WIRE_DMA_MAP_READ)
        *prot |= UMDEV_READ;
    if (flags & WIRE_DMA_MAP_WRITE)
        *prot |= UMDEV_WRITE;
    return 0;
}

static int request_dma_map(struct request *request)
{
    struct session *session = request->session;
    struct fd_array *fds = request->message->fds;
    struct wire_dma_map map;
    unsigned prot;
    CLEANUP_FD int fd = -1;
    int ret;

    memcpy(&map, request->message->body, sizeof(map));
    if (map.argsz < sizeof(map) || fds->count > 1 || session_dma_prot(map.flags, &prot))
        return -EINVAL;
    fd = fd_array_take(fds, 0);
    ret = fd < 0 ? session_dma_prepare(session) : 0;
    if (ret)
        return ret;
    return device_dma_map(session->dev, umdev_iova(map.address), map.size, fd, map.offset, prot);
}

/*
 * An unmap that tells what of the range was written, as type1's: the bitmap's description follows
 * the request, and in the reply the bitmap, of the size that it says. All of that is checked before
 * anything is unmapped.
 */
static int request_dma_unmap_dirty(struct request *request, struct wire_dma_unmap *unmap)
{
    struct umdev_device *dev = request->session->dev;
    struct session_reply *reply = request->reply;
    uint8_t *bitmap = reply->body + sizeof(*unmap) + sizeof(struct wire_dirty_bitmap);
    struct wire_dirty_bitmap wire;
    uint64_t bytes, unmapped = 0;
    int ret;

    if (request->message->body_size != sizeof(*unmap) + sizeof(wire))
        return -EINVAL;
    memcpy(&wire, request->message->body + sizeof(*unmap), sizeof(wire));
    ret = dirty_log_check(device_dirty_log(dev), unmap->address, unmap->size, wire.pgsize, &bytes);
    if (ret)
        return ret;
    if (wire.size < bytes)
        return -EINVAL;
    if (wire.size > session_max_data(request->session))
        return -E2BIG;
    reply->size = sizeof(*unmap) + sizeof(wire) + (size_t)wire.size;
    if (unmap->argsz < reply->size)
        return -EINVAL;
    /* The body and what is before the bitmap are multiples of 8. */
    ret = device_dma_unmap_dirty(dev, umdev_iova(unmap->address), unmap->size, wire.pgsize,
                                 (uint64_t *)(void *)bitmap, &unmapped);
    memset(bitmap + bytes, 0, (size_t)(wire.size - bytes));
    unmap->size = unmapped;
    memcpy(reply->body, unmap, sizeof(*unmap));
    memcpy(reply->body + sizeof(*unmap), &wire, sizeof(wire));
    return ret;
}

static int request_dma_unmap(struct request *request)
{
    struct umdev_device *dev = request->session->dev;
    struct wire_dma_unmap unmap;
    uint64_t unmapped = 0;
    int ret;

    memcpy(&unmap, request->message->body, sizeof(unmap));
    if (unmap.argsz < sizeof(unmap))
        return -EINVAL;
    if (unmap.flags == WIRE_DMA_UNMAP_GET_DIRTY_BITMAP)
        return request_dma_unmap_dirty(request, &unmap);
    if (request->message->body_size != sizeof(unmap))
        return -EINVAL;
    if (unmap.flags == WIRE_DMA_UNMAP_ALL) {
        if (unmap.address || unmap.size)
            return -EINVAL;
        ret = device_dma_unmap_all(dev, &unmapped);
    } else if (unmap.flags == 0) {
        ret = device_dma_unmap(dev, umdev_iova(unmap.address), unmap.size, &unmapped);
    } else {
        return -EINVAL;
    }
    unmap.size = unmapped;
    memcpy(request->reply->body, &unmap, sizeof(unmap));
    request->reply->size = sizeof(unmap);
    return ret;
}

/* umdev's own: a new protection for mappings, without a moment in which they are not there. */
static int request_dma_protect(struct request *request)
{
    struct session *session = request->session;
    const struct wire_message *message = request->message;
    struct wire_umdev_dma_protect protect;
    unsigned prot;

    if (!session->protects)
        return -ENOSYS;
    if (message->body_size != sizeof(protect) || message->fds->count)
        return -EINVAL;
    memcpy(&protect, message->body, sizeof(protect));
    if (protect.argsz < sizeof(protect) || session_dma_prot(protect.flags, &prot))
        return -EINVAL;
    return device_dma_protect(session->dev, umdev_iova(protect.address), protect.size, prot);
}

static int request_get_info(struct request *request)
{
    struct wire_device_info wire;
    struct device_info info;

    memcpy(&wire, request->message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire))
        return -EINVAL;
    device_get_info(request->session->dev, &info);
    wire = (struct wire_device_info){
        .argsz = sizeof(wire),
        .flags = info.flags,
        .num_regions = info.num_regions,
        .num_irqs = info.num_irqs,
    };
    memcpy(request->reply->body, &wire, sizeof(wire));
    request->reply->size = sizeof(wire);
    return 0;
}

static int request_get_region_info(struct request *request)
{
    struct device_region_info info;
    struct wire_region_info wire;
    size_t full;
    int ret;

    memcpy(&wire, request->message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire))
        return -EINVAL;
    ret = device_get_region(request->session->dev, wire.index, &info);
    if (ret)
        return ret;
    info.faults = info.faults && request->session->faults;
    full = sizeof(wire) + region_caps_size(&info);
    if (full > WIRE_MAX_DATA)
        return -E2BIG;
    /*
     * A client whose buffer is too small learns the size it needs and asks again; until then no
     * capability flag, which some clients would follow to offset 0, and no fd, which would be lost.
     */
    if (wire.argsz >= full) {
        if (full > sizeof(wire)) {
            info.flags |= WIRE_REGION_FLAG_CAPS;
            region_caps_put(request->reply->body, sizeof(wire), &info);
        }
        request->reply->size = full;
        request->reply->fd = info.fd;
        request->reply->fds = &request->reply->fd;
        request->reply->nfds = info.fd >= 0 ? 1 : 0;
    } else {
        request->reply->size = sizeof(wire);
    }
    wire = (struct wire_region_info){
        .argsz = (uint32_t)full,
        .flags = info.flags,
        .index = wire.index,
        .cap_offset = info.flags & WIRE_REGION_FLAG_CAPS ? sizeof(wire) : 0,
        .size = info.size,
        .offset = info.offset,
    };
    memcpy(request->reply->body, &wire, sizeof(wire));
    return 0;
}

static void io_fds_put(uint8_t *body, const struct device_doorbell *doorbells, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct device_doorbell *doorbell = &doorbells[i];
        struct wire_io_fd wire = {
            .offset = doorbell->offset,
            .size = doorbell->size,
            .fd_index = i,
            .type = WIRE_IO_FD_IOEVENTFD,
            .datamatch = doorbell->match,
        };

        if (doorbell->has_match)
            wire.flags |= WIRE_IOEVENTFD_DATAMATCH;
        if (doorbell->port)
            wire.flags |= WIRE_IOEVENTFD_PIO;
        memcpy(body + i * sizeof(wire), &wire, sizeof(wire));
    }
}

/*
 * As many doorbells as the client takes fds in a message, each with its own: which of them rang is
 * all that an eventfd can tell. As for the region's info, a short argsz is told the size it needs.
 */
static int request_get_region_io_fds(struct request *request)
{
    struct session *session = request->session;
    const struct device_doorbell *doorbells;
    struct wire_region_io_fds wire;
    size_t count, full;
    int ret;

    memcpy(&wire, request->message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire) || wire.flags || wire.count)
        return -EINVAL;
    ret = device_get_doorbells(session->dev, wire.index, &doorbells, &count);
    if (ret)
        return ret;
    count = MIN(count, (size_t)MIN(session->version.max_msg_fds, (uint32_t)FD_ARRAY_MAX));
    full = sizeof(wire) + count * sizeof(struct wire_io_fd);
    request->reply->size = sizeof(wire);
    if (count && wire.argsz >= full) {
        ret = doorbells_get(&session->doorbells, wire.index, (unsigned)count, &request->reply->fds);
        if (ret)
            return ret;
        io_fds_put(request->reply->body + sizeof(wire), doorbells, (unsigned)count);
        request->reply->nfds = (unsigned)count;
        request->reply->size = full;
    }
    wire.argsz = (uint32_t)full;
    wire.count = (uint32_t)count;
    memcpy(request->reply->body, &wire, sizeof(wire));
    return 0;
}

static int request_get_irq_info(struct request *request)
{
    struct wire_irq_info wire;
    struct irqs_info info;
    int ret;

    memcpy(&wire, request->message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire))
        return -EINVAL;
    ret = device_get_irq(request->session->dev, wire.index, &info);
    if (ret)
        return ret;
    wire = (struct wire_irq_info){
        .argsz = sizeof(wire),
        .flags = info.flags,
        .index = wire.index,
        .count = info.count,
    };
    memcpy(request->reply->body, &wire, sizeof(wire));
    request->reply->size = sizeof(wire);
    return 0;
}

static int request_set_irqs(struct request *request)
{
    const struct wire_message *message = request->message;
    struct fd_array *fds = message->fds;
    const uint8_t *bools = NULL;
    struct wire_irq_set set;

    memcpy(&set, message->body, sizeof(set));
    if (set.argsz < sizeof(set) || set.argsz > message->body_size)
        return -EINVAL;
    if (set.flags & VFIO_IRQ_SET_DATA_BOOL) {
        if (set.argsz - sizeof(set) < set.count)
            return -EINVAL;
        bools = message->body + sizeof(set);
    }
    if (fds->count && !(set.flags & VFIO_IRQ_SET_DATA_EVENTFD))
        return -EINVAL;
    return device_set_irqs(request->session->dev, set.flags, set.index, set.start, set.count, bools,
                           fds);
}

static int request_region_read(struct request *request)
{
    struct session_reply *reply = request->reply;
    struct wire_region_access access;

    memcpy(&access, request->message->body, sizeof(access));
    if (access.count > WIRE_MAX_DATA)
        return -EINVAL;
    memcpy(reply->body, &access, sizeof(access));
    reply->size = sizeof(access) + access.count;
    return device_read(request->session->dev, access.region, access.offset,
                       reply->body + sizeof(access), access.count);
}

static int request_region_write(struct request *request)
{
    const struct wire_message *message = request->message;
    struct session_reply *reply = request->reply;
    struct wire_region_access access;

    memcpy(&access, message->body, sizeof(access));
    if (access.count != message->body_size - sizeof(access) || access.count > WIRE_MAX_DATA)
        return -EINVAL;
    memcpy(reply->body, &access, sizeof(access));
    reply->size = sizeof(access);
    return device_write(request->session->dev, access.region, access.offset,
                        message->body + sizeof(access), access.count);
}

/* Writes are done in order up to the first that fails. */
static int request_write_multi(struct request *request)
{
    const struct wire_message *message = request->message;
    const uint8_t *next = message->body + sizeof(struct wire_write_multi);
    struct wire_write_multi_entry entry;
    uint64_t count;
    int ret;

    memcpy(&count, message->body, sizeof(count));
    if ((message->body_size - sizeof(count)) % sizeof(entry) ||
        (message->body_size - sizeof(count)) / sizeof(entry) != count)
        return -EINVAL;
    for (uint64_t i = 0; i < count; i++, next += sizeof(entry)) {
        memcpy(&entry, next, sizeof(entry));
        if (entry.count > sizeof(entry.data))
            return -EINVAL;
        ret = device_write(request->session->dev, entry.region, entry.offset, entry.data,
                           entry.count);
        if (ret)
            return ret;
    }
    memcpy(request->reply->body, &count, sizeof(count));
    request->reply->size = sizeof(count);
    return 0;
}

static int request_reset(struct request *request)
{
    return device_reset(request->session->dev);
}

static int request_feature(struct request *request)
{
    return session_request_feature(request->session, request->message, request->reply);
}

enum {
    TAKES_FDS = 1 << 0,
    VARIABLE = 1 << 1, /* the body may be longer than the least */
};

static const struct {
    int (*handle)(struct request *request);
    size_t body;
    unsigned flags;
} commands[WIRE_COMMAND_MAX] = {
    [WIRE_DMA_MAP] = {request_dma_map, sizeof(struct wire_dma_map), TAKES_FDS},
    [WIRE_DMA_UNMAP] = {request_dma_unmap, sizeof(struct wire_dma_unmap), VARIABLE},
    [WIRE_DEVICE_GET_INFO] = {request_get_info, sizeof(struct wire_device_info), 0},
    [WIRE_DEVICE_GET_REGION_INFO] = {request_get_region_info, sizeof(struct wire_region_info), 0},
    [WIRE_DEVICE_GET_REGION_IO_FDS] = {request_get_region_io_fds, sizeof(struct wire_region_io_fds),
                                       0},
    [WIRE_DEVICE_GET_IRQ_INFO] = {request_get_irq_info, sizeof(struct wire_irq_info), 0},
    [WIRE_DEVICE_SET_IRQS] = {request_set_irqs, sizeof(struct wire_irq_set), TAKES_FDS | VARIABLE},
    [WIRE_REGION_READ] = {request_region_read, sizeof(struct wire_region_access), 0},
    [WIRE_REGION_WRITE] = {request_region_write, sizeof(struct wire_region_access), VARIABLE},
    [WIRE_DEVICE_RESET] = {request_reset, 0, 0},
    [WIRE_DEVICE_FEATURE] = {request_feature, sizeof(struct wire_feature), VARIABLE},
    [WIRE_REGION_WRITE_MULTI] = {request_write_multi, sizeof(struct wire_write_multi), VARIABLE},
};

int session_request(struct session *session, const struct wire_message *message,
                    struct session_reply *reply)
{
    struct request request = {.session = session, .message = message, .reply = reply};
    uint16_t command = message->header.command;

    if (command == WIRE_VERSION)
        return -EINVAL;
    switch (command) {
    case WIRE_UMDEV_DMA_PROTECT:
        return request_dma_protect(&request);
    case WIRE_UMDEV_TRACK_INFO:
    case WIRE_UMDEV_TRACK:
    case WIRE_UMDEV_DMA_MAP_AT:
        return session_track(session, message, reply);
    case WIRE_UMDEV_FAULT_CHANNEL:
        return session_fault_channel(session, message, reply);
    case WIRE_UMDEV_FAULT_IDENTITY:
        return session_fault_identity(session, message, reply);
    default:
        break;
    }
    if (command >= ARRAY_SIZE(commands) || !commands[command].handle)
        return -ENOSYS;
    if (message->body_size < commands[command].body ||
        (message->body_size > commands[command].body && !(commands[command].flags & VARIABLE)))
        return -EINVAL;
    if (message->fds->count && !(commands[command].flags & TAKES_FDS))
        return -EINVAL;
    return commands[command].handle(&request);
}
