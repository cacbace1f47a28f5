/* SPDX-License-Identifier: BSD-3-Clause */
/* The requests for a fault channel, and for the short way. */
#include "base/cleanup.h"
#include "base/range.h"
#include "server/fault_identity.h"
#include "server/session.h"

#include <errno.h>
#include <string.h>

int session_fault_channel(struct session *session, const struct wire_message *message,
                          struct session_reply *reply)
{
    struct wire_umdev_fault_channel wire;
    struct fault_channel *channel = NULL;
    CLEANUP_FD int fd = -1;
    int ret;

    if (!session->faults)
        return -ENOSYS;
    if (message->body_size != sizeof(wire) || message->fds->count != 1)
        return -EINVAL;
    memcpy(&wire, message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire) || wire.flags)
        return -EINVAL;
    if (atomic_load(&session->fault_channel))
        return -EEXIST;
    fd = fd_array_take(message->fds, 0);
    ret = fault_channel_new(session->dev, fd, &channel);
    if (ret)
        return ret;
    take_fd(&fd);
    atomic_store(&session->fault_channel, channel);
    wire.argsz = sizeof(wire);
    memcpy(reply->body, &wire, sizeof(wire));
    reply->size = sizeof(wire);
    return 0;
}

/* ------------------------------------------------------------------ the short way */

/* The object, and where in it the region begins. */
static int identity_open(struct session *session, struct wire_umdev_fault_identity *wire,
                         struct session_reply *reply)
{
    struct device_region_info info;
    uint64_t offset;
    int ret;

    if (wire->offset || wire->size || wire->address)
        return -EINVAL;
    ret = device_fault_object(session->dev, wire->region, &reply->fd, &offset);
    if (!ret)
        ret = device_get_region(session->dev, wire->region, &info);
    if (ret)
        return ret;
    wire->offset = offset;
    wire->size = info.size;
    reply->fds = &reply->fd;
    reply->nfds = 1;
    return 0;
}

static int identity_add(struct session *session, const struct wire_umdev_fault_identity *wire,
                        int *fd)
{
    struct fault_channel *channel = atomic_load(&session->fault_channel);
    struct identity_window window = {.uffd = *fd, .region = wire->region, .address = wire->address};
    struct device_region_info info;
    struct range addresses;
    int ret = device_get_region(session->dev, wire->region, &info);

    if (ret)
        return ret;
    if (!info.identity || range_make(wire->offset, wire->size, &window.range) ||
        range_make(wire->address, wire->size, &addresses) || window.range.last >= info.size ||
        !is_aligned(wire->offset | wire->size | wire->address, PAGE_SIZE_4K))
        return -EINVAL;
    ret = fault_channel_add_window(channel, &window);
    if (!ret)
        take_fd(fd);
    return ret;
}

static int identity_remove(struct session *session, const struct wire_umdev_fault_identity *wire)
{
    struct fault_channel *channel = atomic_load(&session->fault_channel);

    if (wire->size)
        return -EINVAL;
    return fault_channel_remove_window(channel, wire->region, wire->offset, wire->address);
}

int session_fault_identity(struct session *session, const struct wire_message *message,
                           struct session_reply *reply)
{
    struct wire_umdev_fault_identity wire;
    CLEANUP_FD int fd = -1;
    int ret;

    if (!session->faults)
        return -ENOSYS;
    if (message->body_size != sizeof(wire))
        return -EINVAL;
    memcpy(&wire, message->body, sizeof(wire));
    if (wire.argsz < sizeof(wire) || wire.reserved || !atomic_load(&session->fault_channel) ||
        message->fds->count != (wire.flags == WIRE_FAULT_IDENTITY_ADD))
        return -EINVAL;
    fd = fd_array_take(message->fds, 0);
    if (wire.flags == WIRE_FAULT_IDENTITY_OPEN)
        ret = identity_open(session, &wire, reply);
    else if (wire.flags == WIRE_FAULT_IDENTITY_ADD)
        ret = identity_add(session, &wire, &fd);
    else if (wire.flags == WIRE_FAULT_IDENTITY_REMOVE)
        ret = identity_remove(session, &wire);
    else
        ret = -EINVAL;
    if (ret)
        return ret;
    wire.argsz = sizeof(wire);
    memcpy(reply->body, &wire, sizeof(wire));
    reply->size = sizeof(wire);
    return 0;
}
