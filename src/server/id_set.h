/* SPDX-License-Identifier: BSD-3-Clause */
/* A set of small numbers: a bit for each. Freed by free(words). */
#ifndef SERVER_ID_SET_H
#define SERVER_ID_SET_H

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct id_set {
    uint64_t *words;
    size_t nwords;
};

static inline bool ids_have(const struct id_set *set, uint32_t id)
{
    return id / 64 < set->nwords && set->words[id / 64] & UINT64_C(1) << id % 64;
}

/* Room for it, so that adding it can't fail. −ENOMEM. */
static inline int ids_reserve(struct id_set *set, uint32_t id)
{
    size_t nwords = MAX((size_t)id / 64 + 1, 2 * set->nwords);
    uint64_t *words;

    if (id / 64 < set->nwords)
        return 0;
    words = reallocarray(set->words, nwords, sizeof(*words));
    if (!words)
        return -ENOMEM;
    memset(words + set->nwords, 0, (nwords - set->nwords) * sizeof(*words));
    set->words = words;
    set->nwords = nwords;
    return 0;
}

static inline void ids_add(struct id_set *set, uint32_t id)
{
    set->words[id / 64] |= UINT64_C(1) << id % 64;
}

#endif
