/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 16

void iommu_table_free(struct iommu_table *table)
{
    free(table->entries);
    table->entries = NULL;
    table->capacity = 0;
}

/* How many entries begin at or below `iova`. */
static size_t table_rank(const struct iommu_table *table, uint64_t iova)
{
    const struct iommu_table_entry *base = table->entries;
    size_t left = table->count;

    if (left == 0)
        return 0;
    /* Both halves are taken as long as their larger one: no branch that could be guessed wrong. */
    while (left > 1) {
        size_t half = left / 2;

        base = base[half].first <= iova ? base + half : base;
        left -= half;
    }
    return (size_t)(base - table->entries) + (base->first <= iova);
}

static bool hint_matches(const struct iommu_table *table, size_t hint, uint64_t iova)
{
    return hint < table->count && table->entries[hint].first <= iova &&
           (hint + 1 == table->count || iova < table->entries[hint + 1].first);
}

bool iommu_table_find(struct iommu_table *table, uint64_t iova, size_t *index)
{
    size_t at = atomic_load_explicit(&table->hint, memory_order_relaxed);

    if (!hint_matches(table, at, iova)) {
        size_t rank = table_rank(table, iova);

        if (rank == 0)
            return false;
        at = rank - 1;
        atomic_store_explicit(&table->hint, at, memory_order_relaxed);
    }
    *index = at;
    return iova <= table->entries[at].mapping->range.last;
}

bool iommu_table_overlaps(const struct iommu_table *table, struct range range)
{
    size_t rank = table_rank(table, range.last);

    /* The last one that begins at or below the range's end reaches furthest. */
    return rank > 0 && table->entries[rank - 1].mapping->range.last >= range.first;
}

int iommu_table_slice(const struct iommu_table *table, struct range range, size_t *begin,
                      size_t *end)
{
    size_t first = range.first == 0 ? 0 : table_rank(table, range.first - 1);
    size_t past = table_rank(table, range.last);

    if (first > 0 && table->entries[first - 1].mapping->range.last >= range.first)
        return -EINVAL;
    if (past > first && table->entries[past - 1].mapping->range.last > range.last)
        return -EINVAL;
    *begin = first;
    *end = past;
    return 0;
}

int iommu_table_reserve(struct iommu_table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : MIN_CAPACITY;
    struct iommu_table_entry *entries;

    if (table->count < table->capacity)
        return 0;
    entries = reallocarray(table->entries, capacity, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    table->entries = entries;
    table->capacity = capacity;
    return 0;
}

static void table_account(struct iommu_table *table, const struct iommu_mapping *mapping, bool in)
{
    uint64_t size = range_size_minus_1(mapping->range) + 1;

    table->bytes += in ? size : -size;
    table->address_space += in ? mapping->size : -mapping->size;
}

void iommu_table_insert(struct iommu_table *table, struct iommu_mapping *mapping)
{
    size_t at = table_rank(table, mapping->range.first);
    struct iommu_table_entry *entry = &table->entries[at];

    memmove(entry + 1, entry, (table->count - at) * sizeof(*entry));
    *entry = (struct iommu_table_entry){mapping->range.first, mapping};
    table->count++;
    table_account(table, mapping, true);
}

struct iommu_mapping *iommu_table_remove(struct iommu_table *table, size_t begin, size_t end)
{
    struct iommu_mapping *list = NULL;

    if (begin == end)
        return NULL;
    for (size_t i = end; i-- > begin;) {
        struct iommu_mapping *mapping = table->entries[i].mapping;

        table_account(table, mapping, false);
        mapping->next = list;
        list = mapping;
    }
    memmove(&table->entries[begin], &table->entries[end],
            (table->count - end) * sizeof(*table->entries));
    table->count -= end - begin;
    return list;
}
