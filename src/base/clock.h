/* SPDX-License-Identifier: BSD-3-Clause */
/* The clock of deadlines. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, in nanoseconds. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What is left until then, for poll(2). Rounded up: a wait that ends early would spin. */
static inline int clock_ms_until(uint64_t deadline_ns)
{
    uint64_t now = clock_now_ns(), ms;

    if (deadline_ns <= now)
        return 0;
    ms = (deadline_ns - now) / 1000000u + 1;
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

/* A condition whose deadlines are this clock's: clock_timespec(). */
static inline void clock_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Such a time, for who waits until then. */
static inline struct timespec clock_timespec(uint64_t ns)
{
    return (struct timespec){
        .tv_sec = (time_t)(ns / 1000000000u),
        .tv_nsec = (long)(ns % 1000000000u),
    };
}

#endif
