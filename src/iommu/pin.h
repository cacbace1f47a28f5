/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning: pages of client memory with bus addresses.
 *
 * Data model. Each mapping with memory has a table of the pages that are pinned (pin_table.h; made
 * by its first pin) and, in a contiguous domain, a range of bus addresses, reserved from its birth.
 * A mapping is *whole* where everything is pinned from its birth (pin-all): then its pages are in
 * the domain already, in a paged one with the numbers in an array, and the table only counts what
 * the driver pins beside.
 *
 * In the parent's domain are, exactly, the pages whose count is not 0, and all pages of whole
 * mappings. A page's bus address does not change while it is in. A number that leaves the domain is
 * given to nobody before the domain was flushed.
 *
 * A mapping that leaves the iommu takes its pins with it: they are *cut* from the domain, whether
 * the driver let go of them or not. What it did not is *torn*. Where there is no IOMMU to cut
 * (identity), memory with torn pins stays in this process until iommu_pins_end().
 *
 * Locks. `lock` guards all of it, and is held while the domain maps and unmaps, but not while it
 * flushes. It is taken inside a reader's section, and under `changes`; who has it waits for
 * neither.
 */
#ifndef IOMMU_PIN_H
#define IOMMU_PIN_H

#include "iommu/mapping.h"

#include <pthread.h>

struct iommu;

struct iommu_pins {
    pthread_mutex_t lock;
    struct iommu_pinning how;
    atomic_uint_least64_t bytes; /* pinned, a page counted once */
    atomic_uint_least64_t torn;  /* pins, since iommu_take_torn() */
    bool asked;                  /* the driver has pinned memory of this client */
    struct pin_orphan *orphans;  /* memory without an IOMMU, with torn pins */
};

/* Some of the pages of a mapping, at most PIN_MAX_PAGES from `page` on. */
struct pin_set {
    uint64_t page;
    size_t count;
    uint64_t wanted[PIN_WORDS];
    uint32_t numbers[PIN_MAX_PAGES]; /* paged: of the wanted pages, in order */
};

/* None wanted yet; the numbers are left as they are. */
static inline void pin_set_init(struct pin_set *set, uint64_t page, size_t count)
{
    set->page = page;
    set->count = count;
    for (size_t i = 0; i < PIN_WORDS; i++)
        set->wanted[i] = 0;
}

/* The same with all of them wanted. */
static inline void pin_set_init_all(struct pin_set *set, uint64_t page, size_t count)
{
    set->page = page;
    set->count = count;
    for (size_t i = 0; i < PIN_WORDS; i++)
        set->wanted[i] = UINT64_MAX;
}

static inline uint64_t pins_pages(const struct iommu_mapping *mapping)
{
    return range_size_minus_1(mapping->range) / PAGE_SIZE_4K + 1;
}

static inline enum umdev_bus_mode pins_mode(const struct iommu_pins *pins)
{
    return pins->how.domain ? pins->how.domain->mode : UMDEV_BUS_IDENTITY;
}

/* Whether the mapping's table has the numbers of its pinned pages. */
static inline bool pins_numbered(const struct iommu_pins *pins, const struct iommu_mapping *mapping)
{
    return pins_mode(pins) == UMDEV_BUS_PAGED && !mapping->pin.whole;
}

/* The bus address of a page of a mapping, where it needs no number. */
static inline uint64_t pins_address(const struct iommu_pins *pins,
                                    const struct iommu_mapping *mapping, uint64_t page)
{
    uint64_t first = pins_mode(pins) == UMDEV_BUS_CONTIGUOUS ? mapping->pin.bus->range.first
                                                             : (uint64_t)(uintptr_t)mapping->bytes;

    return first + page * PAGE_SIZE_4K;
}

/*
 * pin_domain.c; with `lock` held. Put the wanted pages into the domain: all or none. −errno: the
 * domain's; what was in for a while waits for its flush.
 */
int pins_map(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
             const struct pin_set *set, unsigned prot);
/* Pages that are in for reading, for writing, too. −errno: the domain's; some may be so then. */
int pins_widen(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
               const struct pin_set *set);
/* And back. */
void pins_narrow(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                 const struct pin_set *set);
void pins_unmap(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                const struct pin_set *set);
/* What pages pinned like that may do in the domain. */
static inline unsigned pins_prot(const struct iommu_mapping *mapping, bool write)
{
    return write ? mapping->pin.prot : UMDEV_READ;
}
/* Count pages that enter and leave the domain. ENOMEM: the limit. */
int pins_charge(struct iommu_pins *pins, uint64_t pages);
void pins_uncharge(struct iommu_pins *pins, uint64_t pages);
/* Without the lock. */
void pins_flush(const struct iommu_pins *pins);

/* NULL: no memory. */
struct pin_orphan *pin_orphan_new(void);

int iommu_pins_init(struct iommu_pins *pins);
void iommu_pins_fini(struct iommu_pins *pins);

/*
 * A mapping is about to enter the table: reserve its bus range, and pin all of it where that is
 * asked for. ENOSPC: no bus addresses. ENOMEM: the limit, or memory. Others: the domain's. On
 * failure nothing is left.
 */
int iommu_pins_begin(struct iommu_pins *pins, struct iommu_mapping *mapping, unsigned prot,
                     struct umdev_error *error);
/* Pins under way that saw no mapping leave have ended. */
void iommu_pins_settle(struct iommu_pins *pins);
/*
 * A list of mappings has left the table, and they are marked as leaving: take them out of the
 * domain. Never fails.
 */
void iommu_pins_cut(struct iommu *iommu, struct iommu_mapping *list);
/*
 * For the log of writes: mark what of the range is pinned for writing now. All of it, where a type
 * pins everything and its driver pins nothing itself: then nobody knows what an engine writes.
 */
void iommu_note_held(void *iommu, struct range range);
/* The same for one mapping, which overlaps the range; with `lock` held. */
void pins_note_held(struct iommu *iommu, const struct iommu_mapping *mapping, struct range range);
/*
 * A mapping's protection becomes `prot`. Pins that it does not allow any more are torn, with all
 * others of the mapping; those that stay, and whole mappings, follow in the domain. Where that
 * refuses, all of the mapping leaves it, and a pin more counts as torn. True: something in the
 * domain may do less than before; for the caller to flush.
 */
bool iommu_pins_protect(struct iommu *iommu, struct iommu_mapping *mapping, unsigned prot);

#endif
