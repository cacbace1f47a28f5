/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Touches of mapped memory that may fail, by any thread. The mapping may be made by another thread
 * while the kernel lets the touch wait, which the thread sanitizer would take for a race.
 */
#ifndef TESTS_TOUCH_H
#define TESTS_TOUCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * SIGBUS (or SIGSEGV) is a failed touch from now on, and ends the program anywhere else. After a
 * host was made, whose handler it takes the place of; cmocka puts its own back after each test.
 */
void touch_catch(int signal);

/* Eight bytes. False: the signal came. */
bool touch_read(const void *address, uint64_t *value);
bool touch_write(void *address, uint64_t value);

#endif
