/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells that the server gives fds for, kept for the life of the connection.
 *
 * Data model. As with a region's description: asked for once under device_lock, checked, and
 * constant from then on. A server that describes what KVM could not be told is a broken one.
 */
#include "base/cleanup.h"
#include "base/eventfd.h"
#include "base/range.h"
#include "client/regions.h"

#include <errno.h>
#include <string.h>

/* Room for 64 doorbells: one question is enough for nearly every region. */
#define FIRST_ARGSZ (sizeof(struct wire_region_io_fds) + 64 * sizeof(struct wire_io_fd))
/* Each could have an fd, and more than these no message brings; the rest is for larger entries. */
#define MAX_ARGSZ 65536

struct client_io_fds {
    struct umdev_io_fd *list;
    size_t count;
    struct fd_array fds;
};

/* A reply: the fixed part, and `size` bytes of entries. */
struct reply {
    struct wire_region_io_fds fixed;
    uint8_t *entries;
    size_t size;
    struct fd_array fds;
};

static void io_fds_free(struct client_io_fds *io_fds)
{
    if (!io_fds)
        return;
    fd_array_close(&io_fds->fds);
    free(io_fds->list);
    free(io_fds);
}

/* ------------------------------------------------------------------ what an entry may say */

static bool eventfd_size_is_right(const struct umdev_io_fd *io_fd)
{
    if (io_fd->size == 0)
        return !(io_fd->flags & UMDEV_IO_FD_DATAMATCH);
    return is_power_of_two(io_fd->size) && io_fd->size <= 8;
}

static int parse_entry(const uint8_t *from, const struct fd_array *fds, uint64_t region_size,
                       struct umdev_io_fd *io_fd)
{
    struct wire_io_fd wire;

    memcpy(&wire, from, sizeof(wire));
    if (wire.fd_index >= fds->count || wire.offset >= region_size ||
        !span_fits(wire.offset, wire.size, region_size))
        return -EPROTO;
    *io_fd = (struct umdev_io_fd){
        .offset = wire.offset,
        .size = wire.size,
        .fd = fds->fds[wire.fd_index],
        .type = wire.type,
        .flags = wire.flags,
        .datamatch = wire.datamatch,
    };
    if (wire.type == WIRE_IO_FD_IOREGIONFD)
        return 0;
    /* What only looks like an eventfd could make a caller wait in its write(). */
    if (wire.type != WIRE_IO_FD_IOEVENTFD || !eventfd_size_is_right(io_fd) ||
        !eventfd_is(io_fd->fd))
        return -EPROTO;
    return 0;
}

/* The entries' size is what argsz says, and may grow. */
static int parse_entries(const struct reply *reply, uint64_t region_size,
                         struct client_io_fds *io_fds)
{
    size_t count = reply->fixed.count, stride;

    if (count == 0)
        return 0;
    stride = reply->size / count;
    if (stride < sizeof(struct wire_io_fd) || reply->size % count)
        return -EPROTO;
    io_fds->list = calloc(count, sizeof(io_fds->list[0]));
    if (!io_fds->list)
        return -ENOMEM;
    io_fds->count = count;
    for (size_t i = 0; i < count; i++) {
        int ret =
            parse_entry(reply->entries + i * stride, &io_fds->fds, region_size, &io_fds->list[i]);

        if (ret)
            return ret;
    }
    return 0;
}

static int parse_reply(struct umdev_client *client, unsigned index, uint64_t region_size,
                       struct reply *reply)
{
    struct client_io_fds *io_fds = calloc(1, sizeof(*io_fds));
    int ret;

    if (!io_fds)
        return -ENOMEM;
    io_fds->fds = reply->fds;
    fd_array_init(&reply->fds);
    ret = parse_entries(reply, region_size, io_fds);
    if (ret) {
        io_fds_free(io_fds);
        return ret == -EPROTO ? client_broken(client) : ret;
    }
    client->io_fds[index] = io_fds;
    return 0;
}

/* ------------------------------------------------------------------ asking */

/* One question with room for `argsz` bytes. */
static int ask_once(struct umdev_client *client, unsigned index, uint32_t argsz,
                    struct reply *reply)
{
    struct wire_region_io_fds request = {.argsz = argsz, .index = index};
    struct client_call call = {
        .command = WIRE_DEVICE_GET_REGION_IO_FDS,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply->fixed,
        .reply_size = sizeof(reply->fixed),
        .reply_data = reply->entries,
        .reply_data_max = argsz - sizeof(request),
        .reply_fds = &reply->fds,
    };
    int ret = client_call(client, &call);

    if (ret)
        return ret;
    reply->size = call.reply_data_size;
    if (reply->fixed.index != index || reply->fixed.argsz > MAX_ARGSZ)
        return client_broken(client);
    return 0;
}

/* With device_lock held. What it takes is known after one question. */
static int io_fds_ask(struct umdev_client *client, unsigned index, uint64_t region_size)
{
    uint32_t argsz = FIRST_ARGSZ;
    int ret = 0;

    for (int questions = 0; questions < 2; questions++) {
        struct reply reply = {.entries = malloc(argsz)};
        bool cut_off = false;

        if (!reply.entries)
            return -ENOMEM;
        ret = ask_once(client, index, argsz, &reply);
        cut_off = ret == 0 && reply.fixed.argsz > argsz;
        if (ret == 0 && !cut_off)
            ret = parse_reply(client, index, region_size, &reply);
        fd_array_close(&reply.fds);
        free(reply.entries);
        if (!cut_off)
            return ret;
        argsz = reply.fixed.argsz;
    }
    return client_broken(client);
}

int umdev_client_get_io_fds(struct umdev_client *client, unsigned region,
                            const struct umdev_io_fd **io_fds, size_t *count)
{
    const struct client_region *described;
    int ret = client_region_get(client, region, &described);

    if (ret)
        return ret;
    LOCK_FOR_SCOPE(&client->device_lock);
    if (!client->io_fds[region])
        ret = io_fds_ask(client, region, described->info.size);
    if (ret)
        return ret;
    *io_fds = client->io_fds[region]->list;
    *count = client->io_fds[region]->count;
    return 0;
}

void client_io_fds_free(struct umdev_client *client)
{
    for (unsigned i = 0; i < CLIENT_MAX_REGIONS; i++)
        io_fds_free(client->io_fds[i]);
}
