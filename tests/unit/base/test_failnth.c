/* SPDX-License-Identifier: BSD-3-Clause */
/* The helpers of the tests themselves: a check that can't fail would let every leak through. */
#include "failnth.h"
#include "leaks.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

/* An operation with four calls that can fail, which undoes itself. */
struct operation {
    char *text;
    int fd;
    void *page;
    unsigned runs, undos;
    bool leaks_fd; /* on its error path */
};

static void operation_undo(void *opaque)
{
    struct operation *op = opaque;

    free(op->text);
    close(op->fd);
    munmap(op->page, PAGE);
    op->undos++;
}

static void *return_at_once(void *arg)
{
    return arg;
}

static int operation_run(void *opaque)
{
    struct operation *op = opaque;
    pthread_t thread;
    int ret;

    op->runs++;
    op->text = strdup("text");
    if (!op->text)
        return -errno;
    op->fd = eventfd(0, EFD_CLOEXEC);
    if (op->fd < 0) {
        ret = -errno;
        goto err_text;
    }
    op->page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (op->page == MAP_FAILED) {
        ret = -errno;
        goto err_fd;
    }
    ret = -pthread_create(&thread, NULL, return_at_once, NULL);
    if (ret)
        goto err_page;
    pthread_join(thread, NULL);
    return 0;

err_page:
    munmap(op->page, PAGE);
err_fd:
    if (!op->leaks_fd)
        close(op->fd);
err_text:
    free(op->text);
    return ret;
}

static void test_every_call_fails_once(void **state)
{
    struct operation op = {0};

    (void)state;
    assert_int_equal(failnth_run(operation_run, operation_undo, &op), 4);
    /* The warm-up, four failures, the success. */
    assert_int_equal(op.runs, 6);
    assert_int_equal(op.undos, 2);
}

static void test_errnos(void **state)
{
    struct operation op = {0};
    static const int expected[] = {-ENOMEM, -EMFILE, -ENOMEM, -EAGAIN};

    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        failnth_arm(n + 1);
        assert_int_equal(operation_run(&op), expected[n]);
        assert_true(failnth_disarm());
    }
}

static void test_leaked_fd_is_seen(void **state)
{
    struct operation op = {.leaks_fd = true};
    unsigned before = leaks_count_fds();

    (void)state;
    leaks_begin();
    failnth_arm(3);
    assert_int_equal(operation_run(&op), -ENOMEM);
    failnth_disarm();
    assert_int_equal(leaks_end("expected"), 1);
    assert_int_equal(leaks_count_fds(), before + 1);
    close(op.fd);
    assert_int_equal(leaks_count_fds(), before);
}

static void test_closed_fd_is_seen(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    leaks_begin();
    close(fd);
    assert_int_equal(leaks_end("expected"), 1);
}

static void test_memory_is_followed(void **state)
{
    char *kept, *printed;
    void *aligned = NULL;

    (void)state;
    leaks_begin();
    kept = calloc(3, 5);
    kept = realloc(kept, 4000);
    assert_true(asprintf(&printed, "%d", 5) == 1);
    assert_int_equal(posix_memalign(&aligned, 64, 64), 0);
    assert_int_equal(leaks_end("expected"), 3);

    leaks_begin();
    free(kept);
    kept = malloc(1);
    free(kept);
    assert_int_equal(leaks_end("not expected"), 0);
    free(printed);
    free(aligned);
}

static void test_failed_realloc_keeps_the_block(void **state)
{
    char *block, *larger;

    (void)state;
    leaks_begin();
    block = malloc(16);
    failnth_arm(1);
    larger = realloc(block, 32);
    assert_true(failnth_disarm());
    assert_null(larger);
    assert_int_equal(leaks_end("expected"), 1);
    free(larger ? larger : block);
}

static void test_mappings_are_followed(void **state)
{
    char *map;

    (void)state;
    leaks_begin();
    map = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    /* A hole makes two of one; a mapping over a part is one more. */
    munmap(map + 2 * PAGE, PAGE);
    assert_ptr_equal(
        mmap(map + 5 * PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        map + 5 * PAGE);
    assert_int_equal(leaks_end("expected"), 4);

    leaks_begin();
    munmap(map, 8 * PAGE);
    map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map = mremap(map, PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_ptr_not_equal(map, MAP_FAILED);
    munmap(map, 64 * PAGE);
    assert_int_equal(leaks_end("not expected"), 0);
}

static void *allocate_elsewhere(void *arg)
{
    free(arg);
    return malloc(1);
}

static void test_other_threads_may_free(void **state)
{
    pthread_t thread;
    void *theirs;

    (void)state;
    leaks_begin();
    assert_int_equal(pthread_create(&thread, NULL, allocate_elsewhere, malloc(1)), 0);
    pthread_join(thread, &theirs);
    assert_int_equal(leaks_end("not expected"), 0);
    free(theirs);
}

static void test_other_fcntls_never_fail(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    failnth_arm(1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(fd, F_DUPFD_CLOEXEC, 0), -1);
    assert_int_equal(errno, EMFILE);
    assert_true(failnth_disarm());
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once),
        cmocka_unit_test(test_errnos),
        cmocka_unit_test(test_leaked_fd_is_seen),
        cmocka_unit_test(test_closed_fd_is_seen),
        cmocka_unit_test(test_memory_is_followed),
        cmocka_unit_test(test_failed_realloc_keeps_the_block),
        cmocka_unit_test(test_mappings_are_followed),
        cmocka_unit_test(test_other_threads_may_free),
        cmocka_unit_test(test_other_fcntls_never_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
