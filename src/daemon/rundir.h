/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's run directory.
 *
 *   DIR/lock           held with flock(2) by the daemon of this directory, with its process id in
 * it DIR/control        the control socket DIR/UUID/socket    a device
 *
 * Whoever holds the lock owns all of these: what a daemon before left is removed at the start. The
 * lock goes with its process, so a crash leaves nothing that has to be cleared by hand. Anything
 * else in the directory is left alone.
 */
#ifndef DAEMON_RUNDIR_H
#define DAEMON_RUNDIR_H

#include <limits.h>
#include <sys/types.h>
#include <umdev/types.h>

struct rundir {
    char path[PATH_MAX];
    char *control; /* DIR/control */
    bool made;     /* by us: removed at the end */
    int dir;       /* −1: not open */
    int lock;      /* −1: not held */
    unsigned mode; /* of the sockets */
    gid_t group;   /* … (gid_t)−1: the process's */
};

/* Nothing is open: rundir_close() may be called. */
void rundir_init(struct rundir *rundir);
/*
 * The directory `path` made if need be, locked and cleared. EBUSY: another daemon has it.
 * ENAMETOOLONG: no room for a device's socket in a socket's path. EINVAL: not UTF-8. Others as
 * mkdir(2) and open(2).
 */
int rundir_open(struct rundir *rundir, const char *path, unsigned mode, gid_t group,
                struct umdev_error *error);
/* Removes what is ours. */
void rundir_close(struct rundir *rundir);

/* DIR/UUID, and the path of the socket that is to come in it; malloc'ed. */
int rundir_device_make(const struct rundir *rundir, const char *uuid, char **socket,
                       struct umdev_error *error);
/* What is left of it. */
void rundir_device_remove(const struct rundir *rundir, const char *uuid);
/* Give a socket to the group. */
int rundir_give(const struct rundir *rundir, const char *socket, struct umdev_error *error);

#endif
