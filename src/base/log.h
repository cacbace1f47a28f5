/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines with a level and the name of the thing that speaks.
 *
 * A struct log is a sink with a threshold; it is made once and only read afterwards, so any thread
 * may write to it. A NULL log drops everything. Lines longer than LOG_LINE_MAX are cut; control
 * characters become question marks, for a line may quote what a client sent.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <umdev/types.h>

#define LOG_LINE_MAX 1024

struct log {
    void (*sink)(void *opaque, enum umdev_log_level level, const char *line); /* NULL: stderr */
    void *opaque;
    enum umdev_log_level level;
};

/* "name: text" to the sink, where the level passes. `name` may be NULL. Keeps errno. */
void log_print(const struct log *log, enum umdev_log_level level, const char *name,
               const char *format, ...) __attribute__((format(printf, 4, 5)));
void log_vprint(const struct log *log, enum umdev_log_level level, const char *name,
                const char *format, va_list args) __attribute__((format(printf, 4, 0)));

/* Fill in the message of an error that a caller may not have asked for (NULL). Keeps errno. */
void error_format(struct umdev_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline int error_negative(int errno_value)
{
    return -errno_value;
}

/*
 * error_set(error, errno_value, format, ...): the same, and its value is −errno_value. A macro, so
 * that compilers see that value and know what follows from it.
 */
#define error_set(error, errno_value, ...)                                                         \
    error_negative((error_format((error), __VA_ARGS__), (errno_value)))

/* strerror() for any thread, also for a number that is no errno. */
const char *log_errno(int errno_value);

/*
 * At most LOG_LIMIT_LINES lines in LOG_LIMIT_SECONDS, for what a client can cause at will. One
 * thread at a time.
 */
#define LOG_LIMIT_LINES   20
#define LOG_LIMIT_SECONDS 10
struct log_limit {
    int64_t since; /* seconds, CLOCK_MONOTONIC */
    unsigned lines, dropped;
};
/* Whether one more line may be written; *dropped: how many could not since the last that could. */
bool log_limit_pass(struct log_limit *limit, unsigned *dropped);

#endif
