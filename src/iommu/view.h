/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client files in this process: a view is one mmap() with one SIGBUS guard, shared by the mappings.
 *
 * Data model. A view shows a range of one file, known by its device and inode numbers (which stay
 * its own while it is mapped), either for reading or for both. It is made for the whole file, so
 * that all mappings of the file share it: a process has room for some 65,000 views, and a client
 * for as many mappings. Two IOVAs of one page then have one address here. A file that has grown
 * gets another view, twice as long as the last at least, so that a client which grows its file page
 * by page has a few. Views are exact, of what one mapping needs, where a whole one would take
 * something: huge pages, which are reserved by mmap(), or the rest of the address space limit.
 *
 * A view ends with its last mapping. It has the loss flag of the client that it was made for, and
 * is found by mappings of that client only: the next client has another flag.
 *
 * The loss flag is one for all views of a client: a client that took memory away once is not to
 * be trusted again, and one flag tells it without a search. It is counted, since windows can keep a
 * view of the last client alive while the next one has a flag of its own. Flags without references
 * are used again, and freed with the iommu: whoever reads one that is not its own any more reads an
 * old answer, nothing worse.
 *
 * Locks. `lock` guards everything but the flag's value; it is held for look-ups, never while a file
 * is mapped. Views are made by one thread at a time (the iommu's `changes`) and dropped by any.
 */
#ifndef IOMMU_VIEW_H
#define IOMMU_VIEW_H

#include "iommu/file.h"

#include <pthread.h>
#include <stdatomic.h>

struct iommu_loss {
    atomic_bool lost;
    unsigned refs;
    struct iommu_loss *next;
};

struct iommu_view {
    struct iommu_views *views;
    struct iommu_view *next; /* in its bucket */
    dev_t device;
    ino_t inode;
    bool writable, exact;
    uint64_t offset, size; /* of the file; whole pages of it */
    uint8_t *base;
    int guard;
    unsigned refs;
    struct iommu_loss *loss;
};

struct iommu_views {
    pthread_mutex_t lock;
    struct iommu_view **buckets;
    size_t num_buckets, count;
    uint64_t bytes; /* of address space */
    struct iommu_loss *losses;
};

int iommu_views_init(struct iommu_views *views);
/* No view is left. */
void iommu_views_fini(struct iommu_views *views);

/* One reference, nothing lost. NULL: no memory. */
struct iommu_loss *iommu_loss_get(struct iommu_views *views);
/* NULL does nothing. */
void iommu_loss_put(struct iommu_views *views, struct iommu_loss *loss);

/*
 * A reference to a view with the file's part, for writing if `file` is so: where the file can't be
 * mapped for writing and the caller does not need that, one for reading. EINVAL: the file does not
 * allow the access. ENOMEM: no memory, address space or mappings left.
 */
int iommu_view_get(struct iommu_views *views, int fd, const struct iommu_file *file,
                   bool must_write, struct iommu_loss *loss, struct iommu_view **view,
                   struct umdev_error *error);
/* One more reference, for who has one. */
struct iommu_view *iommu_view_ref(struct iommu_view *view);
void iommu_view_put(struct iommu_view *view);

/* The address of the file's byte at `offset`, which the view has. */
static inline uint8_t *iommu_view_at(const struct iommu_view *view, uint64_t offset)
{
    return view->base + (offset - view->offset);
}

/* And back: where in the file a byte of the view is. */
static inline uint64_t iommu_view_offset(const struct iommu_view *view, const uint8_t *at)
{
    return view->offset + (uint64_t)(at - view->base);
}

#endif
