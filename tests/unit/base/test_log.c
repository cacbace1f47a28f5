/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include "base/cleanup.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct heard {
    unsigned lines;
    enum umdev_log_level level;
    char line[2 * LOG_LINE_MAX];
};

static void hear(void *opaque, enum umdev_log_level level, const char *line)
{
    struct heard *heard = opaque;

    heard->lines++;
    heard->level = level;
    snprintf(heard->line, sizeof(heard->line), "%s", line);
    errno = EIO;
}

static void test_line(void **state)
{
    struct heard heard = {0};
    struct log log = {hear, &heard, UMDEV_LOG_INFO};

    (void)state;
    log_print(&log, UMDEV_LOG_WARNING, "gpu0", "%d of %s", 3, "four");
    assert_int_equal(heard.level, UMDEV_LOG_WARNING);
    assert_string_equal(heard.line, "gpu0: 3 of four");
    log_print(&log, UMDEV_LOG_INFO, NULL, "alone");
    assert_string_equal(heard.line, "alone");
}

static void test_threshold(void **state)
{
    struct heard heard = {0};
    struct log log = {hear, &heard, UMDEV_LOG_WARNING};

    (void)state;
    log_print(&log, UMDEV_LOG_INFO, NULL, "too quiet");
    log_print(&log, UMDEV_LOG_DEBUG, NULL, "too quiet");
    assert_int_equal(heard.lines, 0);
    log_print(&log, UMDEV_LOG_WARNING, NULL, "just loud enough");
    log_print(&log, UMDEV_LOG_ERROR, NULL, "loud");
    assert_int_equal(heard.lines, 2);
    log_print(NULL, UMDEV_LOG_ERROR, NULL, "to nobody");
}

static void test_long_lines_are_cut(void **state)
{
    struct heard heard = {0};
    struct log log = {hear, &heard, UMDEV_LOG_INFO};
    char text[3 * LOG_LINE_MAX];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    log_print(&log, UMDEV_LOG_INFO, "name", "%s", text);
    assert_int_equal(strlen(heard.line), LOG_LINE_MAX - 1);
    log_print(&log, UMDEV_LOG_INFO, text, "and a text");
    assert_int_equal(strlen(heard.line), LOG_LINE_MAX - 1);
}

/* What a client sent may be in a line: it must not make two of one, nor speak to a terminal. */
static void test_control_characters_are_masked(void **state)
{
    struct heard heard = {0};
    struct log log = {hear, &heard, UMDEV_LOG_INFO};

    (void)state;
    log_print(&log, UMDEV_LOG_INFO, "a\nb", "%s", "one\ntwo\r\x1b[31m\x7f\ttab, µs");
    assert_string_equal(heard.line, "a?b: one?two??[31m??tab, µs");
}

static void test_errno_is_kept(void **state)
{
    struct heard heard = {0};
    struct log log = {hear, &heard, UMDEV_LOG_INFO};
    struct umdev_error error;

    (void)state;
    errno = ENOTTY;
    log_print(&log, UMDEV_LOG_INFO, NULL, "line");
    assert_int_equal(heard.lines, 1);
    assert_int_equal(errno, ENOTTY);
    error_set(&error, EINVAL, "%s", "wrong");
    assert_int_equal(errno, ENOTTY);
}

static void test_stderr(void **state)
{
    CLEANUP_FD int file = memfd_create("log", MFD_CLOEXEC);
    CLEANUP_FD int saved = dup(STDERR_FILENO);
    struct log log = {.level = UMDEV_LOG_DEBUG};
    const char expected[] = "umdev: error: a: 1\numdev: warning: 2\numdev: 3\numdev: debug: 4\n";
    char text[sizeof(expected)] = {0};

    (void)state;
    assert_true(file >= 0 && saved >= 0);
    dup2(file, STDERR_FILENO);
    log_print(&log, UMDEV_LOG_ERROR, "a", "1");
    log_print(&log, UMDEV_LOG_WARNING, NULL, "2");
    log_print(&log, UMDEV_LOG_INFO, NULL, "3");
    log_print(&log, UMDEV_LOG_DEBUG, NULL, "4");
    dup2(saved, STDERR_FILENO);
    assert_int_equal(pread(file, text, sizeof(text), 0), sizeof(expected) - 1);
    assert_string_equal(text, expected);
}

static void test_error_set(void **state)
{
    struct umdev_error error;
    char text[2 * sizeof(error.message)];

    (void)state;
    assert_int_equal(error_set(&error, ENODEV, "no device %d", 7), -ENODEV);
    assert_string_equal(error.message, "no device 7");
    assert_int_equal(error_set(NULL, EBUSY, "nobody asked"), -EBUSY);

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(&error, EINVAL, "%s", text);
    assert_int_equal(strlen(error.message), sizeof(error.message) - 1);
}

static void test_limit(void **state)
{
    struct log_limit limit = {0};
    unsigned dropped = 99;

    (void)state;
    for (unsigned i = 0; i < LOG_LIMIT_LINES; i++) {
        assert_true(log_limit_pass(&limit, &dropped));
        assert_int_equal(dropped, 0);
    }
    for (unsigned i = 0; i < 5; i++)
        assert_false(log_limit_pass(&limit, &dropped));
    limit.since -= LOG_LIMIT_SECONDS;
    assert_true(log_limit_pass(&limit, &dropped));
    assert_int_equal(dropped, 5);
    assert_true(log_limit_pass(&limit, &dropped));
    assert_int_equal(dropped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_control_characters_are_masked),
        cmocka_unit_test(test_errno_is_kept),
        cmocka_unit_test(test_stderr),
        cmocka_unit_test(test_error_set),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
