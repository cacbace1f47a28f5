/* SPDX-License-Identifier: BSD-3-Clause */
/* Birth, the checks of SET_IRQS, INTx row by row, loopback. */
#include "failnth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "irq_fixture.h"

#include "base/range.h"

/* ------------------------------------------------------------------ birth, info */

static int run_new(void *opaque)
{
    const struct irqs_config config = {.count = {1, 32, 2048, 1, 1}};

    return irqs_new(&config, opaque);
}

static void undo_new(void *opaque)
{
    irqs_free(*(struct irqs **)opaque);
}

static void test_new_fails_cleanly(void **state)
{
    struct irqs *irqs = NULL;

    (void)state;
    assert_int_equal(failnth_run(run_new, undo_new, &irqs), 6);
    irqs_free(NULL);
}

static void test_new_refuses_too_many(void **state)
{
    static const unsigned max[UMDEV_NUM_IRQS] = {1, 32, 2048, 1, 1};
    struct irqs *irqs = NULL;

    (void)state;
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++) {
        struct irqs_config config = {0};

        config.count[i] = max[i] + 1;
        assert_int_equal(irqs_new(&config, &irqs), -EINVAL);
        config.count[i] = max[i];
        assert_int_equal(irqs_new(&config, &irqs), 0);
        irqs_free(irqs);
    }
}

static void test_info(void **state)
{
    static const struct irqs_info expected[] = {
        {7, 1}, {9, NUM_MSI}, {1, NUM_MSIX}, {9, 1}, {9, 1}};
    struct fixture *f = *state;
    const struct irqs_config nothing = {0};
    struct irqs *none = NULL;
    struct irqs_info info;

    assert_int_equal(irqs_new(&nothing, &none), 0);
    for (unsigned i = 0; i < UMDEV_NUM_IRQS; i++) {
        assert_int_equal(irqs_get_info(f->irqs, i, &info), 0);
        assert_int_equal(info.flags, expected[i].flags);
        assert_int_equal(info.count, expected[i].count);
        assert_int_equal(irqs_get_info(none, i, &info), 0);
        assert_int_equal(info.count, 0);
        assert_int_equal(fixture_set(none, TRIGGER | NONE, i, 0, 0), -EINVAL);
    }
    assert_int_equal(irqs_get_info(f->irqs, UMDEV_NUM_IRQS, &info), -EINVAL);
    assert_int_equal(irqs_get_info(f->irqs, UINT32_MAX, &info), -EINVAL);
    assert_int_equal(irqs_set_level(none, true), -EINVAL);
    assert_int_equal(irqs_trigger(none, MSIX, 0), -EINVAL);
    irqs_set_intx_disabled(none, true);
    irqs_msix_set_vector_mask(none, 0, true);
    irqs_msix_set_function_mask(none, true);
    assert_int_equal(irqs_msix_pending(none, 0), 0);
    irqs_free(none);
}

/* ------------------------------------------------------------------ validation */

static void test_request_validation(void **state)
{
    static const struct {
        uint32_t flags;
        unsigned index;
        uint32_t start, count;
        int ret;
    } rows[] = {
        {TRIGGER | NONE, UMDEV_NUM_IRQS, 0, 0, -EINVAL},
        {TRIGGER | NONE, UINT32_MAX, 0, 0, -EINVAL},
        /* unknown flags */
        {TRIGGER | NONE | 1 << 6, MSIX, 0, 0, -EINVAL},
        {TRIGGER | NONE | 1u << 31, MSIX, 0, 0, -EINVAL},
        {TRIGGER | EVENTFD | 1 << 6, MSIX, 0, 1, -EINVAL},
        {TRIGGER | EVENTFD | 1u << 31, REQ, 0, 1, -EINVAL},
        /* not one DATA */
        {TRIGGER, MSIX, 0, 0, -EINVAL},
        {TRIGGER | NONE | BOOL, MSIX, 0, 0, -EINVAL},
        {TRIGGER | NONE | EVENTFD, MSIX, 0, 1, -EINVAL},
        {TRIGGER | NONE | BOOL | EVENTFD, MSIX, 0, 1, -EINVAL},
        {0, MSIX, 0, 0, -EINVAL},
        /* not one ACTION */
        {NONE, MSIX, 0, 1, -ENOTTY},
        {TRIGGER | MASK | NONE, INTX, 0, 1, -ENOTTY},
        {MASK | UNMASK | NONE, INTX, 0, 1, -ENOTTY},
        /* ranges, the overflowing ones included */
        {TRIGGER | NONE, MSIX, NUM_MSIX, 0, -EINVAL},
        {TRIGGER | NONE, MSIX, NUM_MSIX, 1, -EINVAL},
        {TRIGGER | NONE, MSIX, 0, NUM_MSIX + 1, -EINVAL},
        {TRIGGER | EVENTFD, MSIX, 1, NUM_MSIX, -EINVAL},
        {TRIGGER | EVENTFD, MSIX, 1, UINT32_MAX, -EINVAL},
        {TRIGGER | EVENTFD, MSIX, UINT32_MAX, 2, -EINVAL},
        {TRIGGER | EVENTFD, MSIX, UINT32_MAX, UINT32_MAX, -EINVAL},
        {TRIGGER | EVENTFD, INTX, 1, 0, -EINVAL},
        {TRIGGER | EVENTFD, ERR, 0, 2, -EINVAL},
        /* BOOL without its bytes */
        {TRIGGER | BOOL, MSIX, 0, 1, -EINVAL},
        /* masks that the index does not have */
        {MASK | NONE, MSI, 0, 1, -ENOTTY},
        {UNMASK | NONE, MSI, 0, 1, -ENOTTY},
        {MASK | NONE, MSIX, 0, 1, -ENOTTY},
        {UNMASK | EVENTFD, MSIX, 0, 1, -ENOTTY},
        {MASK | NONE, ERR, 0, 1, -ENOTTY},
        {UNMASK | NONE, REQ, 0, 1, -ENOTTY},
        /* not enabled */
        {MASK | NONE, INTX, 0, 1, -EINVAL},
        {UNMASK | NONE, INTX, 0, 1, -EINVAL},
        {TRIGGER | NONE, INTX, 0, 1, -EINVAL},
        {TRIGGER | NONE, INTX, 0, 0, -EINVAL},
        {TRIGGER | NONE, MSI, 0, 1, -EINVAL},
        {TRIGGER | NONE, MSI, 0, 0, -EINVAL},
        {TRIGGER | NONE, MSIX, 0, 0, -EINVAL},
        {TRIGGER | EVENTFD, MSI, 0, 0, -EINVAL},
        {TRIGGER | EVENTFD, MSIX, 3, 0, -EINVAL},
        {TRIGGER | EVENTFD, INTX, 0, 0, -EINVAL},
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        int ret = fixture_set(f->irqs, rows[i].flags, rows[i].index, rows[i].start, rows[i].count);

        if (ret != rows[i].ret)
            fail_msg("row %u: %d instead of %d", i, ret, rows[i].ret);
    }
    /* None of them enabled anything. */
    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
}

static void test_fds_must_be_eventfds_and_as_many(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int good[] = {f->a, f->b, f->a}, bad[] = {f->b, null, f->b};

    assert_true(null >= 0);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 2, good, 3), -EINVAL);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 2, good, 1), -EINVAL);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 0, good, 1), -EINVAL);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, INTX, 0, 1, &null, 1), -EINVAL);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, ERR, 0, 1, &null, 1), -EINVAL);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 3, bad, 3), -EINVAL);
    /* A refused first EVENTFD does not enable. */
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, MSIX, 0, 0), -EINVAL);

    /* All or nothing: the earlier listener is still there. */
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 1, good, 1), 0);
    assert_int_equal(fixture_set_fds(f->irqs, TRIGGER, MSIX, 0, 3, bad, 3), -EINVAL);
    for (unsigned vector = 0; vector < 3; vector++)
        assert_int_equal(irqs_trigger(f->irqs, MSIX, vector), 0);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_count(f->b), 0);
    close(null);
}

static void test_trigger_refuses(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(irqs_trigger(f->irqs, INTX, 0), -EINVAL);
    assert_int_equal(irqs_trigger(f->irqs, UMDEV_NUM_IRQS, 0), -EINVAL);
    assert_int_equal(irqs_trigger(f->irqs, MSI, NUM_MSI), -EINVAL);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, NUM_MSIX), -EINVAL);
    assert_int_equal(irqs_trigger(f->irqs, ERR, 1), -EINVAL);
    /* Nobody listens: lost, not an error. */
    assert_int_equal(irqs_trigger(f->irqs, MSIX, NUM_MSIX - 1), 0);
    assert_int_equal(irqs_trigger(f->irqs, ERR, 0), 0);
    assert_int_equal(irqs_signalled(f->irqs), 0);
}

/* ------------------------------------------------------------------ INTx */

static void test_intx_fires_once_and_again_at_unmask(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_false(irqs_level(f->irqs));
    irqs_set_level(f->irqs, true);
    irqs_set_level(f->irqs, true);
    assert_true(irqs_level(f->irqs));
    assert_int_equal(fixture_count(f->a), 1);

    /* Masked by having fired: a new edge does nothing. */
    irqs_set_level(f->irqs, false);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 0);

    /* Still raised: once more. Lowered: no more. */
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_count(f->a), 1);
    irqs_set_level(f->irqs, false);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_count(f->a), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(irqs_signalled(f->irqs), 3);
}

static void test_intx_mask_by_the_client(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_int_equal(fixture_set(f->irqs, MASK | NONE, INTX, 0, 0), -EINVAL);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 0), -EINVAL);
    assert_int_equal(fixture_set(f->irqs, MASK | EVENTFD, INTX, 0, 1), -ENOTTY);
    assert_int_equal(fixture_set_fds(f->irqs, MASK, INTX, 0, 1, &f->b, 1), -ENOTTY);

    assert_int_equal(fixture_set(f->irqs, MASK | NONE, INTX, 0, 1), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_set_bool(f->irqs, UNMASK, INTX, 0, 1, bool_false), 0);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_set_bool(f->irqs, UNMASK, INTX, 0, 1, bool_true), 0);
    assert_int_equal(fixture_count(f->a), 1);

    irqs_set_level(f->irqs, false);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_set_bool(f->irqs, MASK, INTX, 0, 1, bool_false), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 1);
    irqs_set_level(f->irqs, false);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_set_bool(f->irqs, MASK, INTX, 0, 1, bool_true), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 0);
}

static void test_intx_unmask_by_eventfd(void **state)
{
    struct fixture *f = *state;
    const uint64_t one = 1;

    assert_int_equal(fixture_set_fds(f->irqs, UNMASK, INTX, 0, 1, &f->b, 1), -EINVAL);
    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_int_equal(irqs_unmask_fd(f->irqs), -1);
    assert_int_equal(fixture_set_fds(f->irqs, UNMASK, INTX, 0, 1, &f->b, 1), 0);
    assert_true(irqs_unmask_fd(f->irqs) >= 0);
    assert_int_equal(fixture_set_fds(f->irqs, UNMASK, INTX, 0, 1, &f->b, 1), -EBUSY);

    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 1);
    /* Nothing to read: a false alarm neither blocks nor unmasks. */
    irqs_unmask_event(f->irqs);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(write(f->b, &one, sizeof(one)), sizeof(one));
    irqs_unmask_event(f->irqs);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_count(f->b), 0);

    /* Without an fd it is removed; another may follow. */
    assert_int_equal(fixture_set(f->irqs, UNMASK | EVENTFD, INTX, 0, 1), 0);
    assert_int_equal(irqs_unmask_fd(f->irqs), -1);
    assert_int_equal(fixture_set(f->irqs, UNMASK | EVENTFD, INTX, 0, 1), 0);
    irqs_unmask_event(f->irqs);
    assert_int_equal(fixture_set_fds(f->irqs, UNMASK, INTX, 0, 1, &f->b, 1), 0);
    /* It goes with the index. */
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 0), 0);
    assert_int_equal(irqs_unmask_fd(f->irqs), -1);
}

static void test_intx_disable_bit(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    irqs_set_intx_disabled(f->irqs, true);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_count(f->a), 0);
    assert_true(irqs_level(f->irqs));
    irqs_set_intx_disabled(f->irqs, false);
    assert_int_equal(fixture_count(f->a), 1);
    irqs_set_intx_disabled(f->irqs, true);
    irqs_set_intx_disabled(f->irqs, false);
    assert_int_equal(fixture_count(f->a), 0);
}

static void test_intx_without_an_fd_is_enabled_and_silent(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, INTX, 0, 1), 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, f->b), -EINVAL);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 1), 0);
    /* The line waits for a listener; the next one takes over. */
    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->b), 0);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_count(f->b), 1);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | EVENTFD, INTX, 0, 1), 0);
    assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    assert_int_equal(fixture_count(f->b), 0);
}

static void test_intx_enabled_anew_is_unmasked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 0), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 0);
    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_int_equal(fixture_count(f->a), 1);
}

/* ------------------------------------------------------------------ loopback */

static void test_loopback(void **state)
{
    struct fixture *f = *state;

    for (unsigned index = INTX; index <= REQ; index++) {
        assert_int_equal(fixture_listen(f->irqs, index, 0, f->a), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 1), 0);
        assert_int_equal(fixture_count(f->a), 1);
        assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, index, 0, 1, bool_true), 0);
        assert_int_equal(fixture_count(f->a), 1);
        assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, index, 0, 1, bool_false), 0);
        assert_int_equal(fixture_count(f->a), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 0), 0);
        assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 1), -EINVAL);
        assert_int_equal(fixture_count(f->a), 0);
    }
}

static void test_loopback_does_not_mask_intx(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, INTX, 0, 1), 0);
    irqs_set_level(f->irqs, true);
    assert_int_equal(fixture_count(f->a), 2);
    assert_int_equal(fixture_set_bool(f->irqs, TRIGGER, INTX, 0, 0, bool_true), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_fails_cleanly),
        cmocka_unit_test(test_new_refuses_too_many),
        FIXTURE_TEST(test_info),
        FIXTURE_TEST(test_request_validation),
        FIXTURE_TEST(test_fds_must_be_eventfds_and_as_many),
        FIXTURE_TEST(test_trigger_refuses),
        FIXTURE_TEST(test_intx_fires_once_and_again_at_unmask),
        FIXTURE_TEST(test_intx_mask_by_the_client),
        FIXTURE_TEST(test_intx_unmask_by_eventfd),
        FIXTURE_TEST(test_intx_disable_bit),
        FIXTURE_TEST(test_intx_without_an_fd_is_enabled_and_silent),
        FIXTURE_TEST(test_intx_enabled_anew_is_unmasked),
        FIXTURE_TEST(test_loopback),
        FIXTURE_TEST(test_loopback_does_not_mask_intx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
