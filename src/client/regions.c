/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the server says about its regions, kept for the life of the connection.
 *
 * Data model. A region is asked for once, at first use, under device_lock, and never changes
 * afterwards: pointers into it can be handed out. A reply is believed only after every offset
 * in it was checked; what does not hold together is a broken server, EPROTO.
 */
#include "client/regions.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <string.h>

/* Room for 60 areas: one question is enough for nearly every region. */
#define FIRST_ARGSZ 1024
/* A server that wants more for one region is out of its mind. */
#define MAX_ARGSZ 65536

/* ------------------------------------------------------------------ capabilities */

/* A reply's body: the fixed part and the capabilities behind it. */
struct reply {
    const uint8_t *body;
    size_t size;
};

static int parse_sparse(const struct reply *reply, uint32_t at, struct client_region *region)
{
    struct wire_cap_sparse_mmap cap;
    uint64_t bytes;

    if (region->info.sparse || !span_fits(at, sizeof(cap), reply->size))
        return -EPROTO;
    memcpy(&cap, reply->body + at, sizeof(cap));
    bytes = (uint64_t)cap.nr_areas * sizeof(cap.areas[0]);
    if (!span_fits(at + sizeof(cap), bytes, reply->size))
        return -EPROTO;
    region->info.sparse = true;
    if (cap.nr_areas == 0)
        return 0;
    region->areas = calloc(cap.nr_areas, sizeof(region->areas[0]));
    if (!region->areas)
        return -ENOMEM;
    for (uint32_t i = 0; i < cap.nr_areas; i++) {
        struct umdev_area area;

        memcpy(&area, reply->body + at + sizeof(cap) + i * sizeof(cap.areas[0]), sizeof(area));
        if (!span_fits(area.offset, area.size, region->info.size))
            return -EPROTO;
        if (area.size)
            region->areas[region->info.nareas++] = area;
    }
    return 0;
}

static int parse_type(const struct reply *reply, uint32_t at, struct client_region *region)
{
    struct wire_cap_type cap;

    if (!span_fits(at, sizeof(cap), reply->size))
        return -EPROTO;
    memcpy(&cap, reply->body + at, sizeof(cap));
    region->info.has_type = true;
    region->info.type = cap.type;
    region->info.subtype = cap.subtype;
    return 0;
}

/* Of a later version we know nothing: then the region is like any that can't be mapped. */
static int parse_fault(const struct reply *reply, uint32_t at, struct client_region *region)
{
    struct wire_cap_umdev_fault cap;

    if (!span_fits(at, sizeof(cap), reply->size))
        return -EPROTO;
    memcpy(&cap, reply->body + at, sizeof(cap));
    if (cap.header.version == 1) {
        region->info.flags |= UMDEV_REGION_FAULT_MAPPED;
        region->identity = cap.flags & WIRE_CAP_UMDEV_FAULT_IDENTITY;
    }
    return 0;
}

static int parse_capability(const struct reply *reply, uint32_t at,
                            const struct wire_cap_header *header, struct client_region *region)
{
    switch (header->id) {
    case WIRE_CAP_SPARSE_MMAP:
        return parse_sparse(reply, at, region);
    case WIRE_CAP_TYPE:
        return parse_type(reply, at, region);
    case WIRE_CAP_MSIX_MAPPABLE:
        region->info.msix_mappable = true;
        return 0;
    case WIRE_CAP_UMDEV_FAULT:
        return parse_fault(reply, at, region);
    default:
        return 0;
    }
}

/* Follow the chain: in bounds, aligned as VFIO aligns it, and no longer than there is room for. */
static int parse_capabilities(const struct reply *reply, uint32_t at, struct client_region *region)
{
    size_t most = reply->size / sizeof(struct wire_cap_header);

    for (size_t n = 0; at; n++) {
        struct wire_cap_header header;
        int ret;

        if (n == most || at < sizeof(struct wire_region_info) || !is_aligned(at, 8) ||
            !span_fits(at, sizeof(header), reply->size))
            return -EPROTO;
        memcpy(&header, reply->body + at, sizeof(header));
        ret = parse_capability(reply, at, &header, region);
        if (ret)
            return ret;
        at = header.next;
    }
    return 0;
}

/* ------------------------------------------------------------------ asking */

/* One GET_REGION_INFO with room for `argsz` bytes in `body`. */
static int ask(struct umdev_client *client, unsigned index, uint8_t *body, uint32_t argsz,
               size_t *size, int *fd)
{
    struct wire_region_info request = {.argsz = argsz, .index = index};
    struct client_call call = {
        .command = WIRE_DEVICE_GET_REGION_INFO,
        .body = &request,
        .body_size = sizeof(request),
        .reply = body,
        .reply_size = sizeof(request),
        .reply_data = body + sizeof(request),
        .reply_data_max = argsz - sizeof(request),
        .reply_fd = fd,
    };
    int ret = client_call(client, &call);

    if (!ret)
        *size = sizeof(request) + call.reply_data_size;
    return ret;
}

/* Without a sparse capability the whole of a mappable region can be mapped. */
static int whole_region(struct client_region *region)
{
    region->areas = calloc(1, sizeof(region->areas[0]));
    if (!region->areas)
        return -ENOMEM;
    region->areas[0] = (struct umdev_area){.offset = 0, .size = region->info.size};
    region->info.nareas = 1;
    return 0;
}

static int parse_region(const struct reply *reply, unsigned index, struct client_region *region)
{
    bool mappable;
    struct wire_region_info info;
    int ret = 0;

    memcpy(&info, reply->body, sizeof(info));
    if (info.index != index)
        return -EPROTO;
    region->info.index = index;
    region->info.flags = info.flags & ~(uint32_t)UMDEV_REGION_FAULT_MAPPED;
    region->info.size = info.size;
    region->info.offset = info.offset;
    mappable = info.flags & WIRE_REGION_FLAG_MMAP && info.size;
    if (info.flags & WIRE_REGION_FLAG_CAPS)
        ret = parse_capabilities(reply, info.cap_offset, region);
    if (!ret && mappable && !region->info.sparse)
        ret = whole_region(region);
    if (!mappable)
        region->info.nareas = 0;
    region->info.areas = region->areas;
    return ret;
}

/* Whether the reply in `body` is cut off: *argsz is then what it takes. */
static int reply_cut_off(struct umdev_client *client, const uint8_t *body, uint32_t *argsz,
                         bool *cut_off)
{
    struct wire_region_info info;

    memcpy(&info, body, sizeof(info));
    *cut_off = info.argsz > *argsz;
    if (*cut_off && info.argsz > MAX_ARGSZ)
        return client_broken(client);
    if (*cut_off)
        *argsz = info.argsz;
    return 0;
}

static void region_free(struct client_region *region)
{
    if (region->info.fd >= 0)
        close(region->info.fd);
    free(region->areas);
    free(region);
}

static int parse_reply(struct umdev_client *client, unsigned index, const struct reply *reply,
                       int *fd)
{
    struct client_region *region = calloc(1, sizeof(*region));
    int ret;

    if (!region)
        return -ENOMEM;
    region->info.fd = -1;
    ret = parse_region(reply, index, region);
    if (ret) {
        region_free(region);
        return ret == -EPROTO ? client_broken(client) : ret;
    }
    if (region->info.flags & WIRE_REGION_FLAG_MMAP)
        region->info.fd = take_fd(fd);
    if (!client->fault_negotiated)
        region->info.flags &= ~(uint32_t)UMDEV_REGION_FAULT_MAPPED;
    client->regions[index] = region;
    return 0;
}

static int region_ask(struct umdev_client *client, unsigned index)
{
    CLEANUP_FREE uint8_t *body = NULL;
    CLEANUP_FD int fd = -1;
    uint32_t argsz = FIRST_ARGSZ;
    struct reply reply;
    bool cut_off = true;

    /* What it takes is known after one question; a server that moves the goal then is broken. */
    for (int questions = 0; cut_off; questions++) {
        int ret;

        if (questions == 2)
            return client_broken(client);
        if (fd >= 0)
            close(take_fd(&fd));
        free(body);
        body = malloc(argsz);
        if (!body)
            return -ENOMEM;
        ret = ask(client, index, body, argsz, &reply.size, &fd);
        if (!ret)
            ret = reply_cut_off(client, body, &argsz, &cut_off);
        if (ret)
            return ret;
    }
    reply.body = body;
    return parse_reply(client, index, &reply, &fd);
}

int client_region_get(struct umdev_client *client, unsigned index,
                      const struct client_region **region)
{
    int ret;

    if (index >= CLIENT_MAX_REGIONS)
        return -EINVAL;
    LOCK_FOR_SCOPE(&client->device_lock);
    if (!client->regions[index]) {
        ret = region_ask(client, index);
        if (ret)
            return ret;
    }
    *region = client->regions[index];
    return 0;
}

int umdev_client_get_region(struct umdev_client *client, unsigned index,
                            struct umdev_region_info *info)
{
    const struct client_region *region;
    int ret = client_region_get(client, index, &region);

    if (!ret)
        *info = region->info;
    return ret;
}

void client_regions_free(struct umdev_client *client)
{
    for (unsigned i = 0; i < CLIENT_MAX_REGIONS; i++)
        if (client->regions[i])
            region_free(client->regions[i]);
}
