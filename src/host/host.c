/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cleanup.h"
#include "base/range.h"
#include "base/sigbus.h"
#include "host/host_priv.h"
#include "mdev/driver_load.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ the host */

/* Options of a caller with an older or newer header than ours; NULL: all zero. */
static int read_options(const struct umdev_host_options *from, struct umdev_host_options *to)
{
    const unsigned char *bytes = (const unsigned char *)from;

    *to = (struct umdev_host_options){.struct_size = sizeof(*to)};
    if (!from)
        return 0;
    if (from->struct_size < sizeof(from->struct_size))
        return -EINVAL;
    for (size_t i = sizeof(*to); i < from->struct_size; i++) {
        if (bytes[i])
            return -EINVAL;
    }
    memcpy(to, from, MIN(from->struct_size, sizeof(*to)));
    return 0;
}

int umdev_host_new(const struct umdev_host_options *options, struct umdev_host **result)
{
    struct umdev_host_options chosen;
    CLEANUP_FREE struct umdev_host *host = NULL;
    struct mdev_owner owner = {host_device_attach, host_device_detach, host_device_release, NULL};
    int ret = read_options(options, &chosen);

    if (!ret && !chosen.no_sigbus_handler)
        ret = sigbus_install();
    if (ret)
        return ret;
    host = calloc(1, sizeof(*host));
    if (!host)
        return -ENOMEM;
    host->log = (struct log){chosen.log, chosen.log_opaque, chosen.log_level};
    host->trust_clients = chosen.trust_clients;
    owner.opaque = host;
    ret = mdev_registry_new(&host->log, &owner, &host->registry);
    if (ret)
        return ret;
    ret = server_new(&host->log, &host->server);
    if (ret) {
        mdev_registry_free(host->registry);
        return ret;
    }
    pthread_mutex_init(&host->lock, NULL);
    *result = TAKE_POINTER(host);
    return 0;
}

void umdev_host_free(struct umdev_host *host)
{
    if (!host)
        return;
    /* The devices first: their removal ends the sessions, which need the server for that. */
    mdev_registry_free(host->registry);
    server_free(host->server);
    pthread_mutex_destroy(&host->lock);
    free(host);
}

bool umdev_host_sigbus(void *fault_address)
{
    return sigbus_handle(fault_address);
}

/* ------------------------------------------------------------------ parents and types */

int umdev_host_add_parent(struct umdev_host *host, const char *driver, const char *name,
                          const char *const *params, size_t nparams, struct umdev_error *error)
{
    const struct umdev_driver *loaded = NULL;
    void *module = NULL;
    int ret = driver_load(driver, &loaded, &module, error);

    if (ret)
        return ret;
    ret = mdev_parent_add(host->registry, loaded, name, params, nparams, driver_unload, module,
                          error);
    if (ret)
        driver_unload(module);
    return ret;
}

int umdev_host_add_parent_static(struct umdev_host *host, const struct umdev_driver *driver,
                                 const char *name, const char *const *params, size_t nparams,
                                 struct umdev_error *error)
{
    return mdev_parent_add(host->registry, driver, name, params, nparams, NULL, NULL, error);
}

int umdev_host_remove_parent(struct umdev_host *host, const char *name)
{
    return mdev_parent_remove(host->registry, name);
}

struct type_visit {
    int (*each)(void *opaque, const struct umdev_host_type *type);
    void *opaque;
};

static int visit_type(void *opaque, const struct mdev_type_info *info)
{
    const struct type_visit *visit = opaque;
    const struct umdev_host_type type = {
        .parent = info->parent,
        .driver = info->driver,
        .name = info->name,
        .pretty_name = info->pretty_name,
        .description = info->description,
        .device_api = info->device_api,
        .available = info->available,
        .parent_id = info->parent_id,
    };

    return visit->each(visit->opaque, &type);
}

int umdev_host_for_each_type(struct umdev_host *host,
                             int (*each)(void *opaque, const struct umdev_host_type *),
                             void *opaque)
{
    struct type_visit visit = {each, opaque};

    return mdev_for_each_type(host->registry, visit_type, &visit);
}

struct attr_visit {
    int (*each)(void *opaque, const struct umdev_host_attr *attr);
    void *opaque;
};

static int visit_attr(void *opaque, const struct mdev_attr_info *info)
{
    const struct attr_visit *visit = opaque;
    const struct umdev_host_attr attr = {
        .name = info->name,
        .mode = (info->can_show ? 0444u : 0) | (info->can_store ? 0200u : 0),
    };

    return visit->each(visit->opaque, &attr);
}

int umdev_host_for_each_parent_attr(struct umdev_host *host, const char *parent, const char *type,
                                    int (*each)(void *opaque, const struct umdev_host_attr *),
                                    void *opaque)
{
    struct attr_visit visit = {each, opaque};

    return mdev_for_each_parent_attr(host->registry, parent, type, visit_attr, &visit);
}

int umdev_host_parent_attr_read(struct umdev_host *host, const char *parent, const char *type,
                                const char *name, char *buf, size_t size)
{
    return mdev_parent_attr_read(host->registry, parent, type, name, buf, size);
}

int umdev_host_parent_attr_write(struct umdev_host *host, const char *parent, const char *type,
                                 const char *name, const char *buf, size_t len)
{
    return mdev_parent_attr_write(host->registry, parent, type, name, buf, len);
}
