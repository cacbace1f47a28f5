/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/helper.h"

#include "base/cleanup.h"
#include "cli/cli.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#ifndef UMDEV_HELPER_DIR
#error "the build defines UMDEV_HELPER_DIR"
#endif

/*
 * Become `program`: in a build tree where the build puts it, else where it is installed. It finds
 * the command itself in UMDEV_PROGRAM.
 */
static int helper_exec(const char *command, const char *in_build, const char *program, char **argv)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    CLEANUP_FREE char *path = NULL;

    if (len > 0) {
        self[len] = '\0';
        setenv("UMDEV_PROGRAM", self, 1);
        if (asprintf(&path, "%s/%s/%s", dirname(self), in_build, program) < 0)
            return cli_error(command, "out of memory");
        if (access(path, X_OK) == 0)
            execv(path, argv);
        free(path);
        path = NULL;
    }
    if (asprintf(&path, "%s/%s", UMDEV_HELPER_DIR, program) < 0)
        return cli_error(command, "out of memory");
    execv(path, argv);
    return cli_error(command, "can't run %s: %s", path, strerrordesc_np(errno));
}

int cmd_demo(int argc, char **argv)
{
    (void)argc;
    return helper_exec("demo", "../demo", "umdev-demo", argv);
}

int cmd_bench(int argc, char **argv)
{
    (void)argc;
    return helper_exec("bench", "../../bench", "umdev-bench", argv);
}
