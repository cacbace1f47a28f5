/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the VMM and its guest agree on.
 *
 * The guest is a small program that does what a script says: a list of struct guest_op, one for
 * each line of the script's file. A script is a vCPU. All vCPUs share the cells, which are a
 * script's variables and its signals to the others.
 *
 * The program is the same for both kinds of guest. Under KVM it runs in user mode on addresses of
 * the guest; a register or a call to the VMM is a store that nothing is behind. As a thread of the
 * VMM (`trap` is set) it calls a function with the same address instead.
 */
#ifndef TINYVM_GUEST_H
#define TINYVM_GUEST_H

#include <stdbool.h>
#include <stdint.h>

enum {
    GUEST_CPUS = 2,
    GUEST_CELLS = 32,
    GUEST_CELL_IRQ = GUEST_CELLS - 1, /* counts interrupts; "@irq" */
    GUEST_ARGS = 5,
    GUEST_LOOPS = 4, /* repeats inside one another */
};

/* The guest's physical addresses, which are its virtual ones, too. */
#define GUEST_RAM_SIZE      UINT64_C(0xa00000)
#define GUEST_SHARED        UINT64_C(0x1000) /* struct guest */
#define GUEST_CODE          UINT64_C(0x40000)
#define GUEST_CODE_MAX      UINT64_C(0x10000)
#define GUEST_SCRIPT(cpu)   (UINT64_C(0x100000) + UINT64_C(0x100000) * (cpu))
#define GUEST_SCRIPT_MAX    UINT64_C(0x100000)
#define GUEST_FREE          UINT64_C(0x300000)   /* from here on: for scripts and the device */
#define GUEST_REGISTERS     UINT64_C(0xc0000000) /* the device's registers, trapped */
#define GUEST_REGISTERS_MAX UINT64_C(0x10000000)
#define GUEST_CALL          UINT64_C(0xd0000000)  /* a store here calls the VMM */
#define GUEST_APERTURE      UINT64_C(0x100000000) /* the device's aperture */
#define GUEST_APERTURE_MAX  UINT64_C(0x100000000)

enum guest_code {
    OP_READ,       /* OFFSET [@TO] */
    OP_WRITE,      /* OFFSET VALUE */
    OP_EXPECT,     /* OFFSET VALUE */
    OP_UNTIL,      /* OFFSET OLD NEW */
    OP_WATCH,      /* OFFSET @LOW @HIGH @SEEN LAST */
    OP_MEM_READ,   /* ADDRESS [@TO] */
    OP_MEM_WRITE,  /* ADDRESS VALUE */
    OP_MEM_EXPECT, /* ADDRESS VALUE */
    OP_MEM_FILL,   /* ADDRESS VALUE SIZE */
    OP_MEM_SAME,   /* ADDRESS OTHER SIZE */
    OP_REG_READ,   /* OFFSET [@TO] */
    OP_REG_WRITE,  /* OFFSET VALUE */
    OP_REG_EXPECT, /* OFFSET VALUE */
    OP_REG_UNTIL,  /* OFFSET OLD NEW */
    OP_SET,        /* @CELL VALUE */
    OP_ADD,        /* @CELL VALUE */
    OP_WAIT,       /* @CELL VALUE */
    OP_REPEAT,     /* COUNT */
    OP_END,
    OP_REPORT,   /* VALUE; this and those below are done by the VMM */
    OP_SLEEP,    /* MILLISECONDS */
    OP_PREFAULT, /* OFFSET SIZE */
    OP_STATS,
    OP_PAUSE,
    OP_STOP, /* at the end of each script */
};

struct guest_op {
    uint32_t code;
    uint32_t cells; /* bit n: arg[n] is a cell, whose value is meant */
    uint32_t given; /* how many args */
    uint32_t line;
    uint64_t arg[GUEST_ARGS];
};

/* Why a vCPU calls the VMM: what it stores at GUEST_CALL. */
enum guest_call {
    CALL_OP,        /* do the script's line, with value[] its args */
    CALL_TOLD,      /* tell what became of the line: value[0], and of OP_WATCH value[1] */
    CALL_FAILED,    /* value[0] was read, which is wrong; right is value[1] to value[2] */
    CALL_OUTSIDE,   /* value[0] is no offset of 8 bytes in the aperture */
    CALL_NO_MEMORY, /* value[0] is not aligned to 8, or not in the memory with value[1] bytes */
    CALL_DIFFERS,   /* value[0] is at value[1], and value[2] at value[3] */
};

struct guest_cpu {
    uint64_t script;           /* the address of its ops */
    volatile uint32_t at;      /* the op it is in */
    volatile uint64_t touches; /* the last offset of the aperture it went for */
    volatile uint64_t value[GUEST_ARGS];
};

typedef void guest_trap(uint64_t address, void *data, unsigned len, bool write);

struct guest {
    uint64_t memory;                  /* where physical address 0 is */
    uint64_t aperture, aperture_size; /* its address; size 0: there is none */
    bool aperture_traps;              /* nothing is behind it, either */
    guest_trap *trap;                 /* NULL: stores and loads trap by themselves */
    volatile uint32_t stop;           /* loops end */
    volatile uint64_t cells[GUEST_CELLS];
    struct guest_cpu cpu[GUEST_CPUS];
};

/* Where the program begins: that of vCPU `n`. Returns when the script is done, if it has a trap. */
void guest_main(struct guest *guest, unsigned n);
/* The interrupt handler; KVM's guest alone has it. */
void guest_interrupt(void);

/* All of the program, which runs at any address. */
extern const char __start_guest[], __stop_guest[];

#endif
