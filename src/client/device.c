/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device as a whole, and its reach into the client's memory.
 */
#include "client/client.h"

#include "base/range.h"

#include <errno.h>

int umdev_client_get_info(struct umdev_client *client, struct umdev_device_info *info)
{
    struct wire_device_info request = {.argsz = sizeof(request)}, reply;
    struct client_call call = {
        .command = WIRE_DEVICE_GET_INFO,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret = client_call(client, &call);

    if (ret)
        return ret;
    *info = (struct umdev_device_info){
        .flags = reply.flags,
        .num_regions = reply.num_regions,
        .num_irqs = reply.num_irqs,
    };
    return 0;
}

int umdev_client_reset(struct umdev_client *client)
{
    struct client_call call = {.command = WIRE_DEVICE_RESET};

    return client_call(client, &call);
}

/* `ptr` NULL: nobody said where it is. */
int client_dma_map(struct umdev_client *client, int fd, uint64_t fd_offset, umdev_iova_t iova,
                   uint64_t size, unsigned prot, void *ptr)
{
    struct wire_dma_map request = {
        .argsz = sizeof(request),
        .flags = prot,
        .offset = fd_offset,
        .address = iova.value,
        .size = size,
    };
    struct client_call call = {
        .command = WIRE_DMA_MAP,
        .body = &request,
        .body_size = sizeof(request),
        .fds = &fd,
        .nfds = fd >= 0,
    };
    int ret = client_track_map(client, &call, &request, ptr);

    if (ret == 0)
        ret = client_call(client, &call);
    if (ret < 0 || fd >= 0)
        return MIN(ret, 0);
    /* The device may ask for such memory while the caller does something else. */
    ret = client_memory_serve(client);
    if (ret)
        umdev_client_dma_unmap(client, iova, size);
    return ret;
}

int umdev_client_dma_map(struct umdev_client *client, int fd, uint64_t fd_offset, umdev_iova_t iova,
                         uint64_t size, unsigned prot)
{
    return client_dma_map(client, fd, fd_offset, iova, size, prot, NULL);
}

int umdev_client_dma_map_at(struct umdev_client *client, int fd, uint64_t fd_offset,
                            umdev_iova_t iova, uint64_t size, unsigned prot, void *ptr)
{
    if (fd < 0)
        return umdev_client_dma_map_memory(client, ptr, iova, size, prot);
    return client_dma_map(client, fd, fd_offset, iova, size, prot, ptr);
}

int umdev_client_dma_protect(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                             unsigned prot)
{
    struct wire_umdev_dma_protect request = {
        .argsz = sizeof(request),
        .flags = prot,
        .address = iova.value,
        .size = size,
    };
    struct client_call call = {
        .command = WIRE_UMDEV_DMA_PROTECT,
        .body = &request,
        .body_size = sizeof(request),
    };
    int ret;

    if (!client->protect_negotiated)
        return -EOPNOTSUPP;
    if (!prot || prot & ~(unsigned)UMDEV_RW)
        return -EINVAL;
    client_memory_protect_begin(client, iova, size, prot);
    ret = client_call(client, &call);
    client_memory_protect_end(client, iova, size, ret != 0);
    return ret;
}

int umdev_client_dma_unmap(struct umdev_client *client, umdev_iova_t iova, uint64_t size)
{
    struct wire_dma_unmap request = {
        .argsz = sizeof(request),
        .address = iova.value,
        .size = size,
    };
    struct wire_dma_unmap reply;
    struct client_call call = {
        .command = WIRE_DMA_UNMAP,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret;

    ret = client_call(client, &call);
    client_memory_unmapped(client, iova, size, ret);
    return ret;
}
