/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A parent in a process of its own (isolate=yes), as the daemon sees it.
 *
 * Data model. A worker is this program again, with WORKER_OPTION: it opens the parent and answers
 * requests as a control socket does, at one end of a socketpair, until the other end is closed.
 * It is up (a process and a socket) or down. It goes down when it ends by itself, or when it is
 * ended because it gave no answer in WORKER_TIMEOUT_MS; the daemon then starts it again, each time
 * a little later, and sooner again after it has held for a while.
 *
 * Locks. `lock` is held for the time of a request: one after the other. Who wants to know what
 * types and devices there are waits for it no longer than WORKER_LOOK_MS, and gets what was told
 * before then: a worker that hangs hides neither itself nor others. Start, reap and stop are the
 * main thread's: the child dies with the thread that made it (PR_SET_PDEATHSIG).
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "base/log.h"
#include "control/source.h"
#include "daemon/spec.h"

#include <sys/types.h>

#define WORKER_OPTION     "--worker"
#define WORKER_TIMEOUT_MS 30000
#define WORKER_LOOK_MS    500

struct worker;

struct worker_options {
    const struct log *log;
    const struct parent_spec *spec; /* with its name; must outlive it */
    enum umdev_log_level log_level;
    bool trust_clients;
};

/* Down. −ENOMEM. */
int worker_new(const struct worker_options *options, struct worker **worker);
/* After worker_stop(). NULL is ignored. */
void worker_free(struct worker *worker);

/* Up, with the parent open. The errnos of umdev_host_add_parent(), and of fork(2). */
int worker_start(struct worker *worker, struct umdev_error *error);
/*
 * 1: it has ended, and is down from now on: its devices are gone. 0: it has not, or that was told
 * before. −EBUSY: a request is under way; ask again soon. Never waits.
 */
int worker_reap(struct worker *worker);
/* Ask it to end, and see to it that it has. */
void worker_stop(struct worker *worker);

/* When it should be started again, of clock_now_ns(); UINT64_MAX: it is up. */
uint64_t worker_due_ns(const struct worker *worker);
const char *worker_name(const struct worker *worker);

/*
 * Down, it has nothing, and refuses with EIO. Busy for longer than a look, `connected` and
 * `available` are as they were last told.
 */
struct source worker_source(struct worker *worker);

/* The other process: main() behind WORKER_OPTION. An exit code. */
int worker_main(int argc, char **argv);

#endif
