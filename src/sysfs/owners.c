/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs/owners.h"

#include "base/cleanup.h"

#include <errno.h>
#include <search.h>

#define PRUNE_FROM 64

struct record {
    uint64_t number;
    struct owner owner;
    struct record *next_gone;
};

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const struct record *)a)->number, y = ((const struct record *)b)->number;

    return (x > y) - (x < y);
}

void owners_init(struct owners *owners, bool (*is_there)(void *opaque, uint64_t number),
                 void *opaque)
{
    *owners = (struct owners){
        .count_to_prune = PRUNE_FROM,
        .is_there = is_there,
        .opaque = opaque,
    };
    pthread_mutex_init(&owners->lock, NULL);
}

void owners_fini(struct owners *owners)
{
    tdestroy(owners->tree, free);
    pthread_mutex_destroy(&owners->lock);
}

/* With the lock held. */
static struct record *find(const struct owners *owners, uint64_t number)
{
    const struct record key = {.number = number};
    void *found = tfind(&key, &owners->tree, compare);

    return found ? *(struct record **)found : NULL;
}

bool owners_get(struct owners *owners, uint64_t number, struct owner *owner)
{
    const struct record *record;

    LOCK_FOR_SCOPE(&owners->lock);
    record = find(owners, number);
    if (record)
        *owner = record->owner;
    return record != NULL;
}

struct prune {
    const struct owners *owners;
    struct record *gone;
};

static void collect_gone(const void *found, VISIT visit, void *opaque)
{
    struct prune *prune = opaque;
    struct record *record = *(struct record *const *)found;

    if ((visit != postorder && visit != leaf) ||
        prune->owners->is_there(prune->owners->opaque, record->number))
        return;
    record->next_gone = prune->gone;
    prune->gone = record;
}

/* With the lock held. */
static void prune(struct owners *owners)
{
    struct prune prune = {.owners = owners};

    twalk_r(owners->tree, collect_gone, &prune);
    while (prune.gone) {
        struct record *record = prune.gone;

        prune.gone = record->next_gone;
        tdelete(record, &owners->tree, compare);
        free(record);
        owners->count--;
    }
    owners->count_to_prune = owners->count * 2 + PRUNE_FROM;
}

int owners_set(struct owners *owners, uint64_t number, const struct owner *owner)
{
    struct record *record;

    LOCK_FOR_SCOPE(&owners->lock);
    record = find(owners, number);
    if (record) {
        record->owner = *owner;
        return 0;
    }
    if (owners->count >= owners->count_to_prune)
        prune(owners);
    record = calloc(1, sizeof(*record));
    if (!record)
        return -ENOMEM;
    record->number = number;
    record->owner = *owner;
    if (!tsearch(record, &owners->tree, compare)) {
        free(record);
        return -ENOMEM;
    }
    owners->count++;
    return 0;
}
