/* SPDX-License-Identifier: BSD-3-Clause */
/* Trapped accesses of 4 bytes, against a bare ping-pong of messages of the same sizes. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>

/* The request and the reply of a 4-byte write, headers included. */
enum {
    WRITE_REQUEST = 36,
    WRITE_REPLY = 32,
};

struct ping_pong {
    pid_t pid;
    int sock;
    size_t request, reply;
};

static void echo_serve(int sock, void *arg)
{
    const struct ping_pong *sizes = arg;
    char buf[64] = {0};

    while (recv(sock, buf, sizes->request, MSG_WAITALL) == (ssize_t)sizes->request)
        send(sock, buf, sizes->reply, MSG_NOSIGNAL);
}

static int echo_measure(void *state, double *samples, size_t n)
{
    struct ping_pong *pp = state;
    char buf[64] = {0};

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        if (send(pp->sock, buf, pp->request, MSG_NOSIGNAL) < 0 ||
            recv(pp->sock, buf, pp->reply, MSG_WAITALL) != (ssize_t)pp->reply)
            return -EIO;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void echo_stop(void *state)
{
    struct ping_pong *pp = state;

    close(pp->sock);
    bench_kill(pp->pid);
    free(pp);
}

static int read_measure(void *state, double *samples, size_t n)
{
    struct bench_server *server = state;
    uint32_t value;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = umdev_client_read32(server->client, 0, BENCH_REG_SCRATCH, &value);

        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int write_measure(void *state, double *samples, size_t n)
{
    struct bench_server *server = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = umdev_client_write32(server->client, 0, BENCH_REG_SCRATCH, (uint32_t)i);

        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void server_stop(void *state)
{
    bench_server_stop(state);
    free(state);
}

int bench_ping_pong_start(struct row_run *run, size_t request, size_t reply)
{
    struct ping_pong *pp = calloc(1, sizeof(*pp));

    if (!pp)
        return -ENOMEM;
    pp->request = request;
    pp->reply = reply;
    pp->pid = bench_spawn(run->server_cpu, echo_serve, pp, &pp->sock);
    if (pp->pid < 0) {
        free(pp);
        return -EIO;
    }
    run->floor = (struct subject){echo_measure, echo_stop, pp};
    return 0;
}

static int trap_start(struct row_run *run, size_t request, size_t reply,
                      int (*measure)(void *state, double *samples, size_t n))
{
    struct bench_server *ours = calloc(1, sizeof(*ours)), *peer;
    int ret = bench_server_start(ours, run->server_cpu, NULL);

    if (ret)
        return ret;
    run->ours = (struct subject){measure, server_stop, ours};
    ret = bench_ping_pong_start(run, request, reply);
    if (ret)
        return ret;
    if (run->options->peer) {
        peer = calloc(1, sizeof(*peer));
        ret = bench_peer_start(peer, run->server_cpu, NULL, run->options->peer);
        if (ret)
            return ret;
        run->peer = (struct subject){measure, server_stop, peer};
    }
    return 0;
}

static int trap_read4_start(struct row_run *run)
{
    return trap_start(run, BENCH_READ_REQUEST, BENCH_READ_REPLY, read_measure);
}

static int trap_write4_start(struct row_run *run)
{
    return trap_start(run, WRITE_REQUEST, WRITE_REPLY, write_measure);
}

const struct row trap_read4_row = {
    .name = "trap.read4",
    .what = "trapped 4-byte read / AF_UNIX ping-pong of the same sizes",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 2000,
    .start = trap_read4_start,
};

const struct row trap_write4_row = {
    .name = "trap.write4",
    .what = "trapped 4-byte write / AF_UNIX ping-pong of the same sizes",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 2000,
    .start = trap_write4_start,
};
