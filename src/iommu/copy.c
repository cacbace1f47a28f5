/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies inside client memory, as by memmove(): the result is that of reading all of the source
 * first and writing the target then, from its first byte to its last.
 *
 * Bytes are shared where IOVAs are, and where two IOVAs lead to one page of a file. So a copy is a
 * list of pieces, each inside one mapping on both sides, and what matters is where these lie in
 * their files. From the first piece on or from the last one on: either may be right, or neither, as
 * when two pages change places. Then the bytes go by way of a buffer.
 */
#include "base/cleanup.h"
#include "iommu/cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So many pieces are compared with each other; of more, the borders of the whole. */
#define MAX_PIECES 32
/* What a buffer may take. Larger copies with many pieces are right where only IOVAs overlap. */
#define MAX_BUFFER ((size_t)64 << 20)

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

/* A part of a file. */
struct extent {
    const struct iommu_view *view;
    struct range range;
};

struct piece {
    struct extent to, from;
};

static struct extent extent_at(const struct cursor *cursor, size_t len)
{
    const struct iommu_view *view = iommu_entry_mapping(iommu_place_entry(&cursor->place))->view;
    uint64_t offset = iommu_view_offset(view, cursor_at(cursor));

    return (struct extent){view, {offset, offset + len - 1}};
}

static bool extents_overlap(const struct extent *a, const struct extent *b)
{
    return range_overlaps(a->range, b->range) && a->view->device == b->view->device &&
           a->view->inode == b->view->inode;
}

enum order { FORWARD, BACKWARD, BUFFERED };

/* For few pieces: each that is written, against all that are read after it. */
static enum order order_of_pieces(const struct piece *pieces, size_t count)
{
    bool forward = true;
    bool backward = true;

    for (size_t i = 0; i < count; i++) {
        const struct piece *piece = &pieces[i];

        /* memmove() sees what is shared only where the addresses are. */
        if (piece->to.view != piece->from.view && extents_overlap(&piece->to, &piece->from))
            return BUFFERED;
        for (size_t k = 0; k < i; k++) {
            forward &= !extents_overlap(&pieces[k].to, &piece->from);
            backward &= !extents_overlap(&pieces[k].from, &piece->to) &&
                        !extents_overlap(&pieces[k].to, &piece->to);
        }
    }
    if (forward)
        return FORWARD;
    return backward ? BACKWARD : BUFFERED;
}

static void widen(struct range *range, struct range with)
{
    range->first = MIN(range->first, with.first);
    range->last = MAX(range->last, with.last);
}

static enum order order_of_copy(const struct iommu_section *section, struct range to,
                                struct range from, size_t len)
{
    struct cursor to_cursor = cursor_make(section, to.first);
    struct cursor from_cursor = cursor_make(section, from.first);
    struct range written = {UINT64_MAX, 0};
    struct range read = {UINT64_MAX, 0};
    struct piece pieces[MAX_PIECES];
    size_t count = 0;

    for (size_t left = len; left > 0; count++) {
        size_t size = cursor_room(&to_cursor, cursor_room(&from_cursor, left));
        struct piece piece = {extent_at(&to_cursor, size), extent_at(&from_cursor, size)};

        widen(&written, piece.to.range);
        widen(&read, piece.from.range);
        if (count < MAX_PIECES)
            pieces[count] = piece;
        cursor_advance(&to_cursor, size);
        cursor_advance(&from_cursor, size);
        left -= size;
    }
    if (!range_overlaps(written, read))
        return FORWARD;
    if (count <= MAX_PIECES)
        return order_of_pieces(pieces, count);
    if (len <= MAX_BUFFER)
        return BUFFERED;
    return range_overlaps(to, from) && to.first > from.first ? BACKWARD : FORWARD;
}

static int copy_buffered(const struct iommu_section *section, struct range to, struct range from,
                         size_t len)
{
    CLEANUP_FREE void *buffer = malloc(len);

    if (!buffer)
        return -ENOMEM;
    iommu_copy_out(cursor_make(section, from.first), buffer, len);
    iommu_copy_in(cursor_make(section, to.first), buffer, len);
    return 0;
}

static int copy_between(const struct iommu_section *section, struct range to, struct range from,
                        size_t len)
{
    switch (order_of_copy(section, to, from, len)) {
    case FORWARD:
        copy_forward(cursor_make(section, to.first), cursor_make(section, from.first), len);
        return 0;
    case BACKWARD:
        copy_backward(cursor_make(section, to.last), cursor_make(section, from.last), len);
        return 0;
    default:
        return copy_buffered(section, to, from, len);
    }
}

/* Both sides in one mapping each: where memmove() sees all that is shared, nothing is looked at. */
static bool copy_is_simple(const struct iommu_entry *to, const struct iommu_entry *from,
                           struct range to_range, struct range from_range)
{
    return to_range.last <= to->last && from_range.last <= from->last &&
           iommu_entry_mapping(to)->view == iommu_entry_mapping(from)->view;
}

static int copy_checked(const struct iommu_section *section, struct range to, struct range from,
                        size_t len)
{
    struct iommu_entry source;
    const struct iommu_entry *entry;
    int ret = iommu_section_range(section, from, UMDEV_READ, &entry);

    if (ret)
        return ret;
    source = *entry;
    ret = iommu_section_range(section, to, UMDEV_WRITE, &entry);
    if (ret)
        return ret;
    if (!copy_is_simple(entry, &source, to, from))
        return copy_between(section, to, from, len);
    memmove(iommu_entry_at(entry, to.first), iommu_entry_at(&source, from.first), len);
    return 0;
}

int iommu_copy(struct iommu *iommu, umdev_iova_t dst, umdev_iova_t src, size_t len)
{
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
    ret = copy_checked(&section, to, from, len);
    if (!ret) {
        iommu_note_write(iommu, section.root, to);
        ret = iommu_loss_check(section.root->loss);
    }
    if (!ret)
        iommu_slot_count(section.slot, len, len);
    iommu_section_end(iommu, &section);
    return ret;
}
