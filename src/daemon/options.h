/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of `umdev daemon`. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "daemon/spec.h"

#include <limits.h>
#include <sys/types.h>

#define COMMAND_NAME "daemon"

struct daemon_options {
    struct parent_spec *specs; /* of --parent, in their order */
    size_t nspecs;
    char dir[PATH_MAX];
    const char *state; /* NULL: nothing is kept */
    const char *sysfs; /* NULL: no management tree */
    unsigned mode;
    gid_t group; /* (gid_t)−1: the process's */
    bool trust_clients, help;
    enum umdev_log_level log_level;
    char state_chosen[PATH_MAX];
};

/* An exit code, after saying what is wrong. options_free() in either case. */
int options_parse(struct daemon_options *options, int argc, char **argv);
void options_free(struct daemon_options *options);
void options_help(void);

#endif
