/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trapped accesses: reads and writes of regions by message.
 */
#include "base/range.h"
#include "client/client.h"

#include <errno.h>
#include <string.h>

/* Whether the reply is about this access. */
static int check_reply(struct umdev_client *client, const struct wire_region_access *request,
                       const struct wire_region_access *reply)
{
    if (memcmp(request, reply, sizeof(*request)) != 0)
        return client_broken(client);
    return 0;
}

static int read_piece(struct umdev_client *client, const struct wire_region_access *access,
                      void *buf)
{
    struct wire_region_access answered;
    struct client_call call = {
        .command = WIRE_REGION_READ,
        .body = access,
        .body_size = sizeof(*access),
        .reply = &answered,
        .reply_size = sizeof(answered),
        .reply_data = buf,
        .reply_data_max = access->count,
    };
    int ret = client_call(client, &call);

    if (ret)
        return ret;
    if (call.reply_data_size != access->count)
        return client_broken(client);
    return check_reply(client, access, &answered);
}

static int write_piece(struct umdev_client *client, const struct wire_region_access *access,
                       void *buf)
{
    struct wire_region_access answered;
    struct client_call call = {
        .command = WIRE_REGION_WRITE,
        .body = access,
        .body_size = sizeof(*access),
        .data = buf,
        .data_size = access->count,
        .reply = &answered,
        .reply_size = sizeof(answered),
    };
    int ret = client_call(client, &call);

    return ret ? ret : check_reply(client, access, &answered);
}

static int post_piece(struct umdev_client *client, const struct wire_region_access *access,
                      void *buf)
{
    struct client_call call = {
        .command = WIRE_REGION_WRITE,
        .body = access,
        .body_size = sizeof(*access),
        .data = buf,
        .data_size = access->count,
    };

    return client_post(client, &call);
}

/* Do an access in pieces that the server takes. An error leaves the pieces before it done. */
static int access_in_pieces(struct umdev_client *client, unsigned region, uint64_t offset,
                            uint8_t *buf, size_t len,
                            int (*piece)(struct umdev_client *, const struct wire_region_access *,
                                         void *))
{
    uint64_t end;

    if (ADD_OVERFLOW(offset, len, &end))
        return -EINVAL;
    while (len) {
        struct wire_region_access access = {
            .offset = offset,
            .region = region,
            .count = (uint32_t)MIN((uint64_t)len, client->limits.max_data_xfer_size),
        };
        int ret = piece(client, &access, buf);

        if (ret)
            return ret;
        offset += access.count;
        buf += access.count;
        len -= access.count;
    }
    return 0;
}

int umdev_client_read(struct umdev_client *client, unsigned region, uint64_t offset, void *buf,
                      size_t len)
{
    return access_in_pieces(client, region, offset, buf, len, read_piece);
}

int umdev_client_write(struct umdev_client *client, unsigned region, uint64_t offset,
                       const void *buf, size_t len)
{
    return access_in_pieces(client, region, offset, (uint8_t *)buf, len, write_piece);
}

int umdev_client_post_write(struct umdev_client *client, unsigned region, uint64_t offset,
                            const void *buf, size_t len)
{
    return access_in_pieces(client, region, offset, (uint8_t *)buf, len, post_piece);
}
