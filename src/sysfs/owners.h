/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Modes and owners that somebody changed (chmod, chown), by the number of the node.
 *
 * They are remembered as long as what the node belongs to is there: each time their number has
 * doubled, those of what is gone are dropped. Numbers are never used again, so that a stale one
 * harms nobody meanwhile.
 */
#ifndef SYSFS_OWNERS_H
#define SYSFS_OWNERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct owner {
    mode_t mode; /* with the kind of file */
    uid_t uid;
    gid_t gid;
};

struct owners {
    pthread_mutex_t lock;
    void *tree; /* tsearch(3) */
    size_t count, count_to_prune;
    bool (*is_there)(void *opaque, uint64_t number);
    void *opaque;
};

/* `is_there`: whether what a node belongs to is there. */
void owners_init(struct owners *owners, bool (*is_there)(void *opaque, uint64_t number),
                 void *opaque);
void owners_fini(struct owners *owners);
/* False, and *owner untouched: it was not changed. */
bool owners_get(struct owners *owners, uint64_t number, struct owner *owner);
/* −ENOMEM. */
int owners_set(struct owners *owners, uint64_t number, const struct owner *owner);

#endif
