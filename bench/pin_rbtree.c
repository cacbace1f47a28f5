/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinned pages in a red-black tree, one node each.
 *
 * As small as it can be made: nodes are in a pool and linked by index, colour, state and page share
 * a word. Index 0 is the leaf that all links end in, black. Free nodes are a list through `left`;
 * the pool is given back when no page is pinned.
 */
#include "pin_tracker.h"

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NIL 0

struct node {
    uint64_t page : 52;
    uint64_t red : 1;
    uint64_t state : 8;
    uint32_t link[2], parent; /* left, right */
    uint32_t bus;
};

struct rbtree {
    struct node *nodes;
    uint32_t root, unused, size, capacity; /* size: nodes that were ever taken */
    uint64_t pinned;
    bool with_bus;
};

/* ------------------------------------------------------------------ the tree */

static void rotate(struct rbtree *tree, uint32_t x, int side)
{
    struct node *n = tree->nodes;
    uint32_t y = n[x].link[!side], parent = n[x].parent;

    n[x].link[!side] = n[y].link[side];
    if (n[y].link[side] != NIL)
        n[n[y].link[side]].parent = x;
    n[y].parent = parent;
    if (parent == NIL)
        tree->root = y;
    else
        n[parent].link[n[parent].link[1] == x] = y;
    n[y].link[side] = x;
    n[x].parent = y;
}

static void insert_fix(struct rbtree *tree, uint32_t z)
{
    struct node *n = tree->nodes;

    while (n[n[z].parent].red) {
        uint32_t parent = n[z].parent, above = n[parent].parent;
        int side = n[above].link[1] == parent;
        uint32_t uncle = n[above].link[!side];

        if (n[uncle].red) {
            n[parent].red = n[uncle].red = 0;
            n[above].red = 1;
            z = above;
            continue;
        }
        if (z == n[parent].link[!side]) {
            z = parent;
            rotate(tree, z, side);
            parent = n[z].parent;
        }
        n[parent].red = 0;
        n[above].red = 1;
        rotate(tree, above, !side);
    }
    n[tree->root].red = 0;
}

static void transplant(struct rbtree *tree, uint32_t from, uint32_t to)
{
    struct node *n = tree->nodes;
    uint32_t parent = n[from].parent;

    if (parent == NIL)
        tree->root = to;
    else
        n[parent].link[n[parent].link[1] == from] = to;
    n[to].parent = parent; /* NIL's, too: the fix begins there */
}

static void remove_fix(struct rbtree *tree, uint32_t x)
{
    struct node *n = tree->nodes;

    while (x != tree->root && !n[x].red) {
        uint32_t parent = n[x].parent;
        int side = n[parent].link[1] == x;
        uint32_t w = n[parent].link[!side];

        if (n[w].red) {
            n[w].red = 0;
            n[parent].red = 1;
            rotate(tree, parent, side);
            w = n[parent].link[!side];
        }
        if (!n[n[w].link[0]].red && !n[n[w].link[1]].red) {
            n[w].red = 1;
            x = parent;
            continue;
        }
        if (!n[n[w].link[!side]].red) {
            n[n[w].link[side]].red = 0;
            n[w].red = 1;
            rotate(tree, w, !side);
            w = n[parent].link[!side];
        }
        n[w].red = n[parent].red;
        n[parent].red = 0;
        n[n[w].link[!side]].red = 0;
        rotate(tree, parent, side);
        x = tree->root;
    }
    n[x].red = 0;
}

static void tree_remove(struct rbtree *tree, uint32_t z)
{
    struct node *n = tree->nodes;
    bool was_red = n[z].red;
    uint32_t x;

    if (n[z].link[0] == NIL || n[z].link[1] == NIL) {
        x = n[z].link[n[z].link[0] == NIL];
        transplant(tree, z, x);
    } else {
        uint32_t y = n[z].link[1];

        while (n[y].link[0] != NIL)
            y = n[y].link[0];
        was_red = n[y].red;
        x = n[y].link[1];
        if (n[y].parent == z) {
            n[x].parent = y;
        } else {
            transplant(tree, y, x);
            n[y].link[1] = n[z].link[1];
            n[n[y].link[1]].parent = y;
        }
        transplant(tree, z, y);
        n[y].link[0] = n[z].link[0];
        n[n[y].link[0]].parent = y;
        n[y].red = n[z].red;
    }
    if (!was_red)
        remove_fix(tree, x);
}

/* The first node at or after the page; NIL: there is none. */
static uint32_t tree_find(const struct rbtree *tree, uint64_t page)
{
    const struct node *n = tree->nodes;
    uint32_t at = tree->root, found = NIL;

    while (at != NIL) {
        if (n[at].page == page)
            return at;
        if (n[at].page > page)
            found = at;
        at = n[at].link[n[at].page < page];
    }
    return found;
}

static uint32_t tree_next(const struct rbtree *tree, uint32_t at)
{
    const struct node *n = tree->nodes;

    if (n[at].link[1] != NIL) {
        for (at = n[at].link[1]; n[at].link[0] != NIL;)
            at = n[at].link[0];
        return at;
    }
    while (n[at].parent != NIL && n[n[at].parent].link[1] == at)
        at = n[at].parent;
    return n[at].parent;
}

/* Put in a node before `next`, the one that follows it. */
static uint32_t tree_insert(struct rbtree *tree, uint64_t page, uint32_t next)
{
    struct node *n = tree->nodes;
    uint32_t new = tree->unused, parent = next;
    int side = 0;

    if (new != NIL)
        tree->unused = n[new].link[0];
    else
        new = tree->size++;
    if (next == NIL || n[next].link[0] != NIL) {
        side = 1;
        parent = next == NIL ? tree->root : n[next].link[0];
        while (n[parent].link[1] != NIL)
            parent = n[parent].link[1];
    }
    n[new] = (struct node){.page = page, .red = 1, .parent = parent};
    if (parent == NIL)
        tree->root = new;
    else
        n[parent].link[side] = new;
    insert_fix(tree, new);
    return new;
}

/* ------------------------------------------------------------------ the tracker */

static int rbtree_create(uint64_t npages, bool with_bus, void **table)
{
    struct rbtree *tree = calloc(1, sizeof(*tree));

    (void)npages;
    if (!tree)
        return -ENOMEM;
    tree->with_bus = with_bus;
    *table = tree;
    return 0;
}

static void rbtree_destroy(void *table)
{
    struct rbtree *tree = table;

    if (tree)
        free(tree->nodes);
    free(tree);
}

/* Make room for so many nodes more. */
static int rbtree_reserve(struct rbtree *tree, uint64_t more)
{
    uint64_t wanted = tree->pinned + more + 1, capacity = tree->capacity ? tree->capacity : 8;
    struct node *nodes;

    if (wanted <= tree->capacity)
        return 0;
    while (capacity < wanted)
        capacity *= 2;
    if (capacity > UINT32_MAX)
        return -ENOMEM;
    nodes = reallocarray(tree->nodes, capacity, sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    if (tree->capacity == 0) {
        nodes[NIL] = (struct node){0};
        tree->size = 1;
    }
    tree->nodes = nodes;
    tree->capacity = (uint32_t)capacity;
    return 0;
}

static size_t rbtree_count_new(const void *table, uint64_t first, size_t count)
{
    const struct rbtree *tree = table;
    size_t fresh = count;

    for (uint32_t at = tree_find(tree, first); at != NIL && tree->nodes[at].page - first < count;
         at = tree_next(tree, at))
        fresh--;
    return fresh;
}

static bool rbtree_full(const struct rbtree *tree, uint64_t first, size_t count)
{
    for (uint32_t at = tree_find(tree, first); at != NIL && tree->nodes[at].page - first < count;
         at = tree_next(tree, at))
        if ((tree->nodes[at].state & PIN_BYTE_MAX) == PIN_BYTE_MAX)
            return true;
    return false;
}

static int rbtree_pin(void *table, uint64_t first, size_t count, bool write, const uint32_t *bus,
                      uint64_t fresh[PIN_WORDS])
{
    struct rbtree *tree = table;
    uint32_t next;

    memset(fresh, 0, PIN_WORDS * sizeof(*fresh));
    if (rbtree_full(tree, first, count))
        return -EOVERFLOW;
    if (rbtree_reserve(tree, rbtree_count_new(tree, first, count)))
        return -ENOMEM;
    next = tree_find(tree, first);
    for (size_t i = 0; i < count; i++) {
        uint32_t at = next;

        if (at == NIL || tree->nodes[at].page != first + i) {
            at = tree_insert(tree, first + i, next);
            tree->pinned++;
            pin_bitmap_set(fresh, i, 1);
            if (tree->with_bus)
                tree->nodes[at].bus = *bus++;
        } else {
            next = tree_next(tree, at);
        }
        tree->nodes[at].state = (tree->nodes[at].state + 1) | (write ? PIN_BYTE_WRITE : 0);
    }
    return 0;
}

static void rbtree_remove(struct rbtree *tree, uint32_t at)
{
    tree_remove(tree, at);
    tree->nodes[at].link[0] = tree->unused;
    tree->unused = at;
    tree->pinned--;
    if (tree->pinned > 0)
        return;
    tree->unused = NIL;
    tree->size = 1;
    if (tree->capacity > 2 * PIN_MAX_PAGES) {
        free(tree->nodes);
        *tree = (struct rbtree){.with_bus = tree->with_bus};
    }
}

static size_t rbtree_unpin(void *table, uint64_t first, size_t count, uint64_t freed[PIN_WORDS],
                           uint32_t *freed_bus, uint64_t written[PIN_WORDS])
{
    struct rbtree *tree = table;
    size_t missing = count;

    memset(freed, 0, PIN_WORDS * sizeof(*freed));
    memset(written, 0, PIN_WORDS * sizeof(*written));
    for (uint32_t at = tree_find(tree, first), next;
         at != NIL && tree->nodes[at].page - first < count; at = next) {
        struct node *node = &tree->nodes[at];

        next = tree_next(tree, at);
        missing--;
        if ((node->state & PIN_BYTE_MAX) > 1) {
            node->state--;
            continue;
        }
        pin_bitmap_set(freed, node->page - first, 1);
        pin_bitmap_set(written, node->page - first, node->state >> 7);
        if (freed_bus)
            *freed_bus++ = node->bus;
        rbtree_remove(tree, at);
        if (tree->pinned == 0)
            break;
    }
    return missing;
}

static bool rbtree_get(const void *table, uint64_t page, struct pin_page *out)
{
    const struct rbtree *tree = table;
    uint32_t at = tree_find(tree, page);

    return at != NIL && tree->nodes[at].page == page &&
           pin_byte_get(tree->nodes[at].state, tree->nodes[at].bus, out);
}

static size_t rbtree_get_bus(const void *table, uint64_t first, size_t count, uint32_t *bus)
{
    const struct rbtree *tree = table;
    size_t found = 0;

    for (uint32_t at = tree_find(tree, first); at != NIL && tree->nodes[at].page - first < count;
         at = tree_next(tree, at))
        bus[found++] = tree->nodes[at].bus;
    return found;
}

static bool rbtree_next(const void *table, uint64_t from, struct pin_run *run)
{
    const struct rbtree *tree = table;
    const struct node *n = tree->nodes;
    uint32_t at = tree_find(tree, from);

    if (at == NIL)
        return false;
    *run = (struct pin_run){n[at].page, 0, n[at].state & PIN_BYTE_WRITE};
    do {
        run->count++;
        at = tree_next(tree, at);
    } while (at != NIL && run->count < PIN_MAX_PAGES && n[at].page == run->first + run->count &&
             run->write == !!(n[at].state & PIN_BYTE_WRITE));
    return true;
}

static uint64_t rbtree_pinned(const void *table)
{
    const struct rbtree *tree = table;

    return tree->pinned;
}

/* Of a large pool only what was used has been touched. */
static size_t rbtree_bytes(const void *table)
{
    const struct rbtree *tree = table;
    size_t capacity = tree->capacity * sizeof(struct node);

    if (capacity >= 128 * 1024)
        capacity = (tree->size * sizeof(struct node) + PAGE_SIZE_4K) / PAGE_SIZE_4K * PAGE_SIZE_4K;
    return sizeof(*tree) + capacity;
}

const struct pin_tracker pin_rbtree_tracker = {
    .name = "rbtree",
    .max_count = PIN_BYTE_MAX,
    .create = rbtree_create,
    .destroy = rbtree_destroy,
    .count_new = rbtree_count_new,
    .pin = rbtree_pin,
    .unpin = rbtree_unpin,
    .get = rbtree_get,
    .get_bus = rbtree_get_bus,
    .next = rbtree_next,
    .pinned = rbtree_pinned,
    .bytes = rbtree_bytes,
};
