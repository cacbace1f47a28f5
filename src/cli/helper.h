/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Subcommands that are programs of their own, so that `umdev` does not carry their libraries.
 */
#ifndef CLI_HELPER_H
#define CLI_HELPER_H

int cmd_bench(int argc, char **argv);
int cmd_daemon(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_screenshot(int argc, char **argv);

#endif
