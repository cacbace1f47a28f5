/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/view.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sigbus.h"
#include "iommu/iommu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MIN_BUCKETS 16

int iommu_views_init(struct iommu_views *views)
{
    *views = (struct iommu_views){0};
    return -pthread_mutex_init(&views->lock, NULL);
}

void iommu_views_fini(struct iommu_views *views)
{
    while (views->losses) {
        struct iommu_loss *loss = views->losses;

        views->losses = loss->next;
        free(loss);
    }
    free(views->buckets);
    pthread_mutex_destroy(&views->lock);
}

/* ------------------------------------------------------------------ loss flags */

struct iommu_loss *iommu_loss_get(struct iommu_views *views)
{
    LOCK_FOR_SCOPE(&views->lock);
    struct iommu_loss *loss = views->losses;

    while (loss && loss->refs > 0)
        loss = loss->next;
    if (!loss) {
        loss = malloc(sizeof(*loss));
        if (!loss)
            return NULL;
        loss->next = views->losses;
        views->losses = loss;
    }
    loss->refs = 1;
    atomic_store(&loss->lost, false);
    return loss;
}

void iommu_loss_put(struct iommu_views *views, struct iommu_loss *loss)
{
    if (!loss)
        return;
    LOCK_FOR_SCOPE(&views->lock);
    loss->refs--;
}

/* ------------------------------------------------------------------ the table of views */

/* An exact view is found by what it shows, others by their file. */
static struct iommu_view **bucket_of(const struct iommu_views *views, dev_t device, ino_t inode,
                                     uint64_t offset)
{
    uint64_t hash = ((uint64_t)device * 31 + inode) * UINT64_C(0x9e3779b97f4a7c15) + offset;

    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    return &views->buckets[(hash >> 32) & (views->num_buckets - 1)];
}

static struct iommu_view **view_bucket(const struct iommu_views *views,
                                       const struct iommu_view *view)
{
    return bucket_of(views, view->device, view->inode, view->exact ? view->offset : 0);
}

static void views_link(const struct iommu_views *views, struct iommu_view *view)
{
    struct iommu_view **bucket = view_bucket(views, view);

    view->next = *bucket;
    *bucket = view;
}

/* Room for one more. Without memory the buckets become fuller, but for the first ones. */
static int views_grow(struct iommu_views *views)
{
    size_t old_num = views->num_buckets;
    struct iommu_view **old = views->buckets;
    struct iommu_view **buckets;

    if (views->count < old_num)
        return 0;
    buckets = calloc(old_num ? 2 * old_num : MIN_BUCKETS, sizeof(struct iommu_view *));
    if (!buckets)
        return old ? 0 : -ENOMEM;
    views->buckets = buckets;
    views->num_buckets = old_num ? 2 * old_num : MIN_BUCKETS;
    for (size_t i = 0; i < old_num; i++) {
        while (old[i]) {
            struct iommu_view *view = old[i];

            old[i] = view->next;
            views_link(views, view);
        }
    }
    free(old);
    return 0;
}

static bool view_is_of(const struct iommu_view *view, const struct iommu_file *file, bool writable,
                       const struct iommu_loss *loss)
{
    return view->device == file->device && view->inode == file->inode &&
           view->writable == writable && view->loss == loss;
}

static bool view_has(const struct iommu_view *view, const struct iommu_file *file)
{
    return view->offset <= file->offset &&
           span_fits(file->offset - view->offset, file->size, view->size);
}

/*
 * A reference to the view that has the part; NULL: there is none. *longest: the largest view of the
 * file that is not exact.
 */
static struct iommu_view *views_find(struct iommu_views *views, const struct iommu_file *file,
                                     bool writable, const struct iommu_loss *loss,
                                     uint64_t *longest)
{
    LOCK_FOR_SCOPE(&views->lock);
    struct iommu_view *view;

    *longest = 0;
    if (views->num_buckets == 0)
        return NULL;
    for (view = *bucket_of(views, file->device, file->inode, 0); view; view = view->next) {
        if (!view_is_of(view, file, writable, loss))
            continue;
        if (view_has(view, file))
            break;
        if (!view->exact)
            *longest = MAX(*longest, view->size);
    }
    if (!view) {
        view = *bucket_of(views, file->device, file->inode, file->offset);
        while (view && !(view_is_of(view, file, writable, loss) && view_has(view, file)))
            view = view->next;
    }
    if (view)
        view->refs++;
    return view;
}

static int views_add(struct iommu_views *views, struct iommu_view *view)
{
    LOCK_FOR_SCOPE(&views->lock);
    int ret = views_grow(views);

    if (ret)
        return ret;
    views_link(views, view);
    views->count++;
    views->bytes += view->size;
    view->loss->refs++;
    return 0;
}

/* Whether the reference was the last. */
static bool views_drop(struct iommu_views *views, struct iommu_view *view)
{
    LOCK_FOR_SCOPE(&views->lock);
    struct iommu_view **link;

    if (--view->refs > 0)
        return false;
    for (link = view_bucket(views, view); *link != view; link = &(*link)->next)
        ;
    *link = view->next;
    views->count--;
    return true;
}

/* ------------------------------------------------------------------ views */

/* Maps and guards what `view` says; an errno where mmap() does not. */
static int view_mmap(struct iommu_view *view, int fd, int *reason)
{
    int prot = view->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, view->size, prot, MAP_SHARED, fd, (off_t)view->offset);

    *reason = 0;
    if (base == MAP_FAILED) {
        *reason = errno;
        return -*reason;
    }
    view->base = base;
    view->guard = sigbus_guard_add(base, view->size, &view->loss->lost);
    if (view->guard < 0) {
        munmap(base, view->size);
        return view->guard;
    }
    return 0;
}

static void view_unmap(struct iommu_view *view)
{
    /* The guard first: the addresses may belong to somebody else as soon as they are free. */
    sigbus_guard_remove(view->guard);
    munmap(view->base, view->size);
}

/* The longest view that is worth making; false: only an exact one. */
static bool view_plan_whole(const struct iommu_file *file, uint64_t longest, uint64_t *size)
{
    if (file->page_size != PAGE_SIZE_4K || align_up(file->bytes, PAGE_SIZE_4K, size))
        return false;
    /* What lies behind the file's end is mapped too, and is there when the file grows on. */
    *size = MAX(*size, 2 * longest);
    return true;
}

static int view_error(int ret, int reason, bool writable, struct umdev_error *error)
{
    int value = -ret;

    if (!reason)
        return error_set(error, value, "no guard against truncation: %s", log_errno(value));
    value = reason == ENOMEM || reason == EAGAIN ? ENOMEM : EINVAL;
    if (reason == EACCES || reason == EPERM || reason == EBADF) {
        return error_set(error, value, "the file is not open for %s",
                         writable ? "reading and writing" : "reading");
    }
    return error_set(error, value, "mmap: %s", log_errno(reason));
}

/* Maps the whole file, or where that is too much the part only. */
static int view_map(struct iommu_views *views, struct iommu_view *view, int fd,
                    const struct iommu_file *file, uint64_t longest, struct umdev_error *error)
{
    uint64_t bytes;
    int reason = 0;
    int ret = -ENOMEM;

    pthread_mutex_lock(&views->lock);
    bytes = views->bytes;
    pthread_mutex_unlock(&views->lock);
    if (view_plan_whole(file, longest, &view->size) &&
        span_fits(bytes, view->size, IOMMU_MAX_FILE_BYTES))
        ret = view_mmap(view, fd, &reason);
    if (ret) {
        view->exact = true;
        view->offset = file->offset;
        view->size = file->size;
        if (!span_fits(bytes, view->size, IOMMU_MAX_FILE_BYTES)) {
            return error_set(error, ENOMEM,
                             "%" PRIu64 " bytes of files are mapped; the limit is %" PRIu64, bytes,
                             IOMMU_MAX_FILE_BYTES);
        }
        ret = view_mmap(view, fd, &reason);
    }
    return ret ? view_error(ret, reason, view->writable, error) : 0;
}

static int view_new(struct iommu_views *views, int fd, const struct iommu_file *file, bool writable,
                    struct iommu_loss *loss, uint64_t longest, struct iommu_view **view,
                    struct umdev_error *error)
{
    CLEANUP_FREE struct iommu_view *made = malloc(sizeof(*made));
    int ret;

    if (!made)
        return error_set(error, ENOMEM, "no memory");
    *made = (struct iommu_view){
        .views = views,
        .device = file->device,
        .inode = file->inode,
        .writable = writable,
        .refs = 1,
        .loss = loss,
    };
    ret = view_map(views, made, fd, file, longest, error);
    if (ret)
        return ret;
    ret = views_add(views, made);
    if (ret) {
        view_unmap(made);
        return error_set(error, -ret, "no memory");
    }
    *view = TAKE_POINTER(made);
    return 0;
}

int iommu_view_get(struct iommu_views *views, int fd, const struct iommu_file *file,
                   bool must_write, struct iommu_loss *loss, struct iommu_view **view,
                   struct umdev_error *error)
{
    bool writable = file->writable;
    uint64_t longest;
    int ret;

    for (;; writable = false) {
        *view = views_find(views, file, writable, loss, &longest);
        if (*view)
            return 0;
        ret = view_new(views, fd, file, writable, loss, longest, view, error);
        /* Sealed against writing, for example. */
        if (ret != -EINVAL || !writable || must_write)
            return ret;
    }
}

struct iommu_view *iommu_view_ref(struct iommu_view *view)
{
    pthread_mutex_lock(&view->views->lock);
    view->refs++;
    pthread_mutex_unlock(&view->views->lock);
    return view;
}

void iommu_view_put(struct iommu_view *view)
{
    struct iommu_views *views = view->views;

    if (!views_drop(views, view))
        return;
    view_unmap(view);
    pthread_mutex_lock(&views->lock);
    /* The address space is free now, not before. */
    views->bytes -= view->size;
    view->loss->refs--;
    pthread_mutex_unlock(&views->lock);
    free(view);
}
