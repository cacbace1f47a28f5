/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/file.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* Those that linux/magic.h does not have. */
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#define ZFS_SUPER_MAGIC      0x2fc12fc1

static bool file_system_is_local(uint32_t magic)
{
    switch (magic) {
    case TMPFS_MAGIC:
    case HUGETLBFS_MAGIC:
    case RAMFS_MAGIC:
    case EXT4_SUPER_MAGIC: /* ext2 and ext3 too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case BCACHEFS_SUPER_MAGIC:
    case ZFS_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

void iommu_file_rules_init(struct iommu_file_rules *rules)
{
    CLEANUP_FD int fd = memfd_create("umdev", MFD_CLOEXEC);
    struct stat status;

    /* Without it every file takes the long way. */
    rules->memfd_known = fd >= 0 && fstat(fd, &status) == 0;
    if (rules->memfd_known)
        rules->memfd_device = status.st_dev;
}

/* The page size that the file can be mapped in. */
static int file_page_size(const struct iommu_file_rules *rules, int fd, dev_t device,
                          uint64_t *page_size, struct umdev_error *error)
{
    struct statfs status;
    uint32_t magic;

    *page_size = PAGE_SIZE_4K;
    if (rules->memfd_known && device == rules->memfd_device)
        return 0;
    if (fstatfs(fd, &status))
        return error_set(error, EINVAL, "can't tell the file system: %s", log_errno(errno));
    magic = (uint32_t)status.f_type;
    if (!file_system_is_local(magic)) {
        return error_set(error, EINVAL,
                         "the file is on a file system of type 0x%" PRIx32
                         ", where a page fault can hang; memfd, tmpfs or hugetlbfs would be right",
                         magic);
    }
    if (magic == HUGETLBFS_MAGIC)
        *page_size = (uint64_t)status.f_bsize;
    return 0;
}

/* No processor maps memory write-only, and the kernel wants a readable file for any mapping. */
static int file_check_access(int fd, unsigned prot, bool *writable, struct umdev_error *error)
{
    int flags = fcntl(fd, F_GETFL);
    bool readable = flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY;

    *writable = readable && (flags & O_ACCMODE) == O_RDWR;
    if (prot & UMDEV_WRITE ? *writable : readable)
        return 0;
    return error_set(error, EINVAL, "the file is not open for %s",
                     prot & UMDEV_WRITE ? "reading and writing" : "reading");
}

int iommu_file_check(const struct iommu_file_rules *rules, int fd, uint64_t offset, uint64_t size,
                     unsigned prot, struct iommu_file *file, struct umdev_error *error)
{
    struct stat status;
    int ret;

    if (fstat(fd, &status))
        return error_set(error, EINVAL, "fd: %s", log_errno(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, EINVAL, "not a regular file");
    if (!span_fits(offset, size, (uint64_t)status.st_size)) {
        return error_set(error, EINVAL, "the file has %" PRIu64 " bytes: too short",
                         (uint64_t)status.st_size);
    }
    ret = file_page_size(rules, fd, status.st_dev, &file->page_size, error);
    if (!ret)
        ret = file_check_access(fd, prot, &file->writable, error);
    if (ret)
        return ret;
    file->device = status.st_dev;
    file->inode = status.st_ino;
    file->bytes = (uint64_t)status.st_size;
    file->offset = align_down(offset, file->page_size);
    /* The sum can't overflow: it is a page more than the file's size, a positive off_t, at most. */
    file->size = align_down(offset + size + file->page_size - 1, file->page_size) - file->offset;
    return 0;
}
