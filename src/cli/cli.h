/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command `umdev`: what its subcommands share.
 *
 * A subcommand is `int cmd_NAME(int argc, char **argv)` in a file of its own and a line in main.c's
 * table. argv[0] is its name; it understands --help; it returns an exit code. It talks to the
 * library through the public headers only.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

enum {
    CLI_OK = 0,
    CLI_FAILED = 1, /* the work could not be done */
    CLI_USAGE = 2,  /* the command line makes no sense */
};

int cmd_cdi(int argc, char **argv);
int cmd_create(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_types(int argc, char **argv);

/* "umdev: probe: text" on stderr; returns CLI_FAILED. */
int cli_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same and a line that points to --help; returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * What getopt_long() found wrong, as cli_usage_error(); for options parsed with opterr 0 and an
 * optstring that begins with ':'. `result` is what getopt_long() returned, '?' or ':'.
 */
int cli_option_error(const char *command, int result, char **argv);
/*
 * A whole number between `least` and `most` given as the value of `option`. 0, or CLI_USAGE after
 * saying what would be right.
 */
int cli_parse_int(const char *command, const char *option, const char *text, int least, int most,
                  int *value);
/* The octal permissions of --mode. 0, or CLI_USAGE after saying what would be right. */
int cli_parse_mode(const char *command, const char *text, unsigned *mode);

#endif
