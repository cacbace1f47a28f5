/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/irq.h"

#include "base/cleanup.h"
#include "base/eventfd.h"
#include "base/range.h"
#include "device/irq_state.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned max;
    uint32_t flags;
} index_traits[UMDEV_NUM_IRQS] = {
    [UMDEV_IRQ_INTX] = {"INTx", 1,
                        VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED},
    [UMDEV_IRQ_MSI] = {"MSI", 32, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE},
    [UMDEV_IRQ_MSIX] = {"MSI-X", MSIX_MAX_VECTORS, VFIO_IRQ_INFO_EVENTFD},
    [UMDEV_IRQ_ERR] = {"ERR", 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE},
    [UMDEV_IRQ_REQ] = {"REQ", 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE},
};

static bool bit_get(const uint64_t *bits, unsigned bit)
{
    return bits[bit / 64] >> (bit % 64) & 1;
}

static void bit_put(uint64_t *bits, unsigned bit, bool value)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    if (value)
        bits[bit / 64] |= mask;
    else
        bits[bit / 64] &= ~mask;
}

/* ------------------------------------------------------------------ birth and death */

int irqs_new(const struct irqs_config *config, struct irqs **result)
{
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++)
        if (config->count[i] > index_traits[i].max)
            return -EINVAL;

    struct irqs *irqs = calloc(1, sizeof(*irqs));
    if (!irqs)
        return -ENOMEM;
    irqs->log = config->log;
    irqs->name = config->name;
    pthread_mutex_init(&irqs->lock, NULL);
    pthread_mutex_init(&irqs->close_lock, NULL);
    atomic_init(&irqs->unmask_fd, -1);
    atomic_init(&irqs->writing_fd, -1);
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++) {
        struct irq_index *index = &irqs->index[i];

        if (!config->count[i])
            continue;
        index->eventfds = calloc(config->count[i], sizeof(*index->eventfds));
        if (!index->eventfds) {
            irqs_free(irqs);
            return -ENOMEM;
        }
        index->count = config->count[i];
        for (unsigned vector = 0; vector < index->count; vector++)
            index->eventfds[vector] = -1;
    }
    *result = irqs;
    return 0;
}

void irqs_free(struct irqs *irqs)
{
    if (!irqs)
        return;
    irqs_clear(irqs);
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++)
        free(irqs->index[i].eventfds);
    pthread_mutex_destroy(&irqs->close_lock);
    pthread_mutex_destroy(&irqs->lock);
    free(irqs);
}

int irqs_get_info(const struct irqs *irqs, unsigned index, struct irqs_info *info)
{
    if (index >= UMDEV_NUM_IRQS)
        return -EINVAL;
    info->flags = index_traits[index].flags;
    info->count = irqs->index[index].count;
    return 0;
}

/* ------------------------------------------------------------------ listeners */

void irqs_set_eventfd(struct irqs *irqs, unsigned index, unsigned vector, int fd)
{
    int *slot = &irqs->index[index].eventfds[vector];

    if (*slot >= 0) {
        LOCK_FOR_SCOPE(&irqs->close_lock);
        close(*slot);
    }
    *slot = fd;
}

void irqs_set_unmask_fd(struct irqs *irqs, int fd)
{
    int old = atomic_exchange(&irqs->unmask_fd, fd);

    if (old >= 0)
        close(old);
}

void irqs_disable(struct irqs *irqs, unsigned index)
{
    for (unsigned vector = 0; vector < irqs->index[index].count; vector++)
        irqs_set_eventfd(irqs, index, vector, -1);
    irqs->index[index].enabled = false;
    if (index == UMDEV_IRQ_INTX) {
        irqs->intx_masked = false;
        irqs_set_unmask_fd(irqs, -1);
    } else if (index == UMDEV_IRQ_MSIX) {
        for (unsigned i = 0; i < IRQ_MSIX_WORDS; i++)
            irqs->msix_pending[i] = 0;
    }
}

void irqs_clear(struct irqs *irqs)
{
    LOCK_FOR_SCOPE(&irqs->lock);
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++)
        irqs_disable(irqs, i);
}

/* ------------------------------------------------------------------ signalling */

void irqs_signal(struct irqs *irqs, unsigned index, unsigned vector)
{
    static const uint64_t one = 1;
    int fd = irqs->index[index].eventfds[vector];
    ssize_t written;

    if (fd < 0)
        return;

    uint64_t number = atomic_load_explicit(&irqs->write_number, memory_order_relaxed) + 1;
    atomic_store_explicit(&irqs->write_number, number, memory_order_relaxed);
    atomic_store_explicit(&irqs->writing_fd, fd, memory_order_release);
    do
        written = write(fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
    atomic_store_explicit(&irqs->writing_fd, -1, memory_order_release);

    /* EAGAIN: full, and the client made it non-blocking. It has a signal to read as it is. */
    if (written == sizeof(one))
        atomic_fetch_add_explicit(&irqs->signalled, 1, memory_order_relaxed);
    if (atomic_load_explicit(&irqs->rescued_number, memory_order_acquire) == number) {
        /* It was filled on purpose: no interrupt gets there by counting. Never hang on it again. */
        log_print(irqs->log, UMDEV_LOG_WARNING, irqs->name,
                  "%s vector %u: the client's eventfd was full; it is dropped",
                  index_traits[index].name, vector);
        irqs_set_eventfd(irqs, index, vector, -1);
    }
}

void irqs_intx_update(struct irqs *irqs)
{
    const struct irq_index *intx = &irqs->index[UMDEV_IRQ_INTX];

    if (!irqs->intx_raised || irqs->intx_masked || irqs->intx_disabled || !intx->enabled ||
        intx->eventfds[0] < 0)
        return;
    irqs->intx_masked = true;
    irqs_signal(irqs, UMDEV_IRQ_INTX, 0);
}

static void msix_trigger(struct irqs *irqs, unsigned vector)
{
    if (!irqs->index[UMDEV_IRQ_MSIX].enabled)
        return;
    if (irqs->msix_function_masked || bit_get(irqs->msix_masked, vector))
        bit_put(irqs->msix_pending, vector, true);
    else
        irqs_signal(irqs, UMDEV_IRQ_MSIX, vector);
}

int irqs_trigger(struct irqs *irqs, unsigned index, unsigned vector)
{
    if (index >= UMDEV_NUM_IRQS || index == UMDEV_IRQ_INTX || vector >= irqs->index[index].count)
        return -EINVAL;
    LOCK_FOR_SCOPE(&irqs->lock);
    if (index == UMDEV_IRQ_MSIX)
        msix_trigger(irqs, vector);
    else
        irqs_signal(irqs, index, vector);
    return 0;
}

int irqs_set_level(struct irqs *irqs, bool raised)
{
    if (!irqs->index[UMDEV_IRQ_INTX].count)
        return -EINVAL;
    LOCK_FOR_SCOPE(&irqs->lock);
    irqs->intx_raised = raised;
    irqs_intx_update(irqs);
    return 0;
}

bool irqs_level(struct irqs *irqs)
{
    LOCK_FOR_SCOPE(&irqs->lock);
    return irqs->intx_raised;
}

uint64_t irqs_signalled(const struct irqs *irqs)
{
    return atomic_load_explicit(&irqs->signalled, memory_order_relaxed);
}

/* ------------------------------------------------------------------ masks */

void irqs_set_intx_disabled(struct irqs *irqs, bool disabled)
{
    if (!irqs->index[UMDEV_IRQ_INTX].count)
        return;
    LOCK_FOR_SCOPE(&irqs->lock);
    irqs->intx_disabled = disabled;
    irqs_intx_update(irqs);
}

/* Fire what is pending and no longer masked. */
static void msix_deliver(struct irqs *irqs)
{
    if (irqs->msix_function_masked)
        return;
    for (unsigned i = 0; i < IRQ_MSIX_WORDS; i++) {
        uint64_t due = irqs->msix_pending[i] & ~irqs->msix_masked[i];

        irqs->msix_pending[i] &= ~due;
        for (; due; due &= due - 1)
            irqs_signal(irqs, UMDEV_IRQ_MSIX, i * 64 + (unsigned)__builtin_ctzll(due));
    }
}

void irqs_msix_set_vector_mask(struct irqs *irqs, unsigned vector, bool masked)
{
    if (vector >= irqs->index[UMDEV_IRQ_MSIX].count)
        return;
    LOCK_FOR_SCOPE(&irqs->lock);
    bit_put(irqs->msix_masked, vector, masked);
    msix_deliver(irqs);
}

void irqs_msix_set_function_mask(struct irqs *irqs, bool masked)
{
    LOCK_FOR_SCOPE(&irqs->lock);
    irqs->msix_function_masked = masked;
    msix_deliver(irqs);
}

uint64_t irqs_msix_pending(struct irqs *irqs, unsigned index)
{
    if (index >= IRQ_MSIX_WORDS)
        return 0;
    LOCK_FOR_SCOPE(&irqs->lock);
    return irqs->msix_pending[index];
}

void irqs_reset(struct irqs *irqs)
{
    LOCK_FOR_SCOPE(&irqs->lock);
    irqs->intx_raised = false;
    irqs->msix_function_masked = false;
    for (unsigned i = 0; i < IRQ_MSIX_WORDS; i++) {
        irqs->msix_masked[i] = 0;
        irqs->msix_pending[i] = 0;
    }
}

/* ------------------------------------------------------------------ reading eventfds */

int irqs_unmask_fd(const struct irqs *irqs)
{
    return atomic_load(&irqs->unmask_fd);
}

void irqs_unmask_event(struct irqs *irqs)
{
    int fd = irqs_unmask_fd(irqs);

    if (fd < 0 || eventfd_drain(fd))
        return;
    LOCK_FOR_SCOPE(&irqs->lock);
    irqs->intx_masked = false;
    irqs_intx_update(irqs);
}

bool irqs_unstick(struct irqs *irqs)
{
    LOCK_FOR_SCOPE(&irqs->close_lock);
    int fd = atomic_load_explicit(&irqs->writing_fd, memory_order_acquire);
    uint64_t number = atomic_load_explicit(&irqs->write_number, memory_order_relaxed);

    if (fd < 0) {
        irqs->suspect_number = 0;
        return false;
    }
    if (number != irqs->suspect_number) {
        irqs->suspect_number = number;
        return false;
    }

    /* A writer that merely lost its CPU must not lose its signal: only a full counter is drained.
     */
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    if (poll(&writable, 1, 0) != 0)
        return false;
    atomic_store_explicit(&irqs->rescued_number, number, memory_order_release);
    return eventfd_drain(fd) == 0;
}
