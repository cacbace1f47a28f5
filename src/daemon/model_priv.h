/* SPDX-License-Identifier: BSD-3-Clause */
/* The model from inside: model.h describes it. For the files of src/daemon/model*.c only. */
#ifndef DAEMON_MODEL_PRIV_H
#define DAEMON_MODEL_PRIV_H

#include "daemon/model.h"

#include <pthread.h>
#include <sys/queue.h>

struct parent {
    TAILQ_ENTRY(parent) link;
    char *name;
    struct source source;
    uint64_t id;         /* fixed */
    unsigned generation; /* of its process; guarded by the model's lock */
};
TAILQ_HEAD(parents, parent);

enum record_state { RECORD_CREATING, RECORD_ACTIVE, RECORD_REMOVING };

struct record {
    TAILQ_ENTRY(record) link;
    char uuid[UMDEV_UUID_STR_SIZE]; /* first in the tree's order */
    uint64_t id;                    /* never used again */
    struct parent *parent;          /* NULL: not chosen yet */
    unsigned generation;            /* of the parent, when the creation began */
    enum record_state state;
    bool persistent;
};
TAILQ_HEAD(records, record);

struct model {
    struct model_options options;
    struct parents parents; /* fixed after the start */
    uint64_t last_id;       /* of devices; guarded by the lock */
    pthread_mutex_t lock;   /* what follows */
    struct records records; /* in order of their coming */
    void *tree;             /* the same by UUID (tsearch) */
    size_t count;
};

/* With the lock. NULL: there is none. */
struct record *model_find(const struct model *model, const char *uuid);
/* With the lock: a record that is being created. EEXIST, ENOMEM. */
int model_insert(struct model *model, const char *uuid, struct record **record,
                 struct umdev_error *error);
/* Without it: the record and the device's directory are gone. */
void model_erase(struct model *model, struct record *record);

/* The UUID that is meant, in lower case: `text`, or a random one for NULL. EINVAL. */
int model_uuid(const char *text, char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error);
/* Whether the device is active; then *source is its parent's. */
bool model_lookup(struct model *model, const char *uuid, struct source *source);
/* Tell how many there are. */
void model_tell(struct model *model);

#endif
