/* SPDX-License-Identifier: BSD-3-Clause */
/* The model as a source: what is asked of its parents, and joined. */
#include "base/cleanup.h"
#include "daemon/model_priv.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ types and devices */

/* What one source shows, as far as it belongs to one parent. */
struct visit {
    struct model *model;
    const struct parent *parent;
    source_each_type each_type;
    source_each_device each_device;
    void *opaque;
    int ended; /* what `each` ended it with */
};

static int visit_type(void *opaque, const struct umdev_host_type *type)
{
    struct visit *visit = opaque;
    struct umdev_host_type ours = *type;

    if (strcmp(type->parent, visit->parent->name) != 0)
        return 0;
    ours.parent_id = visit->parent->id;
    visit->ended = visit->each_type(visit->opaque, &ours);
    return visit->ended;
}

int model_for_each_type(struct model *model, source_each_type each, void *opaque)
{
    struct visit visit = {.model = model, .each_type = each, .opaque = opaque};

    TAILQ_FOREACH(visit.parent, &model->parents, link)
    {
        const struct source *source = &visit.parent->source;

        source->for_each_type(source->opaque, visit_type, &visit);
        if (visit.ended)
            return visit.ended;
    }
    return 0;
}

/* 0: it is not active. */
static uint64_t active_id(struct model *model, const char *uuid)
{
    const struct record *record;

    LOCK_FOR_SCOPE(&model->lock);
    record = model_find(model, uuid);
    return record && record->state == RECORD_ACTIVE ? record->id : 0;
}

static int visit_device(void *opaque, const struct umdev_host_device *device)
{
    struct visit *visit = opaque;
    struct umdev_host_device ours = *device;

    if (strcmp(device->parent, visit->parent->name) != 0)
        return 0;
    ours.id = active_id(visit->model, device->uuid);
    ours.parent_id = visit->parent->id;
    if (ours.id)
        visit->ended = visit->each_device(visit->opaque, &ours);
    return visit->ended;
}

int model_for_each_device(struct model *model, source_each_device each, void *opaque)
{
    struct visit visit = {.model = model, .each_device = each, .opaque = opaque};

    TAILQ_FOREACH(visit.parent, &model->parents, link)
    {
        const struct source *source = &visit.parent->source;

        source->for_each_device(source->opaque, visit_device, &visit);
        if (visit.ended)
            return visit.ended;
    }
    return 0;
}

/* ------------------------------------------------------------------ one device */

/* What a source says of a device, with the model's ids. */
struct found {
    uint64_t id, parent_id;
    source_each_device each;
    void *opaque;
};

static int visit_found(void *opaque, const struct umdev_host_device *device)
{
    const struct found *found = opaque;
    struct umdev_host_device ours = *device;

    ours.id = found->id;
    ours.parent_id = found->parent_id;
    return found->each(found->opaque, &ours);
}

int model_find_device(struct model *model, const char *text, source_each_device each, void *opaque)
{
    struct found found = {.each = each, .opaque = opaque};
    char uuid[UMDEV_UUID_STR_SIZE];
    const struct record *record;
    struct source source;

    if (model_uuid(text, uuid, NULL))
        return -ENODEV;
    {
        LOCK_FOR_SCOPE(&model->lock);
        record = model_find(model, uuid);
        if (!record || record->state != RECORD_ACTIVE)
            return -ENODEV;
        found.id = record->id;
        found.parent_id = record->parent->id;
        source = record->parent->source;
    }
    return source.find_device(source.opaque, uuid, visit_found, &found);
}

int model_get_stats(struct model *model, const char *uuid, struct umdev_host_stats *stats)
{
    struct source source;

    return model_lookup(model, uuid, &source) ? source.get_stats(source.opaque, uuid, stats)
                                              : -ENODEV;
}

int model_screenshot(struct model *model, const char *uuid, struct umdev_picture *picture)
{
    struct source source;

    return model_lookup(model, uuid, &source) ? source.screenshot(source.opaque, uuid, picture)
                                              : -ENODEV;
}

/* The source that has it. */
static bool find_owner(struct model *model, const struct source_owner *owner, struct source *source)
{
    const struct parent *parent;

    if (owner->uuid)
        return model_lookup(model, owner->uuid, source);
    TAILQ_FOREACH(parent, &model->parents, link)
    {
        if (strcmp(parent->name, owner->parent) == 0) {
            *source = parent->source;
            return true;
        }
    }
    return false;
}

int model_for_each_attr(struct model *model, const struct source_owner *owner,
                        source_each_attr each, void *opaque)
{
    struct source source;

    if (!find_owner(model, owner, &source))
        return -ENODEV;
    return source.for_each_attr(source.opaque, owner, each, opaque);
}

int model_attr_read(struct model *model, const struct source_owner *owner, const char *name,
                    char *buf, size_t size)
{
    struct source source;

    if (!find_owner(model, owner, &source))
        return -ENODEV;
    return source.attr_read(source.opaque, owner, name, buf, size);
}

int model_attr_write(struct model *model, const struct source_owner *owner, const char *name,
                     const char *buf, size_t len)
{
    struct source source;

    if (!find_owner(model, owner, &source))
        return -ENODEV;
    return source.attr_write(source.opaque, owner, name, buf, len);
}

bool model_is_persistent(struct model *model, const char *text)
{
    char uuid[UMDEV_UUID_STR_SIZE];
    const struct record *record;

    if (model_uuid(text, uuid, NULL))
        return false;
    LOCK_FOR_SCOPE(&model->lock);
    record = model_find(model, uuid);
    return record && record->persistent;
}

/* ------------------------------------------------------------------ the table */

static int source_for_each_type(void *opaque, source_each_type each, void *each_opaque)
{
    return model_for_each_type(opaque, each, each_opaque);
}

static int source_for_each_device(void *opaque, source_each_device each, void *each_opaque)
{
    return model_for_each_device(opaque, each, each_opaque);
}

static int source_find_device(void *opaque, const char *uuid, source_each_device each,
                              void *each_opaque)
{
    return model_find_device(opaque, uuid, each, each_opaque);
}

static int source_get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    return model_get_stats(opaque, uuid, stats);
}

static int source_screenshot(void *opaque, const char *uuid, struct umdev_picture *picture)
{
    return model_screenshot(opaque, uuid, picture);
}

static int source_for_each_attr(void *opaque, const struct source_owner *owner,
                                source_each_attr each, void *each_opaque)
{
    return model_for_each_attr(opaque, owner, each, each_opaque);
}

static int source_attr_read(void *opaque, const struct source_owner *owner, const char *name,
                            char *buf, size_t size)
{
    return model_attr_read(opaque, owner, name, buf, size);
}

static int source_attr_write(void *opaque, const struct source_owner *owner, const char *name,
                             const char *buf, size_t len)
{
    return model_attr_write(opaque, owner, name, buf, len);
}

static int source_create_device(void *opaque, const struct source_create *create,
                                char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    return model_create(opaque, create, uuid, error);
}

static int source_remove_device(void *opaque, const char *uuid, struct umdev_error *error)
{
    return model_remove(opaque, uuid, error);
}

static bool source_is_persistent(void *opaque, const char *uuid)
{
    return model_is_persistent(opaque, uuid);
}

struct source model_source(struct model *model)
{
    return (struct source){
        .for_each_type = source_for_each_type,
        .for_each_device = source_for_each_device,
        .find_device = source_find_device,
        .get_stats = source_get_stats,
        .screenshot = source_screenshot,
        .for_each_attr = source_for_each_attr,
        .attr_read = source_attr_read,
        .attr_write = source_attr_write,
        .create = source_create_device,
        .remove = source_remove_device,
        .is_persistent = source_is_persistent,
        .opaque = model,
    };
}
