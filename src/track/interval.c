/* SPDX-License-Identifier: BSD-3-Clause */
#include "track/interval.h"

/* Nodes with the same first address are told apart by their own. */
static bool is_before(const struct interval *a, const struct interval *b)
{
    if (a->range.first != b->range.first)
        return a->range.first < b->range.first;
    return (uintptr_t)a < (uintptr_t)b;
}

static void update(struct interval *node)
{
    node->max = node->range.last;
    if (node->left)
        node->max = MAX(node->max, node->left->max);
    if (node->right)
        node->max = MAX(node->max, node->right->max);
}

/* What lies before and after `at`, which is not in the tree. */
static void split(struct interval *tree, const struct interval *at, struct interval **before,
                  struct interval **after)
{
    if (!tree) {
        *before = *after = NULL;
    } else if (is_before(tree, at)) {
        split(tree->right, at, &tree->right, after);
        update(tree);
        *before = tree;
    } else {
        split(tree->left, at, before, &tree->left);
        update(tree);
        *after = tree;
    }
}

static struct interval *join(struct interval *before, struct interval *after)
{
    if (!before || !after)
        return before ? before : after;
    if (before->weight > after->weight) {
        before->right = join(before->right, after);
        update(before);
        return before;
    }
    after->left = join(before, after->left);
    update(after);
    return after;
}

static uint32_t weight_of(const struct interval *node)
{
    return (uint32_t)(((uintptr_t)node >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static void insert(struct interval **root, struct interval *node)
{
    struct interval *tree = *root;

    if (!tree || node->weight > tree->weight) {
        split(tree, node, &node->left, &node->right);
        *root = node;
    } else {
        insert(is_before(node, tree) ? &tree->left : &tree->right, node);
    }
    update(*root);
}

void interval_insert(struct interval **root, struct interval *node)
{
    node->weight = weight_of(node);
    insert(root, node);
}

void interval_remove(struct interval **root, struct interval *node)
{
    if (*root == node) {
        *root = join(node->left, node->right);
        return;
    }
    interval_remove(is_before(node, *root) ? &(*root)->left : &(*root)->right, node);
    update(*root);
}

/*
 * Where something on the left ends in the range or behind it, the first one that overlaps is there
 * or nowhere: what ends there either overlaps, or begins behind the range, and all that follows
 * does too.
 */
struct interval *interval_first(struct interval *root, struct range range)
{
    while (root) {
        if (root->left && root->left->max >= range.first) {
            root = root->left;
            continue;
        }
        if (root->range.first > range.last)
            return NULL;
        if (root->range.last >= range.first)
            return root;
        root = root->right;
    }
    return NULL;
}

struct interval *interval_next(struct interval *root, const struct interval *node,
                               struct range range)
{
    struct interval *found;

    if (!root || root->max < range.first)
        return NULL;
    if (root == node || is_before(root, node))
        return interval_next(root->right, node, range);
    found = interval_next(root->left, node, range);
    if (found)
        return found;
    if (range_overlaps(root->range, range))
        return root;
    return root->range.first > range.last ? NULL : interval_first(root->right, range);
}
