/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/options.h"

#include "base/parse.h"
#include "base/range.h"
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_DIR "/run/umdev"

void options_help(void)
{
    puts(
        "Usage: umdev daemon --parent DRIVER[,name=NAME][,KEY=VALUE...]... [OPTION...]\n"
        "Serve the devices of drivers, which 'umdev create' and 'umdev remove' make and end.\n"
        "\n"
        "  -p, --parent SPEC    open a parent: DRIVER is a name (vgpu) or a file, KEY=VALUE its\n"
        "                       parameters; isolate=yes gives it a process of its own;\n"
        "                       once for each parent\n"
        "  -d, --dir DIR        where the sockets are; $RUNTIME_DIRECTORY, /run/umdev for root,\n"
        "                       $XDG_RUNTIME_DIR/umdev for others by default\n"
        "  -s, --state DIR      where devices of 'umdev create --persist' are kept;\n"
        "                       $STATE_DIRECTORY by default\n"
        "      --sysfs DIR      show parents and devices as files there, as Linux does in /sys\n"
        "  -m, --mode MODE      the sockets' permissions, octal; 600 by default, 660 with --group\n"
        "  -g, --group GROUP    whom the sockets belong to: a name or a number\n"
        "      --trust-clients  clients may have memory that devices of a parent share\n"
        "  -v, --verbose        log connections; twice: failed requests, too\n"
        "  -q, --quiet          log errors only\n"
        "  -h, --help           show this\n"
        "\n"
        "Ends with 0 after SIGINT or SIGTERM.");
}

/* ------------------------------------------------------------------ one option */

static int add_parent(struct daemon_options *options, const char *text)
{
    struct umdev_error error;
    struct parent_spec *larger =
        realloc(options->specs, (options->nspecs + 1) * sizeof(*options->specs));

    if (!larger)
        return cli_error(COMMAND_NAME, "out of memory");
    options->specs = larger;
    if (spec_parse(&options->specs[options->nspecs], text, &error))
        return cli_usage_error(COMMAND_NAME, "--parent: %s", error.message);
    options->nspecs++;
    return CLI_OK;
}

static int parse_group(const char *text, gid_t *group)
{
    char buffer[4096];
    struct group entry, *found = NULL;
    uint64_t number;

    getgrnam_r(text, &entry, buffer, sizeof(buffer), &found);
    if (found)
        *group = entry.gr_gid;
    else if (parse_number(text, &number) || number >= (gid_t)-1)
        return cli_usage_error(COMMAND_NAME, "--group: there is no group '%s'", text);
    else
        *group = (gid_t)number;
    return CLI_OK;
}

/* ------------------------------------------------------------------ the directories */

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* systemd's are lists, separated by colons: the first. */
static int take_first(const char *list, char path[PATH_MAX])
{
    size_t len = strcspn(list, ":");

    if (len >= PATH_MAX)
        return cli_error(COMMAND_NAME, "a path of %zu characters is too long", len);
    memcpy(path, list, len);
    path[len] = '\0';
    return CLI_OK;
}

static int choose_dir(struct daemon_options *options, const char *given)
{
    const char *runtime = variable("XDG_RUNTIME_DIR");

    if (given) {
        if (strlen(given) >= sizeof(options->dir))
            return cli_error(COMMAND_NAME, "--dir: %zu characters are too many", strlen(given));
        memcpy(options->dir, given, strlen(given) + 1);
        return CLI_OK;
    }
    if (variable("RUNTIME_DIRECTORY"))
        return take_first(variable("RUNTIME_DIRECTORY"), options->dir);
    if (variable("UMDEV_DIR"))
        return choose_dir(options, variable("UMDEV_DIR"));
    if (geteuid() == 0)
        return take_first(SYSTEM_DIR, options->dir);
    if (!runtime)
        return cli_usage_error(COMMAND_NAME, "where? give --dir DIR: neither RUNTIME_DIRECTORY nor "
                                             "XDG_RUNTIME_DIR is set");
    snprintf(options->dir, sizeof(options->dir), "%s/umdev", runtime);
    return CLI_OK;
}

static int choose_state(struct daemon_options *options)
{
    const char *list = variable("STATE_DIRECTORY");

    if (options->state || !list)
        return CLI_OK;
    options->state = options->state_chosen;
    return take_first(list, options->state_chosen);
}

/* ------------------------------------------------------------------ all of them */

static int parse_option(struct daemon_options *options, int option, const char **dir, char **argv)
{
    switch (option) {
    case 'p':
        return add_parent(options, optarg);
    case 'd':
        *dir = optarg;
        return CLI_OK;
    case 's':
        options->state = optarg;
        return CLI_OK;
    case 'S':
        options->sysfs = optarg;
        return CLI_OK;
    case 'm':
        return cli_parse_mode(COMMAND_NAME, optarg, &options->mode);
    case 'g':
        return parse_group(optarg, &options->group);
    case 'T':
        options->trust_clients = true;
        return CLI_OK;
    case 'v':
        options->log_level = MIN(options->log_level + 1, UMDEV_LOG_DEBUG);
        return CLI_OK;
    case 'q':
        options->log_level = UMDEV_LOG_ERROR;
        return CLI_OK;
    case 'h':
        options->help = true;
        return CLI_OK;
    default:
        return cli_option_error(COMMAND_NAME, option, argv);
    }
}

static int complete(struct daemon_options *options, const char *dir)
{
    int ret;

    if (options->nspecs == 0)
        return cli_usage_error(COMMAND_NAME,
                               "which parent? give --parent DRIVER[,name=NAME][,KEY=VALUE]...");
    if (!options->mode)
        options->mode = options->group == (gid_t)-1 ? 0600 : 0660;
    ret = choose_dir(options, dir);
    return ret ? ret : choose_state(options);
}

int options_parse(struct daemon_options *options, int argc, char **argv)
{
    static const struct option table[] = {
        {"parent", required_argument, NULL, 'p'},
        {"dir", required_argument, NULL, 'd'},
        {"state", required_argument, NULL, 's'},
        {"mode", required_argument, NULL, 'm'},
        {"group", required_argument, NULL, 'g'},
        {"sysfs", required_argument, NULL, 'S'},   /* no short one */
        {"trust-clients", no_argument, NULL, 'T'}, /* no short one */
        {"verbose", no_argument, NULL, 'v'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *dir = NULL;
    int option;

    *options = (struct daemon_options){.group = (gid_t)-1, .log_level = UMDEV_LOG_WARNING};
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":p:d:s:m:g:vqh", table, NULL)) != -1) {
        int ret = parse_option(options, option, &dir, argv);

        if (ret || options->help)
            return ret;
    }
    if (optind < argc)
        return cli_usage_error(COMMAND_NAME, "'%s' is one too many; parents are --parent SPEC",
                               argv[optind]);
    return complete(options, dir);
}

void options_free(struct daemon_options *options)
{
    for (size_t i = 0; i < options->nspecs; i++)
        spec_free(&options->specs[i]);
    free(options->specs);
}
