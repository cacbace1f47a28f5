/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Subcommands that ask a running umdev: how they find it, and the options all of them have.
 *
 * The umdev is that of --control PATH, --dir DIR, $UMDEV_CONTROL, $UMDEV_DIR, in this order; after
 * these the daemon of the default folder: /run/umdev for root; for others $XDG_RUNTIME_DIR/umdev
 * where a daemon runs there, else /run/umdev.
 */
#ifndef CLI_ASKING_H
#define CLI_ASKING_H

#include "control/control.h"

#include <getopt.h>
#include <limits.h>

struct asking {
    const char *command; /* the subcommand's name, for messages */
    const char *control, *dir;
    bool json, help;
    char path[PATH_MAX]; /* the control socket; after asking_find() */
};

/* To begin a table of long options and an optstring with. */
#define ASKING_OPTIONS                                                                             \
    {"control", required_argument, NULL, 'c'}, {"dir", required_argument, NULL, 'd'},              \
        {"json", no_argument, NULL, 'j'},                                                          \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
#define ASKING_LETTERS ":c:d:jh"
/* To end a help text with. */
#define ASKING_HELP                                                                                \
    "  -d, --dir DIR       the daemon's folder; /run/umdev by default\n"                           \
    "  -c, --control PATH  a control socket, of a daemon or of 'umdev run'\n"                      \
    "  -j, --json          JSON, for programs\n"                                                   \
    "  -h, --help          show this\n"

/* Whether `option`, with its value in optarg, was one of these. */
bool asking_option(struct asking *asking, int option);
/* A whole command line of these options; words are what is left at argv[optind]. An exit code. */
int asking_parse(struct asking *asking, int argc, char **argv);

/* Fill in `path`. An exit code, after saying what is wrong. */
int asking_find(struct asking *asking);
/*
 * asking_find(), then ask; `request` is stolen, NULL is out of memory. *result is a new reference,
 * *fd (may be NULL) −1 or the caller's. An exit code, after saying what is wrong.
 */
int asking_ask(struct asking *asking, json_t *request, json_t **result, int *fd);
/* Ask for the devices' array of "list" or "show": all, or the one. An exit code. */
int asking_devices(struct asking *asking, const char *request, const char *uuid, json_t **devices);

/* JSON on the standard output. */
void asking_print(const json_t *json);
/* A member's text, or "-" where it has none; a member's number, or 0. */
const char *asking_text(const json_t *object, const char *name);
long long asking_number(const json_t *object, const char *name);

#endif
