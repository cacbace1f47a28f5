/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include "base/parse.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

static void cli_print_error(const char *command, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void cli_print_error(const char *command, const char *format, va_list args)
{
    fflush(stdout);
    flockfile(stderr);
    fprintf(stderr, "umdev: %s: ", command);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    funlockfile(stderr);
}

int cli_error(const char *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print_error(command, format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_usage_error(const char *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print_error(command, format, args);
    va_end(args);
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
