/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes through the cards: both ways, both ports, by interrupts, and when nobody listens. */
#include "rig.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    rig_init(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    free(*state);
    return 0;
}

/* ------------------------------------------------------------------ both ways at once */

#define TRAFFIC 6000u /* bytes a port and direction */

/* A direction of a port: what is sent, how much of it was, and what has come. */
struct stream {
    uint8_t sent[TRAFFIC], got[TRAFFIC];
    size_t nsent, ngot;
};

struct traffic {
    struct rig *rig;
    int irq;
    bool msi;
    struct stream up[RIG_PORTS], down[RIG_PORTS]; /* guest to host, host to guest */
};

static void guest_receive(struct traffic *t, unsigned port)
{
    struct stream *s = &t->down[port];

    while (rig_get(t->rig, port, UART_LSR) & UART_LSR_DR) {
        uint8_t byte = rig_get(t->rig, port, UART_RX);

        assert_true(s->ngot < TRAFFIC);
        s->got[s->ngot++] = byte;
    }
}

static void guest_transmit(struct traffic *t, unsigned port)
{
    struct stream *s = &t->up[port];

    for (unsigned i = 0; i < 16 && s->nsent < TRAFFIC; i++)
        rig_put(t->rig, port, UART_TX, s->sent[s->nsent++]);
    if (s->nsent == TRAFFIC)
        rig_put(t->rig, port, UART_IER, UART_IER_RDI | UART_IER_RLSI);
}

/* Serves no more than one cause of one port: the card has to call again for the others. */
static void guest_interrupt(struct traffic *t)
{
    static unsigned first;

    if (!rig_signalled(t->irq))
        return;
    first++; /* or one port starves the other */
    for (unsigned i = 0; i < t->rig->nports; i++) {
        unsigned port = (first + i) % t->rig->nports;
        uint8_t iir = rig_get(t->rig, port, UART_IIR);

        if (iir & UART_IIR_NO_INT)
            continue;
        assert_int_not_equal(iir & 0x0f, UART_IIR_RLSI); /* nothing is lost */
        if ((iir & 0x0f) == UART_IIR_THRI)
            guest_transmit(t, port);
        else
            guest_receive(t, port);
        break;
    }
    if (!t->msi)
        rig_unmask_intx(t->rig);
}

static void host_move(struct traffic *t, unsigned port, short events)
{
    struct stream *up = &t->up[port], *down = &t->down[port];
    size_t some = 1 + (size_t)rand() % 100;
    ssize_t count;

    if (events & POLLIN) {
        count = read(t->rig->pty[port], up->got + up->ngot, TRAFFIC - up->ngot);
        up->ngot += count > 0 ? (size_t)count : 0;
    }
    if (events & POLLOUT && down->nsent < TRAFFIC) {
        some = some < TRAFFIC - down->nsent ? some : TRAFFIC - down->nsent;
        count = write(t->rig->pty[port], down->sent + down->nsent, some);
        down->nsent += count > 0 ? (size_t)count : 0;
    }
}

static bool traffic_done(const struct traffic *t)
{
    for (unsigned i = 0; i < t->rig->nports; i++)
        if (t->up[i].ngot < TRAFFIC || t->down[i].ngot < TRAFFIC)
            return false;
    return true;
}

static void run_traffic(struct rig *rig, const char *type, bool msi)
{
    struct traffic *t = calloc(1, sizeof(*t));
    unsigned seed = (unsigned)time(NULL);
    struct pollfd fds[1 + RIG_PORTS];

    print_message("# seed %u\n", seed);
    srand(seed);
    rig_start(rig, type);
    t->rig = rig;
    t->msi = msi;
    t->irq = rig_irq(rig, msi ? UMDEV_IRQ_MSI : UMDEV_IRQ_INTX);
    fds[0] = (struct pollfd){.fd = t->irq, .events = POLLIN};
    for (unsigned i = 0; i < rig->nports; i++) {
        for (unsigned k = 0; k < TRAFFIC; k++) {
            t->up[i].sent[k] = (uint8_t)rand();
            t->down[i].sent[k] = (uint8_t)rand();
        }
        rig_setup_port(rig, i, UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI);
    }
    while (!traffic_done(t)) {
        for (unsigned i = 0; i < rig->nports; i++)
            fds[1 + i] = (struct pollfd){
                .fd = rig->pty[i],
                .events = POLLIN | (t->down[i].nsent < TRAFFIC ? POLLOUT : 0),
            };
        if (poll(fds, 1 + rig->nports, 10000) < 1)
            fail_msg("an interrupt is lost: up %zu %zu, down %zu %zu", t->up[0].ngot, t->up[1].ngot,
                     t->down[0].ngot, t->down[1].ngot);
        guest_interrupt(t);
        for (unsigned i = 0; i < rig->nports; i++)
            host_move(t, i, fds[1 + i].revents);
    }
    for (unsigned i = 0; i < rig->nports; i++) {
        assert_memory_equal(t->up[i].got, t->up[i].sent, TRAFFIC);
        assert_memory_equal(t->down[i].got, t->down[i].sent, TRAFFIC);
    }
    free(t);
}

static void test_two_ports_by_intx(void **state)
{
    run_traffic(*state, "tty-2", false);
}

static void test_two_ports_by_msi(void **state)
{
    run_traffic(*state, "tty-2", true);
}

static void test_one_port_by_msi(void **state)
{
    run_traffic(*state, "tty-1", true);
}

/* ------------------------------------------------------------------ nothing is lost */

static void test_rts_holds_the_host_back(void **state)
{
    struct rig *rig = *state;
    uint8_t bytes[3000];

    rig_start(rig, "tty-2");
    rig_setup_port(rig, 0, 0);
    rig_put(rig, 0, UART_MCR, 0);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    rig_host_write(rig, 0, bytes, sizeof(bytes));
    assert_int_equal(rig_get(rig, 0, UART_LSR), 0x60);
    rig_put(rig, 0, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    rig_put(rig, 0, UART_MCR, UART_MCR_RTS);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        rig_await(rig, 0, UART_LSR, UART_LSR_DR | UART_LSR_OE, UART_LSR_DR);
        assert_int_equal(rig_get(rig, 0, UART_RX), bytes[i]);
    }
    assert_int_equal(rig_get(rig, 0, UART_LSR), 0x60);
}

static void test_a_full_pty_holds_the_guest_back(void **state)
{
    struct rig *rig = *state;
    unsigned count = 0;
    uint8_t *got;
    int irq;

    rig_start(rig, "tty-2");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    rig_setup_port(rig, 1, 0);
    /* Full is: no more THRE, and so it stays. */
    for (unsigned patience = 0; patience < 200 && count < 1 << 20;) {
        if (!(rig_get(rig, 1, UART_LSR) & UART_LSR_THRE)) {
            usleep(1000);
            patience++;
            continue;
        }
        patience = 0;
        for (unsigned i = 0; i < 16; i++, count++) {
            uint8_t byte = (uint8_t)(count * 3);

            assert_int_equal(umdev_client_post_write(rig->client, rig->bar, 8, &byte, 1), 0);
        }
    }
    assert_in_range(count, 4096, (1 << 20) - 1);
    rig_put(rig, 1, UART_IER, UART_IER_THRI);
    assert_false(rig_signalled(irq));
    /* A reader sets it free, and the guest hears of it. */
    got = malloc(count);
    rig_host_read(rig, 1, got, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(got[i], (uint8_t)(i * 3));
    free(got);
    rig_wait(irq);
    assert_int_equal(rig_get(rig, 1, UART_IIR) & 0x0f, UART_IIR_THRI);
    rig_await(rig, 1, UART_LSR, 0xff, 0x60);
}

static void test_bytes_wait_for_the_next_client(void **state)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct rig *rig = *state;
    char text[6] = "";

    rig_start(rig, "tty-2");
    rig_setup_port(rig, 0, UART_IER_RDI);
    rig_disconnect(rig);
    do
        assert_int_equal(umdev_host_get_stats(rig->host, rig->uuid, &stats), 0);
    while (stats.connected);
    rig_host_write(rig, 0, "later", 5);
    usleep(50000); /* time to take it, and lose it */
    rig_connect(rig);
    /* A new client finds the card as new. */
    assert_int_equal(rig_get(rig, 0, UART_IER), 0);
    assert_int_equal(rig_get(rig, 0, UART_LCR), 0);
    assert_int_equal(rig_get(rig, 0, UART_MCR), 0);
    rig_setup_port(rig, 0, 0);
    for (unsigned i = 0; i < 5; i++) {
        rig_await(rig, 0, UART_LSR, UART_LSR_DR, UART_LSR_DR);
        text[i] = (char)rig_get(rig, 0, UART_RX);
    }
    assert_string_equal(text, "later");
}

/* The last words of a client are heard after it, and after a reset. */
static void test_last_words(void **state)
{
    struct rig *rig = *state;
    char text[10];

    rig_start(rig, "tty-1");
    for (unsigned i = 0; i < 5; i++)
        rig_put(rig, 0, UART_TX, (uint8_t) "hello"[i]);
    assert_int_equal(umdev_client_reset(rig->client), 0);
    for (unsigned i = 0; i < 5; i++)
        rig_put(rig, 0, UART_TX, (uint8_t) "again"[i]);
    rig_disconnect(rig);
    rig_host_read(rig, 0, text, 10);
    assert_memory_equal(text, "helloagain", 10);
}

/* ------------------------------------------------------------------ the host's programs */

static void open_pty(struct rig *rig, unsigned port)
{
    char path[80];

    snprintf(path, sizeof(path), "%s%u", rig->prefix, port);
    close(rig->pty[port]);
    rig->pty[port] = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(rig->pty[port] >= 0);
}

/* Both ways, and as raw as ever: an echo or a translation would show. */
static void expect_a_line(struct rig *rig, unsigned port)
{
    const uint8_t bytes[] = {'a', '\r', 0x03, '\n', 0xff, 0x00};
    uint8_t got[sizeof(bytes)];

    rig_host_write(rig, port, bytes, sizeof(bytes));
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        rig_await(rig, port, UART_LSR, UART_LSR_DR, UART_LSR_DR);
        assert_int_equal(rig_get(rig, port, UART_RX), bytes[i]);
        rig_put(rig, port, UART_TX, bytes[i]);
    }
    rig_host_read(rig, port, got, sizeof(got));
    assert_memory_equal(got, bytes, sizeof(bytes));
}

static void test_programs_come_and_go(void **state)
{
    struct rig *rig = *state;

    rig_start(rig, "tty-2");
    rig_setup_port(rig, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        expect_a_line(rig, 1);
        open_pty(rig, 1);
    }
    /* What is sent while there is none waits. */
    close(rig->pty[1]);
    rig->pty[1] = -1;
    rig_put(rig, 1, UART_TX, 'x');
    open_pty(rig, 1);
    assert_int_equal(read(rig->pty[1], &(char){0}, 1), 1);
    expect_a_line(rig, 1);
}

/* As a login does it, and then programs that leave again. */
static void test_a_hang_up(void **state)
{
    struct rig *rig = *state;
    struct timespec before, after;
    struct termios termios;

    rig_start(rig, "tty-2");
    rig_setup_port(rig, 0, 0);
    rig_setup_port(rig, 1, 0);
    if (ioctl(rig->pty[0], TIOCVHANGUP) && errno == EPERM) {
        print_message("hanging up a pty needs CAP_SYS_ADMIN\n");
        skip();
    }
    for (unsigned i = 0; i < 3; i++) {
        open_pty(rig, 0);
        assert_int_equal(tcgetattr(rig->pty[0], &termios), 0);
        cfmakeraw(&termios);
        assert_int_equal(tcsetattr(rig->pty[0], TCSANOW, &termios), 0);
        expect_a_line(rig, 0);
        expect_a_line(rig, 1);
        close(rig->pty[0]);
        rig->pty[0] = -1;
        /* No thread spins meanwhile. */
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
        usleep(100000);
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
        assert_in_range((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec -
                            before.tv_nsec,
                        0, 50000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_ports_by_intx, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_ports_by_msi, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_port_by_msi, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rts_holds_the_host_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_pty_holds_the_guest_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_wait_for_the_next_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_programs_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hang_up, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
