/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/msix_table.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <string.h>

#define ENTRY_CONTROL      12u
#define ENTRY_CONTROL_MASK 0x01u

struct msix_table {
    pthread_mutex_t mutex;
    struct irqs *irqs;
    size_t size;
    uint8_t bytes[];
};

int msix_table_new(unsigned vectors, struct irqs *irqs, struct msix_table **table_out)
{
    size_t size = (size_t)vectors * MSIX_ENTRY_SIZE;
    struct msix_table *table = calloc(1, sizeof(*table) + size);

    if (!table)
        return -ENOMEM;
    pthread_mutex_init(&table->mutex, NULL);
    table->irqs = irqs;
    table->size = size;
    *table_out = table;
    return 0;
}

void msix_table_free(struct msix_table *table)
{
    if (!table)
        return;
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

void msix_table_read(struct msix_table *table, uint64_t offset, void *buf, size_t len)
{
    LOCK_FOR_SCOPE(&table->mutex);

    memcpy(buf, table->bytes + offset, len);
}

void msix_table_write(struct msix_table *table, uint64_t offset, const void *buf, size_t len)
{
    LOCK_FOR_SCOPE(&table->mutex);

    memcpy(table->bytes + offset, buf, len);
    for (uint64_t vector = offset / MSIX_ENTRY_SIZE; vector * MSIX_ENTRY_SIZE < offset + len;
         vector++) {
        uint8_t *control = table->bytes + vector * MSIX_ENTRY_SIZE + ENTRY_CONTROL;

        control[0] &= ENTRY_CONTROL_MASK;
        memset(control + 1, 0, 3);
        irqs_msix_set_vector_mask(table->irqs, (unsigned)vector, control[0]);
    }
}

void msix_table_reset(struct msix_table *table)
{
    LOCK_FOR_SCOPE(&table->mutex);

    memset(table->bytes, 0, table->size);
}

uint64_t msix_pba_size(unsigned vectors)
{
    return (vectors + UINT64_C(63)) / 64 * 8;
}

void msix_pba_read(struct msix_table *table, uint64_t offset, void *buf, size_t len)
{
    uint64_t position = offset, end = offset + len;
    uint8_t *out = buf;

    while (position < end) {
        uint64_t pending = irqs_msix_pending(table->irqs, (unsigned)(position / 8));
        uint64_t next = MIN(align_down(position, 8) + 8, end);

        for (; position < next; position++)
            *out++ = (uint8_t)(pending >> (8 * (position % 8)));
    }
}
