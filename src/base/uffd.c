/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/uffd.h"

#include "base/cleanup.h"
#include "base/fdlink.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define DEVICE "/dev/userfaultfd"

/* Moved memory stays registered; write protection, also of shared memory. */
#define NEEDED                                                                                     \
    (UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* The system call may be for the privileged, and the device for a group. */
static int open_any(int flags)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | flags);
    int cause = errno;

    if (fd < 0 && (cause == EPERM || cause == ENOSYS)) {
        CLEANUP_FD int device = open(DEVICE, O_RDWR | O_CLOEXEC);

        if (device >= 0)
            fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | flags);
    }
    return fd < 0 ? -cause : fd;
}

/* With those features: an fd or −errno. *offered: all that the kernel has. */
static int open_with(int flags, __u64 features, __u64 *offered)
{
    CLEANUP_FD int fd = open_any(flags);
    struct uffdio_api api = {.api = UFFD_API, .features = features};

    if (fd < 0)
        return fd;
    if (ioctl(fd, UFFDIO_API, &api))
        return errno == EINVAL ? -EOPNOTSUPP : -errno;
    *offered = api.features;
    return take_fd(&fd);
}

int uffd_open(int *result, bool *can_poison)
{
    __u64 offered = 0;
    int fd = open_with(0, NEEDED, &offered);

    if (fd < 0)
        return fd;
    *can_poison = offered & UFFD_FEATURE_POISON;
    *result = fd;
    return 0;
}

/* Protection also of what is not there yet. */
#define NEEDED_TO_TRACK                                                                            \
    (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED)

int uffd_open_tracking(bool sync, int *result)
{
    __u64 features = NEEDED_TO_TRACK | (sync ? 0 : UFFD_FEATURE_WP_ASYNC);
    int fd = open_with(sync ? O_NONBLOCK : 0, features, &(__u64){0});

    if (fd < 0)
        return fd;
    *result = fd;
    return 0;
}

static struct uffdio_range range_of(void *addr, size_t len)
{
    return (struct uffdio_range){.start = (uintptr_t)addr, .len = len};
}

static int do_register(int fd, void *addr, size_t len, __u64 mode, __u64 *ioctls)
{
    struct uffdio_register request = {.range = range_of(addr, len), .mode = mode};

    if (ioctl(fd, UFFDIO_REGISTER, &request))
        return -errno;
    *ioctls = request.ioctls;
    return 0;
}

int uffd_register_missing(int fd, void *addr, size_t len)
{
    return do_register(fd, addr, len, UFFDIO_REGISTER_MODE_MISSING, &(__u64){0});
}

int uffd_register_wp(int fd, void *addr, size_t len)
{
    return do_register(fd, addr, len, UFFDIO_REGISTER_MODE_WP, &(__u64){0});
}

int uffd_write_protect(int fd, void *addr, size_t len)
{
    struct uffdio_writeprotect request = {
        .range = range_of(addr, len),
        .mode = UFFDIO_WRITEPROTECT_MODE_WP,
    };

    return ioctl(fd, UFFDIO_WRITEPROTECT, &request) ? -errno : 0;
}

void uffd_wake(int fd, void *addr, size_t len)
{
    struct uffdio_range request = range_of(addr, len);

    ioctl(fd, UFFDIO_WAKE, &request);
}

void uffd_wake_page(int fd, uint64_t address)
{
    struct uffdio_range request = {
        .start = align_down(address, PAGE_SIZE_4K),
        .len = PAGE_SIZE_4K,
    };

    ioctl(fd, UFFDIO_WAKE, &request);
}

int uffd_poison(int fd, void *addr, size_t len)
{
    struct uffdio_poison request = {.range = range_of(addr, len)};

    return ioctl(fd, UFFDIO_POISON, &request) ? -errno : 0;
}

int uffd_zero(int fd, void *addr, size_t len)
{
    struct uffdio_zeropage request = {.range = range_of(addr, len)};

    return ioctl(fd, UFFDIO_ZEROPAGE, &request) ? -errno : 0;
}

int uffd_read(int fd, struct uffd_msg *messages, size_t n)
{
    ssize_t got = read(fd, messages, n * sizeof(*messages));

    return got < 0 ? -errno : (int)((size_t)got / sizeof(*messages));
}

/* ------------------------------------------------------------------ for another process to serve
 */

int uffd_open_shared(int *result)
{
    const __u64 features = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON;
    CLEANUP_FD int fd = open_with(O_NONBLOCK, features, &(__u64){0});
    struct uffd_msg message;

    if (fd < 0)
        return fd;
    if (uffd_read_now(fd, &message, 1) != -EAGAIN)
        return -EOPNOTSUPP;
    *result = take_fd(&fd);
    return 0;
}

int uffd_register_shared(int fd, void *addr, size_t len)
{
    const __u64 needed = UINT64_C(1) << _IOC_NR(UFFDIO_CONTINUE) | UINT64_C(1)
                                                                       << _IOC_NR(UFFDIO_POISON);
    __u64 ioctls = 0;
    int ret = do_register(fd, addr, len, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
                          &ioctls);

    return ret ? ret : (ioctls & needed) == needed ? 0 : -EOPNOTSUPP;
}

bool uffd_is(int fd)
{
    char link[FD_LINK_MAX];

    return fd_link(fd, link) == 0 && strcmp(link, "anon_inode:[userfaultfd]") == 0;
}

int uffd_read_now(int fd, struct uffd_msg *messages, size_t n)
{
    struct iovec iov = {messages, n * sizeof(*messages)};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

    return got < 0 ? -errno : (int)((size_t)got / sizeof(*messages));
}

int uffd_continue(int fd, uint64_t address, uint64_t len, uint64_t *done)
{
    struct uffdio_continue request = {.range = {.start = address, .len = len}};
    int ret = ioctl(fd, UFFDIO_CONTINUE, &request) ? -errno : 0;

    *done = request.mapped > 0 ? (uint64_t)request.mapped : 0;
    return *done ? 0 : ret;
}

int uffd_poison_page(int fd, uint64_t address)
{
    struct uffdio_poison request = {.range = {.start = address, .len = PAGE_SIZE_4K}};

    return ioctl(fd, UFFDIO_POISON, &request) ? -errno : 0;
}
