/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of a client's files may be mapped into this process, and which part of them.
 *
 * A page fault on a mapped file is served by its file system. Where that is a program or another
 * machine (FUSE, NFS), the fault can hang for as long as the other side likes, and no signal ends
 * the wait. So only file systems whose pages come from memory or a local disk are let in; overlayfs
 * is not, since it hands faults to layers that can't be seen from outside.
 */
#ifndef IOMMU_FILE_H
#define IOMMU_FILE_H

#include <umdev/types.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The file system that memfds live on. The kernel mounts it for itself and for good, so that its
 * number can be remembered where any other could be given to a new mount: one system call less a
 * mapping.
 */
struct iommu_file_rules {
    bool memfd_known;
    dev_t memfd_device;
};

/* A file, and the part of it to map: whole pages of its own size around what was asked for. */
struct iommu_file {
    dev_t device;
    ino_t inode;
    uint64_t bytes;     /* its size now */
    uint64_t page_size; /* larger than 4 KiB: mapping it reserves pages */
    bool writable;      /* opened for reading and writing */
    uint64_t offset, size;
};

void iommu_file_rules_init(struct iommu_file_rules *rules);

/*
 * Whether [offset, offset + size) of the file can be mapped for `prot`: fills in *file. EINVAL, and
 * `error` says why.
 */
int iommu_file_check(const struct iommu_file_rules *rules, int fd, uint64_t offset, uint64_t size,
                     unsigned prot, struct iommu_file *file, struct umdev_error *error);

#endif
