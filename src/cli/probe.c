/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `umdev probe`: what any vfio-user server offers.
 */
#include "cli/probe.h"

#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME "probe"

static const char help[] =
    "Usage: umdev probe SOCKET [--json] [--timeout MS]\n"
    "Show what the vfio-user server at SOCKET offers: protocol version and limits, the\n"
    "device, its regions and interrupts, and its PCI config space like lspci -vv. The\n"
    "device is only read, never changed.\n"
    "\n"
    "  --json        one JSON object, for programs\n"
    "  --timeout MS  how long the server may take for an answer (default 5000)\n"
    "  --help        show this\n";

struct options {
    const char *path;
    bool json;
    int timeout_ms;
};

/* CLI_OK; CLI_USAGE after saying why; −1: help was asked for. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"json", no_argument, NULL, 'j'},
        {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int opt, ret;

    *options = (struct options){.timeout_ms = 0};
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
        switch (opt) {
        case 'j':
            options->json = true;
            break;
        case 't':
            ret = cli_parse_int(NAME, "--timeout", optarg, 1, INT_MAX, &options->timeout_ms);
            if (ret)
                return ret;
            break;
        case 'h':
            return -1;
        default:
            cli_option_error(NAME, opt, argv);
            return CLI_USAGE;
        }
    }
    if (argc - optind != 1) {
        if (optind == argc)
            cli_usage_error(NAME, "which socket? Give its path");
        else
            cli_usage_error(NAME, "one socket at a time; '%s' is one too many", argv[optind + 1]);
        return CLI_USAGE;
    }
    options->path = argv[optind];
    return CLI_OK;
}

static bool is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int explain(const char *path, int error)
{
    char text[PROBE_NAME_MAX];

    switch (error) {
    case ENOENT:
        return cli_error(NAME, "%s: there is no such socket", path);
    case ENAMETOOLONG:
        return cli_error(NAME, "%s: longer than a socket's path can be (107 bytes)", path);
    case ECONNREFUSED:
        return is_socket(path) ? cli_error(NAME, "%s: no server listens there (any more)", path)
                               : cli_error(NAME, "%s: not a socket", path);
    case EPROTOTYPE:
        return cli_error(NAME, "%s: a socket of another kind; a vfio-user server's is a stream",
                         path);
    case EBUSY:
        return cli_error(NAME, "%s: the device has a client already", path);
    case ETIMEDOUT:
        return cli_error(NAME, "%s: no answer in time; --timeout allows more", path);
    case EPROTO:
        return cli_error(NAME, "%s: not a vfio-user server, or a broken one", path);
    case ENOTCONN:
        return cli_error(NAME, "%s: the server closed the connection", path);
    default:
        return cli_error(NAME, "%s: %s", path, probe_error_text(error, text));
    }
}

static int print(const struct probe *probe, bool json)
{
    if (!json) {
        probe_print_text(probe, stdout);
        return CLI_OK;
    }
    return probe_print_json(probe, stdout) ? cli_error(NAME, "out of memory") : CLI_OK;
}

static int run(const struct options *options, struct probe *probe)
{
    const struct umdev_connect_options connect = {
        .struct_size = sizeof(connect),
        .timeout_ms = options->timeout_ms,
    };
    struct umdev_client *client;
    int code, ret;

    ret = umdev_connect(options->path, &connect, &client);
    if (ret)
        return explain(options->path, -ret);
    probe->path = options->path;
    ret = probe_collect(client, probe);
    code = ret ? explain(options->path, -ret) : print(probe, options->json);
    umdev_client_close(client);
    return code;
}

int cmd_probe(int argc, char **argv)
{
    struct options options;
    struct probe *probe;
    int code = parse_options(argc, argv, &options);

    if (code < 0) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (code)
        return code;
    probe = calloc(1, sizeof(*probe));
    if (!probe)
        return cli_error(NAME, "out of memory");
    code = run(&options, probe);
    free(probe);
    return code;
}
