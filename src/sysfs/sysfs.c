/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cleanup.h"
#include "base/thread.h"
#include "sysfs/sysfs_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#define MAX_IDLE 4 /* workers that stay though there is nothing to do */

/* ------------------------------------------------------------------ workers */

/* Until there is one, and read it. 0: there will be none any more. */
static int receive(struct sysfs *tree, struct fuse_buf *buf)
{
    struct pollfd fds[] = {
        {.fd = tree->stop_fd, .events = POLLIN},
        {.fd = fuse_session_fd(tree->session), .events = POLLIN},
    };
    int ret;

    LOCK_FOR_SCOPE(&tree->receiving);
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 0;
        if (fds[0].revents || fuse_session_exited(tree->session))
            return 0;
        ret = fuse_session_receive_buf(tree->session, buf);
        /* Others: it was for nobody any more, or went back into the queue. */
        if (ret >= 0)
            return ret;
    }
}

static void *work(void *argument);

/* With the lock held. */
static void join_ended(struct sysfs *tree)
{
    struct worker *worker;

    while ((worker = TAILQ_FIRST(&tree->ended)) != NULL) {
        TAILQ_REMOVE(&tree->ended, worker, link);
        pthread_join(worker->thread, NULL);
        free(worker);
    }
}

/* With the lock held. */
static int start_worker(struct sysfs *tree)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    int ret;

    if (!worker)
        return -ENOMEM;
    worker->tree = tree;
    ret = thread_start(&worker->thread, work, worker);
    if (ret) {
        free(worker);
        return ret;
    }
    TAILQ_INSERT_TAIL(&tree->workers, worker, link);
    tree->nworkers++;
    tree->nidle++;
    return 0;
}

/* From waiting to answering: another waits instead, if there can be one. */
static void begin_answer(struct sysfs *tree)
{
    LOCK_FOR_SCOPE(&tree->lock);
    tree->nidle--;
    if (tree->stopping || tree->nidle > 0 || tree->nworkers >= SYSFS_MAX_THREADS)
        return;
    join_ended(tree);
    start_worker(tree);
}

/* And back. False: enough others wait. */
static bool end_answer(struct sysfs *tree)
{
    LOCK_FOR_SCOPE(&tree->lock);
    if (tree->nidle >= MAX_IDLE)
        return false;
    tree->nidle++;
    return true;
}

static void *work(void *argument)
{
    struct worker *self = argument;
    struct sysfs *tree = self->tree;
    struct fuse_buf buf = {0};
    bool idle = true;

    while (idle && receive(tree, &buf) > 0) {
        begin_answer(tree);
        fuse_session_process_buf(tree->session, &buf);
        idle = end_answer(tree);
    }
    free(buf.mem);
    LOCK_FOR_SCOPE(&tree->lock);
    if (idle)
        tree->nidle--;
    tree->nworkers--;
    TAILQ_REMOVE(&tree->workers, self, link);
    TAILQ_INSERT_TAIL(&tree->ended, self, link);
    return NULL;
}

/* Waits for requests that are being answered. */
static void stop_workers(struct sysfs *tree)
{
    eventfd_write(tree->stop_fd, 1);
    pthread_mutex_lock(&tree->lock);
    tree->stopping = true;
    while (!TAILQ_EMPTY(&tree->workers) || !TAILQ_EMPTY(&tree->ended)) {
        struct worker *worker = TAILQ_FIRST(&tree->ended);

        if (!worker)
            worker = TAILQ_FIRST(&tree->workers);
        /* One that works moves to `ended` under the lock, so it is still in one of the lists. */
        pthread_mutex_unlock(&tree->lock);
        pthread_join(worker->thread, NULL);
        pthread_mutex_lock(&tree->lock);
        TAILQ_REMOVE(&tree->ended, worker, link);
        free(worker);
    }
    pthread_mutex_unlock(&tree->lock);
}

/* ------------------------------------------------------------------ life */

static bool is_there(void *opaque, uint64_t number)
{
    const struct sysfs *tree = opaque;

    return find_owner(&tree->ops, node_of(number));
}

static void tree_free(struct sysfs *tree)
{
    handles_free(tree);
    owners_fini(&tree->owners);
    if (tree->session)
        fuse_session_destroy(tree->session);
    if (tree->stop_fd >= 0)
        close(tree->stop_fd);
    pthread_mutex_destroy(&tree->receiving);
    pthread_mutex_destroy(&tree->lock);
    free(tree);
}

static struct sysfs *tree_new(const struct sysfs_ops *ops, const struct log *log)
{
    struct sysfs *tree = calloc(1, sizeof(*tree));

    if (!tree)
        return NULL;
    tree->ops = *ops;
    tree->log = log;
    tree->stop_fd = -1;
    tree->uid = geteuid();
    tree->gid = getegid();
    clock_gettime(CLOCK_REALTIME, &tree->made);
    pthread_mutex_init(&tree->receiving, NULL);
    pthread_mutex_init(&tree->lock, NULL);
    TAILQ_INIT(&tree->workers);
    TAILQ_INIT(&tree->ended);
    TAILQ_INIT(&tree->handles);
    owners_init(&tree->owners, is_there, tree);
    return tree;
}

static int make_session(struct sysfs *tree)
{
    char name[] = "umdev";
    char *argv[] = {name, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);

    tree->session = fuse_session_new(&args, &sysfs_requests, sizeof(sysfs_requests), tree);
    fuse_opt_free_args(&args);
    if (!tree->session)
        return -ENOMEM;
    tree->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return tree->stop_fd < 0 ? -errno : 0;
}

/* The session owns the connection, whatever comes of it. */
static int adopt_connection(struct sysfs *tree, int fd)
{
    char path[32];
    int ret = 0;

    snprintf(path, sizeof(path), "/dev/fd/%d", fd);
    if (fuse_session_mount(tree->session, path)) {
        mount_end(&tree->mount, tree->log, fd);
        close(fd);
        return -EIO;
    }
    /* Several workers can't each be stuck in a read when the tree ends. */
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
        ret = -errno;
    pthread_mutex_lock(&tree->lock);
    if (!ret)
        ret = start_worker(tree);
    pthread_mutex_unlock(&tree->lock);
    if (ret)
        mount_end(&tree->mount, tree->log, fd);
    return ret;
}

int sysfs_mount(const char *mountpoint, const struct sysfs_ops *ops, const struct log *log,
                struct sysfs **result)
{
    struct sysfs *tree = tree_new(ops, log);
    int fd = -1;
    int ret;

    if (!tree)
        return -ENOMEM;
    ret = make_session(tree);
    if (!ret)
        ret = mount_begin(&tree->mount, mountpoint, log, &fd);
    if (!ret)
        ret = adopt_connection(tree, fd);
    if (ret) {
        tree_free(tree);
        return ret;
    }
    log_print(log, UMDEV_LOG_INFO, NULL, "the management tree is at '%s'", tree->mount.path);
    *result = tree;
    return 0;
}

void sysfs_unmount(struct sysfs *tree)
{
    if (!tree)
        return;
    /* While it is still answered: who looks now sees the tree or what is below, no error. */
    mount_end(&tree->mount, tree->log, fuse_session_fd(tree->session));
    stop_workers(tree);
    tree_free(tree);
}
