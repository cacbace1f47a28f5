/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/parse.h"

#include "base/range.h"
#include "unit.h"

#include <string.h>

/* What a value is before it is parsed: it must stay so when the text is refused. */
#define UNTOUCHED UINT64_C(0x5555)

struct parse_case {
    const char *text;
    int ret;
    uint64_t value;
};

static void check_cases(int (*parse)(const char *, uint64_t *), const struct parse_case *cases,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = UNTOUCHED;
        int ret = parse(cases[i].text, &value);

        if (ret != cases[i].ret || value != (ret ? UNTOUCHED : cases[i].value))
            fail_msg("\"%s\": got %d and %#llx", cases[i].text, ret, (unsigned long long)value);
    }
}

static void test_number(void **state)
{
    static const struct parse_case cases[] = {
        {"0", 0, 0},
        {"42", 0, 42},
        {"010", 0, 10},
        {"0x1F", 0, 31},
        {"0XfF", 0, 255},
        {"18446744073709551615", 0, UINT64_MAX},
        {"0xffffffffffffffff", 0, UINT64_MAX},
        {"0x0000000000000000000001", 0, 1},
        {"18446744073709551616", -ERANGE, 0},
        {"0x10000000000000000", -ERANGE, 0},
        {"99999999999999999999999999", -ERANGE, 0},
        /* Malformed comes before too large. */
        {"99999999999999999999999999x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"0x", -EINVAL, 0},
        {"x1", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n", -EINVAL, 0},
        {"1.5", -EINVAL, 0},
        {"1f", -EINVAL, 0},
        {"0x1g", -EINVAL, 0},
        {"4K", -EINVAL, 0},
        {"\xd9\xa1", -EINVAL, 0},
    };

    (void)state;
    check_cases(parse_number, cases, ARRAY_SIZE(cases));
}

static void test_size(void **state)
{
    static const struct parse_case cases[] = {
        {"0", 0, 0},
        {"100", 0, 100},
        {"4K", 0, 4096},
        {"4k", 0, 4096},
        {"64M", 0, UINT64_C(64) << 20},
        {"1g", 0, UINT64_C(1) << 30},
        {"3T", 0, UINT64_C(3) << 40},
        {"0x10M", 0, UINT64_C(16) << 20},
        {"0T", 0, 0},
        {"16777215T", 0, UINT64_C(16777215) << 40},
        {"16777216T", -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551616K", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"K", -EINVAL, 0},
        {"1P", -EINVAL, 0},
        {"1KB", -EINVAL, 0},
        {"1KK", -EINVAL, 0},
        {"1 K", -EINVAL, 0},
        {"-1K", -EINVAL, 0},
        {"99999999999999999999999999KB", -EINVAL, 0},
        {"0xK", -EINVAL, 0},
    };

    (void)state;
    check_cases(parse_size, cases, ARRAY_SIZE(cases));
}

static void test_bool(void **state)
{
    static const char *const yes[] = {"yes", "on", "true", "1", "Yes", "ON"};
    static const char *const no[] = {"no", "off", "false", "0", "False"};
    static const char *const neither[] = {"", "y", "yes ", " no", "2", "01", "yesno", "maybe"};
    bool value;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        value = false;
        assert_int_equal(parse_bool(yes[i], &value), 0);
        assert_true(value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
        value = true;
        assert_int_equal(parse_bool(no[i], &value), 0);
        assert_false(value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(neither); i++) {
        value = true;
        assert_int_equal(parse_bool(neither[i], &value), -EINVAL);
        assert_true(value);
    }
}

static void test_size_format(void **state)
{
    static const struct {
        uint64_t size;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {100, "100"},
        {1023, "1023"},
        {1024, "1K"},
        {1536 << 10, "1536K"},
        {64 << 20, "64M"},
        {(64 << 20) + 1, "67108865"},
        {UINT64_C(1) << 40, "1T"},
        {UINT64_C(1) << 63, "8388608T"},
        {UINT64_MAX, "18446744073709551615"},
    };
    char text[PARSE_SIZE_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t back;

        parse_size_format(cases[i].size, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(parse_size(text, &back), 0);
        assert_true(back == cases[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_bool),
        cmocka_unit_test(test_size_format),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
