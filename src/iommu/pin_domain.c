/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in a parent's domain: pages go in and out by runs.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "iommu/private.h"

#include <errno.h>
#include <string.h>

/* Memory that a driver may still use by its address, after its mapping is gone. */
struct pin_orphan {
    struct pin_orphan *next;
    struct iommu_view *view;
};

int iommu_pins_init(struct iommu_pins *pins)
{
    return -pthread_mutex_init(&pins->lock, NULL);
}

void iommu_pins_fini(struct iommu_pins *pins)
{
    pthread_mutex_destroy(&pins->lock);
}

/* ------------------------------------------------------------------ runs */

/* Pages of a set whose memory and bus addresses are contiguous. */
struct run {
    size_t first, count; /* in the set */
    uint64_t bus;
};

static bool set_wants(const struct pin_set *set, size_t index)
{
    return set->wanted[index / 64] >> (index % 64) & 1;
}

/* The run that begins at or after `run`'s end; `taken` wanted pages lie before it. */
static bool run_next(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                     const struct pin_set *set, size_t *taken, struct run *run)
{
    bool paged = pins_mode(pins) == UMDEV_BUS_PAGED;
    size_t at = run->first + run->count;

    while (at < set->count && !set_wants(set, at))
        at++;
    if (at == set->count)
        return false;
    run->first = at;
    run->count = 1;
    run->bus = paged ? bus_space_page_address(pins->how.domain->space, set->numbers[*taken])
                     : pins_address(pins, mapping, set->page + at);
    while (at + run->count < set->count && set_wants(set, at + run->count) &&
           (!paged || set->numbers[*taken + run->count] == set->numbers[*taken] + run->count))
        run->count++;
    *taken += run->count;
    return true;
}

/* Take out what lies before `end` in the set. */
static void unmap_before(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                         const struct pin_set *set, size_t end)
{
    struct run run = {0};
    size_t taken = 0;

    if (!pins->how.ops.unmap)
        return;
    while (run_next(pins, mapping, set, &taken, &run) && run.first < end)
        pins->how.ops.unmap(pins->how.opaque, run.bus, run.count * PAGE_SIZE_4K);
}

/* Map what lies before *end in the set. After a failure *end is where it came to. */
static int map_before(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                      const struct pin_set *set, unsigned prot, size_t *end)
{
    struct run run = {0};
    size_t taken = 0;

    if (!pins->how.ops.map)
        return 0;
    while (run_next(pins, mapping, set, &taken, &run) && run.first < *end) {
        uint8_t *memory = mapping->bytes + (set->page + run.first) * PAGE_SIZE_4K;
        int ret =
            pins->how.ops.map(pins->how.opaque, run.bus, memory, run.count * PAGE_SIZE_4K, prot);

        if (ret) {
            *end = run.first;
            return ret;
        }
    }
    return 0;
}

int pins_map(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
             const struct pin_set *set, unsigned prot)
{
    size_t end = set->count;
    int ret = map_before(pins, mapping, set, prot, &end);

    if (ret)
        unmap_before(pins, mapping, set, end);
    return ret;
}

int pins_widen(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
               const struct pin_set *set)
{
    size_t end = set->count;

    return map_before(pins, mapping, set, pins_prot(mapping, true), &end);
}

void pins_narrow(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                 const struct pin_set *set)
{
    size_t end = set->count;

    (void)map_before(pins, mapping, set, UMDEV_READ, &end);
}

void pins_unmap(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                const struct pin_set *set)
{
    unmap_before(pins, mapping, set, set->count);
}

void pins_flush(const struct iommu_pins *pins)
{
    if (pins->how.ops.flush)
        pins->how.ops.flush(pins->how.opaque);
}

int pins_charge(struct iommu_pins *pins, uint64_t pages)
{
    uint64_t bytes = atomic_load_explicit(&pins->bytes, memory_order_relaxed);

    if (pins->how.limit && !span_fits(bytes, pages * PAGE_SIZE_4K, pins->how.limit))
        return -ENOMEM;
    atomic_store_explicit(&pins->bytes, bytes + pages * PAGE_SIZE_4K, memory_order_relaxed);
    return 0;
}

void pins_uncharge(struct iommu_pins *pins, uint64_t pages)
{
    atomic_fetch_sub_explicit(&pins->bytes, pages * PAGE_SIZE_4K, memory_order_relaxed);
}

/* ------------------------------------------------------------------ a mapping's birth */

/* The next pages that are in the domain, at or after `page`; *write: pinned for it. */
static bool inside_next(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                        uint64_t page, struct pin_set *set, bool *write)
{
    uint64_t pages = pins_pages(mapping);
    struct pin_run run = {.first = page};

    if (mapping->pin.whole) {
        run.count = (size_t)MIN(pages - page, (uint64_t)PIN_MAX_PAGES);
        run.write = true;
    } else if (!mapping->pin.table || !pin_table_next(mapping->pin.table, page, &run)) {
        return false;
    }
    pin_set_init_all(set, run.first, run.count);
    *write = run.write;
    if (mapping->pin.numbers && run.count)
        memcpy(set->numbers, mapping->pin.numbers + run.first, run.count * sizeof(*set->numbers));
    else if (pins_numbered(pins, mapping))
        pin_table_get_bus(mapping->pin.table, set->page, set->count, set->numbers);
    return run.count > 0;
}

/* Give the addresses back, after a flush. */
static void release_addresses(struct iommu_pins *pins, struct iommu_mapping *mapping)
{
    struct pin_set set;
    bool write;

    pin_set_init(&set, 0, 0);
    if (pins_mode(pins) == UMDEV_BUS_PAGED) {
        while (inside_next(pins, mapping, set.page + set.count, &set, &write))
            bus_space_release_pages(pins->how.domain->space, set.count, set.numbers);
    }
    if (mapping->pin.bus)
        bus_space_release(pins->how.domain->space, mapping->pin.bus);
    pin_table_free(mapping->pin.table);
    free(mapping->pin.numbers);
    free(mapping->pin.orphan);
    mapping->pin = (struct pin_state){.cut = true};
}

static uint64_t count_inside(const struct iommu_mapping *mapping)
{
    if (mapping->pin.whole)
        return pins_pages(mapping);
    return mapping->pin.table ? pin_table_pinned(mapping->pin.table) : 0;
}

/* Out of the domain, all of it. The table and the addresses stay until it is flushed. */
static void unmap_all(struct iommu_pins *pins, struct iommu_mapping *mapping)
{
    uint64_t pages = count_inside(mapping);
    struct pin_set set;
    bool write;

    pins_uncharge(pins, pages);
    if (!pins->how.ops.unmap || !pages)
        return;
    if (mapping->pin.whole && pins_mode(pins) != UMDEV_BUS_PAGED) {
        pins->how.ops.unmap(pins->how.opaque, pins_address(pins, mapping, 0), pages * PAGE_SIZE_4K);
        return;
    }
    pin_set_init(&set, 0, 0);
    while (inside_next(pins, mapping, set.page + set.count, &set, &write))
        pins_unmap(pins, mapping, &set);
}

/* Numbers for the pages from `set` on, and into the domain; what came before stays. */
static int pin_all_numbered(struct iommu_pins *pins, struct iommu_mapping *mapping,
                            struct pin_set *set)
{
    int ret = bus_space_alloc_pages(pins->how.domain->space, set->count, set->numbers);

    if (ret)
        return ret;
    ret = pins_map(pins, mapping, set, mapping->pin.prot);
    if (ret)
        bus_space_release_pages(pins->how.domain->space, set->count, set->numbers);
    else
        memcpy(mapping->pin.numbers + set->page, set->numbers, set->count * sizeof(*set->numbers));
    return ret;
}

/* The first `pages` pages of the mapping leave the domain again; their numbers stay. */
static void unmap_numbered(struct iommu_pins *pins, struct iommu_mapping *mapping, uint64_t pages)
{
    for (uint64_t page = 0; page < pages; page += PIN_MAX_PAGES) {
        struct pin_set set;

        pin_set_init_all(&set, page, PIN_MAX_PAGES);
        memcpy(set.numbers, mapping->pin.numbers + page, sizeof(set.numbers));
        pins_unmap(pins, mapping, &set);
    }
}

/* *done: how many pages have numbers, also of a failure, of which none is in the domain. */
static int pin_all_paged(struct iommu_pins *pins, struct iommu_mapping *mapping, uint64_t pages,
                         uint64_t *done)
{
    mapping->pin.numbers = calloc(pages, sizeof(*mapping->pin.numbers));
    if (!mapping->pin.numbers)
        return -ENOMEM;
    for (struct pin_set set; *done < pages; *done += set.count) {
        int ret;

        pin_set_init_all(&set, *done, (size_t)MIN(pages - *done, (uint64_t)PIN_MAX_PAGES));
        ret = pin_all_numbered(pins, mapping, &set);
        if (ret) {
            unmap_numbered(pins, mapping, *done);
            return ret;
        }
    }
    return 0;
}

static int pin_all(struct iommu_pins *pins, struct iommu_mapping *mapping, uint64_t *numbers)
{
    uint64_t pages = pins_pages(mapping);
    int ret = pins_charge(pins, pages);

    if (ret)
        return ret;
    if (pins_mode(pins) == UMDEV_BUS_PAGED)
        ret = pin_all_paged(pins, mapping, pages, numbers);
    else if (pins->how.ops.map)
        ret = pins->how.ops.map(pins->how.opaque, pins_address(pins, mapping, 0), mapping->bytes,
                                pages * PAGE_SIZE_4K, mapping->pin.prot);
    mapping->pin.whole = !ret;
    if (ret)
        pins_uncharge(pins, pages);
    return ret;
}

int iommu_pins_begin(struct iommu_pins *pins, struct iommu_mapping *mapping, unsigned prot,
                     struct umdev_error *error)
{
    uint64_t numbers = 0;
    int ret = 0;

    mapping->pin.prot = prot;
    if (!mapping->bytes)
        return 0;
    pthread_mutex_lock(&pins->lock);
    if (pins_mode(pins) == UMDEV_BUS_CONTIGUOUS)
        ret = bus_space_alloc(pins->how.domain->space, pins_pages(mapping) * PAGE_SIZE_4K,
                              pins->how.domain->align, &mapping->pin.bus);
    if (!ret && pins->how.all)
        ret = pin_all(pins, mapping, &numbers);
    pthread_mutex_unlock(&pins->lock);
    if (!ret)
        return 0;
    pins_flush(pins);
    if (numbers)
        bus_space_release_pages(pins->how.domain->space, numbers, mapping->pin.numbers);
    release_addresses(pins, mapping);
    return error_set(error, -ret, "can't be pinned: %s",
                     ret == -ENOSPC ? "no bus addresses are left" : log_errno(-ret));
}

/* ------------------------------------------------------------------ its end */

/* Keep the memory: the driver may go on using its address. */
static void adopt_orphan(struct iommu_pins *pins, struct iommu_mapping *mapping)
{
    struct pin_orphan *orphan = TAKE_POINTER(mapping->pin.orphan);

    orphan->view = iommu_view_ref(mapping->view);
    orphan->next = pins->orphans;
    pins->orphans = orphan;
}

void iommu_pins_settle(struct iommu_pins *pins)
{
    pthread_mutex_lock(&pins->lock);
    pthread_mutex_unlock(&pins->lock);
}

void iommu_pins_cut(struct iommu *iommu, struct iommu_mapping *list)
{
    struct iommu_pins *pins = &iommu->pins;
    bool any = false;

    pthread_mutex_lock(&pins->lock);
    for (struct iommu_mapping *mapping = list; mapping; mapping = mapping->next) {
        any |= mapping->pin.table || mapping->pin.whole;
        mapping->pin.cut = true;
        /* The last moment at which the engine may have written. */
        pins_note_held(iommu, mapping, mapping->range);
        unmap_all(pins, mapping);
        if (mapping->pin.held && pins_mode(pins) == UMDEV_BUS_IDENTITY)
            adopt_orphan(pins, mapping);
        atomic_fetch_add_explicit(&pins->torn, mapping->pin.held, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pins->lock);
    if (any)
        pins_flush(pins);
    /* Whoever looked the mappings up before they left may look at their pins still. */
    pthread_mutex_lock(&pins->lock);
    for (struct iommu_mapping *mapping = list; mapping; mapping = mapping->next)
        release_addresses(pins, mapping);
    pthread_mutex_unlock(&pins->lock);
}

struct pin_orphan *pin_orphan_new(void)
{
    return calloc(1, sizeof(struct pin_orphan));
}

/* ------------------------------------------------------------------ another protection */

/* Whether pins of the driver's ask for more than `prot`. */
static bool pins_exceed(const struct iommu_mapping *mapping, unsigned prot)
{
    struct pin_run run = {0};

    if (!mapping->pin.held)
        return false;
    if (!(prot & UMDEV_READ) && mapping->pin.prot & UMDEV_READ)
        return true;
    if (prot & UMDEV_WRITE)
        return false;
    while (pin_table_next(mapping->pin.table, run.first + run.count, &run)) {
        if (run.write)
            return true;
    }
    return false;
}

/*
 * All pins of the driver's go, and with `all` what was pinned with the mapping, too; *dead: what is
 * left to release when the domain was flushed.
 */
static void tear(struct iommu_pins *pins, struct iommu_mapping *mapping, bool all,
                 struct iommu_mapping *dead)
{
    if (mapping->pin.held && pins_mode(pins) == UMDEV_BUS_IDENTITY)
        adopt_orphan(pins, mapping);
    atomic_fetch_add_explicit(&pins->torn, mapping->pin.held, memory_order_relaxed);
    mapping->pin.held = 0;
    if (all || !mapping->pin.whole) {
        unmap_all(pins, mapping);
        dead->range = mapping->range;
        dead->pin.whole = mapping->pin.whole;
        dead->pin.numbers = TAKE_POINTER(mapping->pin.numbers);
        dead->pin.table = TAKE_POINTER(mapping->pin.table);
        mapping->pin.whole = false;
    } else {
        pin_table_free(TAKE_POINTER(mapping->pin.table));
    }
}

/*
 * What is in the domain gets its new protection: *any was. False: the domain refuses; some may have
 * it then.
 */
static bool follow(const struct iommu_pins *pins, const struct iommu_mapping *mapping,
                   unsigned prot, bool *any)
{
    struct pin_set set;
    bool ok = true;
    bool write;

    *any = false;
    if (!pins->how.ops.map)
        return true;
    if (mapping->pin.whole && pins_mode(pins) != UMDEV_BUS_PAGED) {
        *any = true;
        return !pins->how.ops.map(pins->how.opaque, pins_address(pins, mapping, 0), mapping->bytes,
                                  pins_pages(mapping) * PAGE_SIZE_4K, prot);
    }
    pin_set_init(&set, 0, 0);
    while (ok && inside_next(pins, mapping, set.page + set.count, &set, &write)) {
        size_t end = set.count;

        if (write)
            ok = !map_before(pins, mapping, &set, prot, &end);
        *any |= write;
    }
    return ok;
}

bool iommu_pins_protect(struct iommu *iommu, struct iommu_mapping *mapping, unsigned prot)
{
    struct iommu_pins *pins = &iommu->pins;
    struct iommu_mapping dead = {0};
    unsigned before;
    bool any;

    pthread_mutex_lock(&pins->lock);
    before = mapping->pin.prot;
    if (prot == before) {
        pthread_mutex_unlock(&pins->lock);
        return false;
    }
    if (before & ~prot & UMDEV_WRITE)
        pins_note_held(iommu, mapping, mapping->range);
    if (pins_exceed(mapping, prot))
        tear(pins, mapping, false, &dead);
    /* The device is stopped, as one with torn pins, and reaches nothing of it. */
    if (!follow(pins, mapping, prot, &any)) {
        atomic_fetch_add_explicit(&pins->torn, 1, memory_order_relaxed);
        tear(pins, mapping, true, &dead);
    }
    mapping->pin.prot = prot;
    pthread_mutex_unlock(&pins->lock);
    if (dead.pin.table || dead.pin.numbers || dead.pin.whole) {
        pins_flush(pins);
        release_addresses(pins, &dead);
        any = false;
    }
    return any && (before & ~prot);
}

/* ------------------------------------------------------------------ the end of a client */

void iommu_pins_end(struct iommu *iommu)
{
    struct iommu_pins *pins = &iommu->pins;
    struct pin_orphan *orphans;

    pthread_mutex_lock(&pins->lock);
    orphans = TAKE_POINTER(pins->orphans);
    pins->asked = false;
    pthread_mutex_unlock(&pins->lock);
    while (orphans) {
        struct pin_orphan *orphan = orphans;

        orphans = orphan->next;
        iommu_view_put(orphan->view);
        free(orphan);
    }
}
