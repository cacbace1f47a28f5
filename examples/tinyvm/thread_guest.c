/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest without KVM: its program runs in the vCPU's thread. What KVM traps are calls of vm_trap()
 * here, and interrupts are counted by a thread.
 */
#include "tinyvm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static void trap(uint64_t address, void *data, unsigned len, bool write)
{
    vm_trap(vcpu_current(), address, data, len, write);
}

static void *count_interrupts(void *argument)
{
    struct vm *vm = argument;
    struct pollfd poll_fd = {.fd = vm->device.interrupt, .events = POLLIN};
    uint64_t count;

    while (!vm->stopping)
        if (poll(&poll_fd, 1, 20) == 1 && read(poll_fd.fd, &count, sizeof(count)) > 0)
            __atomic_fetch_add(&vm->guest->cells[GUEST_CELL_IRQ], count, __ATOMIC_SEQ_CST);
    return NULL;
}

static int thread_init(struct vm *vm)
{
    struct guest *guest = vm->guest;
    int ret = 0;

    guest->trap = trap;
    guest->memory = (uintptr_t)vm->memory;
    guest->aperture = vm->device.mapped ? (uintptr_t)vm->device.mapped : GUEST_APERTURE;
    for (unsigned i = 0; i < vm->options.nscripts; i++)
        guest->cpu[i].script = (uintptr_t)vm->memory + GUEST_SCRIPT(i);
    if (vm->device.interrupt >= 0)
        ret = -pthread_create(&vm->irq_thread, NULL, count_interrupts, vm);
    vm->irq_thread_runs = vm->device.interrupt >= 0 && !ret;
    if (ret)
        fprintf(stderr, "tinyvm: no thread for interrupts: %s\n", strerrordesc_np(-ret));
    return ret;
}

static void thread_fini(struct vm *vm)
{
    vm->stopping = true;
    if (vm->irq_thread_runs)
        pthread_join(vm->irq_thread, NULL);
}

static void thread_run(struct vcpu *vcpu)
{
    sigjmp_buf escape;

    if (sigsetjmp(escape, 1)) {
        vcpu->escape = NULL;
        vm_fail_touch(vcpu, EFAULT);
        return;
    }
    vcpu->escape = &escape;
    guest_main(vcpu->vm->guest, vcpu->n);
    vcpu->escape = NULL;
}

static void thread_kick(struct vcpu *vcpu)
{
    (void)vcpu; /* it looks at guest->stop */
}

const struct guest_kind thread_guest = {thread_init, thread_fini, thread_run, thread_kick};
