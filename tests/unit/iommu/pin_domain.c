/* SPDX-License-Identifier: BSD-3-Clause */
#include "pin_domain.h"

#include <errno.h>
#include <stdio.h>

#define APERTURE_FIRST UINT64_C(0x40000000)

static size_t slot_of(uint64_t bus)
{
    return (size_t)((bus / PAGE * UINT64_C(0x9e3779b97f4a7c15)) >> 52) % DOMAIN_SLOTS;
}

/* The page's slot, or the free one where it would be. Deleted ones stay, as stale, till a flush. */
static struct domain_page *find(struct test_domain *d, uint64_t bus)
{
    size_t at = slot_of(bus);

    while (d->pages[at].bus && d->pages[at].bus != bus)
        at = (at + 1) % DOMAIN_SLOTS;
    return &d->pages[at];
}

const struct domain_page *test_domain_at(const struct test_domain *d, uint64_t bus)
{
    static _Thread_local struct domain_page here;
    const struct domain_page *page;

    if (d->domain->mode == UMDEV_BUS_IDENTITY) {
        here = (struct domain_page){.bus = bus, .memory = (uint8_t *)(uintptr_t)bus};
        return &here;
    }
    page = find((struct test_domain *)d, bus);
    return page->bus && !page->stale ? page : NULL;
}

static void mistake(struct test_domain *d, const char *what, uint64_t bus)
{
    d->mistakes++;
    fprintf(stderr, "bus 0x%llx: %s\n", (unsigned long long)bus, what);
}

static int domain_map(void *opaque, uint64_t bus, void *memory, uint64_t size, unsigned prot)
{
    struct test_domain *d = opaque;

    if (d->fail_after == 0) {
        d->fail_after = d->fail_once ? -1 : 0;
        return -ENXIO;
    }
    if (d->fail_after > 0)
        d->fail_after--;
    d->maps++;
    if (size == 0 || (size | bus) % PAGE || !prot || prot & ~(unsigned)UMDEV_RW)
        mistake(d, "a bad run", bus);
    for (uint64_t done = 0; done < size; done += PAGE) {
        struct domain_page *page = find(d, bus + done);
        uint8_t *at = (uint8_t *)memory + done;

        if (page->bus && page->memory != at && !page->stale)
            mistake(d, "mapped to something else", bus + done);
        /* Reused before a flush: only for the same memory. */
        if (page->stale && page->memory != at)
            mistake(d, "reused before it was flushed", bus + done);
        d->stale -= page->stale;
        d->count += !page->bus || page->stale;
        *page = (struct domain_page){.bus = bus + done, .memory = at, .prot = prot};
        assert_true(d->count + d->stale < DOMAIN_SLOTS / 2);
    }
    return 0;
}

static void domain_unmap(void *opaque, uint64_t bus, uint64_t size)
{
    struct test_domain *d = opaque;

    d->unmaps++;
    for (uint64_t done = 0; done < size; done += PAGE) {
        struct domain_page *page = find(d, bus + done);

        if (!page->bus || page->stale) {
            mistake(d, "unmapped, but was not there", bus + done);
            continue;
        }
        page->stale = true;
        d->stale++;
        d->count--;
    }
}

/* Takes the stale pages out, and puts the others where their hash wants them. */
static void domain_flush(void *opaque)
{
    static struct domain_page kept[DOMAIN_SLOTS];
    struct test_domain *d = opaque;
    size_t n = 0;

    d->flushes++;
    for (size_t i = 0; i < DOMAIN_SLOTS; i++) {
        if (d->pages[i].bus && !d->pages[i].stale)
            kept[n++] = d->pages[i];
        d->pages[i] = (struct domain_page){0};
    }
    for (size_t i = 0; i < n; i++)
        *find(d, kept[i].bus) = kept[i];
    d->stale = 0;
}

struct iommu_pinning test_domain_bind(struct test_domain *d, struct iommu *iommu,
                                      enum umdev_bus_mode mode, size_t pages, bool all,
                                      uint64_t limit)
{
    const struct umdev_domain config = {
        .struct_size = sizeof(config),
        .mode = mode,
        .first = APERTURE_FIRST,
        .last = APERTURE_FIRST + pages * PAGE - 1,
    };
    struct iommu_pinning pinning = {
        .ops = {domain_map, domain_unmap, domain_flush},
        .opaque = d,
        .all = all,
        .limit = limit,
    };

    *d = (struct test_domain){.fail_after = -1};
    assert_int_equal(iommu_domain_new(&config, &d->domain, NULL), 0);
    pinning.domain = d->domain;
    if (mode == UMDEV_BUS_IDENTITY)
        pinning.ops = (struct iommu_domain_ops){NULL, NULL, NULL};
    iommu_set_pinning(iommu, &pinning);
    return pinning;
}

void test_domain_end(struct test_domain *d)
{
    struct bus_space_stats stats;

    assert_int_equal(d->count, 0);
    assert_int_equal(d->stale, 0);
    assert_int_equal(d->mistakes, 0);
    if (d->domain->space) {
        bus_space_get_stats(d->domain->space, &stats);
        assert_int_equal(stats.free_ranges, 1);
        assert_int_equal(stats.chunk_pages, 0);
    }
    iommu_domain_free(d->domain);
}
