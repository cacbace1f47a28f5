/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies to, from and inside client memory. Each looks the whole range up before the first byte
 * moves, in one table; that, or the one mapping it needs, is held until the last byte has.
 */
#include "iommu/lookup.h"
#include "iommu/private.h"

#include <string.h>

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

/* Where a copy stands in client memory. */
struct cursor {
    struct iommu_place place; /* of the entry that has `iova` */
    uint64_t iova;
};

static inline struct cursor cursor_make(const struct iommu_section *section, uint64_t iova)
{
    return (struct cursor){iommu_place_at(section->root, iova), iova};
}

static inline uint8_t *cursor_at(const struct cursor *cursor)
{
    return iommu_entry_at(iommu_place_entry(&cursor->place), cursor->iova);
}

/* How much of `len` lies in the same mapping from here on. */
static inline size_t cursor_room(const struct cursor *cursor, size_t len)
{
    return MIN(len, iommu_entry_left(iommu_place_entry(&cursor->place), cursor->iova));
}

/* Forward by `len`, at most to the end of the mapping. There is a next entry where there is more.
 */
static inline void cursor_advance(struct cursor *cursor, size_t len)
{
    if (iommu_entry_left(iommu_place_entry(&cursor->place), cursor->iova) == len)
        iommu_place_next(&cursor->place);
    cursor->iova += len;
}

/* As cursor_room(), for a copy that goes backwards and whose next byte is the one here. */
static inline size_t cursor_room_behind(const struct cursor *cursor, size_t len)
{
    return MIN(len, cursor->iova - iommu_place_entry(&cursor->place)->first + 1);
}

/* Backward, and not below the first byte of the copy. */
static inline void cursor_retreat(struct cursor *cursor, size_t len, bool is_last)
{
    if (!is_last && cursor->iova - iommu_place_entry(&cursor->place)->first + 1 == len)
        iommu_place_previous(&cursor->place);
    cursor->iova -= len;
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
    const struct iommu_entry *entry;
    struct iommu_section section;
    struct range range;
    int ret;

    if (len == 0)
        return 0;
    ret = range_make(iova.value, len, &range);
    if (!ret)
        ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    ret = iommu_section_range(&section, range, UMDEV_READ, &entry);
    if (!ret) {
        const struct iommu_loss *loss = section.root->loss;

        if (range.last <= entry->last) {
            iommu_slot_hold(section.slot, iommu_entry_mapping(entry), 0);
            load(buf, iommu_entry_at(entry, range.first), len);
        } else {
            copy_out(cursor_make(&section, range.first), buf, len);
        }
        ret = iommu_loss_check(loss);
    }
    if (!ret)
        iommu_slot_count(section.slot, len, 0);
    iommu_section_end(iommu, &section);
    return ret;
}

int iommu_write(struct iommu *iommu, umdev_iova_t iova, const void *buf, size_t len)
{
    const struct iommu_entry *entry;
    struct iommu_section section;
    struct range range;
    int ret;

    if (len == 0)
        return 0;
    ret = range_make(iova.value, len, &range);
    if (!ret)
        ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    ret = iommu_section_range(&section, range, UMDEV_WRITE, &entry);
    if (!ret) {
        const struct iommu_loss *loss = section.root->loss;

        if (range.last <= entry->last) {
            iommu_slot_hold(section.slot, iommu_entry_mapping(entry), 0);
            store(iommu_entry_at(entry, range.first), buf, len);
        } else {
            copy_in(cursor_make(&section, range.first), buf, len);
        }
        iommu_note_write(iommu, range);
        ret = iommu_loss_check(loss);
    }
    if (!ret)
        iommu_slot_count(section.slot, 0, len);
    iommu_section_end(iommu, &section);
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
        len -= piece;
        cursor_retreat(&to, piece, len == 0);
        cursor_retreat(&from, piece, len == 0);
    }
}

static void copy_between(const struct iommu_section *section, struct range to, struct range from,
                         size_t len)
{
    if (range_overlaps(to, from) && to.first > from.first)
        copy_backward(cursor_make(section, to.last), cursor_make(section, from.last), len);
    else
        copy_forward(cursor_make(section, to.first), cursor_make(section, from.first), len);
}

int iommu_copy(struct iommu *iommu, umdev_iova_t dst, umdev_iova_t src, size_t len)
{
    const struct iommu_entry *entry;
    struct iommu_section section;
    struct range to;
    struct range from;
    int ret;

    if (len == 0)
        return 0;
    if (range_make(src.value, len, &from) || range_make(dst.value, len, &to))
        return -EOVERFLOW;
    ret = iommu_section_begin(iommu, &section);
    if (ret)
        return ret;
    ret = iommu_section_range(&section, from, UMDEV_READ, &entry);
    if (!ret)
        ret = iommu_section_range(&section, to, UMDEV_WRITE, &entry);
    if (!ret) {
        copy_between(&section, to, from, len);
        iommu_note_write(iommu, to);
        ret = iommu_loss_check(section.root->loss);
    }
    if (!ret)
        iommu_slot_count(section.slot, len, len);
    iommu_section_end(iommu, &section);
    return ret;
}
