/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The demo's VMs as the command sees them: processes and what they report.
 */
#ifndef DEMO_VMS_H
#define DEMO_VMS_H

#include "demo/demo.h"

#include <sys/types.h>

#define VMS_MAX 3

struct vm {
    const char *name; /* "VM 1" */
    pid_t pid;        /* 0: none */
    int control;
    char line[512]; /* of the control socket, as far as it is there */
    size_t used;
    unsigned percent, shown;
    unsigned frames_seen; /* progress lines */
    bool finished;        /* said done or failed, or died */
    bool failed;
    char reason[512];
    int signal; /* that ended it, once it is reaped; 0: none */
    struct vm_report report;
};

/* Start the VM's process on a job (its `control` is filled in here). −errno. */
int vm_start(struct vm *vm, const char *name, const struct vm_job *job);
/*
 * Serve the control sockets until every VM has finished, or `enough(vms, n)` says true. Prints
 * progress. A VM that dies without a word has failed.
 */
void vms_wait(struct vm **vms, unsigned n, bool (*enough)(struct vm **vms, unsigned n));
/* SIGKILL, and wait until it is gone. */
void vm_kill(struct vm *vm);
/* Wait for its end and close its control socket. */
void vm_reap(struct vm *vm);

#endif
