/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every error path of a parent's and a device's birth.
 */
#include "fixture.h"

#include "failnth.h"

#include <stdlib.h>

static int add(void *registry)
{
    const char *const params[] = {"level=3"};
    static const struct umdev_param decls[] = {
        {.name = "level", .kind = UMDEV_PARAM_NUMBER},
        {.name = "label", .value = "default"},
    };
    struct umdev_driver driver = {COUNTING_DRIVER, .name = "counting", .parent_priv_size = 64};

    driver.params = decls;
    driver.nparams = ARRAY_SIZE(decls);
    return mdev_parent_add(registry, &driver, NULL, params, 1, NULL, NULL, NULL);
}

static void undo_add(void *registry)
{
    assert_int_equal(mdev_parent_remove(registry, "counting0"), 0);
}

static void test_parent(void **state)
{
    struct mdev_registry *registry = NULL;

    (void)state;
    assert_int_equal(mdev_registry_new(NULL, NULL, &registry), 0);
    assert_true(failnth_run(add, undo_add, registry) >= 10);
    mdev_registry_free(registry);
    assert_int_equal(atomic_load(&driver_state.parents), 0);
}

static int attach(void *opaque, struct mdev_device *entry, void **attached)
{
    (void)opaque;
    (void)entry;
    *attached = malloc(16);
    return *attached ? 0 : -ENOMEM;
}

static void release(void *opaque, void *attached)
{
    (void)opaque;
    free(attached);
}

/* Each time the place and the UUID are as before. */
static int create_one(void *registry)
{
    int ret = create(registry, "counting-large", UUID_A);

    assert_int_equal(available(registry, "p", "counting-large"), ret ? 2 : 1);
    assert_int_equal(count_devices(registry), ret ? 0 : 1);
    assert_int_equal(atomic_load(&driver_state.devices), ret ? 0 : 1);
    return ret;
}

static void undo_create(void *registry)
{
    assert_int_equal(mdev_remove(registry, UUID_A), 0);
}

static void test_device(void **state)
{
    const struct mdev_owner owner = {.attach = attach, .release = release};
    struct mdev_registry *registry = NULL;

    (void)state;
    assert_int_equal(mdev_registry_new(NULL, &owner, &registry), 0);
    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_true(failnth_run(create_one, undo_create, registry) >= 8);
    mdev_registry_free(registry);
    assert_int_equal(atomic_load(&driver_state.devices), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parent),
        cmocka_unit_test(test_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
