/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "base/socket.h"
#include "host/host_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------ for the registry */

int host_device_attach(void *opaque, struct mdev_device *entry, void **attached)
{
    struct host_device *hd = calloc(1, sizeof(*hd));

    if (!hd)
        return -ENOMEM;
    hd->host = opaque;
    hd->entry = entry;
    if (hd->host->trust_clients)
        device_trust_clients(mdev_umdev(entry));
    *attached = hd;
    return 0;
}

void host_device_detach(void *opaque, void *attached)
{
    struct umdev_host *host = opaque;
    struct host_device *hd = attached;
    struct server_listener *listener;

    pthread_mutex_lock(&host->lock);
    hd->going = true;
    listener = TAKE_POINTER(hd->listener);
    pthread_mutex_unlock(&host->lock);
    if (listener)
        server_listener_close(listener);
    server_disconnect(host->server, hd);
}

void host_device_release(void *opaque, void *attached)
{
    struct host_device *hd = attached;

    (void)opaque;
    free(hd->path);
    free(hd);
}

static bool host_device_is_going(struct host_device *hd)
{
    LOCK_FOR_SCOPE(&hd->host->lock);
    return hd->going;
}

/* ------------------------------------------------------------------ for the server */

static struct umdev_device *target_get(void *opaque)
{
    struct host_device *hd = opaque;

    return mdev_ref(hd->entry) ? NULL : mdev_umdev(hd->entry);
}

static void target_put(void *opaque)
{
    struct host_device *hd = opaque;

    mdev_put(hd->entry);
}

static const struct server_target host_target = {target_get, target_put};

/* ------------------------------------------------------------------ life */

int umdev_host_create(struct umdev_host *host, const char *parent, const char *type,
                      const char *uuid, char uuid_out[UMDEV_UUID_STR_SIZE],
                      struct umdev_error *error)
{
    return mdev_create(host->registry, parent, type, uuid, uuid_out, error);
}

int umdev_host_remove(struct umdev_host *host, const char *uuid)
{
    return mdev_remove(host->registry, uuid);
}

/* ------------------------------------------------------------------ sockets */

/* The device's only socket is on its way: one that fails calls forget_socket(). */
static int reserve_socket(struct host_device *hd, const char *path, struct umdev_error *error)
{
    CLEANUP_FREE char *copy = path ? strdup(path) : NULL;

    if (path && !copy)
        return error_set(error, ENOMEM, "out of memory");
    LOCK_FOR_SCOPE(&hd->host->lock);
    if (hd->going)
        return error_set(error, ENODEV, "device %s is being removed", mdev_uuid(hd->entry));
    if (hd->has_socket)
        return error_set(error, EEXIST, "device %s has a socket already: %s", mdev_uuid(hd->entry),
                         hd->path ? hd->path : "one that was handed over");
    hd->has_socket = true;
    hd->path = TAKE_POINTER(copy);
    return 0;
}

static void forget_socket(struct host_device *hd)
{
    LOCK_FOR_SCOPE(&hd->host->lock);
    hd->has_socket = false;
    free(TAKE_POINTER(hd->path));
}

/* The fd is the server's if 0 is returned. The device may be on its way out already. */
static int start_listener(struct host_device *hd, int fd, const char *path)
{
    struct umdev_host *host = hd->host;
    struct server_listener *listener = NULL;
    bool going;
    int ret =
        server_listen(host->server, fd, path, mdev_uuid(hd->entry), &host_target, hd, &listener);

    if (ret)
        return ret;
    pthread_mutex_lock(&host->lock);
    going = hd->going;
    if (!going)
        hd->listener = listener;
    pthread_mutex_unlock(&host->lock);
    /* As if the removal had come a moment later: the socket was there and is gone. */
    if (going)
        server_listener_close(listener);
    return 0;
}

static int listen_at_path(struct host_device *hd, const char *path, unsigned mode,
                          struct umdev_error *error)
{
    CLEANUP_FD int fd = -1;
    int ret = socket_listen(path, mode ? mode : 0600, &fd, error);

    if (ret)
        return ret;
    ret = start_listener(hd, fd, path);
    if (ret) {
        unlink(path);
        return error_set(error, -ret, "can't serve '%s': %s", path, log_errno(-ret));
    }
    take_fd(&fd);
    return 0;
}

int umdev_host_listen(struct umdev_host *host, const char *uuid, const char *path, unsigned mode,
                      struct umdev_error *error)
{
    struct mdev_device *entry = NULL;
    struct host_device *hd;
    int ret = mdev_get(host->registry, uuid, &entry);

    if (ret)
        return error_set(error, -ret, "there is no device %s", uuid);
    hd = mdev_attached(entry);
    ret = reserve_socket(hd, path, error);
    if (!ret) {
        ret = listen_at_path(hd, path, mode, error);
        if (ret)
            forget_socket(hd);
    }
    mdev_put(entry);
    return ret;
}

/* EINVAL: not a socket of streams, or of the other kind of what is wanted. */
static int check_socket(int fd, bool want_listening)
{
    int type = 0;
    int listening = 0;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size))
        return errno == EBADF ? -EBADF : -EINVAL;
    size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size))
        return -errno;
    return type == SOCK_STREAM && (listening != 0) == want_listening ? 0 : -EINVAL;
}

int umdev_host_listen_fd(struct umdev_host *host, const char *uuid, int fd)
{
    struct mdev_device *entry = NULL;
    struct host_device *hd;
    int ret = check_socket(fd, true);

    if (!ret)
        ret = mdev_get(host->registry, uuid, &entry);
    if (ret)
        return ret;
    hd = mdev_attached(entry);
    ret = reserve_socket(hd, NULL, NULL);
    if (!ret) {
        ret = start_listener(hd, fd, NULL);
        if (ret)
            forget_socket(hd);
    }
    mdev_put(entry);
    return ret;
}

int umdev_host_serve_fd(struct umdev_host *host, const char *uuid, int fd)
{
    struct mdev_device *entry = NULL;
    struct host_device *hd;
    int ret = check_socket(fd, false);

    if (!ret)
        ret = mdev_get(host->registry, uuid, &entry);
    if (ret)
        return ret;
    hd = mdev_attached(entry);
    ret = server_serve(host->server, fd, mdev_uuid(entry), &host_target, hd);
    /* Taken over, but maybe too late for the removal to see it. */
    if (!ret && host_device_is_going(hd))
        server_disconnect(host->server, hd);
    mdev_put(entry);
    return ret;
}

/* ------------------------------------------------------------------ what is there */

static void fill_fault_stats(struct umdev_device *dev, struct umdev_host_stats *stats)
{
    struct device_fault_stats now;

    device_get_fault_stats(dev, &now);
    stats->faults = now.resolved;
    stats->refused = now.refused;
    stats->revoked = now.revoked;
    if (!now.last.error)
        return;
    stats->refusal_errno = (uint64_t)now.last.error;
    stats->refusal_region = now.last.region;
    stats->refusal_offset = now.last.offset;
    stats->refusal_access = now.last.access;
    stats->refusal_age_ms = (clock_now_ns() - now.last.when_ns) / 1000000;
}

int umdev_host_get_stats(struct umdev_host *host, const char *uuid, struct umdev_host_stats *stats)
{
    struct mdev_device *entry = NULL;
    struct device_stats now;
    struct umdev_host_stats all;
    size_t size = stats->struct_size;
    int ret;

    if (size < sizeof(stats->struct_size))
        return -EINVAL;
    ret = mdev_get(host->registry, uuid, &entry);
    if (ret)
        return ret;
    device_get_stats(mdev_umdev(entry), &now);
    all = (struct umdev_host_stats){
        .struct_size = size,
        .sessions = now.sessions,
        .connected = device_is_open(mdev_umdev(entry)),
        .messages = now.messages,
        .traps_read = now.traps_read,
        .traps_write = now.traps_write,
        .trap_bytes_read = now.trap_bytes_read,
        .trap_bytes_written = now.trap_bytes_written,
        .dma_maps = now.dma.maps,
        .dma_mapped_bytes = now.dma.mapped_bytes,
        .dma_bytes_read = now.dma.bytes_read,
        .dma_bytes_written = now.dma.bytes_written,
        .interrupts = now.interrupts,
        .resets = now.resets,
        .errors = now.errors,
        .dma_pinned_bytes = now.dma.pinned_bytes,
        .failed = now.failed,
        .tracked_pages = now.track.pages,
        .compared_pages = now.track.compared,
        .track_notify = now.track.mode == UMDEV_TRACK_NOTIFY,
        .track_method = now.track.method,
    };
    fill_fault_stats(mdev_umdev(entry), &all);
    mdev_put(entry);
    memcpy(stats, &all, MIN(size, sizeof(all)));
    return 0;
}

int umdev_host_screenshot(struct umdev_host *host, const char *uuid, struct umdev_picture *picture)
{
    struct mdev_device *entry = NULL;
    int ret = mdev_get(host->registry, uuid, &entry);

    if (ret)
        return ret;
    ret = device_screenshot(mdev_umdev(entry), picture);
    mdev_put(entry);
    return ret;
}

/* ------------------------------------------------------------------ attributes */

int umdev_host_for_each_attr(struct umdev_host *host, const char *uuid,
                             int (*each)(void *opaque, const struct umdev_host_attr *),
                             void *opaque)
{
    struct mdev_device *entry = NULL;
    const struct umdev_attr *attrs;
    size_t count;
    int ret = mdev_get(host->registry, uuid, &entry);

    if (ret)
        return ret;
    attrs = device_attrs(mdev_umdev(entry), &count);
    for (size_t i = 0; i < count && !ret; i++) {
        const struct umdev_host_attr attr = {
            .name = attrs[i].name,
            .mode = (attrs[i].show ? 0444u : 0) | (attrs[i].store ? 0200u : 0),
        };

        ret = each(opaque, &attr);
    }
    mdev_put(entry);
    return ret;
}

int umdev_host_attr_read(struct umdev_host *host, const char *uuid, const char *name, char *buf,
                         size_t size)
{
    struct mdev_device *entry = NULL;
    int ret = mdev_get(host->registry, uuid, &entry);

    if (ret)
        return ret;
    ret = device_attr_read(mdev_umdev(entry), name, buf, size);
    mdev_put(entry);
    return ret;
}

int umdev_host_attr_write(struct umdev_host *host, const char *uuid, const char *name,
                          const char *buf, size_t len)
{
    struct mdev_device *entry = NULL;
    int ret = mdev_get(host->registry, uuid, &entry);

    if (ret)
        return ret;
    ret = device_attr_write(mdev_umdev(entry), name, buf, len);
    mdev_put(entry);
    return ret;
}

/* ------------------------------------------------------------------ which devices */

struct device_visit {
    struct umdev_host *host;
    int (*each)(void *opaque, const struct umdev_host_device *device);
    void *opaque;
};

static int visit_device(void *opaque, const struct mdev_device_info *info)
{
    const struct device_visit *visit = opaque;
    const struct host_device *hd = info->attached;
    struct umdev_host_device device = {
        .uuid = info->uuid,
        .type = info->type,
        .parent = info->parent,
        .driver = info->driver,
        .id = info->id,
        .parent_id = info->parent_id,
        .connected = device_is_open(info->dev),
    };

    /* The path of a listener that is up stays until the device is released. */
    pthread_mutex_lock(&visit->host->lock);
    if (hd->listener)
        device.socket = hd->path;
    pthread_mutex_unlock(&visit->host->lock);
    return visit->each(visit->opaque, &device);
}

int umdev_host_for_each_device(struct umdev_host *host,
                               int (*each)(void *opaque, const struct umdev_host_device *),
                               void *opaque)
{
    struct device_visit visit = {host, each, opaque};

    return mdev_for_each_device(host->registry, visit_device, &visit);
}
