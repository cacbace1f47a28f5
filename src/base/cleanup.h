/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cleanup attributes: one exit path for functions that take locks, fds and memory.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_mutex(pthread_mutex_t *const *mutex)
{
    if (*mutex)
        pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *cleanup_mutex_lock(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_FD   __attribute__((cleanup(cleanup_fd)))

#define CLEANUP_NAME_2(line) cleanup_lock_##line
#define CLEANUP_NAME(line)   CLEANUP_NAME_2(line)
/* Holds the mutex until the end of the scope. */
#define LOCK_FOR_SCOPE(mutex)                                                                      \
    pthread_mutex_t *CLEANUP_NAME(__LINE__) __attribute__((cleanup(cleanup_mutex), unused)) =      \
        cleanup_mutex_lock(mutex)

/* Take the value out of a CLEANUP variable, which then cleans up nothing. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#define TAKE_POINTER(pointer)                                                                      \
    ({                                                                                             \
        __typeof__(pointer) taken_pointer_ = (pointer);                                            \
        (pointer) = NULL;                                                                          \
        taken_pointer_;                                                                            \
    })

#endif
