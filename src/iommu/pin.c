/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning and unpinning for a driver: all pages of a range, or none.
 */
#include "iommu/pin.h"

#include "iommu/lookup.h"
#include "iommu/private.h"

#include <errno.h>
#include <string.h>

/*
 * How a range is looked up: in a section of readers, or, where there is no memory for one, under
 * `changes`. Begun before the pins' lock is taken.
 */
struct walk {
    struct iommu *iommu;
    struct iommu_section section; /* slot NULL: `changes` is held */
};

/* The part of a range that lies in one mapping. */
struct piece {
    struct iommu_mapping *mapping;
    uint64_t page; /* of the mapping */
    size_t count;
};

/* The piece that begins at `iova`. False: nothing is mapped there. */
static bool piece_at(const struct walk *walk, uint64_t iova, uint64_t last, struct piece *piece)
{
    const struct iommu_entry *entry = iommu_directory_find(walk->section.root, iova);

    if (!entry)
        return false;
    piece->mapping = iommu_entry_mapping(entry);
    piece->page = (iova - entry->first) / PAGE_SIZE_4K;
    piece->count = (size_t)((MIN(entry->last, last) - iova) / PAGE_SIZE_4K) + 1;
    return true;
}

static int piece_check(const struct piece *piece, unsigned prot)
{
    const struct iommu_mapping *mapping = piece->mapping;

    if (atomic_load_explicit(&mapping->leaving, memory_order_relaxed))
        return -EINVAL;
    if (prot & (~mapping->pin.prot | atomic_load_explicit(&mapping->going, memory_order_relaxed)))
        return -EPERM;
    return mapping->bytes ? 0 : -EOPNOTSUPP;
}

/* Whether pages of the mapping enter and leave the domain with the driver's pins. */
static bool piece_enters(const struct piece *piece)
{
    return !piece->mapping->pin.whole;
}

/* ------------------------------------------------------------------ one piece */

static int piece_prepare(struct iommu_pins *pins, const struct piece *piece)
{
    struct iommu_mapping *mapping = piece->mapping;

    if (pins_mode(pins) == UMDEV_BUS_IDENTITY && !mapping->pin.orphan) {
        mapping->pin.orphan = pin_orphan_new();
        if (!mapping->pin.orphan)
            return -ENOMEM;
    }
    if (mapping->pin.table)
        return 0;
    return pin_table_new(pins_pages(mapping), pins_numbered(pins, mapping), &mapping->pin.table);
}

/* Pages that are pinned for reading only, up to now; marked in `narrow`, too, from bit `at` on. */
static void piece_find_narrow(const struct piece *piece, struct pin_set *set,
                              uint64_t narrow[PIN_WORDS], size_t at)
{
    size_t numbers = 0;

    for (size_t i = 0; i < piece->count; i++, at++) {
        struct pin_page page;

        if (!pin_table_get(piece->mapping->pin.table, piece->page + i, &page) || page.write)
            continue;
        narrow[at / 64] |= UINT64_C(1) << (at % 64);
        set->wanted[i / 64] |= UINT64_C(1) << (i % 64);
        set->numbers[numbers++] = page.bus;
    }
}

/* Those pages, for reading only again: in the table and in the domain. */
static void piece_narrow(const struct iommu_pins *pins, const struct piece *piece,
                         const uint64_t narrow[PIN_WORDS], size_t at)
{
    struct pin_table *table = piece->mapping->pin.table;
    struct pin_set set;
    size_t numbers = 0;

    pin_set_init(&set, piece->page, piece->count);
    for (size_t i = 0; i < piece->count; i++, at++) {
        struct pin_page page;

        if (!(narrow[at / 64] >> (at % 64) & 1) || !pin_table_get(table, piece->page + i, &page))
            continue;
        pin_table_narrow(table, piece->page + i);
        set.wanted[i / 64] |= UINT64_C(1) << (i % 64);
        set.numbers[numbers++] = page.bus;
    }
    if (numbers && piece_enters(piece))
        pins_narrow(pins, piece->mapping, &set);
}

/* What has left the domain and waits for its flush. */
struct freed {
    size_t pages;
    uint32_t numbers[PIN_MAX_PAGES]; /* paged */
};

static void freed_add(struct freed *freed, const struct iommu_pins *pins, const struct pin_set *set,
                      size_t pages)
{
    if (pins_mode(pins) == UMDEV_BUS_PAGED)
        memcpy(freed->numbers + freed->pages, set->numbers, pages * sizeof(*set->numbers));
    freed->pages += pages;
}

/* A call of the driver's. */
struct call {
    struct range range;
    bool write;
    uint64_t narrow[PIN_WORDS]; /* pages of the range that were pinned for reading only */
    struct freed *freed;
};

/* The pages into the table; those that are new into the domain, with numbers for them in `set`. */
static int piece_enter(struct iommu_pins *pins, const struct piece *piece, struct call *call,
                       size_t fresh, struct pin_set *set)
{
    struct iommu_mapping *mapping = piece->mapping;
    bool paged = pins_numbered(pins, mapping);
    uint64_t written[PIN_WORDS];
    int ret = pin_table_pin(mapping->pin.table, piece->page, piece->count, call->write,
                            paged ? set->numbers : NULL, set->wanted);

    if (ret && paged)
        bus_space_release_pages(pins->how.domain->space, fresh, set->numbers);
    if (ret || !fresh || !piece_enters(piece))
        return ret;
    ret = pins_map(pins, mapping, set, pins_prot(mapping, call->write));
    if (!ret)
        return 0;
    pin_table_unpin(mapping->pin.table, piece->page, piece->count, set->wanted, NULL, written);
    freed_add(call->freed, pins, set, fresh);
    return ret;
}

/*
 * What was in the domain, as it is to be; only then what is new. After a failure the pages in
 * call->narrow may be for writing.
 */
static int piece_pin_charged(struct iommu_pins *pins, const struct piece *piece, struct call *call,
                             size_t at, size_t fresh)
{
    bool widens = piece_enters(piece) && pins->how.ops.map;
    bool is_part = at > 0 || range_size_minus_1(call->range) / PAGE_SIZE_4K >= piece->count;
    bool paged = pins_numbered(pins, piece->mapping);
    struct pin_set narrow, set;
    int ret = 0;

    pin_set_init(&set, piece->page, piece->count);
    pin_set_init(&narrow, piece->page, piece->count);
    if (paged)
        ret = bus_space_alloc_pages(pins->how.domain->space, fresh, set.numbers);
    if (ret)
        return ret;
    if (call->write && fresh < piece->count && (widens || is_part))
        piece_find_narrow(piece, &narrow, call->narrow, at);
    if (widens)
        ret = pins_widen(pins, piece->mapping, &narrow);
    if (!ret)
        return piece_enter(pins, piece, call, fresh, &set);
    if (paged)
        bus_space_release_pages(pins->how.domain->space, fresh, set.numbers);
    return ret;
}

/* `at`: which page of the call is the piece's first. */
static int piece_pin(struct iommu_pins *pins, const struct piece *piece, struct call *call,
                     size_t at)
{
    struct iommu_mapping *mapping = piece->mapping;
    size_t fresh;
    int ret = piece_prepare(pins, piece);

    if (ret)
        return ret;
    fresh = pin_table_count_new(mapping->pin.table, piece->page, piece->count);
    if (piece_enters(piece))
        ret = pins_charge(pins, fresh);
    if (ret)
        return ret;
    ret = piece_pin_charged(pins, piece, call, at, fresh);
    if (!ret)
        mapping->pin.held += piece->count;
    else if (piece_enters(piece))
        pins_uncharge(pins, fresh);
    return ret;
}

static void piece_addresses(const struct iommu_pins *pins, const struct piece *piece,
                            umdev_bus_t *bus)
{
    const struct iommu_mapping *mapping = piece->mapping;
    uint32_t numbers[PIN_MAX_PAGES];
    uint64_t first;

    if (pins_mode(pins) == UMDEV_BUS_PAGED) {
        if (mapping->pin.whole)
            memcpy(numbers, mapping->pin.numbers + piece->page, piece->count * sizeof(*numbers));
        else
            pin_table_get_bus(mapping->pin.table, piece->page, piece->count, numbers);
        for (size_t i = 0; i < piece->count; i++)
            bus[i] = umdev_bus(bus_space_page_address(pins->how.domain->space, numbers[i]));
        return;
    }
    first = pins_address(pins, mapping, piece->page);
    for (size_t i = 0; i < piece->count; i++)
        bus[i] = umdev_bus(first + i * PAGE_SIZE_4K);
}

static size_t bitmap_count(const uint64_t bitmap[PIN_WORDS])
{
    size_t count = 0;

    for (size_t i = 0; i < PIN_WORDS; i++)
        count += (size_t)__builtin_popcountll(bitmap[i]);
    return count;
}

/* The last moment at which the engine may have written. */
static void note_written(struct iommu *iommu, const struct piece *piece,
                         const uint64_t written[PIN_WORDS])
{
    uint64_t first = piece->mapping->range.first + piece->page * PAGE_SIZE_4K;

    for (size_t i = 0; i < piece->count; i++) {
        uint64_t page = first + i * PAGE_SIZE_4K;

        if (written[i / 64] >> (i % 64) & 1)
            iommu_note_mapping(iommu, piece->mapping,
                               (struct range){page, page + PAGE_SIZE_4K - 1});
    }
}

/* Returns how many of the pages were not pinned. */
static size_t piece_unpin(struct iommu *iommu, const struct piece *piece, struct freed *freed)
{
    struct iommu_pins *pins = &iommu->pins;
    struct iommu_mapping *mapping = piece->mapping;
    uint64_t written[PIN_WORDS];
    struct pin_set set;
    size_t unknown;
    size_t left;

    if (!mapping->pin.table || mapping->pin.held == 0 || mapping->pin.cut)
        return piece->count;
    pin_set_init(&set, piece->page, piece->count);
    unknown = pin_table_unpin(mapping->pin.table, piece->page, piece->count, set.wanted,
                              set.numbers, written);
    mapping->pin.held -= piece->count - unknown;
    note_written(iommu, piece, written);
    left = bitmap_count(set.wanted);
    if (!left || !piece_enters(piece))
        return unknown;
    pins_unmap(pins, mapping, &set);
    pins_uncharge(pins, left);
    freed_add(freed, pins, &set, left);
    return unknown;
}

static void finish_freed(struct iommu_pins *pins, const struct freed *freed)
{
    if (!freed->pages)
        return;
    pins_flush(pins);
    if (pins_mode(pins) == UMDEV_BUS_PAGED)
        bus_space_release_pages(pins->how.domain->space, freed->pages, freed->numbers);
}

/* ------------------------------------------------------------------ ranges */

/* With the lock held: at most PIN_MAX_PAGES pages. Returns how many were not pinned. */
static size_t unpin_range(const struct walk *walk, struct range range, struct freed *freed)
{
    size_t unknown = 0;
    struct piece piece;

    for (uint64_t iova = range.first;; iova += piece.count * PAGE_SIZE_4K) {
        if (piece_at(walk, iova, range.last, &piece)) {
            unknown += piece_unpin(walk->iommu, &piece, freed);
        } else {
            piece.count = 1;
            unknown++;
        }
        if (range.last - iova < piece.count * PAGE_SIZE_4K)
            return unknown;
    }
}

static int check_range(const struct walk *walk, struct range range, unsigned prot)
{
    struct piece piece;

    for (uint64_t iova = range.first;; iova += piece.count * PAGE_SIZE_4K) {
        int ret = piece_at(walk, iova, range.last, &piece) ? piece_check(&piece, prot) : -EINVAL;

        if (ret || range.last - iova < piece.count * PAGE_SIZE_4K)
            return ret;
    }
}

/* A call has failed in the piece that ends with `last`: what it has done is undone. */
static void undo_range(const struct walk *walk, const struct call *call, uint64_t iova,
                       uint64_t last)
{
    struct piece piece = {.mapping = NULL};
    size_t at = 0;

    if (iova > call->range.first)
        unpin_range(walk, (struct range){call->range.first, iova - 1}, call->freed);
    for (iova = call->range.first; piece_at(walk, iova, last, &piece); at += piece.count) {
        if (piece.mapping->pin.table)
            piece_narrow(&walk->iommu->pins, &piece, call->narrow, at);
        if (last - iova < piece.count * PAGE_SIZE_4K)
            return;
        iova += piece.count * PAGE_SIZE_4K;
    }
}

/* With the lock held. */
static int pin_range(const struct walk *walk, struct call *call, unsigned prot, umdev_bus_t *bus)
{
    struct iommu_pins *pins = &walk->iommu->pins;
    struct range range = call->range;
    struct piece piece = {.mapping = NULL};
    size_t at = 0;
    int ret = check_range(walk, range, prot);

    /* All of it has a file. */
    if (!ret)
        ret = iommu_loss_check(walk->section.root->loss);
    if (ret)
        return ret;
    for (uint64_t iova = range.first;; iova += piece.count * PAGE_SIZE_4K, at += piece.count) {
        /* All of it was found before, by the same walk. */
        if (!piece_at(walk, iova, range.last, &piece))
            return -EINVAL;
        ret = piece_pin(pins, &piece, call, at);
        if (ret) {
            undo_range(walk, call, iova, iova + (piece.count * PAGE_SIZE_4K - 1));
            return ret;
        }
        if (bus)
            piece_addresses(pins, &piece, bus + at);
        if (range.last - iova < piece.count * PAGE_SIZE_4K)
            return 0;
    }
}

static int make_range(umdev_iova_t iova, size_t count, struct range *range)
{
    return range_make(align_down(iova.value, PAGE_SIZE_4K), count * PAGE_SIZE_4K, range);
}

int iommu_pin(struct iommu *iommu, umdev_iova_t iova, size_t count, unsigned prot, umdev_bus_t *bus)
{
    struct iommu_pins *pins = &iommu->pins;
    struct call call = {.write = prot & UMDEV_WRITE};
    struct walk walk = {.iommu = iommu};
    struct freed freed;
    int ret;

    if (count == 0 || !iommu_prot_is_valid(prot))
        return -EINVAL;
    if (count > UMDEV_PIN_MAX)
        return -E2BIG;
    if (make_range(iova, count, &call.range))
        return -EINVAL;
    ret = iommu_section_begin(iommu, &walk.section);
    if (ret)
        return ret;
    freed.pages = 0;
    call.freed = &freed;
    pthread_mutex_lock(&pins->lock);
    ret = pin_range(&walk, &call, prot, bus);
    pins->asked |= !ret;
    pthread_mutex_unlock(&pins->lock);
    if (!ret && call.write)
        iommu_note_write(iommu, walk.section.root, call.range);
    iommu_section_end(iommu, &walk.section);
    finish_freed(pins, &freed);
    return ret;
}

/* Never fails. */
static void walk_begin(struct walk *walk)
{
    if (!iommu_section_begin(walk->iommu, &walk->section))
        return;
    walk->section.slot = NULL;
    pthread_mutex_lock(&walk->iommu->changes);
    walk->section.root = iommu_table_root(&walk->iommu->table);
}

static void walk_end(struct walk *walk)
{
    if (walk->section.slot)
        iommu_section_end(walk->iommu, &walk->section);
    else
        pthread_mutex_unlock(&walk->iommu->changes);
}

size_t iommu_unpin(struct iommu *iommu, umdev_iova_t iova, size_t count)
{
    struct iommu_pins *pins = &iommu->pins;
    uint64_t pages = (UINT64_MAX - iova.value) / PAGE_SIZE_4K + 1; /* to the end of the space */
    size_t unknown = count > pages ? count - (size_t)pages : 0;
    size_t now;

    count -= unknown;
    for (uint64_t at = iova.value; count; count -= now, at += now * PAGE_SIZE_4K) {
        struct walk walk = {.iommu = iommu};
        struct freed freed;
        struct range range = {align_down(at, PAGE_SIZE_4K), 0};

        now = MIN(count, (size_t)UMDEV_PIN_MAX);
        range.last = range.first + (now * PAGE_SIZE_4K - 1);
        freed.pages = 0;
        walk_begin(&walk);
        pthread_mutex_lock(&pins->lock);
        unknown += unpin_range(&walk, range, &freed);
        pthread_mutex_unlock(&pins->lock);
        walk_end(&walk);
        finish_freed(pins, &freed);
    }
    return unknown;
}

/* ------------------------------------------------------------------ what may be written now */

void pins_note_held(struct iommu *iommu, const struct iommu_mapping *mapping, struct range range)
{
    uint64_t first = mapping->range.first;
    struct range part = {MAX(first, range.first), MIN(mapping->range.last, range.last)};
    struct pin_run run = {.first = (part.first - first) / PAGE_SIZE_4K};
    uint64_t last = (part.last - first) / PAGE_SIZE_4K;

    if (mapping->pin.whole && !iommu->pins.asked && mapping->pin.prot & UMDEV_WRITE) {
        iommu_note_mapping(iommu, mapping, part);
        return;
    }
    if (!mapping->pin.held)
        return;
    while (pin_table_next(mapping->pin.table, run.first + run.count, &run) && run.first <= last) {
        uint64_t at = first + run.first * PAGE_SIZE_4K;
        uint64_t end = at + (run.count * PAGE_SIZE_4K - 1);

        if (run.write)
            iommu_note_mapping(iommu, mapping,
                               (struct range){MAX(at, part.first), MIN(end, part.last)});
    }
}

void iommu_note_held(void *opaque, struct range range)
{
    struct walk walk = {.iommu = opaque};
    const struct iommu_entry *entry;
    struct iommu_place place;

    walk_begin(&walk);
    pthread_mutex_lock(&walk.iommu->pins.lock);
    place = iommu_place_at(walk.section.root, range.first);
    for (; (entry = iommu_place_entry(&place)) && entry->first <= range.last;
         iommu_place_next(&place))
        pins_note_held(walk.iommu, iommu_entry_mapping(entry), range);
    pthread_mutex_unlock(&walk.iommu->pins.lock);
    walk_end(&walk);
}

struct dirty_log *iommu_dirty_log(struct iommu *iommu)
{
    return &iommu->dirty;
}

uint64_t iommu_take_torn(struct iommu *iommu)
{
    return atomic_exchange(&iommu->pins.torn, 0);
}

void iommu_set_pinning(struct iommu *iommu, const struct iommu_pinning *pinning)
{
    iommu->pins.how = *pinning;
}
