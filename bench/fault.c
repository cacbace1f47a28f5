/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <umdev/client.h>
#include <umdev/driver.h>
#include <umdev/host.h>

/* ------------------------------------------------------------------ the server */

struct faulting {
    struct umdev_regs regs;
    struct umdev_mem *mem;
};

static void invalidate_write(struct umdev_device *dev, uint64_t value)
{
    struct faulting *f = umdev_device_priv(dev);
    uint64_t start = bench_now_ns();

    umdev_region_invalidate(dev, FAULT_BAR_PAGES, 0, value * BENCH_PAGE - 1);
    if (value <= FAULT_OBJECT_PAGES)
        umdev_region_invalidate(dev, FAULT_BAR_IDENTITY, 0, value * BENCH_PAGE - 1);
    umdev_regs_set32(&f->regs, FAULT_REG_NS, (uint32_t)(bench_now_ns() - start));
}

static int faulting_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                                unsigned access, struct umdev_map *map)
{
    struct faulting *f = umdev_device_priv(dev);
    uint64_t len = umdev_regs_get32(&f->regs, FAULT_REG_EXTENT) * BENCH_PAGE,
             first = offset & ~(len - 1);

    (void)access;
    if (region == FAULT_BAR_IDENTITY) {
        map->mem_offset = map->first = first;
        map->last = first + len - 1;
        return 0;
    }
    *map = (struct umdev_map){
        .mem = f->mem,
        .mem_offset = first % (FAULT_OBJECT_PAGES * BENCH_PAGE),
        .first = first,
        .last = first + len - 1,
        .prot = UMDEV_RW,
    };
    return 0;
}

static int faulting_create(struct umdev_device *dev)
{
    struct faulting *f = umdev_device_priv(dev);
    int ret = umdev_mem_create(dev, "pages", FAULT_OBJECT_PAGES * BENCH_PAGE, &f->mem);

    if (!ret) /* the pages are there: what is measured is the mapping of them */
        for (size_t i = 0; i < FAULT_OBJECT_PAGES; i++)
            *((volatile char *)umdev_mem_ptr(f->mem) + i * BENCH_PAGE) = 1;
    return ret ? ret : umdev_region_set_mem(dev, FAULT_BAR_IDENTITY, f->mem, 0, NULL, 0);
}

static const struct umdev_reg_hook faulting_hooks[] = {
    {.offset = FAULT_REG_EXTENT, .reset_value = 1},
    {.offset = FAULT_REG_INVALIDATE, .write = invalidate_write},
};
static const struct umdev_type faulting_types[] = {{.name = "1"}};

/* Not UMDEV_DRIVER(): the program has one by that way already. */
static const struct umdev_driver faulting_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .name = "benchfault",
    .types = faulting_types,
    .ntypes = 1,
    .priv_size = sizeof(struct faulting),
    .create = faulting_create,
    .map_request = faulting_map_request,
    .pci = UMDEV_PCI(.vendor = 0x1234, .device = 2, .class_code = 0xff0000,
                     .bar = {UMDEV_BAR(.size = BENCH_PAGE,
                                       .regs = UMDEV_REGS(struct faulting, regs, faulting_hooks)),
                             NULL,
                             UMDEV_BAR(.size = FAULT_REGION_PAGES * BENCH_PAGE,
                                       .flags = UMDEV_BAR_FAULT),
                             NULL,
                             UMDEV_BAR(.size = FAULT_OBJECT_PAGES * BENCH_PAGE,
                                       .flags = UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY)}),
};

static void faulting_serve(int sock, void *arg)
{
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];

    (void)arg;
    if (umdev_host_new(NULL, &host) ||
        umdev_host_add_parent_static(host, &faulting_driver, NULL, NULL, 0, NULL) ||
        umdev_host_create(host, NULL, "benchfault-1", NULL, uuid, NULL) ||
        umdev_host_serve_fd(host, uuid, sock))
        _exit(1);
    pause();
}

/* ------------------------------------------------------------------ the client */

static void ours_stop(void *state)
{
    struct fault_client *ours = state;

    umdev_client_close(ours->client);
    bench_kill(ours->pid);
    free(ours);
}

static int client_start(struct row_run *run, unsigned bar, size_t extent, bool trapped,
                        int (*measure)(void *state, double *samples, size_t n))
{
    struct umdev_connect_options options = bench_connect_options;
    struct fault_client *ours = calloc(1, sizeof(*ours));
    int sock, ret;

    if (!ours)
        return -ENOMEM;
    options.max_fault_maps = FAULT_SCATTERED + 1;
    options.no_fault = trapped;
    ours->extent = extent;
    ours->pid = bench_spawn(run->server_cpu, faulting_serve, NULL, &sock);
    if (ours->pid < 0) {
        free(ours);
        return -EIO;
    }
    run->ours = (struct subject){measure, ours_stop, ours};
    ret = umdev_connect_fd(sock, &options, &ours->client);
    if (!ret)
        ret =
            umdev_client_write32(ours->client, FAULT_BAR_REGS, FAULT_REG_EXTENT, (uint32_t)extent);
    if (ret || trapped)
        return ret;
    ours->view = umdev_client_map_region(
        ours->client, bar, 0,
        (bar == FAULT_BAR_PAGES ? FAULT_REGION_PAGES : FAULT_OBJECT_PAGES) * BENCH_PAGE);
    return ours->view ? 0 : -errno;
}

int fault_client_empty(void *state)
{
    struct fault_client *ours = state;

    ours->next = 0;
    return umdev_client_write32(ours->client, FAULT_BAR_REGS, FAULT_REG_INVALIDATE,
                                FAULT_REGION_PAGES);
}

int fault_client_start(struct row_run *run, unsigned bar, size_t extent,
                       int (*measure)(void *state, double *samples, size_t n))
{
    return client_start(run, bar, extent, false, measure);
}

int fault_client_start_trapped(struct row_run *run,
                               int (*measure)(void *state, double *samples, size_t n))
{
    return client_start(run, FAULT_BAR_PAGES, 1, true, measure);
}
