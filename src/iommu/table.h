/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mappings of an iommu, sorted by IOVA, without overlaps: what readers see never changes.
 *
 * Data model. *Entries* lie in *leaves* of up to IOMMU_LEAF_ENTRIES, in order; a *directory* has
 * the first IOVA of each leaf. The table's root is a directory, or NULL when nothing is mapped. An
 * entry has what an access needs; its mapping is touched by those who want more of it.
 *
 * A published directory and its leaves are immutable: a change copies the leaves it concerns and
 * the directory, and publishes that in one store. Readers (iommu/readers.h) load the root once and
 * see all of a change or nothing of it. Each directory has a version of its own, which no other
 * ever has. What was replaced is *retired*, and used again when its readers have passed.
 *
 * Invariants. No leaf is empty, and two neighbours have more than half a leaf's entries together:
 * a full leaf is split in halves, and a removal joins neighbours that have IOMMU_LEAF_MERGED or
 * less; so the directory is short, however a client maps and unmaps. While something is mapped, the
 * spare and the retired nodes suffice for any removal: it replaces at least as many nodes as it
 * makes, and insertion leaves enough. A removal never fails.
 *
 * Locks. Changes are made under the iommu's `changes`; there the root can be read like any pointer.
 */
#ifndef IOMMU_TABLE_H
#define IOMMU_TABLE_H

#include "iommu/mapping.h"

struct iommu_readers;

#define IOMMU_LEAF_ENTRIES 128
#define IOMMU_LEAF_MERGED  96

/* Half a cache line. */
struct iommu_entry {
    uint64_t first, last;
    uint8_t *bytes;   /* of `first`; NULL: memory without a file */
    uintptr_t tagged; /* the mapping, and the protection in the lowest bits */
};

struct iommu_leaf {
    _Alignas(64) struct iommu_leaf *next; /* among spare or retired ones */
    size_t count;
    _Alignas(64) uint64_t first[IOMMU_LEAF_ENTRIES]; /* those of the entries */
    struct iommu_entry entries[IOMMU_LEAF_ENTRIES];
};

struct iommu_directory {
    _Alignas(64) struct iommu_directory *next; /* among spare or retired ones */
    uint64_t version;
    struct iommu_loss *loss; /* that of all mappings; NULL: none has a file */
    uint32_t count, capacity;
    uint64_t maps;
    uint64_t bytes; /* of all ranges; modulo 2^64: 0 is the whole space */
    /* `capacity` first IOVAs, then as many pointers to leaves. */
    _Alignas(64) uint64_t first[];
};

struct iommu_table {
    struct iommu_directory *_Atomic root;

    /* Of the writer. */
    struct iommu_readers *readers;
    uint64_t version;
    struct iommu_leaf *spare_leaves, *retired_leaves;
    struct iommu_directory *spare_directories, *retired_directories;
    size_t num_spare_leaves, num_retired, retired_bytes;
};

static inline struct iommu_mapping *iommu_entry_mapping(const struct iommu_entry *entry)
{
    return (struct iommu_mapping *)(entry->tagged & ~(uintptr_t)UMDEV_RW);
}

static inline unsigned iommu_entry_prot(const struct iommu_entry *entry)
{
    return (unsigned)entry->tagged & UMDEV_RW;
}

static inline struct iommu_leaf **iommu_directory_leaves(const struct iommu_directory *directory)
{
    return (struct iommu_leaf **)(void *)(uintptr_t)(directory->first + directory->capacity);
}

/*
 * How many of the sorted keys are at or below `iova`. Three keys a round, which are loaded at once,
 * and no branch that could be guessed wrong. All parts are taken as long as the last, the longest.
 */
static inline size_t iommu_rank(const uint64_t *keys, size_t count, uint64_t iova)
{
    const uint64_t *base = keys;

    while (count >= 4) {
        size_t part = count / 4;
        size_t passed = (size_t)(base[part - 1] <= iova) + (base[2 * part - 1] <= iova) +
                        (base[3 * part - 1] <= iova);

        base += passed * part;
        count -= 3 * part;
    }
    for (const uint64_t *end = base + count, *key = base; key < end; key++)
        base += *key <= iova;
    return (size_t)(base - keys);
}

/* The entry over `iova`; NULL: there is none. `root` may be NULL. */
static inline const struct iommu_entry *iommu_directory_find(const struct iommu_directory *root,
                                                             uint64_t iova)
{
    const struct iommu_entry *entry;
    const struct iommu_leaf *leaf;
    size_t rank;

    if (!root)
        return NULL;
    rank = iommu_rank(root->first, root->count, iova);
    if (rank == 0)
        return NULL;
    leaf = iommu_directory_leaves(root)[rank - 1];
    entry = &leaf->entries[iommu_rank(leaf->first, leaf->count, iova) - 1];
    return iova <= entry->last ? entry : NULL;
}

/* A place among the entries of a directory; past the last one `leaf` is the number of leaves. */
struct iommu_place {
    const struct iommu_directory *root;
    size_t leaf, index;
};

/* The first entry that ends at or after `iova`. */
struct iommu_place iommu_place_at(const struct iommu_directory *root, uint64_t iova);
/* NULL: past the last one. */
static inline const struct iommu_entry *iommu_place_entry(const struct iommu_place *place)
{
    if (!place->root || place->leaf == place->root->count)
        return NULL;
    return &iommu_directory_leaves(place->root)[place->leaf]->entries[place->index];
}
static inline void iommu_place_next(struct iommu_place *place)
{
    if (++place->index == iommu_directory_leaves(place->root)[place->leaf]->count) {
        place->index = 0;
        place->leaf++;
    }
}
static inline void iommu_place_previous(struct iommu_place *place)
{
    if (place->index-- == 0) {
        place->leaf--;
        place->index = iommu_directory_leaves(place->root)[place->leaf]->count - 1;
    }
}

/* ------------------------------------------------------------------ for the writer */

void iommu_table_init(struct iommu_table *table, struct iommu_readers *readers);
/* An empty table that nobody reads. */
void iommu_table_fini(struct iommu_table *table);
/* Give back what an empty table keeps, as far as its readers have passed. */
void iommu_table_trim(struct iommu_table *table);

static inline struct iommu_directory *iommu_table_root(const struct iommu_table *table)
{
    return atomic_load_explicit(&table->root, memory_order_relaxed);
}

/* Whether any mapping overlaps `range`. */
bool iommu_table_overlaps(const struct iommu_table *table, struct range range);

/* The first entry in `range`, and how many there are. EINVAL: one is partly inside. */
int iommu_table_slice(const struct iommu_table *table, struct range range,
                      struct iommu_place *begin, size_t *count);

/* Put in an entry that overlaps none; `loss` is that of the table from now on. −ENOMEM. */
int iommu_table_insert(struct iommu_table *table, const struct iommu_entry *entry,
                       struct iommu_loss *loss);
/* Take out `count` > 0 entries that begin at a place. */
void iommu_table_remove(struct iommu_table *table, const struct iommu_place *begin, size_t count);
/* Give `count` > 0 entries another protection, all at once. −ENOMEM: none has changed. */
int iommu_table_protect(struct iommu_table *table, const struct iommu_place *begin, size_t count,
                        unsigned prot);

#endif
