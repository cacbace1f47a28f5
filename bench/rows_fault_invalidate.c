/* SPDX-License-Identifier: BSD-3-Clause */
/* Fault-mapped pages taken back: until the device knows that the client has them no more. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>

/* Measured by the device. */
static int ours_measure_invalidate(void *state, double *samples, size_t n)
{
    struct fault_client *ours = state;
    uint32_t ns = 0;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++) {
        fault_touch(ours->view, ours->next, 1);
        ret = umdev_client_write32(ours->client, FAULT_BAR_REGS, FAULT_REG_INVALIDATE,
                                   (uint32_t)ours->next);
        if (!ret)
            ret = umdev_client_read32(ours->client, FAULT_BAR_REGS, FAULT_REG_NS, &ns);
        samples[i] = ns;
    }
    return ret;
}

/* By hand: a message to a thread that maps something else over the pages, and its answer. */
struct taker {
    pid_t pid;
    int sock;    /* to the process: a byte, and the nanoseconds back */
    int ends[2]; /* of the messages: the process's, the thread's */
    pthread_t thread;
    int fd;
    uint8_t *pages;
    size_t count;
};

static void taker_serve(int sock, void *arg)
{
    const struct taker *taker = arg;
    char packet[FAULT_PACKET] = {0};

    while (recv(sock, packet, 1, 0) == 1) {
        double ns;
        uint64_t start = bench_now_ns();

        if (send(taker->ends[0], packet, sizeof(packet), MSG_NOSIGNAL) < 0 ||
            recv(taker->ends[0], packet, sizeof(packet), 0) <= 0)
            break;
        ns = (double)(bench_now_ns() - start);
        send(sock, &ns, sizeof(ns), MSG_NOSIGNAL);
    }
}

static void *taker_run(void *opaque)
{
    const struct taker *taker = opaque;
    char packet[FAULT_PACKET];

    while (recv(taker->ends[1], packet, sizeof(packet), 0) == sizeof(packet)) {
        if (mmap(taker->pages, taker->count * BENCH_PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        send(taker->ends[1], packet, sizeof(packet), MSG_NOSIGNAL);
    }
    return NULL;
}

static int taker_measure(void *state, double *samples, size_t n)
{
    struct taker *taker = state;
    size_t piece = taker->count < FAULT_OBJECT_PAGES ? taker->count : FAULT_OBJECT_PAGES;

    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; at < taker->count; at += piece)
            if (mmap(taker->pages + at * BENCH_PAGE, piece * BENCH_PAGE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, taker->fd, 0) == MAP_FAILED)
                return -errno;
        fault_touch(taker->pages, taker->count, 1);
        if (send(taker->sock, "", 1, MSG_NOSIGNAL) != 1 ||
            recv(taker->sock, &samples[i], sizeof(samples[i]), MSG_WAITALL) != sizeof(samples[i]))
            return -EIO;
    }
    return 0;
}

static void taker_stop(void *state)
{
    struct taker *taker = state;

    shutdown(taker->ends[1], SHUT_RDWR);
    pthread_join(taker->thread, NULL);
    bench_kill(taker->pid);
    munmap(taker->pages, taker->count * BENCH_PAGE);
    close(taker->sock);
    close(taker->ends[0]);
    close(taker->ends[1]);
    close(taker->fd);
    free(taker);
}

static int taker_start(struct row_run *run, size_t count)
{
    struct taker *taker = calloc(1, sizeof(*taker));

    if (!taker)
        return -ENOMEM;
    taker->count = count;
    taker->fd = memfd_create("floor", MFD_CLOEXEC);
    taker->pages = mmap(NULL, count * BENCH_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taker->fd < 0 || taker->pages == MAP_FAILED ||
        posix_fallocate(taker->fd, 0, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, taker->ends))
        return -EIO;
    taker->pid = bench_spawn(run->server_cpu, taker_serve, taker, &taker->sock);
    if (taker->pid < 0 || pthread_create(&taker->thread, NULL, taker_run, taker))
        return -EIO;
    run->floor = (struct subject){taker_measure, taker_stop, taker};
    return 0;
}

static int invalidate_start(struct row_run *run, size_t count)
{
    int ret = fault_client_start(run, FAULT_BAR_PAGES,
                                 count < FAULT_OBJECT_PAGES ? count : FAULT_OBJECT_PAGES,
                                 ours_measure_invalidate);

    if (ret)
        return ret;
    ((struct fault_client *)run->ours.state)->next = count;
    return taker_start(run, count);
}

static int invalidate_1_start(struct row_run *run)
{
    return invalidate_start(run, 1);
}

static int invalidate_512_start(struct row_run *run)
{
    return invalidate_start(run, 512);
}

static int invalidate_65536_start(struct row_run *run)
{
    return invalidate_start(run, 65536);
}

const struct row fault_invalidate_1_row = {
    .name = "fault.invalidate.1",
    .what = "umdev_region_invalidate() of a page that the client has mapped",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 200,
    .start = invalidate_1_start,
};

const struct row fault_invalidate_512_row = {
    .name = "fault.invalidate.512",
    .what = "the same of 512 pages",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 50,
    .start = invalidate_512_start,
};

const struct row fault_invalidate_65536_row = {
    .name = "fault.invalidate.65536",
    .what = "the same of 65,536 pages, 256 MiB",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 3,
    .start = invalidate_65536_start,
};
