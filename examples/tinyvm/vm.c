/* SPDX-License-Identifier: BSD-3-Clause */
#include "tinyvm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

_Static_assert(GUEST_SHARED + sizeof(struct guest) <= 0x2000, "what is shared is one page");

/* For the signal handler and for guests that are threads. */
static _Thread_local struct vcpu *current;

static const struct guest_kind *kind_of(const struct vm *vm)
{
    return vm->options.no_kvm ? &thread_guest : &kvm_guest;
}

struct vcpu *vcpu_current(void)
{
    return current;
}

/* ------------------------------------------------------------------ failures */

static void fail(struct vm *vm, const char *text)
{
    pthread_mutex_lock(&vm->lock);
    if (!vm->stopping) {
        fprintf(stderr, "tinyvm: %s\n", text);
        vm->failed = true;
        vm->stopping = true;
        vm->guest->stop = 1;
        for (unsigned i = 0; i < vm->options.nscripts; i++)
            if (vm->vcpus[i].running)
                kind_of(vm)->kick(&vm->vcpus[i]);
    }
    pthread_mutex_unlock(&vm->lock);
}

void vm_fail(struct vm *vm, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fail(vm, text);
}

/* The line that a vCPU says it is in; the guest may say anything. */
static const struct guest_op *line_of(const struct vcpu *vcpu)
{
    uint32_t at = vcpu->vm->guest->cpu[vcpu->n].at;

    return &vcpu->script.ops[at < vcpu->script.nops ? at : vcpu->script.nops - 1];
}

void vm_fail_at(struct vcpu *vcpu, const char *format, ...)
{
    const struct guest_op *op = line_of(vcpu);
    char text[256];
    va_list args;
    int len = snprintf(text, sizeof(text), "%.100s:%u: %s: ", vcpu->script.name, op->line,
                       script_verb(op->code));

    va_start(args, format);
    vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
    va_end(args);
    fail(vcpu->vm, text);
}

void vm_fail_touch(struct vcpu *vcpu, int error)
{
    struct vm *vm = vcpu->vm;
    const uint8_t *lost = vcpu->lost;
    uint64_t offset = lost ? (uint64_t)(lost - vm->device.mapped) : vm->guest->cpu[vcpu->n].touches;

    offset -= offset % 4096;
    if (device_lost(vm))
        vm_fail_at(vcpu, "region %d, offset %#llx: the server is gone", vm->device.aperture,
                   (unsigned long long)offset);
    else
        vm_fail_at(vcpu, "region %d, offset %#llx: the device refuses the page (%s)",
                   vm->device.aperture, (unsigned long long)offset,
                   lost ? "SIGBUS" : strerrordesc_np(error));
}

/* ------------------------------------------------------------------ calls of the guest */

static void tell_stats(const struct vm *vm)
{
    struct umdev_client_fault_stats stats = {.struct_size = sizeof(stats)};

    (void)umdev_client_get_fault_stats(vm->device.client, &stats);
    printf("%llu faults, %llu refused, %llu invalidated, %llu evicted, %llu maps\n",
           (unsigned long long)stats.faults, (unsigned long long)stats.refused,
           (unsigned long long)stats.invalidated, (unsigned long long)stats.evicted,
           (unsigned long long)stats.maps);
}

/* What became of a line, as a line of its own. */
static void tell(const struct vcpu *vcpu, const struct guest_op *op, const uint64_t *value)
{
    flockfile(stdout);
    printf("%s:%u: %s: ", vcpu->script.name, op->line, script_verb(op->code));
    if (op->code == OP_STATS)
        tell_stats(vcpu->vm);
    else if (op->code == OP_WATCH)
        printf("%llu reads, %llu values\n", (unsigned long long)value[0],
               (unsigned long long)value[1]);
    else
        printf("%#llx\n", (unsigned long long)value[0]);
    fflush(stdout);
    funlockfile(stdout);
}

static void prefault(struct vcpu *vcpu, uint64_t offset, uint64_t size)
{
    const struct device *device = &vcpu->vm->device;
    int ret =
        umdev_client_prefault(device->client, (unsigned)device->aperture, offset, size, UMDEV_READ);

    if (ret)
        vm_fail_at(vcpu, "region %d, offset %#llx: %s", device->aperture,
                   (unsigned long long)offset, strerrordesc_np(-ret));
}

/* Or the end of the input, or a kick. */
static void wait_for_line(void)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
        ;
}

static void do_op(struct vcpu *vcpu, const struct guest_op *op, const uint64_t *value)
{
    const struct timespec pause = {(time_t)(value[0] / 1000), (long)(value[0] % 1000) * 1000000};

    if (op->code == OP_STOP)
        vcpu->done = true;
    else if (op->code == OP_SLEEP)
        nanosleep(&pause, NULL);
    else if (op->code == OP_PAUSE)
        wait_for_line();
    else if (op->code == OP_PREFAULT)
        prefault(vcpu, value[0], value[1]);
    else
        tell(vcpu, op, value);
}

static void answer_call(struct vcpu *vcpu, uint32_t why)
{
    const struct guest_op *op = line_of(vcpu);
    uint64_t value[GUEST_ARGS];

    if (vcpu->vm->stopping)
        return; /* what the guest says now follows from what went wrong */
    for (unsigned i = 0; i < GUEST_ARGS; i++)
        value[i] = vcpu->vm->guest->cpu[vcpu->n].value[i];
    if (why == CALL_OP)
        do_op(vcpu, op, value);
    else if (why == CALL_TOLD)
        tell(vcpu, op, value);
    else if (why == CALL_FAILED && value[1] == value[2])
        vm_fail_at(vcpu, "%#llx was read, not %#llx", (unsigned long long)value[0],
                   (unsigned long long)value[1]);
    else if (why == CALL_FAILED)
        vm_fail_at(vcpu, "%#llx was read, not %#llx to %#llx", (unsigned long long)value[0],
                   (unsigned long long)value[1], (unsigned long long)value[2]);
    else if (why == CALL_NO_MEMORY)
        vm_fail_at(vcpu, "%#llx is not in the memory, by words, with %#llx bytes",
                   (unsigned long long)value[0], (unsigned long long)value[1]);
    else if (why == CALL_DIFFERS)
        vm_fail_at(vcpu, "%#llx is at %#llx, and %#llx at %#llx", (unsigned long long)value[0],
                   (unsigned long long)value[1], (unsigned long long)value[2],
                   (unsigned long long)value[3]);
    else
        vm_fail_at(vcpu, "%#llx is not in the aperture", (unsigned long long)value[0]);
}

static void access_device(struct vcpu *vcpu, int region, uint64_t offset, void *data, unsigned len,
                          bool write)
{
    int ret = device_access(vcpu->vm, region, offset, data, len, write);

    if (ret && device_lost(vcpu->vm))
        vm_fail_at(vcpu, "region %d, offset %#llx: the server is gone", region,
                   (unsigned long long)offset);
    else if (ret)
        vm_fail_at(vcpu, "region %d, offset %#llx: %s", region, (unsigned long long)offset,
                   strerrordesc_np(-ret));
}

static bool inside(uint64_t address, unsigned len, uint64_t first, uint64_t size)
{
    return len <= size && address >= first && address - first <= size - len;
}

void vm_trap(struct vcpu *vcpu, uint64_t address, void *data, unsigned len, bool write)
{
    const struct device *device = &vcpu->vm->device;
    uint32_t why;

    if (address == GUEST_CALL && write && len == sizeof(why)) {
        memcpy(&why, data, sizeof(why));
        answer_call(vcpu, why);
    } else if (inside(address, len, GUEST_REGISTERS, device->registers_size)) {
        access_device(vcpu, device->registers, address - GUEST_REGISTERS, data, len, write);
    } else if (!inside(address, len, GUEST_APERTURE, device->aperture_size)) {
        vm_fail_at(vcpu, "nothing is at %#llx of the guest", (unsigned long long)address);
    } else if (device->mapped) {
        vm_fail_touch(vcpu, EFAULT); /* KVM did the instruction itself, and found no page */
    } else {
        access_device(vcpu, device->aperture, address - GUEST_APERTURE, data, len, write);
    }
}

/* ------------------------------------------------------------------ vCPUs */

/*
 * What the library raises for a page that can't be had. KVM_RUN is then about to end; a guest that
 * is this thread is left. Elsewhere it is a bug, and the access is repeated and kills.
 */
static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    struct vcpu *vcpu = current;
    uint8_t *address = info->si_addr;

    (void)context;
    if (vcpu && address >= vcpu->vm->device.mapped &&
        address < vcpu->vm->device.mapped + vcpu->vm->device.aperture_size) {
        vcpu->lost = address;
        if (vcpu->escape)
            siglongjmp(*vcpu->escape, 1);
        return;
    }
    signal(signal_number, SIG_DFL);
}

static void *vcpu_thread(void *argument)
{
    struct vcpu *vcpu = argument;

    current = vcpu;
    kind_of(vcpu->vm)->run(vcpu);
    pthread_mutex_lock(&vcpu->vm->lock);
    vcpu->running = false;
    pthread_mutex_unlock(&vcpu->vm->lock);
    return NULL;
}

static bool vcpu_start(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    int ret;

    pthread_mutex_lock(&vm->lock);
    ret = vm->stopping ? ECANCELED : pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
    vcpu->running = ret == 0;
    pthread_mutex_unlock(&vm->lock);
    if (ret)
        vm_fail(vm, "no thread for a vCPU: %s", strerrordesc_np(ret));
    return ret == 0;
}

int vm_run(struct vm *vm)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    unsigned started = 0;

    sigaction(SIGBUS, &action, NULL);
    while (started < vm->options.nscripts && vcpu_start(&vm->vcpus[started]))
        started++;
    while (started)
        pthread_join(vm->vcpus[--started].thread, NULL);
    vm->stopping = true; /* what fails from now on fails nobody */
    return vm->failed ? 1 : 0;
}

/* ------------------------------------------------------------------ life */

static int make_memory(struct vm *vm)
{
    vm->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (vm->memory_fd < 0 || ftruncate(vm->memory_fd, GUEST_RAM_SIZE) < 0)
        return -errno;
    vm->memory = mmap(NULL, GUEST_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memory_fd, 0);
    if (vm->memory == MAP_FAILED) {
        vm->memory = NULL;
        return -errno;
    }
    vm->guest = (struct guest *)(vm->memory + GUEST_SHARED);
    return 0;
}

static int load_scripts(struct vm *vm)
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < vm->options.nscripts; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];

        ret = script_load(&vcpu->script, vm->options.scripts[i]);
        if (!ret)
            memcpy(vm->memory + GUEST_SCRIPT(i), vcpu->script.ops,
                   vcpu->script.nops * sizeof(*vcpu->script.ops));
    }
    return ret;
}

int vm_init(struct vm *vm)
{
    int ret = make_memory(vm);

    pthread_mutex_init(&vm->lock, NULL);
    vm->kvm = vm->fd = -1;
    for (unsigned i = 0; i < GUEST_CPUS; i++) {
        vm->vcpus[i].vm = vm;
        vm->vcpus[i].n = i;
        vm->vcpus[i].fd = -1;
    }
    if (ret)
        fprintf(stderr, "tinyvm: no memory: %s\n", strerrordesc_np(-ret));
    if (!ret)
        ret = load_scripts(vm);
    if (!ret)
        ret = device_open(vm);
    if (!ret)
        ret = device_share_memory(vm);
    if (ret)
        return ret;
    vm->guest->aperture_size = vm->device.aperture_size;
    vm->guest->aperture_traps = !vm->device.mapped;
    return kind_of(vm)->init(vm);
}

void vm_fini(struct vm *vm)
{
    kind_of(vm)->fini(vm);
    device_close(vm);
    for (unsigned i = 0; i < vm->options.nscripts; i++)
        script_free(&vm->vcpus[i].script);
    if (vm->memory)
        munmap(vm->memory, GUEST_RAM_SIZE);
    if (vm->memory_fd >= 0)
        close(vm->memory_fd);
    pthread_mutex_destroy(&vm->lock);
}
