/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP with an fd and DMA_UNMAP, against recvmsg + mmap + munmap + close behind the same
 * messages. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umdev/client.h>

/* Sizes of the messages: map and its reply, unmap and its reply. */
enum {
    MAP_REQUEST = 48,
    MAP_REPLY = 16,
    UNMAP_REQUEST = 40,
    UNMAP_REPLY = 40,
    MAP_SIZE = 1 << 20,
};

struct dma_ours {
    struct bench_server server;
    int memfd;
};

struct dma_floor {
    pid_t pid;
    int sock, memfd;
};

union fd_control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void floor_serve(int sock, void *arg)
{
    char buf[64] = {0};

    (void)arg;
    for (;;) {
        union fd_control control;
        struct iovec iov = {.iov_base = buf, .iov_len = MAP_REQUEST};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        struct cmsghdr *header;
        void *address;
        int fd;

        if (recvmsg(sock, &message, MSG_CMSG_CLOEXEC) != MAP_REQUEST)
            return;
        header = CMSG_FIRSTHDR(&message);
        if (!header)
            return;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        address = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        send(sock, buf, MAP_REPLY, MSG_NOSIGNAL);
        if (recv(sock, buf, UNMAP_REQUEST, 0) != UNMAP_REQUEST)
            return;
        munmap(address, MAP_SIZE);
        close(fd);
        send(sock, buf, UNMAP_REPLY, MSG_NOSIGNAL);
    }
}

static int floor_pair(const struct dma_floor *floor)
{
    union fd_control control = {0};
    char buf[64] = {0};
    struct iovec iov = {.iov_base = buf, .iov_len = MAP_REQUEST};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &floor->memfd, sizeof(int));
    if (sendmsg(floor->sock, &message, MSG_NOSIGNAL) != MAP_REQUEST ||
        recv(floor->sock, buf, MAP_REPLY, 0) != MAP_REPLY ||
        send(floor->sock, buf, UNMAP_REQUEST, MSG_NOSIGNAL) != UNMAP_REQUEST ||
        recv(floor->sock, buf, UNMAP_REPLY, 0) != UNMAP_REPLY)
        return -EIO;
    return 0;
}

static int floor_measure(void *state, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = floor_pair(state);

        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void floor_stop(void *state)
{
    struct dma_floor *floor = state;

    close(floor->sock);
    close(floor->memfd);
    bench_kill(floor->pid);
    free(floor);
}

static int ours_measure(void *state, double *samples, size_t n)
{
    struct dma_ours *ours = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = umdev_client_dma_map(ours->server.client, ours->memfd, 0, umdev_iova(1 << 20),
                                       MAP_SIZE, UMDEV_RW);

        if (!ret)
            ret = umdev_client_dma_unmap(ours->server.client, umdev_iova(1 << 20), MAP_SIZE);
        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void ours_stop(void *state)
{
    struct dma_ours *ours = state;

    bench_server_stop(&ours->server);
    close(ours->memfd);
    free(ours);
}

static int make_memory(void)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);

    return ftruncate(fd, MAP_SIZE) ? -1 : fd;
}

static int dma_start(struct row_run *run)
{
    struct dma_ours *ours = calloc(1, sizeof(*ours)), *peer;
    struct dma_floor *floor = calloc(1, sizeof(*floor));
    int ret = bench_server_start(&ours->server, run->server_cpu, NULL);

    if (ret)
        return ret;
    ours->memfd = make_memory();
    run->ours = (struct subject){ours_measure, ours_stop, ours};
    floor->memfd = make_memory();
    floor->pid = bench_spawn(run->server_cpu, floor_serve, NULL, &floor->sock);
    if (floor->pid < 0)
        return floor->pid;
    run->floor = (struct subject){floor_measure, floor_stop, floor};
    if (run->options->peer) {
        peer = calloc(1, sizeof(*peer));
        ret = bench_peer_start(&peer->server, run->server_cpu, NULL, run->options->peer);
        if (ret)
            return ret;
        peer->memfd = make_memory();
        run->peer = (struct subject){ours_measure, ours_stop, peer};
    }
    return 0;
}

const struct row dma_map_unmap_row = {
    .name = "dma.map-unmap.fd",
    .what = "DMA_MAP + DMA_UNMAP of 1 MiB with an fd / recvmsg + mmap + munmap + close",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = dma_start,
};
