/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of devices: creating and removing them by the thousand, and the memory of a server. */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <umdev/client.h>
#include <umdev/driver.h>
#include <umdev/host.h>

/* ------------------------------------------------------------------ create and remove */

enum { DEVICES = 1000 };

struct plain_device {
    struct umdev_regs regs;
};

static const struct umdev_reg_hook plain_hooks[] = {{.offset = 0}};
static const struct umdev_type plain_types[] = {{.name = "1"}};

static const struct umdev_driver plain_driver = {
    .struct_size = sizeof(plain_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .param_size = sizeof(struct umdev_param),
    .name = "plain",
    .types = plain_types,
    .ntypes = 1,
    .priv_size = sizeof(struct plain_device),
    .pci =
        UMDEV_PCI(.vendor = 0x1234, .device = 2, .class_code = 0xff0000,
                  .bar = {UMDEV_BAR(.size = BENCH_BAR_SIZE,
                                    .regs = UMDEV_REGS(struct plain_device, regs, plain_hooks))}),
};

struct life {
    struct umdev_host *host;
    char folder[32];
};

static void life_path(const struct life *life, unsigned n, char path[64])
{
    snprintf(path, 64, "%s/%u", life->folder, n);
}

/* A thousand devices with a socket each; the time is per device, created and removed. */
static int life_measure(void *state, double *samples, size_t n)
{
    static char uuids[DEVICES][UMDEV_UUID_STR_SIZE];
    struct life *life = state;
    char path[64];

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = 0;

        for (unsigned k = 0; !ret && k < DEVICES; k++) {
            life_path(life, k, path);
            ret = umdev_host_create(life->host, NULL, "plain-1", NULL, uuids[k], NULL);
            if (!ret)
                ret = umdev_host_listen(life->host, uuids[k], path, 0, NULL);
        }
        for (unsigned k = 0; !ret && k < DEVICES; k++)
            ret = umdev_host_remove(life->host, uuids[k]);
        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start) / DEVICES;
    }
    return 0;
}

/* A thousand listening sockets and a page of memory each. */
static int life_floor_measure(void *state, double *samples, size_t n)
{
    static int fds[DEVICES];
    static void *memory[DEVICES];
    const struct life *life = state;
    char path[64];

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (unsigned k = 0; k < DEVICES; k++) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};

            life_path(life, k, path);
            snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
            memory[k] = calloc(1, 4096);
            fds[k] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (bind(fds[k], (struct sockaddr *)&address, sizeof(address)) || listen(fds[k], 64))
                return -errno;
        }
        for (unsigned k = 0; k < DEVICES; k++) {
            life_path(life, k, path);
            unlink(path);
            close(fds[k]);
            free(memory[k]);
        }
        samples[i] = (double)(bench_now_ns() - start) / DEVICES;
    }
    return 0;
}

static void life_stop(void *state)
{
    struct life *life = state;

    umdev_host_free(life->host);
    rmdir(life->folder);
    free(life);
}

static int life_new(struct life **result)
{
    struct life *life = calloc(1, sizeof(*life));

    strcpy(life->folder, "/tmp/umdev-bench-XXXXXX");
    *result = life;
    return mkdtemp(life->folder) ? 0 : -errno;
}

static int life_start(struct row_run *run)
{
    struct life *life, *floor;
    int ret = life_new(&life);

    if (ret)
        return ret;
    run->ours = (struct subject){life_measure, life_stop, life};
    ret = umdev_host_new(NULL, &life->host);
    if (!ret)
        ret = umdev_host_add_parent_static(life->host, &plain_driver, NULL, NULL, 0, NULL);
    if (!ret)
        ret = life_new(&floor);
    if (ret)
        return ret;
    run->floor = (struct subject){life_floor_measure, life_stop, floor};
    return 0;
}

const struct row life_create_row = {
    .name = "life.create-remove.1000",
    .what = "a device with its socket, created and removed, 1,000 at once / socket, bind, listen, "
            "unlink, close, a page",
    .unit = "ns",
    .kind = ROW_NS,
    .samples = 1,
    .start = life_start,
};

/* ------------------------------------------------------------------ memory */

struct memory {
    pid_t pid;
    char socket[48];
    struct umdev_client *client;
};

static void run_umdev(int sock, void *arg)
{
    const struct memory *memory = arg;
    const char *program = getenv("UMDEV_PROGRAM");

    close(sock);
    /* Its words are not the table's. */
    if (!freopen("/dev/null", "w", stdout))
        _exit(127);
    execlp(program ? program : "umdev", "umdev", "run", "vgpu", "vgpu-1", "vram=64M", "--quiet",
           "--socket", memory->socket, (char *)NULL);
    _exit(127);
}

static int memory_measure(void *state, double *samples, size_t n)
{
    const struct memory *memory = state;
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++)
        ret = bench_status_kb(memory->pid, "VmRSS", &samples[i]);
    return ret;
}

static void memory_stop(void *state)
{
    struct memory *memory = state;

    umdev_client_close(memory->client);
    bench_kill(memory->pid);
    unlink(memory->socket);
    free(memory);
}

static int memory_start(struct row_run *run)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    struct memory *memory = calloc(1, sizeof(*memory));
    int sock, ret = -ENOENT;

    snprintf(memory->socket, sizeof(memory->socket), "/tmp/umdev-bench-%d", getpid());
    memory->pid = bench_spawn(run->server_cpu, run_umdev, memory, &sock);
    if (memory->pid < 0)
        return memory->pid;
    close(sock);
    for (int i = 0; ret && i < 200; i++) {
        nanosleep(&pause, NULL);
        ret = umdev_connect(memory->socket, NULL, &memory->client);
    }
    run->ours = (struct subject){memory_measure, memory_stop, memory};
    return ret;
}

const struct row memory_server_row = {
    .name = "memory.server",
    .what = "resident memory of `umdev run` with a client",
    .unit = "kB",
    .kind = ROW_AMOUNT,
    .samples = 1,
    .start = memory_start,
};
