/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's life. */
#include "daemon/worker.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "control/control.h"
#include "daemon/worker_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

/* The pause before a worker is started again: doubled each time, and short again after a while. */
#define PAUSE_FIRST_MS 100
#define PAUSE_MOST_MS  30000
#define HELD_MS        30000
/* How long a worker may take to end that was asked to. */
#define STOP_MS      5000
#define STOP_STEP_MS 2

#define NS_PER_MS 1000000u

/* Where a worker finds its end of the socketpair. */
#define WORKER_FD 3

int worker_new(const struct worker_options *options, struct worker **result)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return -ENOMEM;
    worker->options = *options;
    worker->sock = -1;
    worker->pid = -1;
    worker->due_ns = UINT64_MAX;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_mutex_init(&worker->told_lock, NULL);
    *result = worker;
    return 0;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    pthread_mutex_destroy(&worker->lock);
    pthread_mutex_destroy(&worker->told_lock);
    free(worker);
}

uint64_t worker_due_ns(const struct worker *worker)
{
    return worker->due_ns;
}

const char *worker_name(const struct worker *worker)
{
    return worker->options.spec->name;
}

/* ------------------------------------------------------------------ start */

/* In the child: only what may be done after fork() in a program of many threads. */
static _Noreturn void child_run(int sock, pid_t parent, char *const *argv)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (sock == WORKER_FD)
        fcntl(sock, F_SETFD, 0);
    else
        dup2(sock, WORKER_FD);
    close_range(WORKER_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    execv("/proc/self/exe", argv);
    _exit(1);
}

/* The words of worker_main(); the array is malloc'ed, its strings are not. */
static char **child_words(const struct worker *worker, char level[2])
{
    const struct parent_spec *spec = worker->options.spec;
    const char *fixed[] = {"umdev-daemon", WORKER_OPTION,
                           level,          worker->options.trust_clients ? "yes" : "no",
                           spec->driver,   spec->name};
    char **words = calloc(ARRAY_SIZE(fixed) + spec->nparams + 1, sizeof(*words));

    snprintf(level, 2, "%u", (unsigned)worker->options.log_level % 10);
    if (!words)
        return NULL;
    memcpy(words, fixed, sizeof(fixed));
    for (size_t i = 0; i < spec->nparams; i++)
        words[ARRAY_SIZE(fixed) + i] = (char *)spec->params[i];
    return words;
}

static int child_start(struct worker *worker, struct umdev_error *error)
{
    const struct timeval timeout = {.tv_sec = WORKER_TIMEOUT_MS / 1000};
    char level[2];
    CLEANUP_FREE char **words = child_words(worker, level);
    pid_t parent = getpid();
    int pair[2];

    if (!words)
        return error_set(error, ENOMEM, "out of memory");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return error_set(error, errno, "no socket for a worker: %s", log_errno(errno));
    worker->pid = fork();
    if (worker->pid == 0)
        child_run(pair[1], parent, words);
    close(pair[1]);
    if (worker->pid < 0) {
        close(pair[0]);
        return error_set(error, errno, "can't start a worker: %s", log_errno(errno));
    }
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    worker->sock = pair[0];
    return 0;
}

/* Later each time, but soon after one that has held for a while. */
static void schedule(struct worker *worker)
{
    uint64_t now = clock_now_ns();

    if (worker->pause_ms == 0 || now - worker->since_ns > (uint64_t)HELD_MS * NS_PER_MS)
        worker->pause_ms = PAUSE_FIRST_MS;
    else
        worker->pause_ms = MIN(worker->pause_ms * 2, PAUSE_MOST_MS);
    worker->due_ns = now + (uint64_t)worker->pause_ms * NS_PER_MS;
}

int worker_start(struct worker *worker, struct umdev_error *error)
{
    json_t *result = NULL;
    int ret;

    worker->since_ns = clock_now_ns();
    worker->due_ns = UINT64_MAX;
    pthread_mutex_lock(&worker->lock);
    ret = child_start(worker, error);
    pthread_mutex_unlock(&worker->lock);
    /* It has opened its parent when it answers, or says why not. */
    if (!ret)
        ret = worker_ask(worker, control_request_new("types", NULL), &result, NULL, error);
    json_decref(result);
    if (ret) {
        worker_stop(worker);
        schedule(worker);
    }
    return ret;
}

/* ------------------------------------------------------------------ end */

static void tell_end(const struct worker *worker, int status)
{
    const struct log *log = worker->options.log;

    if (WIFSIGNALED(status))
        log_print(log, UMDEV_LOG_ERROR, worker_name(worker), "its process was ended by SIG%s",
                  sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
    else
        log_print(log, UMDEV_LOG_ERROR, worker_name(worker), "its process ended with exit code %d",
                  WEXITSTATUS(status));
}

/* With the lock. Whether it is gone. */
static bool try_wait(struct worker *worker, int *status)
{
    if (worker->pid < 0)
        return true;
    if (waitpid(worker->pid, status, WNOHANG) != worker->pid)
        return false;
    worker->pid = -1;
    return true;
}

int worker_reap(struct worker *worker)
{
    int status = 0;
    bool ended;

    if (pthread_mutex_trylock(&worker->lock))
        return -EBUSY;
    ended = worker->pid > 0 && try_wait(worker, &status);
    if (ended) {
        worker_hang_up(worker);
        tell_end(worker, status);
        schedule(worker);
    }
    pthread_mutex_unlock(&worker->lock);
    return ended;
}

void worker_stop(struct worker *worker)
{
    uint64_t deadline = clock_now_ns() + (uint64_t)STOP_MS * NS_PER_MS;
    int status = 0;

    LOCK_FOR_SCOPE(&worker->lock);
    worker_hang_up(worker);
    while (!try_wait(worker, &status) && clock_now_ns() < deadline)
        poll(NULL, 0, STOP_STEP_MS);
    if (WIFSIGNALED(status))
        tell_end(worker, status);
    if (worker->pid > 0) {
        log_print(worker->options.log, UMDEV_LOG_WARNING, worker_name(worker),
                  "its process does not end: it is killed");
        kill(worker->pid, SIGKILL);
        waitpid(worker->pid, &status, 0);
        worker->pid = -1;
    }
    worker->due_ns = UINT64_MAX;
}
