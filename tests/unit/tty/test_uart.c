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

enum op { R, W, RECEIVE, TIMEOUT, SEND, ROOM, CAUSES, RESET };

/* R: `reg` reads as `value`. W: write. RECEIVE: `value` bytes 1, 2, 3 … SEND: `value` bytes go. */
struct step {
    enum op op;
    unsigned reg, value;
};

static void play(const char *name, const struct step *steps, size_t nsteps)
{
    static const uint8_t numbers[UART_FIFO] = {1, 2,  3,  4,  5,  6,  7,  8,
                                               9, 10, 11, 12, 13, 14, 15, 16};
    struct uart u = {0};

    uart_reset(&u);
    for (size_t i = 0; i < nsteps; i++) {
        const struct step *s = &steps[i];
        const uint8_t *bytes;
        unsigned got = s->value;

        switch (s->op) {
        case R:
            got = uart_read(&u, s->reg);
            break;
        case W:
            uart_write(&u, s->reg, (uint8_t)s->value);
            break;
        case RECEIVE:
            uart_receive(&u, numbers, s->value);
            break;
        case TIMEOUT:
            uart_timeout(&u);
            break;
        case SEND:
            assert_true(uart_to_send(&u, &bytes) >= s->value);
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

static void test_trigger_levels(void **state)
{
    PLAY({W, UART_IER, UART_IER_RDI}, {W, UART_MCR, UART_MCR_RTS}, {W, UART_FCR, 0x01},
         {ROOM, 0, 16}, {R, UART_IIR, FIFO_ON | 0x01}, {RECEIVE, 0, 1},
         {R, UART_IIR, FIFO_ON | 0x04}, {W, UART_FCR, 0x41}, {R, UART_IIR, FIFO_ON | 0x01},
         {RECEIVE, 0, 2}, {R, UART_IIR, FIFO_ON | 0x01}, {RECEIVE, 0, 1},
         {R, UART_IIR, FIFO_ON | 0x04}, {W, UART_FCR, 0x81}, {R, UART_IIR, FIFO_ON | 0x01},
         {RECEIVE, 0, 4}, {R, UART_IIR, FIFO_ON | 0x04}, {W, UART_FCR, 0xc1},
         {R, UART_IIR, FIFO_ON | 0x01}, {RECEIVE, 0, 6}, {R, UART_IIR, FIFO_ON | 0x04},
         {ROOM, 0, 2},
         /* its own level, and no lower, ends it */
         {R, UART_RX, 1}, {R, UART_IIR, FIFO_ON | 0x01});
}

static void test_receive_timeout(void **state)
{
    PLAY({W, UART_IER, UART_IER_RDI}, {W, UART_FCR, 0xc1}, {TIMEOUT, 0, 0},
         {R, UART_IIR, FIFO_ON | 0x01}, {RECEIVE, 0, 3}, {R, UART_IIR, FIFO_ON | 0x01},
         {TIMEOUT, 0, 0}, {R, UART_IIR, FIFO_ON | 0x0c}, {R, UART_IIR, FIFO_ON | 0x0c},
         {CAUSES, 0, UART_CAUSE_TIMEOUT}, {R, UART_RX, 1}, {R, UART_IIR, FIFO_ON | 0x01},
         {TIMEOUT, 0, 0}, {R, UART_IIR, FIFO_ON | 0x0c},
         /* the trigger level goes first */
         {RECEIVE, 0, 12}, {R, UART_IIR, FIFO_ON | 0x04}, {W, UART_FCR, 0xc3},
         {R, UART_IIR, FIFO_ON | 0x01}, {R, UART_LSR, 0x60});
}

static void test_timeout_is_four_characters(void **state)
{
    struct uart u = {0};

    (void)state;
    uart_reset(&u);
    uart_receive(&u, (const uint8_t *)"x", 1);
    assert_int_equal(uart_timeout_ns(&u), 0);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    assert_int_equal(uart_timeout_ns(&u), 0);
    uart_receive(&u, (const uint8_t *)"x", 1);
    uart_write(&u, UART_LCR, UART_LCR_WLEN8);
    assert_int_equal(uart_timeout_ns(&u), UINT64_C(4000000000) * 10 / 9600);
    uart_write(&u, UART_LCR, UART_LCR_WLEN7 | UART_LCR_PARITY | UART_LCR_STOP);
    assert_int_equal(uart_timeout_ns(&u), UINT64_C(4000000000) * 11 / 9600);
    uart_write(&u, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
    uart_write(&u, UART_DLL, 0); /* a divisor of 0 divides by nothing */
    assert_int_equal(uart_timeout_ns(&u), UINT64_C(4000000000) * 10 / 115200);
}

static void test_thre(void **state)
{
    PLAY({W, UART_IER, UART_IER_THRI}, {CAUSES, 0, UART_CAUSE_THRE}, {R, UART_IIR, 0x02},
         /* told once */
         {R, UART_IIR, 0x01}, {R, UART_LSR, 0x60},
         /* enabled once more */
         {W, UART_IER, UART_IER_THRI}, {R, UART_IIR, 0x01}, {W, UART_IER, 0},
         {W, UART_IER, UART_IER_THRI}, {CAUSES, 0, UART_CAUSE_THRE},
         /* a byte takes it back until it is gone */
         {W, UART_TX, 'a'}, {R, UART_IIR, 0x01}, {R, UART_LSR, 0x20}, {W, UART_TX, 'b'},
         {SEND, 0, 1}, {R, UART_LSR, 0x20}, {R, UART_IIR, 0x02}, {SEND, 0, 1}, {R, UART_LSR, 0x60},
         {R, UART_IIR, 0x01});
}

static void test_priorities(void **state)
{
    /* Everything at once, by loopback; then one after the other. */
    PLAY({W, UART_IER, 0x0f}, {W, UART_MCR, UART_MCR_LOOP}, {W, UART_TX, 1}, {W, UART_TX, 2},
         {CAUSES, 0, UART_CAUSE_LINE | UART_CAUSE_DATA | UART_CAUSE_THRE | UART_CAUSE_MODEM},
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

static void test_back_pressure(void **state)
{
    const uint8_t *bytes;
    struct uart u = {0};
    unsigned count = 0;

    (void)state;
    uart_reset(&u);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    uart_write(&u, UART_IER, UART_IER_THRI);
    while (uart_read(&u, UART_LSR) & UART_LSR_THRE && count < 2 * UART_LINE)
        uart_write(&u, UART_TX, (uint8_t)count++);
    assert_int_equal(count, UART_LINE + 1);
    assert_int_equal(uart_read(&u, UART_LSR), 0);
    while (count < UART_LINE + UART_FIFO)
        uart_write(&u, UART_TX, (uint8_t)count++);
    uart_write(&u, UART_TX, 0xee); /* there is no room: it is lost, and nothing else */
    uart_sent(&u, UART_FIFO - 1);
    assert_int_equal(uart_causes(&u), 0);
    uart_sent(&u, 1);
    assert_int_equal(uart_causes(&u), UART_CAUSE_THRE);
    for (unsigned i = UART_FIFO; i < count;) {
        unsigned some = uart_to_send(&u, &bytes);

        assert_true(some > 0);
        for (unsigned k = 0; k < some; k++)
            assert_int_equal(bytes[k], (uint8_t)i++);
        uart_sent(&u, some);
    }
    assert_int_equal(uart_read(&u, UART_LSR), 0x60);
    assert_int_equal(uart_to_send(&u, &bytes), 0);
}

static void test_transmitter_reset(void **state)
{
    const uint8_t *bytes;
    struct uart u = {0};

    (void)state;
    uart_reset(&u);
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO);
    for (unsigned i = 0; i < UART_LINE + 5; i++)
        uart_write(&u, UART_TX, 'x');
    uart_write(&u, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
    assert_int_equal(uart_to_send(&u, &bytes), UART_LINE); /* the FIFO is gone, the line is not */
    assert_int_equal(uart_read(&u, UART_LSR), 0x20);
    uart_write(&u, UART_TX, 'y');
    uart_reset(&u);
    assert_int_equal(uart_to_send(&u, &bytes), UART_LINE);
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
        const uint8_t *sent;

        switch (rand() % 6) {
        case 0:
            some = some < uart_rx_room(&u) ? some : uart_rx_room(&u);
            for (unsigned k = 0; k < some; k++)
                bytes[k] = next_in++;
            uart_receive(&u, bytes, some);
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
            some *= (unsigned)rand() % 64;
            some = some < uart_to_send(&u, &sent) ? some : uart_to_send(&u, &sent);
            for (unsigned k = 0; k < some; k++)
                assert_int_equal(sent[k], next_sent++);
            uart_sent(&u, some);
            break;
        case 4:
            uart_write(&u, UART_IER, (uint8_t)rand());
            uart_write(&u, UART_FCR, (uint8_t)((unsigned)rand() << 6 | UART_FCR_ENABLE_FIFO));
            break;
        default:
            some = uart_causes(&u);
            assert_int_equal(uart_read(&u, UART_IIR) & UART_IIR_NO_INT, some ? 0 : 1);
            uart_timeout(&u);
            break;
        }
        assert_true(u.rx_count <= UART_FIFO && u.tx_count <= UART_LINE + UART_FIFO);
        assert_int_equal((uint8_t)(next_in - next_read), u.rx_count);
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
        const uint8_t *sent;

        uart_write(&u, (unsigned)rand() % UART_PORTS, (uint8_t)rand());
        uart_read(&u, (unsigned)rand() % UART_PORTS);
        assert_true(uart_rx_room(&u) <= UART_FIFO);
        if (rand() % 4 == 0)
            uart_receive(&u, bytes, uart_rx_room(&u));
        if (rand() % 64 == 0)
            uart_sent(&u, uart_to_send(&u, &sent));
        assert_true(u.rx_count <= UART_FIFO && u.tx_count <= UART_LINE + UART_FIFO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_reset),
        cmocka_unit_test(test_bits_that_stick),
        cmocka_unit_test(test_divisor_latch),
        cmocka_unit_test(test_without_fifo),
        cmocka_unit_test(test_trigger_levels),
        cmocka_unit_test(test_receive_timeout),
        cmocka_unit_test(test_timeout_is_four_characters),
        cmocka_unit_test(test_thre),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_loopback_lines),
        cmocka_unit_test(test_overrun),
        cmocka_unit_test(test_fifo_resets),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_transmitter_reset),
        cmocka_unit_test(test_random_use),
        cmocka_unit_test(test_random_registers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
