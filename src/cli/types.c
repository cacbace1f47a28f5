/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev types: what devices can be created, and how many more.
 */
#include "base/range.h"
#include "cli/asking.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_NAME "types"

static const char help[] = "Usage: umdev types [--json]\n"
                           "Show the types of devices that a running umdev can create.\n"
                           "\n"
                           "FREE is how many more of a type there is room for.\n"
                           "\n" ASKING_HELP;

/* As wide as the longest name; names are ASCII. */
struct widths {
    int type, parent;
    bool parents; /* there are several, so that they are shown */
};

static void measure(const json_t *types, struct widths *widths)
{
    const char *first = NULL;
    const json_t *type;
    size_t i;

    json_array_foreach(types, i, type)
    {
        const char *parent = asking_text(type, "parent");

        widths->type = MAX(widths->type, (int)strlen(asking_text(type, "name")));
        widths->parent = MAX(widths->parent, (int)strlen(parent));
        widths->parents |= first && strcmp(first, parent) != 0;
        first = parent;
    }
}

static void print_types(const json_t *types)
{
    struct widths widths = {.type = 12, .parent = 6};
    const json_t *type;
    size_t i;

    measure(types, &widths);
    printf("%-*s  ", widths.type, "TYPE");
    if (widths.parents)
        printf("%-*s  ", widths.parent, "PARENT");
    printf("%-4s  DESCRIPTION\n", "FREE");
    json_array_foreach(types, i, type)
    {
        const json_t *available = json_object_get(type, "available");
        const char *description = json_string_value(json_object_get(type, "description"));

        printf("%-*s  ", widths.type, asking_text(type, "name"));
        if (widths.parents)
            printf("%-*s  ", widths.parent, asking_text(type, "parent"));
        if (json_is_integer(available))
            printf("%-4lld  ", json_integer_value(available));
        else
            printf("%-4s  ", "any");
        puts(description ? description : asking_text(type, "pretty_name"));
    }
}

int cmd_types(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    json_t *result = NULL;
    const json_t *types;
    int ret = asking_parse(&asking, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (optind < argc)
        return cli_usage_error(COMMAND_NAME, "'%s' is one too many", argv[optind]);
    ret = asking_ask(&asking, control_request_new(COMMAND_NAME, NULL), &result, NULL);
    if (ret)
        return ret;
    types = json_object_get(result, "types");
    if (asking.json)
        asking_print(types);
    else
        print_types(types);
    json_decref(result);
    return CLI_OK;
}
