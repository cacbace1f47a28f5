/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A terminal whose whole screen is drawn again and again, by plain ANSI escape codes; or none,
 * where only the waits are of use.
 */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct screen {
    bool on; /* the terminal is ours */
    struct termios before;
    int signals; /* a signalfd; −1: none */
    sigset_t mask;
};

/* Both ends of it. */
bool screen_is_terminal(void);
/* Take the terminal, if `on`, and the signals that end a program. */
void screen_begin(struct screen *screen, bool on);
/* Everything as it was. */
void screen_end(struct screen *screen);

void screen_clear(void);
/* 0: nobody knows. */
size_t screen_lines(void);
size_t screen_columns(void);
/* Whether it ended early: a signal, or the key q. */
bool screen_wait(struct screen *screen, int ms);

#endif
