/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The management tree: reading a device's file, beside a FUSE server of the fewest lines that knows
 * one file. Both are in child processes that mount in a folder of their own.
 */
#include "bench.h"
#include "sysfs/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "uevent"
#define FILE_TEXT "DRIVER=bench\n"

struct tree {
    char path[32];
    unsigned devices;
    pid_t pid;
    int sock;   /* the server ends with it */
    int folder; /* of the file */
};

/* ------------------------------------------------------------------ ours */

/* The last device's UUID is the folder's name. */
static void uuid_of(unsigned n, char uuid[UMDEV_UUID_STR_SIZE])
{
    snprintf(uuid, UMDEV_UUID_STR_SIZE, "%08x-0000-4000-8000-000000000000", n);
}

static int serve_tree(const struct tree *tree, struct umdev_host *host, struct sysfs **mounted)
{
    static const struct log quiet = {.level = UMDEV_LOG_ERROR};
    const struct sysfs_ops ops = sysfs_host_ops(host);
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret = 0;

    for (unsigned n = 1; n <= tree->devices && !ret; n++) {
        uuid_of(n, uuid);
        ret = umdev_host_create(host, NULL, "bench-1", uuid, NULL, NULL);
    }
    return ret ? ret : sysfs_mount(tree->path, &ops, &quiet, mounted);
}

static void serve_ours(int sock, void *arg)
{
    struct umdev_host *host = NULL;
    struct sysfs *mounted = NULL;
    int ret = bench_host_new(&host);

    if (!ret)
        ret = serve_tree(arg, host, &mounted);
    if (write(sock, &ret, sizeof(ret)) == sizeof(ret) && !ret)
        (void)!read(sock, &ret, sizeof(ret));
    sysfs_unmount(mounted);
    umdev_host_free(host);
}

/* ------------------------------------------------------------------ the floor */

static void answer(int fd, const struct fuse_in_header *in, int error, const void *out, size_t size)
{
    struct {
        struct fuse_out_header head;
        char out[256];
    } reply = {.head = {.error = error, .unique = in->unique}};

    reply.head.len = (uint32_t)(sizeof(reply.head) + size);
    if (size)
        memcpy(reply.out, out, size);
    (void)!write(fd, &reply, reply.head.len);
}

static struct fuse_attr attr_of(uint64_t node)
{
    return (struct fuse_attr){
        .ino = node,
        .nlink = 1,
        .size = 4096,
        .mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0444,
    };
}

static void answer_raw(int fd, const struct fuse_in_header *in)
{
    const struct fuse_init_out init = {
        .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 65536};
    const struct fuse_entry_out entry = {
        .nodeid = 2, .generation = 1, .attr_valid = 1 << 30, .attr = attr_of(2)};
    const struct fuse_attr_out attr = {.attr_valid = 1 << 30, .attr = attr_of(in->nodeid)};
    const struct fuse_open_out open = {.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH};

    switch (in->opcode) {
    case FUSE_INIT:
        answer(fd, in, 0, &init, sizeof(init));
        break;
    case FUSE_LOOKUP:
        answer(fd, in, 0, &entry, sizeof(entry));
        break;
    case FUSE_GETATTR:
        answer(fd, in, 0, &attr, sizeof(attr));
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        answer(fd, in, 0, &open, sizeof(open));
        break;
    case FUSE_READ:
        answer(fd, in, 0, FILE_TEXT, strlen(FILE_TEXT));
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        answer(fd, in, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        answer(fd, in, -ENOSYS, NULL, 0);
        break;
    }
}

static int mount_raw(const char *path, int *fd)
{
    char options[96];

    *fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return -errno;
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", *fd);
    return mount("bench", path, "fuse.bench", 0, options) ? -errno : 0;
}

/* It ends when it is unmounted. */
static void serve_raw(int sock, void *arg)
{
    static union {
        struct fuse_in_header in;
        char bytes[1 << 17];
    } request;
    const struct tree *tree = arg;
    int fd = -1;
    int ret = mount_raw(tree->path, &fd);

    if (write(sock, &ret, sizeof(ret)) != sizeof(ret) || ret)
        return;
    while (read(fd, &request, sizeof(request)) > 0 || errno == EINTR || errno == ENOENT)
        answer_raw(fd, &request.in);
}

/* ------------------------------------------------------------------ the client */

static int read_measure(void *state, double *samples, size_t n)
{
    const struct tree *tree = state;
    char text[64];

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int fd = openat(tree->folder, FILE_NAME, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, text, sizeof(text)) != (ssize_t)strlen(FILE_TEXT))
            return fd < 0 ? -errno : -EIO;
        close(fd);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void tree_stop(void *state)
{
    struct tree *tree = state;
    char end;

    if (tree->folder >= 0)
        close(tree->folder);
    if (tree->pid > 0) {
        /* Ours unmounts by itself: when it hangs up it has. */
        shutdown(tree->sock, SHUT_WR);
        if (tree->devices)
            (void)!read(tree->sock, &end, sizeof(end));
        umount2(tree->path, MNT_DETACH);
        close(tree->sock);
        bench_kill(tree->pid);
    }
    rmdir(tree->path);
    free(tree);
}

/* `devices` 0: the floor. */
static int tree_start(int cpu, unsigned devices, struct subject *subject)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    char uuid[UMDEV_UUID_STR_SIZE], path[128];
    int ret = 0;

    if (!tree)
        return -ENOMEM;
    tree->devices = devices;
    tree->folder = -1;
    strcpy(tree->path, "/tmp/umdev-bench-XXXXXX");
    if (!mkdtemp(tree->path)) {
        free(tree);
        return -errno;
    }
    *subject = (struct subject){read_measure, tree_stop, tree};
    tree->pid = bench_spawn(cpu, devices ? serve_ours : serve_raw, tree, &tree->sock);
    if (tree->pid < 0)
        return tree->pid;
    if (read(tree->sock, &ret, sizeof(ret)) != sizeof(ret))
        return -EIO;
    /* No /dev/fuse, no right to mount. */
    if (ret)
        return -ENOTSUP;
    uuid_of(devices, uuid);
    snprintf(path, sizeof(path), devices ? "%s/devices/umdev/bench0/%s" : "%s", tree->path, uuid);
    tree->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return tree->folder < 0 ? -errno : 0;
}

static int rows_start(struct row_run *run, unsigned devices)
{
    int ret = tree_start(run->server_cpu, devices, &run->ours);

    return ret ? ret : tree_start(run->server_cpu, 0, &run->floor);
}

static int read_start(struct row_run *run)
{
    return rows_start(run, 1);
}

static int read_1000_start(struct row_run *run)
{
    return rows_start(run, 1000);
}

const struct row tree_read_row = {
    .name = "tree.read",
    .what = "a device's file of the management tree opened, read and closed",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = read_start,
};

const struct row tree_read_1000_row = {
    .name = "tree.read.1000",
    .what = "the same of the last of 1,000 devices",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 500,
    .start = read_1000_start,
};
