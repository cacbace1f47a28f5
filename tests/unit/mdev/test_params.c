/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "base/range.h"
#include "failnth.h"
#include "mdev/params.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct umdev_param decls[] = {
    {.name = "label", .value = "none"},
    {.name = "serial"},
    {.name = "engines", .kind = UMDEV_PARAM_NUMBER, .value = "2", .min = 1, .max = 16},
    {.name = "seed", .kind = UMDEV_PARAM_NUMBER},
    {.name = "vram", .kind = UMDEV_PARAM_SIZE, .value = "64M", .min = 16 << 20, .max = 1 << 30},
    {.name = "ring", .kind = UMDEV_PARAM_SIZE, .value = "4K"},
    {.name = "trace", .kind = UMDEV_PARAM_BOOL, .value = "no"},
    {.name = "fast", .kind = UMDEV_PARAM_BOOL},
};
static const struct umdev_driver driver = {
    .name = "gpu", .params = decls, .nparams = ARRAY_SIZE(decls)};
static const struct umdev_driver plain = {.name = "plain"};

static const char *text_of(const struct params *params, const char *name)
{
    const char *value = NULL;

    assert_int_equal(params_get_text(params, name, &value), 0);
    return value;
}

static uint64_t number_of(const struct params *params, const char *name, enum umdev_param_kind kind)
{
    uint64_t value = 0;

    assert_int_equal(params_get_number(params, name, kind, &value), 0);
    return value;
}

static bool bool_of(const struct params *params, const char *name)
{
    bool value = false;

    assert_int_equal(params_get_bool(params, name, &value), 0);
    return value;
}

static void test_defaults(void **state)
{
    struct params *params = NULL;

    (void)state;
    assert_int_equal(params_parse(&driver, NULL, 0, &params, NULL), 0);
    assert_string_equal(text_of(params, "label"), "none");
    assert_string_equal(text_of(params, "serial"), "");
    assert_int_equal(number_of(params, "engines", UMDEV_PARAM_NUMBER), 2);
    assert_int_equal(number_of(params, "seed", UMDEV_PARAM_NUMBER), 0);
    assert_int_equal(number_of(params, "vram", UMDEV_PARAM_SIZE), 64 << 20);
    assert_int_equal(number_of(params, "ring", UMDEV_PARAM_SIZE), 4096);
    assert_false(bool_of(params, "trace"));
    assert_false(bool_of(params, "fast"));
    params_free(params);
}

static void test_what_the_operator_says(void **state)
{
    const char *const args[] = {
        "label=a=b, c", "serial=", "engines=0x10", "seed=18446744073709551615",
        "vram=1G",      "ring=1",  "trace=on",     "fast=true"};
    struct params *params = NULL;

    (void)state;
    assert_int_equal(params_parse(&driver, args, ARRAY_SIZE(args), &params, NULL), 0);
    assert_string_equal(text_of(params, "label"), "a=b, c");
    assert_string_equal(text_of(params, "serial"), "");
    assert_int_equal(number_of(params, "engines", UMDEV_PARAM_NUMBER), 16);
    assert_true(number_of(params, "seed", UMDEV_PARAM_NUMBER) == UINT64_MAX);
    assert_int_equal(number_of(params, "vram", UMDEV_PARAM_SIZE), 1 << 30);
    assert_int_equal(number_of(params, "ring", UMDEV_PARAM_SIZE), 1);
    assert_true(bool_of(params, "trace"));
    assert_true(bool_of(params, "fast"));
    params_free(params);
}

static void test_mistakes_of_the_driver(void **state)
{
    struct params *params = NULL;
    const char *text = NULL;
    uint64_t number = 1;
    bool flag = true;

    (void)state;
    assert_int_equal(params_parse(&driver, NULL, 0, &params, NULL), 0);
    assert_int_equal(params_get_text(params, "missing", &text), -EINVAL);
    assert_string_equal(text, "");
    assert_int_equal(params_get_text(params, "engines", &text), -EINVAL);
    assert_string_equal(text, "");
    assert_int_equal(params_get_text(params, NULL, &text), -EINVAL);
    assert_int_equal(params_get_number(params, "vram", UMDEV_PARAM_NUMBER, &number), -EINVAL);
    assert_int_equal(number, 0);
    assert_int_equal(params_get_bool(params, "label", &flag), -EINVAL);
    assert_false(flag);
    params_free(params);
}

/* Every message: one line, with the value and what would be right. */
static void test_mistakes_of_the_operator(void **state)
{
    static const struct {
        const char *args[2];
        const char *value, *right;
    } rows[] = {
        {{"vram"}, "'vram'", "KEY=VALUE"},
        {{"=64M"}, "'=64M'", "KEY=VALUE"},
        {{""}, "''", "KEY=VALUE"},
        {{NULL}, "''", "KEY=VALUE"},
        {{"vrm=64M"}, "'vrm'", "label, serial, engines, seed, vram, ring, trace, fast"},
        {{"vramm=64M"}, "'vramm'", "vram"},
        {{"VRAM=64M"}, "'VRAM'", "vram"},
        {{"vram=64M", "vram=128M"}, "'64M' and as '128M'", "twice"},
        {{"vram=64M", "vram=64M"}, "vram", "twice"},
        {{"vram="}, "vram=:", "64M"},
        {{"vram=64X"}, "vram=64X", "K, M, G or T"},
        {{"vram=-1"}, "vram=-1", "K, M, G or T"},
        {{"vram=64M "}, "vram=64M ", "K, M, G or T"},
        {{"vram=1T"}, "vram=1T", "16M to 1G"},
        {{"vram=16777215"}, "vram=16777215", "16M to 1G"},
        {{"ring=16777216T"}, "ring=16777216T", "64 bits"},
        {{"engines=two"}, "engines=two", "decimal"},
        {{"engines=1K"}, "engines=1K", "decimal"},
        {{"engines=0"}, "engines=0", "1 to 16"},
        {{"engines=17"}, "engines=17", "1 to 16"},
        {{"seed=18446744073709551616"}, "seed=18446744073709551616", "64 bits"},
        {{"trace=maybe"}, "trace=maybe", "yes, no"},
        {{"trace="}, "trace=", "yes, no"},
        {{"trace=o\nn"}, "trace=o?n", "yes, no"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct umdev_error error = {""};
        struct params *params = NULL;
        size_t nargs = rows[i].args[1] ? 2 : 1;

        assert_int_equal(params_parse(&driver, rows[i].args, nargs, &params, &error), -EINVAL);
        assert_null(params);
        if (!strstr(error.message, rows[i].value) || !strstr(error.message, rows[i].right) ||
            strchr(error.message, '\n'))
            fail_msg("row %zu: '%s'", i, error.message);
    }
}

static void test_driver_without_parameters(void **state)
{
    const char *const args[] = {"vram=1"};
    struct umdev_error error = {""};
    struct params *params = NULL;

    (void)state;
    assert_int_equal(params_parse(&plain, NULL, 0, &params, &error), 0);
    params_free(params);
    assert_int_equal(params_parse(&plain, args, 1, &params, &error), -EINVAL);
    assert_string_equal(error.message, "unknown parameter 'vram': driver plain takes none");
}

/* However long the value, the message ends with what would be right. */
static void test_long_values_leave_room_for_the_message(void **state)
{
    char arg[5000];
    const char *args[] = {arg};
    struct umdev_error error = {""};
    struct params *params = NULL;

    (void)state;
    memset(arg, 'x', sizeof(arg));
    memcpy(arg, "vram=", 5);
    arg[sizeof(arg) - 1] = '\0';
    assert_int_equal(params_parse(&driver, args, 1, &params, &error), -EINVAL);
    assert_non_null(strstr(error.message, "such as 64M"));
    memcpy(arg, "xxxxx", 5);
    arg[sizeof(arg) - 2] = '=';
    assert_int_equal(params_parse(&driver, args, 1, &params, &error), -EINVAL);
    assert_non_null(strstr(error.message, "driver gpu has label"));
}

static int parse_two(void *opaque)
{
    const char *const args[] = {"vram=128M", "label=x"};

    return params_parse(&driver, args, ARRAY_SIZE(args), opaque, NULL);
}

static void free_parsed(void *opaque)
{
    params_free(*(struct params **)opaque);
}

static void test_out_of_memory(void **state)
{
    struct params *params = NULL;

    (void)state;
    assert_true(failnth_run(parse_two, free_parsed, &params) > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_what_the_operator_says),
        cmocka_unit_test(test_mistakes_of_the_driver),
        cmocka_unit_test(test_mistakes_of_the_operator),
        cmocka_unit_test(test_driver_without_parameters),
        cmocka_unit_test(test_long_values_leave_room_for_the_message),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
