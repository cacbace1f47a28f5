/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices come and go: the parent that is to have one, its record, its directory, what is kept. */
#include "base/cleanup.h"
#include "daemon/model_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A list of names for a message; cut where it is long. */
#define NAMES_MAX 256

/* ------------------------------------------------------------------ which parent */

struct choice {
    const struct source_create *create;
    struct parent *parent; /* that is looked at */
    /* What it is found to have. */
    bool answered, has_type;
    char types[NAMES_MAX]; /* all of them, of all parents that can be meant */
};

static void names_add(char names[NAMES_MAX], const char *name)
{
    size_t used = strlen(names);

    snprintf(names + used, NAMES_MAX - used, "%s%s", used ? ", " : "", name);
}

static int look_at_type(void *opaque, const struct umdev_host_type *type)
{
    struct choice *choice = opaque;

    if (strcmp(type->parent, choice->parent->name) != 0)
        return 0;
    choice->answered = true;
    names_add(choice->types, type->name);
    if (strcmp(type->name, choice->create->type) == 0)
        choice->has_type = true;
    return 0;
}

static void look_at_parent(struct choice *choice, struct parent *parent)
{
    choice->parent = parent;
    choice->answered = choice->has_type = false;
    parent->source.for_each_type(parent->source.opaque, look_at_type, choice);
}

static int no_such_parent(const struct model *model, const char *name, struct umdev_error *error)
{
    const struct parent *parent;
    char names[NAMES_MAX] = "";

    TAILQ_FOREACH(parent, &model->parents, link)
    {
        names_add(names, parent->name);
    }
    return error_set(error, ENOENT, "no parent '%.64s'; known: %s", name, names);
}

/* ------------------------------------------------------------------ creation */

/* A creation under way. */
struct creation {
    struct model *model;
    struct source_create want; /* of one parent: complete */
    struct record *record;
    bool persist; /* it comes back … */
    bool keep;    /* … and that has to be written down */
    struct umdev_error *error;
};

/* The device and its socket, and what is kept of it. */
static int creation_make(const struct creation *creation)
{
    const struct model_options *options = &creation->model->options;
    const struct source *source = &creation->record->parent->source;
    const struct source_create *want = &creation->want;
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret = source->create(source->opaque, want, uuid, creation->error);

    if (ret)
        return ret;
    ret = rundir_give(options->rundir, want->socket, creation->error);
    if (!ret && creation->keep)
        ret = state_keep(options->state, want->uuid, want->type, want->parent, creation->error);
    if (ret)
        source->remove(source->opaque, want->uuid, NULL);
    return ret;
}

/* With `parent`, which has the type. EUSERS: it has no room, which only it knows. */
static int creation_try(struct creation *creation, struct parent *parent)
{
    const struct rundir *rundir = creation->model->options.rundir;
    CLEANUP_FREE char *socket = NULL;
    int ret;

    pthread_mutex_lock(&creation->model->lock);
    creation->record->parent = parent;
    creation->record->generation = parent->generation;
    pthread_mutex_unlock(&creation->model->lock);
    ret = rundir_device_make(rundir, creation->record->uuid, &socket, creation->error);
    if (ret)
        return ret;
    creation->want.parent = parent->name;
    creation->want.socket = socket;
    ret = creation_make(creation);
    creation->want.socket = NULL;
    return ret;
}

/* Of `name` (NULL: any), the first that has room. */
static int creation_place(struct creation *creation, const char *name)
{
    struct choice choice = {.create = &creation->want};
    const char *full = NULL, *silent = NULL;
    struct parent *parent;

    if (name && !model_has_parent(creation->model, name))
        return no_such_parent(creation->model, name, creation->error);
    TAILQ_FOREACH(parent, &creation->model->parents, link)
    {
        int ret = -EUSERS;

        if (name && strcmp(parent->name, name) != 0)
            continue;
        look_at_parent(&choice, parent);
        if (choice.has_type)
            ret = creation_try(creation, parent);
        if (ret != -EUSERS)
            return ret;
        if (choice.has_type)
            full = parent->name;
        else if (!choice.answered)
            silent = parent->name;
    }
    if (full)
        return error_set(creation->error, EUSERS,
                         "no room for another %s with parent %s: remove one", creation->want.type,
                         full);
    if (silent)
        return error_set(creation->error, ENODEV,
                         "parent %s is not there now: its process ended, and is started again",
                         silent);
    return error_set(creation->error, ENOENT, "no type '%.64s'%s%s; known: %s", creation->want.type,
                     name ? " with parent " : "", name ? name : "", choice.types);
}

/* It is there for all to see, unless its parent's process has ended meanwhile. */
static int creation_end(struct creation *creation)
{
    struct model *model = creation->model;
    struct record *record = creation->record;
    const struct source *source = &record->parent->source;

    {
        LOCK_FOR_SCOPE(&model->lock);
        if (record->generation == record->parent->generation) {
            record->persistent = creation->persist;
            record->state = RECORD_ACTIVE;
            return 0;
        }
    }
    /* The next process may be there already, and have made it. */
    source->remove(source->opaque, record->uuid, NULL);
    if (creation->keep)
        state_drop(model->options.state, record->uuid);
    return error_set(creation->error, ENODEV, "the process of parent %s has ended",
                     creation->want.parent);
}

static int creation_run(struct creation *creation, const char *parent)
{
    struct model *model = creation->model;
    int ret;

    pthread_mutex_lock(&model->lock);
    ret = model_insert(model, creation->want.uuid, &creation->record, creation->error);
    pthread_mutex_unlock(&model->lock);
    if (ret)
        return ret;
    ret = creation_place(creation, parent);
    if (!ret)
        ret = creation_end(creation);
    if (ret)
        model_erase(model, creation->record);
    else
        model_tell(model);
    return ret;
}

int model_create(struct model *model, const struct source_create *create,
                 char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    const struct state *state = model->options.state;
    struct creation creation = {
        .model = model,
        .want = {.type = create->type, .uuid = uuid, .mode = model->options.rundir->mode},
        .keep = create->persist,
        .error = error,
    };
    int ret = model_uuid(create->uuid, uuid, error);

    if (ret)
        return ret;
    if (create->socket || create->mode)
        return error_set(error, EINVAL, "a daemon's devices have their sockets in its directory");
    if (create->persist && state->dir < 0)
        return state_keep(state, uuid, create->type, "", error);
    creation.persist = create->persist || state_has(state, uuid);
    return creation_run(&creation, create->parent);
}

/* ------------------------------------------------------------------ what is kept */

struct restore {
    struct model *model;
    const char *parent;
};

static void restore_device(void *opaque, const struct state_device *device)
{
    struct restore *restore = opaque;
    struct umdev_error error = {.message = ""};
    char uuid[UMDEV_UUID_STR_SIZE];
    struct creation creation = {
        .model = restore->model,
        .want = {.type = device->type, .uuid = uuid, .mode = restore->model->options.rundir->mode},
        .persist = true,
        .error = &error,
    };
    struct source source;
    int ret;

    if (restore->parent && strcmp(restore->parent, device->parent) != 0)
        return;
    if (model_lookup(restore->model, device->uuid, &source))
        return;
    ret = model_uuid(device->uuid, uuid, &error);
    if (!ret)
        ret = creation_run(&creation, device->parent);
    if (ret)
        log_print(restore->model->options.log, UMDEV_LOG_WARNING, device->uuid,
                  "can't come back: %s", error.message);
}

void model_restore(struct model *model, const char *parent)
{
    struct restore restore = {model, parent};

    state_for_each(model->options.state, model->options.log, restore_device, &restore);
}

/* ------------------------------------------------------------------ removal */

/* An active device's record, which is nobody else's from now on. ENODEV, EAGAIN. */
static int take_record(struct model *model, const char *uuid, struct record **result)
{
    struct record *record;

    LOCK_FOR_SCOPE(&model->lock);
    record = model_find(model, uuid);
    if (!record)
        return -ENODEV;
    if (record->state != RECORD_ACTIVE)
        return -EAGAIN;
    record->state = RECORD_REMOVING;
    *result = record;
    return 0;
}

/* It is not kept any more, or `dropped` says why it still is. */
static int drop_error(const struct state *state, int dropped, const char *uuid,
                      struct umdev_error *error)
{
    if (!dropped || dropped == -ENOENT)
        return 0;
    return error_set(error, -dropped,
                     "device %s is removed, but will come back: can't drop it from '%s': %s", uuid,
                     state->path, log_errno(-dropped));
}

int model_remove(struct model *model, const char *text, struct umdev_error *error)
{
    const struct state *state = model->options.state;
    struct record *record = NULL;
    const struct source *source;
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret, dropped;

    if (model_uuid(text, uuid, NULL))
        return source_remove_error(-ENODEV, text, error);
    ret = take_record(model, uuid, &record);
    if (ret == -EAGAIN)
        return source_remove_error(ret, uuid, error);
    dropped = state_drop(state, uuid);
    if (ret && dropped == -ENOENT)
        return source_remove_error(ret, uuid, error);
    if (ret)
        return drop_error(state, dropped, uuid, error);
    source = &record->parent->source;
    /* Whatever it says: a source that is gone has no device either. */
    source->remove(source->opaque, uuid, NULL);
    model_erase(model, record);
    model_tell(model);
    return drop_error(state, dropped, uuid, error);
}
