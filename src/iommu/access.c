/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies to and from client memory. Each looks the whole range up before the first byte
 * moves, in one table; that, or the one mapping it needs, is held until the last byte has.
 */
#include "iommu/cursor.h"

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

void iommu_copy_out(struct cursor from, uint8_t *to, size_t len)
{
    while (len > 0) {
        size_t piece = cursor_room(&from, len);

        load(to, cursor_at(&from), piece);
        cursor_advance(&from, piece);
        to += piece;
        len -= piece;
    }
}

void iommu_copy_in(struct cursor to, const uint8_t *from, size_t len)
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
            iommu_copy_out(cursor_make(&section, range.first), buf, len);
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
            struct iommu_mapping *mapping = iommu_entry_mapping(entry);

            iommu_slot_hold(section.slot, mapping, 0);
            store(iommu_entry_at(entry, range.first), buf, len);
            iommu_note_mapping(iommu, mapping, range);
        } else {
            iommu_copy_in(cursor_make(&section, range.first), buf, len);
            iommu_note_write(iommu, section.root, range);
        }
        ret = iommu_loss_check(loss);
    }
    if (!ret)
        iommu_slot_count(section.slot, 0, len);
    iommu_section_end(iommu, &section);
    return ret;
}
