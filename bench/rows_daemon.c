/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon: its start, a device by way of its control socket, and what idle devices cost it. */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRIVER "/umdev-plain.so"

enum { PAIRS = 100, IDLE = 1000 };

struct daemon_run {
    char folder[32], dir[40], control[48];
    pid_t pid; /* 0: none */
    int sock;  /* to its control socket; −1: none */
    double empty_kb;
    const char *status; /* what is measured of it */
};

/* ------------------------------------------------------------------ processes */

/* Start it, and wait until it has written its first line, or has ended. */
static int spawn_until_line(char *const *argv, pid_t *pid)
{
    int ends[2];
    char byte;

    if (pipe(ends))
        return -errno;
    *pid = fork();
    if (*pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    while (*pid > 0 && read(ends[0], &byte, 1) == 1 && byte != '\n')
        ;
    close(ends[0]);
    return *pid > 0 ? 0 : -errno;
}

/* Its driver is beside this program. */
static int daemon_spawn(struct daemon_run *run)
{
    char *program = getenv("UMDEV_PROGRAM");
    char driver[PATH_MAX];
    char *argv[] = {program ? program : (char[]){"umdev"},
                    (char[]){"daemon"},
                    (char[]){"--parent"},
                    driver,
                    (char[]){"--dir"},
                    run->dir,
                    NULL};
    ssize_t len = readlink("/proc/self/exe", driver, sizeof(driver) - sizeof(DRIVER));
    char *slash;
    int ret;

    if (len < 0)
        return -errno;
    driver[len] = '\0';
    slash = strrchr(driver, '/');
    if (!slash)
        return -ENOENT;
    memcpy(slash, DRIVER, sizeof(DRIVER));
    ret = spawn_until_line(argv, &run->pid);
    return ret || access(run->control, F_OK) == 0 ? ret : -ENOENT;
}

static void daemon_end(struct daemon_run *run)
{
    if (run->pid > 0) {
        kill(run->pid, SIGTERM);
        waitpid(run->pid, NULL, 0);
    }
    run->pid = 0;
}

static int daemon_new(struct daemon_run **result)
{
    struct daemon_run *run = calloc(1, sizeof(*run));

    *result = run;
    run->sock = -1;
    snprintf(run->folder, sizeof(run->folder), "/tmp/umdev-bench-XXXXXX");
    if (!mkdtemp(run->folder))
        return -errno;
    snprintf(run->dir, sizeof(run->dir), "%s/d", run->folder);
    snprintf(run->control, sizeof(run->control), "%s/control", run->dir);
    return 0;
}

static void daemon_stop(void *state)
{
    struct daemon_run *run = state;

    if (run->sock >= 0)
        close(run->sock);
    daemon_end(run);
    rmdir(run->folder);
    free(run);
}

/* ------------------------------------------------------------------ start */

static int start_measure(void *state, double *samples, size_t n)
{
    struct daemon_run *run = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = daemon_spawn(run);

        samples[i] = (double)(bench_now_ns() - start);
        daemon_end(run);
        if (ret)
            return ret;
    }
    return 0;
}

static int start_floor_measure(void *state, double *samples, size_t n)
{
    char *argv[] = {(char[]){"true"}, NULL};

    (void)state;
    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        pid_t pid;
        int ret = spawn_until_line(argv, &pid);

        if (ret)
            return ret;
        waitpid(pid, NULL, 0);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int start_start(struct row_run *row)
{
    struct daemon_run *run;
    int ret = daemon_new(&run);

    row->ours = (struct subject){start_measure, daemon_stop, run};
    row->floor = (struct subject){start_floor_measure, NULL, NULL};
    return ret;
}

const struct row daemon_start_row = {
    .name = "daemon.start",
    .what = "`umdev daemon` from fork to its readiness, one parent / fork, exec and end of true",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 5,
    .start = start_start,
};

/* ------------------------------------------------------------------ create and remove */

/* A line there, a line back. */
static int ask(int sock, const char *request, char *answer, size_t size)
{
    size_t have = 0;

    if (send(sock, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        return -EPIPE;
    while (have == 0 || answer[have - 1] != '\n') {
        ssize_t got = recv(sock, answer + have, size - 1 - have, 0);

        if (got <= 0)
            return -EPIPE;
        have += (size_t)got;
    }
    answer[have] = '\0';
    return strncmp(answer, "{\"result\"", 9) == 0 ? 0 : -EPROTO;
}

static int ask_create(int sock, unsigned number)
{
    char request[160], answer[1024];

    snprintf(request, sizeof(request),
             "{\"command\":\"create\",\"type\":\"plain-1\","
             "\"uuid\":\"00000000-0000-4000-8000-%012x\"}\n",
             number);
    return ask(sock, request, answer, sizeof(answer));
}

static int ask_remove(int sock, unsigned number)
{
    char request[160], answer[1024];

    snprintf(request, sizeof(request),
             "{\"command\":\"remove\",\"device\":\"00000000-0000-4000-8000-%012x\"}\n", number);
    return ask(sock, request, answer, sizeof(answer));
}

static int pairs_measure(void *state, double *samples, size_t n)
{
    struct daemon_run *run = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = 0;

        for (unsigned k = 0; !ret && k < PAIRS; k++) {
            ret = ask_create(run->sock, 1);
            if (!ret)
                ret = ask_remove(run->sock, 1);
        }
        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start) / PAIRS;
    }
    return 0;
}

/* A process that makes a directory and a listening socket at one byte, and removes both at another.
 */
static void pairs_floor_serve(int sock, void *arg)
{
    const struct daemon_run *run = arg;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char byte;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", run->dir);
    while (recv(sock, &byte, 1, 0) == 1) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (mkdir(run->dir, 0755) || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
            listen(fd, 64) || send(sock, &byte, 1, 0) != 1 || recv(sock, &byte, 1, 0) != 1)
            _exit(1);
        close(fd);
        unlink(address.sun_path);
        rmdir(run->dir);
        if (send(sock, &byte, 1, 0) != 1)
            _exit(1);
    }
    _exit(0);
}

static int pairs_floor_measure(void *state, double *samples, size_t n)
{
    struct daemon_run *run = state;
    char byte = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (unsigned k = 0; k < 2 * PAIRS; k++)
            if (send(run->sock, &byte, 1, MSG_NOSIGNAL) != 1 || recv(run->sock, &byte, 1, 0) != 1)
                return -EPIPE;
        samples[i] = (double)(bench_now_ns() - start) / PAIRS;
    }
    return 0;
}

/* A daemon, and a connection to its control socket. */
static int daemon_connect(struct daemon_run *run)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int ret = daemon_spawn(run);

    if (ret)
        return ret;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", run->control);
    run->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(run->sock, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

static int pairs_start(struct row_run *row)
{
    struct daemon_run *run, *floor;
    int ret = daemon_new(&run);

    row->ours = (struct subject){pairs_measure, daemon_stop, run};
    if (!ret)
        ret = daemon_connect(run);
    if (!ret)
        ret = daemon_new(&floor);
    if (ret)
        return ret;
    row->floor = (struct subject){pairs_floor_measure, daemon_stop, floor};
    floor->pid = bench_spawn(row->server_cpu, pairs_floor_serve, floor, &floor->sock);
    return floor->pid < 0 ? floor->pid : 0;
}

const struct row daemon_create_row = {
    .name = "daemon.create-remove",
    .what = "a device made and removed at the control socket / two round trips; a directory and a "
            "socket",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 5,
    .start = pairs_start,
};

/* ------------------------------------------------------------------ idle devices */

static int idle_measure(void *state, double *samples, size_t n)
{
    const struct daemon_run *run = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        ret = bench_status_kb(run->pid, run->status, &samples[i]);
        samples[i] = (samples[i] - run->empty_kb) / IDLE;
    }
    return ret;
}

/* One device has come and gone: what is made once is there. */
static int idle_begin(struct row_run *row, const char *status)
{
    struct daemon_run *run;
    int ret = daemon_new(&run);

    row->ours = (struct subject){idle_measure, daemon_stop, run};
    run->status = status;
    if (!ret)
        ret = daemon_connect(run);
    if (!ret)
        ret = ask_create(run->sock, IDLE);
    if (!ret)
        ret = ask_remove(run->sock, IDLE);
    if (!ret)
        ret = bench_status_kb(run->pid, status, &run->empty_kb);
    for (unsigned i = 0; !ret && i < IDLE; i++)
        ret = ask_create(run->sock, i);
    return ret;
}

static int memory_start(struct row_run *row)
{
    return idle_begin(row, "VmRSS");
}

const struct row daemon_memory_row = {
    .name = "daemon.memory.1000",
    .what = "resident memory of the daemon for each of 1,000 devices without clients",
    .unit = "kB",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = memory_start,
};

static int threads_start(struct row_run *row)
{
    return idle_begin(row, "Threads");
}

const struct row daemon_threads_row = {
    .name = "daemon.threads.1000",
    .what = "threads of the daemon for each of 1,000 devices without clients",
    .unit = "1",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = threads_start,
};
