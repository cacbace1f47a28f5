/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies where in the views: the tree of maps, and the system calls that change it.
 */
#include "base/uffd.h"
#include "client/fault.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PROT_RW (PROT_READ | PROT_WRITE)

/* ------------------------------------------------------------------ the tree */

/* Ranges that overlap are equal: among those in the tree none does. */
static int compare(const void *a, const void *b)
{
    const struct fault_map *x = a, *y = b;

    if (x->range.last < y->range.first)
        return -1;
    return x->range.first > y->range.last;
}

/* A map that has a byte of the range, or NULL. */
static struct fault_map *find(const struct client_fault *fault, struct range range)
{
    struct fault_map key = {.range = range};
    struct fault_map **node = tfind(&key, &fault->maps, compare);

    return node ? *node : NULL;
}

static int insert(struct client_fault *fault, const struct fault_map *values,
                  struct fault_map *older)
{
    struct fault_map *map = malloc(sizeof(*map));

    if (!map)
        return -ENOMEM;
    *map = *values;
    if (!tsearch(map, &fault->maps, compare)) {
        free(map);
        return -ENOMEM;
    }
    if (older)
        TAILQ_INSERT_AFTER(&fault->ages, older, map, by_age);
    else
        TAILQ_INSERT_TAIL(&fault->ages, map, by_age);
    fault->stats.maps++;
    return 0;
}

static void drop(struct client_fault *fault, struct fault_map *map)
{
    tdelete(map, &fault->maps, compare);
    TAILQ_REMOVE(&fault->ages, map, by_age);
    fault->stats.maps--;
    free(map);
}

/* Cut a map in two around the hole inside it. */
static int split(struct client_fault *fault, struct fault_map *map, struct range hole)
{
    struct fault_map right = *map;
    uint64_t last = map->range.last;
    int ret;

    right.range.first = hole.last + 1;
    right.offset += right.range.first - map->range.first;
    map->range.last = hole.first - 1;
    ret = insert(fault, &right, map);
    if (ret)
        map->range.last = last;
    return ret;
}

/*
 * Take the range out of the tree. *hull, which the caller sets to be empty, is made to include what
 * was there. It can be more than the range: a map that must be cut in two, and for whose other half
 * there is no memory, goes as a whole.
 */
static void cut(struct client_fault *fault, struct range range, struct range *hull)
{
    struct fault_map *map;

    while ((map = find(fault, range))) {
        struct range gone = {MAX(map->range.first, range.first), MIN(map->range.last, range.last)};

        if (map->range.first < gone.first && map->range.last > gone.last) {
            if (split(fault, map, gone)) {
                gone = map->range;
                drop(fault, map);
            }
        } else if (map->range.first < gone.first) {
            map->range.last = gone.first - 1;
        } else if (map->range.last > gone.last) {
            map->offset += gone.last + 1 - map->range.first;
            map->range.first = gone.last + 1;
        } else {
            drop(fault, map);
        }
        hull->first = MIN(hull->first, gone.first);
        hull->last = MAX(hull->last, gone.last);
    }
}

/* Whether the kernel makes one mapping of the two. */
static bool continues(const struct fault_map *left, const struct fault_map *right)
{
    return left->view == right->view && left->kind == right->kind &&
           left->object == right->object && left->range.last + 1 == right->range.first &&
           left->offset + (right->range.first - left->range.first) == right->offset;
}

/* Put a map where there is none, as a part of its neighbours if it continues them. */
static int add(struct client_fault *fault, const struct fault_map *values)
{
    uint64_t before = values->range.first - 1, after = values->range.last + 1;
    struct fault_map *left = find(fault, (struct range){before, before});
    struct fault_map *right = find(fault, (struct range){after, after});

    if (right && !continues(values, right))
        right = NULL;
    if (left && continues(left, values)) {
        uint64_t last = right ? right->range.last : values->range.last;

        /* First it leaves the tree: then nothing in there overlaps. */
        if (right)
            drop(fault, right);
        left->range.last = last;
        right = left;
    } else if (right) {
        right->range.first = values->range.first;
        right->offset = values->offset;
    }
    if (!right)
        return insert(fault, values, NULL);
    /* It is as young as its youngest part. */
    TAILQ_REMOVE(&fault->ages, right, by_age);
    TAILQ_INSERT_TAIL(&fault->ages, right, by_age);
    return 0;
}

/* ------------------------------------------------------------------ system calls */

static void *pointer(uint64_t address)
{
    return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): of a view */
}

static size_t length(struct range range)
{
    return (size_t)range_size_minus_1(range) + 1;
}

static int lay_blank(const struct client_fault *fault, struct range range)
{
    if (range.first > range.last)
        return 0;
    return mremap(fault->blank, length(range), length(range),
                  MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                  pointer(range.first)) == MAP_FAILED
               ? -errno
               : 0;
}

static int lay_file(struct range range, int prot, int fd, uint64_t offset)
{
    void *addr =
        mmap(pointer(range.first), length(range), prot, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

    if (addr == MAP_FAILED)
        return -errno;
    return madvise(addr, length(range), MADV_DONTFORK) ? -errno : 0;
}

/* Made elsewhere and moved when it is protected, or a write could slip in. */
static int lay_readonly(const struct client_fault *fault, struct range range, int fd,
                        uint64_t offset)
{
    size_t len = length(range);
    void *aside = mmap(NULL, len, PROT_RW, MAP_SHARED, fd, (off_t)offset);
    int ret;

    if (aside == MAP_FAILED)
        return -errno;
    ret = madvise(aside, len, MADV_DONTFORK) ? -errno : 0;
    if (!ret)
        ret = uffd_register_wp(fault->uffd, aside, len);
    if (!ret)
        ret = uffd_write_protect(fault->uffd, aside, len);
    if (!ret &&
        mremap(aside, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(range.first)) == MAP_FAILED)
        ret = -errno;
    if (ret)
        munmap(aside, len);
    return ret;
}

static int lay(const struct client_fault *fault, const struct fault_map *map, int fd)
{
    if (map->kind == FAULT_READONLY)
        return lay_readonly(fault, map->range, fd, map->offset);
    return lay_file(map->range, map->kind == FAULT_SEALED ? PROT_READ : PROT_RW, fd, map->offset);
}

void fault_view_wake(const struct client_fault *fault, const struct fault_view *view,
                     struct range range)
{
    range = fault_addresses(view, range);
    uffd_wake(view->uffd >= 0 ? view->uffd : fault->uffd, pointer(range.first), length(range));
}

/* ------------------------------------------------------------------ operations */

/*
 * Blank what lies in a range of addresses, or a little more. −ENOTRECOVERABLE: it lies there still,
 * and nobody knows of it any more.
 */
static int blank(struct client_fault *fault, struct range range)
{
    struct range hull = {UINT64_MAX, 0};

    cut(fault, range, &hull);
    return lay_blank(fault, hull) ? -ENOTRECOVERABLE : 0;
}

/* As many maps as there may be: the oldest go. The newest is not among them. */
static int evict(struct client_fault *fault)
{
    int ret = 0;

    while (!ret && fault->stats.maps > fault->max_maps) {
        fault->stats.evicted++;
        ret = blank(fault, TAILQ_FIRST(&fault->ages)->range);
    }
    return ret;
}

static int put(struct client_fault *fault, const struct fault_map *map, int fd)
{
    struct range hull = {UINT64_MAX, 0};
    int ret = 0;

    cut(fault, map->range, &hull);
    if (hull.first < map->range.first || (hull.first <= hull.last && hull.last > map->range.last))
        ret = lay_blank(fault, hull);
    if (!ret)
        ret = add(fault, map);
    if (!ret)
        ret = lay(fault, map, fd);
    if (ret) {
        /* What was there, if anything was, is not in the tree any more. */
        cut(fault, map->range, &(struct range){UINT64_MAX, 0});
        if (lay_blank(fault, map->range) && hull.first <= hull.last)
            return -ENOTRECOVERABLE;
        return ret;
    }
    uffd_wake(fault->uffd, pointer(map->range.first), length(map->range));
    return evict(fault);
}

int fault_map_object(struct client_fault *fault, struct fault_view *view, struct range range,
                     const struct fault_object *object, uint64_t offset, enum fault_kind kind)
{
    struct fault_map map = {
        .range = fault_addresses(view, range),
        .view = view,
        .kind = kind,
        .object = object->id,
        .offset = offset,
    };

    return put(fault, &map, object->fd);
}

int fault_map_refuse(struct client_fault *fault, struct fault_view *view, uint64_t page)
{
    struct range range = {page, page + PAGE_SIZE_4K - 1};
    struct fault_map map = {
        .range = fault_addresses(view, range),
        .view = view,
        .kind = FAULT_REFUSED,
        .offset = page,
    };

    /* Poison is better than a file without pages: KVM may try these in the background for ever. */
    if (fault->can_poison) {
        int ret = find(fault, map.range) ? blank(fault, map.range) : 0;

        if (ret)
            return ret;
        ret = uffd_poison(fault->uffd, pointer(map.range.first), PAGE_SIZE_4K);
        if (ret == 0 || ret == -EEXIST) {
            view->poisoned = true;
            uffd_wake(fault->uffd, pointer(map.range.first), PAGE_SIZE_4K);
            return 0;
        }
    }
    return put(fault, &map, fault->nowhere);
}

int fault_map_blank(struct client_fault *fault, struct fault_view *view, struct range range)
{
    struct range addresses = fault_addresses(view, range);
    int ret;

    if (view->uffd >= 0)
        return fault_identity_blank(view, range);
    ret = blank(fault, addresses);
    /* No page of an object is there any more: this takes away poison alone. */
    if (!ret && view->poisoned &&
        madvise(pointer(addresses.first), length(addresses), MADV_DONTNEED))
        ret = -errno;
    return ret;
}

void fault_map_forget(struct client_fault *fault, struct fault_view *view)
{
    struct range hull = {UINT64_MAX, 0};

    cut(fault, fault_addresses(view, view->range), &hull);
}

bool fault_map_has(const struct client_fault *fault, const struct fault_view *view, uint64_t page,
                   unsigned access, uint64_t *last)
{
    struct range range = {page, page};
    struct fault_map *map = find(fault, fault_addresses(view, range));

    if (!map || map->kind == FAULT_REFUSED ||
        (map->kind != FAULT_WRITABLE && (access & WIRE_FAULT_PROT_WRITE)))
        return false;
    *last = view->range.first + (map->range.last - (uintptr_t)view->addr);
    return true;
}
