/* SPDX-License-Identifier: BSD-3-Clause */
/* What one more device costs a process: its resident memory with 64, less that with none. */
#include "bench.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>
#include <umdev/host.h>

enum { DEVICES = 64 };

struct fleet {
    pid_t pid;
    int sock; /* to the process: a byte each way when it is ready for what comes next */
    double empty_kb;
    int ends[DEVICES]; /* the process's ends of the clients' sockets */
    struct umdev_client *clients[DEVICES];
};

static bool say(int sock)
{
    return send(sock, "", 1, MSG_NOSIGNAL) == 1;
}

static bool hear(int sock)
{
    char byte;

    return recv(sock, &byte, 1, 0) == 1;
}

static void fleet_serve(int sock, void *arg)
{
    const struct fleet *fleet = arg;
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];

    /* Or the devices would move into memory that the parent has used and freed. */
    malloc_trim(0);
    if (bench_host_new(&host) || !say(sock) || !hear(sock))
        _exit(1);
    for (unsigned i = 0; i < DEVICES; i++)
        if (umdev_host_create(host, NULL, "bench-1", NULL, uuid, NULL) ||
            umdev_host_serve_fd(host, uuid, fleet->ends[i]))
            _exit(1);
    pause();
}

/* A client as a VM's: it has asked what there is, listens to an interrupt and uses a register. */
static int client_start(struct umdev_client *client)
{
    struct umdev_region_info info;
    uint32_t value;
    int ret = umdev_client_get_region(client, 0, &info);

    if (!ret && umdev_client_irq_eventfd(client, UMDEV_IRQ_MSIX, 0) < 0)
        ret = -EIO;
    if (!ret)
        ret = umdev_client_write32(client, 0, BENCH_REG_DOORBELL, 1);
    return ret ? ret : umdev_client_read32(client, 0, BENCH_REG_SCRATCH, &value);
}

static int fleet_measure(void *state, double *samples, size_t n)
{
    const struct fleet *fleet = state;

    for (size_t i = 0; i < n; i++) {
        double kb = 0;
        int ret = bench_status_kb(fleet->pid, "VmRSS", &kb);

        if (ret)
            return ret;
        samples[i] = (kb - fleet->empty_kb) / DEVICES;
    }
    return 0;
}

static void fleet_stop(void *state)
{
    struct fleet *fleet = state;

    for (unsigned i = 0; i < DEVICES; i++)
        umdev_client_close(fleet->clients[i]);
    close(fleet->sock);
    bench_kill(fleet->pid);
    free(fleet);
}

static int fleet_connect(struct fleet *fleet, const int ours[DEVICES])
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < DEVICES; i++) {
        ret = umdev_connect_fd(ours[i], NULL, &fleet->clients[i]);
        if (!ret)
            ret = client_start(fleet->clients[i]);
    }
    return ret;
}

static int fleet_start(struct row_run *run)
{
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    int ours[DEVICES], ret;

    if (!fleet)
        return -ENOMEM;
    for (unsigned i = 0; i < DEVICES; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
            return -errno;
        ours[i] = pair[0];
        fleet->ends[i] = pair[1];
    }
    fleet->pid = bench_spawn(run->server_cpu, fleet_serve, fleet, &fleet->sock);
    if (fleet->pid < 0)
        return fleet->pid;
    for (unsigned i = 0; i < DEVICES; i++)
        close(fleet->ends[i]);
    run->ours = (struct subject){fleet_measure, fleet_stop, fleet};
    if (!hear(fleet->sock))
        return -EIO;
    ret = bench_status_kb(fleet->pid, "VmRSS", &fleet->empty_kb);
    if (!ret && !say(fleet->sock))
        ret = -EIO;
    return ret ? ret : fleet_connect(fleet, ours);
}

const struct row memory_device_row = {
    .name = "memory.device",
    .what = "resident memory of a device with a client, in a process that has 64",
    .unit = "kB",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = fleet_start,
};
