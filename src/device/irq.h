/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's interrupts as VFIO's SET_IRQS configures them.
 *
 * Data model. Per index (INTx, MSI, MSI-X, ERR, REQ) a number of vectors; per vector an eventfd
 * (−1: nobody listens). Of INTx, MSI and MSI-X at most one is enabled. INTx has a line level, a
 * client mask (set by itself when it fires: AUTOMASKED) and the command register's disable bit;
 * it fires when raised and neither masks it. MSI-X vectors have a mask bit each and a function
 * mask; a masked vector that is triggered is pending and fires at unmask.
 *
 * One mutex guards it all; the only system call under it, but for closing, is the write to an
 * eventfd. That write blocks when a hostile client has filled its eventfd's counter, so the fd
 * being written is published: irqs_unstick(), called now and then from another thread, drains an
 * eventfd that the same write has hung on since its last call; the vector then loses it.
 */
#ifndef DEVICE_IRQ_H
#define DEVICE_IRQ_H

#include "base/fdpass.h"
#include "base/log.h"

struct irqs;

struct irqs_config {
    unsigned count[UMDEV_NUM_IRQS];
    const struct log *log;
    const char *name; /* in the log; both outlive the irqs */
};

struct irqs_info {
    uint32_t flags; /* VFIO_IRQ_INFO_* */
    uint32_t count;
};

/* EINVAL: more than 1 INTx, 32 MSI, 2048 MSI-X, 1 ERR or 1 REQ. ENOMEM. */
int irqs_new(const struct irqs_config *config, struct irqs **irqs);
void irqs_free(struct irqs *irqs);

/*
 * INTx: EVENTFD|MASKABLE|AUTOMASKED. MSI, ERR, REQ: EVENTFD|NORESIZE. MSI-X: EVENTFD (vectors can
 * be added while enabled). An index without vectors: count 0, success. EINVAL: index >= 5.
 */
int irqs_get_info(const struct irqs *irqs, unsigned index, struct irqs_info *info);

/*
 * VFIO_DEVICE_SET_IRQS, every row of the kernel's: `flags` (one ACTION, one DATA), [start, start +
 * count). `bools`: count bytes for DATA_BOOL. `fds` for DATA_EVENTFD: either none (each vector
 * loses its eventfd, as the kernel's −1, and the index is enabled if it was not) or exactly
 * `count`; those kept are taken out of the array. All or nothing for this call's vectors.
 *
 * TRIGGER | NONE with count 0 disables the whole index, wherever in it `start` is.
 *
 * EINVAL: no such index; unknown flags; not exactly one DATA; start or start + count beyond the
 * index's vectors; another of INTx, MSI, MSI-X is enabled; anything but EVENTFD for an index that
 * is not; an fd that is no eventfd, or not `count` of them. ENOTTY: not exactly one ACTION, or one
 * the index does not have (masks of anything but INTx; MASK by eventfd). EBUSY: UNMASK by eventfd
 * while there is one.
 */
int irqs_set(struct irqs *irqs, uint32_t flags, unsigned index, uint32_t start, uint32_t count,
             const uint8_t *bools, struct fd_array *fds);

/* As umdev_irq_trigger(), umdev_irq_set_level(). */
int irqs_trigger(struct irqs *irqs, unsigned index, unsigned vector);
int irqs_set_level(struct irqs *irqs, bool raised);

/*
 * What the config space and the MSI-X table say. Unmasking fires what is pending. In the beginning,
 * and after a reset, nothing is masked: a client that keeps the table to itself (QEMU, the kernel's
 * VFIO) never tells us to unmask.
 */
void irqs_set_intx_disabled(struct irqs *irqs, bool disabled);
void irqs_msix_set_vector_mask(struct irqs *irqs, unsigned vector, bool masked);
void irqs_msix_set_function_mask(struct irqs *irqs, bool masked);
/* The pending bits, 64 vectors from 64 * index on. */
uint64_t irqs_msix_pending(struct irqs *irqs, unsigned index);
/* Whether the INTx line is raised: the config space's interrupt status bit. */
bool irqs_level(struct irqs *irqs);

/*
 * The eventfd that unmasks INTx (SET_IRQS UNMASK|EVENTFD), or −1: the session polls it together
 * with its socket and calls irqs_unmask_event() when it is readable. Same thread as irqs_set().
 */
int irqs_unmask_fd(const struct irqs *irqs);
void irqs_unmask_event(struct irqs *irqs);

/*
 * A device reset: pending bits, line and MSI-X masks go back to their start; eventfds and the
 * client's INTx mask stay.
 */
void irqs_reset(struct irqs *irqs);
/* The client is gone: every eventfd is closed, every index disabled, pending bits dropped. */
void irqs_clear(struct irqs *irqs);

/* True if a write had been stuck since the last call; it has been released. Any thread. */
bool irqs_unstick(struct irqs *irqs);
/* Interrupts signalled to a client, ever. */
uint64_t irqs_signalled(const struct irqs *irqs);

#endif
