/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's program. All of it is in the section `guest`, refers to nothing outside of it, and
 * has no data: the VMM copies the section into its guest's memory.
 */
#include "guest.h"

#include <stddef.h>

#define GUEST __attribute__((section("guest")))

struct vcpu {
    struct guest *guest;
    struct guest_cpu *cpu;
    unsigned loops; /* open */
    uint64_t left[GUEST_LOOPS];
    uint32_t first[GUEST_LOOPS]; /* the op after OP_REPEAT */
};

/* ------------------------------------------------------------------ memory and registers */

GUEST static uint32_t load32(struct guest *g, uint64_t address)
{
    uint32_t value = 0;

    if (g->trap)
        g->trap(address, &value, sizeof(value), false);
    else
        value = *(volatile uint32_t *)address;
    return value;
}

GUEST static void store32(struct guest *g, uint64_t address, uint32_t value)
{
    if (g->trap)
        g->trap(address, &value, sizeof(value), true);
    else
        *(volatile uint32_t *)address = value;
}

GUEST static void call(struct vcpu *v, enum guest_call why)
{
    store32(v->guest, GUEST_CALL, why);
}

/* Notes where it goes, for the VMM's message if that ends badly. */
GUEST static bool touch(struct vcpu *v, uint64_t offset)
{
    bool inside = v->guest->aperture_size >= 8 && offset <= v->guest->aperture_size - 8;

    v->cpu->touches = offset;
    if (!inside) {
        v->cpu->value[0] = offset;
        call(v, CALL_OUTSIDE);
    }
    return inside;
}

GUEST static uint64_t load(struct vcpu *v, uint64_t offset)
{
    struct guest *g = v->guest;
    uint64_t value = 0;

    if (!touch(v, offset))
        return 0;
    if (g->trap && g->aperture_traps)
        g->trap(g->aperture + offset, &value, sizeof(value), false);
    else
        value = *(volatile uint64_t *)(g->aperture + offset);
    return value;
}

GUEST static void store(struct vcpu *v, uint64_t offset, uint64_t value)
{
    struct guest *g = v->guest;

    if (!touch(v, offset))
        return;
    if (g->trap && g->aperture_traps)
        g->trap(g->aperture + offset, &value, sizeof(value), true);
    else
        *(volatile uint64_t *)(g->aperture + offset) = value;
}

GUEST static uint64_t cell(struct guest *g, uint64_t n)
{
    return __atomic_load_n(&g->cells[n % GUEST_CELLS], __ATOMIC_SEQ_CST);
}

GUEST static void set_cell(struct guest *g, uint64_t n, uint64_t value)
{
    __atomic_store_n(&g->cells[n % GUEST_CELLS], value, __ATOMIC_SEQ_CST);
}

/* *word: where [address, address + size) of the guest's own memory is. */
GUEST static bool find_memory(struct vcpu *v, uint64_t address, uint64_t size,
                              volatile uint64_t **word)
{
    bool inside = address % 8 == 0 && size % 8 == 0 && size <= GUEST_RAM_SIZE &&
                  address <= GUEST_RAM_SIZE - size;

    *word = (volatile uint64_t *)(v->guest->memory + address);
    if (!inside) {
        v->cpu->value[0] = address;
        v->cpu->value[1] = size;
        call(v, CALL_NO_MEMORY);
    }
    return inside;
}

/* ------------------------------------------------------------------ the lines of a script */

GUEST static uint64_t arg(struct vcpu *v, const struct guest_op *op, unsigned n)
{
    return op->cells & 1u << n ? cell(v->guest, op->arg[n]) : op->arg[n];
}

/* What was read goes into a cell, or the VMM tells it. */
GUEST static void result(struct vcpu *v, const struct guest_op *op, uint64_t value)
{
    if (op->given > 1) {
        set_cell(v->guest, op->arg[1], value);
    } else {
        v->cpu->value[0] = value;
        call(v, CALL_TOLD);
    }
}

GUEST static void check(struct vcpu *v, uint64_t value, uint64_t least, uint64_t most)
{
    if (value >= least && value <= most)
        return;
    v->cpu->value[0] = value;
    v->cpu->value[1] = least;
    v->cpu->value[2] = most;
    call(v, CALL_FAILED);
}

GUEST static void until(struct vcpu *v, uint64_t offset, uint64_t old, uint64_t new)
{
    uint64_t value = old;

    while (value == old && !v->guest->stop)
        value = load(v, offset);
    if (!v->guest->stop)
        check(v, value, new, new);
}

GUEST static void register_until(struct vcpu *v, uint64_t address, uint64_t old, uint64_t new)
{
    uint64_t value = old;

    while (value == old && !v->guest->stop)
        value = load32(v->guest, address);
    if (!v->guest->stop)
        check(v, value, new, new);
}

/*
 * Reads the same place until it is `last`. Another vCPU counts up what is there: it stores the next
 * number in the cell `high` before it can be seen, and in `low` when nothing else can be. So each
 * value lies between what `low` was before the read and what `high` is after it, and none is less
 * than the one before. What was read is in the cell `seen`.
 */
GUEST static void watch(struct vcpu *v, const struct guest_op *op)
{
    uint64_t last = arg(v, op, 4), reads = 0, changes = 0, before = 0, value = 0, low;

    while (value != last && !v->guest->stop) {
        low = cell(v->guest, op->arg[1]);
        value = load(v, arg(v, op, 0));
        check(v, value, low > before ? low : before, cell(v->guest, op->arg[2]));
        set_cell(v->guest, op->arg[3], value);
        reads++;
        changes += value != before;
        before = value;
    }
    v->cpu->value[0] = reads;
    v->cpu->value[1] = changes;
    call(v, CALL_TOLD);
}

GUEST static void fill(struct vcpu *v, uint64_t address, uint64_t value, uint64_t size)
{
    volatile uint64_t *to;

    if (!find_memory(v, address, size, &to))
        return;
    for (uint64_t i = 0; i < size / 8; i++)
        to[i] = value;
}

GUEST static void same(struct vcpu *v, uint64_t address, uint64_t other, uint64_t size)
{
    volatile uint64_t *a, *b;

    if (!find_memory(v, address, size, &a) || !find_memory(v, other, size, &b))
        return;
    for (uint64_t i = 0; i < size / 8; i++) {
        uint64_t one = a[i], two = b[i];

        if (one == two)
            continue;
        v->cpu->value[0] = one;
        v->cpu->value[1] = address + i * 8;
        v->cpu->value[2] = two;
        v->cpu->value[3] = other + i * 8;
        call(v, CALL_DIFFERS);
        return;
    }
}

/* The op that comes next. */
GUEST static uint32_t loop(struct vcpu *v, const struct guest_op *op, uint32_t at)
{
    if (op->code == OP_REPEAT) {
        v->left[v->loops] = arg(v, op, 0);
        v->first[v->loops++] = at + 1;
    } else if (--v->left[v->loops - 1]) {
        return v->first[v->loops - 1];
    } else {
        v->loops--;
    }
    return at + 1;
}

GUEST static void wait(struct vcpu *v, const struct guest_op *op)
{
    while (cell(v->guest, op->arg[0]) < arg(v, op, 1) && !v->guest->stop)
        __builtin_ia32_pause();
}

GUEST static void run_aperture(struct vcpu *v, const struct guest_op *op)
{
    uint64_t value = arg(v, op, 1);

    if (op->code == OP_READ)
        result(v, op, load(v, arg(v, op, 0)));
    else if (op->code == OP_WRITE)
        store(v, arg(v, op, 0), value);
    else if (op->code == OP_EXPECT)
        check(v, load(v, arg(v, op, 0)), value, value);
    else if (op->code == OP_UNTIL)
        until(v, arg(v, op, 0), value, arg(v, op, 2));
    else
        watch(v, op);
}

GUEST static void run_memory(struct vcpu *v, const struct guest_op *op)
{
    uint64_t address = arg(v, op, 0), value = arg(v, op, 1);
    volatile uint64_t *word;

    if (op->code == OP_MEM_FILL) {
        fill(v, address, value, arg(v, op, 2));
        return;
    }
    if (op->code == OP_MEM_SAME) {
        same(v, address, value, arg(v, op, 2));
        return;
    }
    if (!find_memory(v, address, sizeof(*word), &word))
        return;
    if (op->code == OP_MEM_READ)
        result(v, op, *word);
    else if (op->code == OP_MEM_WRITE)
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    else
        check(v, *word, value, value);
}

GUEST static void run_register(struct vcpu *v, const struct guest_op *op)
{
    uint64_t address = GUEST_REGISTERS + arg(v, op, 0), value = arg(v, op, 1);

    if (op->code == OP_REG_READ)
        result(v, op, load32(v->guest, address));
    else if (op->code == OP_REG_WRITE)
        store32(v->guest, address, (uint32_t)value);
    else if (op->code == OP_REG_EXPECT)
        check(v, load32(v->guest, address), value, value);
    else
        register_until(v, address, value, arg(v, op, 2));
}

GUEST static void run_call(struct vcpu *v, const struct guest_op *op)
{
    for (unsigned i = 0; i < GUEST_ARGS; i++)
        v->cpu->value[i] = arg(v, op, i);
    call(v, CALL_OP);
}

GUEST void guest_main(struct guest *guest, unsigned n)
{
    struct vcpu v;
    const struct guest_op *op;
    uint32_t at = 0;

    v.guest = guest;
    v.cpu = &guest->cpu[n];
    v.loops = 0;
    for (unsigned i = 0; i < GUEST_LOOPS; i++)
        v.left[i] = v.first[i] = 0;
    do {
        op = (const struct guest_op *)v.cpu->script + at;
        v.cpu->at = at++;
        if (op->code <= OP_WATCH)
            run_aperture(&v, op);
        else if (op->code <= OP_MEM_SAME)
            run_memory(&v, op);
        else if (op->code <= OP_REG_UNTIL)
            run_register(&v, op);
        else if (op->code == OP_SET)
            set_cell(guest, op->arg[0], arg(&v, op, 1));
        else if (op->code == OP_ADD)
            set_cell(guest, op->arg[0], cell(guest, op->arg[0]) + arg(&v, op, 1));
        else if (op->code == OP_WAIT)
            wait(&v, op);
        else if (op->code <= OP_END)
            at = loop(&v, op, at - 1);
        else
            run_call(&v, op);
    } while (op->code != OP_STOP && !guest->stop);
}

/* ------------------------------------------------------------------ interrupts */

/* Counts, and tells the local APIC that it has (its end-of-interrupt register). */
GUEST __attribute__((naked)) void guest_interrupt(void)
{
    __asm__ volatile("push %%rax\n"
                     "incq %c0\n"
                     "mov %1, %%eax\n"
                     "movl $0, (%%rax)\n"
                     "pop %%rax\n"
                     "iretq\n"
                     :
                     : "i"(GUEST_SHARED + offsetof(struct guest, cells[GUEST_CELL_IRQ])),
                       "i"(0xfee000b0));
}
