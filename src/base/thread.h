/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of the library's own. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/*
 * Start a thread with the program's signals blocked, which are for its own threads; but those of a
 * fault in its memory, which have to reach a handler (sigbus.h) in whatever thread it is. −EAGAIN.
 */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
