/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A 16550A: registers, FIFOs and interrupts, and nothing of PCI or of the host.
 *
 * Data model. The guest is on one side: uart_read() and uart_write(). The line is on the other:
 * bytes come in by uart_receive(), as many as uart_rx_room() says, so that the line never overruns
 * the receiver; bytes that go out wait in `tx` until uart_sent() takes them off. The head of `tx`
 * is the line, its last UART_FIFO bytes are the transmitter's FIFO: THRE is set when these are
 * free.
 *
 * The other end of the line minds RTS: it sends nothing while the guest has it off. Its DSR, CTS
 * and DCD are always on. It knows no speed, so that the divisor only sets the receive timeout.
 *
 * Not locked: the caller does that.
 */
#ifndef TTY_UART_H
#define TTY_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_PORTS 8u /* registers of a UART */
#define UART_FIFO  16u
#define UART_LINE  4096u

/* What can interrupt, the most urgent last. */
enum uart_cause {
    UART_CAUSE_MODEM = 1 << 0,   /* a modem line changed */
    UART_CAUSE_THRE = 1 << 1,    /* the transmitter's FIFO is empty */
    UART_CAUSE_TIMEOUT = 1 << 2, /* bytes wait below the trigger level */
    UART_CAUSE_DATA = 1 << 3,    /* the trigger level is reached */
    UART_CAUSE_LINE = 1 << 4,    /* overrun */
};

struct uart {
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint16_t divisor;
    bool overrun, timeout;
    bool thre_pending; /* THRE has come and IIR not told yet */
    bool thr_written;  /* since THRE was last raised */
    uint8_t rx[UART_FIFO];
    unsigned rx_head, rx_count;
    uint8_t tx[UART_LINE + UART_FIFO];
    unsigned tx_head, tx_count;
};

/* As at power on. What is on the line already still arrives. */
void uart_reset(struct uart *u);
/* `reg` is below UART_PORTS. */
uint8_t uart_read(struct uart *u, unsigned reg);
void uart_write(struct uart *u, unsigned reg, uint8_t value);
/* The enabled causes that are pending, or'ed; the interrupt line is on if there is one. */
unsigned uart_causes(const struct uart *u);

/* How many bytes the receiver takes from the line now. */
unsigned uart_rx_room(const struct uart *u);
void uart_receive(struct uart *u, const uint8_t *bytes, unsigned count);
/* Nanoseconds until uart_timeout() is due, counted from the last byte received or read; 0: never.
 */
uint64_t uart_timeout_ns(const struct uart *u);
void uart_timeout(struct uart *u);

/* The bytes to send that lie in one piece. */
unsigned uart_to_send(const struct uart *u, const uint8_t **bytes);
void uart_sent(struct uart *u, unsigned count);

#endif
