/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault-mapped regions that are their own memory object.
 *
 * The floor is the shortest way there is: another process reads the client's userfaultfd and lets
 * the kernel map the page of the file that is there already.
 */
#include "fault.h"

#include "base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <umdev/client.h>

struct raw {
    pid_t pid;
    int sock, uffd, fd;
    uint8_t *pages;
    size_t next;
};

static int give_fd(int sock, int fd)
{
    char byte = 0;

    return fdpass_send(sock, &(struct iovec){&byte, 1}, 1, &fd, 1);
}

static void raw_serve(int sock, void *arg)
{
    struct pollfd fds[] = {{.events = POLLIN}, {.fd = sock, .events = POLLIN}};
    struct fd_array given;
    char byte;
    int uffd;

    (void)arg;
    fd_array_init(&given);
    if (fdpass_recv(sock, &byte, 1, &given) != 1 || given.count != 1)
        _exit(1);
    fds[0].fd = uffd = given.fds[0];
    while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
        struct uffd_msg message;
        struct uffdio_continue request = {.range.len = BENCH_PAGE};

        if (read(uffd, &message, sizeof(message)) != sizeof(message))
            continue;
        request.range.start = message.arg.pagefault.address & ~(BENCH_PAGE - 1);
        ioctl(uffd, UFFDIO_CONTINUE, &request);
    }
}

static int raw_measure(void *state, double *samples, size_t n)
{
    struct raw *raw = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start;

        if (raw->next == FAULT_OBJECT_PAGES) {
            madvise(raw->pages, FAULT_OBJECT_PAGES * BENCH_PAGE, MADV_DONTNEED);
            raw->next = 0;
        }
        start = bench_now_ns();
        fault_touch(raw->pages + raw->next++ * BENCH_PAGE, 1, 1);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static void raw_stop(void *state)
{
    struct raw *raw = state;

    munmap(raw->pages, FAULT_OBJECT_PAGES * BENCH_PAGE);
    bench_kill(raw->pid);
    close(raw->sock);
    close(raw->uffd);
    close(raw->fd);
    free(raw);
}

static int raw_open(struct raw *raw)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM};
    struct uffdio_register request = {.mode = UFFDIO_REGISTER_MODE_MISSING |
                                              UFFDIO_REGISTER_MODE_MINOR};

    raw->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    raw->fd = memfd_create("floor", MFD_CLOEXEC);
    if (raw->uffd < 0 || raw->fd < 0 || ioctl(raw->uffd, UFFDIO_API, &api) ||
        ftruncate(raw->fd, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)) ||
        posix_fallocate(raw->fd, 0, (off_t)(FAULT_OBJECT_PAGES * BENCH_PAGE)))
        return -EIO;
    raw->pages =
        mmap(NULL, FAULT_OBJECT_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, raw->fd, 0);
    if (raw->pages == MAP_FAILED)
        return -errno;
    request.range.start = (size_t)raw->pages;
    request.range.len = FAULT_OBJECT_PAGES * BENCH_PAGE;
    return ioctl(raw->uffd, UFFDIO_REGISTER, &request) ? -errno : give_fd(raw->sock, raw->uffd);
}

static int raw_start(struct row_run *run)
{
    struct raw *raw = calloc(1, sizeof(*raw));

    if (!raw)
        return -ENOMEM;
    raw->pid = bench_spawn(run->server_cpu, raw_serve, NULL, &raw->sock);
    if (raw->pid < 0 || raw_open(raw)) {
        bench_kill(raw->pid);
        free(raw);
        return -EIO;
    }
    run->floor = (struct subject){raw_measure, raw_stop, raw};
    return 0;
}

/* ------------------------------------------------------------------ ours */

static int measure(struct fault_client *ours, size_t pages, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        int ret = 0;

        if (ours->next == pages) {
            ours->next = 0;
            ret = umdev_client_write32(ours->client, FAULT_BAR_REGS, FAULT_REG_INVALIDATE,
                                       (uint32_t)pages);
        }
        if (ret)
            return ret;
        start = bench_now_ns();
        fault_touch(ours->view + ours->next++ * BENCH_PAGE, 1, 1);
        samples[i] = (double)(bench_now_ns() - start);
    }
    return 0;
}

static int short_measure(void *state, double *samples, size_t n)
{
    return measure(state, FAULT_OBJECT_PAGES, samples, n);
}

static int ordinary_measure(void *state, double *samples, size_t n)
{
    return measure(state, FAULT_REGION_PAGES, samples, n);
}

static int short_start(struct row_run *run)
{
    int ret = fault_client_start(run, FAULT_BAR_IDENTITY, 1, short_measure);

    return ret ? ret : raw_start(run);
}

static int ordinary_start(struct row_run *run)
{
    int ret = fault_client_start(run, FAULT_BAR_PAGES, 1, ordinary_measure);

    return ret ? ret : raw_start(run);
}

const struct row fault_identity_touch_row = {
    .name = "fault.identity.first-touch",
    .what = "first touch of a page of a region that is its own object, the short way",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = short_start,
};

const struct row fault_identity_ordinary_row = {
    .name = "fault.identity.ordinary",
    .what = "the same the ordinary way, over the fault channel",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 1000,
    .start = ordinary_start,
};
