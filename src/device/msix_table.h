/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI-X table and the pending bits as a client sees them in a BAR.
 *
 * Data model. A vector has 16 bytes: message address (8), message data (4), vector control (4), of
 * which only bit 0, the mask, exists. Messages go nowhere: a VFIO client gives each vector an
 * eventfd instead, so address and data are kept and read back, and only the mask has an effect,
 * in irq.h. For the same reason vectors start unmasked: a client that configures interrupts with
 * SET_IRQS alone never writes the table. The pending bits are irq.h's; writes to them are ignored.
 *
 * A mutex keeps the mask in the table and the one in effect the same.
 */
#ifndef DEVICE_MSIX_TABLE_H
#define DEVICE_MSIX_TABLE_H

#include "device/irq.h"

#include <stddef.h>

#define MSIX_MAX_VECTORS 2048u
#define MSIX_ENTRY_SIZE  16u

struct msix_table;

/* ENOMEM. `irqs` must outlive it. */
int msix_table_new(unsigned vectors, struct irqs *irqs, struct msix_table **table);
void msix_table_free(struct msix_table *table);

/* Any size and alignment inside the table; the caller has checked the bounds. */
void msix_table_read(struct msix_table *table, uint64_t offset, void *buf, size_t len);
void msix_table_write(struct msix_table *table, uint64_t offset, const void *buf, size_t len);
/* Back to zeros, together with irqs_reset(). */
void msix_table_reset(struct msix_table *table);

/* The bytes of the pending bits: 8 for each 64 vectors. */
uint64_t msix_pba_size(unsigned vectors);
void msix_pba_read(struct msix_table *table, uint64_t offset, void *buf, size_t len);

#endif
