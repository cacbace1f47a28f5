/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev screenshot: what a device's screen shows, as a PNG file.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "cli/asking.h"
#include "cli/cli.h"
#include "picture/picture.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_NAME "screenshot"

static const char help[] = "Usage: umdev screenshot [UUID] FILE.png\n"
                           "Write what the screen of a device shows.\n"
                           "\n"
                           "UUID names the device; without it, the only one is meant.\n"
                           "With --json, what was written is told as JSON.\n"
                           "\n" ASKING_HELP;

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

/* With --json: the answer and where it is. */
static void tell(const struct asking *asking, json_t *result, const char *file)
{
    if (asking->json && !json_object_set_new(result, "file", json_string(file)))
        asking_print(result);
}

static int screenshot(struct asking *asking, const char *uuid, const char *file)
{
    struct picture picture = {0};
    struct umdev_error error;
    json_t *result = NULL;
    CLEANUP_FD int fd = -1;
    int code = asking_ask(asking, control_request_new(COMMAND_NAME, uuid), &result, &fd);

    if (code)
        return code;
    code = take_picture(result, fd, &picture);
    if (code == CLI_OK && picture_write(file, &picture, &error))
        code = cli_error(COMMAND_NAME, "%s", error.message);
    if (code == CLI_OK)
        tell(asking, result, file);
    picture_free(&picture);
    json_decref(result);
    return code;
}

int main(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    int ret = asking_parse(&asking, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (optind == argc)
        return cli_usage_error(COMMAND_NAME, "where to? give the name of a PNG file");
    if (argc - optind > 2)
        return cli_usage_error(COMMAND_NAME, "a UUID and a file, please; '%s' is one too many",
                               argv[optind + 2]);
    return screenshot(&asking, argc - optind == 2 ? argv[optind] : NULL, argv[argc - 1]);
}
