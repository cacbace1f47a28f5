/* SPDX-License-Identifier: BSD-3-Clause */
#include "track/uffd.h"

#include "base/fdlink.h"
#include "base/uffd.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Kernel headers of before 6.7 have none of this. */
#ifndef PAGEMAP_SCAN
struct pm_scan_arg {
    uint64_t size, flags;
    uint64_t start, end, walk_end;
    uint64_t vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN          _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN       (1 << 1)
#define PM_SCAN_WP_MATCHING   (1 << 0)
#define PM_SCAN_CHECK_WPASYNC (1 << 1)
#endif

int track_uffd_check(int fd, dev_t *device, ino_t *inode)
{
    struct stat st;

    if (!uffd_is(fd) || fstat(fd, &st))
        return -EINVAL;
    *device = st.st_dev;
    *inode = st.st_ino;
    return 0;
}

int track_pagemap_check(int fd)
{
    char link[FD_LINK_MAX];
    const char *name;
    struct statfs fs;

    if (fstatfs(fd, &fs) || fs.f_type != PROC_SUPER_MAGIC || fd_link(fd, link))
        return -EINVAL;
    name = strrchr(link, '/');
    return name && strcmp(name, "/pagemap") == 0 ? 0 : -EINVAL;
}

int track_uffd_protect(int uffd, struct range bytes, bool protect)
{
    struct uffdio_writeprotect request = {
        .range = {.start = bytes.first, .len = bytes.last - bytes.first + 1},
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };

    return ioctl(uffd, UFFDIO_WRITEPROTECT, &request) ? -errno : 0;
}

int track_pagemap_take(int pagemap, struct range bytes, struct track_written *written, size_t n,
                       uint64_t *end)
{
    struct pm_scan_arg request = {
        .size = sizeof(request),
        .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        .start = bytes.first,
        .end = bytes.last + 1,
        .vec = (uintptr_t)written,
        .vec_len = n,
        .category_mask = PAGE_IS_WRITTEN,
        .return_mask = PAGE_IS_WRITTEN,
    };
    int ret = ioctl(pagemap, PAGEMAP_SCAN, &request);

    if (ret < 0)
        return -errno;
    *end = request.walk_end;
    return ret;
}

int track_uffd_take(int uffd, uint64_t *address)
{
    struct uffd_msg message;
    int n = uffd_read_now(uffd, &message, 1);

    if (n <= 0)
        return n < 0 ? n : -ENODEV;
    /* An event of a fork comes with an fd. */
    if (message.event == UFFD_EVENT_FORK)
        close((int)message.arg.fork.ufd);
    if (message.event != UFFD_EVENT_PAGEFAULT ||
        !(message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP))
        return 0;
    *address = align_down(message.arg.pagefault.address, PAGE_SIZE_4K);
    return 1;
}
