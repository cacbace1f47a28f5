/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: what there are, SET_IRQS, and the eventfds made for callers.
 *
 * Data model. One struct client_irq for each vector that umdev_client_irq_eventfd() was asked
 * for, in a list under device_lock. Its eventfd stays the same until close, though the caller may
 * take it from the server by a SET_IRQS of their own.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "client/client.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>

struct client_irq {
    struct client_irq *next;
    unsigned index, vector;
    int fd;
    bool registered; /* the server has it */
};

int umdev_client_get_irq(struct umdev_client *client, unsigned index, struct umdev_irq_info *info)
{
    struct wire_irq_info request = {.argsz = sizeof(request), .index = index}, reply;
    struct client_call call = {
        .command = WIRE_DEVICE_GET_IRQ_INFO,
        .body = &request,
        .body_size = sizeof(request),
        .reply = &reply,
        .reply_size = sizeof(reply),
    };
    int ret = client_call(client, &call);

    if (ret)
        return ret;
    if (reply.index != index)
        return client_broken(client);
    *info = (struct umdev_irq_info){
        .index = index,
        .flags = reply.flags,
        .count = reply.count,
    };
    return 0;
}

/* ------------------------------------------------------------------ SET_IRQS */

/* One message: `set` and its data, or its fds. */
static int set_irqs_once(struct umdev_client *client, struct wire_irq_set *set,
                         const uint8_t *bools, const int *fds, unsigned nfds)
{
    size_t nbools = bools ? set->count : 0;
    struct client_call call = {
        .command = WIRE_DEVICE_SET_IRQS,
        .body = set,
        .body_size = sizeof(*set),
        .data = bools,
        .data_size = nbools,
        .fds = fds,
        .nfds = nfds,
    };

    set->argsz = (uint32_t)(sizeof(*set) + nbools);
    return client_call(client, &call);
}

/* How many from the first on can go in one message: all with an fd, or all without. */
static uint32_t fds_alike(const int *fds, size_t n, uint32_t max_fds)
{
    uint32_t alike = 1;

    while (alike < n && (fds[alike] >= 0) == (fds[0] >= 0) && (fds[0] < 0 || alike < max_fds))
        alike++;
    return alike;
}

/* A message carries either an fd for each of its vectors or none at all: −1 can't be sent. */
static int set_irqs_fds(struct umdev_client *client, struct wire_irq_set *set, const int *fds,
                        size_t nfds)
{
    while (nfds) {
        int ret;

        set->count = fds_alike(fds, nfds, client->limits.max_msg_fds);
        ret = set_irqs_once(client, set, NULL, fds, fds[0] >= 0 ? set->count : 0);
        if (ret)
            return ret;
        set->start += set->count;
        fds += set->count;
        nfds -= set->count;
    }
    return 0;
}

static int set_irqs(struct umdev_client *client, struct wire_irq_set *set, const uint8_t *bools,
                    const int *fds, size_t nfds)
{
    bool has_bools = set->flags & VFIO_IRQ_SET_DATA_BOOL;
    uint32_t end;

    if (nfds && (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD) || nfds != set->count || !fds))
        return -EINVAL;
    if (has_bools && (set->count > WIRE_MAX_DATA || (set->count && !bools)))
        return -EINVAL;
    if (ADD_OVERFLOW(set->start, set->count, &end))
        return -EINVAL;
    if (nfds)
        return set_irqs_fds(client, set, fds, nfds);
    return set_irqs_once(client, set, has_bools ? bools : NULL, NULL, 0);
}

/* ------------------------------------------------------------------ eventfds */

/* What a caller's SET_IRQS did to the server's knowledge of our eventfds. */
static void note_set_irqs(struct umdev_client *client, const struct wire_irq_set *set)
{
    bool disables = set->flags & VFIO_IRQ_SET_DATA_NONE && set->count == 0;

    if (!(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER) ||
        (!disables && !(set->flags & VFIO_IRQ_SET_DATA_EVENTFD)))
        return;
    LOCK_FOR_SCOPE(&client->device_lock);
    for (struct client_irq *irq = client->irqs; irq; irq = irq->next)
        if (irq->index == set->index &&
            (disables || (irq->vector >= set->start && irq->vector - set->start < set->count)))
            irq->registered = false;
}

int umdev_client_set_irqs(struct umdev_client *client, uint32_t flags, unsigned index,
                          uint32_t start, uint32_t count, const uint8_t *bools, const int *fds,
                          size_t nfds)
{
    struct wire_irq_set set = {.flags = flags, .index = index, .start = start, .count = count};
    struct wire_irq_set sent = set;
    int ret = set_irqs(client, &sent, bools, fds, nfds);

    /* Even on failure: a part may have been done. */
    note_set_irqs(client, &set);
    return ret;
}

static struct client_irq *find_irq(const struct umdev_client *client, unsigned index,
                                   unsigned vector)
{
    struct client_irq *irq = client->irqs;

    while (irq && (irq->index != index || irq->vector != vector))
        irq = irq->next;
    return irq;
}

static bool index_in_use(const struct umdev_client *client, unsigned index)
{
    for (const struct client_irq *irq = client->irqs; irq; irq = irq->next)
        if (irq->index == index && irq->registered)
            return true;
    return false;
}

/* A vector that the server knows nothing of yet; NULL with errno set. */
static struct client_irq *add_irq(struct umdev_client *client, unsigned index, unsigned vector)
{
    CLEANUP_FREE struct client_irq *irq = malloc(sizeof(*irq));

    if (!irq)
        return NULL;
    *irq = (struct client_irq){
        .next = client->irqs,
        .index = index,
        .vector = vector,
        .fd = eventfd(0, EFD_CLOEXEC),
    };
    if (irq->fd < 0)
        return NULL;
    client->irqs = irq;
    return TAKE_POINTER(irq);
}

/* Give the server an eventfd. An index that can't grow vector by vector is enabled first: all of
 * it, silent. */
static int register_irq(struct umdev_client *client, struct client_irq *irq,
                        const struct umdev_irq_info *info)
{
    struct wire_irq_set whole = {
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = irq->index,
        .count = info->count,
    };
    struct wire_irq_set one = whole;
    int ret = 0;

    one.start = irq->vector;
    one.count = 1;
    if (info->flags & UMDEV_IRQ_INFO_NORESIZE && info->count > 1 &&
        !index_in_use(client, irq->index))
        ret = set_irqs(client, &whole, NULL, NULL, 0);
    if (!ret)
        ret = set_irqs(client, &one, NULL, &irq->fd, 1);
    irq->registered = !ret;
    return ret;
}

int umdev_client_irq_eventfd(struct umdev_client *client, unsigned index, unsigned vector)
{
    struct umdev_irq_info info = {0};
    struct client_irq *irq;
    int ret;

    LOCK_FOR_SCOPE(&client->device_lock);
    irq = find_irq(client, index, vector);
    if (irq && irq->registered)
        return irq->fd;
    ret = umdev_client_get_irq(client, index, &info);
    if (ret)
        return ret;
    if (vector >= info.count)
        return -EINVAL;
    if (!irq)
        irq = add_irq(client, index, vector);
    if (!irq)
        return -errno;
    ret = register_irq(client, irq, &info);
    return ret ? ret : irq->fd;
}

void client_irqs_free(struct umdev_client *client)
{
    while (client->irqs) {
        struct client_irq *irq = client->irqs;

        client->irqs = irq->next;
        close(irq->fd);
        free(irq);
    }
}
