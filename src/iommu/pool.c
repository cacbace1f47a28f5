/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/pool.h"

#include "iommu/readers.h"

#include <errno.h>
#include <stdlib.h>

/* So many retired nodes before the readers are looked at for their sake. */
#define RETIRED_BATCH 16
/* What is spare beyond is freed. */
#define MAX_SPARE 12

#define MIN_CAPACITY 4

static size_t directory_size(size_t capacity)
{
    size_t size = sizeof(struct iommu_directory) +
                  capacity * (sizeof(uint64_t) + sizeof(struct iommu_leaf *));

    return (size + 63) & ~(size_t)63;
}

static void put_leaf(struct iommu_leaf **list, struct iommu_leaf *leaf)
{
    leaf->next = *list;
    *list = leaf;
}

static void put_directory(struct iommu_directory **list, struct iommu_directory *directory)
{
    directory->next = *list;
    *list = directory;
}

static size_t count_directories(const struct iommu_table *table, size_t capacity)
{
    size_t count = 0;

    for (const struct iommu_directory *each = table->spare_directories; each; each = each->next)
        count += each->capacity >= capacity;
    return count;
}

static void free_leaves(struct iommu_leaf **list)
{
    while (*list) {
        struct iommu_leaf *leaf = *list;

        *list = leaf->next;
        free(leaf);
    }
}

static void free_directories(struct iommu_directory **list)
{
    while (*list) {
        struct iommu_directory *directory = *list;

        *list = directory->next;
        free(directory);
    }
}

void iommu_pool_free_spare(struct iommu_table *table)
{
    free_leaves(&table->spare_leaves);
    free_directories(&table->spare_directories);
    table->num_spare_leaves = 0;
}

void iommu_pool_free_retired(struct iommu_table *table)
{
    free_leaves(&table->retired_leaves);
    free_directories(&table->retired_directories);
    table->num_retired = 0;
    table->retired_bytes = 0;
}

/* The readers of the retired nodes have passed: some are kept, the others freed. */
static void recycle(struct iommu_table *table, size_t capacity)
{
    size_t directories = count_directories(table, capacity);

    while (table->retired_leaves && table->num_spare_leaves < MAX_SPARE) {
        struct iommu_leaf *leaf = table->retired_leaves;

        table->retired_leaves = leaf->next;
        put_leaf(&table->spare_leaves, leaf);
        table->num_spare_leaves++;
    }
    for (struct iommu_directory **link = &table->retired_directories; *link;) {
        struct iommu_directory *directory = *link;

        if (directory->capacity < capacity || directories == MAX_SPARE) {
            link = &directory->next;
            continue;
        }
        *link = directory->next;
        put_directory(&table->spare_directories, directory);
        directories++;
    }
    iommu_pool_free_retired(table);
}

/* Smaller ones than the table's own are of no use any more. */
static void drop_small(struct iommu_table *table)
{
    const struct iommu_directory *root = iommu_table_root(table);

    for (struct iommu_directory **link = &table->spare_directories; *link;) {
        struct iommu_directory *directory = *link;

        if (root && directory->capacity < root->count) {
            *link = directory->next;
            free(directory);
        } else {
            link = &directory->next;
        }
    }
}

static bool reclaim(struct iommu_table *table, size_t capacity, bool wait)
{
    const struct iommu_directory *root = iommu_table_root(table);

    if (table->num_retired == 0)
        return false;
    if (wait)
        iommu_readers_wait(table->readers);
    else if (!iommu_readers_passed(table->readers))
        return false;
    /* What the table needs to be emptied stays, whatever is asked for. */
    recycle(table, root ? MIN(capacity, root->count) : capacity);
    drop_small(table);
    return true;
}

static bool add_leaf(struct iommu_table *table)
{
    struct iommu_leaf *leaf = aligned_alloc(_Alignof(struct iommu_leaf), sizeof(*leaf));

    if (!leaf)
        return false;
    put_leaf(&table->spare_leaves, leaf);
    table->num_spare_leaves++;
    return true;
}

static bool add_directory(struct iommu_table *table, size_t wanted)
{
    struct iommu_directory *directory;
    size_t capacity = MIN_CAPACITY;

    while (capacity < wanted)
        capacity *= 2;
    directory = aligned_alloc(_Alignof(struct iommu_directory), directory_size(capacity));
    if (!directory)
        return false;
    directory->capacity = (uint32_t)capacity;
    put_directory(&table->spare_directories, directory);
    return true;
}

static bool suffices(const struct iommu_table *table, size_t leaves, size_t directories,
                     size_t capacity)
{
    return table->num_spare_leaves >= leaves && count_directories(table, capacity) >= directories;
}

static int allocate(struct iommu_table *table, size_t leaves, size_t directories, size_t capacity)
{
    while (table->num_spare_leaves < leaves) {
        if (!add_leaf(table))
            return -ENOMEM;
    }
    while (count_directories(table, capacity) < directories) {
        if (!add_directory(table, capacity))
            return -ENOMEM;
    }
    return 0;
}

int iommu_pool_reserve(struct iommu_table *table, size_t leaves, size_t directories,
                       size_t capacity)
{
    if (suffices(table, leaves, directories, capacity))
        return 0;
    if (table->num_retired >= RETIRED_BATCH)
        reclaim(table, capacity, table->retired_bytes > IOMMU_RETIRED_BYTES);
    if (allocate(table, leaves, directories, capacity) == 0)
        return 0;
    return reclaim(table, capacity, false) ? allocate(table, leaves, directories, capacity)
                                           : -ENOMEM;
}

void iommu_pool_reserve_removal(struct iommu_table *table, size_t capacity)
{
    if (iommu_pool_reserve(table, IOMMU_REMOVAL_LEAVES, IOMMU_REMOVAL_DIRECTORIES, capacity))
        reclaim(table, capacity, true);
}

struct iommu_leaf *iommu_pool_take_leaf(struct iommu_table *table)
{
    struct iommu_leaf *leaf = table->spare_leaves;

    table->spare_leaves = leaf->next;
    table->num_spare_leaves--;
    leaf->count = 0;
    return leaf;
}

struct iommu_directory *iommu_pool_take_directory(struct iommu_table *table, size_t capacity)
{
    struct iommu_directory **link = &table->spare_directories;
    struct iommu_directory *directory;

    while ((*link)->capacity < capacity)
        link = &(*link)->next;
    directory = *link;
    *link = directory->next;
    return directory;
}

void iommu_pool_retire_leaf(struct iommu_table *table, struct iommu_leaf *leaf)
{
    put_leaf(&table->retired_leaves, leaf);
    table->num_retired++;
    table->retired_bytes += sizeof(*leaf);
}

void iommu_pool_retire_directory(struct iommu_table *table, struct iommu_directory *directory)
{
    put_directory(&table->retired_directories, directory);
    table->num_retired++;
    table->retired_bytes += directory_size(directory->capacity);
}
