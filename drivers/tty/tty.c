/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tty: PCI serial cards whose ports are ptys of the host.
 *
 * Data model. A port is a UART (uart.h) and a pty, whose slave is held open, so that programs come
 * and go there. Bytes that find no room stay where they are, in the UART or in the pty. A card has
 * a lock and a thread: the guest comes by its callbacks, the host wakes the thread. Whoever it is
 * may have brought bytes or made room, and leaves by tty_unlock(), which moves what can be moved.
 */
#include "uart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <umdev/driver.h>
#include <unistd.h>

#define MAX_PORTS 2u /* of a card */

struct tty_port {
    struct uart uart;
    unsigned number;         /* among the parent's */
    int master, slave;       /* fds, or −1 */
    char name[32];           /* of the slave */
    char link[PATH_MAX + 1]; /* to it; "": none. One that is cut is too long for the kernel */
};

struct tty {
    struct umdev_device *dev;
    pthread_mutex_t lock; /* guards the ports and `causes` */
    struct tty_port ports[MAX_PORTS];
    unsigned nports;
    unsigned causes; /* uart_causes(), 8 bits a port, when last looked at */
    int epoll, stop; /* fds, or −1 */
    bool running;
    pthread_t thread;
};

/* All causes make one level, INTx. MSI is for news: other causes, or bytes where none were. */
static int tty_unlock(struct tty *t)
{
    unsigned causes = 0;
    bool news = false;

    for (struct tty_port *p = t->ports; p < t->ports + t->nports; p++) {
        struct uart *u = &p->uart;
        ssize_t got = read(p->master, u->rx.bytes + u->rx.count, uart_rx_room(u));
        ssize_t sent = u->tx.count ? write(p->master, u->tx.bytes, u->tx.count) : 0;

        news |= got > 0 && !u->rx.count;
        u->rx.count += got > 0 ? (unsigned)got : 0;
        uart_sent(u, sent > 0 ? (unsigned)sent : 0);
        causes = causes << 8 | uart_causes(u);
    }
    umdev_irq_set_level(t->dev, causes != 0);
    if (causes && (news || causes != t->causes))
        umdev_irq_trigger(t->dev, UMDEV_IRQ_MSI, 0);
    t->causes = causes;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int tty_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                    size_t len)
{
    uint8_t *bytes = memset(buf, 0xff, len);
    struct tty *t = umdev_device_priv(dev);

    (void)region;
    pthread_mutex_lock(&t->lock);
    for (; len-- && offset / UART_PORTS < t->nports; offset++)
        *bytes++ = uart_read(&t->ports[offset / UART_PORTS].uart, offset % UART_PORTS);
    return tty_unlock(t);
}

static int tty_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                     size_t len)
{
    const uint8_t *bytes = buf;
    struct tty *t = umdev_device_priv(dev);

    (void)region;
    pthread_mutex_lock(&t->lock);
    for (; len-- && offset / UART_PORTS < t->nports; offset++)
        uart_write(&t->ports[offset / UART_PORTS].uart, offset % UART_PORTS, *bytes++);
    return tty_unlock(t);
}

static int tty_reset(struct umdev_device *dev)
{
    struct tty *t = umdev_device_priv(dev);

    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->nports; i++)
        uart_reset(&t->ports[i].uart);
    return tty_unlock(t);
}

static void tty_close(struct umdev_device *dev)
{
    tty_reset(dev); /* with RTS off, what the host sends waits for the next client */
}

static void tty_irqs_changed(struct umdev_device *dev, unsigned index)
{
    struct tty *t = umdev_device_priv(dev);

    (void)index;
    pthread_mutex_lock(&t->lock);
    t->causes = 0; /* who enables MSI while a cause is pending is told */
    tty_unlock(t);
}

static void *tty_thread(void *opaque)
{
    struct tty *t = opaque;
    struct epoll_event event = {.data.fd = -1};

    while (epoll_wait(t->epoll, &event, 1, -1) < 1 || event.data.fd != t->stop) {
        pthread_mutex_lock(&t->lock);
        tty_unlock(t);
    }
    return NULL;
}

/* A raw pty, both ends. */
static int port_open_pty(struct tty_port *p)
{
    struct termios termios;

    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (p->master < 0 || unlockpt(p->master) || ptsname_r(p->master, p->name, sizeof(p->name)))
        return -errno;
    p->slave = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->slave < 0 || tcgetattr(p->slave, &termios))
        return -errno;
    cfmakeraw(&termios);
    return tcsetattr(p->slave, TCSANOW, &termios) ? -errno : 0;
}

static int port_init(struct tty *t, struct tty_port *p)
{
    const char *prefix = umdev_param_string(umdev_device_parent(t->dev), "link");
    atomic_uint_fast64_t *numbers = umdev_parent_priv(umdev_device_parent(t->dev));
    /* Edges are enough: tty_unlock() tries again after anything that can have made room. */
    struct epoll_event edges = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = -1};
    int ret;

    uart_reset(&p->uart);
    p->master = p->slave = -1;
    while (atomic_fetch_or(numbers, UINT64_C(1) << p->number) >> p->number & 1)
        p->number++;
    if (*prefix)
        snprintf(p->link, sizeof(p->link), "%s%u", prefix, p->number);
    if (access(p->link, F_OK))
        unlink(p->link); /* it leads nowhere, as its maker was killed */
    ret = port_open_pty(p);
    if (!ret && ((*p->link && symlink(p->name, p->link)) ||
                 epoll_ctl(t->epoll, EPOLL_CTL_ADD, p->master, &edges)))
        ret = -errno;
    umdev_device_log(t->dev, ret ? UMDEV_LOG_ERROR : UMDEV_LOG_INFO, "port %u: %s %s", p->number,
                     ret ? strerrordesc_np(-ret) : p->name, p->link);
    return ret;
}

/* Also of what create() did not finish. */
static void tty_remove(struct umdev_device *dev)
{
    atomic_uint_fast64_t *numbers = umdev_parent_priv(umdev_device_parent(dev));
    struct tty *t = umdev_device_priv(dev);

    if (t->running) {
        eventfd_write(t->stop, 1);
        pthread_join(t->thread, NULL);
    }
    for (struct tty_port *p = t->ports; p < t->ports + t->nports; p++) {
        char target[sizeof(p->name)] = "";

        if (readlink(p->link, target, sizeof(target) - 1) > 0 && !strcmp(target, p->name))
            unlink(p->link);
        close(p->slave);
        close(p->master);
        atomic_fetch_and(numbers, ~(UINT64_C(1) << p->number));
    }
    close(t->stop);
    close(t->epoll);
    pthread_mutex_destroy(&t->lock);
}

static int tty_create(struct umdev_device *dev)
{
    unsigned nports = MAX_PORTS - umdev_device_type_index(dev);
    struct epoll_event stop = {.events = EPOLLIN};
    struct tty *t = umdev_device_priv(dev);
    sigset_t all, old;
    int ret = 0;

    t->dev = dev;
    pthread_mutex_init(&t->lock, NULL);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->stop = stop.data.fd = eventfd(0, EFD_CLOEXEC);
    if (t->epoll < 0 || t->stop < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->stop, &stop))
        ret = -errno;
    while (!ret && t->nports < nports)
        ret = port_init(t, &t->ports[t->nports++]);
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (!ret)
        ret = -pthread_create(&t->thread, NULL, tty_thread, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    t->running = !ret;
    if (ret)
        tty_remove(dev);
    return ret;
}

/* clang-format off */
/*
 * As Linux's 8250_pci wants them. It tells the ports of a card that it knows only by its class from
 * the size of its I/O BAR, and uses INTx. The few that it knows to have MSI have one port each.
 */
static const struct umdev_type tty_types[] = {
    {.name = "2", .description = "two ports, INTx with Linux", .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x0003, .class_code = 0x070002, .intx_pin = 1, .msi_vectors = 1,
        .bar = {UMDEV_BAR(.size = 2 * UART_PORTS, .flags = UMDEV_BAR_IO)})},
    {.name = "1", .description = "one port, MSI with Linux", .pci = UMDEV_PCI(
        .vendor = 0x1590, .device = 0x037e, .class_code = 0x070002, .intx_pin = 1, .msi_vectors = 1,
        .bar = {[1] = UMDEV_BAR(.size = 2 * UART_PORTS)})},
};

UMDEV_DRIVER(tty,
    .description = "serial cards with 16550A ports that are ptys of the host",
    .types = tty_types, .ntypes = 2, .max_instances = 32, .nparams = 1,
    .params = &(const struct umdev_param){
        .name = "link", .description = "make links to the ptys: this and the port's number"},
    .parent_priv_size = sizeof(atomic_uint_fast64_t), .priv_size = sizeof(struct tty),
    .create = tty_create, .remove = tty_remove, .close = tty_close, .reset = tty_reset,
    .read = tty_read, .write = tty_write, .irqs_changed = tty_irqs_changed);
