/* SPDX-License-Identifier: BSD-3-Clause */
/* Parents and records: who is there. */
#include "base/cleanup.h"
#include "daemon/model_priv.h"

#include <errno.h>
#include <search.h>
#include <string.h>
#include <uuid/uuid.h>

/* ------------------------------------------------------------------ life */

int model_new(const struct model_options *options, struct model **result)
{
    struct model *model = calloc(1, sizeof(*model));

    if (!model)
        return -ENOMEM;
    model->options = *options;
    TAILQ_INIT(&model->parents);
    TAILQ_INIT(&model->records);
    pthread_mutex_init(&model->lock, NULL);
    *result = model;
    return 0;
}

void model_free(struct model *model)
{
    struct parent *parent;
    struct record *record;

    if (!model)
        return;
    while ((record = TAILQ_FIRST(&model->records)))
        model_erase(model, record);
    while ((parent = TAILQ_FIRST(&model->parents))) {
        TAILQ_REMOVE(&model->parents, parent, link);
        free(parent->name);
        free(parent);
    }
    pthread_mutex_destroy(&model->lock);
    free(model);
}

/* ------------------------------------------------------------------ parents */

bool model_has_parent(const struct model *model, const char *name)
{
    const struct parent *parent;

    TAILQ_FOREACH(parent, &model->parents, link)
    {
        if (strcmp(parent->name, name) == 0)
            return true;
    }
    return false;
}

size_t model_count_parents(const struct model *model)
{
    const struct parent *parent;
    size_t count = 0;

    TAILQ_FOREACH(parent, &model->parents, link)
    {
        count++;
    }
    return count;
}

int model_add_parent(struct model *model, const struct source *source, const char *name,
                     struct umdev_error *error)
{
    struct parent *parent;

    if (model_has_parent(model, name))
        return error_set(error, EEXIST, "there is a parent '%s' already: give another name=", name);
    parent = calloc(1, sizeof(*parent));
    if (parent)
        parent->name = strdup(name);
    if (!parent || !parent->name) {
        free(parent);
        return error_set(error, ENOMEM, "out of memory");
    }
    parent->source = *source;
    parent->id = model_count_parents(model) + 1;
    TAILQ_INSERT_TAIL(&model->parents, parent, link);
    return 0;
}

/* ------------------------------------------------------------------ records */

static int record_compare(const void *a, const void *b)
{
    const struct record *left = a;
    const struct record *right = b;

    return strcmp(left->uuid, right->uuid);
}

struct record *model_find(const struct model *model, const char *uuid)
{
    struct record key = {.parent = NULL};
    void *found;

    if (strlen(uuid) >= sizeof(key.uuid))
        return NULL;
    memcpy(key.uuid, uuid, strlen(uuid) + 1);
    found = tfind(&key, &model->tree, record_compare);
    return found ? *(struct record **)found : NULL;
}

int model_insert(struct model *model, const char *uuid, struct record **result,
                 struct umdev_error *error)
{
    struct record *record;

    if (model_find(model, uuid))
        return error_set(error, EEXIST, "there is a device %s already", uuid);
    record = calloc(1, sizeof(*record));
    if (!record)
        return error_set(error, ENOMEM, "out of memory");
    memcpy(record->uuid, uuid, sizeof(record->uuid));
    record->id = ++model->last_id;
    record->state = RECORD_CREATING;
    if (!tsearch(record, &model->tree, record_compare)) {
        free(record);
        return error_set(error, ENOMEM, "out of memory");
    }
    TAILQ_INSERT_TAIL(&model->records, record, link);
    model->count++;
    *result = record;
    return 0;
}

void model_erase(struct model *model, struct record *record)
{
    /* Before the UUID is free for another device. */
    rundir_device_remove(model->options.rundir, record->uuid);
    pthread_mutex_lock(&model->lock);
    tdelete(record, &model->tree, record_compare);
    TAILQ_REMOVE(&model->records, record, link);
    model->count--;
    pthread_mutex_unlock(&model->lock);
    free(record);
}

/* An active one of that parent, which is nobody else's from now on. NULL: there is none. */
static struct record *take_record(struct model *model, const char *parent)
{
    struct record *record;

    LOCK_FOR_SCOPE(&model->lock);
    TAILQ_FOREACH(record, &model->records, link)
    {
        if (record->state == RECORD_ACTIVE && strcmp(record->parent->name, parent) == 0) {
            record->state = RECORD_REMOVING;
            return record;
        }
    }
    return NULL;
}

size_t model_lose(struct model *model, const char *name)
{
    struct parent *parent;
    struct record *record;
    size_t count = 0;

    pthread_mutex_lock(&model->lock);
    TAILQ_FOREACH(parent, &model->parents, link)
    {
        if (strcmp(parent->name, name) == 0)
            parent->generation++;
    }
    pthread_mutex_unlock(&model->lock);
    for (; (record = take_record(model, name)); count++)
        model_erase(model, record);
    if (count)
        model_tell(model);
    return count;
}

int model_uuid(const char *text, char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    uuid_t number;

    if (!text)
        uuid_generate_random(number);
    else if (uuid_parse(text, number))
        return error_set(error, EINVAL,
                         "'%.80s' is not a UUID: write 36 characters, as in "
                         "123e4567-e89b-12d3-a456-426614174000",
                         text);
    uuid_unparse_lower(number, uuid);
    return 0;
}

bool model_lookup(struct model *model, const char *text, struct source *source)
{
    char uuid[UMDEV_UUID_STR_SIZE];
    const struct record *record;

    if (model_uuid(text, uuid, NULL))
        return false;
    LOCK_FOR_SCOPE(&model->lock);
    record = model_find(model, uuid);
    if (!record || record->state != RECORD_ACTIVE)
        return false;
    *source = record->parent->source;
    return true;
}

void model_tell(struct model *model)
{
    size_t count;

    if (!model->options.changed)
        return;
    pthread_mutex_lock(&model->lock);
    count = model->count;
    pthread_mutex_unlock(&model->lock);
    model->options.changed(model->options.opaque, count);
}
