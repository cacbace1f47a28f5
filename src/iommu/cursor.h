/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walking through client memory byte by byte, over the borders of mappings. Inside a section, and
 * in a range that was looked up as a whole.
 */
#ifndef IOMMU_CURSOR_H
#define IOMMU_CURSOR_H

#include "iommu/lookup.h"

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

/* Copies of any length from and to here; aligned ones of 1, 2, 4 and 8 bytes in one access. */
void iommu_copy_out(struct cursor from, uint8_t *to, size_t len);
void iommu_copy_in(struct cursor to, const uint8_t *from, size_t len);

#endif
