/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vCPU of KVM's that begins in 64-bit user mode. Its guest has no kernel but for a handler of the
 * device's interrupt: the tables that a kernel would make are made here, in the first
 * CPU_TABLES_SIZE bytes of the guest's memory, at address 0 of it. Free of them is the page at
 * 0x1000, and what lies between 0x40000 and 0x80000.
 *
 *   0x02000  descriptors              0x20000  a task state segment for each vCPU
 *   0x03000  interrupt gates          0x30000  its stack in the handler, a page each
 *   0x10000  page tables              0x80000  its stack, 64 KiB each
 */
#ifndef TINYVM_CPU_H
#define TINYVM_CPU_H

#include <stdint.h>

enum {
    CPU_MAX = 2,
    CPU_TABLES_SIZE = 0xa0000,
    CPU_INTERRUPT_VECTOR = 0x40,
    CPU_GIGABYTES = 8, /* of addresses; each is its physical one */
};

/* The tables that all vCPUs use; where the interrupt's handler is. */
void cpu_init_tables(uint8_t *memory, uint64_t handler);
/* vCPU `n`, of that fd, begins at `start`, a function, with two arguments, args[0] and [1]. 0 or
 * −errno. */
int cpu_init(int fd, unsigned n, uint64_t start, const uint64_t *args);
/* Its local APIC, where KVM has it, is as firmware leaves it: on. 0 or −errno. */
int cpu_enable_apic(int fd);

#endif
