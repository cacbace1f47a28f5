/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA logging: DEVICE_FEATURE, and the unmap that tells what was written.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "client/client.h"

#include <errno.h>
#include <string.h>

struct start_message {
    struct wire_feature feature;
    struct wire_dma_logging_control control;
} WIRE_PACKED;

struct report_message {
    struct wire_feature feature;
    struct wire_dma_logging_report report;
} WIRE_PACKED;

struct unmap_message {
    struct wire_dma_unmap unmap;
    struct wire_dirty_bitmap bitmap;
} WIRE_PACKED;

int umdev_client_dma_log_start(struct umdev_client *client, uint64_t *page_size,
                               const struct umdev_dma_range *ranges, size_t nranges)
{
    CLEANUP_FREE struct wire_dma_logging_range *sent = NULL, *answered = NULL;
    size_t size = nranges * sizeof(*sent);
    struct start_message request, reply;
    struct client_call call = {
        .command = WIRE_DEVICE_FEATURE,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret;

    /* What no message holds no server takes. */
    if (nranges > WIRE_MAX_DATA / sizeof(*sent))
        return -E2BIG;
    sent = malloc(size + 1);
    answered = malloc(size + 1);
    if (!sent || !answered)
        return -ENOMEM;
    for (size_t i = 0; i < nranges; i++)
        sent[i] = (struct wire_dma_logging_range){ranges[i].iova.value, ranges[i].size};
    request = (struct start_message){
        .feature = {.argsz = (uint32_t)(sizeof(request) + size),
                    .flags = WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_START},
        .control = {.page_size = *page_size, .num_ranges = (uint32_t)nranges},
    };
    call.data = sent;
    call.data_size = size;
    call.reply_data = answered;
    call.reply_data_max = size;
    ret = client_call(client, &call);
    if (ret)
        return ret;
    if (call.reply_data_size != size || memcmp(sent, answered, size) != 0 ||
        reply.feature.flags != request.feature.flags || reply.control.num_ranges != nranges ||
        !is_power_of_two(reply.control.page_size))
        return client_broken(client);
    *page_size = reply.control.page_size;
    return 0;
}

int umdev_client_dma_log_stop(struct umdev_client *client)
{
    struct wire_feature request = {.argsz = sizeof(request),
                                   .flags = WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_STOP};
    struct wire_feature reply;
    struct client_call call = {
        .command = WIRE_DEVICE_FEATURE,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret = client_call(client, &call);

    if (!ret && reply.flags != request.flags)
        return client_broken(client);
    return ret;
}

/* The range wraps or is empty, or the page size is none that any server has. */
static bool is_nonsense(umdev_iova_t iova, uint64_t size, uint64_t page_size)
{
    struct range range;

    return range_make(iova.value, size, &range) || !is_power_of_two(page_size);
}

/* A report whose bitmap fits a message. */
static int report_piece(struct umdev_client *client, const struct wire_dma_logging_report *piece,
                        uint64_t *bitmap)
{
    size_t bitmap_size =
        (size_t)umdev_dma_bitmap_words(piece->length, piece->page_size) * sizeof(*bitmap);
    struct report_message reply,
        request = {
            .feature = {.argsz = (uint32_t)(sizeof(request) + bitmap_size),
                        .flags = WIRE_FEATURE_GET | WIRE_FEATURE_DMA_LOGGING_REPORT},
            .report = *piece,
        };
    struct client_call call = {
        .command = WIRE_DEVICE_FEATURE,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
        .reply_data = bitmap,
        .reply_data_max = bitmap_size,
    };
    int ret = client_call(client, &call);

    if (ret)
        return ret;
    if (call.reply_data_size != bitmap_size || reply.feature.flags != request.feature.flags ||
        memcmp(&reply.report, piece, sizeof(*piece)) != 0)
        return client_broken(client);
    return 0;
}

int umdev_client_dma_log_report(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                                uint64_t page_size, uint64_t *bitmap)
{
    uint64_t words = MAX(client->limits.max_data_xfer_size / sizeof(*bitmap), 1);
    uint64_t most;

    if (is_nonsense(iova, size, page_size))
        return -EINVAL;
    if (MUL_OVERFLOW(words * 64, page_size, &most))
        most = align_down(UINT64_MAX, page_size);
    while (size > 0) {
        struct wire_dma_logging_report piece = {
            .iova = iova.value,
            .length = MIN(size, most),
            .page_size = page_size,
        };
        int ret = report_piece(client, &piece, bitmap);

        if (ret)
            return ret;
        iova.value += piece.length;
        size -= piece.length;
        bitmap += umdev_dma_bitmap_words(piece.length, page_size);
    }
    return 0;
}

int umdev_client_dma_unmap_dirty(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                                 uint64_t page_size, uint64_t *bitmap)
{
    struct unmap_message request, reply;
    struct client_call call = {
        .command = WIRE_DMA_UNMAP,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
        .reply_data = bitmap,
    };
    uint64_t words;
    int ret;

    if (is_nonsense(iova, size, page_size))
        return -EINVAL;
    words = umdev_dma_bitmap_words(size, page_size);
    if (words > client->limits.max_data_xfer_size / sizeof(*bitmap))
        return -E2BIG;
    call.reply_data_max = (size_t)words * sizeof(*bitmap);
    request = (struct unmap_message){
        .unmap = {.argsz = (uint32_t)(sizeof(request) + call.reply_data_max),
                  .flags = WIRE_DMA_UNMAP_GET_DIRTY_BITMAP,
                  .address = iova.value,
                  .size = size},
        .bitmap = {.pgsize = page_size, .size = call.reply_data_max},
    };
    ret = client_call(client, &call);
    if (!ret && call.reply_data_size != call.reply_data_max)
        ret = client_broken(client);
    client_memory_unmapped(client, iova, size, ret);
    return ret;
}
