/* SPDX-License-Identifier: BSD-3-Clause */
/* The 16550A's registers against a table of what the datasheet says, and random use of it. */
#include "uart.h"
#include "unit.h"

#include <linux/serial_reg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIFO_ON 0xc0 /* in IIR */

enum op { R, W, RECEIVE, SEND, ROOM, CAUSES, RESET };

/* R: `reg` reads as `value`. W: write. RECEIVE: `value` bytes 1, 2, 3 … SEND: `value` bytes go. */
struct step {
    enum op op;
    unsigned reg, value;
};

static void receive(struct uart *u, const uint8_t *bytes, unsigned count)
{
    assert_true(u->rx.count + count <= UART_FIFO);
    memcpy(u->rx.bytes + u->rx.count, bytes, count);
    u->rx.count += count;
}

static void play(const char *name, const struct step *steps, size_t nsteps)
{
    static const uint8_t numbers[UART_FIFO] = {1, 2,  3,  4,  5,  6,  7,  8,
                                               9, 10, 11, 12, 13, 14, 15, 16};
    struct uart u = {0};

    uart_reset(&u);
    for (size_t i = 0; i < nsteps; i++) {
        const struct step *s = &steps[i];
        unsigned got = s->value;

        switch (s->op) {
        case R:
            got = uart_read(&u, s->reg);
            break;
        case W:
            uart_write(&u, s->reg, (uint8_t)s->value);
            break;
        case RECEIVE:
            receive(&u, numbers, s->value);
            break;
        case SEND:
            assert_true(u.tx.count >= s->value);
            uart_sent(&u, s->value);
            break;
        case ROOM:
            got = uart_rx_room(&u);
            break;
        case CAUSES:
            got = uart_causes(&u);
            break;
        case RESET:
            uart_reset(&u);
            break;
        }
        if (got != s->value)
            fail_msg("%s, step %zu: 0x%x, not 0x%x", name, i, got, s->value);
    }
}

#define PLAY(...)                                                                                  \
    do {                                                                                           \
        static const struct step steps[] = {__VA_ARGS__};                                          \
        (void)state;                                                                               \
        play(__func__, steps, sizeof(steps) / sizeof(steps[0]));                                   \
    } while (0)

static void test_after_reset(void **state)
{
    PLAY({R, UART_IER, 0}, {R, UART_IIR, 0x01}, {R, UART_LCR, 0}, {R, UART_MCR, 0},
         {R, UART_LSR, 0x60}, {R, UART_MSR, 0xb0}, {R, UART_SCR, 0}, {ROOM, 0, 0}, {CAUSES, 0, 0});
}

static void test_bits_that_stick(void **state)
{
    PLAY({W, UART_IER, 0xff}, {R, UART_IER, 0x0f}, {W, UART_MCR, 0xef}, {R, UART_MCR, 0x0f},
         {W, UART_LCR, 0x7f}, {R, UART_LCR, 0x7f}, {W, UART_SCR, 0xa5}, {R, UART_SCR, 0xa5},
         {W, UART_LSR, 0x00}, {R, UART_LSR, 0x60}, {W, UART_MSR, 0x0f}, {R, UART_MSR, 0xb0},
         /* reset takes all of it back */
         {RESET, 0, 0}, {R, UART_IER, 0}, {R, UART_LCR, 0}, {R, UART_MCR, 0}, {R, UART_SCR, 0});
}

static void test_divisor_latch(void **state)
{
    PLAY({W, UART_LCR, 0x83}, {R, UART_DLL, 12}, {R, UART_DLM, 0}, {W, UART_DLL, 0x34},
         {W, UART_DLM, 0x12}, {R, UART_DLL, 0x34}, {R, UART_DLM, 0x12}, {W, UART_LCR, 0x03},
         {R, UART_IER, 0}, {R, UART_LSR, 0x60} /* nothing was sent */, {W, UART_IER, 0x05},
         {W, UART_LCR, 0x83}, {R, UART_DLM, 0x12});
}

static void test_without_fifo(void **state)
{
    PLAY({W, UART_MCR, UART_MCR_RTS}, {ROOM, 0, 1}, {W, UART_IER, UART_IER_RDI}, {RECEIVE, 0, 1},
         {ROOM, 0, 0}, {R, UART_IIR, 0x04}, {R, UART_LSR, 0x61}, {R, UART_RX, 1}, {ROOM, 0, 1},
         {R, UART_IIR, 0x01}, {R, UART_LSR, 0x60});
}

/* One byte interrupts whatever the level, until the last one is read. */
static void test_trigger_levels(void **state)
{
    PLAY({W, UART_IER, UART_IER_RDI}, {W, UART_MCR, UART_MCR_RTS}, {W, UART_FCR, 0x01},
         {ROOM, 0, 16}, {R, UART_IIR, FIFO_ON | 0x01}, {RECEIVE, 0, 1},
         {R, UART_IIR, FIFO_ON | 0x04}, {W, UART_FCR, 0x41}, {R, UART_IIR, FIFO_ON | 0x04},
         {W, UART_FCR, 0xc1}, {R, UART_IIR, FIFO_ON | 0x04}, {RECEIVE, 0, 13}, {ROOM, 0, 2},
         {R, UART_RX, 1}, {R, UART_RX, 1}, {R, UART_RX, 2}, {R, UART_IIR, FIFO_ON | 0x04},
         {W, UART_FCR, 0xc3}, {R, UART_IIR, FIFO_ON | 0x01}, {R, UART_LSR, 0x60});
}

static void test_thre(void **state)
{
    PLAY({W, UART_IER, UART_IER_THRI}, {CAUSES, 0, UART_IER_THRI}, {R, UART_IIR, 0x02},
         /* told once */
         {R, UART_IIR, 0x01}, {R, UART_LSR, 0x60},
         /* enabled once more */
         {W, UART_IER, UART_IER_THRI}, {R, UART_IIR, 0x01}, {W, UART_IER, 0},
         {W, UART_IER, UART_IER_THRI}, {CAUSES, 0, UART_IER_THRI},
         /* a byte takes it back until it is gone */
         {W, UART_FCR, 0x01}, {W, UART_TX, 'a'}, {R, UART_IIR, FIFO_ON | 0x01}, {R, UART_LSR, 0},
         {W, UART_TX, 'b'}, {SEND, 0, 1}, {R, UART_LSR, 0}, {R, UART_IIR, FIFO_ON | 0x01},
         /* there is nothing to enable before */
         {W, UART_IER, 0}, {W, UART_IER, UART_IER_THRI}, {CAUSES, 0, 0}, {SEND, 0, 1},
         {R, UART_LSR, 0x60}, {R, UART_IIR, FIFO_ON | 0x02}, {R, UART_IIR, FIFO_ON | 0x01});
}

static void test_priorities(void **state)
{
    /* Everything at once, by loopback; then one after the other. */
    PLAY({W, UART_IER, 0x0f}, {W, UART_MCR, UART_MCR_LOOP}, {W, UART_TX, 1}, {W, UART_TX, 2},
         {CAUSES, 0, UART_IER_RLSI | UART_IER_RDI | UART_IER_THRI | UART_IER_MSI},
         {R, UART_IIR, 0x06}, {R, UART_LSR, 0x63}, {R, UART_LSR, 0x61}, {R, UART_IIR, 0x04},
         {R, UART_RX, 2}, {R, UART_IIR, 0x02}, {R, UART_IIR, 0x00}, {R, UART_MSR, 0x0b},
         {R, UART_IIR, 0x01});
}

static void test_loopback_lines(void **state)
{
    PLAY({W, UART_MCR, 0x1a}, {R, UART_MSR, 0x90 | 0x02}, {R, UART_MSR, 0x90}, /* RTS, OUT2 */
         {W, UART_MCR, 0x15}, {R, UART_MSR, 0x60 | 0x0b},                      /* DTR, OUT1 */
         /* the falling edge of RI counts, its rising one did not */
         {W, UART_MCR, 0x11}, {R, UART_MSR, 0x20 | 0x04}, {W, UART_MCR, 0x15}, {R, UART_MSR, 0x60},
         {W, UART_MCR, 0x03}, {R, UART_MSR, 0xb0 | 0x0d}, {ROOM, 0, 1}, {W, UART_MCR, 0x12},
         {ROOM, 0, 0});
}

static void test_overrun(void **state)
{
    struct uart u = {0};

    (void)state;
    uart_reset(&u);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    uart_write(&u, UART_MCR, UART_MCR_LOOP);
    for (unsigned i = 0; i < UART_FIFO; i++)
        uart_write(&u, UART_TX, (uint8_t)i);
    assert_int_equal(uart_read(&u, UART_LSR), 0x61);
    uart_write(&u, UART_TX, 99);
    assert_int_equal(uart_read(&u, UART_LSR), 0x63);
    for (unsigned i = 0; i < UART_FIFO; i++)
        assert_int_equal(uart_read(&u, UART_RX), i);
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
    /* Without the FIFO the last one stays. */
    uart_write(&u, UART_FCR, 0);
    uart_write(&u, UART_TX, 1);
    uart_write(&u, UART_TX, 2);
    assert_int_equal(uart_read(&u, UART_LSR), 0x63);
    assert_int_equal(uart_read(&u, UART_RX), 2);
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
}

static void test_fifo_resets(void **state)
{
    PLAY({W, UART_MCR, UART_MCR_RTS}, {W, UART_FCR, 0x01}, {RECEIVE, 0, 5}, {ROOM, 0, 11},
         {W, UART_FCR, 0x02} /* ignored but for ENABLE_FIFO */, {R, UART_LSR, 0x60}, {ROOM, 0, 1},
         {W, UART_FCR, 0x01}, {RECEIVE, 0, 5}, {W, UART_FCR, 0x03}, {ROOM, 0, 16},
         {R, UART_LSR, 0x60}, {R, UART_IIR, FIFO_ON | 0x01});
}

/* `tx` has the bytes `first`, `first` + 1 … and no others. */
static void expect_to_send(const struct uart *u, uint8_t first, unsigned count)
{
    assert_int_equal(u->tx.count, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(u->tx.bytes[i], (uint8_t)(first + i));
}

static void test_back_pressure(void **state)
{
    struct uart u = {0};

    (void)state;
    uart_reset(&u);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    uart_write(&u, UART_IER, UART_IER_THRI);
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
    for (unsigned i = 0; i < UART_FIFO; i++)
        uart_write(&u, UART_TX, (uint8_t)i);
    assert_int_equal(uart_read(&u, UART_LSR), 0);
    uart_write(&u, UART_TX, 0xee); /* there is no room: it is lost, and nothing else */
    expect_to_send(&u, 0, UART_FIFO);
    uart_sent(&u, 0);
    assert_int_equal(uart_causes(&u), 0);
    uart_sent(&u, UART_FIFO - 1);
    assert_int_equal(uart_causes(&u), 0);
    expect_to_send(&u, UART_FIFO - 1, 1);
    uart_sent(&u, 1);
    assert_int_equal(uart_causes(&u), UART_IER_THRI);
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
    /* Nothing that is sent is no news. */
    uart_read(&u, UART_IIR);
    uart_sent(&u, 0);
    assert_int_equal(uart_causes(&u), 0);
    /* Without the FIFO there is room for one, the last. */
    uart_write(&u, UART_FCR, 0);
    uart_write(&u, UART_TX, 1);
    uart_write(&u, UART_TX, 2);
    assert_int_equal(uart_read(&u, UART_LSR), 0);
    expect_to_send(&u, 2, 1);
}

static void test_transmitter_reset(void **state)
{
    struct uart u = {0};

    (void)state;
    uart_reset(&u);
    uart_write(&u, UART_IER, UART_IER_THRI);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    uart_read(&u, UART_IIR);
    for (unsigned i = 0; i < 5; i++)
        uart_write(&u, UART_TX, 'x');
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
    expect_to_send(&u, 0, 0);
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
    assert_int_equal(uart_causes(&u), UART_IER_THRI);
    /* An empty one is none the emptier. */
    uart_read(&u, UART_IIR);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
    assert_int_equal(uart_causes(&u), 0);
    uart_write(&u, UART_TX, 'y');
    uart_reset(&u);
    expect_to_send(&u, 0, 0);
}

/* Whatever is done: bounds hold, and what goes in comes out in order, both ways. */
static void test_random_use(void **state)
{
    unsigned seed = (unsigned)time(NULL);
    uint8_t next_in = 0, next_read = 0, next_out = 0, next_sent = 0;
    struct uart u = {0};

    (void)state;
    print_message("# seed %u\n", seed);
    srand(seed);
    uart_reset(&u);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    uart_write(&u, UART_MCR, UART_MCR_RTS);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned some = (unsigned)rand() % (UART_FIFO + 1);
        uint8_t bytes[UART_FIFO];

        switch (rand() % 6) {
        case 0:
            some = some < uart_rx_room(&u) ? some : uart_rx_room(&u);
            for (unsigned k = 0; k < some; k++)
                bytes[k] = next_in++;
            receive(&u, bytes, some);
            break;
        case 1:
            while (some-- && uart_read(&u, UART_LSR) & UART_LSR_DR)
                assert_int_equal(uart_read(&u, UART_RX), next_read++);
            break;
        case 2:
            if (uart_read(&u, UART_LSR) & UART_LSR_THRE)
                while (some--)
                    uart_write(&u, UART_TX, next_out++);
            break;
        case 3:
            some = some < u.tx.count ? some : u.tx.count;
            for (unsigned k = 0; k < some; k++)
                assert_int_equal(u.tx.bytes[k], next_sent++);
            uart_sent(&u, some);
            break;
        case 4:
            uart_write(&u, UART_IER, (uint8_t)rand());
            uart_write(&u, UART_FCR, (uint8_t)((unsigned)rand() << 6 | UART_FCR_ENABLE_FIFO));
            break;
        default:
            some = uart_causes(&u);
            assert_int_equal(uart_read(&u, UART_IIR) & UART_IIR_NO_INT, some ? 0 : 1);
            break;
        }
        assert_true(u.rx.count <= UART_FIFO && u.tx.count <= UART_FIFO);
        assert_int_equal((uint8_t)(next_in - next_read), u.rx.count);
    }
}

/* A guest that writes anything anywhere. */
static void test_random_registers(void **state)
{
    unsigned seed = (unsigned)time(NULL);
    uint8_t bytes[UART_FIFO] = {0};
    struct uart u = {0};

    (void)state;
    print_message("# seed %u\n", seed);
    srand(seed);
    uart_reset(&u);
    for (unsigned i = 0; i < 500000; i++) {
        uart_write(&u, (unsigned)rand() % UART_PORTS, (uint8_t)rand());
        uart_read(&u, (unsigned)rand() % UART_PORTS);
        assert_true(uart_rx_room(&u) <= UART_FIFO);
        if (rand() % 4 == 0)
            receive(&u, bytes, uart_rx_room(&u));
        if (rand() % 64 == 0)
            uart_sent(&u, (unsigned)rand() % (u.tx.count + 1));
        assert_true(u.rx.count <= UART_FIFO && u.tx.count <= UART_FIFO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_reset),    cmocka_unit_test(test_bits_that_stick),
        cmocka_unit_test(test_divisor_latch),  cmocka_unit_test(test_without_fifo),
        cmocka_unit_test(test_trigger_levels), cmocka_unit_test(test_thre),
        cmocka_unit_test(test_priorities),     cmocka_unit_test(test_loopback_lines),
        cmocka_unit_test(test_overrun),        cmocka_unit_test(test_fifo_resets),
        cmocka_unit_test(test_back_pressure),  cmocka_unit_test(test_transmitter_reset),
        cmocka_unit_test(test_random_use),     cmocka_unit_test(test_random_registers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
