/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * References to devices, and their end.
 */
#include "base/cleanup.h"
#include "mdev/registry.h"
#include "mdev/uuid.h"

#include <errno.h>

/* With the lock held. */
static int take_reference(struct mdev_device *entry)
{
    if (!entry || entry->state != ENTRY_ACTIVE)
        return -ENODEV;
    entry->refs++;
    return 0;
}

int mdev_get(struct mdev_registry *registry, const char *uuid, struct mdev_device **entry)
{
    char canonical[UMDEV_UUID_STR_SIZE];
    struct mdev_device *found;
    int ret;

    if (mdev_uuid_parse(uuid, canonical))
        return -ENODEV;
    LOCK_FOR_SCOPE(&registry->lock);
    found = registry_find_entry(registry, canonical);
    ret = take_reference(found);
    if (!ret)
        *entry = found;
    return ret;
}

int mdev_ref(struct mdev_device *entry)
{
    LOCK_FOR_SCOPE(&entry->parent->registry->lock);
    return take_reference(entry);
}

void mdev_put(struct mdev_device *entry)
{
    /* Not through `entry`, which may be gone as soon as the lock is given back. */
    struct mdev_registry *registry = entry->parent->registry;

    LOCK_FOR_SCOPE(&registry->lock);
    if (--entry->refs == 0)
        pthread_cond_broadcast(&registry->changed);
}

struct umdev_device *mdev_umdev(struct mdev_device *entry)
{
    return entry->dev;
}

const char *mdev_uuid(const struct mdev_device *entry)
{
    return entry->uuid;
}

void *mdev_attached(struct mdev_device *entry)
{
    return entry->attached;
}

void entry_begin_remove(struct mdev_device *entry)
{
    entry->state = ENTRY_REMOVING;
}

void entry_finish_remove(struct mdev_device *entry)
{
    struct umdev_parent *parent = entry->parent;
    struct mdev_registry *registry = parent->registry;
    const struct mdev_owner *owner = &registry->owner;

    device_shutdown(entry->dev);
    if (owner->detach)
        owner->detach(owner->opaque, entry->attached);

    pthread_mutex_lock(&registry->lock);
    while (entry->refs > 0)
        pthread_cond_wait(&registry->changed, &registry->lock);
    pthread_mutex_unlock(&registry->lock);

    device_free(entry->dev);
    if (owner->release)
        owner->release(owner->opaque, entry->attached);
    log_print(registry->log, UMDEV_LOG_INFO, entry->uuid, "removed from %s", parent->name);

    pthread_mutex_lock(&registry->lock);
    TAILQ_REMOVE(&registry->entries, entry, link);
    type_give_slot(parent, entry->type);
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
    free(entry);
}

/* With the lock held. */
static int check_removable(const struct mdev_device *entry)
{
    if (!entry || entry->parent->state == PARENT_REMOVING)
        return -ENODEV;
    return entry->state == ENTRY_ACTIVE ? 0 : -EAGAIN;
}

int mdev_remove(struct mdev_registry *registry, const char *uuid)
{
    char canonical[UMDEV_UUID_STR_SIZE];
    struct mdev_device *entry;
    int ret;

    if (mdev_uuid_parse(uuid, canonical))
        return -ENODEV;
    pthread_mutex_lock(&registry->lock);
    entry = registry_find_entry(registry, canonical);
    ret = check_removable(entry);
    if (!ret)
        entry_begin_remove(entry);
    pthread_mutex_unlock(&registry->lock);

    if (!ret)
        entry_finish_remove(entry);
    return ret;
}
