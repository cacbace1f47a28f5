/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SIGBUS guard: client memory that is taken away under our feet becomes zeros.
 *
 * A client can truncate a file that is mapped here. The next access to a lost page raises SIGBUS in
 * whatever thread makes it. The guard knows the address ranges that map client files; its handler
 * puts anonymous zero pages over the *whole* registered range (so that a later access does not see
 * a mix of old and new), marks the range lost, and the access goes on. A SIGBUS anywhere else goes
 * to the handler that was installed before. Only accesses by this process's own instructions are
 * caught: a system call that is given a lost page fails with EFAULT.
 *
 * The registry is the one process-wide state of umdev: a signal handler has no argument to find it
 * by. It is an append-only table of slots in fixed chunks; a slot is claimed and given back under a
 * mutex, and read by the handler without locks (a sequence count per slot), so that a fault may
 * strike any thread at any time. Chunks are never freed.
 */
#ifndef BASE_SIGBUS_H
#define BASE_SIGBUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Install the handler, once per process; later calls do nothing. −errno of sigaction.
 */
int sigbus_install(void);

/*
 * Guard [addr, addr + len), both multiples of the page size of the mapping. `lost` is set to true
 * by the handler, before the zeros can be seen, and must outlive the registration; several ranges
 * may share one. Returns a slot (>= 0), −EINVAL for an empty range, −ENOMEM; that also when the
 * process has so many ranges that the kernel's limit of mappings (vm.max_map_count) is near: what
 * is left is for its threads, libraries and other memory.
 */
int sigbus_guard_add(void *addr, size_t len, atomic_bool *lost);
/* No access to the range may be under way. */
void sigbus_guard_remove(int slot);

/* The handler's work, for programs with a handler of their own: whether the address was guarded. */
bool sigbus_handle(void *fault_address);

#endif
