/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every error path, run: the n-th call that can fail does, for each n, until the operation
 * succeeds.
 *
 * The calls are those that tests/unit/meson.build names: allocations, mappings, calls that make
 * fds, threads. The linker leads them here (--wrap), from every object file of the test: from
 * umdev's code and the test's own, not from inside shared libraries. Only the calls of the thread
 * that armed the count are counted, so that n is the same call each time. Memory fails with ENOMEM,
 * fds with EMFILE, threads with EAGAIN.
 */
#ifndef TESTS_FAILNTH_H
#define TESTS_FAILNTH_H

#include <stdbool.h>

/*
 * Run `run` once undisturbed, so that what a first call makes for good is made; then with the 1st,
 * the 2nd … call failing until none is left to fail. Each time it must return 0, and `undo` is
 * called, or a negative errno, having undone itself. Each time nothing may be left behind of what
 * leaks.h counts. `undo` may be NULL. Returns how many calls were made to fail.
 *
 * Failures are cmocka's: a test fails with the number of the call that was the trouble.
 */
unsigned failnth_run(int (*run)(void *opaque), void (*undo)(void *opaque), void *opaque);

/* Make the n-th (1…) call from now on, of the calling thread, fail. */
void failnth_arm(unsigned n);
/* Let calls through again; whether one failed. */
bool failnth_disarm(void);

#endif
