/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins that fail half-way, and pins that are taken back: what the parent's IOMMU has afterwards.
 */
#include "pin_domain.h"

#include "guard.h"

#include <errno.h>
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

static void end(struct fixture *fixture)
{
    assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
    iommu_pins_end(fixture->iommu);
    test_domain_end(&domain);
}

static int pin(const struct fixture *fixture, uint64_t iova, size_t count, unsigned prot,
               umdev_bus_t *bus)
{
    return iommu_pin(fixture->iommu, IOVA(iova), count, prot, bus);
}

static size_t unpin(const struct fixture *fixture, uint64_t iova, size_t count)
{
    return iommu_unpin(fixture->iommu, IOVA(iova), count);
}

static int protect(const struct fixture *fixture, uint64_t iova, uint64_t pages, unsigned prot)
{
    return iommu_protect(fixture->iommu, IOVA(iova), pages * PAGE, prot);
}

static void assert_prot(umdev_bus_t bus, unsigned prot)
{
    const struct domain_page *page = test_domain_at(&domain, bus.value);

    assert_non_null(page);
    assert_int_equal(page->prot, prot);
}

static const enum umdev_bus_mode modes[] = {UMDEV_BUS_CONTIGUOUS, UMDEV_BUS_PAGED};

/* ------------------------------------------------------------------ pins that fail */

static void what_is_pinned_stays_when_it_can_not_be_widened(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, 0);
        umdev_bus_t bus[2];

        fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
        /* Two runs, in the memory or in the bus addresses. */
        assert_int_equal(pin(fixture, BASE + 2 * PAGE, 1, UMDEV_READ, &bus[1]), 0);
        assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ, &bus[0]), 0);
        domain.fail_once = true;
        for (int n = 0; n < 3; n++) {
            domain.fail_after = n;
            assert_int_equal(pin(fixture, BASE, 3, UMDEV_WRITE, NULL), -ENXIO);
            assert_int_equal(domain.count, 2);
            assert_prot(bus[0], UMDEV_READ);
            assert_prot(bus[1], UMDEV_READ);
        }
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        assert_int_equal(unpin(fixture, BASE + 2 * PAGE, 1), 0);
        end(fixture);
    }
}

static void a_pin_that_fails_gives_no_writing(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct fixture *fixture = begin(state, modes[m], false, PAGE);
        umdev_bus_t bus;

        fixture_map(fixture, BASE, 2 * PAGE, 0, UMDEV_RW);
        assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ, &bus), 0);
        assert_int_equal(pin(fixture, BASE, 2, UMDEV_WRITE, NULL), -ENOMEM);
        assert_prot(bus, UMDEV_READ);
        assert_int_equal(protect(fixture, BASE, 2, UMDEV_READ), 0);
        assert_int_equal(iommu_take_torn(fixture->iommu), 0);
        assert_prot(bus, UMDEV_READ);
        assert_int_equal(unpin(fixture, BASE, 1), 0);
        end(fixture);
    }
}

/* In the second of two mappings, and in a leaf of each kind. */
static void a_pin_that_fails_later_gives_no_writing(void **state)
{
    static const unsigned others[] = {0, 140, 0};
    static const unsigned times[] = {1, 1, 200};

    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
            struct fixture *fixture = *state;
            int fd = fixture_memfd(150 * PAGE);
            umdev_bus_t bus;

            test_domain_bind(&domain, fixture->iommu, modes[m], APERTURE, false,
                             (others[k] + 1) * PAGE);
            assert_int_equal(iommu_map(fixture->iommu, IOVA(BASE), 150 * PAGE, fd, 0, UMDEV_RW), 0);
            fixture_map(fixture, BASE + 150 * PAGE, PAGE, 0, UMDEV_RW);
            if (others[k])
                assert_int_equal(pin(fixture, BASE, others[k], UMDEV_READ, NULL), 0);
            for (unsigned i = 0; i < times[k]; i++)
                assert_int_equal(pin(fixture, BASE + 149 * PAGE, 1, UMDEV_READ, &bus), 0);
            assert_int_equal(pin(fixture, BASE + 149 * PAGE, 2, UMDEV_WRITE, NULL), -ENOMEM);
            assert_prot(bus, UMDEV_READ);
            /* It is widened when it is to be. */
            assert_int_equal(pin(fixture, BASE + 149 * PAGE, 1, UMDEV_WRITE, NULL), 0);
            assert_prot(bus, UMDEV_RW);
            assert_int_equal(unpin(fixture, BASE + 149 * PAGE, 1), 0);
            iommu_unmap_all(fixture->iommu, 0);
            (void)iommu_take_torn(fixture->iommu);
            test_domain_end(&domain);
            close(fd);
        }
    }
}

/* Nobody holds it for writing: it is not torn when writing goes. */
static void a_pin_that_fails_does_not_count_as_written(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_IDENTITY, false, PAGE);

    fixture_map(fixture, BASE, PAGE, 0, UMDEV_RW);
    fixture_map(fixture, BASE + PAGE, PAGE, PAGE, UMDEV_RW);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ, NULL), 0);
    assert_int_equal(pin(fixture, BASE, 2, UMDEV_WRITE, NULL), -ENOMEM);
    assert_int_equal(protect(fixture, BASE, 2, UMDEV_READ), 0);
    assert_int_equal(iommu_take_torn(fixture->iommu), 0);
    assert_int_equal(unpin(fixture, BASE, 1), 0);
    end(fixture);
}

static void a_pin_that_fails_is_flushed(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_PAGED, false, 0);

    fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
    /* In the middle: what is new makes two runs. */
    assert_int_equal(pin(fixture, BASE + PAGE, 1, UMDEV_READ, NULL), 0);
    domain.fail_after = 1;
    assert_int_equal(pin(fixture, BASE, 3, UMDEV_READ, NULL), -ENXIO);
    domain.fail_after = -1;
    assert_int_equal(domain.stale, 0);
    assert_int_equal(unpin(fixture, BASE + PAGE, 1), 0);
    end(fixture);
}

static void memory_that_was_taken_away_is_not_pinned(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_PAGED, false, 0);
    uint8_t byte;

    guard_take_over();
    fixture_map(fixture, BASE, PAGE, 0, UMDEV_RW);
    assert_int_equal(ftruncate(fixture->fd, 0), 0);
    assert_int_equal(iommu_read(fixture->iommu, IOVA(BASE), &byte, 1), -EIO);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ, NULL), -EIO);
    end(fixture);
}

/* What lies past the end of the address space is not at its beginning. */
static void an_unpin_does_not_wrap(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_PAGED, false, 0);

    fixture_map(fixture, 0, PAGE, 0, UMDEV_RW);
    fixture_map(fixture, 0 - PAGE, PAGE, PAGE, UMDEV_RW);
    assert_int_equal(pin(fixture, 0, 1, UMDEV_READ, NULL), 0);
    assert_int_equal(pin(fixture, 0 - PAGE, 1, UMDEV_READ, NULL), 0);
    assert_int_equal(pin(fixture, 0 - PAGE, 2, UMDEV_READ, NULL), -EINVAL);
    assert_int_equal(unpin(fixture, 0 - UMDEV_PIN_MAX * PAGE, UMDEV_PIN_MAX + 1), UMDEV_PIN_MAX);
    assert_int_equal(unpin(fixture, 0, 1), 0);
    /* Those that there are count, however many are asked for. */
    assert_int_equal(pin(fixture, 0 - PAGE, 1, UMDEV_READ, NULL), 0);
    assert_int_equal(unpin(fixture, 0 - PAGE + 5, 2), 1);
    end(fixture);
}

/* ------------------------------------------------------------------ protection */

/* Without an IOMMU the driver has the address, and may go on using it. */
static void memory_stays_for_pins_that_a_protection_tore(void **state)
{
    struct fixture *fixture = begin(state, UMDEV_BUS_IDENTITY, false, 0);
    unsigned before = fixture_count_maps();
    umdev_bus_t bus;

    fixture_map(fixture, BASE, PAGE, 0, UMDEV_RW);
    assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE, &bus), 0);
    assert_int_equal(protect(fixture, BASE, 1, UMDEV_READ), 0);
    assert_int_equal(iommu_take_torn(fixture->iommu), 1);
    fixture_unmap(fixture, BASE, PAGE, PAGE);
    assert_int_equal(fixture_count_maps(), before + 1);
    iommu_pins_end(fixture->iommu);
    assert_int_equal(fixture_count_maps(), before);
    end(fixture);
}

/* What the domain does not take away by halves, it takes away. */
static void a_protection_that_the_domain_refuses_cuts(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        for (int all = 0; all < 2; all++) {
            struct fixture *fixture = begin(state, modes[m], all, 0);
            umdev_bus_t bus;

            fixture_map(fixture, BASE, 4 * PAGE, 0, UMDEV_RW);
            assert_int_equal(pin(fixture, BASE, 1, UMDEV_READ, &bus), 0);
            if (!all) {
                assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE, NULL), 0);
                assert_int_equal(pin(fixture, BASE + 2 * PAGE, 1, UMDEV_WRITE, NULL), 0);
                assert_int_equal(protect(fixture, BASE, 4, UMDEV_WRITE), 0);
                assert_int_equal(iommu_take_torn(fixture->iommu), 3);
                assert_int_equal(pin(fixture, BASE, 1, UMDEV_WRITE, &bus), 0);
                assert_int_equal(pin(fixture, BASE + 2 * PAGE, 1, UMDEV_WRITE, NULL), 0);
                domain.fail_after = 1;
                assert_int_equal(protect(fixture, BASE, 4, UMDEV_RW), 0);
            } else {
                domain.fail_after = 0;
                assert_int_equal(protect(fixture, BASE, 4, UMDEV_READ), 0);
            }
            domain.fail_after = -1;
            assert_true(iommu_take_torn(fixture->iommu) > 0);
            assert_null(test_domain_at(&domain, bus.value));
            assert_int_equal(domain.count, 0);
            assert_int_equal(domain.stale, 0);
            /* And again, as memory that nothing was pinned in. */
            assert_int_equal(pin(fixture, BASE, 1, all ? UMDEV_READ : UMDEV_RW, &bus), 0);
            assert_int_equal(domain.count, 1);
            assert_int_equal(unpin(fixture, BASE, 1), 0);
            end(fixture);
        }
    }
}

/* A client with many mappings does not make the driver wait for each. */
static void a_protection_is_flushed_once(void **state)
{
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        for (int all = 0; all < 2; all++) {
            struct fixture *fixture = begin(state, modes[m], all, 0);
            unsigned before;

            for (uint64_t i = 0; i < 16; i++)
                fixture_map(fixture, BASE + i * PAGE, PAGE, i * PAGE, UMDEV_RW);
            before = domain.flushes;
            assert_int_equal(protect(fixture, BASE, 16, UMDEV_READ), 0);
            assert_int_equal(domain.flushes, before + (unsigned)all);
            assert_int_equal(protect(fixture, BASE, 16, UMDEV_RW), 0);
            assert_int_equal(domain.flushes, before + (unsigned)all);
            end(fixture);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_pinned_stays_when_it_can_not_be_widened),
        TEST(a_pin_that_fails_gives_no_writing),
        TEST(a_pin_that_fails_later_gives_no_writing),
        TEST(a_pin_that_fails_does_not_count_as_written),
        TEST(a_pin_that_fails_is_flushed),
        TEST(memory_that_was_taken_away_is_not_pinned),
        TEST(an_unpin_does_not_wrap),
        TEST(memory_stays_for_pins_that_a_protection_tore),
        TEST(a_protection_that_the_domain_refuses_cuts),
        TEST(a_protection_is_flushed_once),
    };

    guard_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
