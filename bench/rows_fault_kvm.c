/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First touches by a guest of KVM's, to whom the pages are a memory slot.
 *
 * The guest times itself: it reads the time stamp counter before and after each touch, so that what
 * KVM_RUN costs is in no figure. The floor is the same guest over the mechanism by hand.
 */
#include "../examples/tinyvm/cpu.h"
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#define GUEST_CODE    ((uint64_t)0x40000)
#define GUEST_TIMES   ((uint64_t)0x100000) /* 8 bytes a touch */
#define MEMORY_SIZE   ((size_t)0x200000)
#define GUEST_PAGES   ((uint64_t)1 << 32)
#define MAX_TOUCHES   ((MEMORY_SIZE - GUEST_TIMES) / 8)
#define GUEST_NOTHING 0xd0000000 /* an access ends KVM_RUN */

struct kvm_touch {
    struct subject inner; /* whose pages they are */
    int (*empty)(void *state);
    int kvm, vm, vcpu;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *memory;
    size_t next; /* page of the region */
};

/*
 * void guest(uint64_t *times, uint64_t count), in the guest's memory. The first page's address is
 * at times[-1]. It ends by a store to where nothing is.
 */
__attribute__((naked)) static void guest(void)
{
    __asm__ volatile("mov -8(%%rdi), %%r8\n"
                     "1: rdtscp\n"
                     "shl $32, %%rdx\n"
                     "or %%rdx, %%rax\n"
                     "mov %%rax, %%r9\n"
                     "mov (%%r8), %%r10\n"
                     "rdtscp\n"
                     "shl $32, %%rdx\n"
                     "or %%rdx, %%rax\n"
                     "sub %%r9, %%rax\n"
                     "mov %%rax, (%%rdi)\n"
                     "add $8, %%rdi\n"
                     "add $4096, %%r8\n"
                     "dec %%rsi\n"
                     "jnz 1b\n"
                     "mov %0, %%edi\n"
                     "2: mov %%eax, (%%rdi)\n"
                     "jmp 2b\n"
                     ".globl fault_kvm_guest_end\n"
                     ".hidden fault_kvm_guest_end\n"
                     "fault_kvm_guest_end:\n"
                     :
                     : "i"(GUEST_NOTHING));
}
extern const char fault_kvm_guest_end[];

/* ------------------------------------------------------------------ the VM */

static int set_slot(const struct kvm_touch *touch, unsigned slot, uint64_t address, void *memory,
                    size_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = address,
        .memory_size = size,
        .userspace_addr = (uintptr_t)memory,
    };

    return ioctl(touch->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static int make_vcpu(struct kvm_touch *touch)
{
    int size = ioctl(touch->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    touch->vcpu = ioctl(touch->vm, KVM_CREATE_VCPU, 0);
    if (size < 0 || touch->vcpu < 0)
        return -errno;
    touch->run_size = (size_t)size;
    touch->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, touch->vcpu, 0);
    return touch->run == MAP_FAILED ? -errno : 0;
}

static int make_vm(struct kvm_touch *touch, uint8_t *pages)
{
    uint64_t identity_map = 0xfffbc000;
    int ret;

    touch->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (touch->kvm < 0)
        return errno == ENOENT ? -ENOTSUP : -errno;
    touch->vm = ioctl(touch->kvm, KVM_CREATE_VM, 0);
    touch->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (touch->vm < 0 || touch->memory == MAP_FAILED ||
        ioctl(touch->vm, KVM_SET_TSS_ADDR, identity_map + 0x1000) ||
        ioctl(touch->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map))
        return -errno;
    cpu_init_tables(touch->memory, GUEST_CODE);
    memcpy(touch->memory + GUEST_CODE, (const char *)guest,
           (size_t)(fault_kvm_guest_end - (const char *)guest));
    ret = make_vcpu(touch);
    if (!ret)
        ret = set_slot(touch, 0, 0, touch->memory, MEMORY_SIZE);
    return ret ? ret : set_slot(touch, 1, GUEST_PAGES, pages, FAULT_REGION_PAGES * BENCH_PAGE);
}

static void kvm_stop(void *state)
{
    struct kvm_touch *touch = state;

    if (touch->run && touch->run != MAP_FAILED)
        munmap(touch->run, touch->run_size);
    if (touch->memory && touch->memory != MAP_FAILED)
        munmap(touch->memory, MEMORY_SIZE);
    close(touch->vcpu);
    close(touch->vm);
    close(touch->kvm);
    touch->inner.stop(touch->inner.state);
    free(touch);
}

/* ------------------------------------------------------------------ the row */

/* The guest's counter may be off from this one's, but it is as fast. */
static int run_guest(struct kvm_touch *touch, size_t n, double *ns_per_tick)
{
    const uint64_t args[] = {GUEST_TIMES + 8, n};
    uint64_t first = GUEST_PAGES + touch->next * BENCH_PAGE, ns, ticks;
    int ret = cpu_init(touch->vcpu, 0, GUEST_CODE, args);

    if (ret)
        return ret;
    memcpy(touch->memory + GUEST_TIMES, &first, sizeof(first));
    touch->next += n;
    ns = bench_now_ns();
    ticks = __rdtsc();
    if (ioctl(touch->vcpu, KVM_RUN, 0))
        return -errno;
    *ns_per_tick = (double)(bench_now_ns() - ns) / (double)(__rdtsc() - ticks);
    return touch->run->exit_reason == KVM_EXIT_MMIO ? 0 : -EIO;
}

static int kvm_measure(void *state, double *samples, size_t n)
{
    struct kvm_touch *touch = state;
    const uint64_t *times = (const uint64_t *)(touch->memory + GUEST_TIMES) + 1;
    double ns_per_tick = 0;
    int ret = 0;

    if (n >= MAX_TOUCHES)
        return -EINVAL;
    if (touch->next + n > FAULT_REGION_PAGES) {
        touch->next = 0;
        ret = touch->empty(touch->inner.state);
    }
    if (!ret)
        ret = run_guest(touch, n, &ns_per_tick);
    for (size_t i = 0; !ret && i < n; i++)
        samples[i] = (double)times[i] * ns_per_tick;
    return ret;
}

/* Put a guest over the pages of a subject that has started, which is then part of the new one. */
static int put_guest(struct subject *subject, uint8_t *pages, int (*empty)(void *state))
{
    struct kvm_touch *touch = calloc(1, sizeof(*touch));

    if (!touch)
        return -ENOMEM;
    touch->inner = *subject;
    touch->empty = empty;
    touch->kvm = touch->vm = touch->vcpu = -1;
    *subject = (struct subject){kvm_measure, kvm_stop, touch};
    return make_vm(touch, pages);
}

static int kvm_touch_start(struct row_run *run)
{
    int ret = fault_client_start(run, FAULT_BAR_PAGES, 1, kvm_measure);

    if (!ret)
        ret = put_guest(&run->ours, ((struct fault_client *)run->ours.state)->view,
                        fault_client_empty);
    if (!ret)
        ret = fault_raw_start(run, 1, kvm_measure);
    if (!ret)
        ret =
            put_guest(&run->floor, ((struct fault_raw *)run->floor.state)->pages, fault_raw_empty);
    return ret;
}

const struct row fault_kvm_touch_row = {
    .name = "fault.kvm-touch",
    .what = "the same first touch by a guest of KVM's, as it sees it",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = kvm_touch_start,
};
