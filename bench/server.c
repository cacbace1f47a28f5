/* SPDX-License-Identifier: BSD-3-Clause */
/* Our servers in a child process: a host with one device, a small one or a vgpu. */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <umdev/client.h>
#include <umdev/driver.h>
#include <umdev/host.h>

struct bench_device {
    struct umdev_regs regs;
};

/* The device of this process, for the thread that fires interrupts. */
static struct umdev_device *the_device;

static int bench_create(struct umdev_device *dev)
{
    the_device = dev;
    return 0;
}

static void bench_doorbell(struct umdev_device *dev, uint64_t value)
{
    (void)value;
    umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, 0);
}

static const struct umdev_reg_hook bench_hooks[] = {
    {.offset = BENCH_REG_DOORBELL, .write = bench_doorbell, .flags = UMDEV_DOORBELL},
};

static const struct umdev_type bench_types[] = {{.name = "1"}};

UMDEV_DRIVER(bench, .types = bench_types, .ntypes = 1, .priv_size = sizeof(struct bench_device),
             .create = bench_create,
             .pci = UMDEV_PCI(.vendor = 0x1234, .device = 1, .class_code = 0xff0000,
                              .msix = {.vectors = 1, .bar = 1},
                              .bar = {UMDEV_BAR(.size = BENCH_BAR_SIZE,
                                                .regs = UMDEV_REGS(struct bench_device, regs,
                                                                   bench_hooks))}));

static void bench_fire(void *opaque)
{
    (void)opaque;
    umdev_irq_trigger(the_device, UMDEV_IRQ_MSIX, 0);
}

int bench_host_new(struct umdev_host **host)
{
    int ret = umdev_host_new(NULL, host);

    return ret ? ret
               : umdev_host_add_parent_static(*host, &umdev_driver_bench, NULL, NULL, 0, NULL);
}

static void bench_serve(int sock, void *arg)
{
    struct bench_shared *shared = arg;
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];

    if (bench_host_new(&host) || umdev_host_create(host, NULL, "bench-1", NULL, uuid, NULL) ||
        umdev_host_serve_fd(host, uuid, sock))
        _exit(1);
    if (shared)
        bench_shared_loop(shared, bench_fire, NULL);
    pause();
}

const struct umdev_connect_options bench_connect_options = {
    .struct_size = sizeof(bench_connect_options),
    .timeout_ms = -1,
};

int bench_server_start(struct bench_server *server, int cpu, struct bench_shared *shared)
{
    int sock, ret;

    *server = (struct bench_server){.shared = shared};
    server->pid = bench_spawn(cpu, bench_serve, shared, &sock);
    if (server->pid < 0)
        return server->pid;
    ret = umdev_connect_fd(sock, &bench_connect_options, &server->client);
    if (ret)
        bench_kill(server->pid);
    return ret;
}

void bench_server_stop(struct bench_server *server)
{
    umdev_client_close(server->client);
    bench_kill(server->pid);
    if (server->path[0])
        unlink(server->path);
}

/* ------------------------------------------------------------------ a vgpu */

void bench_vgpu_serve(int sock, void *vram)
{
    const char *const params[] = {vram};
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];

    if (umdev_host_new(NULL, &host) || umdev_host_add_parent(host, "vgpu", NULL, params, 1, NULL) ||
        umdev_host_create(host, NULL, "vgpu-8", NULL, uuid, NULL) ||
        umdev_host_serve_fd(host, uuid, sock))
        _exit(1);
    pause();
}
