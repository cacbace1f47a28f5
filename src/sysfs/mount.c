/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs/mount.h"

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DEVICE       "/dev/fuse"
#define HELPER       "fusermount3"
#define HELPER_FD    3 /* where it finds its socket */
#define OPTIONS      "default_permissions"
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

/* ------------------------------------------------------------------ what is mounted */

/* Without a request to the server of what is mounted there. */
static int look_at(const char *path, unsigned *dev_major, unsigned *dev_minor)
{
    struct statx now;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW,
              STATX_TYPE, &now))
        return -errno;
    if (!S_ISDIR(now.stx_mode))
        return -ENOTDIR;
    *dev_major = now.stx_dev_major;
    *dev_minor = now.stx_dev_minor;
    return 0;
}

/* Whether its server has died, whatever the kernel remembers of it. */
static bool is_dead(const char *path)
{
    struct statx now;

    return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &now) &&
           errno == ENOTCONN;
}

/* ------------------------------------------------------------------ the helper of users */

/*
 * `sock` −1: it needs none. The helper's exit status, or −errno. 0 also where the program has its
 * children forgotten (SIGCHLD ignored), so that there is no status.
 */
static int run_helper(char *const *argv, int sock)
{
    CLEANUP_FREE char *path = NULL;
    char comm_fd[] = "_FUSE_COMMFD=3";
    char *envp[] = {comm_fd, NULL, NULL};
    const char *search = getenv("PATH"); /* NOLINT(concurrency-mt-unsafe) */
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status, ret;

    if (asprintf(&path, "PATH=%s", search ? search : DEFAULT_PATH) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    envp[1] = path;
    posix_spawn_file_actions_init(&actions);
    if (sock >= 0)
        posix_spawn_file_actions_adddup2(&actions, sock, HELPER_FD);
    ret = posix_spawnp(&pid, HELPER, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    if (ret)
        return -ret;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return errno == ECHILD ? 0 : -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

/* The helper sends the connection with one byte. */
static int receive_connection(int sock, int *fd)
{
    struct fd_array fds;
    char byte;
    ssize_t got;

    fd_array_init(&fds);
    got = fdpass_recv(sock, &byte, sizeof(byte), &fds);
    *fd = fd_array_take(&fds, 0);
    fd_array_close(&fds);
    if (*fd >= 0)
        return 0;
    return got < 0 ? (int)got : -EPERM;
}

static int mount_by_helper(const char *path, const struct log *log, int *fd)
{
    char options[] = OPTIONS ",nosuid,nodev,noexec,fsname=umdev,subtype=umdev";
    char *argv[] = {(char *)HELPER, (char *)"-o", options, (char *)"--", (char *)path, NULL};
    int socks[2];
    int ret;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
        return -errno;
    ret = run_helper(argv, socks[1]);
    close(socks[1]);
    if (ret < 0)
        log_print(log, UMDEV_LOG_ERROR, NULL, "can't run %s, which mounts for users: %s", HELPER,
                  log_errno(-ret));
    else if (ret > 0)
        log_print(log, UMDEV_LOG_ERROR, NULL, "%s can't mount at '%s': it said why", HELPER, path);
    ret = ret ? -EPERM : receive_connection(socks[0], fd);
    close(socks[0]);
    return ret;
}

/* ------------------------------------------------------------------ mounting */

static int mount_as_root(const char *path, int *fd)
{
    char options[160];
    CLEANUP_FD int dev = open(DEVICE, O_RDWR | O_CLOEXEC);

    if (dev < 0)
        return -errno;
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other," OPTIONS, dev, geteuid(),
             getegid());
    if (mount("umdev", path, "fuse.umdev", MS_NOSUID | MS_NODEV | MS_NOEXEC, options))
        return -errno;
    *fd = take_fd(&dev);
    return 0;
}

static void detach(const char *path)
{
    char *argv[] = {(char *)HELPER, (char *)"-u", (char *)"-q", (char *)"-z",
                    (char *)"--",   (char *)path, NULL};

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) && errno == EPERM)
        run_helper(argv, -1);
}

/*
 * Where the directory is, as an absolute path. One that a server has left behind when it died
 * can't be looked at; but its name is known.
 */
static int resolve(const char *mountpoint, const struct log *log, char **path)
{
    struct stat now;

    if (is_dead(mountpoint)) {
        log_print(log, UMDEV_LOG_WARNING, NULL,
                  "'%s' is a mount whose server has died: it is taken away", mountpoint);
        detach(mountpoint);
    }
    *path = realpath(mountpoint, NULL);
    if (!*path)
        return -errno;
    if (stat(*path, &now))
        return -errno;
    return S_ISDIR(now.st_mode) ? 0 : -ENOTDIR;
}

int mount_begin(struct mount *mount, const char *mountpoint, const struct log *log, int *fd)
{
    CLEANUP_FREE char *path = NULL;
    int ret = resolve(mountpoint, log, &path);

    if (ret) {
        log_print(log, UMDEV_LOG_ERROR, NULL, "can't mount at '%s': %s", mountpoint,
                  log_errno(-ret));
        return ret;
    }
    if (geteuid() == 0)
        ret = mount_as_root(path, fd);
    if (geteuid() != 0)
        ret = access(DEVICE, R_OK | W_OK) ? -errno : mount_by_helper(path, log, fd);
    if (ret) {
        log_print(log, UMDEV_LOG_ERROR, NULL, "can't mount at '%s' by %s: %s", path, DEVICE,
                  log_errno(-ret));
        return ret;
    }
    ret = look_at(path, &mount->dev_major, &mount->dev_minor);
    if (ret) {
        close(take_fd(fd));
        detach(path);
        return ret;
    }
    mount->path = TAKE_POINTER(path);
    return 0;
}

/*
 * Whether what is at the mountpoint is ours. The number of a filesystem is free for others as soon
 * as it is gone, and our connection ends then; it also ends where somebody cut it (fusectl).
 */
static bool is_ours(const struct mount *mount, int fd)
{
    struct pollfd connection = {.fd = fd};
    unsigned dev_major = 0, dev_minor = 0;

    if (poll(&connection, 1, 0) == 1 && (connection.revents & POLLERR))
        return is_dead(mount->path);
    return look_at(mount->path, &dev_major, &dev_minor) == 0 && dev_major == mount->dev_major &&
           dev_minor == mount->dev_minor;
}

void mount_end(struct mount *mount, const struct log *log, int fd)
{
    if (is_ours(mount, fd))
        detach(mount->path);
    else
        log_print(log, UMDEV_LOG_INFO, NULL, "'%s' was unmounted already", mount->path);
    free(TAKE_POINTER(mount->path));
}
