/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI, MSI-X, ERR, REQ; switching between indices; reset and the client's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "irq_fixture.h"

#include "base/range.h"

/* ------------------------------------------------------------------ loopback */

static void test_loopback_of_many_vectors(void **state)
{
    static const uint8_t every_other[] = {1, 0, 255, 0};
    struct fixture *f = *state;
    int fds[] = {f->a, f->a, f->b, f->b};

    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSI, 0, 4, fds, 4), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, MSI, 1, 3), 0);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_count(f->b), 2);
    assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, MSI, 0, 4, every_other), 0);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_count(f->b), 1);
    assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, MSI, 0, 0, NULL), 0);
    /* Where the client does not listen, it does not hear itself. */
    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, MSI, 0, 2), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, MSI, 0, 4), 0);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_count(f->b), 2);
}

/* ------------------------------------------------------------------ one index at a time */

static void test_only_one_of_three_is_enabled(void **state)
{
    struct fixture *f = *state;

    for (unsigned first = INTX; first <= MSIX; first++) {
        assert_int_equal(fixture_listen(f->irqs, first, 0, f->a), 0);
        for (unsigned second = INTX; second <= MSIX; second++) {
            if (second == first)
                continue;
            assert_int_equal(fixture_listen(f->irqs, second, 0, f->b), -EINVAL);
            assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, second, 0, 1), -EINVAL);
            assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, second, 0, 0), -EINVAL);
        }
        /* ERR and REQ are apart. */
        assert_int_equal(fixture_listen(f->irqs, ERR, 0, f->b), 0);
        assert_int_equal(fixture_listen(f->irqs, REQ, 0, f->b), 0);
        /* Without a listener it is enabled still. */
        assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, first, 0, 1), 0);
        assert_int_equal(fixture_listen(f->irqs, (first + 1) % 3, 0, f->b), -EINVAL);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, first, 0, 0), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, first, 0, 0), -EINVAL);
    }
}

/* ------------------------------------------------------------------ MSI, MSI-X */

/* What QEMU does: enable with one vector and no fd, then vector by vector, some without. */
static void test_msix_grows(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, MSIX, 0, 1), 0);
    irqs_trigger(f->irqs, MSIX, 0);
    irqs_trigger(f->irqs, MSIX, NUM_MSIX - 1);
    assert_int_equal(fixture_listen(f->irqs, MSIX, NUM_MSIX - 1, f->a), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, MSIX, 1, 1), 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, f->b), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, MSIX, 5, 0), 0);
    assert_int_equal(fixture_count(f->a) + fixture_count(f->b), 0);
    irqs_trigger(f->irqs, MSIX, 0);
    irqs_trigger(f->irqs, MSIX, 1);
    irqs_trigger(f->irqs, MSIX, NUM_MSIX - 1);
    irqs_trigger(f->irqs, MSIX, NUM_MSIX - 1);
    assert_int_equal(fixture_count(f->a), 2);
    assert_int_equal(fixture_count(f->b), 1);

    /* De-assigned: just that vector. */
    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, MSIX, 0, 2), 0);
    irqs_trigger(f->irqs, MSIX, 0);
    irqs_trigger(f->irqs, MSIX, NUM_MSIX - 1);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_count(f->b), 0);
}

/* A list of fds that is too long for one message arrives in several. */
static void test_msi_in_two_messages(void **state)
{
    struct fixture *f = *state;
    int fds[] = {f->a, f->b};

    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSI, 0, 2, fds, 2), 0);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSI, 2, 2, fds, 2), 0);
    for (unsigned vector = 0; vector < NUM_MSI; vector++)
        irqs_trigger(f->irqs, MSI, vector);
    assert_int_equal(fixture_count(f->a), 2);
    assert_int_equal(fixture_count(f->b), 2);
}

static void test_disable_wherever_start_is(void **state)
{
    struct fixture *f = *state;
    static const struct {
        unsigned index;
        uint32_t start;
    } rows[] = {{MSI, 0}, {MSI, NUM_MSI - 1}, {MSIX, 0}, {MSIX, 1}, {MSIX, NUM_MSIX - 1}};

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(fixture_listen(f->irqs, rows[i].index, 0, f->a), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, rows[i].index, rows[i].start, 0), 0);
        irqs_trigger(f->irqs, rows[i].index, 0);
        assert_int_equal(fixture_count(f->a), 0);
        /* Really off: another may be enabled. */
        assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 0), 0);
    }
}

static void test_msix_masks(void **state)
{
    struct fixture *f = *state;

    /* Not enabled: lost, not pending. */
    irqs_msix_set_vector_mask(f->irqs, 65, true);
    irqs_trigger(f->irqs, MSIX, 65);
    assert_int_equal(irqs_msix_pending(f->irqs, 1), 0);

    assert_int_equal(fixture_listen(f->irqs, MSIX, 65, f->a), 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 2, f->b), 0);
    irqs_trigger(f->irqs, MSIX, 65);
    irqs_trigger(f->irqs, MSIX, 65);
    irqs_trigger(f->irqs, MSIX, 2);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_count(f->b), 1);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
    assert_int_equal(irqs_msix_pending(f->irqs, 1), 1 << 1);
    assert_int_equal(irqs_msix_pending(f->irqs, 32), 0);
    assert_int_equal(irqs_msix_pending(f->irqs, UINT32_MAX), 0);

    /* The function mask adds to it, and does not stand for it. */
    irqs_msix_set_function_mask(f->irqs, true);
    irqs_trigger(f->irqs, MSIX, 2);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 1 << 2);
    irqs_msix_set_vector_mask(f->irqs, 65, false);
    assert_int_equal(fixture_count(f->a), 0);
    irqs_msix_set_vector_mask(f->irqs, 65, true);
    irqs_msix_set_function_mask(f->irqs, false);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_count(f->b), 1);
    irqs_msix_set_vector_mask(f->irqs, 65, false);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
    assert_int_equal(irqs_msix_pending(f->irqs, 1), 0);

    /* The client's own triggers know no mask; out of range is ignored. */
    irqs_msix_set_vector_mask(f->irqs, 2, true);
    irqs_msix_set_vector_mask(f->irqs, NUM_MSIX, true);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, MSIX, 2, 1), 0);
    assert_int_equal(fixture_count(f->b), 1);
    /* Disabling drops what is pending. */
    irqs_trigger(f->irqs, MSIX, 2);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 1 << 2);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, MSIX, 0, 0), 0);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 2, f->b), 0);
    irqs_msix_set_vector_mask(f->irqs, 2, false);
    assert_int_equal(fixture_count(f->b), 0);
}

/* ------------------------------------------------------------------ ERR, REQ */

static void test_err_and_req(void **state)
{
    struct fixture *f = *state;

    for (unsigned index = ERR; index <= REQ; index++) {
        /* Nobody listens. */
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 0), -EINVAL);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 1), -EINVAL);
        assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, index, 0, 1, bool_true), 0);
        assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, index, 0, 0, bool_true), -EINVAL);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, index, 0, 0), -EINVAL);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, index, 0, 1), 0);

        assert_int_equal(fixture_listen(f->irqs, index, 0, f->a), 0);
        irqs_trigger(f->irqs, index, 0);
        assert_int_equal(fixture_count(f->a), 1);
        assert_int_equal(fixture_listen(f->irqs, index, 0, f->b), 0);
        irqs_trigger(f->irqs, index, 0);
        assert_int_equal(fixture_count(f->a), 0);
        assert_int_equal(fixture_count(f->b), 1);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, index, 0, 1), 0);
        irqs_trigger(f->irqs, index, 0);
        assert_int_equal(fixture_count(f->b), 0);
    }
}

/* ------------------------------------------------------------------ reset, clear */

static void test_reset_keeps_the_listeners(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, MSIX, 1, f->a), 0);
    irqs_msix_set_vector_mask(f->irqs, 1, true);
    irqs_trigger(f->irqs, MSIX, 1);
    irqs_set_level(f->irqs, true);
    irqs_reset(f->irqs);
    assert_false(irqs_level(f->irqs));
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
    assert_int_equal(fixture_count(f->a), 0);
    irqs_trigger(f->irqs, MSIX, 1);
    assert_int_equal(fixture_count(f->a), 1);
    irqs_msix_set_function_mask(f->irqs, true);
    irqs_reset(f->irqs);
    irqs_trigger(f->irqs, MSIX, 1);
    assert_int_equal(fixture_count(f->a), 1);
}

static void test_clear_drops_everything(void **state)
{
    struct fixture *f = *state;
    unsigned before = leaks_count_fds();
    const int fds[] = {f->a, f->a, f->a, f->a};

    for (unsigned index = INTX; index <= MSIX; index++) {
        assert_int_equal(fixture_listen(f->irqs, ERR, 0, f->a), 0);
        assert_int_equal(fixture_listen(f->irqs, REQ, 0, f->a), 0);
        assert_int_equal(
            fixture_set_fds(f->irqs, TRIGGER, index, 0, index ? 4 : 1, fds, index ? 4 : 1), 0);
        if (index == INTX)
            assert_int_equal(fixture_set_fds(f->irqs, UNMASK, INTX, 0, 1, &f->b, 1), 0);
        irqs_msix_set_vector_mask(f->irqs, 0, true);
        irqs_trigger(f->irqs, MSIX, 0);
        irqs_clear(f->irqs);
        assert_int_equal(leaks_count_fds(), before);
        assert_int_equal(irqs_unmask_fd(f->irqs), -1);
        assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
        irqs_msix_set_vector_mask(f->irqs, 0, false);
        for (unsigned any = MSI; any <= REQ; any++)
            irqs_trigger(f->irqs, any, 0);
        assert_int_equal(fixture_count(f->a), 0);
    }
}

/* A client may make its eventfd non-blocking and fill it: the write fails at once. */
static void test_full_nonblocking_eventfd(void **state)
{
    struct fixture *f = *state;
    const uint64_t full = UINT64_MAX - 1;

    assert_int_equal(fcntl(f->a, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(write(f->a, &full, sizeof(full)), sizeof(full));
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, f->a), 0);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, 0), 0);
    assert_int_equal(irqs_signalled(f->irqs), 0);
    assert_true(fixture_count(f->a) == full);
    irqs_trigger(f->irqs, MSIX, 0);
    assert_int_equal(fixture_count(f->a), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_loopback_of_many_vectors),
        FIXTURE_TEST(test_only_one_of_three_is_enabled),
        FIXTURE_TEST(test_msix_grows),
        FIXTURE_TEST(test_msi_in_two_messages),
        FIXTURE_TEST(test_disable_wherever_start_is),
        FIXTURE_TEST(test_msix_masks),
        FIXTURE_TEST(test_err_and_req),
        FIXTURE_TEST(test_reset_keeps_the_listeners),
        FIXTURE_TEST(test_clear_drops_everything),
        FIXTURE_TEST(test_full_nonblocking_eventfd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
