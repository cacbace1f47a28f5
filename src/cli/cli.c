/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include "base/parse.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Longer messages are cut. */
#define MESSAGE_MAX 1024

/* In one call, so that lines of several threads and processes do not mix. */
static void print_error(const char *command, const char *message)
{
    fflush(stdout);
    fprintf(stderr, "umdev: %s: %s\n", command, message);
}

int cli_error(const char *command, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    print_error(command, message);
    return CLI_FAILED;
}

int cli_usage_error(const char *command, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    print_error(command, message);
    fprintf(stderr, "Try 'umdev %s --help'.\n", command);
    return CLI_USAGE;
}

int cli_option_error(const char *command, int result, char **argv)
{
    if (result == ':')
        return cli_usage_error(command, "option '%s' needs a value", argv[optind - 1]);
    if (optopt)
        return cli_usage_error(command, "no option '-%c'", optopt);
    return cli_usage_error(command, "no option '%s'", argv[optind - 1]);
}

int cli_parse_int(const char *command, const char *option, const char *text, int least, int most,
                  int *value)
{
    uint64_t number;

    if (parse_number(text, &number) || number < (uint64_t)least || number > (uint64_t)most)
        return cli_usage_error(command, "%s: '%s' is no number between %d and %d", option, text,
                               least, most);
    *value = (int)number;
    return CLI_OK;
}

int cli_parse_mode(const char *command, const char *text, unsigned *mode)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 8);
    if (errno || *end || end == text || value == 0 || value > 0777 || *text == '-')
        return cli_usage_error(command, "--mode takes octal permissions like 660, not '%s'", text);
    *mode = (unsigned)value;
    return CLI_OK;
}
