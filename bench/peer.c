/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvfio-user's server in a child process, for PEER=<the folder of a built libvfio-user>.
 *
 * Loaded at run time, so that nothing of it is needed to build: its public functions are declared
 * here as its documentation gives them. Our client library talks to it as to any server.
 */
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <umdev/client.h>

typedef ssize_t (*peer_access_fn)(void *ctx, char *buf, size_t count, long offset, bool is_write);
typedef void (*peer_dma_fn)(void *ctx, void *info);

static struct {
    void *(*create_ctx)(int trans, const char *path, int flags, void *priv, int dev_type);
    int (*pci_init)(void *ctx, int pci_type, int hdr_type, int revision);
    int (*setup_region)(void *ctx, int index, size_t size, peer_access_fn access, int flags,
                        struct iovec *areas, uint32_t nareas, int fd, uint64_t offset);
    int (*setup_device_dma)(void *ctx, size_t max_regions, peer_dma_fn add, peer_dma_fn remove);
    int (*setup_device_nr_irqs)(void *ctx, int type, uint32_t count);
    int (*realize_ctx)(void *ctx);
    int (*attach_ctx)(void *ctx);
    int (*run_ctx)(void *ctx);
    int (*irq_trigger)(void *ctx, uint32_t subindex);
} peer;

enum {
    PEER_PCI_TYPE_CONVENTIONAL = 0,
    PEER_REGION_RW_MEM = 7,
    PEER_MAX_DMA_REGIONS = 65535,
};

struct peer_arg {
    const char *path, *folder;
    struct bench_shared *shared;
};

static uint8_t peer_bar[BENCH_BAR_SIZE];

static ssize_t peer_access(void *ctx, char *buf, size_t count, long offset, bool is_write)
{
    if (offset < 0 || (size_t)offset > sizeof(peer_bar) ||
        count > sizeof(peer_bar) - (size_t)offset)
        return -1;
    memcpy(is_write ? (void *)(peer_bar + offset) : buf,
           is_write ? (void *)buf : (void *)(peer_bar + offset), count);
    if (is_write && offset == BENCH_REG_DOORBELL)
        peer.irq_trigger(ctx, 0);
    return (ssize_t)count;
}

static void peer_dma(void *ctx, void *info)
{
    (void)ctx;
    (void)info;
}

static int peer_load(const char *folder)
{
    static const char *const places[] = {"%s/lib/libvfio-user.so", "%s/build/lib/libvfio-user.so",
                                         "%s/libvfio-user.so"};
    void *library = NULL;
    char path[4096];

    for (size_t i = 0; !library && i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), places[i], folder);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (!library)
        return -ENOENT;
    *(void **)&peer.create_ctx = dlsym(library, "vfu_create_ctx");
    *(void **)&peer.pci_init = dlsym(library, "vfu_pci_init");
    *(void **)&peer.setup_region = dlsym(library, "vfu_setup_region");
    *(void **)&peer.setup_device_dma = dlsym(library, "vfu_setup_device_dma");
    *(void **)&peer.setup_device_nr_irqs = dlsym(library, "vfu_setup_device_nr_irqs");
    *(void **)&peer.realize_ctx = dlsym(library, "vfu_realize_ctx");
    *(void **)&peer.attach_ctx = dlsym(library, "vfu_attach_ctx");
    *(void **)&peer.run_ctx = dlsym(library, "vfu_run_ctx");
    *(void **)&peer.irq_trigger = dlsym(library, "vfu_irq_trigger");
    return peer.create_ctx && peer.pci_init && peer.setup_region && peer.setup_device_dma &&
                   peer.setup_device_nr_irqs && peer.realize_ctx && peer.attach_ctx &&
                   peer.run_ctx && peer.irq_trigger
               ? 0
               : -ENOEXEC;
}

static void peer_fire(void *opaque)
{
    peer.irq_trigger(opaque, 0);
}

static void *peer_run(void *ctx)
{
    if (peer.attach_ctx(ctx) == 0)
        peer.run_ctx(ctx);
    _exit(0);
}

static void peer_serve(int sock, void *opaque)
{
    struct peer_arg *arg = opaque;
    pthread_t thread;
    void *ctx;

    (void)sock;
    if (peer_load(arg->folder))
        _exit(1);
    ctx = peer.create_ctx(0, arg->path, 0, NULL, 0);
    if (!ctx || peer.pci_init(ctx, PEER_PCI_TYPE_CONVENTIONAL, 0, 0) ||
        peer.setup_region(ctx, 0, BENCH_BAR_SIZE, peer_access, PEER_REGION_RW_MEM, NULL, 0, -1,
                          0) ||
        peer.setup_device_dma(ctx, PEER_MAX_DMA_REGIONS, peer_dma, peer_dma) ||
        peer.setup_device_nr_irqs(ctx, UMDEV_IRQ_MSIX, 1) || peer.realize_ctx(ctx))
        _exit(1);
    if (arg->shared) {
        pthread_create(&thread, NULL, peer_run, ctx);
        bench_shared_loop(arg->shared, peer_fire, ctx);
    }
    peer_run(ctx);
}

int bench_peer_start(struct bench_server *server, int cpu, struct bench_shared *shared,
                     const char *folder)
{
    struct peer_arg arg = {.path = server->path, .folder = folder, .shared = shared};
    const struct timespec pause = {.tv_nsec = 10000000};
    int sock, ret = -ENOENT;

    *server = (struct bench_server){.shared = shared};
    snprintf(server->path, sizeof(server->path), "/tmp/umdev-bench-%d-%d", getpid(), cpu);
    unlink(server->path);
    server->pid = bench_spawn(cpu, peer_serve, &arg, &sock);
    if (server->pid < 0)
        return server->pid;
    close(sock);
    for (int i = 0; ret && i < 200; i++) {
        nanosleep(&pause, NULL);
        ret = umdev_connect(server->path, &bench_connect_options, &server->client);
    }
    if (ret)
        bench_kill(server->pid);
    return ret;
}
