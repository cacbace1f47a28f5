/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's pin table as a tracker, and memory for the others. */
#include "pin_tracker.h"

#include "base/range.h"

#include <sys/mman.h>

size_t pin_state_run(const uint8_t *state, size_t n)
{
    size_t count = 0;

    while (count < n && state[count] != 0 && !((state[count] ^ state[0]) & PIN_BYTE_WRITE))
        count++;
    return count;
}

void *pin_lazy_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    /* A touch is to cost 4 KiB, not 2 MiB. */
    madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

void pin_lazy_free(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}

size_t pin_lazy_bytes(void *memory, size_t size)
{
    enum { PART = 4096 };
    unsigned char resident[PART];
    size_t pages = 0;

    if (!memory)
        return 0;
    for (size_t at = 0, n; at < size; at += n) {
        n = MIN(size - at, PART * PAGE_SIZE_4K);
        if (mincore((char *)memory + at, n, resident))
            return 0;
        for (size_t i = 0; i < (n + PAGE_SIZE_4K - 1) / PAGE_SIZE_4K; i++)
            pages += resident[i] & 1;
    }
    return pages * PAGE_SIZE_4K;
}

static int hybrid_create(uint64_t npages, bool with_bus, void **table)
{
    return pin_table_new(npages, with_bus, (struct pin_table **)table);
}

static void hybrid_destroy(void *table)
{
    pin_table_free(table);
}

static size_t hybrid_count_new(const void *table, uint64_t first, size_t count)
{
    return pin_table_count_new(table, first, count);
}

static int hybrid_pin(void *table, uint64_t first, size_t count, bool write, const uint32_t *bus,
                      uint64_t fresh[PIN_WORDS])
{
    return pin_table_pin(table, first, count, write, bus, fresh);
}

static size_t hybrid_unpin(void *table, uint64_t first, size_t count, uint64_t freed[PIN_WORDS],
                           uint32_t *freed_bus, uint64_t written[PIN_WORDS])
{
    return pin_table_unpin(table, first, count, freed, freed_bus, written);
}

static bool hybrid_get(const void *table, uint64_t page, struct pin_page *out)
{
    return pin_table_get(table, page, out);
}

static size_t hybrid_get_bus(const void *table, uint64_t first, size_t count, uint32_t *bus)
{
    return pin_table_get_bus(table, first, count, bus);
}

static bool hybrid_next(const void *table, uint64_t from, struct pin_run *run)
{
    return pin_table_next(table, from, run);
}

static uint64_t hybrid_pinned(const void *table)
{
    return pin_table_pinned(table);
}

static size_t hybrid_bytes(const void *table)
{
    return pin_table_bytes(table);
}

const struct pin_tracker pin_hybrid_tracker = {
    .name = "hybrid",
    .max_count = PIN_MAX_COUNT,
    .create = hybrid_create,
    .destroy = hybrid_destroy,
    .count_new = hybrid_count_new,
    .pin = hybrid_pin,
    .unpin = hybrid_unpin,
    .get = hybrid_get,
    .get_bus = hybrid_get_bus,
    .next = hybrid_next,
    .pinned = hybrid_pinned,
    .bytes = hybrid_bytes,
};
