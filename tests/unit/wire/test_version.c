/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/range.h"
#include "wire/version.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A body as it lies on the wire, with `text` and its NUL. */
static int parse(const char *text, struct wire_version *version)
{
    uint8_t body[1024] = {0, 0, 1, 0};

    memcpy(body + 4, text, strlen(text) + 1);
    return wire_version_parse(body, 4 + strlen(text) + 1, version);
}

static void test_defaults(void **state)
{
    static const uint8_t bare[] = {0, 0, 3, 0};
    struct wire_version version;

    (void)state;
    assert_int_equal(wire_version_parse(bare, sizeof(bare), &version), 0);
    assert_int_equal(version.major, 0);
    assert_int_equal(version.minor, 3);
    assert_int_equal(version.offered, 0);
    assert_int_equal(version.max_msg_fds, 1);
    assert_int_equal(version.max_data_xfer_size, 1048576);
    assert_int_equal(version.max_dma_maps, 65535);
    assert_int_equal(version.pgsizes, 4096);
    assert_false(version.write_multiple);
    assert_int_equal(parse("{}", &version), 0);
    assert_int_equal(version.offered, 0);
    assert_int_equal(parse("{\"capabilities\":{}}", &version), 0);
}

static void test_all_named(void **state)
{
    struct wire_version version;

    (void)state;
    assert_int_equal(
        parse("{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,\"max_dma_maps\":65535,"
              "\"max_data_xfer_size\":65536,\"migration\":{\"pgsize\":4096},"
              "\"write_multiple\":true}}",
              &version),
        0);
    assert_int_equal(version.offered, WIRE_CAPABILITY_ALL);
    assert_int_equal(version.max_msg_fds, 16);
    assert_int_equal(version.max_data_xfer_size, 65536);
    assert_true(version.write_multiple);
}

static void test_umdev(void **state)
{
    struct wire_version version;
    char body[256];

    (void)state;
    assert_int_equal(parse("{\"capabilities\":{\"umdev\":{\"fault\":7,\"more\":1}}}", &version), 0);
    assert_int_equal(version.offered, WIRE_CAPABILITY_UMDEV_FAULT);
    assert_int_equal(version.umdev_fault, 7);
    version.umdev_fault = 1;
    assert_true(wire_version_format(&version, body, sizeof(body)) > 0);
    assert_string_equal(body + 4, "{\"capabilities\":{\"umdev\":{\"fault\":1}}}");
    assert_int_equal(parse("{\"capabilities\":{\"umdev\":{}}}", &version), 0);
    assert_int_equal(version.offered, 0);
    assert_int_equal(version.umdev_fault, 0);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "1",
        "{\"capabilities\":1}",
        "{\"capabilities\":{\"max_msg_fds\":\"16\"}}",
        "{\"capabilities\":{\"max_msg_fds\":0}}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"max_msg_fds\":4294967296}}",
        "{\"capabilities\":{\"max_data_xfer_size\":1.5}}",
        "{\"capabilities\":{\"max_data_xfer_size\":99999999999999999999}}",
        "{\"capabilities\":{\"pgsizes\":null}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
        "{\"capabilities\":{\"umdev\":1}}",
        "{\"capabilities\":{\"umdev\":{\"fault\":true}}}",
        "{\"capabilities\":{\"umdev\":{\"fault\":0}}}",
        "{\"capabilities\":{\"umdev\":{\"fault\":4294967296}}}",
        "{\"capabilities\":{}} trailing",
    };
    static const uint8_t no_nul[] = {0, 0, 1, 0, '{', '}'};
    struct wire_version version;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(parse(bad[i], &version), -EINVAL);
    for (size_t size = 0; size < 4; size++)
        assert_int_equal(wire_version_parse(no_nul, size, &version), -EINVAL);
    assert_int_equal(wire_version_parse(no_nul, sizeof(no_nul), &version), -EINVAL);
}

static void test_format_names_what_was_offered(void **state)
{
    struct wire_version version = {
        .minor = 1,
        .offered = WIRE_CAPABILITY_MAX_MSG_FDS | WIRE_CAPABILITY_WRITE_MULTIPLE,
        .max_msg_fds = 8,
        .max_data_xfer_size = 1,
        .write_multiple = true,
    };
    struct wire_version back;
    char body[256];
    int size = wire_version_format(&version, body, sizeof(body));

    (void)state;
    assert_int_equal(size, 4 + strlen(body + 4) + 1);
    assert_string_equal(body + 4, "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}");
    assert_int_equal(wire_version_parse(body, (size_t)size, &back), 0);
    assert_int_equal(back.offered, version.offered);
    assert_int_equal(back.max_msg_fds, 8);
    assert_int_equal(wire_version_format(&version, body, 20), -EMSGSIZE);
    version.offered = 0;
    assert_int_equal(wire_version_format(&version, body, sizeof(body)), 7);
    assert_string_equal(body + 4, "{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_named),
        cmocka_unit_test(test_umdev),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_format_names_what_was_offered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
