/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an operation leaves behind: open fds, memory and mappings.
 *
 * Fds are those of the process in /proc/self/fd. Memory and mappings are those that the watching
 * thread made while it watched, through the calls of failnth.h; any thread may give them back.
 */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

#include <stddef.h>

/* How many fds the process has open. */
unsigned leaks_count_fds(void);

/* Watch, until leaks_end(). One thread at a time. */
void leaks_begin(void);
/*
 * How many fds, allocations and mappings there are more (or fds fewer) than there were; each is
 * described on stderr after the words `what`.
 */
unsigned leaks_end(const char *what);

/* For failnth.c: what the wrapped calls did. `caller` is the code that made it. */
void leaks_note_alloc(void *pointer, size_t size, void *caller);
void leaks_note_free(void *pointer);
void leaks_note_map(void *address, size_t len, void *caller);
void leaks_note_unmap(void *address, size_t len);

#endif
