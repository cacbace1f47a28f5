/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev create: a new device of a running daemon.
 */
#include "cli/asking.h"
#include "cli/cli.h"

#include <stdio.h>

#define COMMAND_NAME "create"

static const char help[] =
    "Usage: umdev create TYPE [--uuid UUID] [--parent NAME] [--persist] [--json]\n"
    "Create a device, and print its UUID and its socket.\n"
    "\n"
    "TYPE is one of 'umdev types'.\n"
    "\n"
    "  -u, --uuid UUID     name the device; random by default\n"
    "  -p, --parent NAME   of this parent; the first that has room by default\n"
    "  -k, --persist       it comes back when the daemon starts again\n" ASKING_HELP;

struct options {
    struct asking asking;
    const char *type, *uuid, *parent;
    bool persist;
};

static int parse_options(struct options *options, int argc, char **argv)
{
    static const struct option table[] = {
        ASKING_OPTIONS,
        {"uuid", required_argument, NULL, 'u'},
        {"parent", required_argument, NULL, 'p'},
        {"persist", no_argument, NULL, 'k'},
        {0},
    };
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ASKING_LETTERS "u:p:k", table, NULL)) != -1) {
        if (option == 'u')
            options->uuid = optarg;
        else if (option == 'p')
            options->parent = optarg;
        else if (option == 'k')
            options->persist = true;
        else if (!asking_option(&options->asking, option))
            return cli_option_error(COMMAND_NAME, option, argv);
    }
    if (options->asking.help)
        return CLI_OK;
    if (optind == argc)
        return cli_usage_error(COMMAND_NAME, "which type? 'umdev types' lists them");
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one type, please; '%s' is one too many",
                               argv[optind + 1]);
    options->type = argv[optind];
    return CLI_OK;
}

int cmd_create(int argc, char **argv)
{
    struct options options = {.asking = {.command = COMMAND_NAME}};
    json_t *result = NULL;
    json_t *request;
    int ret = parse_options(&options, argc, argv);

    if (ret)
        return ret;
    if (options.asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    request =
        json_pack("{s:s, s:s, s:s*, s:s*, s:b}", "command", COMMAND_NAME, "type", options.type,
                  "uuid", options.uuid, "parent", options.parent, "persist", options.persist);
    ret = asking_ask(&options.asking, request, &result, NULL);
    if (ret)
        return ret;
    if (options.asking.json)
        asking_print(result);
    else
        printf("%s  %s\n", asking_text(result, "uuid"), asking_text(result, "socket"));
    json_decref(result);
    return CLI_OK;
}
