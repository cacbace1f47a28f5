/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/mapping.h"

#include "base/log.h"
#include "base/sigbus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct iommu_loss *iommu_loss_new(void)
{
    struct iommu_loss *loss = malloc(sizeof(*loss));

    if (!loss)
        return NULL;
    atomic_init(&loss->refs, 1);
    atomic_init(&loss->lost, false);
    return loss;
}

void iommu_loss_put(struct iommu_loss *loss)
{
    if (loss && atomic_fetch_sub_explicit(&loss->refs, 1, memory_order_acq_rel) == 1)
        free(loss);
}

int iommu_mapping_new(struct range range, unsigned prot, struct iommu_mapping **mapping)
{
    struct iommu_mapping *made = malloc(sizeof(*made));

    if (!made)
        return -ENOMEM;
    *made = (struct iommu_mapping){.range = range, .prot = prot, .refs = 1};
    *mapping = made;
    return 0;
}

/* Maps and guards the memory. What failed has left nothing. */
static int mapping_add_memory(struct iommu_mapping *mapping, int fd,
                              const struct iommu_file_span *span, struct iommu_loss *loss,
                              struct umdev_error *error)
{
    /* No processor maps memory write-only, and the kernel wants a readable file for any mapping. */
    int prot = mapping->prot & UMDEV_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, span->size, prot, MAP_SHARED, fd, (off_t)span->offset);
    int guard;

    if (base == MAP_FAILED) {
        int reason = errno;
        int ret = reason == ENOMEM || reason == EAGAIN ? ENOMEM : EINVAL;

        if (reason == EACCES || reason == EPERM || reason == EBADF) {
            return error_set(error, ret, "the file is not open for %s",
                             mapping->prot & UMDEV_WRITE ? "reading and writing" : "reading");
        }
        return error_set(error, ret, "mmap: %s", log_errno(reason));
    }
    guard = sigbus_guard_add(base, span->size, &loss->lost);
    if (guard < 0) {
        munmap(base, span->size);
        return error_set(error, -guard, "no guard against truncation: %s", log_errno(-guard));
    }
    mapping->base = base;
    mapping->size = span->size;
    mapping->guard = guard;
    mapping->bytes = (uint8_t *)base + span->skip;
    atomic_fetch_add_explicit(&loss->refs, 1, memory_order_relaxed);
    mapping->loss = loss;
    return 0;
}

int iommu_mapping_new_file(struct range range, unsigned prot, int fd,
                           const struct iommu_file_span *span, struct iommu_loss *loss,
                           struct iommu_mapping **mapping, struct umdev_error *error)
{
    struct iommu_mapping *made;
    int ret = iommu_mapping_new(range, prot, &made);

    if (ret)
        return error_set(error, -ret, "no memory");
    ret = mapping_add_memory(made, fd, span, loss, error);
    if (ret) {
        free(made);
        return ret;
    }
    *mapping = made;
    return 0;
}

void iommu_mapping_free(struct iommu_mapping *mapping)
{
    if (mapping->bytes) {
        /* The guard first: the addresses may belong to somebody else as soon as they are free. */
        sigbus_guard_remove(mapping->guard);
        munmap(mapping->base, mapping->size);
        iommu_loss_put(mapping->loss);
    }
    free(mapping);
}
