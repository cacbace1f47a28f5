/* SPDX-License-Identifier: BSD-3-Clause */
/* Child processes, pinning, clocks: what every row needs. */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_pin(int cpu)
{
    struct sched_param param = {.sched_priority = 10};
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    sched_setscheduler(0, SCHED_FIFO, &param);
}

pid_t bench_spawn(int cpu, void (*serve)(int sock, void *arg), void *arg, int *sock)
{
    pid_t parent = getpid(), pid;
    int socks[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
        return -errno;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(socks[0]);
        bench_pin(cpu);
        serve(socks[1], arg);
        _exit(0);
    }
    close(socks[1]);
    if (pid < 0) {
        close(socks[0]);
        return -errno;
    }
    *sock = socks[0];
    return pid;
}

int bench_status_kb(pid_t pid, const char *name, double *kb)
{
    char path[64], line[256];
    size_t len = strlen(name);
    FILE *status;
    int ret = -ENOENT;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    status = fopen(path, "re");
    if (!status)
        return -errno;
    while (ret && fgets(line, sizeof(line), status))
        if (strncmp(line, name, len) == 0 && sscanf(line + len, ": %lf", kb) == 1)
            ret = 0;
    fclose(status);
    return ret;
}

void bench_kill(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

struct bench_shared *bench_shared_new(void)
{
    struct bench_shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return NULL;
    shared->go = eventfd(0, EFD_CLOEXEC);
    return shared;
}

void bench_shared_free(struct bench_shared *shared)
{
    if (!shared)
        return;
    close(shared->go);
    munmap(shared, sizeof(*shared));
}

void bench_shared_loop(struct bench_shared *shared, void (*fire)(void *opaque), void *opaque)
{
    /* Long enough for the reader to have gone to sleep in its read(). */
    const struct timespec pause = {.tv_nsec = 50000};
    uint64_t count;

    while (read(shared->go, &count, sizeof(count)) == sizeof(count)) {
        nanosleep(&pause, NULL);
        shared->fired_ns = bench_now_ns();
        fire(opaque);
    }
    _exit(0);
}
