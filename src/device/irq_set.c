/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_DEVICE_SET_IRQS: what each combination of index, action and data means.
 *
 *              MASK, UNMASK            TRIGGER
 *   INTx       one vector, enabled;    EVENTFD: enable, listen. NONE, BOOL: loopback test.
 *              UNMASK by eventfd       NONE, count 0: disable
 *   MSI(-X)    ENOTTY                  the same, for a stretch of vectors
 *   ERR, REQ   ENOTTY                  the same, but there is nothing to enable
 *
 * Two places go beyond the kernel, where the wire makes it necessary: MSI accepts vectors above
 * those of its first EVENTFD (a client splits a long list of fds over several messages), and "no
 * fds" stands for an array of −1.
 */
#include "device/irq.h"

#include "base/cleanup.h"
#include "base/eventfd.h"
#include "base/range.h"
#include "device/irq_state.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

struct irq_request {
    uint32_t action, data; /* one VFIO_IRQ_SET_ACTION_*, one VFIO_IRQ_SET_DATA_* */
    unsigned index;
    uint32_t start, count;
    const uint8_t *bools;
    struct fd_array *fds; /* NULL: none; otherwise `count` eventfds */
};

/* Whether the vector is meant; `vector` counts from the request's start. */
static bool request_chooses(const struct irq_request *request, uint32_t vector)
{
    return request->data != VFIO_IRQ_SET_DATA_BOOL || request->bools[vector];
}

static int request_take_fd(const struct irq_request *request, uint32_t vector)
{
    return request->fds ? fd_array_take(request->fds, vector) : -1;
}

/* ------------------------------------------------------------------ mask and unmask */

static int intx_check_one(const struct irqs *irqs, const struct irq_request *request)
{
    return irqs->index[UMDEV_IRQ_INTX].enabled && request->count == 1 ? 0 : -EINVAL;
}

static int set_mask(struct irqs *irqs, const struct irq_request *request)
{
    int ret;

    if (request->index != UMDEV_IRQ_INTX)
        return -ENOTTY;
    ret = intx_check_one(irqs, request);
    if (ret)
        return ret;
    if (request->data == VFIO_IRQ_SET_DATA_EVENTFD)
        return -ENOTTY;
    if (request_chooses(request, 0))
        irqs->intx_masked = true;
    return 0;
}

static int set_unmask(struct irqs *irqs, const struct irq_request *request)
{
    int ret;

    if (request->index != UMDEV_IRQ_INTX)
        return -ENOTTY;
    ret = intx_check_one(irqs, request);
    if (ret)
        return ret;
    if (request->data == VFIO_IRQ_SET_DATA_EVENTFD) {
        if (request->fds && irqs_unmask_fd(irqs) >= 0)
            return -EBUSY;
        irqs_set_unmask_fd(irqs, request_take_fd(request, 0));
        return 0;
    }
    if (request_chooses(request, 0)) {
        irqs->intx_masked = false;
        irqs_intx_update(irqs);
    }
    return 0;
}

/* ------------------------------------------------------------------ trigger */

static bool other_enabled(const struct irqs *irqs, unsigned index)
{
    for (unsigned i = UMDEV_IRQ_INTX; i <= UMDEV_IRQ_MSIX; i++)
        if (i != index && irqs->index[i].enabled)
            return true;
    return false;
}

static void assign_eventfds(struct irqs *irqs, const struct irq_request *request)
{
    for (uint32_t i = 0; i < request->count; i++)
        irqs_set_eventfd(irqs, request->index, request->start + i, request_take_fd(request, i));
}

/* The client raises its own interrupts, to test its side. Masks don't matter. */
static void loopback(struct irqs *irqs, const struct irq_request *request)
{
    for (uint32_t i = 0; i < request->count; i++)
        if (request_chooses(request, i))
            irqs_signal(irqs, request->index, request->start + i);
}

/* INTx, MSI and MSI-X */
static int set_trigger(struct irqs *irqs, const struct irq_request *request)
{
    struct irq_index *index = &irqs->index[request->index];
    bool is_intx = request->index == UMDEV_IRQ_INTX;

    if (index->enabled && request->data == VFIO_IRQ_SET_DATA_NONE && request->count == 0) {
        irqs_disable(irqs, request->index);
        return 0;
    }
    if (other_enabled(irqs, request->index) || (is_intx && request->count != 1))
        return -EINVAL;

    if (request->data == VFIO_IRQ_SET_DATA_EVENTFD) {
        if (!index->enabled && request->count == 0)
            return -EINVAL;
        index->enabled = true;
        assign_eventfds(irqs, request);
        if (is_intx)
            irqs_intx_update(irqs);
        return 0;
    }
    if (!index->enabled)
        return -EINVAL;
    if (!is_intx || !irqs->intx_disabled)
        loopback(irqs, request);
    return 0;
}

/* ERR and REQ */
static int set_single_trigger(struct irqs *irqs, const struct irq_request *request)
{
    if (request->data == VFIO_IRQ_SET_DATA_NONE) {
        if (irqs->index[request->index].eventfds[0] < 0)
            return -EINVAL;
        if (request->count)
            loopback(irqs, request);
        else
            irqs_disable(irqs, request->index);
        return 0;
    }
    if (!request->count)
        return -EINVAL;
    if (request->data == VFIO_IRQ_SET_DATA_BOOL)
        loopback(irqs, request);
    else
        assign_eventfds(irqs, request);
    return 0;
}

/* ------------------------------------------------------------------ the request as a whole */

/* What can be judged from the request alone. */
static int request_check(const struct irqs *irqs, const struct irq_request *request, uint32_t flags)
{
    const uint32_t known = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;

    if (request->index >= UMDEV_NUM_IRQS || (flags & ~known) || !is_power_of_two(request->data))
        return -EINVAL;

    uint32_t num = irqs->index[request->index].count;
    if (request->start >= num || request->count > num - request->start)
        return -EINVAL;
    if (request->data == VFIO_IRQ_SET_DATA_BOOL && request->count && !request->bools)
        return -EINVAL;
    return is_power_of_two(request->action) ? 0 : -ENOTTY;
}

static int request_check_fds(const struct irq_request *request)
{
    if (!request->fds)
        return 0;
    if (request->fds->count != request->count)
        return -EINVAL;
    for (unsigned i = 0; i < request->count; i++)
        if (!eventfd_is(request->fds->fds[i]))
            return -EINVAL;
    return 0;
}

int irqs_set(struct irqs *irqs, uint32_t flags, unsigned index, uint32_t start, uint32_t count,
             const uint8_t *bools, struct fd_array *fds)
{
    struct irq_request request = {
        .action = flags & VFIO_IRQ_SET_ACTION_TYPE_MASK,
        .data = flags & VFIO_IRQ_SET_DATA_TYPE_MASK,
        .index = index,
        .start = start,
        .count = count,
        .bools = bools,
    };
    int ret = request_check(irqs, &request, flags);

    if (ret)
        return ret;
    if (request.data == VFIO_IRQ_SET_DATA_EVENTFD && request.action != VFIO_IRQ_SET_ACTION_MASK) {
        request.fds = fds && fds->count ? fds : NULL;
        ret = request_check_fds(&request);
        if (ret)
            return ret;
    }

    LOCK_FOR_SCOPE(&irqs->lock);
    if (request.action == VFIO_IRQ_SET_ACTION_MASK)
        return set_mask(irqs, &request);
    if (request.action == VFIO_IRQ_SET_ACTION_UNMASK)
        return set_unmask(irqs, &request);
    if (index == UMDEV_IRQ_ERR || index == UMDEV_IRQ_REQ)
        return set_single_trigger(irqs, &request);
    return set_trigger(irqs, &request);
}
