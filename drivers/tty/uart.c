/* SPDX-License-Identifier: BSD-3-Clause */
#include "uart.h"

#include <linux/serial_reg.h>

#define MODEM_ON (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD) /* from the other end of the line */
#define BAUD_MAX 115200u

static bool fifo_enabled(const struct uart *u)
{
    return u->fcr & UART_FCR_ENABLE_FIFO;
}

static unsigned rx_trigger(const struct uart *u)
{
    static const unsigned levels[] = {1, 4, 8, 14};

    return fifo_enabled(u) ? levels[u->fcr >> 6] : 1;
}

static bool thr_empty(const struct uart *u)
{
    return u->tx_count <= UART_LINE;
}

/* The modem lines as the guest's side has them, and which of them changed. */
static void modem_update(struct uart *u)
{
    uint8_t lines = MODEM_ON, changed;

    if (u->mcr & UART_MCR_LOOP)
        lines = (u->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
                (u->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                (u->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
                (u->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
    changed = (u->msr ^ lines) & 0xf0;
    if (lines & UART_MSR_RI)
        changed &= ~UART_MSR_RI; /* only its falling edge counts */
    u->msr = lines | (u->msr & UART_MSR_ANY_DELTA) | changed >> 4;
}

void uart_reset(struct uart *u)
{
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = 0;
    u->msr = MODEM_ON;
    u->divisor = BAUD_MAX / 9600;
    u->overrun = u->timeout = u->thre_pending = u->thr_written = false;
    u->rx_head = u->rx_count = 0;
    if (u->tx_count > UART_LINE)
        u->tx_count = UART_LINE;
}

unsigned uart_causes(const struct uart *u)
{
    unsigned causes = 0;

    if (u->ier & UART_IER_RLSI && u->overrun)
        causes |= UART_CAUSE_LINE;
    if (u->ier & UART_IER_RDI && u->rx_count >= rx_trigger(u))
        causes |= UART_CAUSE_DATA;
    else if (u->ier & UART_IER_RDI && u->timeout)
        causes |= UART_CAUSE_TIMEOUT;
    if (u->ier & UART_IER_THRI && u->thre_pending)
        causes |= UART_CAUSE_THRE;
    if (u->ier & UART_IER_MSI && u->msr & UART_MSR_ANY_DELTA)
        causes |= UART_CAUSE_MODEM;
    return causes;
}

/* ------------------------------------------------------------------ the receiver */

unsigned uart_rx_room(const struct uart *u)
{
    if (u->mcr & UART_MCR_LOOP || !(u->mcr & UART_MCR_RTS))
        return 0;
    return (fifo_enabled(u) ? UART_FIFO : 1) - u->rx_count;
}

void uart_receive(struct uart *u, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        u->rx[(u->rx_head + u->rx_count++) % UART_FIFO] = bytes[i];
}

/* A byte that nothing held back, as there is no flow control in loopback. */
static void rx_loop(struct uart *u, uint8_t byte)
{
    unsigned size = fifo_enabled(u) ? UART_FIFO : 1;

    if (u->rx_count < size) {
        uart_receive(u, &byte, 1);
    } else {
        u->overrun = true;
        if (!fifo_enabled(u))
            u->rx[u->rx_head] = byte; /* the holding register is overwritten, a FIFO is not */
    }
}

static uint8_t rx_pop(struct uart *u)
{
    uint8_t byte = u->rx[u->rx_head];

    u->timeout = false;
    if (u->rx_count) {
        u->rx_head = (u->rx_head + 1) % UART_FIFO;
        u->rx_count--;
    }
    return byte;
}

static void rx_clear(struct uart *u)
{
    u->rx_head = u->rx_count = 0;
    u->timeout = false;
}

/* Four characters of a start bit, the data, a parity bit if there is one and the stop bits. */
uint64_t uart_timeout_ns(const struct uart *u)
{
    unsigned bits = 1 + 5 + (u->lcr & UART_LCR_WLEN8) + !!(u->lcr & UART_LCR_PARITY) + 1 +
                    !!(u->lcr & UART_LCR_STOP);

    if (!fifo_enabled(u) || !u->rx_count)
        return 0;
    return UINT64_C(4000000000) * bits * (u->divisor ? u->divisor : 1) / BAUD_MAX;
}

void uart_timeout(struct uart *u)
{
    u->timeout = fifo_enabled(u) && u->rx_count;
}

/* ------------------------------------------------------------------ the transmitter */

static void thre_raise(struct uart *u)
{
    u->thre_pending = true;
    u->thr_written = false;
}

static void tx_push(struct uart *u, uint8_t byte)
{
    u->thre_pending = false;
    if (u->mcr & UART_MCR_LOOP) {
        rx_loop(u, byte);
        thre_raise(u);
        return;
    }
    if (u->tx_count < sizeof(u->tx)) /* else the guest did not wait for THRE, and loses it */
        u->tx[(u->tx_head + u->tx_count++) % sizeof(u->tx)] = byte;
    u->thr_written = true;
}

/* The bytes that are on the line already are gone. */
static void tx_clear(struct uart *u)
{
    if (thr_empty(u))
        return;
    u->tx_count = UART_LINE;
    thre_raise(u);
}

unsigned uart_to_send(const struct uart *u, const uint8_t **bytes)
{
    unsigned end = sizeof(u->tx) - u->tx_head;

    *bytes = u->tx + u->tx_head;
    return u->tx_count < end ? u->tx_count : end;
}

void uart_sent(struct uart *u, unsigned count)
{
    u->tx_head = (u->tx_head + count) % sizeof(u->tx);
    u->tx_count -= count;
    if (u->thr_written && thr_empty(u))
        thre_raise(u);
}

/* ------------------------------------------------------------------ registers */

static uint8_t iir_read(struct uart *u)
{
    uint8_t fifo = fifo_enabled(u) ? 0xc0 : 0;
    unsigned causes = uart_causes(u);

    if (causes & UART_CAUSE_LINE)
        return fifo | UART_IIR_RLSI;
    if (causes & UART_CAUSE_DATA)
        return fifo | UART_IIR_RDI;
    if (causes & UART_CAUSE_TIMEOUT)
        return fifo | UART_IIR_RX_TIMEOUT;
    if (causes & UART_CAUSE_THRE) {
        u->thre_pending = false;
        return fifo | UART_IIR_THRI;
    }
    return fifo | (causes & UART_CAUSE_MODEM ? UART_IIR_MSI : UART_IIR_NO_INT);
}

static uint8_t lsr_read(struct uart *u)
{
    uint8_t lsr = (u->rx_count ? UART_LSR_DR : 0) | (u->overrun ? UART_LSR_OE : 0) |
                  (thr_empty(u) ? UART_LSR_THRE : 0) | (u->tx_count ? 0 : UART_LSR_TEMT);

    u->overrun = false;
    return lsr;
}

static uint8_t msr_read(struct uart *u)
{
    uint8_t msr = u->msr;

    u->msr &= ~UART_MSR_ANY_DELTA;
    return msr;
}

static void fcr_write(struct uart *u, uint8_t value)
{
    bool switched = (value ^ u->fcr) & UART_FCR_ENABLE_FIFO;

    /* The other bits count only together with ENABLE_FIFO. */
    u->fcr = value & UART_FCR_ENABLE_FIFO ? value & (UART_FCR_ENABLE_FIFO | 0xc0) : 0;
    if (switched || (fifo_enabled(u) && value & UART_FCR_CLEAR_RCVR))
        rx_clear(u);
    if (switched || (fifo_enabled(u) && value & UART_FCR_CLEAR_XMIT))
        tx_clear(u);
}

uint8_t uart_read(struct uart *u, unsigned reg)
{
    bool latch = u->lcr & UART_LCR_DLAB;

    switch (reg) {
    case UART_RX:
        return latch ? u->divisor & 0xff : rx_pop(u);
    case UART_IER:
        return latch ? u->divisor >> 8 : u->ier;
    case UART_IIR:
        return iir_read(u);
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        return lsr_read(u);
    case UART_MSR:
        return msr_read(u);
    default:
        return u->scr;
    }
}

void uart_write(struct uart *u, unsigned reg, uint8_t value)
{
    bool latch = u->lcr & UART_LCR_DLAB;

    switch (reg) {
    case UART_TX:
        if (latch)
            u->divisor = (u->divisor & 0xff00) | value;
        else
            tx_push(u, value);
        break;
    case UART_IER:
        if (latch) {
            u->divisor = (uint16_t)(value << 8 | (u->divisor & 0xff));
            break;
        }
        /* Enabling THRE's interrupt brings it again, told or not. */
        if (value & ~u->ier & UART_IER_THRI && thr_empty(u))
            thre_raise(u);
        u->ier = value & 0x0f;
        break;
    case UART_FCR:
        fcr_write(u, value);
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & 0x1f;
        modem_update(u);
        break;
    case UART_SCR:
        u->scr = value;
        break;
    default: /* LSR and MSR are read only */
        break;
    }
}
