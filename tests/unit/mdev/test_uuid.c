/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "base/range.h"
#include "mdev/uuid.h"

#include <errno.h>
#include <string.h>

#define UUID "123e4567-e89b-12d3-a456-426614174abc"

static void test_canonical_form(void **state)
{
    char out[UMDEV_UUID_STR_SIZE];

    (void)state;
    assert_int_equal(mdev_uuid_parse(UUID, out), 0);
    assert_string_equal(out, UUID);
    assert_int_equal(mdev_uuid_parse("123E4567-E89B-12D3-A456-426614174ABC", out), 0);
    assert_string_equal(out, UUID);
    assert_int_equal(mdev_uuid_parse("123e4567-E89b-12D3-a456-426614174aBc", out), 0);
    assert_string_equal(out, UUID);
}

static void test_everything_else_is_refused(void **state)
{
    static const char *const wrong[] = {
        NULL,
        "",
        "0",
        "123e4567-e89b-12d3-a456-426614174ab",    /* 35 */
        "123e4567-e89b-12d3-a456-426614174abcd",  /* 37 */
        "123e4567-e89b-12d3-a456-426614174abc\n", /* sysfs takes it, we don't */
        " 123e4567-e89b-12d3-a456-426614174ab",
        "123e4567-e89b-12d3-a456-426614174ab ",
        "123e4567e89b12d3a456426614174abc",
        "{123e4567-e89b-12d3-a456-426614174ab}",
        "123e4567-e89b-12d3-a456-426614174abg",
        "123e4567-e89b-12d3-a4560426614174abc",
        "123e-4567e89b-12d3-a456-426614174abc",
        "0x3e4567-e89b-12d3-a456-426614174abc",
        "123e4567-e89b-12d3-a456-42661417\303\251bc",
    };
    char out[UMDEV_UUID_STR_SIZE] = "untouched";

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(mdev_uuid_parse(wrong[i], out), -EINVAL);
        assert_string_equal(out, "untouched");
    }
}

static void test_random_ones_differ(void **state)
{
    char first[UMDEV_UUID_STR_SIZE];
    char second[UMDEV_UUID_STR_SIZE];
    char again[UMDEV_UUID_STR_SIZE];

    (void)state;
    mdev_uuid_generate(first);
    mdev_uuid_generate(second);
    assert_string_not_equal(first, second);
    assert_int_equal(mdev_uuid_parse(first, again), 0);
    assert_string_equal(first, again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_form),
        cmocka_unit_test(test_everything_else_is_refused),
        cmocka_unit_test(test_random_ones_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
