/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev cdi: devices as container engines know them, in the files of the Container Device
 * Interface: a file a kind, a kind a driver, a device a device.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/asking.h"
#include "cli/cli.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_NAME "cdi"

#define CDI_VERSION "0.5.0"
#define CDI_VENDOR  "umdev.org"

static const char help[] =
    "Usage: umdev cdi [UUID] [--output DIR]\n"
    "Write devices of a running umdev as a CDI specification (" CDI_VERSION "), for container\n"
    "engines: podman run --device " CDI_VENDOR "/DRIVER=UUID ...\n"
    "\n"
    "UUID names one device; without it, all are written. A container finds UMDEV_SOCKET,\n"
    "UMDEV_UUID and, of several devices, UMDEV_SOCKET_UUID in its environment.\n"
    "\n"
    "  -o, --output DIR    a file for each driver there, like /etc/cdi; without it, the devices\n"
    "                      of one driver go to the standard output\n" ASKING_HELP;

struct options {
    struct asking asking;
    const char *uuid, *output;
};

/* ------------------------------------------------------------------ a specification */

/* The folder of the socket, which a container gets as it is. NULL: it has none. */
static char *socket_folder(const json_t *device)
{
    const char *socket = json_string_value(json_object_get(device, "socket"));
    CLEANUP_FREE char *copy = socket && *socket == '/' ? strdup(socket) : NULL;

    return copy ? strdup(dirname(copy)) : NULL;
}

/* Of several devices the last one's variables are left, but for that with its UUID in the name. */
static json_t *device_env(const char *uuid, const char *socket)
{
    char name[UMDEV_UUID_STR_SIZE];

    snprintf(name, sizeof(name), "%s", uuid);
    for (char *c = name; *c; c++)
        if (*c == '-')
            *c = '_';
    return json_pack("[o, o, o]", json_sprintf("UMDEV_SOCKET=%s", socket),
                     json_sprintf("UMDEV_UUID=%s", uuid),
                     json_sprintf("UMDEV_SOCKET_%s=%s", name, socket));
}

/* Of version 0.5.0, so without annotations: what Debian 12's Podman reads. NULL: out of memory. */
static json_t *device_spec(const json_t *device, const char *folder)
{
    const char *uuid = asking_text(device, "uuid");
    json_t *env = device_env(uuid, asking_text(device, "socket"));

    return json_pack("{s:s, s:{s:o, s:[{s:s, s:s, s:[s, s, s, s]}]}}", "name", uuid,
                     "containerEdits", "env", env, "mounts", "hostPath", folder, "containerPath",
                     folder, "options", "bind", "nosuid", "nodev", "rw");
}

/* The specification of a kind in `specs`, an object by drivers' names. */
static json_t *spec_of(json_t *specs, const char *driver)
{
    json_t *spec = json_object_get(specs, driver);

    if (!spec) {
        json_t *kind = json_sprintf(CDI_VENDOR "/%s", driver);

        spec = json_pack("{s:s, s:o, s:[]}", "cdiVersion", CDI_VERSION, "kind", kind, "devices");
        json_object_set_new(specs, driver, spec);
    }
    return spec;
}

static int specs_make(const json_t *devices, json_t *specs)
{
    const json_t *device;
    size_t i;

    json_array_foreach(devices, i, device)
    {
        CLEANUP_FREE char *folder = socket_folder(device);
        json_t *spec = spec_of(specs, asking_text(device, "driver"));

        if (!folder)
            return cli_error(COMMAND_NAME, "device %s has no socket at an absolute path: '%s'",
                             asking_text(device, "uuid"), asking_text(device, "socket"));
        if (json_array_append_new(json_object_get(spec, "devices"), device_spec(device, folder)))
            return cli_error(COMMAND_NAME, "out of memory");
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------ output */

static int spec_dump(const json_t *spec, const char *path)
{
    FILE *file = fopen(path, "we");
    int ret;

    if (!file)
        return -1;
    ret = json_dumpf(spec, file, JSON_INDENT(2)) || fputc('\n', file) == EOF;
    return fclose(file) || ret ? -1 : 0;
}

/* Whole or not at all: engines read the folder whenever they like, but no name that begins so. */
static int spec_write(const char *folder, const char *driver, const json_t *spec)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FREE char *temporary = NULL;
    int code = CLI_OK;

    if (asprintf(&path, "%s/" CDI_VENDOR "-%s.json", folder, driver) < 0)
        path = NULL;
    if (asprintf(&temporary, "%s/." CDI_VENDOR "-%s.new", folder, driver) < 0)
        temporary = NULL;
    if (!path || !temporary)
        return cli_error(COMMAND_NAME, "out of memory");
    errno = 0;
    if (spec_dump(spec, temporary) || rename(temporary, path)) {
        code =
            cli_error(COMMAND_NAME, "can't write '%s': %s", path, log_errno(errno ? errno : EIO));
        unlink(temporary);
    } else {
        puts(path);
    }
    return code;
}

static int specs_write(const struct options *options, json_t *specs)
{
    const char *driver;
    json_t *spec;

    if (json_object_size(specs) == 0)
        return cli_error(COMMAND_NAME, "there is no device; 'umdev create' makes one");
    if (!options->output && json_object_size(specs) > 1)
        return cli_error(COMMAND_NAME,
                         "the devices of %zu drivers are as many files: give --output DIR, or the "
                         "UUID of one device",
                         json_object_size(specs));
    json_object_foreach(specs, driver, spec)
    {
        if (!options->output)
            asking_print(spec);
        else if (spec_write(options->output, driver, spec))
            return CLI_FAILED;
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------ the command */

static int parse_options(struct options *options, int argc, char **argv)
{
    static const struct option table[] = {
        ASKING_OPTIONS,
        {"output", required_argument, NULL, 'o'},
        {0},
    };
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ASKING_LETTERS "o:", table, NULL)) != -1) {
        if (option == 'o')
            options->output = optarg;
        else if (!asking_option(&options->asking, option))
            return cli_option_error(COMMAND_NAME, option, argv);
    }
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one device at a time; '%s' is one too many",
                               argv[optind + 1]);
    options->uuid = argv[optind];
    return CLI_OK;
}

int cmd_cdi(int argc, char **argv)
{
    struct options options = {.asking = {.command = COMMAND_NAME}};
    json_t *devices = NULL;
    json_t *specs;
    int ret = parse_options(&options, argc, argv);

    if (ret)
        return ret;
    if (options.asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    ret = asking_devices(&options.asking, "list", options.uuid, &devices);
    if (ret)
        return ret;
    specs = json_object();
    ret = specs_make(devices, specs);
    if (!ret)
        ret = specs_write(&options, specs);
    json_decref(specs);
    json_decref(devices);
    return ret;
}
