/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What irq.c (signalling) and irq_set.c (SET_IRQS) share: the state behind irq.h.
 *
 * Invariants, `lock` held:
 *  - at most one of INTx, MSI and MSI-X is enabled; ERR and REQ have no such state, a listener is
 *    all there is to them
 *  - an index that is not enabled has no eventfds (ERR and REQ excepted)
 *  - INTx that can fire has fired: raised, enabled, with a listener, and neither masked nor
 *    disabled never hold all at once
 *  - a pending bit is set only for a masked vector of an enabled MSI-X
 *
 * Closing a vector's eventfd needs `lock` and then `close_lock`. irqs_unstick() takes `close_lock`
 * alone: the writer that hangs holds `lock`. While it has it, the fd it finds published can't be
 * closed and its number can't become another file's.
 */
#ifndef DEVICE_IRQ_STATE_H
#define DEVICE_IRQ_STATE_H

#include "device/irq.h"
#include "device/msix_table.h"

#include <pthread.h>
#include <stdatomic.h>

#define IRQ_MSIX_WORDS (MSIX_MAX_VECTORS / 64)

struct irq_index {
    unsigned count;
    bool enabled;
    int *eventfds; /* `count` of them; −1: nobody listens */
};

struct irqs {
    const struct log *log;
    const char *name;

    pthread_mutex_t lock;
    struct irq_index index[UMDEV_NUM_IRQS];
    bool intx_raised;
    bool intx_masked;   /* by the client, or by having fired */
    bool intx_disabled; /* the command register's bit */
    bool msix_function_masked;
    uint64_t msix_masked[IRQ_MSIX_WORDS];
    uint64_t msix_pending[IRQ_MSIX_WORDS];
    atomic_int unmask_fd; /* changed by the client's thread only */

    /* The write under way: its number is stored before its fd. */
    atomic_uint_fast64_t write_number;
    atomic_int writing_fd; /* −1: none */
    atomic_uint_fast64_t rescued_number;
    atomic_uint_fast64_t signalled;

    pthread_mutex_t close_lock;
    uint64_t suspect_number; /* the write that irqs_unstick() saw last; 0: none */
};

/* All with `lock` held. */

/* Signal a vector's listener, if it has one. */
void irqs_signal(struct irqs *irqs, unsigned index, unsigned vector);
/* Fire INTx if it is raised and nothing keeps it from firing. */
void irqs_intx_update(struct irqs *irqs);
/* Make `fd` (−1: nobody) the vector's listener; the former one is closed. */
void irqs_set_eventfd(struct irqs *irqs, unsigned index, unsigned vector, int fd);
/* Back to nobody listening; the index can be enabled anew. */
void irqs_disable(struct irqs *irqs, unsigned index);
/* Replace the fd that unmasks INTx. */
void irqs_set_unmask_fd(struct irqs *irqs, int fd);

#endif
