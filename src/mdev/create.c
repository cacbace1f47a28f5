/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New devices: from a type's name to an active entry, or back to nothing.
 */
#include "base/cleanup.h"
#include "mdev/registry.h"
#include "mdev/text.h"
#include "mdev/uuid.h"

#include <errno.h>
#include <string.h>

struct create {
    struct mdev_registry *registry;
    const char *parent;        /* NULL: any */
    const char *type;          /* public name */
    struct mdev_device *entry; /* unlisted until there is a slot for it */
    struct umdev_error *error;
};

/* ------------------------------------------------------------------ what is there instead */

static int no_such_parent(const struct create *create)
{
    struct text_list names = {0};
    struct umdev_parent *parent;

    TAILQ_FOREACH(parent, &create->registry->parents, link)
    {
        text_list_add(&names, parent->name);
    }
    return error_set(create->error, ENOENT, "no parent '%s'; known: %s",
                     text_quote(create->parent).text, names.used ? names.text : "none");
}

static int no_such_type(const struct create *create)
{
    struct text_list names = {0};
    struct umdev_parent *parent;

    TAILQ_FOREACH(parent, &create->registry->parents, link)
    {
        if (parent->state != PARENT_ACTIVE ||
            (create->parent && strcmp(create->parent, parent->name) != 0))
            continue;
        for (unsigned i = 0; i < parent->driver->ntypes; i++)
            text_list_add(&names, parent->types[i].public_name);
    }
    return error_set(create->error, ENOENT, "no type '%s'%s%s; known: %s",
                     text_quote(create->type).text, create->parent ? " with parent " : "",
                     create->parent ? create->parent : "", names.used ? names.text : "none");
}

static int refuse(const struct create *create, const struct umdev_parent *full,
                  const struct umdev_parent *leaving)
{
    if (full)
        return error_set(create->error, EUSERS,
                         "no room for another %s with parent %s, which has %u devices: remove one",
                         create->type, full->name, full->used);
    if (leaving)
        return error_set(create->error, ENODEV, "parent %s is being removed", leaving->name);
    if (create->parent && !registry_find_parent(create->registry, create->parent))
        return no_such_parent(create);
    return no_such_type(create);
}

/* ------------------------------------------------------------------ taking a slot */

/*
 * With the lock held: the first parent with room, into the entry. *wait: one that says itself how
 * much room it has is creating a device, so that its answer is about to change.
 */
static int choose_parent(const struct create *create, bool *wait)
{
    const struct umdev_parent *full = NULL;
    const struct umdev_parent *leaving = NULL;
    struct umdev_parent *parent;

    *wait = false;
    TAILQ_FOREACH(parent, &create->registry->parents, link)
    {
        unsigned type = type_find(parent, create->type);

        if (type == parent->driver->ntypes || parent->state == PARENT_OPENING ||
            (create->parent && strcmp(create->parent, parent->name) != 0))
            continue;
        if (parent->state == PARENT_REMOVING) {
            leaving = parent;
        } else if (parent->driver->available && parent->creating) {
            *wait = true;
            return 0;
        } else if (type_available(parent, type) == 0) {
            full = parent;
        } else {
            create->entry->parent = parent;
            create->entry->type = type;
            return 0;
        }
    }
    return refuse(create, full, leaving);
}

/* With the lock held. The UUID is looked up again after each wait: it may have been taken. */
static int choose_slot(const struct create *create)
{
    bool wait = true;
    int ret = 0;

    while (wait && !ret) {
        if (registry_find_entry(create->registry, create->entry->uuid))
            return error_set(create->error, EEXIST, "there is a device %s already",
                             create->entry->uuid);
        ret = choose_parent(create, &wait);
        if (wait)
            pthread_cond_wait(&create->registry->changed, &create->registry->lock);
    }
    return ret;
}

static int begin_create(const struct create *create)
{
    struct mdev_device *entry = create->entry;
    int ret;

    LOCK_FOR_SCOPE(&create->registry->lock);
    ret = choose_slot(create);
    if (ret)
        return ret;
    type_take_slot(entry->parent, entry->type);
    entry->parent->creating++;
    entry->state = ENTRY_CREATING;
    entry->id = ++create->registry->last_id;
    TAILQ_INSERT_TAIL(&create->registry->entries, entry, link);
    return 0;
}

/* Active, or unlisted again with its slot given back. */
static void end_create(const struct create *create, bool success)
{
    struct mdev_device *entry = create->entry;

    LOCK_FOR_SCOPE(&create->registry->lock);
    entry->parent->creating--;
    if (success) {
        entry->state = ENTRY_ACTIVE;
    } else {
        TAILQ_REMOVE(&create->registry->entries, entry, link);
        type_give_slot(entry->parent, entry->type);
    }
    pthread_cond_broadcast(&create->registry->changed);
}

/* ------------------------------------------------------------------ the device itself */

/* No lock: the entry keeps its parent from going. */
static int make_device(const struct create *create)
{
    const struct mdev_owner *owner = &create->registry->owner;
    struct mdev_device *entry = create->entry;
    const struct umdev_driver *driver = entry->parent->driver;
    const struct device_setup setup = {
        .driver = driver,
        .type = &driver->types[entry->type],
        .type_index = entry->type,
        .parent = entry->parent,
        .uuid = entry->uuid,
        .log = create->registry->log,
        .domain = entry->parent->domain,
        .domain_ops = &entry->parent->domain_ops,
        .parent_mems = &entry->parent->mems,
        .track_hub = create->registry->track_hub,
    };
    struct umdev_error why = {""};
    int ret = device_new(&setup, &entry->dev, &why);

    if (ret)
        return error_set(create->error, -ret, "creating a %s with parent %s: %.300s", create->type,
                         entry->parent->name, why.message[0] ? why.message : log_errno(-ret));
    if (!owner->attach)
        return 0;
    ret = owner->attach(owner->opaque, entry, &entry->attached);
    if (ret) {
        device_free(entry->dev);
        return error_set(create->error, -ret, "creating a %s: %s", create->type, log_errno(-ret));
    }
    return 0;
}

static int name_entry(const struct create *create, const char *uuid)
{
    if (!uuid)
        mdev_uuid_generate(create->entry->uuid);
    else if (mdev_uuid_parse(uuid, create->entry->uuid))
        return error_set(create->error, EINVAL,
                         "'%s' is not a UUID: write 36 characters, as in "
                         "123e4567-e89b-12d3-a456-426614174000",
                         text_quote(uuid).text);
    return 0;
}

int mdev_create(struct mdev_registry *registry, const char *parent, const char *type,
                const char *uuid, char uuid_out[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    CLEANUP_FREE struct mdev_device *entry = calloc(1, sizeof(*entry));
    const struct create create = {registry, parent, type, entry, error};
    char name[UMDEV_UUID_STR_SIZE];
    int ret;

    if (!entry)
        return error_set(error, ENOMEM, "out of memory");
    ret = name_entry(&create, uuid);
    if (!ret)
        ret = begin_create(&create);
    if (ret)
        return ret;
    ret = make_device(&create);
    memcpy(name, entry->uuid, sizeof(name));
    if (!ret)
        log_print(registry->log, UMDEV_LOG_INFO, name, "created: %s with parent %s", type,
                  entry->parent->name);
    end_create(&create, ret == 0);
    if (ret)
        return ret;
    /* From here on another thread may remove it: nothing of the entry is touched. */
    entry = NULL;
    if (uuid_out)
        memcpy(uuid_out, name, sizeof(name));
    return 0;
}
