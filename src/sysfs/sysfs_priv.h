/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct sysfs, for the files of src/sysfs only.
 *
 * Data model. Worker threads take turns: one of them waits for a request (`receiving`), reads it,
 * lets the next one wait and answers it. When none is left to wait another is started; a worker
 * that finds enough others idle ends, and is joined by the next that starts, or at the end.
 * A handle is an open file or folder. The kernel releases each, but for those that are open when
 * the connection is cut: these are freed with the tree.
 *
 * Locks. `lock` guards the workers and the list of handles; a handle's own lock guards its content.
 * None is held while `ops` are called, but for a handle's, and that of the owners when it looks for
 * those of what is gone.
 */
#ifndef SYSFS_SYSFS_PRIV_H
#define SYSFS_SYSFS_PRIV_H

#define FUSE_USE_VERSION 314

#include "sysfs/files.h"
#include "sysfs/mount.h"
#include "sysfs/owners.h"
#include "sysfs/tree.h"

#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <sys/queue.h>

/* One in a folder that was listed. */
struct listed {
    char *name;
    uint64_t number;
    mode_t mode;
};

struct handle {
    TAILQ_ENTRY(handle) link;
    struct node node; /* fixed */
    pthread_mutex_t lock;
    bool made; /* there is a content */
    /* A file's … */
    size_t length;
    char *text; /* FILES_SIZE; NULL: a folder */
    /* … or a folder's. */
    struct listed *listed;
    size_t count, room;
};
TAILQ_HEAD(handle_list, handle);

struct worker {
    TAILQ_ENTRY(worker) link;
    struct sysfs *tree;
    pthread_t thread;
};
TAILQ_HEAD(worker_list, worker);

struct sysfs {
    struct sysfs_ops ops;
    const struct log *log;
    struct mount mount;
    struct fuse_session *session;
    int stop_fd; /* an eventfd: the workers shall end */
    struct owners owners;
    /* What all nodes have until it is changed. */
    uid_t uid;
    gid_t gid;
    struct timespec made;

    pthread_mutex_t receiving; /* who holds it waits for a request */
    pthread_mutex_t lock;
    struct worker_list workers, ended;
    unsigned nworkers, nidle;
    bool stopping; /* sysfs_unmount() joins them all: no worker joins or starts another */
    struct handle_list handles;
};

/* requests.c: what the kernel asks; handles.c: about open files and folders. `userdata`: the tree.
 */
extern const struct fuse_lowlevel_ops sysfs_requests;

void handle_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void handle_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
                 struct fuse_file_info *info);
void handle_write(fuse_req_t req, fuse_ino_t number, const char *data, size_t size, off_t offset,
                  struct fuse_file_info *info);
void handle_opendir(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void handle_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
                    struct fuse_file_info *info);
void handle_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
/* Those that the kernel has not released. */
void handles_free(struct sysfs *tree);

/* A node as stat(2) shows it; `mode`: what it has until it is changed. */
void sysfs_stat(struct sysfs *tree, struct node node, mode_t mode, struct stat *stat);

#endif
