/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/dirty_tree.h"

#include <stdatomic.h>
#include <stdlib.h>

#define WORD_SHIFT 6
#define WORD_PAGES (UINT64_C(1) << WORD_SHIFT)

#define LEAF_SHIFT     16 /* pages of a leaf */
#define LEAF_WORDS     (1u << (LEAF_SHIFT - WORD_SHIFT))
#define LEAF_SUMMARIES (LEAF_WORDS / 64)

#define NODE_SHIFT 9
#define NODE_SLOTS (1u << NODE_SHIFT)
#define TOP_LEVEL  3u /* of the root; the children of level 0 are leaves */

struct dirty_leaf {
    atomic_uint_least64_t summary[LEAF_SUMMARIES]; /* a bit for each word that may not be 0 */
    atomic_uint_least64_t words[LEAF_WORDS];
};

struct dirty_node {
    atomic_uint_least64_t whole[NODE_SLOTS / 64]; /* a bit for each slot with all its pages */
    _Atomic(void *) slots[NODE_SLOTS];
};

struct dirty_tree {
    atomic_size_t bytes;
    size_t max_bytes;
    struct dirty_node root;
};

/* The bits [from, to] of a word. */
static inline uint64_t bits_between(unsigned from, unsigned to)
{
    return (UINT64_MAX << from) & (UINT64_MAX >> (63 - to));
}

/* The part of [first, last] that lies in unit `index` of `size` bits, as bits of that unit. */
static inline uint64_t bits_of_unit(uint64_t index, uint64_t first, uint64_t last)
{
    unsigned from = index == first / 64 ? (unsigned)(first % 64) : 0;
    unsigned to = index == last / 64 ? (unsigned)(last % 64) : 63;

    return bits_between(from, to);
}

/* ------------------------------------------------------------------ birth and death */

struct dirty_tree *dirty_tree_new(size_t max_bytes)
{
    struct dirty_tree *tree = calloc(1, sizeof(*tree));

    if (!tree)
        return NULL;
    tree->max_bytes = max_bytes;
    tree->bytes = sizeof(*tree);
    return tree;
}

static void node_free_children(struct dirty_node *node, unsigned level)
{
    for (unsigned i = 0; i < NODE_SLOTS; i++) {
        void *child = atomic_load_explicit(&node->slots[i], memory_order_relaxed);

        if (child && level > 0)
            node_free_children(child, level - 1);
        free(child);
    }
}

void dirty_tree_free(struct dirty_tree *tree)
{
    if (!tree)
        return;
    node_free_children(&tree->root, TOP_LEVEL);
    free(tree);
}

size_t dirty_tree_bytes(const struct dirty_tree *tree)
{
    return atomic_load_explicit(&tree->bytes, memory_order_relaxed);
}

static inline void *node_child(struct dirty_node *node, unsigned slot)
{
    return atomic_load_explicit(&node->slots[slot], memory_order_acquire);
}

/* A slot's child, made if need be. NULL: no memory, or the limit. */
static void *node_make_child(struct dirty_tree *tree, struct dirty_node *node, unsigned level,
                             unsigned slot)
{
    size_t size = level > 0 ? sizeof(struct dirty_node) : sizeof(struct dirty_leaf);
    void *child = node_child(node, slot), *made = NULL;

    if (child)
        return child;
    if (atomic_fetch_add_explicit(&tree->bytes, size, memory_order_relaxed) + size <=
        tree->max_bytes)
        made = calloc(1, size);
    if (made && atomic_compare_exchange_strong(&node->slots[slot], &child, made))
        return made;
    atomic_fetch_sub_explicit(&tree->bytes, size, memory_order_relaxed);
    free(made);
    /* Another thread's, or none. */
    return child;
}

/* ------------------------------------------------------------------ putting in */

static inline void leaf_mark(struct dirty_leaf *leaf, uint64_t first, uint64_t last)
{
    uint64_t word = first / 64, last_word = last / 64;

    while (word <= last_word) {
        uint64_t group = word / 64, changed = 0;

        for (; word <= last_word && word / 64 == group; word++) {
            atomic_fetch_or(&leaf->words[word], bits_of_unit(word, first, last));
            changed |= UINT64_C(1) << word % 64;
        }
        if ((atomic_load(&leaf->summary[group]) & changed) != changed)
            atomic_fetch_or(&leaf->summary[group], changed);
    }
}

static inline bool slot_is_whole(const struct dirty_node *node, unsigned slot)
{
    return atomic_load_explicit(&node->whole[slot / 64], memory_order_relaxed) >> slot % 64 & 1;
}

/*
 * True if the slot had all its pages already. It must be said again, not only looked at: what was
 * written to the pages has to come before the bit, for the one who takes it out.
 */
static bool slot_set_whole(struct dirty_node *node, unsigned slot)
{
    uint64_t bit = UINT64_C(1) << slot % 64;

    return atomic_fetch_or(&node->whole[slot / 64], bit) & bit;
}

static void slot_clear_whole(struct dirty_node *node, unsigned slot)
{
    atomic_fetch_and(&node->whole[slot / 64], ~(UINT64_C(1) << slot % 64));
}

/* The slots of a node that a range of its pages touches, and what of each. */
struct slot_range {
    unsigned slot, last_slot;
    uint64_t first, last, mask;
    unsigned shift;
};

static struct slot_range slots_of(unsigned level, uint64_t first, uint64_t last)
{
    unsigned shift = LEAF_SHIFT + NODE_SHIFT * level;

    return (struct slot_range){
        .slot = first >> shift & (NODE_SLOTS - 1),
        .last_slot = last >> shift & (NODE_SLOTS - 1),
        .first = first,
        .last = last,
        .mask = (UINT64_C(1) << shift) - 1,
        .shift = shift,
    };
}

/* What of the present slot is meant, in the pages of its child; true: all of it. */
static bool slot_part(const struct slot_range *range, struct range *part)
{
    part->first = range->slot == (range->first >> range->shift & (NODE_SLOTS - 1))
                      ? range->first & range->mask
                      : 0;
    part->last = range->slot == range->last_slot ? range->last & range->mask : range->mask;
    return part->first == 0 && part->last == range->mask;
}

static void node_mark(struct dirty_tree *tree, struct dirty_node *node, unsigned level,
                      uint64_t first, uint64_t last)
{
    struct slot_range at = slots_of(level, first, last);

    for (; at.slot <= at.last_slot; at.slot++) {
        struct range part;
        bool all = slot_part(&at, &part);
        void *child;

        if ((all || slot_is_whole(node, at.slot)) && (slot_set_whole(node, at.slot) || all))
            continue;
        child = node_make_child(tree, node, level, at.slot);
        if (!child)
            slot_set_whole(node, at.slot);
        else if (level > 0)
            node_mark(tree, child, level - 1, part.first, part.last);
        else
            leaf_mark(child, part.first, part.last);
    }
}

/* The leaf of a page; NULL: there is none yet. */
static inline struct dirty_leaf *tree_find_leaf(struct dirty_tree *tree, uint64_t page)
{
    void *child = &tree->root;

    for (unsigned level = TOP_LEVEL + 1; child && level-- > 0;)
        child = node_child(child, page >> (LEAF_SHIFT + NODE_SHIFT * level) & (NODE_SLOTS - 1));
    return child;
}

void dirty_tree_mark(struct dirty_tree *tree, struct range pages)
{
    uint64_t mask = (UINT64_C(1) << LEAF_SHIFT) - 1;
    bool all = (pages.first & mask) == 0 && (pages.last & mask) == mask;
    struct dirty_leaf *leaf = NULL;

    if (pages.first >> LEAF_SHIFT == pages.last >> LEAF_SHIFT && !all)
        leaf = tree_find_leaf(tree, pages.first);
    if (leaf)
        leaf_mark(leaf, pages.first & mask, pages.last & mask);
    else
        node_mark(tree, &tree->root, TOP_LEVEL, pages.first, pages.last);
}

/* ------------------------------------------------------------------ taking out */

/* Bits of the 64 pages from `page` on. Those of pages before the first are not set. */
static void bits_put_word(const struct dirty_bits *bits, uint64_t page, uint64_t word)
{
    uint64_t at, spill;

    if (page < bits->first) {
        word >>= bits->first - page;
        page = bits->first;
    }
    if (bits->shift == 0) {
        at = page - bits->first;
        bits->words[at / 64] |= word << at % 64;
        spill = at % 64 ? word >> (64 - at % 64) : 0;
        if (spill)
            bits->words[at / 64 + 1] |= spill;
        return;
    }
    while (word) {
        uint64_t past, next;

        at = (page + (unsigned)__builtin_ctzll(word) - bits->first) >> bits->shift;
        bits->words[at / 64] |= UINT64_C(1) << at % 64;
        /* On to the first page of the next bit, as far as it is in this word. */
        past = at + 1;
        next = bits->first + (past << bits->shift) - page;
        word = next < 64 ? word & UINT64_MAX << next : 0;
    }
}

static void bits_put_range(const struct dirty_bits *bits, uint64_t first, uint64_t last)
{
    uint64_t from = (first - bits->first) >> bits->shift;
    uint64_t to = (last - bits->first) >> bits->shift;

    for (uint64_t word = from / 64; word <= to / 64; word++)
        bits->words[word] |= bits_of_unit(word, from, to);
}

/* The words of one summary: `wanted` are those in question. `base` is the leaf's first page. */
static void leaf_take_group(struct dirty_leaf *leaf, uint64_t base, uint64_t group, uint64_t wanted,
                            struct range part, const struct dirty_bits *bits)
{
    uint64_t changed = atomic_load_explicit(&leaf->summary[group], memory_order_relaxed) & wanted;

    if (!changed)
        return;
    atomic_fetch_and(&leaf->summary[group], ~changed);
    for (; changed; changed &= changed - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(changed);
        uint64_t word = group * 64 + bit;
        uint64_t mask = bits_of_unit(word, part.first, part.last);
        uint64_t old = mask == UINT64_MAX ? atomic_exchange(&leaf->words[word], 0)
                                          : atomic_fetch_and(&leaf->words[word], ~mask);

        if (old & ~mask)
            atomic_fetch_or(&leaf->summary[group], UINT64_C(1) << bit);
        if (old & mask)
            bits_put_word(bits, base + word * WORD_PAGES, old & mask);
    }
}

static void leaf_take(struct dirty_leaf *leaf, uint64_t base, struct range part,
                      const struct dirty_bits *bits)
{
    uint64_t first = part.first / 64, last = part.last / 64;

    for (uint64_t group = first / 64; group <= last / 64; group++)
        leaf_take_group(leaf, base, group, bits_of_unit(group, first, last), part, bits);
}

/* All pages of a child. */
static void child_fill(void *child, unsigned level)
{
    struct dirty_node *node = child;

    if (level == 0) {
        leaf_mark(child, 0, (UINT64_C(1) << LEAF_SHIFT) - 1);
        return;
    }
    for (unsigned i = 0; i < NODE_SLOTS / 64; i++)
        atomic_store(&node->whole[i], UINT64_MAX);
}

/*
 * A slot of which all pages are in: with all of them taken out it is no longer so. For a part the
 * child gets them all first; where there can be no child they stay in, and will be found again.
 */
static void slot_take_whole(struct dirty_tree *tree, struct dirty_node *node, unsigned level,
                            const struct slot_range *at, bool all, struct range pages,
                            const struct dirty_bits *bits)
{
    void *child = all ? NULL : node_make_child(tree, node, level, at->slot);

    if (all || child)
        slot_clear_whole(node, at->slot);
    if (child)
        child_fill(child, level);
    else
        bits_put_range(bits, pages.first, pages.last);
}

/* `base` is the node's first page; first and last count from the whole tree's. */
static void node_take(struct dirty_tree *tree, struct dirty_node *node, unsigned level,
                      uint64_t base, struct range range, const struct dirty_bits *bits)
{
    struct slot_range at = slots_of(level, range.first, range.last);

    for (; at.slot <= at.last_slot; at.slot++) {
        uint64_t child_base = base + ((uint64_t)at.slot << at.shift);
        struct range part;
        bool all = slot_part(&at, &part);
        void *child;

        if (slot_is_whole(node, at.slot))
            slot_take_whole(tree, node, level, &at, all,
                            (struct range){child_base + part.first, child_base + part.last}, bits);
        child = node_child(node, at.slot);
        if (child && level > 0)
            node_take(tree, child, level - 1, child_base, part, bits);
        else if (child)
            leaf_take(child, child_base, part, bits);
    }
}

void dirty_tree_take(struct dirty_tree *tree, struct range pages, const struct dirty_bits *bits)
{
    node_take(tree, &tree->root, TOP_LEVEL, 0, pages, bits);
}
