/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void raw_serve(int sock, void *arg)
{
    char packet[FAULT_PACKET];

    (void)arg;
    while (recv(sock, packet, sizeof(packet), MSG_WAITALL) == sizeof(packet))
        send(sock, packet, sizeof(packet), MSG_NOSIGNAL);
}

/* The whole of the mechanism. Ends when the socket does. */
static void *raw_run(void *opaque)
{
    struct fault_raw *raw = opaque;
    struct uffd_msg message;
    char packet[FAULT_PACKET] = {0};

    while (read(raw->uffd, &message, sizeof(message)) == sizeof(message)) {
        size_t len = raw->extent * BENCH_PAGE;
        size_t offset = (size_t)message.arg.pagefault.address - (size_t)raw->pages;
        size_t first = offset & ~(len - 1);
        struct uffdio_range range = {.start = (size_t)raw->pages + first, .len = len};

        if (send(raw->sock, packet, sizeof(packet), MSG_NOSIGNAL) != sizeof(packet) ||
            recv(raw->sock, packet, sizeof(packet), MSG_WAITALL) != sizeof(packet))
            break;
        if (mmap(raw->pages + first, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, raw->fd,
                 (off_t)(first % (FAULT_OBJECT_PAGES * BENCH_PAGE))) == MAP_FAILED)
            break;
        ioctl(raw->uffd, UFFDIO_WAKE, &range);
    }
    return NULL;
}

int fault_raw_empty(void *state)
{
    struct fault_raw *raw = state;
    struct uffdio_register request = {.mode = UFFDIO_REGISTER_MODE_MISSING};

    raw->next = 0;
    raw->pages =
        mmap(raw->pages, FAULT_REGION_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (raw->pages ? MAP_FIXED : 0), -1, 0);
    request.range.start = (size_t)raw->pages;
    request.range.len = FAULT_REGION_PAGES * BENCH_PAGE;
    return ioctl(raw->uffd, UFFDIO_REGISTER, &request) ? -errno : 0;
}

static void raw_stop(void *state)
{
    struct fault_raw *raw = state;

    pthread_cancel(raw->thread);
    pthread_join(raw->thread, NULL);
    munmap(raw->pages, FAULT_REGION_PAGES * BENCH_PAGE);
    bench_kill(raw->pid);
    close(raw->sock);
    close(raw->uffd);
    close(raw->fd);
    free(raw);
}

static int raw_open(struct fault_raw *raw)
{
    struct uffdio_api api = {.api = UFFD_API};

    raw->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    raw->fd = memfd_create("floor", MFD_CLOEXEC);
    if (raw->uffd < 0 || raw->fd < 0 || ioctl(raw->uffd, UFFDIO_API, &api) ||
        ftruncate(raw->fd, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)) ||
        posix_fallocate(raw->fd, 0, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)))
        return -EIO;
    return fault_raw_empty(raw);
}

int fault_raw_start(struct row_run *run, size_t extent,
                    int (*measure)(void *state, double *samples, size_t n))
{
    struct fault_raw *raw = calloc(1, sizeof(*raw));

    if (!raw)
        return -ENOMEM;
    raw->extent = extent;
    raw->pid = bench_spawn(run->server_cpu, raw_serve, NULL, &raw->sock);
    if (raw->pid < 0 || raw_open(raw) || pthread_create(&raw->thread, NULL, raw_run, raw)) {
        bench_kill(raw->pid);
        free(raw);
        return -EIO;
    }
    run->floor = (struct subject){measure, raw_stop, raw};
    return 0;
}
