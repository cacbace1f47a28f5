/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/asking.h"

#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_DIR "/run/umdev"

bool asking_option(struct asking *asking, int option)
{
    switch (option) {
    case 'c':
        asking->control = optarg;
        return true;
    case 'd':
        asking->dir = optarg;
        return true;
    case 'j':
        asking->json = true;
        return true;
    case 'h':
        asking->help = true;
        return true;
    default:
        return false;
    }
}

int asking_parse(struct asking *asking, int argc, char **argv)
{
    static const struct option table[] = {ASKING_OPTIONS, {0}};
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ASKING_LETTERS, table, NULL)) != -1) {
        if (!asking_option(asking, option))
            return cli_option_error(asking->command, option, argv);
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------ which umdev */

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int path_set(struct asking *asking, const char *folder, const char *name)
{
    if ((size_t)snprintf(asking->path, sizeof(asking->path), "%s%s", folder, name) >=
        sizeof(asking->path))
        return cli_error(asking->command, "the path '%s%s' is too long", folder, name);
    return CLI_OK;
}

static int path_default(struct asking *asking)
{
    const char *runtime = variable("XDG_RUNTIME_DIR");
    int ret;

    if (geteuid() != 0 && runtime) {
        ret = path_set(asking, runtime, "/umdev/control");
        if (ret || access(asking->path, F_OK) == 0)
            return ret;
    }
    return path_set(asking, SYSTEM_DIR, "/control");
}

int asking_find(struct asking *asking)
{
    const char *control = asking->control;
    const char *dir = asking->dir;

    if (control && dir)
        return cli_usage_error(asking->command, "--control '%s' or --dir '%s', not both", control,
                               dir);
    if (!control && !dir)
        control = variable("UMDEV_CONTROL");
    if (!control && !dir)
        dir = variable("UMDEV_DIR");
    if (control)
        return path_set(asking, control, "");
    return dir ? path_set(asking, dir, "/control") : path_default(asking);
}

/* ------------------------------------------------------------------ the question */

int asking_ask(struct asking *asking, json_t *request, json_t **result, int *fd)
{
    struct umdev_error error = {.message = "out of memory"};
    int ret = asking_find(asking);

    if (ret) {
        json_decref(request);
        return ret;
    }
    ret = control_ask(asking->path, request, result, fd, &error);
    if (ret == -ENOENT || ret == -ECONNREFUSED)
        return cli_error(asking->command,
                         "%s; start 'umdev daemon', or say where one is: --dir, --control",
                         error.message);
    if (ret)
        return cli_error(asking->command, "%s", error.message);
    return CLI_OK;
}

int asking_devices(struct asking *asking, const char *request, const char *uuid, json_t **devices)
{
    json_t *result = NULL;
    int ret = asking_ask(asking, control_request_new(request, uuid), &result, NULL);

    if (ret)
        return ret;
    *devices = json_incref(json_object_get(result, "devices"));
    json_decref(result);
    return *devices ? CLI_OK : cli_error(asking->command, "an answer without devices");
}

/* ------------------------------------------------------------------ the answer */

void asking_print(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
}

const char *asking_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "-";
}

long long asking_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}
