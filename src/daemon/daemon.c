/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev daemon: parents, and devices that come and go.
 *
 * The main thread holds the signals that end us, and SIGCHLD, blocked from the start, so that every
 * other thread inherits that, and waits for them with sigtimedwait(): no handler, no race. It
 * starts the worker processes, waits for their ends and starts them again. Requests are the control
 * socket's thread's. The order of the end is that of the beginning, backwards: first no more
 * requests, then the devices, then their directories.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "cli/cli.h"
#include "control/control.h"
#include "daemon/model.h"
#include "daemon/options.h"
#include "daemon/tree.h"
#include "daemon/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

/* Until a worker that was busy is looked at again. */
#define SOON_NS 20000000u

struct daemon {
    struct daemon_options options;
    struct log log;
    struct rundir rundir;
    struct state state;
    struct umdev_host *host; /* of the parents that are not isolated */
    struct worker **workers;
    size_t nworkers;
    struct model *model;
    struct tree *tree;
    struct control *control;
};

static int fail(const struct umdev_error *error)
{
    return cli_error(COMMAND_NAME, "%s", error->message);
}

/* ------------------------------------------------------------------ systemd */

static void tell_count(void *opaque, size_t devices)
{
    const struct daemon *daemon = opaque;
    size_t parents = model_count_parents(daemon->model);

    sd_notifyf(0, "STATUS=%zu parent%s, %zu device%s", parents, parents == 1 ? "" : "s", devices,
               devices == 1 ? "" : "s");
}

/* −1: no socket was handed to us; then we make it ourselves. */
static int activated_socket(int *fd)
{
    int count = sd_listen_fds(1);

    *fd = -1;
    if (count == 0)
        return CLI_OK;
    if (count < 0)
        return cli_error(COMMAND_NAME, "LISTEN_FDS is not right: %s", log_errno(-count));
    if (count > 1)
        return cli_error(COMMAND_NAME,
                         "%d sockets were handed over; one is right: the control "
                         "socket",
                         count);
    if (sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
        return cli_error(COMMAND_NAME, "what was handed over is no listening UNIX stream socket");
    *fd = SD_LISTEN_FDS_START;
    return CLI_OK;
}

/* ------------------------------------------------------------------ parents */

/* The name that was given, or the driver's with the first number that is free. */
static int spec_name(const struct daemon *daemon, struct parent_spec *spec)
{
    char stem[128];

    spec_stem(spec, stem, sizeof(stem));
    for (unsigned i = 0; !spec->name; i++) {
        if (asprintf(&spec->name, "%s%u", stem, i) < 0) {
            spec->name = NULL;
            return cli_error(COMMAND_NAME, "out of memory");
        }
        if (model_has_parent(daemon->model, spec->name))
            free(TAKE_POINTER(spec->name));
    }
    return CLI_OK;
}

static int open_here(struct daemon *daemon, const struct parent_spec *spec)
{
    struct source source = source_of_host(daemon->host, true);
    struct umdev_error error = {.message = "out of memory"};

    if (umdev_host_add_parent(daemon->host, spec->driver, spec->name, spec->params, spec->nparams,
                              &error) ||
        model_add_parent(daemon->model, &source, spec->name, &error))
        return fail(&error);
    return CLI_OK;
}

static int open_isolated(struct daemon *daemon, const struct parent_spec *spec)
{
    const struct worker_options options = {&daemon->log, spec, daemon->options.log_level,
                                           daemon->options.trust_clients};
    struct umdev_error error = {.message = "out of memory"};
    struct worker *worker = NULL;
    struct source source;

    if (worker_new(&options, &worker))
        return fail(&error);
    daemon->workers[daemon->nworkers++] = worker;
    source = worker_source(worker);
    if (model_add_parent(daemon->model, &source, spec->name, &error) ||
        worker_start(worker, &error))
        return fail(&error);
    return CLI_OK;
}

static int open_parents(struct daemon *daemon)
{
    struct umdev_host_options options = {
        .struct_size = sizeof(options),
        .log_level = daemon->options.log_level,
        .trust_clients = daemon->options.trust_clients,
    };
    int ret = umdev_host_new(&options, &daemon->host);

    daemon->workers = calloc(daemon->options.nspecs, sizeof(struct worker *));
    if (ret || !daemon->workers)
        return cli_error(COMMAND_NAME, "can't start: %s", log_errno(ret ? -ret : ENOMEM));
    for (size_t i = 0; i < daemon->options.nspecs; i++) {
        struct parent_spec *spec = &daemon->options.specs[i];

        ret = spec_name(daemon, spec);
        if (!ret)
            ret = spec->isolate ? open_isolated(daemon, spec) : open_here(daemon, spec);
        if (ret)
            return ret;
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------ workers' ends */

/* Whether one could not be looked at. */
static bool reap_workers(struct daemon *daemon)
{
    bool again = false;

    for (size_t i = 0; i < daemon->nworkers; i++) {
        const char *name = worker_name(daemon->workers[i]);
        int ret = worker_reap(daemon->workers[i]);
        size_t lost;

        again |= ret < 0;
        if (ret <= 0)
            continue;
        lost = model_lose(daemon->model, name);
        log_print(&daemon->log, UMDEV_LOG_WARNING, name, "%zu device%s went with it", lost,
                  lost == 1 ? "" : "s");
    }
    return again;
}

/* Those whose time has come. */
static void restart_workers(struct daemon *daemon)
{
    for (size_t i = 0; i < daemon->nworkers; i++) {
        struct worker *worker = daemon->workers[i];
        struct umdev_error error = {.message = ""};

        if (worker_due_ns(worker) > clock_now_ns())
            continue;
        if (worker_start(worker, &error)) {
            /* It may have made devices for others before it ended. */
            model_lose(daemon->model, worker_name(worker));
            log_print(&daemon->log, UMDEV_LOG_ERROR, worker_name(worker),
                      "its process does not start: %s", error.message);
            continue;
        }
        log_print(&daemon->log, UMDEV_LOG_WARNING, worker_name(worker), "it has a process again");
        model_restore(daemon->model, worker_name(worker));
    }
}

static uint64_t next_restart(const struct daemon *daemon)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < daemon->nworkers; i++)
        if (worker_due_ns(daemon->workers[i]) < due)
            due = worker_due_ns(daemon->workers[i]);
    return due;
}

/* A signal, or −1: a worker's time has come, `soon` is now, or a debugger was here. */
static int wait_signal(const struct daemon *daemon, const sigset_t *signals, bool soon)
{
    uint64_t due = next_restart(daemon);
    uint64_t now = clock_now_ns();
    struct timespec timeout;

    if (soon)
        due = MIN(due, now + SOON_NS);
    if (due == UINT64_MAX)
        return sigwaitinfo(signals, NULL);
    timeout = clock_timespec(due > now ? due - now : 0);
    return sigtimedwait(signals, NULL, &timeout);
}

static void serve(struct daemon *daemon, const sigset_t *signals)
{
    bool again = false;

    for (;;) {
        int number = wait_signal(daemon, signals, again);

        if (number > 0 && number != SIGCHLD)
            return;
        if (number == SIGCHLD || again)
            again = reap_workers(daemon);
        restart_workers(daemon);
    }
}

/* ------------------------------------------------------------------ life */

/* Devices have fds: as many as we may have. */
static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int answer(struct daemon *daemon, int fd)
{
    struct umdev_error error = {.message = "out of memory"};
    struct source source = model_source(daemon->model);
    int ret;

    if (fd >= 0) {
        ret = control_start_fd(&source, fd, 0, &daemon->control, &error);
    } else {
        ret = control_start(&source, daemon->rundir.control, daemon->rundir.mode, 0,
                            &daemon->control, &error);
        if (!ret)
            ret = rundir_give(&daemon->rundir, daemon->rundir.control, &error);
    }
    return ret ? fail(&error) : CLI_OK;
}

static int start(struct daemon *daemon)
{
    const struct daemon_options *options = &daemon->options;
    struct umdev_error error = {.message = "out of memory"};
    struct model_options model = {&daemon->log, &daemon->rundir, &daemon->state, tell_count,
                                  daemon};
    int fd;
    int ret = activated_socket(&fd);

    if (ret)
        return ret;
    raise_limits();
    if (rundir_open(&daemon->rundir, options->dir, options->mode, options->group, &error) ||
        state_open(&daemon->state, options->state, &error) || model_new(&model, &daemon->model))
        return fail(&error);
    ret = open_parents(daemon);
    if (ret)
        return ret;
    model_restore(daemon->model, NULL);
    if (options->sysfs &&
        tree_mount(daemon->model, options->sysfs, &daemon->log, &daemon->tree, &error))
        return fail(&error);
    return answer(daemon, fd);
}

static void stop(struct daemon *daemon)
{
    control_stop(daemon->control);
    tree_unmount(daemon->tree);
    for (size_t i = 0; i < daemon->nworkers; i++) {
        worker_stop(daemon->workers[i]);
        worker_free(daemon->workers[i]);
    }
    free(daemon->workers);
    umdev_host_free(daemon->host);
    model_free(daemon->model);
    state_close(&daemon->state);
    rundir_close(&daemon->rundir);
}

static int run(struct daemon *daemon)
{
    sigset_t signals;
    int ret;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    ret = start(daemon);
    if (!ret) {
        printf("%s\n", daemon->rundir.control);
        fflush(stdout);
        sd_notify(0, "READY=1");
        serve(daemon, &signals);
        sd_notify(0, "STOPPING=1");
    }
    stop(daemon);
    return ret;
}

int main(int argc, char **argv)
{
    struct daemon daemon = {.state = {.dir = -1}};
    int ret;

    if (argc > 1 && strcmp(argv[1], WORKER_OPTION) == 0)
        return worker_main(argc, argv);
    rundir_init(&daemon.rundir);
    ret = options_parse(&daemon.options, argc, argv);
    daemon.log.level = daemon.options.log_level;
    if (!ret && daemon.options.help)
        options_help();
    else if (!ret)
        ret = run(&daemon);
    options_free(&daemon.options);
    return ret;
}
