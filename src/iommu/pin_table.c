/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/pin_table.h"

#include "base/range.h"
#include "iommu/pin_leaf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * A word of the tree is 0, a leaf or a node, which has its lowest bit set. Level 0 is that of
 * blocks: their words are leaves of any kind. At level 1 a word is a few leaf or a node, above it a
 * node.
 */
#define NODE_BITS  7
#define NODE_WORDS (1u << NODE_BITS)
#define MAX_LEVEL  7

struct pin_node {
    uint32_t used; /* words that are not 0 */
    uint32_t pins; /* of a node at level 1: in all its leaves */
    uintptr_t words[];
};

struct pin_table {
    uintptr_t root;
    uint64_t npages, pinned;
    size_t bytes;
    uint8_t level; /* of the root */
    bool with_bus;
};

/* Where a word is, and the word of the node that it is in (NULL: the root). */
struct place {
    uintptr_t *word, *parent;
    unsigned level;
};

static unsigned level_bits(unsigned level)
{
    return PIN_BLOCK_BITS + NODE_BITS * level;
}

/* The index of a page in its leaf. */
static size_t level_index(unsigned level, uint64_t page)
{
    return page & ((UINT64_C(1) << level_bits(level)) - 1);
}

static bool is_node(uintptr_t word)
{
    return word & 1;
}

static struct pin_node *word_node(uintptr_t word)
{
    return (struct pin_node *)(word - 1);
}

static struct pin_leaf *word_leaf(uintptr_t word)
{
    return (struct pin_leaf *)word;
}

/* The word of a node at `level` that leads to the page. */
static uintptr_t *node_word(uintptr_t node, unsigned level, uint64_t page)
{
    return &word_node(node)->words[(page >> level_bits(level - 1)) & (NODE_WORDS - 1)];
}

static struct place place_root(const struct pin_table *table)
{
    return (struct place){(uintptr_t *)&table->root, NULL, table->level};
}

/* The place in the node at this one that leads to the page. */
static struct place place_below(const struct place *place, uint64_t page)
{
    return (struct place){node_word(*place->word, place->level, page), place->word,
                          place->level - 1};
}

static struct place table_find(const struct pin_table *table, uint64_t page)
{
    struct place place = place_root(table);

    while (is_node(*place.word))
        place = place_below(&place, page);
    return place;
}

/* How many of `count` pages from `page` are in its leaf. */
static size_t place_pages(const struct place *place, uint64_t page, size_t count)
{
    uint64_t left = (UINT64_C(1) << level_bits(place->level)) - level_index(place->level, page);

    return count < left ? count : (size_t)left;
}

/* The pages of a call that are in one leaf. A call has two such parts at most. */
struct part {
    struct place place;
    size_t at, n; /* in the leaf */
};

static struct part part_find(const struct pin_table *table, uint64_t page, size_t count)
{
    struct place place = table_find(table, page);

    return (struct part){place, level_index(place.level, page), place_pages(&place, page, count)};
}

static void place_set(const struct place *place, uintptr_t word)
{
    if (place->parent) {
        struct pin_node *node = word_node(*place->parent);

        node->used += (word != 0);
        node->used -= (*place->word != 0);
    }
    *place->word = word;
}

/* A change of the number of pins in the leaf. */
static void place_account(struct pin_table *table, const struct place *place, size_t more,
                          size_t fewer)
{
    table->pinned += more;
    table->pinned -= fewer;
    if (place->parent && place->level == 0) {
        struct pin_node *node = word_node(*place->parent);

        node->pins += (uint32_t)more;
        node->pins -= (uint32_t)fewer;
    }
}

/* ------------------------------------------------------------------ memory */

static size_t node_size(const struct pin_table *table, unsigned level)
{
    size_t words = NODE_WORDS;

    if (level == table->level)
        words = (size_t)((table->npages - 1) >> level_bits(level - 1)) + 1;
    return sizeof(struct pin_node) + words * sizeof(uintptr_t);
}

/* 0: no memory. */
static uintptr_t node_new(struct pin_table *table, unsigned level)
{
    size_t size = node_size(table, level);
    struct pin_node *node = calloc(1, size);

    if (!node)
        return 0;
    table->bytes += pin_chunk(size);
    return (uintptr_t)node + 1;
}

static void node_free(struct pin_table *table, uintptr_t node, unsigned level)
{
    table->bytes -= pin_chunk(node_size(table, level));
    free(word_node(node));
}

static struct pin_leaf *leaf_new(struct pin_table *table, enum pin_leaf_kind kind, size_t pins)
{
    struct pin_leaf *leaf = pin_leaf_new(kind, pins, table->with_bus);

    if (leaf)
        table->bytes += pin_leaf_bytes(leaf);
    return leaf;
}

static void leaf_free(struct pin_table *table, struct pin_leaf *leaf)
{
    if (leaf)
        table->bytes -= pin_leaf_bytes(leaf);
    free(leaf);
}

/* A word and all below it. */
static void word_free(struct pin_table *table, uintptr_t word, unsigned level)
{
    if (!is_node(word)) {
        leaf_free(table, word_leaf(word));
        return;
    }
    for (size_t i = 0; word_node(word)->used > 0; i++) {
        if (word_node(word)->words[i] == 0)
            continue;
        word_free(table, word_node(word)->words[i], level - 1);
        word_node(word)->used--;
    }
    node_free(table, word, level);
}

int pin_table_new(uint64_t npages, bool with_bus, struct pin_table **table)
{
    unsigned level = 0;

    if (npages == 0 || npages > PIN_TABLE_MAX)
        return -EINVAL;
    *table = calloc(1, sizeof(**table));
    if (!*table)
        return -ENOMEM;
    while (level_bits(level) < 64 && (npages - 1) >> level_bits(level))
        level++;
    **table = (struct pin_table){
        .npages = npages,
        .bytes = pin_chunk(sizeof(**table)),
        .level = (uint8_t)level,
        .with_bus = with_bus,
    };
    return 0;
}

void pin_table_free(struct pin_table *table)
{
    if (table)
        word_free(table, table->root, table->level);
    free(table);
}

/* ------------------------------------------------------------------ conversion */

/* Put the pins of the leaf at `place`, perhaps none, into one of another kind or size. */
static int leaf_convert(struct pin_table *table, const struct place *place, enum pin_leaf_kind kind,
                        size_t pins)
{
    struct pin_leaf *from = word_leaf(*place->word), *to = leaf_new(table, kind, pins);

    if (!to)
        return -ENOMEM;
    if (from)
        pin_leaf_copy(to, from, 0, (size_t)1 << level_bits(place->level), 0);
    leaf_free(table, from);
    place_set(place, (uintptr_t)to);
    return 0;
}

/* Make the few leaf at level 1, perhaps none, a node with a leaf for each block. */
static int leaf_burst(struct pin_table *table, const struct place *place)
{
    struct pin_leaf *from = word_leaf(*place->word);
    size_t end = (size_t)1 << level_bits(1);
    uintptr_t word = node_new(table, 1);

    if (!word)
        return -ENOMEM;
    for (size_t at = from ? pin_leaf_next(from, 0, end) : end; at < end;
         at = pin_leaf_next(from, at, end)) {
        size_t block = at & ~(size_t)(PIN_BLOCK - 1);
        size_t pins = pin_leaf_count(from, block, PIN_BLOCK, NULL);
        struct pin_leaf *to = leaf_new(table, PIN_FEW, pins);

        if (!to) {
            word_free(table, word, 1);
            return -ENOMEM;
        }
        at = block + PIN_BLOCK;
        pin_leaf_copy(to, from, block, at, (ptrdiff_t)block);
        *node_word(word, 1, block) = (uintptr_t)to;
        word_node(word)->used++;
        word_node(word)->pins += (uint32_t)pins;
    }
    leaf_free(table, from);
    place_set(place, word);
    return 0;
}

/* Make the node at level 1 above the page, which has few pins, a few leaf again, if that can be. */
static void node_collapse(struct pin_table *table, uint64_t page, const uintptr_t *word)
{
    const struct pin_node *node = word_node(*word);
    struct place place = place_root(table);
    size_t words = (node_size(table, 1) - sizeof(*node)) / sizeof(uintptr_t);
    struct pin_leaf *to;

    for (size_t i = 0; i < words; i++)
        if (node->words[i] && pin_leaf_exceeds(word_leaf(node->words[i]), PIN_BYTE_MAX / 2))
            return;
    to = leaf_new(table, PIN_FEW, node->pins);
    if (!to)
        return;
    while (place.word != word)
        place = place_below(&place, page);
    for (size_t i = 0; i < words; i++)
        if (node->words[i])
            pin_leaf_copy(to, word_leaf(node->words[i]), 0, PIN_BLOCK,
                          -(ptrdiff_t)(i << PIN_BLOCK_BITS));
    word_free(table, *word, 1);
    place_set(&place, (uintptr_t)to);
}

/* Free the leaf that has the page if it has no pins, and the nodes above that have no other. */
static void table_prune(struct pin_table *table, uint64_t page)
{
    struct place places[MAX_LEVEL + 1];
    size_t n = 0;

    places[0] = place_root(table);
    for (; is_node(*places[n].word); n++)
        places[n + 1] = place_below(&places[n], page);
    leaf_free(table, word_leaf(*places[n].word));
    place_set(&places[n], 0);
    while (n-- > 0 && word_node(*places[n].word)->used == 0) {
        node_free(table, *places[n].word, places[n].level);
        place_set(&places[n], 0);
    }
}

/* After pins at `place` have gone: the smallest leaf there that leaves room for some to come. */
static void leaf_shrink(struct pin_table *table, const struct place *place)
{
    const struct pin_leaf *leaf = word_leaf(*place->word);
    size_t few_max = pin_few_max(table->with_bus), pins = leaf->used;

    if (leaf->kind == PIN_FEW) {
        size_t wanted = pins + pins / 2 + 2;

        if (wanted < few_max && pin_few_capacity(wanted, table->with_bus) < leaf->capacity)
            (void)leaf_convert(table, place, PIN_FEW, wanted);
    } else if (pins <= few_max / 4 * 3 && !pin_leaf_exceeds(leaf, PIN_BYTE_MAX / 2)) {
        (void)leaf_convert(table, place, PIN_FEW, pins);
    }
}

/*
 * After pins of the leaf that has the page have gone, or came to nothing: `place` is where it is.
 * Takes memory only to give more back, and does without where there is none.
 */
static void table_settle(struct pin_table *table, uint64_t page, struct place place)
{
    const struct pin_leaf *leaf = word_leaf(*place.word);

    if (!leaf || leaf->used == 0) {
        table_prune(table, page);
        place = table_find(table, page);
        leaf = word_leaf(*place.word);
    }
    if (place.level == 0 && place.parent &&
        word_node(*place.parent)->pins <= pin_few_max(table->with_bus) / 2)
        node_collapse(table, page, place.parent);
    else if (leaf)
        leaf_shrink(table, &place);
}

/* ------------------------------------------------------------------ pin */

/* Make the nodes above level 1 that lead to the page. What is made before a failure stays. */
static int table_grow(struct pin_table *table, uint64_t page, struct place *place)
{
    for (*place = table_find(table, page); place->level > 1; *place = table_find(table, page)) {
        uintptr_t node = node_new(table, place->level);

        if (!node)
            return -ENOMEM;
        place_set(place, node);
    }
    return 0;
}

/*
 * Make room for pins of up to `count` pages from `page`, those that are in one leaf. What is made
 * before a failure stays, for table_settle().
 */
static int part_prepare(struct pin_table *table, uint64_t page, size_t count, struct part *part)
{
    size_t few_max = pin_few_max(table->with_bus);

    if (table_grow(table, page, &part->place))
        return -ENOMEM;
    for (;;) {
        const struct pin_leaf *leaf;
        size_t pins;
        bool full = false;

        *part = part_find(table, page, count);
        leaf = word_leaf(*part->place.word);
        pins = part->n;
        if (leaf)
            pins += leaf->used - pin_leaf_count(leaf, part->at, part->n, &full);
        if (leaf && leaf->kind == PIN_WIDE)
            return full ? -EOVERFLOW : 0;
        if (leaf && leaf->kind == PIN_DENSE)
            return full ? leaf_convert(table, &part->place, PIN_WIDE, 0) : 0;
        if (!full && pins <= few_max)
            return leaf && pins <= leaf->capacity
                       ? 0
                       : leaf_convert(table, &part->place, PIN_FEW, pins);
        if (part->place.level == 0)
            return leaf_convert(table, &part->place, full ? PIN_WIDE : PIN_DENSE, 0);
        if (leaf_burst(table, &part->place))
            return -ENOMEM;
    }
}

int pin_table_pin(struct pin_table *table, uint64_t first, size_t count, bool write,
                  const uint32_t *bus, uint64_t fresh[PIN_WORDS])
{
    struct pin_change change = {.write = write, .bus = bus, .changed = fresh};
    struct part parts[2] = {0};
    int ret = part_prepare(table, first, count, &parts[0]);

    memset(fresh, 0, PIN_WORDS * sizeof(*fresh));
    if (!ret && parts[0].n < count) {
        uint64_t second = first + parts[0].n;

        ret = part_prepare(table, second, count - parts[0].n, &parts[1]);
        if (ret)
            table_settle(table, second, table_find(table, second));
    }
    if (ret) {
        table_settle(table, first, table_find(table, first));
        return ret;
    }
    for (struct part *part = parts; change.offset < count; change.offset += part++->n) {
        struct pin_leaf *leaf = word_leaf(*part->place.word);
        size_t more = pin_leaf_pin(leaf, part->at, part->n, &change);

        place_account(table, &part->place, more, 0);
    }
    return 0;
}

size_t pin_table_unpin(struct pin_table *table, uint64_t first, size_t count,
                       uint64_t freed[PIN_WORDS], uint32_t *freed_bus, uint64_t written[PIN_WORDS])
{
    struct pin_change change = {
        .freed_bus = table->with_bus ? freed_bus : NULL, .changed = freed, .written = written};
    size_t missing = count;

    memset(freed, 0, PIN_WORDS * sizeof(*freed));
    memset(written, 0, PIN_WORDS * sizeof(*written));
    for (struct part part; change.offset < count; change.offset += part.n) {
        uint64_t page = first + change.offset;
        struct pin_leaf *leaf;
        size_t before;

        part = part_find(table, page, count - change.offset);
        leaf = word_leaf(*part.place.word);
        if (!leaf)
            continue;
        before = leaf->used;
        missing -= pin_leaf_unpin(leaf, part.at, part.n, &change);
        if (leaf->used == before)
            continue;
        place_account(table, &part.place, 0, before - leaf->used);
        table_settle(table, page, part.place);
    }
    return missing;
}

void pin_table_narrow(struct pin_table *table, uint64_t page)
{
    struct part part = part_find(table, page, 1);

    pin_leaf_narrow(word_leaf(*part.place.word), part.at);
}

/* ------------------------------------------------------------------ reading */

size_t pin_table_count_new(const struct pin_table *table, uint64_t first, size_t count)
{
    size_t fresh = count, i = 0;

    for (struct part part; i < count; i += part.n) {
        part = part_find(table, first + i, count - i);
        if (*part.place.word)
            fresh -= pin_leaf_count(word_leaf(*part.place.word), part.at, part.n, NULL);
    }
    return fresh;
}

bool pin_table_get(const struct pin_table *table, uint64_t page, struct pin_page *out)
{
    struct part part = part_find(table, page, 1);

    return *part.place.word && pin_leaf_get(word_leaf(*part.place.word), part.at, out);
}

size_t pin_table_get_bus(const struct pin_table *table, uint64_t first, size_t count, uint32_t *bus)
{
    size_t found = 0, i = 0;

    for (struct part part; i < count; i += part.n) {
        part = part_find(table, first + i, count - i);
        if (*part.place.word)
            found += pin_leaf_get_bus(word_leaf(*part.place.word), part.at, part.n, bus + found);
    }
    return found;
}

/* The run that begins with the pinned page `at` of a leaf. */
static void leaf_run(const struct pin_leaf *leaf, size_t at, size_t end, struct pin_run *run)
{
    struct pin_page page;

    run->count = 0;
    for (; at < end && run->count < PIN_MAX_PAGES && pin_leaf_get(leaf, at, &page); at++) {
        if (run->count == 0)
            run->write = page.write;
        else if (run->write != page.write)
            break;
        run->count++;
    }
}

bool pin_table_next(const struct pin_table *table, uint64_t from, struct pin_run *run)
{
    while (from < table->npages) {
        struct place place = table_find(table, from);
        size_t at = level_index(place.level, from);
        uint64_t span = UINT64_C(1) << level_bits(place.level);

        if (*place.word) {
            size_t found = pin_leaf_next(word_leaf(*place.word), at, (size_t)span);

            if (found < span) {
                run->first = from + (found - at);
                leaf_run(word_leaf(*place.word), found, (size_t)span, run);
                return true;
            }
        }
        from += span - at;
    }
    return false;
}

uint64_t pin_table_pinned(const struct pin_table *table)
{
    return table->pinned;
}

size_t pin_table_bytes(const struct pin_table *table)
{
    return table->bytes;
}
