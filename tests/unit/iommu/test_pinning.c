/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning, case by case, in all three kinds of domain.
 */
#include "pin_domain.h"

#include "failnth.h"
#include "iommu/dirty_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE     UINT64_C(0x100000)
#define APERTURE 256 /* pages */

static struct test_domain domain;

static struct fixture *begin(void **state, enum umdev_bus_mode mode, bool all, uint64_t limit)
{
    struct fixture *fixture = *state;

    test_domain_bind(&domain, fixture->iommu, mode, APERTURE, all, limit);
    return fixture;
}

/* All memory goes; no pins were left. */
static void end(struct fixture *fixture)
{
    assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
    assert_int_equal(iommu_take_torn(fixture->iommu), 0);
    test_domain_end(&domain);
}

static uint64_t pinned_bytes(const struct fixture *fixture)
{
    struct iommu_stats stats;

    iommu_get_stats(fixture->iommu, &stats);
    return stats.pinned_bytes;
}

static int pin(const struct fixture *fixture, uint64_t iova, size_t count, unsigned prot)
{
    return iommu_pin(fixture->iommu, IOVA(iova), count, prot, NULL);
}

static size_t unpin(const struct fixture *fixture, uint64_t iova, size_t count)
{
    return iommu_unpin(fixture->iommu, IOVA(iova), count);
}

/* So many pages are in the parent's IOMMU. Without one there is nothing to look at. */
static void assert_inside(size_t pages)
{
    if (domain.domain->mode != UMDEV_BUS_IDENTITY)
        assert_int_equal(domain.count, pages);
}

static void assert_leads_nowhere(umdev_bus_t bus)
{
    if (domain.domain->mode != UMDEV_BUS_IDENTITY)
        assert_null(test_domain_at(&domain, bus.value));
}

/* That `bus` leads to the page of the fixture's file with this number. */
static void assert_leads_to(const struct fixture *fixture, umdev_bus_t bus, uint64_t file_page,
                            unsigned prot)
{
    const struct domain_page *page = test_domain_at(&domain, bus.value);
    uint64_t tag = 0x7a60000 + file_page, seen;

    assert_non_null(page);
    if (domain.domain->mode != UMDEV_BUS_IDENTITY)
        assert_int_equal(page->prot, prot);
    assert_int_equal(pwrite(fixture->fd, &tag, sizeof(tag), (off_t)(file_page * PAGE)),
                     sizeof(tag));
    memcpy(&seen, page->memory, sizeof(seen));
    assert_int_equal(seen, tag);
}

static const enum umdev_bus_mode modes[] = {UMDEV_BUS_IDENTITY, UMDEV_BUS_CONTIGUOUS,
                                            UMDEV_BUS_PAGED};

static void pins_lead_to_the_memory(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);
        umdev_bus_t bus[6];

        /* Two mappings, neighbours in IOVAs, not in the file. */
        fixture_map(fixture, BASE, 4 * PAGE, 8 * PAGE, UMDEV_RW);
        fixture_map(fixture, BASE + 4 * PAGE, 4 * PAGE, 0, UMDEV_RW);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + PAGE + 5), 6, UMDEV_RW, bus), 0);
        for (uint64_t i = 0; i < 6; i++)
            assert_leads_to(fixture, bus[i], i < 3 ? 9 + i : i - 3, UMDEV_RW);
        assert_inside(6);
        assert_int_equal(pinned_bytes(fixture), 6 * PAGE);
        assert_int_equal(unpin(fixture, BASE + PAGE, 6), 0);
        assert_inside(0);
        assert_int_equal(pinned_bytes(fixture), 0);
        end(fixture);
    }
}

static void contiguous_pages_follow_each_other(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_CONTIGUOUS, false, 0);
    umdev_bus_t first[2], second[2];

    fixture_map(fixture, BASE, 8 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 2, UMDEV_RW, first), 0);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + 6 * PAGE), 2, UMDEV_RW, second), 0);
    assert_int_equal(second[1].value - first[0].value, 7 * PAGE);
    assert_int_equal(domain.maps, 2);
    assert_int_equal(unpin(fixture, BASE, 8), 4);
    assert_int_equal(domain.flushes, 1);
    end(fixture);
}

static void what_can_not_be_pinned(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_PAGED, false, 0);

    fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_READ);
    fixture_map(fixture, BASE + 4 * PAGE, 4 * PAGE, 0, UMDEV_WRITE);
    assert_int_equal(iommu_map(fixture->iommu, IOVA(BASE + 8 * PAGE), PAGE, -1, 0, UMDEV_RW), 0);
    assert_int_equal(pin(fixture, BASE, 0, UMDEV_READ), -EINVAL);
    assert_int_equal(pin(fixture, BASE, 1, 0), -EINVAL);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_RW | 4), -EINVAL);
    assert_int_equal(pin(fixture, BASE, UMDEV_PIN_MAX + 1, UMDEV_READ), -E2BIG);
    assert_int_equal(pin(fixture, BASE, SIZE_MAX, UMDEV_READ), -E2BIG);
    assert_int_equal(pin(fixture, UINT64_MAX, 2, UMDEV_READ), -EINVAL);
    assert_int_equal(pin(fixture, UINT64_MAX, 1, UMDEV_READ), -EINVAL);
    assert_int_equal(pin(fixture, BASE - PAGE, 2, UMDEV_READ), -EINVAL);
    assert_int_equal(pin(fixture, BASE + 8 * PAGE, 2, UMDEV_READ), -EOPNOTSUPP);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE), -EPERM);
    assert_int_equal(pin(fixture, BASE + 4 * PAGE, 1, UMDEV_READ), -EPERM);
    assert_int_equal(pin(fixture, BASE + 3 * PAGE, 2, UMDEV_READ), -EPERM);
    assert_int_equal(pin(fixture, BASE + 7 * PAGE, 2, UMDEV_WRITE), -EOPNOTSUPP);
    assert_int_equal(domain.maps, 0);
    assert_int_equal(iommu_unmap_begin(fixture->iommu, IOVA(BASE), 4 * PAGE), 0);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ), -EINVAL);
    end(fixture);
}

static void the_last_page_of_all(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_CONTIGUOUS, false, 0);
    uint64_t last = UINT64_MAX - PAGE + 1;
    umdev_bus_t bus[2];

    fixture_map(fixture, last - PAGE, 2 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(UINT64_MAX - PAGE), 2, UMDEV_RW, bus), 0);
    assert_leads_to(fixture, bus[1], 1, UMDEV_RW);
    assert_int_equal(unpin(fixture, last - PAGE, 2), 0);
    end(fixture);
}

static void a_page_is_counted(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 2 * PAGE);

        fixture_map(fixture, BASE, 8 * PAGE, 0, UMDEV_RW);
        for (int i = 0; i < 300; i++)
            assert_int_equal(pin(fixture, BASE, 2, UMDEV_READ), 0);
        assert_inside(2);
        assert_int_equal(pinned_bytes(fixture), 2 * PAGE);
        /* The limit is full, but for what is pinned already. */
        assert_int_equal(pin(fixture, BASE + PAGE, 2, UMDEV_READ), -ENOMEM);
        assert_int_equal(pin(fixture, BASE + 2 * PAGE, 1, UMDEV_READ), -ENOMEM);
        for (int i = 0; i < 299; i++)
            assert_int_equal(unpin(fixture, BASE, 2), 0);
        assert_inside(2);
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        assert_inside(1);
        assert_int_equal(pin(fixture, BASE + PAGE, 2, UMDEV_READ), 0);
        assert_int_equal(unpin(fixture, BASE, 8), 6);
        assert_int_equal(unpin(fixture, BASE, 8), 7);
        assert_int_equal(unpin(fixture, BASE, 8), 8);
        end(fixture);
    }
}

static void a_pin_for_writing_widens(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);
        umdev_bus_t bus[4], again[4];

        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 4, UMDEV_READ, bus), 0);
        assert_leads_to(fixture, bus[1], 1, UMDEV_READ);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + PAGE), 2, UMDEV_WRITE, again), 0);
        assert_int_equal(again[0].value, bus[1].value);
        assert_leads_to(fixture, bus[0], 0, UMDEV_READ);
        assert_leads_to(fixture, bus[1], 1, UMDEV_RW);
        assert_leads_to(fixture, bus[2], 2, UMDEV_RW);
        assert_leads_to(fixture, bus[3], 3, UMDEV_READ);
        assert_int_equal(unpin(fixture, BASE, 4), 0);
        assert_int_equal(unpin(fixture, BASE + PAGE, 2), 0);
        end(fixture);
    }
}

static void write_only_memory_is_not_read(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_PAGED, false, 0);
    umdev_bus_t bus;

    fixture_map(fixture, BASE, PAGE, 0, UMDEV_WRITE);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 1, UMDEV_WRITE, &bus), 0);
    assert_leads_to(fixture, bus, 0, UMDEV_WRITE);
    assert_int_equal(unpin(fixture, BASE, 1), 0);
    end(fixture);
}

static void all_or_nothing_where_the_domain_refuses(void **state)
{
    for (size_t m = 1; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);

        for (uint64_t i = 0; i < 4; i++)
            fixture_map(fixture, BASE + i * PAGE, PAGE, (3 - i) * 2 * PAGE, UMDEV_RW);
        assert_int_equal(pin(fixture, BASE + 2 * PAGE, 1, UMDEV_READ), 0);
        for (int n = 0; n < 3; n++) {
            domain.fail_after = n;
            assert_int_equal(pin(fixture, BASE, 4, UMDEV_READ), -ENXIO);
            assert_inside(1);
            assert_int_equal(pinned_bytes(fixture), PAGE);
        }
        domain.fail_after = -1;
        assert_int_equal(pin(fixture, BASE, 4, UMDEV_READ), 0);
        assert_int_equal(unpin(fixture, BASE, 4), 0);
        assert_int_equal(unpin(fixture, BASE + 2 * PAGE, 1), 0);
        end(fixture);
    }
}

static void bus_addresses_run_out(void **state)
{
    struct fixture *fixture = *state;
    umdev_bus_t bus[8];

    test_domain_bind(&domain, fixture->iommu, UMDEV_BUS_PAGED, 6, false, 0);
    fixture_map(fixture, BASE, 8 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 8, UMDEV_RW, bus), -ENOSPC);
    assert_inside(0);
    assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 6, UMDEV_RW, bus), 0);
    assert_int_equal(pin(fixture, BASE + 6 * PAGE, 1, UMDEV_RW), -ENOSPC);
    assert_int_equal(unpin(fixture, BASE, 6), 0);
    end(fixture);

    test_domain_bind(&domain, fixture->iommu, UMDEV_BUS_CONTIGUOUS, 6, false, 0);
    fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_map(fixture->iommu, IOVA(0), 3 * PAGE, fixture->fd, 0, UMDEV_RW),
                     -ENOSPC);
    fixture_assert_logged(fixture, "bus addresses");
    fixture_map(fixture, 0, 2 * PAGE, 0, UMDEV_RW);
    end(fixture);
}

/* ------------------------------------------------------------------ endings */

static void pins_left_behind_are_torn(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);
        umdev_bus_t bus;

        fixture_map(fixture, BASE, 2 * PAGE, 0, UMDEV_RW);
        fixture_map(fixture, BASE + 2 * PAGE, 2 * PAGE, 2 * PAGE, UMDEV_RW);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + PAGE), 1, UMDEV_RW, &bus), 0);
        assert_int_equal(pin(fixture, BASE + PAGE, 2, UMDEV_RW), 0);
        fixture_unmap(fixture, BASE, 2 * PAGE, 2 * PAGE);
        assert_int_equal(iommu_take_torn(fixture->iommu), 2);
        assert_int_equal(iommu_take_torn(fixture->iommu), 0);
        assert_leads_nowhere(bus);
        assert_int_equal(domain.stale, 0);
        /* Without an IOMMU the address still is memory. */
        if (modes[m] == UMDEV_BUS_IDENTITY)
            *(volatile uint8_t *)(uintptr_t)bus.value = 1;
        /* What was torn is not pinned; the other mapping's still is. */
        assert_int_equal(unpin(fixture, BASE + PAGE, 2), 1);
        assert_int_equal(unpin(fixture, BASE + PAGE, 2), 2);
        iommu_pins_end(fixture->iommu);
        end(fixture);
    }
}

static void pins_do_not_move_to_what_is_mapped_next(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);
        umdev_bus_t old, new;

        fixture_map(fixture, BASE, PAGE, 0, UMDEV_RW);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 1, UMDEV_RW, &old), 0);
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        fixture_unmap(fixture, BASE, PAGE, PAGE);
        fixture_map(fixture, BASE, PAGE, 3 * PAGE, UMDEV_RW);
        assert_int_equal(unpin(fixture, BASE, 1), 1);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 1, UMDEV_READ, &new), 0);
        assert_leads_to(fixture, new, 3, UMDEV_READ);
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        end(fixture);
    }
}

/* ------------------------------------------------------------------ pin-all */

static void pin_all_pins_at_the_mapping(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], true, 8 * PAGE);
        umdev_bus_t bus[2];

        fixture_map(fixture, BASE, 6 * PAGE, 4 * PAGE, UMDEV_RW);
        assert_int_equal(iommu_map(fixture->iommu, IOVA(0), PAGE, -1, 0, UMDEV_RW), 0);
        assert_inside(6);
        assert_int_equal(pinned_bytes(fixture), 6 * PAGE);
        assert_int_equal(iommu_map(fixture->iommu, IOVA(PAGE), 3 * PAGE, fixture->fd, 0, UMDEV_RW),
                         -ENOMEM);
        assert_inside(6);
        assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + PAGE), 2, UMDEV_RW, bus), 0);
        assert_leads_to(fixture, bus[1], 6, UMDEV_RW);
        assert_int_equal(pinned_bytes(fixture), 6 * PAGE);
        assert_int_equal(unpin(fixture, BASE + PAGE, 2), 0);
        assert_inside(6);
        /* The pins of the mapping's birth are not the driver's to take. */
        assert_int_equal(unpin(fixture, BASE, 6), 6);
        assert_inside(6);
        assert_int_equal(pin(fixture, BASE, 1, UMDEV_RW), 0);
        fixture_unmap(fixture, BASE, 6 * PAGE, 6 * PAGE);
        assert_int_equal(iommu_take_torn(fixture->iommu), 1);
        assert_inside(0);
        assert_int_equal(pinned_bytes(fixture), 0);
        iommu_pins_end(fixture->iommu);
        end(fixture);
    }
}

static void pin_all_where_the_domain_refuses(void **state)
{
    for (size_t m = 1; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], true, 0);

        domain.fail_after = 0;
        assert_int_equal(iommu_map(fixture->iommu, IOVA(BASE), 4 * PAGE, fixture->fd, 0, UMDEV_RW),
                         -ENXIO);
        assert_inside(0);
        assert_int_equal(pinned_bytes(fixture), 0);
        domain.fail_after = -1;
        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        end(fixture);
    }
}

/* ------------------------------------------------------------------ protection */

static void pins_follow_a_protection(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        for (int all = 0; all < 2; all++) {
            struct fixture *fixture = begin(state, modes[m], all, 0);
            umdev_bus_t bus[2];

            fixture_map(fixture, BASE, 2 * PAGE, 0, UMDEV_RW);
            assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE), 2, UMDEV_READ, bus), 0);
            assert_leads_to(fixture, bus[0], 0, all ? UMDEV_RW : UMDEV_READ);
            /* Nobody writes: the pins stay, at the same place. */
            assert_int_equal(iommu_protect(fixture->iommu, IOVA(BASE), 2 * PAGE, UMDEV_READ), 0);
            assert_int_equal(iommu_take_torn(fixture->iommu), 0);
            assert_leads_to(fixture, bus[0], 0, UMDEV_READ);
            assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE), -EPERM);
            assert_int_equal(iommu_protect(fixture->iommu, IOVA(BASE), 2 * PAGE, UMDEV_RW), 0);
            assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE), 0);
            assert_leads_to(fixture, bus[0], 0, UMDEV_RW);
            /* A pin for writing does not survive the loss of writing. */
            assert_int_equal(iommu_protect(fixture->iommu, IOVA(BASE), 2 * PAGE, UMDEV_READ), 0);
            assert_int_equal(iommu_take_torn(fixture->iommu), 3);
            if (all)
                assert_leads_to(fixture, bus[0], 0, UMDEV_READ);
            else
                assert_leads_nowhere(bus[0]);
            assert_int_equal(unpin(fixture, BASE, 2), 2);
            assert_int_equal(pin(fixture, BASE, 2, UMDEV_READ), 0);
            assert_int_equal(unpin(fixture, BASE, 2), 0);
            iommu_pins_end(fixture->iommu);
            end(fixture);
        }
    }
}

/* ------------------------------------------------------------------ the log of writes */

/* Pages of [BASE, BASE + 8 pages) that are dirty, a bit each. */
static uint64_t report(const struct fixture *fixture)
{
    uint64_t bitmap[1];

    assert_int_equal(
        dirty_log_report(iommu_dirty_log(fixture->iommu), BASE, 8 * PAGE, PAGE, bitmap), 0);
    return bitmap[0];
}

static void pins_for_writing_are_dirty(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);

        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        fixture_map(fixture, BASE + 4 * PAGE, 4 * PAGE, 4 * PAGE, UMDEV_RW);
        assert_int_equal(pin(fixture, BASE + PAGE, 1, UMDEV_RW), 0);
        assert_int_equal(dirty_log_start(iommu_dirty_log(fixture->iommu), PAGE, NULL, 0), 0);
        assert_int_equal(report(fixture), 0x02);
        assert_int_equal(pin(fixture, BASE + 3 * PAGE, 2, UMDEV_WRITE), 0);
        assert_int_equal(pin(fixture, BASE + 6 * PAGE, 2, UMDEV_READ), 0);
        /* For as long as they are held, and once more after that. */
        assert_int_equal(report(fixture), 0x1a);
        assert_int_equal(report(fixture), 0x1a);
        assert_int_equal(unpin(fixture, BASE + 3 * PAGE, 2), 0);
        assert_int_equal(report(fixture), 0x1a);
        assert_int_equal(report(fixture), 0x02);
        assert_int_equal(unpin(fixture, BASE + PAGE, 1), 0);
        assert_int_equal(unpin(fixture, BASE + 6 * PAGE, 2), 0);
        assert_int_equal(report(fixture), 0x02);
        assert_int_equal(report(fixture), 0);
        dirty_log_stop(iommu_dirty_log(fixture->iommu));
        end(fixture);
    }
}

/* What is torn was pinned till then. */
static void torn_pins_are_dirty(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);

        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        fixture_map(fixture, BASE + 4 * PAGE, 4 * PAGE, 4 * PAGE, UMDEV_RW);
        assert_int_equal(dirty_log_start(iommu_dirty_log(fixture->iommu), PAGE, NULL, 0), 0);
        assert_int_equal(pin(fixture, BASE + PAGE, 4, UMDEV_RW), 0);
        assert_int_equal(pin(fixture, BASE + 7 * PAGE, 1, UMDEV_READ), 0);
        assert_int_equal(report(fixture), 0x1e);
        assert_int_equal(iommu_protect(fixture->iommu, IOVA(BASE + 4 * PAGE), 4 * PAGE, UMDEV_READ),
                         0);
        fixture_unmap(fixture, BASE, 4 * PAGE, 4 * PAGE);
        assert_int_equal(iommu_take_torn(fixture->iommu), 5);
        assert_int_equal(report(fixture), 0x1e);
        assert_int_equal(report(fixture), 0);
        dirty_log_stop(iommu_dirty_log(fixture->iommu));
        iommu_pins_end(fixture->iommu);
        end(fixture);
    }
}

/* Until the driver pins by itself, all that it may write is dirty. */
static void pin_all_is_dirty(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], true, 0);

        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        fixture_map(fixture, BASE + 4 * PAGE, 4 * PAGE, 4 * PAGE, UMDEV_READ);
        assert_int_equal(dirty_log_start(iommu_dirty_log(fixture->iommu), PAGE, NULL, 0), 0);
        assert_int_equal(report(fixture), 0x0f);
        assert_int_equal(report(fixture), 0x0f);
        assert_int_equal(pin(fixture, BASE, 1, UMDEV_RW), 0);
        assert_int_equal(report(fixture), 0x0f);
        assert_int_equal(report(fixture), 0x01);
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        assert_int_equal(report(fixture), 0x01);
        assert_int_equal(report(fixture), 0);
        dirty_log_stop(iommu_dirty_log(fixture->iommu));
        iommu_pins_end(fixture->iommu);
        end(fixture);
    }
}

/* ------------------------------------------------------------------ failing calls */

static int attempt_pin(void *opaque)
{
    const struct fixture *fixture = opaque;
    int ret = iommu_map(fixture->iommu, IOVA(BASE), 4 * PAGE, fixture->fd, 0, UMDEV_RW);

    if (!ret)
        ret = iommu_map(fixture->iommu, IOVA(BASE + 4 * PAGE), 4 * PAGE, fixture->fd, 8 * PAGE,
                        UMDEV_RW);
    if (!ret)
        ret = pin(fixture, BASE + PAGE, 6, UMDEV_RW);
    if (ret) {
        assert_int_equal(iommu_take_torn(fixture->iommu), 0);
        assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
        assert_int_equal(iommu_take_torn(fixture->iommu), 0);
    }
    return ret;
}

static void attempt_undo(void *opaque)
{
    const struct fixture *fixture = opaque;

    assert_int_equal(unpin(fixture, BASE + PAGE, 6), 0);
    assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
}

static void failures_leave_nothing(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        for (int all = 0; all < 2; all++) {
            struct fixture *fixture = begin(state, modes[m], all, 0);

            assert_true(failnth_run(attempt_pin, attempt_undo, fixture) > 3);
            end(fixture);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(pins_lead_to_the_memory),
        TEST(contiguous_pages_follow_each_other),
        TEST(what_can_not_be_pinned),
        TEST(the_last_page_of_all),
        TEST(a_page_is_counted),
        TEST(a_pin_for_writing_widens),
        TEST(write_only_memory_is_not_read),
        TEST(all_or_nothing_where_the_domain_refuses),
        TEST(bus_addresses_run_out),
        TEST(pins_left_behind_are_torn),
        TEST(pins_do_not_move_to_what_is_mapped_next),
        TEST(pin_all_pins_at_the_mapping),
        TEST(pin_all_where_the_domain_refuses),
        TEST(pins_follow_a_protection),
        TEST(pins_for_writing_are_dirty),
        TEST(torn_pins_are_dirty),
        TEST(pin_all_is_dirty),
        cmocka_unit_test_setup_teardown(failures_leave_nothing, fixture_setup_unwatched,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
