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

/* Become FOLDER/`place`/`program`, if it is there. */
static void helper_try(const char *folder, const char *place, const char *program, char **argv)
{
    CLEANUP_FREE char *path = NULL;

    if (asprintf(&path, "%s/%s/%s", folder, place, program) < 0)
        path = NULL;
    else
        execv(path, argv);
}

/*
 * Become `program`: where a build puts it, where it is installed beside this one, or where it was
 * to be installed. It finds the command itself in UMDEV_PROGRAM.
 */
static int helper_exec(const char *command, const char *in_build, const char *program, char **argv)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    const char *folder;

    if (len > 0) {
        self[len] = '\0';
        setenv("UMDEV_PROGRAM", self, 1);
        folder = dirname(self);
        helper_try(folder, in_build, program, argv);
        helper_try(folder, UMDEV_HELPER_DIR_FROM_BIN, program, argv);
    }
    helper_try(UMDEV_HELPER_DIR, ".", program, argv);
    return cli_error(command, "can't run %s/%s: %s", UMDEV_HELPER_DIR, program,
                     strerrordesc_np(errno));
}

int cmd_daemon(int argc, char **argv)
{
    (void)argc;
    return helper_exec("daemon", "../daemon", "umdev-daemon", argv);
}

int cmd_demo(int argc, char **argv)
{
    (void)argc;
    return helper_exec("demo", "../demo", "umdev-demo", argv);
}

int cmd_screenshot(int argc, char **argv)
{
    (void)argc;
    return helper_exec("screenshot", "../screenshot", "umdev-screenshot", argv);
}

int cmd_bench(int argc, char **argv)
{
    (void)argc;
    return helper_exec("bench", "../../bench", "umdev-bench", argv);
}
