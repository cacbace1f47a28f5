/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/state.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX    ".json"
#define TEMPORARY ".new"
/* UUID.json.new */
#define NAME_SIZE (UMDEV_UUID_STR_SIZE + sizeof(SUFFIX) + sizeof(TEMPORARY))
/* What is longer was not written here. */
#define FILE_MAX 65536

int state_open(struct state *state, const char *path, struct umdev_error *error)
{
    *state = (struct state){.dir = -1, .path = path};
    if (!path)
        return 0;
    if (mkdir(path, 0755) && errno != EEXIST)
        return error_set(error, errno, "can't make the state directory '%s': %s", path,
                         log_errno(errno));
    state->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state->dir < 0)
        return error_set(error, errno, "can't use the state directory '%s': %s", path,
                         log_errno(errno));
    return 0;
}

void state_close(struct state *state)
{
    if (state->dir >= 0)
        close(state->dir);
    state->dir = -1;
}

/* ------------------------------------------------------------------ writing */

static void name_of(char name[NAME_SIZE], const char *uuid, const char *end)
{
    snprintf(name, NAME_SIZE, "%s" SUFFIX "%s", uuid, end);
}

static int file_write(int fd, const char *text)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t written = write(fd, text, size);

        if (written < 0 && errno != EINTR)
            return -errno;
        if (written > 0) {
            text += written;
            size -= (size_t)written;
        }
    }
    return fsync(fd) ? -errno : 0;
}

static int file_replace(const struct state *state, const char *uuid, const char *text)
{
    char name[NAME_SIZE], temporary[NAME_SIZE];
    CLEANUP_FD int fd = -1;
    int ret;

    name_of(name, uuid, "");
    name_of(temporary, uuid, TEMPORARY);
    fd = openat(state->dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    ret = file_write(fd, text);
    if (!ret && renameat(state->dir, temporary, state->dir, name))
        ret = -errno;
    if (ret)
        unlinkat(state->dir, temporary, 0);
    else
        fsync(state->dir);
    return ret;
}

int state_keep(const struct state *state, const char *uuid, const char *type, const char *parent,
               struct umdev_error *error)
{
    json_t *json;
    CLEANUP_FREE char *text = NULL;
    int ret;

    if (state->dir < 0)
        return error_set(error, EOPNOTSUPP,
                         "this daemon keeps no devices: it was started without --state DIR");
    json = json_pack("{s:s, s:s, s:s}", "uuid", uuid, "type", type, "parent", parent);
    text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    ret = text ? file_replace(state, uuid, text) : -ENOMEM;
    if (ret)
        return error_set(error, -ret, "can't keep device %s in '%s': %s", uuid, state->path,
                         log_errno(-ret));
    return 0;
}

int state_drop(const struct state *state, const char *uuid)
{
    char name[NAME_SIZE];

    if (state->dir < 0)
        return -ENOENT;
    name_of(name, uuid, "");
    if (unlinkat(state->dir, name, 0))
        return -errno;
    fsync(state->dir);
    return 0;
}

/* ------------------------------------------------------------------ reading */

bool state_has(const struct state *state, const char *uuid)
{
    char name[NAME_SIZE];

    name_of(name, uuid, "");
    return state->dir >= 0 && faccessat(state->dir, name, F_OK, 0) == 0;
}

static json_t *file_load(const struct state *state, const char *name, json_error_t *error)
{
    CLEANUP_FD int fd = openat(state->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status)) {
        snprintf(error->text, sizeof(error->text), "%s", log_errno(errno));
        return NULL;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > FILE_MAX) {
        snprintf(error->text, sizeof(error->text), "not a file of at most %d bytes", FILE_MAX);
        return NULL;
    }
    return json_loadfd(fd, JSON_REJECT_DUPLICATES, error);
}

/* Whether the file is that device's: "UUID.json". */
static bool is_named(const char *name, const char *uuid)
{
    char right[NAME_SIZE];

    name_of(right, uuid, "");
    return strcmp(name, right) == 0;
}

static void file_visit(const struct state *state, const struct log *log, const char *name,
                       void (*each)(void *opaque, const struct state_device *device), void *opaque)
{
    json_error_t error = {.text = ""};
    json_t *json = file_load(state, name, &error);
    struct state_device device;

    if (!json || json_unpack_ex(json, &error, 0, "{s:s, s:s, s:s}", "uuid", &device.uuid, "type",
                                &device.type, "parent", &device.parent))
        log_print(log, UMDEV_LOG_WARNING, NULL, "skipped '%s/%s', which is no device: %s",
                  state->path, name, error.text);
    else if (!is_named(name, device.uuid))
        log_print(log, UMDEV_LOG_WARNING, NULL, "skipped '%s/%s', which is of another device: %s",
                  state->path, name, device.uuid);
    else
        each(opaque, &device);
    json_decref(json);
}

static int is_json(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return len > strlen(SUFFIX) && strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) == 0;
}

void state_for_each(const struct state *state, const struct log *log,
                    void (*each)(void *opaque, const struct state_device *device), void *opaque)
{
    struct dirent **entries = NULL;
    int count;

    if (state->dir < 0)
        return;
    count = scandirat(state->dir, ".", &entries, is_json, alphasort);
    if (count < 0)
        log_print(log, UMDEV_LOG_WARNING, NULL, "can't read the state directory '%s': %s",
                  state->path, log_errno(errno));
    for (int i = 0; i < count; i++) {
        file_visit(state, log, entries[i]->d_name, each, opaque);
        free(entries[i]);
    }
    free(entries);
}
