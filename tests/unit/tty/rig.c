/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 10 /* seconds */

static void log_quietly(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)opaque;
    (void)level;
    (void)line;
}

void rig_init(struct rig *rig)
{
    const struct umdev_host_options options = {
        .struct_size = sizeof(options),
        .log = log_quietly,
        .log_level = UMDEV_LOG_DEBUG,
    };
    struct umdev_error error = {.message = ""};
    char link[80];
    const char *params[] = {link};

    *rig = (struct rig){.pty = {-1, -1}};
    strcpy(rig->folder, "/tmp/umdev-tty-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    snprintf(rig->prefix, sizeof(rig->prefix), "%s/port", rig->folder);
    snprintf(link, sizeof(link), "link=%s", rig->prefix);
    assert_int_equal(umdev_host_new(&options, &rig->host), 0);
    if (umdev_host_add_parent(rig->host, TTY_DRIVER, "tty0", params, 1, &error))
        fail_msg("%s", error.message);
}

void rig_connect(struct rig *rig)
{
    int pair[2], ret;

    /* The card is busy for as long as its last client's session takes to end. */
    do {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(umdev_host_serve_fd(rig->host, rig->uuid, pair[0]), 0);
        ret = umdev_connect_fd(pair[1], NULL, &rig->client);
    } while (ret == -EBUSY);
    assert_int_equal(ret, 0);
}

void rig_disconnect(struct rig *rig)
{
    umdev_client_close(rig->client);
    rig->client = NULL;
}

void rig_start(struct rig *rig, const char *type)
{
    char path[80];

    assert_int_equal(umdev_host_create(rig->host, "tty0", type, NULL, rig->uuid, NULL), 0);
    rig->nports = (unsigned)(type[4] - '0');
    rig->bar = rig->nports == 2 ? UMDEV_REGION_BAR0 : UMDEV_REGION_BAR1;
    for (unsigned i = 0; i < rig->nports; i++) {
        snprintf(path, sizeof(path), "%s%u", rig->prefix, i);
        rig->pty[i] = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        assert_true(rig->pty[i] >= 0);
    }
    rig_connect(rig);
}

void rig_free(struct rig *rig)
{
    umdev_client_close(rig->client);
    for (unsigned i = 0; i < RIG_PORTS; i++)
        if (rig->pty[i] >= 0)
            close(rig->pty[i]);
    umdev_host_free(rig->host);
    assert_int_equal(rmdir(rig->folder), 0);
}

/* ------------------------------------------------------------------ the guest's side */

uint8_t rig_get(const struct rig *rig, unsigned port, unsigned reg)
{
    uint8_t value = 0;

    assert_int_equal(umdev_client_read(rig->client, rig->bar, 8 * port + reg, &value, 1), 0);
    return value;
}

void rig_put(const struct rig *rig, unsigned port, unsigned reg, uint8_t value)
{
    assert_int_equal(umdev_client_write(rig->client, rig->bar, 8 * port + reg, &value, 1), 0);
}

void rig_await(const struct rig *rig, unsigned port, unsigned reg, uint8_t mask, uint8_t value)
{
    time_t deadline = time(NULL) + PATIENCE;
    uint8_t last;

    while (((last = rig_get(rig, port, reg)) & mask) != value) {
        if (time(NULL) > deadline)
            fail_msg("port %u register %u stays 0x%02x", port, reg, last);
        usleep(100);
    }
}

void rig_setup_port(const struct rig *rig, unsigned port, uint8_t ier)
{
    rig_put(rig, port, UART_LCR, UART_LCR_DLAB);
    rig_put(rig, port, UART_DLL, 1);
    rig_put(rig, port, UART_DLM, 0);
    rig_put(rig, port, UART_LCR, UART_LCR_WLEN8);
    rig_put(rig, port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_11);
    rig_put(rig, port, UART_MCR, UART_MCR_RTS | UART_MCR_DTR);
    rig_put(rig, port, UART_IER, ier);
}

int rig_irq(const struct rig *rig, unsigned index)
{
    int irq = umdev_client_irq_eventfd(rig->client, index, 0);

    assert_true(irq >= 0);
    assert_int_equal(fcntl(irq, F_SETFL, O_NONBLOCK), 0);
    return irq;
}

bool rig_signalled(int irq)
{
    uint64_t count;

    return read(irq, &count, sizeof(count)) == sizeof(count);
}

void rig_wait(int irq)
{
    struct pollfd pollfd = {.fd = irq, .events = POLLIN};

    assert_int_equal(poll(&pollfd, 1, PATIENCE * 1000), 1);
    assert_true(rig_signalled(irq));
}

void rig_unmask_intx(const struct rig *rig)
{
    assert_int_equal(umdev_client_set_irqs(rig->client,
                                           VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE,
                                           UMDEV_IRQ_INTX, 0, 1, NULL, NULL, 0),
                     0);
}

/* ------------------------------------------------------------------ the host's side */

unsigned rig_count(const char *what)
{
    char path[32];
    unsigned count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/self/%s", what);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void rig_host_write(const struct rig *rig, unsigned port, const void *bytes, size_t len)
{
    struct pollfd pollfd = {.fd = rig->pty[port], .events = POLLOUT};

    for (size_t done = 0; done < len;) {
        assert_int_equal(poll(&pollfd, 1, PATIENCE * 1000), 1);
        ssize_t count = write(rig->pty[port], (const char *)bytes + done, len - done);

        if (count > 0)
            done += (size_t)count;
    }
}

void rig_host_read(const struct rig *rig, unsigned port, void *bytes, size_t len)
{
    struct pollfd pollfd = {.fd = rig->pty[port], .events = POLLIN};

    for (size_t done = 0; done < len;) {
        assert_int_equal(poll(&pollfd, 1, PATIENCE * 1000), 1);
        ssize_t count = read(rig->pty[port], (char *)bytes + done, len - done);

        if (count > 0)
            done += (size_t)count;
    }
}
