/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: to a reader that sleeps, and from a doorbell write to the interrupt it causes. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>

/* A doorbell is a 4-byte trapped write: the sizes of its messages. */
enum {
    DOORBELL_REQUEST = 36,
    DOORBELL_REPLY = 32,
};

/* A server of ours or the peer's, and the eventfd its interrupt signals. */
struct irq_device {
    struct bench_server server;
    struct bench_shared *shared;
    int fd;
};

struct irq_floor {
    pid_t pid;
    int sock, fd;
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
