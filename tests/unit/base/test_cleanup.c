/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/cleanup.h"

#include "leaks.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>

static void test_fd_is_closed(void **state)
{
    unsigned before = leaks_count_fds();

    (void)state;
    {
        CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
        CLEANUP_FD int none = -1;

        (void)none;
        assert_true(fd >= 0);
        assert_int_equal(leaks_count_fds(), before + 1);
    }
    assert_int_equal(leaks_count_fds(), before);
}

static void test_taken_fd_stays_open(void **state)
{
    unsigned before = leaks_count_fds();
    int taken;

    (void)state;
    {
        CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);

        taken = take_fd(&fd);
        assert_int_equal(fd, -1);
    }
    assert_int_equal(leaks_count_fds(), before + 1);
    close(taken);
}

/* Memory the compiler can't see through: it leaves out a malloc() that only a free() follows. */
static char *allocate(void)
{
    char *text;

    assert_int_equal(asprintf(&text, "text"), 4);
    return text;
}

static void test_memory_is_freed(void **state)
{
    (void)state;
    leaks_begin();
    {
        CLEANUP_FREE char *text = allocate();
        CLEANUP_FREE void *none = NULL;

        (void)none;
        assert_string_equal(text, "text");
    }
    assert_int_equal(leaks_end("not expected"), 0);
}

static char *make_text(void)
{
    CLEANUP_FREE char *text = allocate();

    return TAKE_POINTER(text);
}

static void test_taken_memory_is_kept(void **state)
{
    char *text;

    (void)state;
    leaks_begin();
    text = make_text();
    assert_int_equal(leaks_end("expected"), 1);
    free(text);
}

static void test_lock_is_held_to_the_end_of_the_scope(void **state)
{
    pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;

    (void)state;
    {
        LOCK_FOR_SCOPE(&first);
        LOCK_FOR_SCOPE(&second);
        assert_int_equal(pthread_mutex_trylock(&first), EBUSY);
        assert_int_equal(pthread_mutex_trylock(&second), EBUSY);
    }
    assert_int_equal(pthread_mutex_trylock(&first), 0);
    assert_int_equal(pthread_mutex_trylock(&second), 0);
    pthread_mutex_unlock(&second);
    pthread_mutex_unlock(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fd_is_closed),
        cmocka_unit_test(test_taken_fd_stays_open),
        cmocka_unit_test(test_memory_is_freed),
        cmocka_unit_test(test_taken_memory_is_kept),
        cmocka_unit_test(test_lock_is_held_to_the_end_of_the_scope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
