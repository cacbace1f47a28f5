/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev remove: a device of a running daemon goes.
 */
#include "cli/asking.h"
#include "cli/cli.h"

#include <stdio.h>

#define COMMAND_NAME "remove"

static const char help[] = "Usage: umdev remove UUID... [--json]\n"
                           "Remove devices. Their clients are disconnected; what was persistent\n"
                           "does not come back.\n"
                           "\n" ASKING_HELP;

/* Each of them, also after one that failed. The exit code of the last that did. */
static int remove_devices(struct asking *asking, char **uuids, json_t *removed)
{
    int code = CLI_OK;

    for (; *uuids; uuids++) {
        json_t *result = NULL;
        int ret = asking_ask(asking, control_request_new(COMMAND_NAME, *uuids), &result, NULL);

        if (ret)
            code = ret;
        else
            json_array_append(removed, json_object_get(result, "uuid"));
        json_decref(result);
    }
    return code;
}

int cmd_remove(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    json_t *removed;
    int ret = asking_parse(&asking, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (optind == argc)
        return cli_usage_error(COMMAND_NAME, "which device? 'umdev list' lists them");
    removed = json_array();
    ret = remove_devices(&asking, argv + optind, removed);
    if (asking.json)
        asking_print(removed);
    json_decref(removed);
    return ret;
}
