/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wrapped calls. With --wrap=f the linker leads a call of f to __wrap_f, and __real_f is the
 * function itself.
 */
#include "failnth.h"

#include "leaks.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

static _Thread_local unsigned calls_left; /* 0: nothing is to fail */
static _Thread_local bool has_failed;

void failnth_arm(unsigned n)
{
    calls_left = n;
    has_failed = false;
}

bool failnth_disarm(void)
{
    calls_left = 0;
    return has_failed;
}

/* Whether the call that asks is the one that fails. */
static bool fails(void)
{
    if (calls_left == 0 || --calls_left > 0)
        return false;
    has_failed = true;
    return true;
}

/* An operation that still meets failures after so many calls never succeeds. */
#define MAX_CALLS 10000

unsigned failnth_run(int (*run)(void *opaque), void (*undo)(void *opaque), void *opaque)
{
    int ret = run(opaque);

    assert_int_equal(ret, 0);
    if (undo)
        undo(opaque);
    for (unsigned n = 1; n < MAX_CALLS; n++) {
        char what[64];
        bool failed;

        leaks_begin();
        failnth_arm(n);
        ret = run(opaque);
        failed = failnth_disarm();
        if (ret == 0 && undo)
            undo(opaque);
        snprintf(what, sizeof(what), "failnth: after call %u failed", n);
        if (leaks_end(what))
            fail_msg("something is left behind after call %u failed and the operation gave %d", n,
                     ret);
        if (ret > 0)
            fail_msg("the operation gave %d: neither 0 nor a negative errno", ret);
        if (!failed) {
            assert_int_equal(ret, 0);
            return n - 1;
        }
    }
    fail_msg("the operation made more than %d calls that can fail", MAX_CALLS);
    return 0;
}

/*
 * WRAP(type, name, (parameters), (arguments), failure value, errno, what to note of the result).
 * Names that begin with two underscores are what --wrap demands.
 */
#define CALLER __builtin_return_address(0)
#define WRAP(type, name, parameters, arguments, failure, error, note)                              \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        type result;                                                                               \
                                                                                                   \
        if (fails()) {                                                                             \
            errno = (error);                                                                       \
            return (failure);                                                                      \
        }                                                                                          \
        result = __real_##name arguments;                                                          \
        note;                                                                                      \
        return result;                                                                             \
    }
#define NOTHING ((void)0)

WRAP(void *, malloc, (size_t size), (size), NULL, ENOMEM, leaks_note_alloc(result, size, CALLER))
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM,
     leaks_note_alloc(result, n *size, CALLER))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), NULL, ENOMEM,
     leaks_note_alloc(result, size, CALLER))
WRAP(int, posix_memalign, (void **pointer, size_t alignment, size_t size),
     (pointer, alignment, size), ENOMEM, errno,
     leaks_note_alloc(result ? NULL : *pointer, size, CALLER))
WRAP(char *, strdup, (const char *text), (text), NULL, ENOMEM,
     leaks_note_alloc(result, result ? strlen(result) + 1 : 0, CALLER))
WRAP(char *, strndup, (const char *text, size_t len), (text, len), NULL, ENOMEM,
     leaks_note_alloc(result, result ? strlen(result) + 1 : 0, CALLER))
WRAP(int, vasprintf, (char **text, const char *format, va_list args), (text, format, args), -1,
     ENOMEM, leaks_note_alloc(result < 0 ? NULL : *text, (size_t)result + 1, CALLER))

WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1, EMFILE, NOTHING)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, EMFILE, NOTHING)
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol), -1, EMFILE,
     NOTHING)
WRAP(int, socketpair, (int family, int type, int protocol, int fds[2]),
     (family, type, protocol, fds), -1, EMFILE, NOTHING)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE, NOTHING)
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), -1, EMFILE, NOTHING)
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE, NOTHING)
WRAP(int, dup, (int fd), (fd), -1, EMFILE, NOTHING)

WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg),
     (thread, attr, start, arg), EAGAIN, errno, NOTHING)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), -1, ENOSPC, NOTHING)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), -1, ENOSPC, NOTHING)

/* The old block is gone only where there is a new one. */
static void note_realloc(void *old, void *result, size_t size, void *caller)
{
    if (result || size == 0)
        leaks_note_free(old);
    leaks_note_alloc(result, size, caller);
}
WRAP(void *, realloc, (void *old, size_t size), (old, size), NULL, ENOMEM,
     note_realloc(old, result, size, CALLER))
WRAP(void *, reallocarray, (void *old, size_t n, size_t size), (old, n, size), NULL, ENOMEM,
     note_realloc(old, result, n *size, CALLER))

#define NOTE_MAP                                                                                   \
    if (result != MAP_FAILED)                                                                      \
    leaks_note_map(result, len, CALLER)
WRAP(void *, mmap, (void *address, size_t len, int prot, int flags, int fd, off_t offset),
     (address, len, prot, flags, fd, offset), MAP_FAILED, ENOMEM, NOTE_MAP)
WRAP(void *, mmap64, (void *address, size_t len, int prot, int flags, int fd, off64_t offset),
     (address, len, prot, flags, fd, offset), MAP_FAILED, ENOMEM, NOTE_MAP)

void __real_free(void *pointer);
void __wrap_free(void *pointer);
void __wrap_free(void *pointer)
{
    /* First: once it is free, another thread may be given the same address. */
    leaks_note_free(pointer);
    __real_free(pointer);
}

int __real_munmap(void *address, size_t len);
int __wrap_munmap(void *address, size_t len);
int __wrap_munmap(void *address, size_t len)
{
    leaks_note_unmap(address, len);
    return __real_munmap(address, len);
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list args;
    int result;

    va_start(args, format);
    result = __wrap_vasprintf(text, format, args);
    va_end(args);
    return result;
}

void *__real_mremap(void *old, size_t old_len, size_t len, int flags, ...);
void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...);
void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
    void *wanted = NULL;
    va_list args;
    void *result;

    if (flags & MREMAP_FIXED) {
        va_start(args, flags);
        wanted = va_arg(args, void *);
        va_end(args);
    }
    if (fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    result = __real_mremap(old, old_len, len, flags, wanted);
    if (result != MAP_FAILED) {
        leaks_note_unmap(old, flags & MREMAP_DONTUNMAP ? 0 : old_len);
        leaks_note_map(result, len, CALLER);
    }
    return result;
}

/* The third argument, if there is one, is an int or a pointer: either travels as a pointer does. */
#define WRAP_FCNTL(name)                                                                           \
    int __real_##name(int fd, int command, ...);                                                   \
    int __wrap_##name(int fd, int command, ...);                                                   \
    int __wrap_##name(int fd, int command, ...)                                                    \
    {                                                                                              \
        va_list args;                                                                              \
        void *arg;                                                                                 \
                                                                                                   \
        va_start(args, command);                                                                   \
        arg = va_arg(args, void *);                                                                \
        va_end(args);                                                                              \
        if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails()) {                       \
            errno = EMFILE;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
        return __real_##name(fd, command, arg);                                                    \
    }
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)
