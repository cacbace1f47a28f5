/* SPDX-License-Identifier: BSD-3-Clause */
/* Screenshots: what a driver may answer, and what becomes of it. */
#include "fixture.h"

#include <errno.h>

struct script {
    int result;
    uint32_t width, height; /* 0: nothing is allocated */
    int allocated;          /* what the last umdev_picture_alloc() said */
};

static int scripted(struct umdev_device *dev, struct umdev_picture *picture)
{
    struct script *script = context_of(dev);

    if (script->width) {
        /* A first try in another size must not leak. */
        assert_int_equal(umdev_picture_alloc(picture, 3, 5), 0);
        script->allocated = umdev_picture_alloc(picture, script->width, script->height);
        if (!script->allocated)
            picture->pixels[(size_t)script->width * script->height - 1] = 0xabcdef;
    }
    return script->result;
}

static const struct umdev_driver silent = {
    .struct_size = sizeof(silent), .name = "silent", .pci = UMDEV_PCI(.vendor = 1)};
static const struct umdev_driver screen = {.struct_size = sizeof(screen),
                                           .name = "screen",
                                           .screenshot = scripted,
                                           .pci = UMDEV_PCI(.vendor = 1)};

static void test_no_screen(void **state)
{
    struct umdev_picture picture = {.struct_size = sizeof(picture)};
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &silent, NULL);
    assert_int_equal(device_screenshot(fixture.dev, &picture), -EOPNOTSUPP);
    picture.struct_size = 0;
    assert_int_equal(device_screenshot(fixture.dev, &picture), -EINVAL);
    fixture_end(&fixture);
}

static void test_answers(void **state)
{
    struct umdev_picture picture = {.struct_size = sizeof(picture)};
    struct script script = {.width = 7, .height = 2};
    struct fixture fixture;

    (void)state;
    fixture_new(&fixture, &screen, &script);
    assert_int_equal(device_screenshot(fixture.dev, &picture), 0);
    assert_true(picture.width == 7 && picture.height == 2);
    assert_int_equal(picture.pixels[0], 0);
    assert_int_equal(picture.pixels[13], 0xabcdef);
    umdev_picture_free(&picture);
    assert_true(!picture.pixels && !picture.width && !picture.height);
    umdev_picture_free(&picture);
    umdev_picture_free(NULL);
    /* A failure frees what was allocated. */
    script.result = -ENODATA;
    assert_int_equal(device_screenshot(fixture.dev, &picture), -ENODATA);
    assert_null(picture.pixels);
    /* The driver's mistakes. */
    script.result = 5;
    assert_int_equal(device_screenshot(fixture.dev, &picture), -EIO);
    assert_null(picture.pixels);
    script.result = 0;
    script.width = 0;
    assert_int_equal(device_screenshot(fixture.dev, &picture), -EIO);
    fixture_end(&fixture);
}

static void test_sizes(void **state)
{
    static const uint32_t bad[][2] = {
        {0, 1}, {1, 0}, {UMDEV_PICTURE_MAX + 1, 1}, {1, UMDEV_PICTURE_MAX + 1}, {1, UINT32_MAX}};
    struct umdev_picture picture = {.struct_size = sizeof(picture)};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(umdev_picture_alloc(&picture, 2, 2), 0);
        assert_int_equal(umdev_picture_alloc(&picture, bad[i][0], bad[i][1]), -EINVAL);
        assert_true(!picture.pixels && !picture.width && !picture.height);
    }
    assert_int_equal(umdev_picture_alloc(&picture, UMDEV_PICTURE_MAX, 1), 0);
    umdev_picture_free(&picture);
    picture.struct_size = 0;
    assert_int_equal(umdev_picture_alloc(&picture, 2, 2), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_screen),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests_name("pictures", tests, NULL, NULL);
}
