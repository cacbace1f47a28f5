/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo/vms.h"

#include "base/range.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The control socket's place in the child. */
#define CONTROL_FD 3

int vm_start(struct vm *vm, const char *name, const struct vm_job *job)
{
    char frames[16];
    char *argv[] = {"umdev-demo",
                    "--vm",
                    (char *)job->scene,
                    (char *)job->socket,
                    frames,
                    (char *)(job->image ? job->image : ""),
                    (char *)(job->output ? job->output : ""),
                    NULL};
    posix_spawn_file_actions_t actions;
    int socks[2], ret;

    *vm = (struct vm){.name = name, .control = -1};
    snprintf(frames, sizeof(frames), "%u", job->frames);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, socks[1], CONTROL_FD);
    ret = posix_spawn(&vm->pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(socks[1]);
    if (ret) {
        close(socks[0]);
        vm->pid = 0;
        return -ret;
    }
    vm->control = socks[0];
    return 0;
}

static void vm_show(struct vm *vm)
{
    if (vm->percent / 25 == vm->shown / 25)
        return;
    vm->shown = vm->percent;
    printf("  %s  %3u %%\n", vm->name, vm->percent);
    fflush(stdout);
}

static void vm_take_line(struct vm *vm, const char *line)
{
    if (sscanf(line, "progress %u", &vm->percent) == 1) {
        vm->frames_seen++;
        vm_show(vm);
    } else if (sscanf(line,
                      "done commands=%" SCNu64 " mapped=%" SCNu64 " differences=%" SCNu64
                      " ms=%" SCNu64,
                      &vm->report.commands, &vm->report.mapped_bytes, &vm->report.differences,
                      &vm->report.milliseconds) == 4) {
        vm->finished = true;
    } else if (strncmp(line, "failed ", 7) == 0) {
        vm->finished = vm->failed = true;
        snprintf(vm->reason, sizeof(vm->reason), "%s", line + 7);
    }
}

/* What the control socket has now. */
static void vm_read(struct vm *vm)
{
    ssize_t got = recv(vm->control, vm->line + vm->used, sizeof(vm->line) - 1 - vm->used, 0);
    char *end;

    if (got <= 0) {
        if (!vm->finished) {
            vm->finished = vm->failed = true;
            snprintf(vm->reason, sizeof(vm->reason), "the process ended without a word");
        }
        return;
    }
    vm->used += (size_t)got;
    vm->line[vm->used] = '\0';
    while ((end = strchr(vm->line, '\n'))) {
        *end = '\0';
        vm_take_line(vm, vm->line);
        vm->used -= (size_t)(end + 1 - vm->line);
        memmove(vm->line, end + 1, vm->used + 1);
    }
    if (vm->used == sizeof(vm->line) - 1)
        vm->used = 0;
}

void vms_wait(struct vm **vms, unsigned n, bool (*enough)(struct vm **vms, unsigned n))
{
    for (;;) {
        struct pollfd fds[VMS_MAX];
        unsigned running = 0;

        for (unsigned i = 0; i < n; i++) {
            fds[i] =
                (struct pollfd){.fd = vms[i]->finished ? -1 : vms[i]->control, .events = POLLIN};
            running += !vms[i]->finished;
        }
        if (!running || (enough && enough(vms, n)))
            return;
        if (poll(fds, n, -1) < 0 && errno != EINTR)
            return;
        for (unsigned i = 0; i < n; i++)
            if (fds[i].revents)
                vm_read(vms[i]);
    }
}

void vm_reap(struct vm *vm)
{
    int status = 0;

    if (vm->pid > 0 && waitpid(vm->pid, &status, 0) == vm->pid && WIFSIGNALED(status))
        vm->signal = WTERMSIG(status);
    if (vm->control >= 0)
        close(vm->control);
    vm->pid = 0;
    vm->control = -1;
}

void vm_kill(struct vm *vm)
{
    if (vm->pid > 0)
        kill(vm->pid, SIGKILL);
    vm_reap(vm);
}
