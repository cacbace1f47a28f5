/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE_FEATURE. The device knows which features there are and how they may be asked for; here is
 * what their messages look like.
 *
 * argsz is the room for the reply, which repeats the request: less than that is refused for every
 * feature. Where a bitmap would come on top, and has no room, the reply tells how much it needs.
 */
#include "base/range.h"
#include "iommu/dirty_log.h"
#include "server/session.h"

#include <errno.h>
#include <string.h>

struct feature_request {
    struct session *session;
    struct wire_feature head;
    const uint8_t *data;
    size_t size;
    struct session_reply *reply; /* has the request already */
};

static int feature_logging_start(const struct feature_request *request)
{
    struct dirty_log_range ranges[DIRTY_LOG_MAX_RANGES];
    struct wire_dma_logging_control control;
    const uint8_t *next = request->data + sizeof(control);
    int ret;

    memcpy(&control, request->data, sizeof(control));
    if (control.num_ranges > DIRTY_LOG_MAX_RANGES)
        return -E2BIG;
    if (request->size !=
        sizeof(control) + control.num_ranges * sizeof(struct wire_dma_logging_range))
        return -EINVAL;
    for (uint32_t i = 0; i < control.num_ranges; i++) {
        struct wire_dma_logging_range range;

        memcpy(&range, next, sizeof(range));
        ranges[i] = (struct dirty_log_range){range.iova, range.length};
        next += sizeof(range);
    }
    ret = dirty_log_start(device_dirty_log(request->session->dev), control.page_size, ranges,
                          control.num_ranges);
    if (ret)
        return ret;
    control.page_size = DIRTY_LOG_PAGE_SIZE;
    memcpy(request->reply->body + sizeof(request->head), &control, sizeof(control));
    return 0;
}

static int feature_logging_stop(const struct feature_request *request)
{
    if (request->size)
        return -EINVAL;
    dirty_log_stop(device_dirty_log(request->session->dev));
    return 0;
}

static int feature_logging_report(const struct feature_request *request)
{
    struct dirty_log *log = device_dirty_log(request->session->dev);
    struct session_reply *reply = request->reply;
    struct wire_dma_logging_report report;
    struct wire_feature head = request->head;
    uint64_t bytes;
    int ret;

    memcpy(&report, request->data, sizeof(report));
    if (request->size != sizeof(report))
        return -EINVAL;
    ret = dirty_log_check(log, report.iova, report.length, report.page_size, &bytes);
    if (ret)
        return ret;
    if (bytes > session_max_data(request->session))
        return -E2BIG;
    head.argsz = (uint32_t)(sizeof(head) + sizeof(report) + bytes);
    memcpy(reply->body, &head, sizeof(head));
    if (request->head.argsz < head.argsz)
        return 0;
    reply->size = head.argsz;
    /* The body and what is before the bitmap are multiples of 8. */
    return dirty_log_report(log, report.iova, report.length, report.page_size,
                            (uint64_t *)(void *)(reply->body + sizeof(head) + sizeof(report)));
}

int session_request_feature(struct session *session, const struct wire_message *message,
                            struct session_reply *reply)
{
    struct feature_request request = {.session = session, .reply = reply};
    int ret;

    memcpy(&request.head, message->body, sizeof(request.head));
    request.data = message->body + sizeof(request.head);
    request.size = message->body_size - sizeof(request.head);
    if (request.head.argsz < message->body_size)
        return -EINVAL;
    ret = device_feature_check(request.head.flags, request.size);
    if (ret < 0)
        return ret;
    memcpy(reply->body, message->body, message->body_size);
    reply->size = message->body_size;
    if (ret == 0)
        return 0;
    switch (request.head.flags & WIRE_FEATURE_MASK) {
    case WIRE_FEATURE_DMA_LOGGING_START:
        return feature_logging_start(&request);
    case WIRE_FEATURE_DMA_LOGGING_STOP:
        return feature_logging_stop(&request);
    case WIRE_FEATURE_DMA_LOGGING_REPORT:
        return feature_logging_report(&request);
    default:
        return -ENOTTY;
    }
}
