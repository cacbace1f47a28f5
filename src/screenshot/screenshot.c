/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev screenshot: what a device's screen shows, as a PNG file.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "picture/picture.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define COMMAND_NAME "screenshot"

static const char help[] =
    "Usage: umdev screenshot [--control PATH] [UUID] FILE.png\n"
    "Write what the screen of a device shows.\n"
    "\n"
    "UUID names the device; without it, the only one is meant.\n"
    "\n"
    "  -c, --control PATH  the control socket of the umdev that has the device;\n"
    "                      $UMDEV_CONTROL by default\n"
    "  -h, --help          show this\n";

struct options {
    const char *control, *uuid, *file;
    bool help;
};

static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"control", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:h", table, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->control = optarg;
            break;
        case 'h':
            options->help = true;
            return CLI_OK;
        default:
            return cli_option_error(COMMAND_NAME, option, argv);
        }
    }
    if (optind == argc)
        return cli_usage_error(COMMAND_NAME, "where to? give the name of a PNG file");
    if (argc - optind > 2)
        return cli_usage_error(COMMAND_NAME, "a UUID and a file, please; '%s' is one too many",
                               argv[optind + 2]);
    options->file = argv[argc - 1];
    if (argc - optind == 2)
        options->uuid = argv[optind];
    options->control = control_path(COMMAND_NAME, options->control);
    return options->control ? CLI_OK : CLI_USAGE;
}

static int read_all(int fd, void *data, size_t size)
{
    char *bytes = data;

    while (size > 0) {
        ssize_t got = read(fd, bytes, size);

        if (got <= 0)
            return -1;
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

/* The pixels of an answer: read, not mapped, so that a short file is an error and no signal. */
static int take_picture(json_t *result, int fd, struct picture *picture)
{
    const char *format = NULL;
    int width = 0, height = 0;

    if (fd < 0 || json_unpack(result, "{s:i, s:i, s:s}", "width", &width, "height", &height,
                              "format", &format))
        return cli_error(COMMAND_NAME, "an answer without a picture");
    if (width < 1 || width > UMDEV_PICTURE_MAX || height < 1 || height > UMDEV_PICTURE_MAX ||
        strcmp(format, "XRGB8888") != 0)
        return cli_error(COMMAND_NAME, "a picture of %d×%d pixels in format '%s' is not right",
                         width, height, format);
    if (picture_new((uint32_t)width, (uint32_t)height, picture))
        return cli_error(COMMAND_NAME, "out of memory");
    if (lseek(fd, 0, SEEK_SET) != 0 ||
        read_all(fd, picture->pixels, (size_t)width * (size_t)height * sizeof(*picture->pixels)))
        return cli_error(COMMAND_NAME, "the picture is not complete");
    return CLI_OK;
}

static int screenshot(const struct options *options)
{
    struct picture picture = {0};
    struct umdev_error error;
    json_t *result = NULL;
    CLEANUP_FD int fd = -1;
    int code;

    if (control_ask(options->control, COMMAND_NAME, options->uuid, &result, &fd, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    code = take_picture(result, fd, &picture);
    if (code == CLI_OK && picture_write(options->file, &picture, &error))
        code = cli_error(COMMAND_NAME, "%s", error.message);
    picture_free(&picture);
    json_decref(result);
    return code;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    int ret = parse_options(argc, argv, &options);

    if (ret)
        return ret;
    if (options.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    return screenshot(&options);
}
