/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies to, from and inside client memory. Each looks the whole range up before the first byte
 * moves, and holds the table as it is until the last one has.
 */
#include "iommu/lookup.h"
#include "iommu/private.h"

#include <string.h>

int iommu_lookup_rest(struct iommu *iommu, struct range range, unsigned prot, size_t index)
{
    const struct iommu_table_entry *entries = iommu->table.entries;
    uint64_t last = entries[index].mapping->range.last;

    /* `last` is below range.last here: no sum can wrap. */
    while (last < range.last) {
        int ret;

        index++;
        if (index == iommu->table.count || entries[index].first != last + 1)
            return -EFAULT;
        ret = iommu_lookup_check(entries[index].mapping, prot);
        if (ret)
            return ret;
        last = entries[index].mapping->range.last;
    }
    return 0;
}

/*
 * Registers and ring pointers in memory are read while the client writes them: a naturally aligned
 * one moves in one access, never in halves. The buffer of the caller may have any alignment.
 */
#define LOAD_WHOLE(type, to, from)                                                                 \
    do {                                                                                           \
        type whole_ = __atomic_load_n((const type *)(const void *)(from), __ATOMIC_RELAXED);       \
        memcpy((to), &whole_, sizeof(whole_));                                                     \
    } while (0)
#define STORE_WHOLE(type, to, from)                                                                \
    do {                                                                                           \
        type whole_;                                                                               \
        memcpy(&whole_, (from), sizeof(whole_));                                                   \
        __atomic_store_n((type *)(void *)(to), whole_, __ATOMIC_RELAXED);                          \
    } while (0)

static inline bool moves_whole(const uint8_t *at, size_t len)
{
    return len <= 8 && is_power_of_two(len) && is_aligned((uintptr_t)at, len);
}

static void load(void *to, const uint8_t *from, size_t len)
{
    if (!moves_whole(from, len))
        memcpy(to, from, len);
    else if (len == 8)
        LOAD_WHOLE(uint64_t, to, from);
    else if (len == 4)
        LOAD_WHOLE(uint32_t, to, from);
    else if (len == 2)
        LOAD_WHOLE(uint16_t, to, from);
    else
        LOAD_WHOLE(uint8_t, to, from);
}

static void store(uint8_t *to, const void *from, size_t len)
{
    if (!moves_whole(to, len))
        memcpy(to, from, len);
    else if (len == 8)
        STORE_WHOLE(uint64_t, to, from);
    else if (len == 4)
        STORE_WHOLE(uint32_t, to, from);
    else if (len == 2)
        STORE_WHOLE(uint16_t, to, from);
    else
        STORE_WHOLE(uint8_t, to, from);
}

/* Where a copy stands in client memory: an address and the index of the entry it lies in. */
struct cursor {
    const struct iommu_table_entry *entries;
    size_t index;
    uint64_t iova;
};

static inline const struct iommu_mapping *cursor_mapping(const struct cursor *cursor)
{
    return cursor->entries[cursor->index].mapping;
}

static inline uint8_t *cursor_at(const struct cursor *cursor)
{
    return iommu_mapping_at(cursor_mapping(cursor), cursor->iova);
}

/* How much of `len` lies in the same mapping from here on. */
static inline size_t cursor_room(const struct cursor *cursor, size_t len)
{
    return MIN(len, iommu_mapping_left(cursor_mapping(cursor), cursor->iova));
}

/* Forward by `len`, at most to the end of the mapping. There is a next entry where there is more.
 */
static inline void cursor_advance(struct cursor *cursor, size_t len)
{
    if (iommu_mapping_left(cursor_mapping(cursor), cursor->iova) == len)
        cursor->index++;
    cursor->iova += len;
}

/* As cursor_room(), for a copy that goes backwards and whose next byte is the one here. */
static inline size_t cursor_room_behind(const struct cursor *cursor, size_t len)
{
    return MIN(len, cursor->iova - cursor->entries[cursor->index].first + 1);
}

static inline void cursor_retreat(struct cursor *cursor, size_t len)
{
    if (cursor->iova - cursor->entries[cursor->index].first + 1 == len)
        cursor->index--;
    cursor->iova -= len;
}

static inline struct cursor cursor_make(const struct iommu *iommu, size_t index, uint64_t iova)
{
    return (struct cursor){iommu->table.entries, index, iova};
}

static void copy_out(struct cursor from, uint8_t *to, size_t len)
{
    while (len > 0) {
        size_t piece = cursor_room(&from, len);

        load(to, cursor_at(&from), piece);
        cursor_advance(&from, piece);
        to += piece;
        len -= piece;
    }
}

static void copy_in(struct cursor to, const uint8_t *from, size_t len)
{
    while (len > 0) {
        size_t piece = cursor_room(&to, len);

        store(cursor_at(&to), from, piece);
        cursor_advance(&to, piece);
        from += piece;
        len -= piece;
    }
}

int iommu_read(struct iommu *iommu, umdev_iova_t iova, void *buf, size_t len)
{
    struct range range;
    size_t index;
    int ret;

    if (len == 0)
        return 0;
    ret = range_make(iova.value, len, &range);
    if (ret)
        return ret;
    pthread_rwlock_rdlock(&iommu->lock);
    ret = iommu_lookup(iommu, range, UMDEV_READ, &index);
    if (!ret) {
        copy_out(cursor_make(iommu, index, iova.value), buf, len);
        ret = iommu_lookup_lost(iommu);
    }
    pthread_rwlock_unlock(&iommu->lock);
    if (!ret)
        iommu_count(iommu, len, 0);
    return ret;
}

int iommu_write(struct iommu *iommu, umdev_iova_t iova, const void *buf, size_t len)
{
    struct range range;
    size_t index;
    int ret;

    if (len == 0)
        return 0;
    ret = range_make(iova.value, len, &range);
    if (ret)
        return ret;
    pthread_rwlock_rdlock(&iommu->lock);
    ret = iommu_lookup(iommu, range, UMDEV_WRITE, &index);
    if (!ret) {
        copy_in(cursor_make(iommu, index, iova.value), buf, len);
        iommu_note_write(iommu, range);
        ret = iommu_lookup_lost(iommu);
    }
    pthread_rwlock_unlock(&iommu->lock);
    if (!ret)
        iommu_count(iommu, 0, len);
    return ret;
}

static void copy_forward(struct cursor to, struct cursor from, size_t len)
{
    while (len > 0) {
        size_t piece = cursor_room(&to, cursor_room(&from, len));

        memmove(cursor_at(&to), cursor_at(&from), piece);
        cursor_advance(&to, piece);
        cursor_advance(&from, piece);
        len -= piece;
    }
}

/* The same from the last bytes on, where the cursors stand. */
static void copy_backward(struct cursor to, struct cursor from, size_t len)
{
    while (len > 0) {
        size_t piece = cursor_room_behind(&to, cursor_room_behind(&from, len));

        memmove(cursor_at(&to) - (piece - 1), cursor_at(&from) - (piece - 1), piece);
        cursor_retreat(&to, piece);
        cursor_retreat(&from, piece);
        len -= piece;
    }
}

/*
 * Each mapping has addresses of its own here, so bytes are shared exactly where IOVAs are: those
 * tell which end to begin with. (A file mapped twice can't be told from two files.)
 */
static void copy_between(struct iommu *iommu, struct range to, size_t to_index, struct range from,
                         size_t from_index, size_t len)
{
    bool overwrites_ahead = range_overlaps(to, from) && to.first > from.first;

    if (overwrites_ahead) {
        /* Both last bytes are mapped: they are found. */
        iommu_table_find(&iommu->table, to.last, &to_index);
        iommu_table_find(&iommu->table, from.last, &from_index);
        copy_backward(cursor_make(iommu, to_index, to.last),
                      cursor_make(iommu, from_index, from.last), len);
    } else {
        copy_forward(cursor_make(iommu, to_index, to.first),
                     cursor_make(iommu, from_index, from.first), len);
    }
}

int iommu_copy(struct iommu *iommu, umdev_iova_t dst, umdev_iova_t src, size_t len)
{
    struct range to;
    struct range from;
    size_t to_index;
    size_t from_index;
    int ret;

    if (len == 0)
        return 0;
    if (range_make(src.value, len, &from) || range_make(dst.value, len, &to))
        return -EOVERFLOW;
    pthread_rwlock_rdlock(&iommu->lock);
    ret = iommu_lookup(iommu, from, UMDEV_READ, &from_index);
    if (!ret)
        ret = iommu_lookup(iommu, to, UMDEV_WRITE, &to_index);
    if (!ret) {
        copy_between(iommu, to, to_index, from, from_index, len);
        iommu_note_write(iommu, to);
        ret = iommu_lookup_lost(iommu);
    }
    pthread_rwlock_unlock(&iommu->lock);
    if (!ret)
        iommu_count(iommu, len, len);
    return ret;
}
