/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void log_to_stderr(enum umdev_log_level level, const char *line)
{
    static const char *const names[] = {"error: ", "warning: ", "", "debug: "};

    /* One call, so that lines of several threads do not mix. */
    fprintf(stderr, "umdev: %s%s\n", names[level], line);
}

/* A line may quote what a client sent: it stays one line and says nothing to a terminal. */
static void mask_control_characters(char *line)
{
    for (; *line; line++) {
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = '?';
    }
}

void log_vprint(const struct log *log, enum umdev_log_level level, const char *name,
                const char *format, va_list args)
{
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    int used = 0;

    if (!log || level > log->level)
        return;
    if (name)
        used = snprintf(line, sizeof(line), "%s: ", name);
    if (used >= 0 && (size_t)used < sizeof(line))
        vsnprintf(line + used, sizeof(line) - (size_t)used, format, args);
    mask_control_characters(line);
    if (log->sink)
        log->sink(log->opaque, level, line);
    else
        log_to_stderr(level, line);
    errno = saved_errno;
}

void log_print(const struct log *log, enum umdev_log_level level, const char *name,
               const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_vprint(log, level, name, format, args);
    va_end(args);
}

void error_format(struct umdev_error *error, const char *format, ...)
{
    int saved_errno = errno;
    va_list args;

    if (error) {
        va_start(args, format);
        vsnprintf(error->message, sizeof(error->message), format, args);
        va_end(args);
    }
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, unsigned *dropped)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (limit->lines == 0 || now.tv_sec - limit->since >= LOG_LIMIT_SECONDS) {
        limit->since = now.tv_sec;
        limit->lines = 0;
    }
    if (limit->lines == LOG_LIMIT_LINES) {
        limit->dropped++;
        return false;
    }
    limit->lines++;
    *dropped = limit->dropped;
    limit->dropped = 0;
    return true;
}

const char *log_errno(int errno_value)
{
    const char *text = strerrordesc_np(errno_value);

    return text ? text : "an unknown error";
}
