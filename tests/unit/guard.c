/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard.h"

#include "base/sigbus.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct sigaction guard;

void guard_install(void)
{
    if (sigbus_install() || sigaction(SIGBUS, NULL, &guard)) {
        perror("guard_install");
        exit(1);
    }
}

void guard_take_over(void)
{
    sigaction(SIGBUS, &guard, NULL);
}
