/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/rundir.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <uuid/uuid.h>

#define LOCK_NAME    "lock"
#define CONTROL_NAME "control"
#define SOCKET_NAME  "socket"

/* The longest that is made here: /UUID/socket. */
#define PATH_BELOW (1 + UMDEV_UUID_STR_SIZE - 1 + sizeof("/" SOCKET_NAME))

void rundir_init(struct rundir *rundir)
{
    *rundir = (struct rundir){.dir = -1, .lock = -1, .group = (gid_t)-1};
}

/* ------------------------------------------------------------------ the directory */

static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);

    json_decref(string);
    return string != NULL;
}

/* Absolute, for answers that others read in a directory of theirs. */
static int directory_make(struct rundir *rundir, const char *path, struct umdev_error *error)
{
    const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - PATH_BELOW;

    if (!*path)
        return error_set(error, EINVAL, "the run directory needs a path, got an empty one");
    if (mkdir(path, 0755) == 0)
        rundir->made = true;
    else if (errno != EEXIST)
        return error_set(error, errno, "can't make the run directory '%s': %s", path,
                         log_errno(errno));
    rundir->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rundir->dir < 0 || !realpath(path, rundir->path))
        return error_set(error, errno, "can't use the run directory '%s': %s", path,
                         log_errno(errno));
    if (strlen(rundir->path) > room)
        return error_set(error, ENAMETOOLONG,
                         "the run directory '%s' has %zu characters; at most %zu leave room for a "
                         "device's socket",
                         rundir->path, strlen(rundir->path), room);
    if (!is_utf8(rundir->path))
        return error_set(error, EINVAL, "the run directory's path '%s' is not UTF-8", path);
    return 0;
}

/* ------------------------------------------------------------------ the lock */

static int lock_refused(const struct rundir *rundir, int fd, struct umdev_error *error)
{
    char pid[16] = "";
    ssize_t len = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[len > 0 ? (size_t)len : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    return error_set(error, EBUSY,
                     "the run directory '%s' belongs to another daemon, process %s; use another "
                     "--dir, or end that one",
                     rundir->path, *pid ? pid : "unknown");
}

/*
 * 1: the file was removed by its last owner before it was ours. Nobody else may open it: whoever
 * can, can hold it and keep the next daemon out.
 */
static int lock_try(struct rundir *rundir, struct umdev_error *error)
{
    CLEANUP_FD int fd =
        openat(rundir->dir, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat held, named;

    if (fd < 0)
        return error_set(error, errno, "can't make '%s/" LOCK_NAME "': %s", rundir->path,
                         log_errno(errno));
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            return lock_refused(rundir, fd, error);
        return error_set(error, errno, "can't lock '%s/" LOCK_NAME "': %s", rundir->path,
                         log_errno(errno));
    }
    if (fstat(fd, &held) || fstatat(rundir->dir, LOCK_NAME, &named, AT_SYMLINK_NOFOLLOW) ||
        held.st_ino != named.st_ino)
        return 1;
    rundir->lock = take_fd(&fd);
    if (ftruncate(rundir->lock, 0) || dprintf(rundir->lock, "%d\n", getpid()) < 0)
        return error_set(error, errno, "can't write '%s/" LOCK_NAME "': %s", rundir->path,
                         log_errno(errno));
    return 0;
}

/* ------------------------------------------------------------------ devices' directories */

static bool is_uuid(const char *name)
{
    uuid_t uuid;

    return uuid_parse(name, uuid) == 0;
}

/* A folder to be read; NULL: it can't be. */
static DIR *folder_open(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

/* The socket, and one that was on its way to that name (socket_listen()). */
static void sockets_remove(int parent, const char *uuid)
{
    DIR *dir = folder_open(parent, uuid);
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        struct stat status;

        if (strncmp(entry->d_name, SOCKET_NAME, strlen(SOCKET_NAME)) == 0 &&
            fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISSOCK(status.st_mode))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

void rundir_device_remove(const struct rundir *rundir, const char *uuid)
{
    sockets_remove(rundir->dir, uuid);
    unlinkat(rundir->dir, uuid, AT_REMOVEDIR);
}

static void devices_remove(const struct rundir *rundir)
{
    DIR *dir = folder_open(rundir->dir, ".");
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        if (is_uuid(entry->d_name))
            rundir_device_remove(rundir, entry->d_name);
    closedir(dir);
}

int rundir_device_make(const struct rundir *rundir, const char *uuid, char **socket,
                       struct umdev_error *error)
{
    if (mkdirat(rundir->dir, uuid, 0755) && errno != EEXIST)
        return error_set(error, errno, "can't make '%s/%s': %s", rundir->path, uuid,
                         log_errno(errno));
    if (asprintf(socket, "%s/%s/" SOCKET_NAME, rundir->path, uuid) < 0) {
        *socket = NULL;
        rundir_device_remove(rundir, uuid);
        return error_set(error, ENOMEM, "out of memory");
    }
    return 0;
}

int rundir_give(const struct rundir *rundir, const char *socket, struct umdev_error *error)
{
    if (rundir->group != (gid_t)-1 && chown(socket, (uid_t)-1, rundir->group))
        return error_set(error, errno, "can't give '%s' to group %u: %s", socket,
                         (unsigned)rundir->group, log_errno(errno));
    return 0;
}

/* ------------------------------------------------------------------ all of it */

int rundir_open(struct rundir *rundir, const char *path, unsigned mode, gid_t group,
                struct umdev_error *error)
{
    int ret = directory_make(rundir, path, error);

    rundir->mode = mode;
    rundir->group = group;
    if (ret)
        return ret;
    do
        ret = lock_try(rundir, error);
    while (ret == 1);
    if (ret)
        return ret;
    devices_remove(rundir);
    if (asprintf(&rundir->control, "%s/" CONTROL_NAME, rundir->path) < 0) {
        rundir->control = NULL;
        return error_set(error, ENOMEM, "out of memory");
    }
    return 0;
}

void rundir_close(struct rundir *rundir)
{
    if (rundir->lock >= 0) {
        devices_remove(rundir);
        /* While it is held: who opens it now finds out that it is not the one any more. */
        unlinkat(rundir->dir, LOCK_NAME, 0);
        close(rundir->lock);
    }
    /* Where somebody else has put something, it stays. */
    if (rundir->made)
        rmdir(rundir->path);
    if (rundir->dir >= 0)
        close(rundir->dir);
    free(rundir->control);
    rundir_init(rundir);
}
