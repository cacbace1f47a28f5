/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest of KVM's. The aperture is a memory slot over the library's mapping: a guest's touch of a
 * page that is not there is a fault of the vCPU's thread in KVM_RUN, which the library answers, and
 * what it takes away KVM takes from the guest before.
 */
#include "cpu.h"
#include "tinyvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert((int)GUEST_CPUS <= (int)CPU_MAX, "each vCPU has its tables");
_Static_assert((GUEST_APERTURE + GUEST_APERTURE_MAX) >> 30 <= CPU_GIGABYTES, "what is mapped");

#define INTERRUPT_GSI 24 /* none of the IOAPIC's */
#define KICK_SIGNAL   SIGUSR1

#ifndef KVM_EXIT_MEMORY_FAULT /* Linux 6.8 */
#define KVM_EXIT_MEMORY_FAULT 39
#endif

static int complain(const char *what, int error)
{
    fprintf(stderr, "tinyvm: KVM: %s: %s\n", what, strerrordesc_np(error));
    return -error;
}

/* ------------------------------------------------------------------ the machine */

static int set_slot(const struct vm *vm, unsigned slot, uint64_t address, void *memory,
                    uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = address,
        .memory_size = size,
        .userspace_addr = (uintptr_t)memory,
    };

    return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) ? complain("memory slot", errno) : 0;
}

/*
 * With interrupt controllers of its own KVM fetches a page that is not there in the background, and
 * then always for writing: a page that can only be read would be refused to a guest that reads it.
 * Where there is no page at all it may try for ever. It does none of this in a VM whose HLT does
 * not exit. Our guest never halts.
 */
static void forbid_background_faults(const struct vm *vm)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X86_DISABLE_EXITS,
        .args = {KVM_X86_DISABLE_EXITS_HLT},
    };

    if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
        fprintf(stderr, "tinyvm: KVM will ask for all pages as if they were written\n");
}

static int make_machine(struct vm *vm)
{
    uint64_t identity_map = 0xfffbc000;

    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0) {
        fprintf(stderr, "tinyvm: /dev/kvm: %s (see --no-kvm)\n", strerrordesc_np(errno));
        return -errno;
    }
    vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return complain("create a VM", errno);
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, identity_map + 0x1000) ||
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map))
        return complain("set addresses", errno);
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0))
        return complain("create interrupt controllers", errno);
    if (!vm->options.async_faults)
        forbid_background_faults(vm);
    return 0;
}

static int map_memory(struct vm *vm)
{
    const struct device *device = &vm->device;
    int ret = set_slot(vm, 0, 0, vm->memory, GUEST_RAM_SIZE);

    if (!ret && device->mapped)
        ret = set_slot(vm, 1, GUEST_APERTURE, device->mapped, device->aperture_size);
    return ret;
}

/* Writes that KVM turns into signals, with no exit to us. */
static int connect_doorbells(const struct vm *vm)
{
    const struct device *device = &vm->device;

    for (size_t i = 0; i < device->ndoorbells; i++) {
        const struct umdev_io_fd *bell = &device->doorbells[i];
        struct kvm_ioeventfd request = {
            .datamatch = bell->datamatch,
            .addr = GUEST_REGISTERS + bell->offset,
            .len = (uint32_t)bell->size,
            .fd = bell->fd,
            .flags = bell->flags & UMDEV_IO_FD_DATAMATCH ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
        };

        if (bell->type == UMDEV_IO_FD_EVENTFD && !(bell->flags & UMDEV_IO_FD_PIO) &&
            ioctl(vm->fd, KVM_IOEVENTFD, &request))
            return complain("doorbell", errno);
    }
    return 0;
}

/* The device's eventfd is an interrupt message to the first vCPU. */
static int connect_interrupt(const struct vm *vm)
{
    char buffer[sizeof(struct kvm_irq_routing) + sizeof(struct kvm_irq_routing_entry)] = {0};
    struct kvm_irq_routing *routing = (struct kvm_irq_routing *)buffer;
    struct kvm_irqfd request = {.fd = (uint32_t)vm->device.interrupt, .gsi = INTERRUPT_GSI};

    if (vm->device.interrupt < 0)
        return 0;
    routing->nr = 1;
    routing->entries[0].gsi = INTERRUPT_GSI;
    routing->entries[0].type = KVM_IRQ_ROUTING_MSI;
    routing->entries[0].u.msi.address_lo = 0xfee00000;
    routing->entries[0].u.msi.data = CPU_INTERRUPT_VECTOR;
    if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, routing) || ioctl(vm->fd, KVM_IRQFD, &request))
        return complain("interrupt", errno);
    return 0;
}

/* ------------------------------------------------------------------ vCPUs */

/* Where a function of the guest's program is in its memory. */
static uint64_t in_guest(const void *function)
{
    return GUEST_CODE + (uint64_t)((const char *)function - __start_guest);
}

/* The guest's processor is this one, as far as KVM can. */
static int set_cpuid(const struct vm *vm, const struct vcpu *vcpu)
{
    const uint32_t entries = 256;
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(*cpuid->entries));
    int ret = 0;

    if (!cpuid)
        return complain("CPUID", ENOMEM);
    cpuid->nent = entries;
    if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
        ret = complain("CPUID", errno);
    free(cpuid);
    return ret;
}

/* All vCPUs run at once: none waits for the first to start it. */
static int set_registers(const struct vcpu *vcpu)
{
    struct kvm_mp_state running = {.mp_state = KVM_MP_STATE_RUNNABLE};
    const uint64_t args[] = {GUEST_SHARED, vcpu->n};
    int ret = cpu_init(vcpu->fd, vcpu->n, in_guest(guest_main), args);

    if (!ret)
        ret = cpu_enable_apic(vcpu->fd);
    if (!ret && ioctl(vcpu->fd, KVM_SET_MP_STATE, &running))
        ret = -errno;
    return ret ? complain("a vCPU's registers", -ret) : 0;
}

static int make_vcpu(struct vm *vm, struct vcpu *vcpu)
{
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), ret;
    struct kvm_run *run;

    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, vcpu->n);
    if (size < 0 || vcpu->fd < 0)
        return complain("create a vCPU", errno);
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return complain("map a vCPU", errno);
    vcpu->run = run;
    vcpu->run_size = (size_t)size;
    ret = set_cpuid(vm, vcpu);
    return ret ? ret : set_registers(vcpu);
}

static void ignore(int signal_number)
{
    (void)signal_number; /* it ends KVM_RUN */
}

static int kvm_init(struct vm *vm)
{
    struct sigaction action = {.sa_handler = ignore};
    size_t code = (size_t)(__stop_guest - __start_guest);
    int ret = code <= GUEST_CODE_MAX ? make_machine(vm) : complain("the guest's program", E2BIG);

    if (!ret)
        ret = map_memory(vm);
    if (!ret)
        ret = connect_doorbells(vm);
    if (!ret)
        ret = connect_interrupt(vm);
    if (ret)
        return ret;
    vm->guest->aperture = GUEST_APERTURE;
    memcpy(vm->memory + GUEST_CODE, __start_guest, code);
    cpu_init_tables(vm->memory, in_guest(guest_interrupt));
    for (unsigned i = 0; !ret && i < vm->options.nscripts; i++) {
        vm->guest->cpu[i].script = GUEST_SCRIPT(i);
        ret = make_vcpu(vm, &vm->vcpus[i]);
    }
    sigaction(KICK_SIGNAL, &action, NULL);
    return ret;
}

static void kvm_fini(struct vm *vm)
{
    for (unsigned i = 0; i < vm->options.nscripts; i++) {
        if (vm->vcpus[i].run)
            munmap(vm->vcpus[i].run, vm->vcpus[i].run_size);
        if (vm->vcpus[i].fd >= 0)
            close(vm->vcpus[i].fd);
    }
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->kvm >= 0)
        close(vm->kvm);
}

/* ------------------------------------------------------------------ running */

/* KVM_RUN has come back with a reason. */
static void handle_exit(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct kvm_regs regs = {0};

    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        vm_trap(vcpu, run->mmio.phys_addr, run->mmio.data, run->mmio.len, run->mmio.is_write);
        break;
    case KVM_EXIT_SHUTDOWN:
        (void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
        vm_fail_at(vcpu, "the guest crashed at %#llx", (unsigned long long)regs.rip);
        break;
    default:
        vm_fail_at(vcpu, "KVM_RUN ended with reason %u", run->exit_reason);
        break;
    }
}

/*
 * A page that can't be had ends KVM_RUN: with EFAULT, or EHWPOISON, or the thread gets SIGBUS,
 * whose handler notes the address, and it is EINTR. To run the vCPU again would be to try the page
 * again.
 */
static void kvm_run(struct vcpu *vcpu)
{
    while (!vcpu->done && !vcpu->vm->stopping) {
        int error = ioctl(vcpu->fd, KVM_RUN, 0) ? errno : 0;

        if (vcpu->lost || error == EFAULT || error == EHWPOISON)
            vm_fail_touch(vcpu, error);
        else if (!error)
            handle_exit(vcpu);
        else if (error != EINTR && error != EAGAIN)
            vm_fail_at(vcpu, "KVM_RUN: %s", strerrordesc_np(error));
    }
}

static void kvm_kick(struct vcpu *vcpu)
{
    /* The flag is for the moment before KVM_RUN, in which a signal would be spent. */
    *(volatile uint8_t *)&vcpu->run->immediate_exit = 1;
    pthread_kill(vcpu->thread, KICK_SIGNAL);
}

const struct guest_kind kvm_guest = {kvm_init, kvm_fini, kvm_run, kvm_kick};
