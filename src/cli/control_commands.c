/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket can be asked: from a request's text to an answer's. */
#include "cli/control.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* A request under way. */
struct control_request {
    struct umdev_host *host;
    const char *device; /* a UUID, or NULL */
    json_t *result;
    int fd;
    struct umdev_error error;
};

/* ------------------------------------------------------------------ devices */

/* Every device, or the one that is asked for, as far as that is known under the host's lock. */
struct device_search {
    const char *uuid; /* NULL: all */
    json_t *devices;
};

static int add_device(void *opaque, const struct umdev_host_device *device)
{
    struct device_search *search = opaque;
    json_t *json;

    if (search->uuid && strcasecmp(search->uuid, device->uuid) != 0)
        return 0;
    json = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b}", "uuid", device->uuid, "type", device->type,
                     "parent", device->parent, "driver", device->driver, "socket", device->socket,
                     "connected", device->connected);
    return json_array_append_new(search->devices, json) ? -ENOMEM : 0;
}

/* *devices: a new reference, never empty. ENODEV. */
static int find_devices(struct control_request *request, json_t **devices)
{
    struct device_search search = {request->device, json_array()};
    int ret =
        search.devices ? umdev_host_for_each_device(request->host, add_device, &search) : -ENOMEM;

    if (ret)
        ret = error_set(&request->error, ENOMEM, "out of memory");
    else if (request->device && json_array_size(search.devices) == 0)
        ret = error_set(&request->error, ENODEV, "there is no device %s", request->device);
    if (ret)
        json_decref(search.devices);
    else
        *devices = search.devices;
    return ret;
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
        snprintf(uuid, UMDEV_UUID_STR_SIZE, "%s",
                 json_string_value(json_object_get(json_array_get(devices, 0), "uuid")));
    json_decref(devices);
    return ret;
}

/* ------------------------------------------------------------------ show */

static json_t *stats_json(const struct umdev_host_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"sessions", stats->sessions},
        {"messages", stats->messages},
        {"errors", stats->errors},
        {"traps_read", stats->traps_read},
        {"traps_write", stats->traps_write},
        {"trap_bytes_read", stats->trap_bytes_read},
        {"trap_bytes_written", stats->trap_bytes_written},
        {"dma_maps", stats->dma_maps},
        {"dma_mapped_bytes", stats->dma_mapped_bytes},
        {"dma_bytes_read", stats->dma_bytes_read},
        {"dma_bytes_written", stats->dma_bytes_written},
        {"interrupts", stats->interrupts},
        {"resets", stats->resets},
        {"dma_pinned_bytes", stats->dma_pinned_bytes},
        {"failed", stats->failed},
        {"faults", stats->faults},
        {"refused", stats->refused},
        {"revoked_pages", stats->revoked},
        {"tracked_pages", stats->tracked_pages},
        {"compared_pages", stats->compared_pages},
        {"track_notify", stats->track_notify},
        {"track_method", stats->track_method},
    };
    json_t *json = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (json_object_set_new(json, members[i].name,
                                json_integer((json_int_t)members[i].value))) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

/* null: nothing was refused. */
static json_t *refusal_json(const struct umdev_host_stats *stats)
{
    static const char *const access[] = {"", "read", "write", "read and write"};
    const char *name = strerrorname_np((int)stats->refusal_errno);

    if (!stats->refusal_errno)
        return json_null();
    return json_pack("{s:I, s:I, s:s, s:s, s:I}", "region", (json_int_t)stats->refusal_region,
                     "offset", (json_int_t)stats->refusal_offset, "access",
                     access[stats->refusal_access & UMDEV_RW], "errno", name ? name : "EIO",
                     "age_ms", (json_int_t)stats->refusal_age_ms);
}

static int command_show(struct control_request *request)
{
    json_t *devices = NULL;
    int ret = find_devices(request, &devices);

    for (size_t i = 0; !ret && i < json_array_size(devices);) {
        json_t *device = json_array_get(devices, i);
        struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

        if (umdev_host_get_stats(request->host, json_string_value(json_object_get(device, "uuid")),
                                 &stats))
            json_array_remove(devices, i); /* it went away meanwhile */
        else if (json_object_set_new(device, "stats", stats_json(&stats)) ||
                 json_object_set_new(device, "last_refusal", refusal_json(&stats)))
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

static int command_screenshot(struct control_request *request)
{
    struct umdev_picture picture = {.struct_size = sizeof(picture)};
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret = find_device(request, uuid);

    if (ret)
        return ret;
    ret = umdev_host_screenshot(request->host, uuid, &picture);
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

/* ------------------------------------------------------------------ requests and answers */

static const struct control_command {
    const char *name;
    int (*run)(struct control_request *request);
} commands[] = {
    {"screenshot", command_screenshot},
    {"show", command_show},
};

static int request_run(struct control_request *request, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(request);
    return error_set(&request->error, EINVAL, "no command '%.64s'; there are screenshot and show",
                     name);
}

static int request_parse(struct control_request *request, const char *line, size_t len)
{
    const char *command = NULL;
    json_error_t error;
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    int ret;

    if (!json)
        return error_set(&request->error, EINVAL, "not a line of JSON: %s", error.text);
    if (json_unpack_ex(json, &error, JSON_STRICT, "{s:s, s?s}", "command", &command, "device",
                       &request->device))
        ret = error_set(&request->error, EINVAL,
                        "%s; a request is {\"command\": NAME} or "
                        "{\"command\": NAME, \"device\": UUID}",
                        error.text);
    else
        ret = request_run(request, command);
    json_decref(json);
    return ret;
}

/* What a message quotes of a request may have been cut inside a character. */
static void message_clean(char *message)
{
    json_t *test = json_string(message);

    for (char *c = message; !test && *c; c++)
        if (*c & 0x80)
            *c = '?';
    json_decref(test);
}

static json_t *error_json(struct control_request *request, int ret)
{
    const char *name = strerrorname_np(-ret);

    message_clean(request->error.message);
    return json_pack("{s:{s:s, s:s}}", "error", "errno", name ? name : "EIO", "message",
                     request->error.message);
}

int control_execute(struct umdev_host *host, const char *line, size_t len, char **answer, int *fd)
{
    struct control_request request = {.host = host, .fd = -1};
    int ret = request_parse(&request, line, len);
    json_t *json = ret ? error_json(&request, ret) : json_pack("{s:o}", "result", request.result);
    CLEANUP_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (!text || asprintf(answer, "%s\n", text) < 0) {
        if (request.fd >= 0)
            close(request.fd);
        return -ENOMEM;
    }
    *fd = request.fd;
    return 0;
}
