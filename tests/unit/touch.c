/* SPDX-License-Identifier: BSD-3-Clause */
#include "touch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>

static _Thread_local sigjmp_buf back;
static _Thread_local volatile sig_atomic_t touching;

static void fail(int signal)
{
    (void)signal;
    if (!touching)
        abort();
    touching = 0;
    siglongjmp(back, 1);
}

void touch_catch(int signal)
{
    const struct sigaction action = {.sa_handler = fail};

    sigaction(signal, &action, NULL);
}

__attribute__((no_sanitize("thread"))) bool touch_read(const void *address, uint64_t *value)
{
    if (sigsetjmp(back, 1))
        return false;
    touching = 1;
    *value = *(const volatile uint64_t *)address;
    touching = 0;
    return true;
}

__attribute__((no_sanitize("thread"))) bool touch_write(void *address, uint64_t value)
{
    if (sigsetjmp(back, 1))
        return false;
    touching = 1;
    *(volatile uint64_t *)address = value;
    touching = 0;
    return true;
}
