/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines with a level and the name of the thing that speaks.
 *
 * A struct log is a sink with a threshold; it is made once and only read afterwards, so any thread
 * may write to it. A NULL log drops everything. Lines longer than LOG_LINE_MAX are cut.
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

/* Fill in an error that a caller may not have asked for; returns −errno_value. Keeps errno. */
int error_set(struct umdev_error *error, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
