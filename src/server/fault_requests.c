/* SPDX-License-Identifier: BSD-3-Clause */
/* The request for a fault channel. */
#include "base/cleanup.h"
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
