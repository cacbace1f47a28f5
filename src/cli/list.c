/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev list: the devices of a running umdev, a line each.
 */
#include "base/range.h"
#include "cli/asking.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_NAME "list"

static const char help[] = "Usage: umdev list [--json]\n"
                           "List the devices of a running umdev.\n"
                           "\n"
                           "CLIENT is yes while somebody uses a device, KEPT is yes for one that\n"
                           "comes back when the daemon starts again (umdev create --persist).\n"
                           "\n" ASKING_HELP;

static const char *yes(const json_t *device, const char *member)
{
    return json_is_true(json_object_get(device, member)) ? "yes" : "no";
}

static int width(const json_t *devices, const char *member, int least)
{
    const json_t *device;
    size_t i;

    json_array_foreach(devices, i, device) least =
        MAX(least, (int)strlen(asking_text(device, member)));
    return least;
}

static void print_devices(const json_t *devices)
{
    int type = width(devices, "type", 8);
    int parent = width(devices, "parent", 6);
    const json_t *device;
    size_t i;

    printf("%-36s  %-*s  %-*s  CLIENT  KEPT  SOCKET\n", "UUID", type, "TYPE", parent, "PARENT");
    json_array_foreach(devices, i, device)
    {
        printf("%s  %-*s  %-*s  %-6s  %-4s  %s\n", asking_text(device, "uuid"), type,
               asking_text(device, "type"), parent, asking_text(device, "parent"),
               yes(device, "connected"), yes(device, "persistent"), asking_text(device, "socket"));
    }
}

int cmd_list(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    json_t *devices = NULL;
    int ret = asking_parse(&asking, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (optind < argc)
        return cli_usage_error(COMMAND_NAME, "'%s' is one too many; 'umdev show' takes a UUID",
                               argv[optind]);
    ret = asking_devices(&asking, COMMAND_NAME, NULL, &devices);
    if (ret)
        return ret;
    if (asking.json)
        asking_print(devices);
    else
        print_devices(devices);
    json_decref(devices);
    return CLI_OK;
}
