/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/screen.h"

#include "base/clock.h"

#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ALTERNATE_ON  "\033[?1049h\033[?25l"
#define ALTERNATE_OFF "\033[?25h\033[?1049l"
#define CLEAR         "\033[H\033[J"

bool screen_is_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void screen_begin(struct screen *screen, bool on)
{
    struct termios raw;
    sigset_t signals;

    *screen = (struct screen){.signals = -1};
    screen->on = on && tcgetattr(STDIN_FILENO, &screen->before) == 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &screen->mask);
    screen->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (!screen->on)
        return;
    raw = screen->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs(ALTERNATE_ON, stdout);
}

void screen_end(struct screen *screen)
{
    if (screen->on) {
        fputs(ALTERNATE_OFF, stdout);
        fflush(stdout);
        tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
    }
    if (screen->signals >= 0)
        close(screen->signals);
    sigprocmask(SIG_SETMASK, &screen->mask, NULL);
}

void screen_clear(void)
{
    fputs(CLEAR, stdout);
}

size_t screen_lines(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

size_t screen_columns(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool screen_wait(struct screen *screen, int ms)
{
    uint64_t deadline = clock_now_ns() + (uint64_t)ms * 1000000u;
    struct pollfd polled[] = {
        {.fd = screen->signals, .events = POLLIN},
        {.fd = screen->on ? STDIN_FILENO : -1, .events = POLLIN},
    };

    while (clock_ms_until(deadline) > 0) {
        struct signalfd_siginfo signal;
        char key;

        if (poll(polled, 2, clock_ms_until(deadline)) <= 0)
            continue;
        /* Taken, or it would end us once signals are let through again. */
        if (polled[0].revents)
            return read(screen->signals, &signal, sizeof(signal)) == sizeof(signal);
        if (polled[1].revents && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q'))
            return true;
    }
    return false;
}
