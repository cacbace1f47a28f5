/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parents: names, opening, types, what their drivers ask; and the capacity they offer.
 */
#include "fixture.h"

#include <limits.h>

static const struct umdev_driver capped = {COUNTING_DRIVER, .name = "capped", .max_instances = 4};

/* ------------------------------------------------------------------ parents */

static void test_parents_have_names(void **state)
{
    struct mdev_registry *registry = *state;
    static const char *const wrong[] = {"", ".", "..", "a/b", "-a", ":0", "a b", "a\n"};
    struct umdev_error error = {""};

    assert_int_equal(add_parent(registry, &counting, NULL), 0);
    assert_int_equal(add_parent(registry, &counting, NULL), 0);
    assert_int_equal(add_parent(registry, &counting, "0000:00:02.0"), 0);
    assert_int_equal(available(registry, "counting0", "counting-small"), 4);
    assert_int_equal(available(registry, "counting1", "counting-small"), 4);
    assert_int_equal(available(registry, "0000:00:02.0", "counting-large"), 2);
    assert_int_equal(add_parent(registry, &counting, "counting1"), -EEXIST);
    assert_int_equal(add_parent(registry, &capped, "counting1"), -EEXIST);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(
            mdev_parent_add(registry, &counting, wrong[i], NULL, 0, NULL, NULL, &error), -EINVAL);
    /* A number that became free is used again. */
    assert_int_equal(mdev_parent_remove(registry, "counting0"), 0);
    assert_int_equal(mdev_parent_remove(registry, "counting0"), -ENOENT);
    assert_int_equal(available(registry, "counting0", "counting-small"), -1);
    assert_int_equal(add_parent(registry, &counting, NULL), 0);
    assert_int_equal(available(registry, "counting0", "counting-small"), 4);
}

static void never(void *opaque)
{
    (void)opaque;
    fail();
}

static void test_parent_that_does_not_open(void **state)
{
    struct mdev_registry *registry = *state;
    struct umdev_error error = {""};

    atomic_store(&driver_state.open_result, -ENXIO);
    assert_int_equal(mdev_parent_add(registry, &counting, "p", NULL, 0, never, NULL, &error),
                     -ENXIO);
    assert_string_equal(error.message,
                        "driver counting could not open parent p: No such device or address");
    assert_int_equal(available(registry, "p", "counting-small"), -1);
    /* A driver that does not know the sign of errors. */
    atomic_store(&driver_state.open_result, ENXIO);
    assert_int_equal(add_parent(registry, &counting, "p"), -EIO);
    atomic_store(&driver_state.open_result, 0);
    assert_int_equal(add_parent(registry, &counting, "p"), 0);
}

static void *add_parent_p(void *registry)
{
    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    return NULL;
}

static void test_parent_that_is_opening(void **state)
{
    struct mdev_registry *registry = *state;
    pthread_t thread;

    atomic_store(&driver_state.open.shut, true);
    assert_int_equal(pthread_create(&thread, NULL, add_parent_p, registry), 0);
    gate_wait(&driver_state.open);
    /* Its name is taken, but it is not there yet. */
    assert_int_equal(mdev_parent_remove(registry, "p"), -ENOENT);
    assert_int_equal(available(registry, "p", "counting-small"), -1);
    assert_int_equal(create(registry, "counting-small", NULL), -ENOENT);
    atomic_store(&driver_state.open.shut, false);
    assert_int_equal(add_parent(registry, &counting, "p"), -EEXIST);
    gate_let_on(&driver_state.open);
    pthread_join(thread, NULL);
    assert_int_equal(create(registry, "counting-small", NULL), 0);
}

static void test_parent_removal_takes_devices_along(void **state)
{
    struct mdev_registry *registry = *state;

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(add_parent(registry, &counting, "q"), 0);
    assert_int_equal(mdev_create(registry, "p", "counting-small", UUID_A, NULL, NULL), 0);
    assert_int_equal(mdev_create(registry, "q", "counting-small", UUID_B, NULL, NULL), 0);
    assert_int_equal(mdev_create(registry, "p", "counting-large", UUID_C, NULL, NULL), 0);
    assert_int_equal(mdev_parent_remove(registry, "p"), 0);
    assert_int_equal(atomic_load(&driver_state.devices), 1);
    assert_int_equal(atomic_load(&driver_state.parents), 1);
    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
    assert_int_equal(mdev_remove(registry, UUID_B), 0);
}

/* ------------------------------------------------------------------ types */

static int check_type(void *opaque, const struct mdev_type_info *info)
{
    int *seen = opaque;

    assert_string_equal(info->parent, "p");
    assert_string_equal(info->driver, "counting");
    assert_string_equal(info->device_api, "vfio-pci");
    if (++*seen == 1) {
        assert_string_equal(info->name, "counting-small");
        assert_string_equal(info->pretty_name, "Small");
        assert_string_equal(info->description, "a quarter");
        return 0;
    }
    assert_string_equal(info->name, "counting-large");
    assert_string_equal(info->pretty_name, "counting-large");
    assert_null(info->description);
    return 77;
}

static void test_types(void **state)
{
    static const struct umdev_type endless_types[] = {{.name = "x"}};
    struct umdev_driver endless = {COUNTING_DRIVER, .name = "endless"};
    struct mdev_registry *registry = *state;
    int seen = 0;

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    endless.types = endless_types;
    endless.ntypes = 1;
    assert_int_equal(add_parent(registry, &endless, "q"), 0);
    assert_int_equal(mdev_for_each_type(registry, check_type, &seen), 77);
    assert_int_equal(seen, 2);
    assert_int_equal(available(registry, "q", "endless-x"), (int)UINT_MAX);
    assert_int_equal(create(registry, "endless-x", NULL), 0);
}

static void test_capacity_of_a_type(void **state)
{
    struct mdev_registry *registry = *state;
    struct umdev_error error = {""};

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
    assert_int_equal(create(registry, "counting-large", UUID_B), 0);
    assert_int_equal(available(registry, "p", "counting-large"), 0);
    assert_int_equal(available(registry, "p", "counting-small"), 4);
    assert_int_equal(mdev_create(registry, NULL, "counting-large", UUID_C, NULL, &error), -EUSERS);
    assert_non_null(strstr(error.message, "parent p, which has 2 devices"));
    assert_int_equal(create(registry, "counting-small", UUID_C), 0);
    assert_int_equal(mdev_remove(registry, UUID_A), 0);
    assert_int_equal(available(registry, "p", "counting-large"), 1);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
}

static void test_capacity_of_a_parent(void **state)
{
    struct mdev_registry *registry = *state;

    assert_int_equal(add_parent(registry, &capped, "p"), 0);
    assert_int_equal(create(registry, "capped-small", UUID_A), 0);
    assert_int_equal(create(registry, "capped-small", UUID_B), 0);
    assert_int_equal(create(registry, "capped-small", UUID_C), 0);
    assert_int_equal(available(registry, "p", "capped-large"), 1);
    assert_int_equal(create(registry, "capped-large", UUID_D), 0);
    assert_int_equal(create(registry, "capped-small", NULL), -EUSERS);
    assert_int_equal(available(registry, "p", "capped-small"), 0);
    /* Another parent of the driver has its own capacity, and takes what this one can't. */
    assert_int_equal(add_parent(registry, &capped, "q"), 0);
    assert_int_equal(mdev_create(registry, "p", "capped-small", NULL, NULL, NULL), -EUSERS);
    assert_int_equal(create(registry, "capped-small", NULL), 0);
    assert_int_equal(available(registry, "q", "capped-small"), 3);
}

/* available() is the only limit, and still right when create() is reached. */
static void test_capacity_as_the_driver_says(void **state)
{
    struct umdev_driver asking = {COUNTING_DRIVER, .name = "asking", .max_instances = 4};
    struct mdev_registry *registry = *state;
    struct job jobs[4];

    asking.available = counting_available;
    atomic_store(&driver_state.places, 6);
    assert_int_equal(add_parent(registry, &asking, "p"), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(create(registry, "asking-small", NULL), 0);
    assert_int_equal(create(registry, "asking-large", NULL), -EUSERS);
    assert_int_equal(available(registry, "p", "asking-small"), 1);

    /* One place, and the first to take it has not got it yet: the others wait for the outcome. */
    atomic_store(&driver_state.create.shut, true);
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = (struct job){.registry = registry, .type = "asking-small"};
        job_start(&jobs[i]);
    }
    gate_wait(&driver_state.create);
    gate_let_on(&driver_state.create);
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
        job_join(&jobs[i]);
    assert_int_equal(
        (jobs[0].ret == 0) + (jobs[1].ret == 0) + (jobs[2].ret == 0) + (jobs[3].ret == 0), 1);
    assert_int_equal((jobs[0].ret == -EUSERS) + (jobs[1].ret == -EUSERS) +
                         (jobs[2].ret == -EUSERS) + (jobs[3].ret == -EUSERS),
                     3);
    assert_int_equal(atomic_load(&driver_state.devices), 6);
}

/* ------------------------------------------------------------------ what drivers ask */

static char last_line[256];

static void keep_line(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)opaque;
    snprintf(last_line, sizeof(last_line), "%d %s", (int)level, line);
}

static int inspecting_open(struct umdev_parent *parent)
{
    unsigned char *priv = umdev_parent_priv(parent);

    for (int i = 0; i < 100; i++)
        assert_int_equal(priv[i], 0);
    assert_string_equal(umdev_parent_name(parent), "p");
    umdev_parent_log(parent, UMDEV_LOG_WARNING, "hello %d", 5);
    assert_string_equal(last_line, "1 p: hello 5");
    assert_string_equal(umdev_param_string(parent, "label"), "x=y");
    assert_int_equal(umdev_param_number(parent, "count"), 7);
    assert_int_equal(umdev_param_size(parent, "vram"), 65536);
    assert_true(umdev_param_bool(parent, "trace"));
    assert_string_equal(umdev_param_string(parent, "count"), "");
    assert_string_equal(last_line, "0 p: driver inspecting asks for the string parameter 'count', "
                                   "which it does not declare");
    assert_int_equal(umdev_param_number(parent, "vram"), 0);
    assert_int_equal(umdev_param_size(parent, "other"), 0);
    assert_non_null(strstr(last_line, "size parameter 'other'"));
    assert_false(umdev_param_bool(parent, "label"));
    return 0;
}

static void test_what_a_parent_tells_its_driver(void **state)
{
    static const struct umdev_param params[] = {
        {.name = "label"},
        {.name = "count", .kind = UMDEV_PARAM_NUMBER},
        {.name = "vram", .kind = UMDEV_PARAM_SIZE, .value = "64K"},
        {.name = "trace", .kind = UMDEV_PARAM_BOOL},
    };
    static const struct umdev_driver inspecting = {
        .struct_size = sizeof(struct umdev_driver),
        .api_version = UMDEV_DRIVER_API_VERSION,
        .type_size = sizeof(struct umdev_type),
        .param_size = sizeof(struct umdev_param),
        .name = "inspecting",
        .types = counting_types,
        .ntypes = 1,
        .params = params,
        .nparams = ARRAY_SIZE(params),
        .parent_priv_size = 100,
        .parent_open = inspecting_open,
    };
    const char *const args[] = {"trace=yes", "label=x=y", "count=7"};
    const struct log log = {keep_line, NULL, UMDEV_LOG_WARNING};
    struct mdev_registry *registry = NULL;
    struct umdev_error error = {""};

    (void)state;
    assert_int_equal(mdev_registry_new(&log, NULL, &registry), 0);
    assert_int_equal(
        mdev_parent_add(registry, &inspecting, "p", args, ARRAY_SIZE(args), NULL, NULL, &error), 0);
    mdev_registry_free(registry);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_parents_have_names),
        TEST(test_parent_that_does_not_open),
        TEST(test_parent_that_is_opening),
        TEST(test_parent_removal_takes_devices_along),
        TEST(test_types),
        TEST(test_capacity_of_a_type),
        TEST(test_capacity_of_a_parent),
        TEST(test_capacity_as_the_driver_says),
        TEST(test_what_a_parent_tells_its_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
