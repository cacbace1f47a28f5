/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/socket.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int socket_address(const char *path, struct sockaddr_un *address, struct umdev_error *error)
{
    size_t len = strlen(path);

    if (len == 0)
        return error_set(error, ENOENT, "a socket needs a path, got an empty one");
    if (len >= sizeof(address->sun_path))
        return error_set(error, ENAMETOOLONG,
                         "socket path '%s' has %zu characters, a socket's path at most %zu", path,
                         len, sizeof(address->sun_path) - 1);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, len + 1);
    return 0;
}

/* Remove what a dead server left at `path`. EADDRINUSE: it is alive, or no socket. */
static int socket_remove_dead(const struct sockaddr_un *address, struct umdev_error *error)
{
    const char *path = address->sun_path;
    CLEANUP_FD int probe = -1;
    struct stat status;

    if (lstat(path, &status))
        return errno == ENOENT ? 0
                               : error_set(error, errno, "socket '%s': %s", path, log_errno(errno));
    if (!S_ISSOCK(status.st_mode))
        return error_set(error, EADDRINUSE, "'%s' is there already and is no socket", path);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return -errno;
    if (!connect(probe, (const struct sockaddr *)address, sizeof(*address)) ||
        errno != ECONNREFUSED)
        return error_set(error, EADDRINUSE, "socket '%s' is in use by another server", path);
    if (unlink(path))
        return error_set(error, errno, "can't replace the dead socket '%s': %s", path,
                         log_errno(errno));
    return 0;
}

/* A listening socket bound to exactly this address. */
static int socket_bind(const struct sockaddr_un *address, unsigned mode, int *result)
{
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ret;

    /* On Linux bind() makes the file with the socket's own mode: never a moment of more access. */
    if (fd < 0 || fchmod(fd, mode) || bind(fd, (const struct sockaddr *)address, sizeof(*address)))
        return -errno;
    if (chmod(address->sun_path, mode) || listen(fd, 64)) {
        ret = -errno;
        unlink(address->sun_path);
        return ret;
    }
    *result = take_fd(&fd);
    return 0;
}

int socket_listen(const char *path, unsigned mode, int *result, struct umdev_error *error)
{
    struct sockaddr_un address, temporary = {.sun_family = AF_UNIX};
    size_t size = sizeof(temporary.sun_path);
    CLEANUP_FD int fd = -1;
    int ret = socket_address(path, &address, error);

    if (!ret)
        ret = socket_remove_dead(&address, error);
    if (ret)
        return ret;
    /*
     * Who waits for the file and then connects must find a server: it gets its name when it
     * listens. Where that name leaves no room for another one, there is a moment without.
     */
    if ((size_t)snprintf(temporary.sun_path, size, "%s.%d", path, getpid()) >= size)
        temporary = address;
    ret = socket_bind(&temporary, mode ? mode : 0600, &fd);
    if (!ret && strcmp(temporary.sun_path, path) != 0 && rename(temporary.sun_path, path)) {
        ret = -errno;
        unlink(temporary.sun_path);
    }
    if (ret)
        return error_set(error, -ret, "can't make socket '%s': %s", path, log_errno(-ret));
    *result = take_fd(&fd);
    return 0;
}

int socket_connect(const char *path, int *result, struct umdev_error *error)
{
    struct sockaddr_un address;
    CLEANUP_FD int fd = -1;
    int ret = socket_address(path, &address, error);

    if (ret)
        return ret;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(error, errno, "can't make a socket: %s", log_errno(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        if (errno == ENOENT)
            return error_set(error, ENOENT, "there is no socket '%s'", path);
        if (errno == ECONNREFUSED)
            return error_set(error, ECONNREFUSED, "nobody listens at '%s' (any more)", path);
        return error_set(error, errno, "can't connect to '%s': %s", path, log_errno(errno));
    }
    *result = take_fd(&fd);
    return 0;
}

static bool socket_has(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
}

bool socket_is_unix_end(int fd, int type)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);

    return socket_has(fd, SO_DOMAIN, AF_UNIX) && socket_has(fd, SO_TYPE, type) &&
           socket_has(fd, SO_ACCEPTCONN, 0) &&
           getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}
