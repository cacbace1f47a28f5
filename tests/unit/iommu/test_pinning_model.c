/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random mapping, unmapping, protecting, pinning and unpinning, each compared with a naive model:
 * NUM_PAGES pages of IOVA space, each with what covers it and how often it is pinned. Each kind of
 * domain has its turn, with all memory pinned and with the driver's pins only.
 * UMDEV_TEST_SEED repeats a run, UMDEV_TEST_STEPS makes it longer.
 */
#include "pin_domain.h"

#include "random.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_STEPS 600000
#define NUM_PAGES     64
#define BASE          (UINT64_C(0) - NUM_PAGES * PAGE) /* up to the last byte */
#define NUM_FILES     3
#define FILE_PAGES    16
#define APERTURE      160 /* pages: contiguous mappings sometimes find no place */
#define LIMIT_PAGES   40
#define MAX_PINNED    9

struct model_mapping {
    bool used;
    unsigned first, count; /* pages */
    int file;              /* −1: none */
    unsigned file_page, prot;
};

struct model_page {
    int mapping; /* −1: none */
    unsigned count;
    bool written;
    uint64_t bus; /* while count > 0 */
};

struct model {
    struct iommu *iommu;
    struct test_domain *domain;
    enum umdev_bus_mode mode;
    bool all, limited;
    uint64_t random;
    struct model_mapping mappings[NUM_PAGES];
    struct model_page pages[NUM_PAGES];
    int fds[NUM_FILES];
    unsigned long pins, refused, torn;
};

static unsigned below(struct model *m, unsigned limit)
{
    return (unsigned)(random_next(&m->random) % limit);
}

static umdev_iova_t iova_of(unsigned page)
{
    return umdev_iova(BASE + page * PAGE);
}

static uint64_t tag_of(int file, unsigned page)
{
    return UINT64_C(0x7461670000000000) + (uint64_t)(file * FILE_PAGES) + page;
}

static struct model_mapping *mapping_of(struct model *m, unsigned page)
{
    return m->pages[page].mapping < 0 ? NULL : &m->mappings[m->pages[page].mapping];
}

/* ------------------------------------------------------------------ what must be so */

/* Pages that are in the domain. */
static unsigned count_inside(struct model *m)
{
    unsigned count = 0;

    for (unsigned page = 0; page < NUM_PAGES; page++) {
        const struct model_mapping *mapping = mapping_of(m, page);

        if (mapping && mapping->file >= 0)
            count += m->all || m->pages[page].count > 0;
    }
    return count;
}

static void check_page(struct model *m, unsigned page)
{
    const struct model_mapping *mapping = mapping_of(m, page);
    const struct model_page *p = &m->pages[page];
    const struct domain_page *seen;
    uint64_t tag;

    if (!p->count)
        return;
    seen = test_domain_at(m->domain, p->bus);
    assert_non_null(seen);
    memcpy(&tag, seen->memory, sizeof(tag));
    assert_int_equal(tag, tag_of(mapping->file, mapping->file_page + page - mapping->first));
    if (m->mode != UMDEV_BUS_IDENTITY)
        assert_int_equal(seen->prot, m->all || p->written ? mapping->prot : UMDEV_READ);
}

static void check_all(struct model *m)
{
    struct iommu_stats stats;
    unsigned inside = count_inside(m);

    assert_int_equal(m->domain->mistakes, 0);
    assert_int_equal(m->domain->stale, 0);
    assert_int_equal(m->domain->count, m->mode == UMDEV_BUS_IDENTITY ? 0 : inside);
    iommu_get_stats(m->iommu, &stats);
    assert_int_equal(stats.pinned_bytes, inside * PAGE);
    for (unsigned page = 0; page < NUM_PAGES; page++)
        check_page(m, page);
}

/* ------------------------------------------------------------------ operations */

static void forget_pins(struct model *m, const struct model_mapping *mapping)
{
    for (unsigned i = 0; i < mapping->count; i++) {
        m->pages[mapping->first + i].count = 0;
        m->pages[mapping->first + i].written = false;
    }
}

static void step_map(struct model *m)
{
    unsigned first = below(m, NUM_PAGES), slot = 0;
    unsigned count = 1 + below(m, MIN(8, NUM_PAGES - first));
    struct model_mapping made = {
        .used = true,
        .first = first,
        .count = count,
        .file = (int)below(m, NUM_FILES + 1) - 1,
        .file_page = below(m, FILE_PAGES - 8),
        .prot = below(m, 3) ? UMDEV_RW : 1 + below(m, 3),
    };
    int ret;

    for (unsigned i = 0; i < count; i++)
        if (m->pages[first + i].mapping >= 0)
            return;
    ret = iommu_map(m->iommu, iova_of(first), count * PAGE, made.file < 0 ? -1 : m->fds[made.file],
                    made.file_page * PAGE, made.prot);
    if (ret) {
        bool limit = m->limited && count_inside(m) + count > LIMIT_PAGES;

        /* The space is large enough but for contiguous ranges, and pins of everything. */
        if (m->all && limit)
            assert_true(ret == -ENOMEM || (m->mode == UMDEV_BUS_CONTIGUOUS && ret == -ENOSPC));
        else
            assert_int_equal(ret, -ENOSPC);
        assert_int_not_equal(made.file, -1);
        return;
    }
    assert_false(m->all && m->limited && made.file >= 0 && count_inside(m) + count > LIMIT_PAGES);
    while (m->mappings[slot].used)
        slot++;
    m->mappings[slot] = made;
    for (unsigned i = 0; i < count; i++)
        m->pages[first + i] = (struct model_page){.mapping = (int)slot};
}

static uint64_t count_pins(struct model *m, unsigned first, unsigned count)
{
    uint64_t pins = 0;

    for (unsigned i = 0; i < count; i++)
        pins += m->pages[first + i].count;
    return pins;
}

static void step_unmap(struct model *m)
{
    unsigned first = below(m, NUM_PAGES);
    unsigned count = 1 + below(m, NUM_PAGES - first);
    uint64_t bytes = 0, pins = count_pins(m, first, count), unmapped;
    bool bisects = false;
    int ret;

    for (unsigned i = 0; i < count; i++) {
        const struct model_mapping *mapping = mapping_of(m, first + i);

        bisects |=
            mapping && (mapping->first < first || mapping->first + mapping->count > first + count);
        bytes += mapping ? PAGE : 0;
    }
    ret = iommu_unmap(m->iommu, iova_of(first), count * PAGE, 0, &unmapped);
    assert_int_equal(ret, bisects ? -EINVAL : 0);
    if (ret)
        return;
    assert_int_equal(unmapped, bytes);
    assert_int_equal(iommu_take_torn(m->iommu), pins);
    m->torn += pins;
    for (unsigned i = 0; i < count; i++) {
        if (m->pages[first + i].mapping >= 0)
            m->mappings[m->pages[first + i].mapping].used = false;
        m->pages[first + i] = (struct model_page){.mapping = -1};
    }
    if (below(m, 4) == 0)
        iommu_pins_end(m->iommu);
}

static int expect_pin(struct model *m, unsigned first, unsigned count, unsigned prot)
{
    unsigned fresh = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct model_mapping *mapping = mapping_of(m, first + i);

        if (!mapping)
            return -EINVAL;
        if (prot & ~mapping->prot)
            return -EPERM;
        if (mapping->file < 0)
            return -EOPNOTSUPP;
        fresh += m->pages[first + i].count == 0;
    }
    return m->limited && !m->all && count_inside(m) + fresh > LIMIT_PAGES ? -ENOMEM : 0;
}

static void step_pin(struct model *m)
{
    unsigned first = below(m, NUM_PAGES);
    unsigned count = 1 + below(m, MIN(MAX_PINNED, NUM_PAGES - first));
    unsigned prot = 1 + below(m, 3);
    int expected = expect_pin(m, first, count, prot);
    umdev_bus_t bus[MAX_PINNED];
    int ret;

    /* Now and then the domain refuses one of its maps; if there are so many. */
    if (!expected && m->mode != UMDEV_BUS_IDENTITY && below(m, 8) == 0) {
        m->domain->fail_once = true;
        m->domain->fail_after = (int)below(m, 4);
    }
    ret = iommu_pin(m->iommu, iova_of(first), count, prot, bus);
    if (m->domain->fail_once && m->domain->fail_after < 0)
        expected = -ENXIO;
    m->domain->fail_once = false;
    m->domain->fail_after = -1;
    assert_int_equal(ret, expected);
    m->pins += !ret;
    m->refused += ret != 0;
    for (unsigned i = 0; !ret && i < count; i++) {
        struct model_page *page = &m->pages[first + i];

        /* As long as it is pinned, it stays where it is. */
        assert_true(page->count == 0 || page->bus == bus[i].value);
        page->bus = bus[i].value;
        page->count++;
        page->written |= (prot & UMDEV_WRITE) != 0;
    }
}

static void step_unpin(struct model *m)
{
    unsigned first = below(m, NUM_PAGES);
    unsigned count = 1 + below(m, MIN(MAX_PINNED, NUM_PAGES - first));
    size_t unknown = 0;

    for (unsigned i = 0; i < count; i++) {
        struct model_page *page = &m->pages[first + i];

        unknown += page->count == 0;
        page->count -= page->count > 0;
        page->written &= page->count > 0;
    }
    assert_int_equal(iommu_unpin(m->iommu, iova_of(first), count), unknown);
}

static void step_protect(struct model *m)
{
    struct model_mapping *mapping = mapping_of(m, below(m, NUM_PAGES));
    unsigned prot = 1 + below(m, 3);
    bool exceeded = false;
    uint64_t pins;
    int ret;

    if (!mapping || mapping->file < 0)
        return;
    pins = count_pins(m, mapping->first, mapping->count);
    for (unsigned i = 0; i < mapping->count; i++)
        exceeded |= m->pages[mapping->first + i].written && !(prot & UMDEV_WRITE);
    exceeded |= pins && mapping->prot & UMDEV_READ && !(prot & UMDEV_READ);
    ret = iommu_protect(m->iommu, iova_of(mapping->first), mapping->count * PAGE, prot);
    assert_int_equal(ret, 0);
    assert_int_equal(iommu_take_torn(m->iommu), exceeded ? pins : 0);
    mapping->prot = prot;
    if (exceeded)
        forget_pins(m, mapping);
}

static void step(struct model *m)
{
    unsigned what = below(m, 16);

    if (what < 3)
        step_map(m);
    else if (what < 4)
        step_unmap(m);
    else if (what < 9)
        step_pin(m);
    else if (what < 15)
        step_unpin(m);
    else
        step_protect(m);
}

/* ------------------------------------------------------------------ a run */

static void fill_files(struct model *m)
{
    for (int file = 0; file < NUM_FILES; file++) {
        m->fds[file] = fixture_memfd(FILE_PAGES * PAGE);
        for (unsigned page = 0; page < FILE_PAGES; page++) {
            uint64_t tag = tag_of(file, page);

            assert_int_equal(pwrite(m->fds[file], &tag, sizeof(tag), (off_t)(page * PAGE)),
                             sizeof(tag));
        }
    }
}

static void run(struct fixture *fixture, uint64_t seed, unsigned long steps,
                enum umdev_bus_mode mode, bool all, bool limited)
{
    static struct test_domain domain;
    struct model m = {.iommu = fixture->iommu,
                      .domain = &domain,
                      .mode = mode,
                      .all = all,
                      .limited = limited,
                      .random = seed};

    test_domain_bind(&domain, fixture->iommu, mode, APERTURE, all,
                     limited ? LIMIT_PAGES * PAGE : 0);
    for (unsigned page = 0; page < NUM_PAGES; page++)
        m.pages[page].mapping = -1;
    fill_files(&m);
    for (unsigned long i = 0; i < steps; i++) {
        step(&m);
        if (i % 16 == 0)
            check_all(&m);
    }
    check_all(&m);
    assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
    iommu_pins_end(fixture->iommu);
    iommu_take_torn(fixture->iommu);
    test_domain_end(&domain);
    for (int file = 0; file < NUM_FILES; file++)
        close(m.fds[file]);
    printf("# mode %d, %s%s: %lu pins, %lu refused, %lu torn\n", (int)mode,
           all ? "pin-all" : "pin-sparse", limited ? ", limited" : "", m.pins, m.refused, m.torn);
    assert_true(m.pins > steps / 100 && m.refused > steps / 100);
}

static void model(void **state)
{
    uint64_t seed = random_seed();
    unsigned long steps = random_steps(DEFAULT_STEPS);

    for (unsigned turn = 0; turn < 12; turn++)
        run(*state, seed + turn, steps / 12, turn % 3, turn / 3 % 2, turn / 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(model, fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
