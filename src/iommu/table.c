/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/table.h"

#include "iommu/pool.h"
#include "iommu/readers.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct iommu_entry) == 32, "two entries fill a cache line");

void iommu_table_init(struct iommu_table *table, struct iommu_readers *readers)
{
    *table = (struct iommu_table){.readers = readers};
}

void iommu_table_fini(struct iommu_table *table)
{
    iommu_pool_free_spare(table);
    iommu_pool_free_retired(table);
}

/* ------------------------------------------------------------------ looking */

struct iommu_place iommu_place_at(const struct iommu_directory *root, uint64_t iova)
{
    struct iommu_place place = {.root = root};
    const struct iommu_leaf *leaf;
    size_t rank;

    if (!root)
        return place;
    rank = iommu_rank(root->first, root->count, iova);
    if (rank == 0)
        return place;
    place.leaf = rank - 1;
    leaf = iommu_directory_leaves(root)[place.leaf];
    place.index = iommu_rank(leaf->first, leaf->count, iova) - 1;
    if (leaf->entries[place.index].last < iova)
        iommu_place_next(&place);
    return place;
}

bool iommu_table_overlaps(const struct iommu_table *table, struct range range)
{
    struct iommu_place place = iommu_place_at(iommu_table_root(table), range.first);
    const struct iommu_entry *entry = iommu_place_entry(&place);

    return entry && entry->first <= range.last;
}

int iommu_table_slice(const struct iommu_table *table, struct range range,
                      struct iommu_place *begin, size_t *count)
{
    const struct iommu_entry *entry;
    struct iommu_place place = iommu_place_at(iommu_table_root(table), range.first);

    *begin = place;
    *count = 0;
    for (; (entry = iommu_place_entry(&place)) && entry->first <= range.last; ++*count) {
        if (entry->first < range.first || entry->last > range.last)
            return -EINVAL;
        iommu_place_next(&place);
    }
    return 0;
}

/* ------------------------------------------------------------------ building */

/* A new directory with the counters and the first `leaves` leaves of the old one, if any. */
static struct iommu_directory *directory_begin(struct iommu_table *table, size_t capacity,
                                               size_t leaves)
{
    const struct iommu_directory *old = iommu_table_root(table);
    struct iommu_directory *made = iommu_pool_take_directory(table, capacity);

    made->version = ++table->version;
    made->count = (uint32_t)leaves;
    made->loss = old ? old->loss : NULL;
    made->maps = old ? old->maps : 0;
    made->bytes = old ? old->bytes : 0;
    if (old && leaves > 0) {
        memcpy(made->first, old->first, leaves * sizeof(old->first[0]));
        memcpy(iommu_directory_leaves(made), iommu_directory_leaves(old),
               leaves * sizeof(struct iommu_leaf *));
    }
    return made;
}

static void directory_append(struct iommu_directory *directory, struct iommu_leaf *leaf)
{
    directory->first[directory->count] = leaf->first[0];
    iommu_directory_leaves(directory)[directory->count] = leaf;
    directory->count++;
}

/* Appends the old directory's leaves from `from` on. */
static void directory_append_rest(struct iommu_directory *directory,
                                  const struct iommu_directory *old, size_t from)
{
    size_t count = old->count - from;

    memcpy(&directory->first[directory->count], &old->first[from], count * sizeof(old->first[0]));
    memcpy(&iommu_directory_leaves(directory)[directory->count], &iommu_directory_leaves(old)[from],
           count * sizeof(struct iommu_leaf *));
    directory->count += (uint32_t)count;
}

/* NULL: the table is empty. */
static void table_publish(struct iommu_table *table, struct iommu_directory *directory)
{
    struct iommu_directory *old = iommu_table_root(table);

    /* Sequentially consistent: the slots are looked at after it (iommu/readers.h). */
    atomic_store(&table->root, directory);
    if (old)
        iommu_pool_retire_directory(table, old);
}

static void leaf_append(struct iommu_leaf *leaf, const struct iommu_leaf *from, size_t begin,
                        size_t end)
{
    size_t count = end - begin;

    memcpy(&leaf->first[leaf->count], &from->first[begin], count * sizeof(from->first[0]));
    memcpy(&leaf->entries[leaf->count], &from->entries[begin], count * sizeof(from->entries[0]));
    leaf->count += count;
}

static void leaf_append_entry(struct iommu_leaf *leaf, const struct iommu_entry *entry)
{
    leaf->first[leaf->count] = entry->first;
    leaf->entries[leaf->count] = *entry;
    leaf->count++;
}

/* Appends a part of a leaf with an entry more, whose place in that leaf is `at`. */
static void leaf_append_with(struct iommu_leaf *leaf, const struct iommu_leaf *from, size_t begin,
                             size_t end, const struct iommu_entry *entry, size_t at)
{
    leaf_append(leaf, from, begin, at);
    leaf_append_entry(leaf, entry);
    leaf_append(leaf, from, at, end);
}

/* ------------------------------------------------------------------ inserting */

/*
 * A full leaf in two. At either end of the table, where clients that map in order insert, the leaf
 * stays full and the new entry begins another.
 */
static void split_leaf(struct iommu_table *table, struct iommu_directory *directory,
                       struct iommu_leaf *full, const struct iommu_entry *entry, size_t at,
                       bool is_first, bool is_last)
{
    const size_t half = IOMMU_LEAF_ENTRIES / 2;
    struct iommu_leaf *left = iommu_pool_take_leaf(table);
    struct iommu_leaf *right;

    if ((is_last && at == full->count) || (is_first && at == 0)) {
        leaf_append_entry(left, entry);
        directory_append(directory, at == 0 ? left : full);
        directory_append(directory, at == 0 ? full : left);
        return;
    }
    right = iommu_pool_take_leaf(table);
    if (at <= half) {
        leaf_append_with(left, full, 0, half, entry, at);
        leaf_append(right, full, half, full->count);
    } else {
        leaf_append(left, full, 0, half);
        leaf_append_with(right, full, half, full->count, entry, at);
    }
    directory_append(directory, left);
    directory_append(directory, right);
    iommu_pool_retire_leaf(table, full);
}

static void insert_into(struct iommu_table *table, struct iommu_directory *directory,
                        struct iommu_leaf *leaf, const struct iommu_entry *entry, size_t at)
{
    struct iommu_leaf *made = iommu_pool_take_leaf(table);

    leaf_append_with(made, leaf, 0, leaf->count, entry, at);
    directory_append(directory, made);
    iommu_pool_retire_leaf(table, leaf);
}

static int insert_first(struct iommu_table *table, const struct iommu_entry *entry,
                        struct iommu_directory **directory)
{
    struct iommu_leaf *leaf;
    int ret = iommu_pool_reserve(table, 1 + IOMMU_REMOVAL_LEAVES, 1 + IOMMU_REMOVAL_DIRECTORIES, 1);

    if (ret)
        return ret;
    leaf = iommu_pool_take_leaf(table);
    leaf_append_entry(leaf, entry);
    *directory = directory_begin(table, 1, 0);
    directory_append(*directory, leaf);
    return 0;
}

static int insert_more(struct iommu_table *table, const struct iommu_entry *entry,
                       struct iommu_directory **directory)
{
    const struct iommu_directory *old = iommu_table_root(table);
    size_t rank = iommu_rank(old->first, old->count, entry->first);
    size_t which = rank > 0 ? rank - 1 : 0;
    struct iommu_leaf *leaf = iommu_directory_leaves(old)[which];
    size_t at = iommu_rank(leaf->first, leaf->count, entry->first);
    bool split = leaf->count == IOMMU_LEAF_ENTRIES;
    int ret = iommu_pool_reserve(table, 1 + split + IOMMU_REMOVAL_LEAVES,
                                 1 + IOMMU_REMOVAL_DIRECTORIES, old->count + split);

    if (ret)
        return ret;
    *directory = directory_begin(table, old->count + split, which);
    if (split)
        split_leaf(table, *directory, leaf, entry, at, which == 0, which == old->count - 1);
    else
        insert_into(table, *directory, leaf, entry, at);
    directory_append_rest(*directory, old, which + 1);
    return 0;
}

int iommu_table_insert(struct iommu_table *table, const struct iommu_entry *entry,
                       struct iommu_loss *loss)
{
    struct iommu_directory *directory;
    int ret = iommu_table_root(table) ? insert_more(table, entry, &directory)
                                      : insert_first(table, entry, &directory);

    if (ret)
        return ret;
    directory->loss = loss;
    directory->maps++;
    directory->bytes += entry->last - entry->first + 1;
    table_publish(table, directory);
    return 0;
}

/* ------------------------------------------------------------------ removing */

/* A part of a leaf that stays. */
struct part {
    struct iommu_leaf *leaf;
    size_t begin, end;
};

static size_t part_count(const struct part *part)
{
    return part->end - part->begin;
}

static bool part_is_whole(const struct part *part)
{
    return part_count(part) == part->leaf->count;
}

/* What stays around a removal: of the leaves at its ends, and their neighbours. */
struct remains {
    struct part parts[4];
    size_t count;
    size_t begin, end;          /* the leaves that these and what is removed lie in */
    struct iommu_leaf *kept[2]; /* of those, the ones that stay */
    size_t num_kept;
};

static void remains_add(struct remains *remains, struct iommu_leaf *leaf, size_t begin, size_t end)
{
    if (begin < end)
        remains->parts[remains->count++] = (struct part){leaf, begin, end};
}

static void remains_find(struct remains *remains, const struct iommu_place *begin,
                         const struct iommu_place *last)
{
    struct iommu_leaf **leaves = iommu_directory_leaves(begin->root);
    size_t end = last->leaf + 1;

    *remains = (struct remains){.begin = begin->leaf, .end = end};
    if (begin->leaf > 0) {
        remains->begin--;
        remains_add(remains, leaves[begin->leaf - 1], 0, leaves[begin->leaf - 1]->count);
    }
    remains_add(remains, leaves[begin->leaf], 0, begin->index);
    remains_add(remains, leaves[last->leaf], last->index + 1, leaves[last->leaf]->count);
    if (end < begin->root->count) {
        remains->end++;
        remains_add(remains, leaves[end], 0, leaves[end]->count);
    }
}

/* How many of the parts from `first` on go into one leaf. */
static size_t remains_group(const struct remains *remains, size_t first)
{
    const struct part *parts = remains->parts;
    size_t entries = part_count(&parts[first]);
    size_t i;

    for (i = first + 1; i < remains->count; i++) {
        /* Two parts of one leaf have always found room in one. */
        bool is_same_leaf = parts[i].leaf == parts[i - 1].leaf && i == first + 1;

        entries += part_count(&parts[i]);
        if (entries > IOMMU_LEAF_MERGED && !is_same_leaf)
            break;
    }
    return i - first;
}

/* Neighbours that are not touched stay as they are. */
static void remains_append(struct iommu_table *table, struct iommu_directory *directory,
                           struct remains *remains)
{
    size_t group;

    for (size_t i = 0; i < remains->count; i += group) {
        const struct part *part = &remains->parts[i];
        struct iommu_leaf *leaf;

        group = remains_group(remains, i);
        if (group == 1 && part_is_whole(part)) {
            remains->kept[remains->num_kept++] = part->leaf;
            directory_append(directory, part->leaf);
            continue;
        }
        leaf = iommu_pool_take_leaf(table);
        for (size_t k = 0; k < group; k++)
            leaf_append(leaf, part[k].leaf, part[k].begin, part[k].end);
        directory_append(directory, leaf);
    }
}

static void retire_replaced(struct iommu_table *table, const struct iommu_directory *old,
                            const struct remains *remains)
{
    for (size_t i = remains->begin; i < remains->end; i++) {
        struct iommu_leaf *leaf = iommu_directory_leaves(old)[i];
        bool is_kept = false;

        for (size_t k = 0; k < remains->num_kept; k++)
            is_kept |= remains->kept[k] == leaf;
        if (!is_kept)
            iommu_pool_retire_leaf(table, leaf);
    }
}

/* The last of a number of entries, and their bytes. */
static struct iommu_place place_last(const struct iommu_place *begin, size_t count, uint64_t *bytes)
{
    struct iommu_place place = *begin;

    *bytes = 0;
    for (;; iommu_place_next(&place)) {
        const struct iommu_entry *entry = iommu_place_entry(&place);

        *bytes += entry->last - entry->first + 1;
        if (--count == 0)
            return place;
    }
}

static void remove_all(struct iommu_table *table, const struct iommu_directory *old)
{
    table_publish(table, NULL);
    for (size_t i = 0; i < old->count; i++)
        iommu_pool_retire_leaf(table, iommu_directory_leaves(old)[i]);
}

void iommu_table_remove(struct iommu_table *table, const struct iommu_place *begin, size_t count)
{
    const struct iommu_directory *old = begin->root;
    struct iommu_directory *directory;
    struct remains remains;
    uint64_t bytes;
    struct iommu_place last;

    if (count == old->maps) {
        remove_all(table, old);
        return;
    }
    last = place_last(begin, count, &bytes);
    remains_find(&remains, begin, &last);
    iommu_pool_reserve_removal(table, old->count);
    directory = directory_begin(table, old->count, remains.begin);
    directory->maps -= count;
    directory->bytes -= bytes;
    remains_append(table, directory, &remains);
    directory_append_rest(directory, old, remains.end);
    table_publish(table, directory);
    retire_replaced(table, old, &remains);
}

void iommu_table_trim(struct iommu_table *table)
{
    if (iommu_table_root(table))
        return;
    iommu_pool_free_spare(table);
    if (iommu_readers_passed(table->readers))
        iommu_pool_free_retired(table);
}

/* ------------------------------------------------------------------ protecting */

/* How many leaves the entries lie in. */
static size_t count_leaves(const struct iommu_place *begin, size_t count)
{
    size_t end = begin->index + count;
    size_t leaf = begin->leaf;

    while (end > iommu_directory_leaves(begin->root)[leaf]->count)
        end -= iommu_directory_leaves(begin->root)[leaf++]->count;
    return leaf - begin->leaf + 1;
}

int iommu_table_protect(struct iommu_table *table, const struct iommu_place *begin, size_t count,
                        unsigned prot)
{
    const struct iommu_directory *old = begin->root;
    struct iommu_directory *directory;
    size_t leaves = count_leaves(begin, count);
    size_t index = begin->index;
    int ret = iommu_pool_reserve(table, leaves, 1, old->count);

    if (ret)
        return ret;
    directory = directory_begin(table, old->count, begin->leaf);
    for (size_t i = begin->leaf; i < begin->leaf + leaves; i++, index = 0) {
        struct iommu_leaf *from = iommu_directory_leaves(old)[i];
        struct iommu_leaf *leaf = iommu_pool_take_leaf(table);

        leaf_append(leaf, from, 0, from->count);
        for (; index < leaf->count && count > 0; index++, count--)
            leaf->entries[index].tagged =
                (leaf->entries[index].tagged & ~(uintptr_t)UMDEV_RW) | prot;
        directory_append(directory, leaf);
        iommu_pool_retire_leaf(table, from);
    }
    directory_append_rest(directory, old, begin->leaf + leaves);
    table_publish(table, directory);
    return 0;
}
