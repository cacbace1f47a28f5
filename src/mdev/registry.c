/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/registry.h"

#include "base/cleanup.h"
#include "track/hub.h"

#include <errno.h>
#include <string.h>

int mdev_registry_new(const struct log *log, const struct mdev_owner *owner,
                      struct mdev_registry **registry)
{
    struct mdev_registry *new = calloc(1, sizeof(*new));

    if (!new)
        return -ENOMEM;
    if (track_hub_new(&new->track_hub)) {
        free(new);
        return -ENOMEM;
    }
    new->log = log;
    if (owner)
        new->owner = *owner;
    pthread_mutex_init(&new->lock, NULL);
    pthread_cond_init(&new->changed, NULL);
    TAILQ_INIT(&new->parents);
    TAILQ_INIT(&new->entries);
    *registry = new;
    return 0;
}

void mdev_registry_free(struct mdev_registry *registry)
{
    if (!registry)
        return;
    while (!TAILQ_EMPTY(&registry->parents))
        mdev_parent_remove(registry, TAILQ_FIRST(&registry->parents)->name);
    pthread_cond_destroy(&registry->changed);
    pthread_mutex_destroy(&registry->lock);
    track_hub_free(registry->track_hub);
    free(registry);
}

struct umdev_parent *registry_find_parent(struct mdev_registry *registry, const char *name)
{
    struct umdev_parent *parent;

    TAILQ_FOREACH(parent, &registry->parents, link)
    {
        if (strcmp(parent->name, name) == 0)
            break;
    }
    return parent;
}

struct mdev_device *registry_find_entry(struct mdev_registry *registry, const char *uuid)
{
    struct mdev_device *entry;

    TAILQ_FOREACH(entry, &registry->entries, link)
    {
        if (strcmp(entry->uuid, uuid) == 0)
            break;
    }
    return entry;
}

int mdev_for_each_type(struct mdev_registry *registry,
                       int (*each)(void *opaque, const struct mdev_type_info *info), void *opaque)
{
    struct umdev_parent *parent;
    int ret = 0;

    LOCK_FOR_SCOPE(&registry->lock);
    TAILQ_FOREACH(parent, &registry->parents, link)
    {
        for (unsigned i = 0; parent->state == PARENT_ACTIVE && i < parent->driver->ntypes; i++) {
            const struct umdev_type *type = &parent->driver->types[i];
            const char *public_name = parent->types[i].public_name;
            const struct mdev_type_info info = {
                .parent = parent->name,
                .driver = parent->driver->name,
                .name = public_name,
                .pretty_name = type->pretty_name ? type->pretty_name : public_name,
                .description = type->description,
                .device_api = "vfio-pci",
                .available = type_available(parent, i),
                .parent_id = parent->id,
            };

            ret = each(opaque, &info);
            if (ret)
                return ret;
        }
    }
    return ret;
}

static int visit_entry(const struct mdev_device *entry,
                       int (*each)(void *opaque, const struct mdev_device_info *info), void *opaque)
{
    const struct mdev_device_info info = {
        .uuid = entry->uuid,
        .type = entry->parent->types[entry->type].public_name,
        .parent = entry->parent->name,
        .driver = entry->parent->driver->name,
        .id = entry->id,
        .parent_id = entry->parent->id,
        .dev = entry->dev,
        .attached = entry->attached,
    };

    return each(opaque, &info);
}

int mdev_for_each_device(struct mdev_registry *registry,
                         int (*each)(void *opaque, const struct mdev_device_info *info),
                         void *opaque)
{
    struct mdev_device *entry;
    int ret = 0;

    LOCK_FOR_SCOPE(&registry->lock);
    TAILQ_FOREACH(entry, &registry->entries, link)
    {
        /* What is fixed when a device is active is not to be looked at before. */
        if (entry->state == ENTRY_ACTIVE)
            ret = visit_entry(entry, each, opaque);
        if (ret)
            break;
    }
    return ret;
}
