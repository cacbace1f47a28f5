/* SPDX-License-Identifier: BSD-3-Clause */
/* The cards around their UARTs: identity, interrupts, links, resets, hostile clients, no leaks. */
#include "rig.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

/* ------------------------------------------------------------------ what the guest finds */

static uint32_t config32(const struct rig *rig, uint64_t offset)
{
    uint32_t value = 0;

    assert_int_equal(umdev_client_read32(rig->client, UMDEV_REGION_CONFIG, offset, &value), 0);
    return value;
}

static void expect_irqs(const struct rig *rig)
{
    struct umdev_irq_info info;

    assert_int_equal(umdev_client_get_irq(rig->client, UMDEV_IRQ_INTX, &info), 0);
    assert_int_equal(info.count, 1);
    assert_int_equal(umdev_client_get_irq(rig->client, UMDEV_IRQ_MSI, &info), 0);
    assert_int_equal(info.count, 1);
    assert_int_equal(config32(rig, 0x3c) >> 8 & 0xff, 1); /* INTA */
}

static void test_identity_of_two_ports(void **state)
{
    struct rig *rig = *state;
    struct umdev_region_info info;

    rig_start(rig, "tty-2");
    assert_int_equal(config32(rig, 0), 0x00031b36);
    assert_int_equal(config32(rig, 8) >> 8, 0x070002);
    assert_int_equal(config32(rig, 0x10) & 3, 1); /* I/O */
    assert_int_equal(umdev_client_get_region(rig->client, UMDEV_REGION_BAR0, &info), 0);
    assert_int_equal(info.size, 16);
    expect_irqs(rig);
}

static void test_identity_of_one_port(void **state)
{
    struct rig *rig = *state;
    struct umdev_region_info info;

    rig_start(rig, "tty-1");
    assert_int_equal(config32(rig, 0), 0x037e1590);
    assert_int_equal(config32(rig, 0x14) & 1, 0); /* memory */
    assert_int_equal(umdev_client_get_region(rig->client, UMDEV_REGION_BAR1, &info), 0);
    assert_int_equal(info.size, 16);
    expect_irqs(rig);
    /* Behind its UART there is nothing. */
    rig_put(rig, 1, UART_SCR, 0x12);
    assert_int_equal(rig_get(rig, 1, UART_SCR), 0xff);
    assert_int_equal(rig_get(rig, 0, UART_SCR), 0);
}

static void test_ports_are_apart(void **state)
{
    struct rig *rig = *state;
    uint8_t both[16];

    rig_start(rig, "tty-2");
    rig_put(rig, 0, UART_SCR, 0x11);
    rig_put(rig, 1, UART_SCR, 0x22);
    assert_int_equal(rig_get(rig, 0, UART_SCR), 0x11);
    /* An access of any size is one of its bytes. */
    assert_int_equal(umdev_client_read(rig->client, UMDEV_REGION_BAR0, 0, both, 16), 0);
    assert_int_equal(both[UART_SCR], 0x11);
    assert_int_equal(both[8 + UART_SCR], 0x22);
    assert_int_equal(both[8 + UART_LSR], 0x60);
}

/* ------------------------------------------------------------------ interrupts */

static void loop_byte(const struct rig *rig, unsigned port)
{
    rig_put(rig, port, UART_MCR, UART_MCR_LOOP);
    rig_put(rig, port, UART_TX, 'x');
    rig_put(rig, port, UART_IER, UART_IER_RDI);
}

static void test_intx_is_the_level_of_both_ports(void **state)
{
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-2");
    irq = rig_irq(rig, UMDEV_IRQ_INTX);
    loop_byte(rig, 0);
    loop_byte(rig, 1);
    assert_true(rig_signalled(irq));
    /* Masked by itself; still raised at the unmask, it comes again. */
    assert_false(rig_signalled(irq));
    rig_unmask_intx(rig);
    assert_true(rig_signalled(irq));
    rig_get(rig, 0, UART_RX);
    rig_unmask_intx(rig);
    assert_true(rig_signalled(irq));
    rig_get(rig, 1, UART_RX);
    rig_unmask_intx(rig);
    assert_false(rig_signalled(irq));
    rig_put(rig, 1, UART_TX, 'y');
    assert_true(rig_signalled(irq));
}

static void test_msi_comes_again_for_what_is_left(void **state)
{
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-2");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    loop_byte(rig, 0);
    assert_true(rig_signalled(irq));
    loop_byte(rig, 1);
    assert_true(rig_signalled(irq));
    /* Looking at it is no change. */
    assert_int_equal(rig_get(rig, 0, UART_IIR), UART_IIR_RDI);
    assert_false(rig_signalled(irq));
    rig_get(rig, 0, UART_RX);
    assert_true(rig_signalled(irq));
    rig_get(rig, 1, UART_RX);
    assert_false(rig_signalled(irq));
}

/* An edge for what is new, also where the level of all causes never fell in between. */
static void test_msi_comes_when_one_cause_replaces_another(void **state)
{
    const uint8_t swap[] = {UART_IER_RDI | UART_IER_THRI,
                            UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR};
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-1");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    rig_put(rig, 0, UART_FCR, UART_FCR_ENABLE_FIFO);
    loop_byte(rig, 0);
    assert_true(rig_signalled(irq));
    /* One access: the byte that was received goes, the transmitter's cause comes. */
    assert_int_equal(umdev_client_write(rig->client, rig->bar, UART_IER, swap, sizeof(swap)), 0);
    assert_true(rig_signalled(irq));
    /* A second one beside it; then the more urgent one goes, and the first is left. */
    rig_put(rig, 0, UART_IER, 0);
    rig_put(rig, 0, UART_TX, 'y');
    rig_put(rig, 0, UART_IER, UART_IER_RDI | UART_IER_THRI);
    assert_true(rig_signalled(irq));
    assert_int_equal(rig_get(rig, 0, UART_IIR) & 0x0f, UART_IIR_RDI);
    assert_false(rig_signalled(irq));
    assert_int_equal(rig_get(rig, 0, UART_RX), 'y');
    assert_true(rig_signalled(irq));
    assert_int_equal(rig_get(rig, 0, UART_IIR) & 0x0f, UART_IIR_THRI);
    assert_false(rig_signalled(irq));
}

/* The same of two ports: the last byte of one is read while the other's first comes in. */
static void test_msi_comes_when_one_port_replaces_another(void **state)
{
    struct rig *rig = *state;
    uint8_t swap[8] = {[0] = UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR,
                       [UART_MCR - UART_FCR] = UART_MCR_LOOP,
                       [8 + UART_TX - UART_FCR] = 'z',
                       [8 + UART_IER - UART_FCR] = UART_IER_RDI};
    int irq;

    rig_start(rig, "tty-2");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    rig_put(rig, 0, UART_FCR, UART_FCR_ENABLE_FIFO);
    rig_put(rig, 1, UART_MCR, UART_MCR_LOOP);
    loop_byte(rig, 0);
    assert_true(rig_signalled(irq));
    assert_int_equal(umdev_client_write(rig->client, rig->bar, UART_FCR, swap, sizeof(swap)), 0);
    assert_true(rig_signalled(irq));
    assert_int_equal(rig_get(rig, 0, UART_IIR) & 0x0f, UART_IIR_NO_INT);
    assert_int_equal(rig_get(rig, 1, UART_IIR) & 0x0f, UART_IIR_RDI);
}

static void test_msi_enabled_too_late(void **state)
{
    struct rig *rig = *state;

    rig_start(rig, "tty-1");
    loop_byte(rig, 0);
    assert_true(rig_signalled(rig_irq(rig, UMDEV_IRQ_MSI)));
}

/* The trigger level is 14, but nothing is waited for. */
static void test_one_byte_interrupts(void **state)
{
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-1");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    rig_setup_port(rig, 0, UART_IER_RDI);
    rig_host_write(rig, 0, "a", 1);
    rig_wait(irq);
    assert_int_equal(rig_get(rig, 0, UART_IIR), 0xc0 | UART_IIR_RDI);
    assert_int_equal(rig_get(rig, 0, UART_RX), 'a');
    assert_int_equal(rig_get(rig, 0, UART_IIR), 0xc0 | UART_IIR_NO_INT);
    rig_host_write(rig, 0, "b", 1);
    rig_wait(irq);
    assert_int_equal(rig_get(rig, 0, UART_RX), 'b');
}

/* Without the FIFO there is one byte at a time, and each is an edge, be the next there or not. */
static void test_each_byte_without_fifo_interrupts(void **state)
{
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-1");
    irq = rig_irq(rig, UMDEV_IRQ_MSI);
    rig_put(rig, 0, UART_IER, UART_IER_RDI);
    rig_host_write(rig, 0, "abcdef", 6);
    rig_put(rig, 0, UART_MCR, UART_MCR_RTS);
    for (unsigned i = 0; i < 6; i++) {
        rig_wait(irq);
        assert_int_equal(rig_get(rig, 0, UART_RX), 'a' + i);
    }
    assert_int_equal(rig_get(rig, 0, UART_LSR), 0x60);
    assert_false(rig_signalled(irq));
}

static void test_reset(void **state)
{
    struct rig *rig = *state;
    int irq;

    rig_start(rig, "tty-2");
    irq = rig_irq(rig, UMDEV_IRQ_INTX);
    loop_byte(rig, 0);
    assert_true(rig_signalled(irq));
    assert_int_equal(umdev_client_reset(rig->client), 0);
    assert_int_equal(rig_get(rig, 0, UART_IER), 0);
    assert_int_equal(rig_get(rig, 0, UART_MCR), 0);
    assert_int_equal(rig_get(rig, 0, UART_LSR), 0x60);
    rig_unmask_intx(rig);
    assert_false(rig_signalled(irq));
    loop_byte(rig, 0);
    assert_true(rig_signalled(irq));
}

/* ------------------------------------------------------------------ links and places */

static bool link_leads_to_a_pty(const struct rig *rig, unsigned number)
{
    char path[80], target[64] = "";

    snprintf(path, sizeof(path), "%s%u", rig->prefix, number);
    return readlink(path, target, sizeof(target) - 1) > 0 && !strncmp(target, "/dev/pts/", 9);
}

static void test_ports_are_numbered(void **state)
{
    struct rig *rig = *state;
    char second[UMDEV_UUID_STR_SIZE];

    rig_start(rig, "tty-2");
    assert_int_equal(umdev_host_create(rig->host, NULL, "tty-1", NULL, second, NULL), 0);
    assert_true(link_leads_to_a_pty(rig, 0) && link_leads_to_a_pty(rig, 1));
    assert_true(link_leads_to_a_pty(rig, 2) && !link_leads_to_a_pty(rig, 3));
    assert_int_equal(umdev_host_remove(rig->host, second), 0);
    assert_false(link_leads_to_a_pty(rig, 2));
    assert_int_equal(umdev_host_create(rig->host, NULL, "tty-2", NULL, second, NULL), 0);
    assert_true(link_leads_to_a_pty(rig, 2) && link_leads_to_a_pty(rig, 3));
    rig_disconnect(rig);
    assert_int_equal(umdev_host_remove(rig->host, rig->uuid), 0);
    assert_false(link_leads_to_a_pty(rig, 0) || link_leads_to_a_pty(rig, 1));
}

static void test_links_in_the_way(void **state)
{
    struct rig *rig = *state;
    unsigned fds = rig_count("fd");
    char path[80];

    snprintf(path, sizeof(path), "%s1", rig->prefix);
    /* A file of someone's, a link that leads somewhere: the second port can't, so no card. */
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(umdev_host_create(rig->host, NULL, "tty-2", NULL, NULL, NULL), -EEXIST);
    assert_false(link_leads_to_a_pty(rig, 0));
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(umdev_host_create(rig->host, NULL, "tty-2", NULL, NULL, NULL), -EEXIST);
    unlink(path);
    assert_int_equal(rig_count("fd"), fds);
    /* One that a killed run has left is replaced. */
    assert_int_equal(symlink("/dev/pts/nothing", path), 0);
    rig_start(rig, "tty-2");
    assert_true(link_leads_to_a_pty(rig, 1));
    /* One that is not ours any more stays. */
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    rig_disconnect(rig);
    assert_int_equal(umdev_host_remove(rig->host, rig->uuid), 0);
    assert_int_equal(unlink(path), 0);
}

/* A parent's places, filled and given back. */
static void test_as_many_cards_as_there_are(void **state)
{
    struct rig *rig = *state;
    char uuids[32][UMDEV_UUID_STR_SIZE];

    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(umdev_host_create(rig->host, NULL, "tty-2", NULL, uuids[i], NULL), 0);
    assert_int_equal(umdev_host_create(rig->host, NULL, "tty-1", NULL, NULL, NULL), -EUSERS);
    assert_true(link_leads_to_a_pty(rig, 63));
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(umdev_host_remove(rig->host, uuids[i]), 0);
    assert_false(link_leads_to_a_pty(rig, 0));
}

/* ------------------------------------------------------------------ errors and hostility */

static void test_without_fds(void **state)
{
    struct rig *rig = *state;
    unsigned used = rig_count("fd"), failures = 0;
    struct rlimit limit, tight;
    char uuid[UMDEV_UUID_STR_SIZE];
    int first_free, ret;

    first_free = dup(0);
    close(first_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    do {
        tight =
            (struct rlimit){.rlim_cur = (rlim_t)first_free + failures, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        ret = umdev_host_create(rig->host, NULL, "tty-2", NULL, uuid, NULL);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (ret) {
            assert_int_equal(ret, -EMFILE);
            assert_int_equal(rig_count("fd"), used);
            assert_false(link_leads_to_a_pty(rig, 0));
            failures++;
        }
    } while (ret && failures < 100);
    assert_true(failures >= 6 && failures < 100); /* epoll, stop, and two a port */
    assert_int_equal(umdev_host_remove(rig->host, uuid), 0);
    assert_int_equal(rig_count("fd"), used);
}

/* Anything anywhere, while the host talks; the client dies, and the card is removed, in the midst.
 */
static void test_hostile_guest(void **state)
{
    struct rig *rig = *state;
    unsigned seed = (unsigned)time(NULL), fds = rig_count("fd"), threads = rig_count("task");

    print_message("# seed %u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 6; round++) {
        uint8_t bytes[32];
        int irq;

        rig_start(rig, round % 2 ? "tty-1" : "tty-2");
        irq = rig_irq(rig, round % 3 ? UMDEV_IRQ_MSI : UMDEV_IRQ_INTX);
        for (unsigned i = 0; i < 3000; i++) {
            uint64_t offset = (uint64_t)rand() % 20;
            size_t len = 1 + (size_t)rand() % 20;

            for (unsigned k = 0; k < sizeof(bytes); k++)
                bytes[k] = (uint8_t)rand();
            if (rand() % 2)
                umdev_client_post_write(rig->client, rig->bar, offset, bytes, len);
            else
                umdev_client_read(rig->client, rig->bar, offset, bytes, len);
            if (i % 8 == 0 && write(rig->pty[i % rig->nports], bytes, sizeof(bytes)) < 0)
                assert_int_equal(errno, EAGAIN);
            if (i % 512 == 0)
                umdev_client_reset(rig->client);
            rig_signalled(irq);
        }
        assert_true(umdev_client_alive(rig->client));
        if (round % 2)
            rig_disconnect(rig);
        assert_int_equal(umdev_host_remove(rig->host, rig->uuid), 0);
        if (rig->client)
            rig_disconnect(rig);
        for (unsigned i = 0; i < rig->nports; i++) {
            close(rig->pty[i]);
            rig->pty[i] = -1;
        }
    }
    /* A session's thread may be on its last steps, and its fds are closed after it. */
    for (unsigned i = 0; i < 10000 && (rig_count("task") > threads || rig_count("fd") > fds); i++)
        usleep(1000);
    assert_int_equal(rig_count("task"), threads);
    assert_int_equal(rig_count("fd"), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_identity_of_two_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity_of_one_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_intx_is_the_level_of_both_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_msi_comes_again_for_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_msi_comes_when_one_cause_replaces_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_msi_comes_when_one_port_replaces_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_msi_enabled_too_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_byte_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_byte_without_fifo_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports_are_numbered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links_in_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_as_many_cards_as_there_are, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_fds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_guest, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
