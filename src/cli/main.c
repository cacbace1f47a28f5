/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command `umdev`: finds the subcommand and hands over.
 */
#include "base/range.h"
#include "cli/cli.h"
#include "cli/helper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifndef UMDEV_VERSION
#error "the build defines UMDEV_VERSION"
#endif

static const struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "serve one device at a socket", cmd_run},
    {"daemon", "serve the devices of drivers", cmd_daemon},
    {"types", "list what devices can be created", cmd_types},
    {"list", "list a running umdev's devices", cmd_list},
    {"create", "create a device", cmd_create},
    {"remove", "remove devices", cmd_remove},
    {"show", "show devices and what they have done", cmd_show},
    {"stats", "show devices' counters, for people or Prometheus", cmd_stats},
    {"top", "watch devices at work", cmd_top},
    {"screenshot", "write what a device's screen shows", cmd_screenshot},
    {"cdi", "describe devices to container engines", cmd_cdi},
    {"probe", "show what a vfio-user server offers", cmd_probe},
    {"demo", "virtual machines share one GPU", cmd_demo},
    {"bench", "measure what things cost", cmd_bench},
};

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void usage(FILE *out)
{
    fputs("Usage: umdev COMMAND [ARGUMENT...]\n"
          "Mediated devices in userspace.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n  --version  show the version\n"
          "  --help     show this; 'umdev COMMAND --help' tells more\n",
          out);
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "umdev: no command '%s'; there are", name);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(stderr, " %s", commands[i].name);
    fputs("\nTry 'umdev --help'.\n", stderr);
    return CLI_USAGE;
}

/* `umdev help COMMAND` is `umdev COMMAND --help`. */
static int help(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        usage(stdout);
        return CLI_OK;
    }
    command = command_find(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    return command->run(2, (char *[]){argv[1], (char[]){"--help"}, NULL});
}

static int run(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("umdev " UMDEV_VERSION);
        return CLI_OK;
    }
    command = command_find(argv[1]);
    return command ? command->run(argc - 1, argv + 1) : unknown_command(argv[1]);
}

int main(int argc, char **argv)
{
    int code = run(argc, argv);

    /* A full disk must not look like success. */
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "umdev: cannot write the output: %m\n");
        return code == CLI_OK ? CLI_FAILED : code;
    }
    return code;
}
