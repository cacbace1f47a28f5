/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's devices as a source: requests and answers over its socket. */
#include "base/cleanup.h"
#include "base/range.h"
#include "control/control.h"
#include "control/stats.h"
#include "daemon/worker_priv.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

/* ------------------------------------------------------------------ what it has told */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/*
 * With the lock, as the next ones: what is noted is in the order of the answers. It is a copy, as
 * is what is given out, so that no JSON is two threads'. A device that there is no memory for is
 * not shown while the worker is busy.
 */
static void note_created(struct worker *worker, const json_t *device)
{
    const char *uuid = text_of(device, "uuid");

    LOCK_FOR_SCOPE(&worker->told_lock);
    if (!worker->devices)
        worker->devices = json_object();
    if (uuid)
        json_object_set_new(worker->devices, uuid, json_deep_copy(device));
}

/* Of those that were created here, and there are no others. */
static void note_listed(struct worker *worker, const json_t *devices)
{
    const json_t *device;
    size_t i;

    LOCK_FOR_SCOPE(&worker->told_lock);
    json_array_foreach(devices, i, device)
    {
        const char *uuid = text_of(device, "uuid");
        json_t *known = uuid ? json_object_get(worker->devices, uuid) : NULL;
        bool connected = json_is_true(json_object_get(device, "connected"));

        json_object_set_new(known, "connected", json_boolean(connected));
    }
}

static void note_removed(struct worker *worker, const char *uuid)
{
    LOCK_FOR_SCOPE(&worker->told_lock);
    json_object_del(worker->devices, uuid);
}

/* NULL: it was not about them. */
static void note_types(struct worker *worker, const json_t *types)
{
    if (!types)
        return;
    LOCK_FOR_SCOPE(&worker->told_lock);
    json_decref(worker->types);
    worker->types = json_deep_copy(types);
}

static void forget_all(struct worker *worker)
{
    LOCK_FOR_SCOPE(&worker->told_lock);
    json_decref(TAKE_POINTER(worker->types));
    json_decref(TAKE_POINTER(worker->devices));
}

/* A new array; NULL: nothing was told. */
static json_t *told_types(struct worker *worker)
{
    LOCK_FOR_SCOPE(&worker->told_lock);
    return json_deep_copy(worker->types);
}

/* A new array: of one device, or of all (NULL). */
static json_t *told_devices(struct worker *worker, const char *uuid)
{
    json_t *devices = json_array();
    const char *known;
    json_t *device;

    LOCK_FOR_SCOPE(&worker->told_lock);
    json_object_foreach(worker->devices, known, device)
    {
        if (!uuid || strcmp(uuid, known) == 0)
            json_array_append_new(devices, json_deep_copy(device));
    }
    return devices;
}

/* ------------------------------------------------------------------ questions */

void worker_hang_up(struct worker *worker)
{
    if (worker->sock >= 0)
        close(take_fd(&worker->sock));
    forget_all(worker);
}

/* With the lock. */
static int ask(struct worker *worker, json_t *request, json_t **result, int *fd,
               struct umdev_error *error)
{
    int refusal = 0;
    int ret;

    if (worker->sock < 0) {
        json_decref(request);
        return error_set(error, EIO, "the process of parent %s has ended", worker_name(worker));
    }
    ret = control_ask_at(worker->sock, request, result, fd, &refusal, error);
    if (ret == -EREMOTEIO)
        return -refusal;
    if (ret == -ENOMEM)
        return error_set(error, ENOMEM, "out of memory");
    if (!ret) {
        note_types(worker, json_object_get(*result, "types"));
        return 0;
    }
    /* What did not answer in time, or wrongly, would answer the next request with the rest. */
    worker_hang_up(worker);
    if (worker->pid > 0)
        kill(worker->pid, SIGKILL);
    if (ret == -EAGAIN)
        return error_set(error, EIO, "the process of parent %s gave no answer and was ended",
                         worker_name(worker));
    return error_set(error, EIO, "the process of parent %s has ended", worker_name(worker));
}

int worker_ask(struct worker *worker, json_t *request, json_t **result, int *fd,
               struct umdev_error *error)
{
    LOCK_FOR_SCOPE(&worker->lock);
    return ask(worker, request, result, fd, error);
}

/*
 * Whether no request of others takes longer than that. By the clock that can be set, for the sake
 * of ThreadSanitizer, which knows no other wait: it makes the wait another one, and no more.
 */
static bool lock_to_look(struct worker *worker)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WORKER_LOOK_MS % 1000 * 1000000L;
    until.tv_sec += WORKER_LOOK_MS / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(&worker->lock, &until) == 0;
}

/* ------------------------------------------------------------------ from JSON */

/* Whether it is complete. */
static bool type_of(const json_t *json, struct umdev_host_type *type)
{
    const json_t *available = json_object_get(json, "available");

    *type = (struct umdev_host_type){
        .parent = text_of(json, "parent"),
        .driver = text_of(json, "driver"),
        .name = text_of(json, "name"),
        .pretty_name = text_of(json, "pretty_name"),
        .description = text_of(json, "description"),
        .device_api = text_of(json, "device_api"),
        .available =
            json_is_integer(available) ? (unsigned)json_integer_value(available) : UINT_MAX,
    };
    return type->parent && type->driver && type->name;
}

static bool device_of(const json_t *json, struct umdev_host_device *device)
{
    *device = (struct umdev_host_device){
        .uuid = text_of(json, "uuid"),
        .type = text_of(json, "type"),
        .parent = text_of(json, "parent"),
        .driver = text_of(json, "driver"),
        .socket = text_of(json, "socket"),
        .connected = json_is_true(json_object_get(json, "connected")),
    };
    return device->uuid && device->type && device->parent && device->driver;
}

/* *types: a new reference, or NULL. */
static int look_at_types(struct worker *worker, json_t **types)
{
    json_t *result = NULL;
    int ret;

    if (!lock_to_look(worker)) {
        *types = told_types(worker);
        return 0;
    }
    ret = ask(worker, control_request_new("types", NULL), &result, NULL, NULL);
    *types = json_incref(json_object_get(result, "types"));
    pthread_mutex_unlock(&worker->lock);
    json_decref(result);
    return ret;
}

/* *devices: a new reference, or NULL: to one device, or to all (NULL). */
static int look_at_devices(struct worker *worker, const char *uuid, json_t **devices)
{
    json_t *result = NULL;
    int ret;

    if (!lock_to_look(worker)) {
        *devices = told_devices(worker, uuid);
        return uuid && json_array_size(*devices) == 0 ? -ENODEV : 0;
    }
    ret = ask(worker, control_request_new("list", uuid), &result, NULL, NULL);
    *devices = json_incref(json_object_get(result, "devices"));
    note_listed(worker, *devices);
    pthread_mutex_unlock(&worker->lock);
    json_decref(result);
    return ret;
}

static int worker_for_each_type(void *opaque, source_each_type each, void *each_opaque)
{
    json_t *types = NULL;
    const json_t *json;
    struct umdev_host_type type;
    size_t i;
    int ret = look_at_types(opaque, &types);

    json_array_foreach(types, i, json)
    {
        if (type_of(json, &type))
            ret = each(each_opaque, &type);
        if (ret)
            break;
    }
    json_decref(types);
    return ret;
}

/* Of one device, or of all (NULL). */
static int worker_list(void *opaque, const char *uuid, source_each_device each, void *each_opaque)
{
    json_t *devices = NULL;
    const json_t *json;
    struct umdev_host_device device;
    size_t i;
    int ret = look_at_devices(opaque, uuid, &devices);

    json_array_foreach(devices, i, json)
    {
        if (device_of(json, &device))
            ret = each(each_opaque, &device);
        if (ret)
            break;
    }
    json_decref(devices);
    return ret;
}

static int worker_for_each_device(void *opaque, source_each_device each, void *each_opaque)
{
    return worker_list(opaque, NULL, each, each_opaque);
}

/* A worker that is down has none. */
static int worker_find_device(void *opaque, const char *uuid, source_each_device each,
                              void *each_opaque)
{
    int ret = worker_list(opaque, uuid, each, each_opaque);

    return ret == -EIO ? -ENODEV : ret;
}

static int worker_get_stats(void *opaque, const char *uuid, struct umdev_host_stats *stats)
{
    struct umdev_host_stats all;
    json_t *result = NULL;
    const json_t *json;
    size_t size = stats->struct_size;
    int ret;

    if (size < sizeof(stats->struct_size))
        return -EINVAL;
    ret = worker_ask(opaque, control_request_new("show", uuid), &result, NULL, NULL);
    if (ret)
        return ret == -EIO ? -ENODEV : ret;
    json = json_array_get(json_object_get(result, "devices"), 0);
    if (!json) {
        json_decref(result);
        return -ENODEV; /* it went away meanwhile */
    }
    stats_from_json(json_object_get(json, "stats"), json_object_get(json, "last_refusal"), &all);
    all.struct_size = size;
    all.connected = json_is_true(json_object_get(json, "connected"));
    json_decref(result);
    memcpy(stats, &all, MIN(size, sizeof(all)));
    return 0;
}

/* ------------------------------------------------------------------ attributes */

/* A request about them; "attribute" and "value" may be NULL. */
static json_t *owner_request(const char *command, const struct source_owner *owner,
                             const char *attribute, json_t *value)
{
    return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:o*}", "command", command, "device",
                     owner->uuid, "parent", owner->parent, "type", owner->type, "attribute",
                     attribute, "value", value);
}

static int worker_for_each_attr(void *opaque, const struct source_owner *owner,
                                source_each_attr each, void *each_opaque)
{
    json_t *result = NULL;
    const json_t *json;
    size_t i;
    int ret =
        worker_ask(opaque, owner_request("attributes", owner, NULL, NULL), &result, NULL, NULL);

    json_array_foreach(json_object_get(result, "attributes"), i, json)
    {
        const struct umdev_host_attr attr = {
            .name = text_of(json, "name"),
            .mode = (json_is_true(json_object_get(json, "readable")) ? 0444 : 0) |
                    (json_is_true(json_object_get(json, "writable")) ? 0200 : 0),
        };

        ret = attr.name ? each(each_opaque, &attr) : 0;
        if (ret)
            break;
    }
    json_decref(result);
    return ret;
}

static int worker_attr_read(void *opaque, const struct source_owner *owner, const char *name,
                            char *buf, size_t size)
{
    json_t *result = NULL;
    int ret =
        worker_ask(opaque, owner_request("attribute", owner, name, NULL), &result, NULL, NULL);
    const json_t *value = json_object_get(result, "value");

    if (!ret && json_is_string(value)) {
        size_t len = MIN(json_string_length(value), size);

        /* No string, but a file's bytes. */
        memcpy(buf, json_string_value(value), len);
        ret = (int)len;
    }
    json_decref(result);
    return ret;
}

/* What is no text can't be sent: EILSEQ. */
static int worker_attr_write(void *opaque, const struct source_owner *owner, const char *name,
                             const char *buf, size_t len)
{
    json_t *result = NULL;
    json_t *value = memchr(buf, '\0', len) ? NULL : json_stringn(buf, len);
    int ret;

    if (!value)
        return -EILSEQ;
    ret = worker_ask(opaque, owner_request("attribute", owner, name, value), &result, NULL, NULL);
    json_decref(result);
    return ret;
}

/* ------------------------------------------------------------------ pictures */

static int read_all(int fd, void *data, size_t size)
{
    char *bytes = data;
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(fd, bytes + done, size - done, (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -EIO;
        done += (size_t)got;
    }
    return 0;
}

static int worker_screenshot(void *opaque, const char *uuid, struct umdev_picture *picture)
{
    CLEANUP_FD int fd = -1;
    json_t *result = NULL;
    int width = 0;
    int height = 0;
    int ret = worker_ask(opaque, control_request_new("screenshot", uuid), &result, &fd, NULL);

    if (!ret && (fd < 0 || json_unpack(result, "{s:i, s:i}", "width", &width, "height", &height) ||
                 width < 0 || height < 0))
        ret = -EIO;
    json_decref(result);
    if (!ret)
        ret = umdev_picture_alloc(picture, (uint32_t)width, (uint32_t)height);
    if (ret)
        return ret;
    ret = read_all(fd, picture->pixels, (size_t)width * (size_t)height * sizeof(*picture->pixels));
    if (ret)
        umdev_picture_free(picture);
    return ret;
}

/* ------------------------------------------------------------------ life */

static int worker_create(void *opaque, const struct source_create *create,
                         char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    struct worker *worker = opaque;
    json_t *result = NULL;
    json_t *request = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:i}", "command", "create", "type",
                                create->type, "uuid", create->uuid, "parent", create->parent,
                                "socket", create->socket, "mode", (int)create->mode);
    const char *answer;
    int ret;

    {
        LOCK_FOR_SCOPE(&worker->lock);
        ret = ask(worker, request, &result, NULL, error);
        note_created(worker, result);
    }
    answer = text_of(result, "uuid");
    if (!ret && answer)
        snprintf(uuid, UMDEV_UUID_STR_SIZE, "%s", answer);
    else if (!ret)
        ret = error_set(error, EIO, "an answer without a UUID");
    json_decref(result);
    return ret;
}

static int worker_remove(void *opaque, const char *uuid, struct umdev_error *error)
{
    struct worker *worker = opaque;
    json_t *result = NULL;
    int ret;

    {
        LOCK_FOR_SCOPE(&worker->lock);
        ret = ask(worker, control_request_new("remove", uuid), &result, NULL, error);
        note_removed(worker, uuid);
    }
    json_decref(result);
    return ret;
}

struct source worker_source(struct worker *worker)
{
    return (struct source){
        .for_each_type = worker_for_each_type,
        .for_each_device = worker_for_each_device,
        .find_device = worker_find_device,
        .get_stats = worker_get_stats,
        .screenshot = worker_screenshot,
        .for_each_attr = worker_for_each_attr,
        .attr_read = worker_attr_read,
        .attr_write = worker_attr_write,
        .create = worker_create,
        .remove = worker_remove,
        .opaque = worker,
    };
}
