/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests of write tracking, for who has negotiated it: what the device wants, the fds of the
 * client's address space, and memory with its place there.
 */
#include "server/session.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* The body of the first two. */
static int get_body(const struct wire_message *message, unsigned nfds,
                    struct wire_umdev_track *body)
{
    if (message->body_size != sizeof(*body) || message->fds->count != nfds)
        return -EINVAL;
    memcpy(body, message->body, sizeof(*body));
    return body->argsz < sizeof(*body) ? -EINVAL : 0;
}

static int track_info(struct session *session, const struct wire_message *message,
                      struct session_reply *reply)
{
    struct wire_umdev_track body;
    int ret = get_body(message, 0, &body);

    if (ret || body.flags)
        return -EINVAL;
    body.argsz = sizeof(body);
    body.flags = device_track_wants_notice(session->dev) ? WIRE_TRACK_NOTIFY : 0;
    memcpy(reply->body, &body, sizeof(body));
    reply->size = sizeof(body);
    return 0;
}

static int track_give_fds(struct session *session, const struct wire_message *message)
{
    CLEANUP_FD int uffd = -1, pagemap = -1;
    struct wire_umdev_track body;
    int ret = get_body(message, 2, &body);

    if (ret || (body.flags & ~(uint32_t)WIRE_TRACK_SYNC))
        return -EINVAL;
    uffd = fd_array_take(message->fds, 0);
    pagemap = fd_array_take(message->fds, 1);
    ret = device_track_give(session->dev, uffd, pagemap, body.flags & WIRE_TRACK_SYNC);
    if (!ret) {
        take_fd(&uffd);
        take_fd(&pagemap);
    }
    return ret;
}

static int dma_map_at(struct session *session, const struct wire_message *message)
{
    struct fd_array *fds = message->fds;
    struct wire_umdev_dma_map_at body;
    CLEANUP_FD int fd = -1;
    unsigned prot;
    int ret;

    if (message->body_size != sizeof(body) || fds->count > 1)
        return -EINVAL;
    memcpy(&body, message->body, sizeof(body));
    if (body.map.argsz < sizeof(body) || session_dma_prot(body.map.flags, &prot))
        return -EINVAL;
    fd = fd_array_take(fds, 0);
    ret = fd < 0 ? session_dma_prepare(session) : 0;
    if (ret)
        return ret;
    return device_dma_map_at(session->dev, umdev_iova(body.map.address), body.map.size, fd,
                             body.map.offset, prot, body.hva);
}

int session_track(struct session *session, const struct wire_message *message,
                  struct session_reply *reply)
{
    if (!session->tracks)
        return -ENOSYS;
    switch (message->header.command) {
    case WIRE_UMDEV_TRACK_INFO:
        return track_info(session, message, reply);
    case WIRE_UMDEV_TRACK:
        return track_give_fds(session, message);
    default:
        return dma_map_at(session, message);
    }
}
