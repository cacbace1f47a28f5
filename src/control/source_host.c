/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices of a struct umdev_host as a source. */
#include "base/log.h"
#include "control/source.h"

#include <errno.h>
#include <strings.h>

static int host_for_each_type(void *opaque, source_each_type each, void *each_opaque)
{
    return umdev_host_for_each_type(opaque, each, each_opaque);
}

static int host_for_each_device(void *opaque, source_each_device each, void *each_opaque)
{
    return umdev_host_for_each_device(opaque, each, each_opaque);
}

struct host_search {
    const char *uuid;
    source_each_device each;
    void *opaque;
    bool found;
};

static int host_compare(void *opaque, const struct umdev_host_device *device)
{
    struct host_search *search = opaque;

    if (strcasecmp(search->uuid, device->uuid) != 0)
        return 0;
    search->found = true;
    return search->each(search->opaque, device);
}

static int host_find_device(void *opaque, const char *uuid, source_each_device each,
                            void *each_opaque)
{
    struct host_search search = {uuid, each, each_opaque, false};
    int ret = umdev_host_for_each_device(opaque, host_compare, &search);

    return search.found ? ret : -ENODEV;
}

static int host_get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    return umdev_host_get_stats(opaque, uuid, stats);
}

static int host_screenshot(void *opaque, const char *uuid, struct umdev_picture *picture)
{
    return umdev_host_screenshot(opaque, uuid, picture);
}

static int host_for_each_attr(void *opaque, const struct source_owner *owner, source_each_attr each,
                              void *each_opaque)
{
    if (owner->uuid)
        return umdev_host_for_each_attr(opaque, owner->uuid, each, each_opaque);
    return umdev_host_for_each_parent_attr(opaque, owner->parent, owner->type, each, each_opaque);
}

static int host_attr_read(void *opaque, const struct source_owner *owner, const char *name,
                          char *buf, size_t size)
{
    if (owner->uuid)
        return umdev_host_attr_read(opaque, owner->uuid, name, buf, size);
    return umdev_host_parent_attr_read(opaque, owner->parent, owner->type, name, buf, size);
}

static int host_attr_write(void *opaque, const struct source_owner *owner, const char *name,
                           const char *buf, size_t len)
{
    if (owner->uuid)
        return umdev_host_attr_write(opaque, owner->uuid, name, buf, len);
    return umdev_host_parent_attr_write(opaque, owner->parent, owner->type, name, buf, len);
}

static int host_create(void *opaque, const struct source_create *create,
                       char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    int ret;

    if (!create->socket)
        return error_set(error, EINVAL, "a device needs a socket: name its path");
    if (create->persist)
        return error_set(error, EOPNOTSUPP, "nothing is kept here: no device can come back");
    ret = umdev_host_create(opaque, create->parent, create->type, create->uuid, uuid, error);
    if (ret)
        return ret;
    ret = umdev_host_listen(opaque, uuid, create->socket, create->mode, error);
    if (ret)
        umdev_host_remove(opaque, uuid);
    return ret;
}

int source_remove_error(int ret, const char *uuid, struct umdev_error *error)
{
    switch (ret) {
    case 0:
        return 0;
    case -ENODEV:
        return error_set(error, ENODEV, "there is no device %s", uuid);
    case -EAGAIN:
        return error_set(error, EAGAIN, "device %s is being created or removed", uuid);
    default:
        return error_set(error, -ret, "can't remove device %s: %s", uuid, log_errno(-ret));
    }
}

static int host_remove(void *opaque, const char *uuid, struct umdev_error *error)
{
    return source_remove_error(umdev_host_remove(opaque, uuid), uuid, error);
}

struct source source_of_host(struct umdev_host *host, bool can_create)
{
    return (struct source){
        .for_each_type = host_for_each_type,
        .for_each_device = host_for_each_device,
        .find_device = host_find_device,
        .get_stats = host_get_stats,
        .screenshot = host_screenshot,
        .for_each_attr = host_for_each_attr,
        .attr_read = host_attr_read,
        .attr_write = host_attr_write,
        .create = can_create ? host_create : NULL,
        .remove = can_create ? host_remove : NULL,
        .opaque = host,
    };
}
