/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes of parents and types. A call of one is counted, and the parent waits for it to go. */
#include "base/cleanup.h"
#include "device/attr_text.h"
#include "mdev/registry.h"

/* Those of a parent, or of one of its types. */
struct attrs {
    struct umdev_parent *parent;
    unsigned type;
    const struct umdev_parent_attr *attrs;
    size_t count;
};

/* With the lock held. −ENODEV, −ENOENT. */
static int find_attrs(struct mdev_registry *registry, const char *parent, const char *type,
                      struct attrs *found)
{
    struct umdev_parent *at = registry_find_parent(registry, parent);

    if (!at || at->state != PARENT_ACTIVE)
        return -ENODEV;
    *found = (struct attrs){at, 0, at->driver->parent_attrs, at->driver->nparent_attrs};
    if (!type)
        return 0;
    *found =
        (struct attrs){at, type_find(at, type), at->driver->type_attrs, at->driver->ntype_attrs};
    return found->type < at->driver->ntypes ? 0 : -ENOENT;
}

int mdev_for_each_parent_attr(struct mdev_registry *registry, const char *parent, const char *type,
                              int (*each)(void *opaque, const struct mdev_attr_info *info),
                              void *opaque)
{
    struct attrs found;
    int ret;

    LOCK_FOR_SCOPE(&registry->lock);
    ret = find_attrs(registry, parent, type, &found);
    for (size_t i = 0; !ret && i < found.count; i++) {
        const struct umdev_parent_attr *attr = &found.attrs[i];
        const struct mdev_attr_info info = {attr->name, attr->show != NULL, attr->store != NULL};

        ret = each(opaque, &info);
    }
    return ret;
}

/* The parent stays until end_call(). */
static int begin_call(struct mdev_registry *registry, const char *parent, const char *type,
                      const char *name, struct attrs *found)
{
    int ret;

    LOCK_FOR_SCOPE(&registry->lock);
    ret = find_attrs(registry, parent, type, found);
    if (ret)
        return ret;
    while (found->count > 0 && strcmp(found->attrs->name, name) != 0) {
        found->attrs++;
        found->count--;
    }
    if (found->count == 0)
        return -ENOENT;
    found->parent->calls++;
    return 0;
}

static void end_call(struct mdev_registry *registry, const struct attrs *found)
{
    LOCK_FOR_SCOPE(&registry->lock);
    if (--found->parent->calls == 0)
        pthread_cond_broadcast(&registry->changed);
}

int mdev_parent_attr_read(struct mdev_registry *registry, const char *parent, const char *type,
                          const char *name, char *buf, size_t size)
{
    struct attr_text text = {""};
    struct attrs found;
    int ret = begin_call(registry, parent, type, name, &found);

    if (ret)
        return ret;
    ret = -EIO;
    if (found.attrs->show)
        ret = found.attrs->show(found.parent, found.type, text.bytes, UMDEV_ATTR_SIZE);
    end_call(registry, &found);
    return attr_text_give(&text, ret, buf, size);
}

int mdev_parent_attr_write(struct mdev_registry *registry, const char *parent, const char *type,
                           const char *name, const char *buf, size_t len)
{
    struct attr_text text;
    struct attrs found;
    int ret = begin_call(registry, parent, type, name, &found);

    if (ret)
        return ret;
    ret = found.attrs->store ? attr_text_take(&text, buf, len) : -EIO;
    if (!ret)
        ret = found.attrs->store(found.parent, found.type, text.bytes, len);
    end_call(registry, &found);
    /* A positive one is the driver's mistake. */
    return ret > 0 ? -EIO : ret;
}
