/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of ranges that may overlap, in order of their first address: a treap, whose nodes also know
 * the last address of all below them. The nodes are their owners'. No locks.
 */
#ifndef TRACK_INTERVAL_H
#define TRACK_INTERVAL_H

#include "base/range.h"

#include <stddef.h>

struct interval {
    struct interval *left, *right;
    struct range range;
    uint64_t max;    /* the highest `last` of the node and those below */
    uint32_t weight; /* no node below has more */
};

/* `range` is set, and stays as it is until the node is removed. The root of an empty set: NULL. */
void interval_insert(struct interval **root, struct interval *node);
/* It is in the set. */
void interval_remove(struct interval **root, struct interval *node);

/* The first that overlaps `range`; NULL: none. */
struct interval *interval_first(struct interval *root, struct range range);
/* The one after `node`, which is in the set. */
struct interval *interval_next(struct interval *root, const struct interval *node,
                               struct range range);

#define INTERVAL_OWNER(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

#endif
