/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/range.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void test_make(void **state)
{
    struct range range;

    (void)state;
    assert_int_equal(range_make(0x1000, 0x1000, &range), 0);
    assert_int_equal(range.first, 0x1000);
    assert_int_equal(range.last, 0x1fff);
    assert_int_equal(range_size_minus_1(range), 0xfff);
    assert_int_equal(range_make(5, 1, &range), 0);
    assert_int_equal(range.last, 5);
    assert_int_equal(range_make(5, 0, &range), -EINVAL);
}

static void test_make_at_the_end_of_the_address_space(void **state)
{
    struct range range;

    (void)state;
    assert_int_equal(range_make(UINT64_MAX, 1, &range), 0);
    assert_true(range.last == UINT64_MAX);
    assert_int_equal(range_make(UINT64_MAX, 2, &range), -EOVERFLOW);
    assert_int_equal(range_make(1, UINT64_MAX, &range), 0);
    assert_true(range.last == UINT64_MAX);
    assert_int_equal(range_make(2, UINT64_MAX, &range), -EOVERFLOW);
    assert_true(range_size_minus_1((struct range){0, UINT64_MAX}) == UINT64_MAX);
}

/* Every pair of ranges in a space of eight addresses, against a walk over the addresses. */
static void test_relations(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 8 * 8 * 8 * 8; code++) {
        struct range a = {code & 7, code >> 3 & 7};
        struct range b = {code >> 6 & 7, code >> 9 & 7};
        bool overlap = false, contained = true;

        if (a.first > a.last || b.first > b.last)
            continue;
        for (uint64_t address = 0; address < 8; address++) {
            bool in_a = range_has(a, address);
            bool in_b = range_has(b, address);

            assert_int_equal(in_a, address >= a.first && address <= a.last);
            overlap |= in_a && in_b;
            contained &= in_a || !in_b;
        }
        assert_int_equal(range_overlaps(a, b), overlap);
        assert_int_equal(range_contains(a, b), contained);
    }
}

static void test_span_fits(void **state)
{
    (void)state;
    assert_true(span_fits(0, 0, 0));
    assert_true(span_fits(10, 0, 10));
    assert_false(span_fits(11, 0, 10));
    assert_true(span_fits(4, 6, 10));
    assert_false(span_fits(4, 7, 10));
    assert_false(span_fits(UINT64_MAX, 1, 10));
    assert_false(span_fits(1, UINT64_MAX, 10));
    assert_true(span_fits(1, UINT64_MAX - 1, UINT64_MAX));
    assert_false(span_fits(1, UINT64_MAX, UINT64_MAX));
}

static void test_alignment(void **state)
{
    uint64_t result;

    (void)state;
    assert_false(is_power_of_two(0));
    assert_true(is_power_of_two(1));
    assert_false(is_power_of_two(3));
    assert_true(is_power_of_two(UINT64_C(1) << 63));
    assert_true(is_aligned(0x3000, 0x1000));
    assert_false(is_aligned(0x3001, 0x1000));
    assert_int_equal(align_down(0x3fff, 0x1000), 0x3000);
    assert_int_equal(align_up(0x3001, 0x1000, &result), 0);
    assert_int_equal(result, 0x4000);
    assert_int_equal(align_up(0x3000, 0x1000, &result), 0);
    assert_int_equal(result, 0x3000);
    assert_int_equal(align_up(UINT64_MAX - 0xfff, 0x1000, &result), 0);
    assert_true(result == UINT64_MAX - 0xfff);
    assert_int_equal(align_up(UINT64_MAX - 0xffe, 0x1000, &result), -EOVERFLOW);
}

static uint64_t random_64(unsigned *seed)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | (rand_r(seed) >> 7 & 0xff);
    /* Short ones and those close to the end are where the errors are. */
    switch (rand_r(seed) & 3) {
    case 0:
        return value & 0xff;
    case 1:
        return ~(value & 0xff);
    default:
        return value;
    }
}

/* 64-bit arithmetic that says when it overflows, against 128-bit arithmetic that can't. */
static void test_arithmetic_against_128_bits(void **state)
{
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    fprintf(stderr, "seed %u\n", seed);
    for (int i = 0; i < 100000; i++) {
        uint64_t a = random_64(&seed), b = random_64(&seed), size = random_64(&seed);
        uint64_t sum = 0, product = 0;
        unsigned __int128 end = (unsigned __int128)a + b;
        struct range range;
        int ret = range_make(a, b, &range);

        assert_int_equal(ADD_OVERFLOW(a, b, &sum), end > UINT64_MAX);
        assert_true(sum == (uint64_t)end);
        assert_int_equal(MUL_OVERFLOW(a, b, &product), (unsigned __int128)a * b > UINT64_MAX);
        assert_true(product == a * b);
        assert_int_equal(span_fits(a, b, size), end <= size);
        assert_int_equal(ret, !b ? -EINVAL : end - 1 > UINT64_MAX ? -EOVERFLOW : 0);
        if (!ret)
            assert_true(range.first == a && range.last == (uint64_t)(end - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),
        cmocka_unit_test(test_make_at_the_end_of_the_address_space),
        cmocka_unit_test(test_relations),
        cmocka_unit_test(test_span_fits),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_arithmetic_against_128_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
