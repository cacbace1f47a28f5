/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/iommu.h"

#include "base/cleanup.h"
#include "base/sigbus.h"
#include "iommu/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A client that sends nothing but bad maps does not fill the log with them. */
#define MAX_COMPLAINTS 16

static int iommu_init_locks(struct iommu *iommu)
{
    pthread_condattr_t cond_attr;
    int ret;

    pthread_condattr_init(&cond_attr);
    pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
    ret = pthread_cond_init(&iommu->drained, &cond_attr);
    if (!ret)
        ret = pthread_mutex_init(&iommu->changes, NULL);
    if (!ret)
        ret = pthread_mutex_init(&iommu->windows, NULL);
    pthread_condattr_destroy(&cond_attr);
    return -ret;
}

int iommu_new(const struct log *log, const char *name, struct iommu **iommu)
{
    CLEANUP_FREE struct iommu *made = NULL;
    int ret = sigbus_install();

    if (ret)
        return ret;
    made = calloc(1, sizeof(*made));
    if (!made)
        return -ENOMEM;
    ret = iommu_init_locks(made);
    if (!ret)
        ret = iommu_views_init(&made->views);
    if (!ret)
        ret = iommu_pins_init(&made->pins);
    if (!ret)
        ret = dirty_log_init(&made->dirty);
    if (ret)
        return ret;
    iommu_table_init(&made->table, &made->readers);
    dirty_log_on_report(&made->dirty, iommu_note_held, made);
    made->log = log;
    made->name = name;
    made->refs = 1;
    iommu_file_rules_init(&made->rules);
    *iommu = TAKE_POINTER(made);
    return 0;
}

void iommu_put(struct iommu *iommu)
{
    if (atomic_fetch_sub_explicit(&iommu->refs, 1, memory_order_acq_rel) != 1)
        return;
    iommu_table_fini(&iommu->table);
    iommu_views_fini(&iommu->views);
    iommu_readers_fini(&iommu->readers);
    dirty_log_fini(&iommu->dirty);
    pthread_mutex_destroy(&iommu->windows);
    pthread_mutex_destroy(&iommu->changes);
    pthread_cond_destroy(&iommu->drained);
    iommu_pins_fini(&iommu->pins);
    free(iommu);
}

void iommu_free(struct iommu *iommu)
{
    if (!iommu)
        return;
    iommu_unmap_all(iommu, 0);
    iommu_pins_end(iommu);
    dirty_log_stop(&iommu->dirty);
    iommu_track_leave(iommu);
    iommu_put(iommu);
}

/* ---------------------------------------------------------------------------------- mapping */

/* The client's loss flag, which its first file brings to life. */
static struct iommu_loss *iommu_get_loss(struct iommu *iommu)
{
    if (!iommu->loss)
        iommu->loss = iommu_loss_get(&iommu->views);
    return iommu->loss;
}

static int iommu_map_file(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                          unsigned prot, struct iommu_mapping **mapping, struct umdev_error *error)
{
    struct iommu_loss *loss;
    struct iommu_view *view;
    struct iommu_file file;
    int ret;

    ret = iommu_file_check(&iommu->rules, fd, offset, range_size_minus_1(range) + 1, prot, &file,
                           error);
    if (ret)
        return ret;
    loss = iommu_get_loss(iommu);
    if (!loss)
        return error_set(error, ENOMEM, "no memory");
    ret = iommu_view_get(&iommu->views, fd, &file, prot & UMDEV_WRITE, loss, &view, error);
    if (ret)
        return ret;
    ret = iommu_mapping_new_file(range, view, offset, mapping);
    if (ret)
        return error_set(error, -ret, "no memory");
    (*mapping)->has_large_pages = file.page_size != PAGE_SIZE_4K;
    return 0;
}

/* All that comes before the mapping can be put into the table, but for errors of the table itself.
 */
static int iommu_map_range(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                           unsigned prot, struct iommu_mapping **mapping, struct umdev_error *error)
{
    const struct iommu_directory *root = iommu_table_root(&iommu->table);
    int ret;

    if (iommu_table_overlaps(&iommu->table, range))
        return error_set(error, EEXIST, "overlaps another mapping");
    if (root && root->maps >= IOMMU_MAX_MAPPINGS)
        return error_set(error, ENOSPC, "there are %u mappings: no more", IOMMU_MAX_MAPPINGS);
    if (fd >= 0)
        return iommu_map_file(iommu, range, fd, offset, prot, mapping, error);
    ret = iommu_mapping_new(range, mapping);
    return ret ? error_set(error, -ret, "no memory") : 0;
}

static int iommu_map_checked(struct iommu *iommu, struct range range, int fd, uint64_t offset,
                             unsigned prot, uint64_t hva, struct umdev_error *error)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_mapping *mapping = NULL;
    struct iommu_entry entry = {.first = range.first, .last = range.last};
    int ret = iommu_map_range(iommu, range, fd, offset, prot, &mapping, error);

    if (ret)
        return ret;
    if (!mapping->has_large_pages)
        mapping->hva = hva;
    entry.bytes = mapping->bytes;
    entry.tagged = (uintptr_t)mapping | prot;
    ret = iommu_pins_begin(&iommu->pins, mapping, prot, error);
    if (ret) {
        iommu_mapping_free(mapping);
        return ret;
    }
    ret = iommu_track_map(iommu, mapping);
    if (ret)
        error_set(error, -ret, ret == -EINVAL ? "the HVA is other memory's" : "no memory");
    if (!ret && iommu_table_insert(&iommu->table, &entry, iommu->loss)) {
        iommu_track_unmap(iommu, range);
        ret = error_set(error, ENOMEM, "no memory");
    }
    if (ret) {
        mapping->next = NULL;
        iommu_pins_cut(iommu, mapping);
        iommu_mapping_free(mapping);
    }
    return ret;
}

/* A range as a client writes it; *range is set in any case. */
static int iommu_range_make(umdev_iova_t iova, uint64_t size, struct range *range,
                            struct umdev_error *error)
{
    const char *wrong = NULL;

    *range = (struct range){iova.value, iova.value};
    if (size == 0)
        wrong = "the size is 0";
    else if (!is_aligned(iova.value | size, PAGE_SIZE_4K))
        wrong = "IOVA and size must be multiples of 4096";
    else if (range_make(iova.value, size, range))
        wrong = "reaches past the end of the address space";
    return wrong ? error_set(error, EINVAL, "%s", wrong) : 0;
}

static int iommu_map_args_check(umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
                                unsigned prot, struct range *range, struct umdev_error *error)
{
    if (!iommu_prot_is_valid(prot))
        return error_set(error, EINVAL, "the protection must be read, write or both");
    if (fd >= 0 && !is_aligned(offset, PAGE_SIZE_4K))
        return error_set(error, EINVAL, "the offset must be a multiple of 4096");
    return iommu_range_make(iova, size, range, error);
}

int iommu_map(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
              unsigned prot)
{
    return iommu_map_at(iommu, iova, size, fd, offset, prot, IOMMU_NO_HVA);
}

static int iommu_hva_check(uint64_t hva, struct range iova, struct umdev_error *error)
{
    uint64_t last;

    if (hva == IOMMU_NO_HVA)
        return 0;
    if (!is_aligned(hva, PAGE_SIZE_4K) || ADD_OVERFLOW(hva, range_size_minus_1(iova), &last) ||
        last >> 63)
        return error_set(error, EINVAL, "the HVA must be whole pages below 2^63");
    return 0;
}

int iommu_map_at(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
                 unsigned prot, uint64_t hva)
{
    struct umdev_error error = {0};
    struct range range = {0};
    int ret = iommu_map_args_check(iova, size, fd, offset, prot, &range, &error);

    if (!ret)
        ret = iommu_hva_check(hva, range, &error);
    if (!ret)
        ret = iommu_map_checked(iommu, range, fd, offset, prot, hva, &error);
    if (ret) {
        bool often = atomic_fetch_add(&iommu->complaints, 1) >= MAX_COMPLAINTS;

        log_print(iommu->log, often ? UMDEV_LOG_DEBUG : UMDEV_LOG_WARNING, iommu->name,
                  "refused to map IOVA 0x%" PRIx64 ", size 0x%" PRIx64 ", %s at offset 0x%" PRIx64
                  ", protection 0x%x: %s",
                  iova.value, size, fd >= 0 ? "file" : "no file", offset, prot, error.message);
    }
    return ret;
}

/* -------------------------------------------------------------------------------- unmapping */

/* They are not pinned any more when this returns. With `changes` held. */
static void iommu_set_leaving(struct iommu *iommu, struct iommu_place place, size_t count)
{
    for (; count > 0; count--, iommu_place_next(&place))
        iommu_entry_mapping(iommu_place_entry(&place))->leaving = true;
    iommu_pins_settle(&iommu->pins);
}

int iommu_unmap_begin(struct iommu *iommu, umdev_iova_t iova, uint64_t size)
{
    struct iommu_place place;
    struct range range;
    size_t count;
    int ret = iommu_range_make(iova, size, &range, NULL);

    if (ret)
        return ret;
    LOCK_FOR_SCOPE(&iommu->changes);
    ret = iommu_table_slice(&iommu->table, range, &place, &count);
    if (!ret)
        iommu_set_leaving(iommu, place, count);
    return ret;
}

void iommu_unmap_begin_all(struct iommu *iommu)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_place place = {.root = iommu_table_root(&iommu->table)};

    if (place.root)
        iommu_set_leaving(iommu, place, place.root->maps);
}

/* Take entries out of the table, for the drain to end. With `changes` held. */
static void iommu_take(struct iommu *iommu, const struct iommu_place *begin, size_t count,
                       struct iommu_drain *drain)
{
    struct iommu_mapping **link = &drain->list;
    struct iommu_place place = *begin;

    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++, iommu_place_next(&place)) {
        struct iommu_mapping *mapping = iommu_entry_mapping(iommu_place_entry(&place));

        mapping->leaving = true;
        atomic_store_explicit(&mapping->drain, drain, memory_order_relaxed);
        iommu_track_unmap(iommu, mapping->range);
        *link = mapping;
        link = &mapping->next;
    }
    *link = NULL;
    iommu_table_remove(&iommu->table, begin, count);
}

static uint64_t iommu_mapped_bytes(const struct iommu *iommu)
{
    const struct iommu_directory *root = iommu_table_root(&iommu->table);

    return root ? root->bytes : 0;
}

static int iommu_take_range(struct iommu *iommu, struct range range, struct iommu_drain *drain,
                            uint64_t *bytes)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    uint64_t before = iommu_mapped_bytes(iommu);
    struct iommu_place begin;
    size_t count;
    int ret = iommu_table_slice(&iommu->table, range, &begin, &count);

    if (ret)
        return ret;
    iommu_take(iommu, &begin, count, drain);
    *bytes = before - iommu_mapped_bytes(iommu);
    return 0;
}

int iommu_unmap(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int timeout_ms,
                uint64_t *unmapped)
{
    struct iommu_drain drain = {.iommu = iommu};
    struct range range;
    int ret = iommu_range_make(iova, size, &range, NULL);

    *unmapped = 0;
    if (!ret)
        ret = iommu_take_range(iommu, range, &drain, unmapped);
    if (ret)
        return ret;
    iommu_pins_cut(iommu, drain.list);
    return iommu_drain(&drain, timeout_ms);
}

/* Empties the table and forgets what is known of the client. */
static struct iommu_loss *iommu_take_all(struct iommu *iommu, struct iommu_drain *drain)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_loss *loss = iommu->loss;
    struct iommu_place begin = {.root = iommu_table_root(&iommu->table)};

    if (begin.root)
        iommu_take(iommu, &begin, begin.root->maps, drain);
    iommu->loss = NULL;
    iommu->complaints = 0;
    return loss;
}

int iommu_unmap_all(struct iommu *iommu, int timeout_ms)
{
    struct iommu_drain drain = {.iommu = iommu};
    struct iommu_loss *loss = iommu_take_all(iommu, &drain);
    int ret;

    iommu_pins_cut(iommu, drain.list);
    ret = iommu_drain(&drain, timeout_ms);
    iommu_loss_put(&iommu->views, loss);
    LOCK_FOR_SCOPE(&iommu->changes);
    iommu_table_trim(&iommu->table);
    return ret;
}

/* --------------------------------------------------------------------------- protecting */

/* Whether every mapping may have the protection, and whether one loses some of its own. */
static int iommu_protect_check(struct iommu_place place, size_t count, unsigned prot, bool *narrows)
{
    *narrows = false;
    for (; count > 0; count--, iommu_place_next(&place)) {
        const struct iommu_entry *entry = iommu_place_entry(&place);
        const struct iommu_view *view = iommu_entry_mapping(entry)->view;

        if ((prot & UMDEV_WRITE) && view && !view->writable)
            return -EPERM;
        *narrows |= (iommu_entry_prot(entry) & ~prot) != 0;
    }
    return 0;
}

/* Which mappings a drain of copies is about: those of `count` entries; NULL: none. */
static void iommu_protect_mark(struct iommu_place place, size_t count, struct iommu_drain *drain)
{
    for (; count > 0; count--, iommu_place_next(&place))
        atomic_store_explicit(&iommu_entry_mapping(iommu_place_entry(&place))->drain, drain,
                              memory_order_relaxed);
}

/* Returns whether the domain is to be flushed. */
static bool iommu_protect_pins(struct iommu *iommu, struct iommu_place place, size_t count,
                               unsigned prot)
{
    bool flush = false;

    for (; count > 0; count--, iommu_place_next(&place))
        flush |= iommu_pins_protect(iommu, iommu_entry_mapping(iommu_place_entry(&place)), prot);
    return flush;
}

static int iommu_protect_entries(struct iommu *iommu, struct iommu_place begin, size_t count,
                                 unsigned prot, bool *flush)
{
    struct iommu_drain drain = {.iommu = iommu};
    bool narrows;
    int ret = iommu_protect_check(begin, count, prot, &narrows);

    if (ret)
        return ret;
    iommu_protect_mark(begin, count, &drain);
    ret = iommu_table_protect(&iommu->table, &begin, count, prot);
    if (!ret)
        *flush = iommu_protect_pins(iommu, begin, count, prot);
    if (!ret && narrows)
        iommu_drain_copies(&drain);
    /* The old directory is retired and not used again before the next change. */
    iommu_protect_mark(begin, count, NULL);
    return ret;
}

/* With `changes` held: the mappings of the range, of which there is one at least. */
static int iommu_protect_slice(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot,
                               struct iommu_place *begin, size_t *count)
{
    struct range range;
    int ret = iommu_range_make(iova, size, &range, NULL);

    if (ret || !iommu_prot_is_valid(prot))
        return -EINVAL;
    ret = iommu_table_slice(&iommu->table, range, begin, count);
    return !ret && *count == 0 ? -ENOENT : ret;
}

/* With `changes` held. */
static void iommu_set_going(struct iommu_place place, size_t count, unsigned rights)
{
    for (; count > 0; count--, iommu_place_next(&place))
        iommu_entry_mapping(iommu_place_entry(&place))->going = rights;
}

int iommu_protect_begin(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_place begin;
    size_t count;
    bool narrows;
    int ret = iommu_protect_slice(iommu, iova, size, prot, &begin, &count);

    if (!ret)
        ret = iommu_protect_check(begin, count, prot, &narrows);
    if (ret)
        return ret;
    iommu_set_going(begin, count, (unsigned)UMDEV_RW & ~prot);
    iommu_pins_settle(&iommu->pins);
    return 0;
}

static int iommu_protect_range(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot,
                               bool *flush)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_place begin;
    size_t count;
    int ret = iommu_protect_slice(iommu, iova, size, prot, &begin, &count);

    if (ret)
        return ret;
    ret = iommu_protect_entries(iommu, begin, count, prot, flush);
    iommu_set_going(begin, count, 0);
    return ret;
}

int iommu_protect(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot)
{
    bool flush = false;
    int ret = iommu_protect_range(iommu, iova, size, prot, &flush);

    if (flush)
        pins_flush(&iommu->pins);
    return ret;
}

/* ---------------------------------------------------------------------------------- queries */

/* The ranges of all mappings; NULL with a count: no memory. */
static struct range *iommu_get_ranges(struct iommu *iommu, size_t *count)
{
    LOCK_FOR_SCOPE(&iommu->changes);
    struct iommu_place place = {.root = iommu_table_root(&iommu->table)};
    const struct iommu_entry *entry;
    struct range *ranges = NULL;
    size_t at = 0;

    *count = place.root ? place.root->maps : 0;
    if (*count > 0)
        ranges = malloc(*count * sizeof(*ranges));
    for (; ranges && (entry = iommu_place_entry(&place)); iommu_place_next(&place))
        ranges[at++] = (struct range){entry->first, entry->last};
    *count = ranges ? at : *count;
    return ranges;
}

int iommu_for_each(struct iommu *iommu, void (*each)(void *opaque, struct range range),
                   void *opaque)
{
    size_t count;
    struct range *ranges = iommu_get_ranges(iommu, &count);

    if (count > 0 && !ranges)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        each(opaque, ranges[i]);
    free(ranges);
    return 0;
}

bool iommu_lost(const struct iommu *iommu)
{
    const struct iommu_loss *loss = iommu->loss;

    return loss && atomic_load_explicit(&loss->lost, memory_order_acquire);
}

static void iommu_sum_moved(const struct iommu *iommu, struct iommu_stats *stats)
{
    struct iommu_slot_block *block = iommu_block_first(&iommu->readers);

    stats->bytes_read = 0;
    stats->bytes_written = 0;
    for (; block; block = iommu_block_next(block)) {
        for (unsigned i = 0; i < IOMMU_BLOCK_SLOTS; i++) {
            const struct iommu_slot *slot = &block->slots[i];

            stats->bytes_read += atomic_load_explicit(&slot->bytes_read, memory_order_relaxed);
            stats->bytes_written +=
                atomic_load_explicit(&slot->bytes_written, memory_order_relaxed);
        }
    }
}

void iommu_get_stats(struct iommu *iommu, struct iommu_stats *stats)
{
    const struct iommu_directory *root;

    iommu_sum_moved(iommu, stats);
    LOCK_FOR_SCOPE(&iommu->changes);
    root = iommu_table_root(&iommu->table);
    stats->maps = root ? root->maps : 0;
    stats->mapped_bytes = root ? root->bytes : 0;
    /* All 2^64 bytes: one more than can be said. */
    if (stats->maps > 0 && stats->mapped_bytes == 0)
        stats->mapped_bytes = UINT64_MAX;
    stats->pinned_bytes = atomic_load_explicit(&iommu->pins.bytes, memory_order_relaxed);
}
