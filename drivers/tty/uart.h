/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A 16550A: registers, FIFOs and interrupts, and nothing of PCI or of the host.
 *
 * Data model. The guest is on one side: uart_read() and uart_write(). On the other is the line: it
 * appends what comes in to `rx`, no more than uart_rx_room(), and takes what goes out off `tx` by
 * uart_sent(). It has no speed: the divisor does nothing, and a byte received interrupts whatever
 * the trigger level, as there is no time within which more would come. Its other end minds RTS and
 * has CTS, DSR and DCD always on. Not locked: the caller does that.
 */
#ifndef TTY_UART_H
#define TTY_UART_H

#include <linux/serial_reg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define UART_PORTS    8u /* registers of a UART */
#define UART_FIFO     16u
#define UART_MODEM_ON (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)

struct uart_fifo {
    uint8_t bytes[UART_FIFO]; /* the oldest first */
    unsigned count;
};

struct uart {
    uint8_t reg[UART_PORTS + 2]; /* of FCR ENABLE_FIFO; the divisor comes last */
    bool overrun, thre;          /* the latter: THRE has come and IIR not told yet */
    struct uart_fifo rx, tx;
};

/* As at power on: at 9600 baud. */
static inline void uart_reset(struct uart *u)
{
    *u = (struct uart){.reg = {[UART_MSR] = UART_MODEM_ON, [UART_PORTS] = 12}};
}

static inline unsigned uart_fifo_size(const struct uart *u)
{
    return u->reg[UART_FCR] ? UART_FIFO : 1;
}

/* The pending causes that are enabled, as in IER; the interrupt line is on if there is one. */
static inline uint8_t uart_causes(const struct uart *u)
{
    return u->reg[UART_IER] & ((u->overrun ? UART_IER_RLSI : 0) | (u->rx.count ? UART_IER_RDI : 0) |
                               (u->thre ? UART_IER_THRI : 0) |
                               (u->reg[UART_MSR] & UART_MSR_ANY_DELTA ? UART_IER_MSI : 0));
}

/* How many bytes the receiver takes from the line now. */
static inline unsigned uart_rx_room(const struct uart *u)
{
    return (u->reg[UART_MCR] & (UART_MCR_LOOP | UART_MCR_RTS)) == UART_MCR_RTS
               ? uart_fifo_size(u) - u->rx.count
               : 0;
}

/* The first `count` bytes of `tx` are gone. */
static inline void uart_sent(struct uart *u, unsigned count)
{
    u->tx.count -= count;
    memmove(u->tx.bytes, u->tx.bytes + count, UART_FIFO - count);
    u->thre |= count && !u->tx.count;
}

/* `reg` is below UART_PORTS. */
static inline uint8_t uart_read(struct uart *u, unsigned reg)
{
    uint8_t causes = uart_causes(u), value;

    if (reg <= UART_DLM && u->reg[UART_LCR] & UART_LCR_DLAB)
        reg += UART_PORTS;
    value = u->reg[reg];
    if (reg == UART_RX) {
        value = u->rx.bytes[0];
        if (u->rx.count)
            memmove(u->rx.bytes, u->rx.bytes + 1, --u->rx.count);
    } else if (reg == UART_IIR) {
        value = (causes & UART_IER_RLSI)   ? UART_IIR_RLSI
                : (causes & UART_IER_RDI)  ? UART_IIR_RDI
                : (causes & UART_IER_THRI) ? UART_IIR_THRI
                : causes                   ? UART_IIR_MSI
                                           : UART_IIR_NO_INT;
        u->thre = u->thre && value != UART_IIR_THRI;
        value |= u->reg[UART_FCR] ? 0xc0 : 0;
    } else if (reg == UART_LSR) {
        value = (u->rx.count ? UART_LSR_DR : 0) | (u->overrun ? UART_LSR_OE : 0) |
                (u->tx.count ? 0 : UART_LSR_THRE | UART_LSR_TEMT);
        u->overrun = false;
    } else if (reg == UART_MSR) {
        u->reg[UART_MSR] &= ~UART_MSR_ANY_DELTA;
    }
    return value;
}

static inline void uart_write_tx(struct uart *u, uint8_t byte)
{
    bool loop = u->reg[UART_MCR] & UART_MCR_LOOP;
    struct uart_fifo *f = loop ? &u->rx : &u->tx;

    u->overrun |= loop && f->count == uart_fifo_size(u);
    if (uart_fifo_size(u) == 1)
        f->count = 0; /* a holding register is overwritten, a full FIFO is not */
    if (f->count < uart_fifo_size(u))
        f->bytes[f->count++] = byte;
    u->thre = loop;
}

static inline void uart_write_mcr(struct uart *u, uint8_t value)
{
    uint8_t lines = UART_MODEM_ON, changed;

    if (value & UART_MCR_LOOP) /* RTS is CTS, DTR is DSR, OUT1 is RI, OUT2 is DCD */
        lines = (value & UART_MCR_RTS) << 3 | (value & UART_MCR_DTR) << 5 | (value & 0x0c) << 4;
    changed = (u->reg[UART_MSR] ^ lines) & 0xf0 & ~(lines & UART_MSR_RI); /* RI: if it falls */
    u->reg[UART_MSR] = lines | (u->reg[UART_MSR] & UART_MSR_ANY_DELTA) | changed >> 4;
    u->reg[UART_MCR] = value & 0x1f;
}

static inline void uart_write(struct uart *u, unsigned reg, uint8_t value)
{
    if (reg <= UART_DLM && u->reg[UART_LCR] & UART_LCR_DLAB) {
        u->reg[UART_PORTS + reg] = value;
    } else if (reg == UART_TX) {
        uart_write_tx(u, value);
    } else if (reg == UART_IER) {
        /* Enabling THRE's interrupt brings it again, told or not. */
        u->thre |= value & ~u->reg[UART_IER] & UART_IER_THRI && !u->tx.count;
        u->reg[UART_IER] = value & 0x0f;
    } else if (reg == UART_FCR) {
        bool on = value & UART_FCR_ENABLE_FIFO, switched = on != u->reg[UART_FCR];

        u->reg[UART_FCR] = on; /* without it the other bits do not count; if it changes they do */
        if (switched || (on && value & UART_FCR_CLEAR_RCVR))
            u->rx.count = 0;
        if (switched || (on && value & UART_FCR_CLEAR_XMIT))
            uart_sent(u, u->tx.count);
    } else if (reg == UART_MCR) {
        uart_write_mcr(u, value);
    } else if (reg == UART_LCR || reg == UART_SCR) {
        u->reg[reg] = value;
    }
}

#endif
