/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: to a reader that sleeps, from a doorbell that is written or signalled, and from a new
 * eventfd on. */
#include "bench.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>

/* A doorbell is a 4-byte trapped write; SET_IRQS is as long. The sizes of their messages. */
enum {
    DOORBELL_REQUEST = 36,
    DOORBELL_REPLY = 32,
    SET_IRQS_REPLY = 16,
};

/* A server of ours or the peer's, and the eventfd its interrupt signals. */
struct irq_device {
    struct bench_server server;
    struct bench_shared *shared;
    int fd, bell; /* the doorbell's eventfd; the server's */
};

struct irq_floor {
    pid_t pid;
    int sock, fd, bell;
    struct bench_shared *shared;
};

/* Ask for an interrupt and sleep until it is there: nanoseconds from the signal to the reader. */
static int reader_sample(struct bench_shared *shared, int irq, double *sample)
{
    uint64_t count = 1;

    if (write(shared->go, &count, sizeof(count)) != sizeof(count) ||
        read(irq, &count, sizeof(count)) != sizeof(count))
        return -errno;
    *sample = (double)(bench_now_ns() - shared->fired_ns);
    return 0;
}

static int reader_measure(void *state, double *samples, size_t n)
{
    struct irq_device *device = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++)
        ret = reader_sample(device->shared, device->fd, &samples[i]);
    return ret;
}

static int reader_floor_measure(void *state, double *samples, size_t n)
{
    struct irq_floor *floor = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++)
        ret = reader_sample(floor->shared, floor->fd, &samples[i]);
    return ret;
}

static void signal_eventfd(void *opaque)
{
    const struct irq_floor *floor = opaque;
    uint64_t one = 1;

    if (write(floor->fd, &one, sizeof(one)) != sizeof(one))
        _exit(1);
}

static void reader_floor_serve(int sock, void *arg)
{
    struct irq_floor *floor = arg;

    (void)sock;
    bench_shared_loop(floor->shared, signal_eventfd, floor);
}

static int doorbell_measure(void *state, double *samples, size_t n)
{
    struct irq_device *device = state;
    uint64_t count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = umdev_client_write32(device->server.client, 0, BENCH_REG_DOORBELL, 1);

        if (ret || read(device->fd, &count, sizeof(count)) != sizeof(count))
            return ret ? ret : -errno;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void doorbell_floor_serve(int sock, void *arg)
{
    char buf[64] = {0};

    while (recv(sock, buf, DOORBELL_REQUEST, MSG_WAITALL) == DOORBELL_REQUEST) {
        signal_eventfd(arg);
        send(sock, buf, DOORBELL_REPLY, MSG_NOSIGNAL);
    }
}

static int doorbell_floor_measure(void *state, double *samples, size_t n)
{
    struct irq_floor *floor = state;
    char buf[64] = {0};
    uint64_t count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        if (send(floor->sock, buf, DOORBELL_REQUEST, MSG_NOSIGNAL) < 0 ||
            recv(floor->sock, buf, DOORBELL_REPLY, MSG_WAITALL) != DOORBELL_REPLY ||
            read(floor->fd, &count, sizeof(count)) != sizeof(count))
            return -EIO;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

/* Give the device an eventfd, make it signal that, and read it. */
static int set_irqs_measure(void *state, double *samples, size_t n)
{
    const uint32_t flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    struct irq_device *device = state;
    uint64_t count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = umdev_client_set_irqs(device->server.client, flags, UMDEV_IRQ_MSIX, 0, 1, NULL,
                                        &device->fd, 1);

        if (!ret)
            ret = umdev_client_write32(device->server.client, 0, BENCH_REG_DOORBELL, 1);
        if (ret || read(device->fd, &count, sizeof(count)) != sizeof(count))
            return ret ? ret : -errno;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

union fd_control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* Keeps the fd that came last: a request that brings one replaces it, one without signals it. */
static void set_irqs_floor_serve(int sock, void *arg)
{
    struct irq_floor *floor = arg;
    char buf[64] = {0};

    for (;;) {
        union fd_control control;
        struct iovec iov = {buf, DOORBELL_REQUEST};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control)};
        const struct cmsghdr *header;

        if (recvmsg(sock, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != DOORBELL_REQUEST)
            return;
        header = CMSG_FIRSTHDR(&message);
        if (header) {
            close(floor->fd);
            memcpy(&floor->fd, CMSG_DATA(header), sizeof(floor->fd));
            send(sock, buf, SET_IRQS_REPLY, MSG_NOSIGNAL);
        } else {
            signal_eventfd(floor);
            send(sock, buf, DOORBELL_REPLY, MSG_NOSIGNAL);
        }
    }
}

static int floor_call(int sock, int fd, ssize_t reply_size)
{
    union fd_control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(fd)),
                                           .cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS}};
    char buf[64] = {0};
    struct iovec iov = {buf, DOORBELL_REQUEST};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control);
    }
    if (sendmsg(sock, &message, MSG_NOSIGNAL) < 0 ||
        recv(sock, buf, (size_t)reply_size, MSG_WAITALL) != reply_size)
        return -EIO;
    return 0;
}

static int set_irqs_floor_measure(void *state, double *samples, size_t n)
{
    struct irq_floor *floor = state;
    uint64_t count;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        if (floor_call(floor->sock, floor->fd, SET_IRQS_REPLY) ||
            floor_call(floor->sock, -1, DOORBELL_REPLY) ||
            read(floor->fd, &count, sizeof(count)) != sizeof(count))
            return -EIO;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

/* Signal the doorbell as KVM would and sleep until the interrupt is there. */
static int ring_measure_fds(int bell, int irq, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns(), count = 1;

        if (write(bell, &count, sizeof(count)) != sizeof(count) ||
            read(irq, &count, sizeof(count)) != sizeof(count))
            return -errno;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int ring_measure(void *state, double *samples, size_t n)
{
    const struct irq_device *device = state;

    return ring_measure_fds(device->bell, device->fd, samples, n);
}

static int ring_floor_measure(void *state, double *samples, size_t n)
{
    const struct irq_floor *floor = state;

    return ring_measure_fds(floor->bell, floor->fd, samples, n);
}

static void ring_floor_serve(int sock, void *arg)
{
    const struct irq_floor *floor = arg;
    uint64_t count;

    (void)sock;
    while (read(floor->bell, &count, sizeof(count)) == sizeof(count))
        signal_eventfd(arg);
}

static void device_stop(void *state)
{
    struct irq_device *device = state;

    bench_server_stop(&device->server);
    bench_shared_free(device->shared);
    free(device);
}

static void floor_stop(void *state)
{
    struct irq_floor *floor = state;

    close(floor->sock);
    close(floor->fd);
    close(floor->bell);
    bench_kill(floor->pid);
    bench_shared_free(floor->shared);
    free(floor);
}

static int device_start(struct row_run *run, const char *peer, struct subject *subject,
                        int (*measure)(void *state, double *samples, size_t n))
{
    struct irq_device *device = calloc(1, sizeof(*device));
    int ret;

    device->shared = bench_shared_new();
    ret = peer ? bench_peer_start(&device->server, run->server_cpu, device->shared, peer)
               : bench_server_start(&device->server, run->server_cpu, device->shared);
    if (ret)
        return ret;
    *subject = (struct subject){measure, device_stop, device};
    device->fd = umdev_client_irq_eventfd(device->server.client, UMDEV_IRQ_MSIX, 0);
    return device->fd < 0 ? device->fd : 0;
}

static int irq_start(struct row_run *run, int (*measure)(void *, double *, size_t),
                     int (*measure_floor)(void *, double *, size_t),
                     void (*serve_floor)(int sock, void *arg))
{
    struct irq_floor *floor = calloc(1, sizeof(*floor));
    int ret = device_start(run, NULL, &run->ours, measure);

    if (ret)
        return ret;
    floor->shared = bench_shared_new();
    floor->fd = eventfd(0, EFD_CLOEXEC);
    floor->bell = eventfd(0, EFD_CLOEXEC);
    floor->pid = bench_spawn(run->server_cpu, serve_floor, floor, &floor->sock);
    if (floor->pid < 0)
        return floor->pid;
    run->floor = (struct subject){measure_floor, floor_stop, floor};
    return run->options->peer ? device_start(run, run->options->peer, &run->peer, measure) : 0;
}

static int reader_start(struct row_run *run)
{
    return irq_start(run, reader_measure, reader_floor_measure, reader_floor_serve);
}

static int doorbell_start(struct row_run *run)
{
    return irq_start(run, doorbell_measure, doorbell_floor_measure, doorbell_floor_serve);
}

static int set_irqs_start(struct row_run *run)
{
    return irq_start(run, set_irqs_measure, set_irqs_floor_measure, set_irqs_floor_serve);
}

/* Without the peer: its server offers eventfds, but does not listen to them. */
static int ring_start(struct row_run *run)
{
    const struct bench_options alone = {.quick = run->options->quick};
    struct row_run without_peer = *run;
    const struct umdev_io_fd *doorbells;
    struct irq_device *device;
    size_t count = 0;
    int ret;

    without_peer.options = &alone;
    ret = irq_start(&without_peer, ring_measure, ring_floor_measure, ring_floor_serve);
    run->ours = without_peer.ours;
    run->floor = without_peer.floor;
    if (ret)
        return ret;
    device = run->ours.state;
    ret = umdev_client_get_io_fds(device->server.client, UMDEV_REGION_BAR0, &doorbells, &count);
    if (ret || count == 0)
        return ret ? ret : -ENODEV;
    device->bell = doorbells[0].fd;
    return 0;
}

const struct row irq_reader_row = {
    .name = "irq.blocked-reader",
    .what = "interrupt to a sleeping reader / a bare eventfd",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 500,
    .start = reader_start,
};

const struct row irq_doorbell_row = {
    .name = "irq.doorbell",
    .what = "doorbell write, callback, interrupt, reader / the same by socket and eventfd",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = doorbell_start,
};

const struct row irq_set_irqs_row = {
    .name = "irq.set-irqs",
    .what =
        "an eventfd set up, a doorbell write, its interrupt read / the same by socket and eventfd",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 500,
    .start = set_irqs_start,
};

const struct row doorbell_ioeventfd_row = {
    .name = "doorbell.ioeventfd",
    .what = "eventfd doorbell, callback, interrupt, reader / two bare eventfds",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = ring_start,
};
