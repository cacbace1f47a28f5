/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tty: PCI serial cards whose ports are ptys of the host.
 *
 * Data model. A port is a UART (uart.h), a pty and a timer for the UART's receive timeout. A card
 * has a thread that moves bytes between the two, and one lock around all of it: a register access
 * comes from the guest, the thread from the host. The slave's end of a pty is held open, so that
 * programs can come and go there; `watched` is what the thread waits for on its master: for bytes
 * while a client is there and its UART has room, and to write while the UART has something to send.
 *
 * Interrupts. All causes of all ports make one level, INTx. MSI is for edges: it is signalled
 * whenever the causes have changed and there is one, so also when one goes and another stays.
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
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <umdev/driver.h>
#include <unistd.h>

#define MAX_CARDS 32u
#define MAX_PORTS 2u /* of a card */

/* In epoll_event.data: a port's number times 2, plus 1 for its timer. */
#define EVENT_STOP UINT32_MAX

struct tty_parent {
    atomic_uint_fast64_t numbers; /* of its ports, a bit each: which are in use */
};

struct tty_port {
    struct uart uart;
    unsigned number; /* among the parent's, once `numbered` */
    bool numbered;
    int master, slave, timer; /* fds, or −1 */
    uint32_t watched;         /* epoll events of `master` */
    char name[32];            /* of the slave */
    char link[PATH_MAX];      /* to it; "": none */
};

struct tty {
    struct umdev_device *dev;
    pthread_mutex_t lock; /* guards the ports, `connected` and `causes` */
    struct tty_port ports[MAX_PORTS];
    unsigned nports;
    unsigned causes; /* enum uart_cause, 8 bits a port, when last looked at */
    bool connected;  /* a client is there */
    int epoll, stop; /* fds, or −1 */
    bool running;
    pthread_t thread;
};

/* ------------------------------------------------------------------ what follows a change */

static void port_watch(struct tty *t, unsigned index)
{
    struct tty_port *p = &t->ports[index];
    bool receive = t->connected && uart_rx_room(&p->uart);
    struct epoll_event event = {
        .events = (receive ? EPOLLIN : 0) | (p->uart.tx_count ? EPOLLOUT : 0),
        .data.u32 = 2 * index,
    };

    if (event.events != p->watched)
        epoll_ctl(t->epoll, EPOLL_CTL_MOD, p->master, &event);
    p->watched = event.events;
}

/* A byte was received or read: the receive timeout starts anew. */
static void port_restart_timer(struct tty_port *p)
{
    uint64_t ns = uart_timeout_ns(&p->uart);
    struct itimerspec spec = {.it_value = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)}};

    timerfd_settime(p->timer, 0, &spec, NULL);
}

static void tty_update(struct tty *t)
{
    unsigned causes = 0;

    for (unsigned i = 0; i < t->nports; i++) {
        causes |= uart_causes(&t->ports[i].uart) << (8 * i);
        port_watch(t, i);
    }
    umdev_irq_set_level(t->dev, causes != 0);
    if (causes && causes != t->causes)
        umdev_irq_trigger(t->dev, UMDEV_IRQ_MSI, 0);
    t->causes = causes;
}

/* ------------------------------------------------------------------ the host's side */

static void port_receive(struct tty_port *p)
{
    uint8_t bytes[UART_FIFO];
    ssize_t count = read(p->master, bytes, uart_rx_room(&p->uart));

    if (count <= 0)
        return;
    uart_receive(&p->uart, bytes, (unsigned)count);
    port_restart_timer(p);
}

static void port_send(struct tty_port *p)
{
    const uint8_t *bytes;
    unsigned waiting = uart_to_send(&p->uart, &bytes);
    ssize_t count = write(p->master, bytes, waiting);

    if (count > 0)
        uart_sent(&p->uart, (unsigned)count);
}

static void port_event(struct tty *t, const struct epoll_event *event)
{
    struct tty_port *p = &t->ports[event->data.u32 / 2];
    uint64_t expirations;

    if (event->data.u32 % 2) {
        /* Nothing to read: it was restarted in the meantime. */
        if (read(p->timer, &expirations, sizeof(expirations)) == sizeof(expirations))
            uart_timeout(&p->uart);
        return;
    }
    if (event->events & (EPOLLHUP | EPOLLERR)) {
        umdev_device_log(t->dev, UMDEV_LOG_WARNING, "port %u: %s was hung up", p->number, p->name);
        epoll_ctl(t->epoll, EPOLL_CTL_DEL, p->master, NULL);
        return;
    }
    /* The guest may have changed its mind since the event. */
    if (event->events & p->watched & EPOLLIN)
        port_receive(p);
    if (event->events & p->watched & EPOLLOUT)
        port_send(p);
}

static void *tty_thread(void *opaque)
{
    struct tty *t = opaque;
    struct epoll_event events[2 * MAX_PORTS + 1];
    bool stop = false;

    while (!stop) {
        int count = epoll_wait(t->epoll, events, 2 * MAX_PORTS + 1, -1);

        pthread_mutex_lock(&t->lock);
        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == EVENT_STOP)
                stop = true;
            else
                port_event(t, &events[i]);
        tty_update(t);
        pthread_mutex_unlock(&t->lock);
    }
    return NULL;
}

/* ------------------------------------------------------------------ the guest's side */

static int tty_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                    size_t len)
{
    struct tty *t = umdev_device_priv(dev);
    uint8_t *bytes = buf;

    (void)region;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < len; i++, offset++) {
        struct tty_port *p = &t->ports[offset / UART_PORTS];
        unsigned waiting = p->uart.rx_count;

        bytes[i] = 0xff;
        if (offset / UART_PORTS >= t->nports)
            continue;
        bytes[i] = uart_read(&p->uart, offset % UART_PORTS);
        if (p->uart.rx_count != waiting)
            port_restart_timer(p);
    }
    tty_update(t);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int tty_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                     size_t len)
{
    struct tty *t = umdev_device_priv(dev);
    const uint8_t *bytes = buf;

    (void)region;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < len && offset / UART_PORTS < t->nports; i++, offset++) {
        struct tty_port *p = &t->ports[offset / UART_PORTS];
        unsigned waiting = p->uart.rx_count;

        uart_write(&p->uart, offset % UART_PORTS, bytes[i]);
        if (p->uart.rx_count != waiting) /* in loopback */
            port_restart_timer(p);
    }
    tty_update(t);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int tty_reset(struct umdev_device *dev)
{
    struct tty *t = umdev_device_priv(dev);

    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->nports; i++) {
        uart_reset(&t->ports[i].uart);
        port_restart_timer(&t->ports[i]);
    }
    tty_update(t);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* Who enables MSI while a cause is pending is told. */
static void tty_irqs_changed(struct umdev_device *dev, unsigned index)
{
    struct tty *t = umdev_device_priv(dev);

    (void)index;
    pthread_mutex_lock(&t->lock);
    t->causes = 0;
    tty_update(t);
    pthread_mutex_unlock(&t->lock);
}

static void tty_set_connected(struct umdev_device *dev, bool connected)
{
    struct tty *t = umdev_device_priv(dev);

    pthread_mutex_lock(&t->lock);
    t->connected = connected;
    tty_update(t);
    pthread_mutex_unlock(&t->lock);
}

static int tty_open(struct umdev_device *dev)
{
    tty_set_connected(dev, true);
    return 0;
}

static void tty_close(struct umdev_device *dev)
{
    tty_set_connected(dev, false);
}

/* ------------------------------------------------------------------ birth and death */

/* A raw pty, both ends. */
static int port_open_pty(struct tty_port *p)
{
    struct termios termios;

    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (p->master < 0 || grantpt(p->master) || unlockpt(p->master))
        return -errno;
    if (ptsname_r(p->master, p->name, sizeof(p->name)))
        return -errno;
    p->slave = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->slave < 0 || tcgetattr(p->slave, &termios))
        return -errno;
    cfmakeraw(&termios);
    return tcsetattr(p->slave, TCSANOW, &termios) ? -errno : 0;
}

static int port_make_link(struct tty_port *p, const char *prefix)
{
    char target[sizeof(p->name)];
    int len = snprintf(p->link, sizeof(p->link), "%s%u", prefix, p->number);

    if (len >= (int)sizeof(p->link)) {
        p->link[0] = '\0';
        return -ENAMETOOLONG;
    }
    /* One that leads nowhere was left by a run that was killed. */
    if (readlink(p->link, target, sizeof(target)) > 0 && access(p->link, F_OK))
        unlink(p->link);
    if (!symlink(p->name, p->link))
        return 0;
    p->link[0] = '\0';
    return -errno;
}

static int port_add_events(struct tty *t, unsigned index)
{
    struct tty_port *p = &t->ports[index];
    struct epoll_event pty = {.data.u32 = 2 * index};
    struct epoll_event timer = {.events = EPOLLIN, .data.u32 = 2 * index + 1};

    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (p->timer < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, p->timer, &timer) ||
        epoll_ctl(t->epoll, EPOLL_CTL_ADD, p->master, &pty))
        return -errno;
    return 0;
}

static void port_take_number(struct tty_port *p, struct tty_parent *parent)
{
    while (atomic_fetch_or(&parent->numbers, UINT64_C(1) << p->number) >> p->number & 1)
        p->number++;
    p->numbered = true;
}

static int port_init(struct tty *t, unsigned index)
{
    struct umdev_parent *parent = umdev_device_parent(t->dev);
    const char *prefix = umdev_param_string(parent, "link");
    struct tty_port *p = &t->ports[index];
    int ret;

    uart_reset(&p->uart);
    port_take_number(p, umdev_parent_priv(parent));
    ret = port_open_pty(p);
    if (!ret)
        ret = port_add_events(t, index);
    if (ret) {
        umdev_device_log(t->dev, UMDEV_LOG_ERROR, "port %u: no pty: %s", p->number,
                         strerrordesc_np(-ret));
        return ret;
    }
    if (*prefix)
        ret = port_make_link(p, prefix);
    if (ret)
        umdev_device_log(t->dev, UMDEV_LOG_ERROR, "port %u: no link %s%u to %s: %s", p->number,
                         prefix, p->number, p->name, strerrordesc_np(-ret));
    else
        umdev_device_log(t->dev, UMDEV_LOG_INFO, "port %u: %s%s%s", p->number, p->name,
                         *prefix ? ", " : "", p->link);
    return ret;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void port_free(struct tty *t, struct tty_port *p)
{
    struct tty_parent *parent = umdev_parent_priv(umdev_device_parent(t->dev));
    char target[sizeof(p->name)] = "";

    if (*p->link && readlink(p->link, target, sizeof(target) - 1) > 0 && !strcmp(target, p->name))
        unlink(p->link);
    close_fd(p->timer);
    close_fd(p->slave);
    close_fd(p->master);
    if (p->numbered)
        atomic_fetch_and(&parent->numbers, ~(UINT64_C(1) << p->number));
}

/* Also of what create() did not finish. */
static void tty_remove(struct umdev_device *dev)
{
    struct tty *t = umdev_device_priv(dev);

    if (t->running) {
        eventfd_write(t->stop, 1);
        pthread_join(t->thread, NULL);
    }
    for (unsigned i = 0; i < t->nports; i++)
        port_free(t, &t->ports[i]);
    close_fd(t->stop);
    close_fd(t->epoll);
    pthread_mutex_destroy(&t->lock);
}

static int tty_start(struct tty *t)
{
    struct epoll_event stop = {.events = EPOLLIN, .data.u32 = EVENT_STOP};
    sigset_t all, old;
    int ret;

    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->stop = eventfd(0, EFD_CLOEXEC);
    if (t->epoll < 0 || t->stop < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->stop, &stop))
        return -errno;
    for (unsigned i = 0; i < t->nports; i++) {
        ret = port_init(t, i);
        if (ret)
            return ret;
    }
    /* Signals are for the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&t->thread, NULL, tty_thread, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    t->running = !ret;
    return -ret;
}

static int tty_create(struct umdev_device *dev)
{
    struct tty *t = umdev_device_priv(dev);
    int ret;

    t->dev = dev;
    t->nports = *(const unsigned *)umdev_device_type(dev)->data;
    t->epoll = t->stop = -1;
    for (unsigned i = 0; i < t->nports; i++)
        t->ports[i].master = t->ports[i].slave = t->ports[i].timer = -1;
    pthread_mutex_init(&t->lock, NULL);
    ret = tty_start(t);
    if (ret)
        tty_remove(dev);
    return ret;
}

/* ------------------------------------------------------------------ the driver */

static const struct umdev_param tty_params[] = {
    {.name = "link", .description = "make links to the ptys: this and the port's number"},
};

/*
 * What Linux's 8250_pci makes of them. It counts the ports of a card it knows by its class from the
 * size of its only I/O BAR, and uses INTx. It uses MSI for the few cards only that it knows to have
 * it, which have one port each, here behind a memory BAR.
 */
static const struct umdev_type tty_types[] = {
    {.name = "2",
     .description = "two ports, INTx with Linux",
     .data = &(const unsigned){2},
     .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x0003, .class_code = 0x070002, .intx_pin = 1,
                      .msi_vectors = 1,
                      .bar = {UMDEV_BAR(.size = 2 * UART_PORTS, .flags = UMDEV_BAR_IO)})},
    {.name = "1",
     .description = "one port, MSI with Linux",
     .data = &(const unsigned){1},
     .pci = UMDEV_PCI(.vendor = 0x1590, .device = 0x037e, .class_code = 0x070002, .intx_pin = 1,
                      .msi_vectors = 1, .bar = {[1] = UMDEV_BAR(.size = 2 * UART_PORTS)})},
};

/* clang-format off */
UMDEV_DRIVER(tty,
    .description = "serial cards with 16550A ports that are ptys of the host",
    .types = tty_types, .ntypes = sizeof(tty_types) / sizeof(tty_types[0]),
    .params = tty_params, .nparams = sizeof(tty_params) / sizeof(tty_params[0]),
    .max_instances = MAX_CARDS,
    .parent_priv_size = sizeof(struct tty_parent), .priv_size = sizeof(struct tty),
    .create = tty_create, .remove = tty_remove, .open = tty_open, .close = tty_close,
    .reset = tty_reset, .read = tty_read, .write = tty_write, .irqs_changed = tty_irqs_changed);
