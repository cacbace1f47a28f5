/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tinyvm: a virtual machine with one umdev device.
 *
 * Data model. A *vm* is a memfd with the guest's memory, which the device may reach by DMA; a
 * device; and up to GUEST_CPUS vCPUs, each of them a thread that runs one script. The device has
 * two places in the guest's address space: the *aperture*, a region that the client library maps
 * into this process and KVM, by a memory slot, from there into the guest; and the *registers*, a
 * region each access to which is a message, but for doorbells, which KVM turns into signals by
 * itself. Interrupts are an eventfd of the library's that KVM listens to.
 *
 * The VM ends when all scripts have, or with the first thing that goes wrong, which vm_fail() tells
 * once and stops all vCPUs for.
 *
 * Threads: vCPUs; the library's; without KVM one that waits for interrupts. vm->lock guards what
 * vm_fail() needs. All else is made before the vCPUs start.
 */
#ifndef TINYVM_TINYVM_H
#define TINYVM_TINYVM_H

#include "guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#include <umdev/client.h>

struct kvm_run;

struct options {
    const char *socket;
    const char *scripts[GUEST_CPUS];
    unsigned nscripts;
    int aperture;      /* a region; −1: the first that faults */
    int registers;     /* a region */
    int interrupt;     /* an MSI-X vector */
    bool no_kvm;       /* the guest is a thread */
    bool async_faults; /* KVM may fetch pages in the background */
    bool no_fault;     /* the aperture is trapped */
    enum umdev_track_help track;
};

struct script {
    const char *name; /* of the file */
    struct guest_op *ops;
    size_t nops;
};

struct device {
    struct umdev_client *client;
    struct umdev_tracker *tracker; /* or NULL */
    int aperture, registers;       /* regions; aperture −1: there is none */
    uint64_t aperture_size, registers_size;
    uint8_t *mapped; /* the aperture; NULL: it is trapped */
    const struct umdev_io_fd *doorbells;
    size_t ndoorbells;
    int interrupt; /* an eventfd, or −1 */
};

struct vcpu {
    struct vm *vm;
    unsigned n;
    struct script script;
    pthread_t thread;
    bool running; /* under vm->lock */
    int fd;       /* KVM's, or −1 */
    struct kvm_run *run;
    size_t run_size;
    bool done; /* its script is at its end */

    /* Where SIGBUS hit it, or NULL; for the thread and its signal handler. */
    uint8_t *volatile lost;
    sigjmp_buf *volatile escape; /* out of the guest that runs in this thread */
};

struct vm {
    struct options options;
    struct device device;
    int memory_fd;
    uint8_t *memory;
    struct guest *guest; /* in the memory */
    int kvm, fd;         /* KVM's, or −1 */
    struct vcpu vcpus[GUEST_CPUS];
    pthread_t irq_thread;
    bool irq_thread_runs;

    pthread_mutex_t lock;
    bool failed;
    atomic_bool stopping;
};

/* ------------------------------------------------------------------ script.c */

/* Read a script; says what is wrong with it. 0 or −errno. */
int script_load(struct script *script, const char *path);
void script_free(struct script *script);
/* What a line does, as it is written: "write". */
const char *script_verb(uint32_t code);

/* ------------------------------------------------------------------ device.c */

/* Connect and make ready; says what went wrong. 0 or −errno. */
int device_open(struct vm *vm);
void device_close(struct vm *vm);
/* Let the device reach the guest's memory. */
int device_share_memory(struct vm *vm);
/* A trapped access; the region is the aperture or the registers. 0 or −errno. */
int device_access(struct vm *vm, int region, uint64_t offset, void *data, unsigned len, bool write);
/* Whether the server is gone. */
bool device_lost(const struct vm *vm);

/* ------------------------------------------------------------------ vm.c */

/* The end of the VM: "tinyvm: …" on stderr, once, and all vCPUs stop. Any thread. */
void vm_fail(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for the line a vCPU is in: "FILE:LINE: write: …". */
void vm_fail_at(struct vcpu *vcpu, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A touch of the aperture came to nothing, at vcpu->lost or where the guest said it would go. */
void vm_fail_touch(struct vcpu *vcpu, int error);
/* A load or store that nothing but the VMM is behind. */
void vm_trap(struct vcpu *vcpu, uint64_t address, void *data, unsigned len, bool write);
/* The vCPU whose thread this is, or NULL. */
struct vcpu *vcpu_current(void);
/* Start the vCPUs and wait for their end. The exit code. */
int vm_run(struct vm *vm);
int vm_init(struct vm *vm);
void vm_fini(struct vm *vm);

/* ------------------------------------------------------------------ kinds of guest */

struct guest_kind {
    int (*init)(struct vm *vm); /* says what went wrong; 0 or −errno */
    void (*fini)(struct vm *vm);
    void (*run)(struct vcpu *vcpu);  /* until the script's end or vm->stopping */
    void (*kick)(struct vcpu *vcpu); /* out of run(), once it is stopping; from any thread */
};
extern const struct guest_kind kvm_guest, thread_guest;

#endif
