/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket tells of devices that are there. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"
#include "control/request.h"
#include "control/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* ------------------------------------------------------------------ devices */

static const char *device_uuid(const json_t *device)
{
    return json_string_value(json_object_get(device, "uuid"));
}

static int add_device(void *opaque, const struct umdev_host_device *device)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b}", "uuid", device->uuid, "type",
                             device->type, "parent", device->parent, "driver", device->driver,
                             "socket", device->socket, "connected", device->connected);

    return json_array_append_new(opaque, json) ? -ENOMEM : 0;
}

/* Once the source's locks are free. */
static int add_persistence(const struct source *source, json_t *devices)
{
    json_t *device;
    size_t i;

    json_array_foreach(devices, i, device)
    {
        bool persistent =
            source->is_persistent && source->is_persistent(source->opaque, device_uuid(device));

        if (json_object_set_new(device, "persistent", json_boolean(persistent)))
            return -ENOMEM;
    }
    return 0;
}

/* *devices: a new reference, to all or to the one that is named. ENODEV. */
static int find_devices(struct control_request *request, json_t **devices)
{
    const struct source *source = request->source;
    json_t *found = json_array();
    int ret = -ENOMEM;

    if (found && request->device)
        ret = source->find_device(source->opaque, request->device, add_device, found);
    else if (found)
        ret = source->for_each_device(source->opaque, add_device, found);
    if (!ret)
        ret = add_persistence(source, found);
    if (ret) {
        json_decref(found);
        if (ret == -ENODEV)
            return error_set(&request->error, ENODEV, "there is no device %s", request->device);
        return error_set(&request->error, -ret, "%s", log_errno(-ret));
    }
    *devices = found;
    return 0;
}

/* The UUID of the device that is meant: the one that is named, or the only one. */
static int find_device(struct control_request *request, char uuid[UMDEV_UUID_STR_SIZE])
{
    json_t *devices = NULL;
    size_t count;
    int ret = find_devices(request, &devices);

    if (ret)
        return ret;
    count = json_array_size(devices);
    if (count == 0)
        ret = error_set(&request->error, ENODEV, "there is no device");
    else if (count > 1)
        ret = error_set(&request->error, EINVAL, "which one of the %zu devices? name it", count);
    else
        snprintf(uuid, UMDEV_UUID_STR_SIZE, "%s", device_uuid(json_array_get(devices, 0)));
    json_decref(devices);
    return ret;
}

/* ------------------------------------------------------------------ list and show */

int control_list(struct control_request *request)
{
    json_t *devices = NULL;
    int ret = find_devices(request, &devices);

    if (!ret)
        request->result = json_pack("{s:o}", "devices", devices);
    return ret;
}

int control_show(struct control_request *request)
{
    json_t *devices = NULL;
    int ret = find_devices(request, &devices);

    for (size_t i = 0; !ret && i < json_array_size(devices);) {
        json_t *device = json_array_get(devices, i);
        struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

        if (request->source->get_stats(request->source->opaque, device_uuid(device), &stats))
            json_array_remove(devices, i); /* it went away meanwhile */
        else if (json_object_set_new(device, "stats", stats_to_json(&stats)) ||
                 json_object_set_new(device, "last_refusal", stats_refusal_to_json(&stats)))
            ret = error_set(&request->error, ENOMEM, "out of memory");
        else
            i++;
    }
    if (!ret)
        request->result = json_pack("{s:O}", "devices", devices);
    json_decref(devices);
    return ret;
}

/* ------------------------------------------------------------------ screenshot */

static int write_all(int fd, const void *data, size_t size)
{
    const char *bytes = data;

    while (size > 0) {
        ssize_t written = write(fd, bytes, size);

        if (written < 0 && errno != EINTR)
            return -errno;
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/* The pixels as a file that nobody can change any more. −errno, or the fd. */
static int picture_fd(const struct umdev_picture *picture)
{
    CLEANUP_FD int fd = memfd_create("umdev-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int ret;

    if (fd < 0)
        return -errno;
    ret = write_all(fd, picture->pixels,
                    (size_t)picture->width * picture->height * sizeof(*picture->pixels));
    if (ret)
        return ret;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
        return -errno;
    return take_fd(&fd);
}

static int screenshot_error(struct control_request *request, const char *uuid, int ret)
{
    switch (ret) {
    case -ENODATA:
        return error_set(&request->error, ENODATA, "the screen of device %s is off", uuid);
    case -EOPNOTSUPP:
        return error_set(&request->error, EOPNOTSUPP, "device %s has no screen", uuid);
    default:
        return error_set(&request->error, -ret, "no picture of device %s: %s", uuid,
                         strerrordesc_np(-ret));
    }
}

int control_screenshot(struct control_request *request)
{
    struct umdev_picture picture = {.struct_size = sizeof(picture)};
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret = find_device(request, uuid);

    if (ret)
        return ret;
    ret = request->source->screenshot(request->source->opaque, uuid, &picture);
    if (!ret) {
        ret = picture_fd(&picture);
        request->fd = ret < 0 ? -1 : ret;
    }
    if (ret < 0)
        ret = screenshot_error(request, uuid, ret);
    else
        ret = 0;
    if (!ret)
        request->result =
            json_pack("{s:s, s:i, s:i, s:s}", "uuid", uuid, "width", (int)picture.width, "height",
                      (int)picture.height, "format", "XRGB8888");
    umdev_picture_free(&picture);
    return ret;
}
