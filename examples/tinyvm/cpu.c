/* SPDX-License-Identifier: BSD-3-Clause */
#include "cpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define GDT             0x2000
#define IDT             0x3000
#define PML4            0x10000
#define PDPT            0x11000
#define PAGE_DIRECTORY  0x12000
#define TSS(n)          (0x20000 + 0x1000 * (n))
#define KERNEL_STACK(n) (0x31000 + 0x1000 * (n))  /* its end */
#define STACK(n)        (0x90000 + 0x10000 * (n)) /* its end */

enum {
    SELECTOR_KERNEL_CODE = 0x08,
    SELECTOR_USER_DATA = 0x2b,
    SELECTOR_USER_CODE = 0x33,
    SELECTOR_TSS = 0x40,
};

/* Everything is at its physical address, and user mode may reach it: 2 MiB pages. */
static void init_page_tables(uint8_t *memory)
{
    uint64_t *pml4 = (uint64_t *)(memory + PML4), *pdpt = (uint64_t *)(memory + PDPT);
    uint64_t *directory = (uint64_t *)(memory + PAGE_DIRECTORY);
    const uint64_t present = 0x07, used_large = 0xe0;

    pml4[0] = PDPT | present;
    for (uint64_t i = 0; i < CPU_GIGABYTES; i++)
        pdpt[i] = (PAGE_DIRECTORY + i * 0x1000) | present;
    for (uint64_t i = 0; i < CPU_GIGABYTES * 512; i++)
        directory[i] = i << 21 | present | used_large;
}

void cpu_init_tables(uint8_t *memory, uint64_t handler)
{
    uint64_t *gdt = (uint64_t *)(memory + GDT), *idt = (uint64_t *)(memory + IDT);
    const uint64_t interrupt_gate = 0x8e;

    init_page_tables(memory);
    gdt[SELECTOR_KERNEL_CODE / 8] = 0x00af9b000000ffff;
    gdt[SELECTOR_KERNEL_CODE / 8 + 1] = 0x00cf93000000ffff;
    gdt[SELECTOR_USER_DATA / 8] = 0x00cff3000000ffff;
    gdt[SELECTOR_USER_CODE / 8] = 0x00affb000000ffff;
    idt[CPU_INTERRUPT_VECTOR * 2] = (handler & 0xffff) | SELECTOR_KERNEL_CODE << 16 |
                                    interrupt_gate << 40 | (handler >> 16 & 0xffff) << 48;
    for (unsigned n = 0; n < CPU_MAX; n++)
        *(uint32_t *)(memory + TSS(n) + 4) = KERNEL_STACK(n);
}

static void set_sregs(struct kvm_sregs *sregs, unsigned n)
{
    struct kvm_segment segment = {
        .limit = 0xffffffff, .type = 11, .present = 1, .dpl = 3, .s = 1, .g = 1};

    sregs->cr0 = 0x80050033;
    sregs->cr3 = PML4;
    sregs->cr4 = 0x6a0;
    sregs->efer = 0xd01;
    sregs->gdt.base = GDT;
    sregs->gdt.limit = 0x7f;
    sregs->idt.base = IDT;
    sregs->idt.limit = 0xfff;
    segment.selector = SELECTOR_USER_CODE;
    segment.l = 1;
    sregs->cs = segment;
    segment.selector = SELECTOR_USER_DATA;
    segment.type = 3;
    segment.db = 1;
    segment.l = 0;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = segment;
    sregs->tr = (struct kvm_segment){
        .base = TSS(n), .limit = 0x67, .selector = SELECTOR_TSS, .type = 11, .present = 1};
}

int cpu_enable_apic(int fd)
{
    struct kvm_lapic_state apic;

    if (ioctl(fd, KVM_GET_LAPIC, &apic))
        return -errno;
    *(uint32_t *)(apic.regs + 0xf0) = 0x1ff; /* spurious vector; enabled */
    return ioctl(fd, KVM_SET_LAPIC, &apic) ? -errno : 0;
}

int cpu_init(int fd, unsigned n, uint64_t start, const uint64_t *args)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {
        .rip = start,
        .rsp = STACK(n) - 8, /* as if called */
        .rdi = args[0],
        .rsi = args[1],
        .rflags = 0x202, /* interrupts are on */
    };

    if (ioctl(fd, KVM_GET_SREGS, &sregs))
        return -errno;
    set_sregs(&sregs, n);
    return ioctl(fd, KVM_SET_SREGS, &sregs) || ioctl(fd, KVM_SET_REGS, &regs) ? -errno : 0;
}
