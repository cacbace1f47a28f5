/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public API without a client: options, parents, types, devices, and their errors.
 */
#include "fixture.h"

#include "failnth.h"
#include "leaks.h"

#include <dlfcn.h>
#include <limits.h>

/* ------------------------------------------------------------------ the host */

static char last_line[256];

static void keep_line(void *opaque, enum umdev_log_level level, const char *line)
{
    assert_ptr_equal(opaque, last_line);
    snprintf(last_line, sizeof(last_line), "%d %s", (int)level, line);
}

static void test_log(void **state)
{
    struct umdev_host_options options = {.struct_size = sizeof(options),
                                         .log = keep_line,
                                         .log_opaque = last_line,
                                         .log_level = UMDEV_LOG_INFO};
    struct umdev_host *host = NULL;

    (void)state;
    assert_int_equal(umdev_host_new(&options, &host), 0);
    assert_int_equal(umdev_host_add_parent_static(host, &small_driver, "p", NULL, 0, NULL), 0);
    assert_string_equal(last_line, "2 p: registered, driver small");
    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_A, NULL, NULL), 0);
    assert_string_equal(last_line, "2 " UUID_A ": created: small-1 with parent p");
    assert_int_equal(umdev_host_remove(host, UUID_A), 0);
    assert_string_equal(last_line, "2 " UUID_A ": removed from p");
    umdev_host_free(host);
    assert_string_equal(last_line, "2 p: unregistered");

    /* A level lets those above it through only. */
    options.log_level = UMDEV_LOG_WARNING;
    last_line[0] = '\0';
    assert_int_equal(umdev_host_new(&options, &host), 0);
    assert_int_equal(umdev_host_add_parent_static(host, &small_driver, "p", NULL, 0, NULL), 0);
    umdev_host_free(host);
    assert_string_equal(last_line, "");
}

static void test_options_of_other_versions(void **state)
{
    struct {
        struct umdev_host_options known;
        uint64_t unknown;
    } newer = {.known = {.struct_size = sizeof(newer)}};
    struct umdev_host_options older = {.struct_size = sizeof(size_t)};
    struct umdev_host *host = NULL;

    (void)state;
    /* Beyond struct_size nothing is looked at. */
    memset((char *)&older + sizeof(size_t), 0xff, sizeof(older) - sizeof(size_t));
    assert_int_equal(umdev_host_new(&older, &host), 0);
    umdev_host_free(host);
    assert_int_equal(umdev_host_new(&newer.known, &host), 0);
    umdev_host_free(host);
    newer.unknown = 1;
    assert_int_equal(umdev_host_new(&newer.known, &host), -EINVAL);
    older.struct_size = 0;
    assert_int_equal(umdev_host_new(&older, &host), -EINVAL);
    umdev_host_free(NULL);
}

static void test_hosts_are_independent(void **state)
{
    struct umdev_host *first = new_host();
    struct umdev_host *second = new_host();

    (void)state;
    assert_int_equal(umdev_host_create(first, NULL, "small-1", UUID_A, NULL, NULL), 0);
    assert_int_equal(umdev_host_create(second, NULL, "small-1", UUID_A, NULL, NULL), 0);
    umdev_host_free(first);
    assert_int_equal(umdev_host_remove(second, UUID_A), 0);
    free_host(second);
}

static int make_host(void *opaque)
{
    struct umdev_host **host = opaque;
    int ret = umdev_host_new(NULL, host);

    if (ret)
        return ret;
    ret = umdev_host_add_parent_static(*host, &small_driver, NULL, NULL, 0, NULL);
    if (!ret)
        ret = umdev_host_create(*host, NULL, "small-1", UUID_A, NULL, NULL);
    if (ret)
        umdev_host_free(*host);
    return ret;
}

static void unmake_host(void *opaque)
{
    free_host(*(struct umdev_host **)opaque);
}

static void test_every_error_path(void **state)
{
    struct umdev_host *host = NULL;

    (void)state;
    assert_true(failnth_run(make_host, unmake_host, &host) > 15);
}

/* ------------------------------------------------------------------ parents and types */

static bool is_loaded(const char *file)
{
    char path[1024];
    void *handle;

    snprintf(path, sizeof(path), "%s/%s", UMDEV_TEST_DRIVERS, file);
    handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (handle)
        dlclose(handle);
    return handle;
}

static void test_parent_from_a_file(void **state)
{
    static const char *const params[] = {"level=4", "level=5", "volume=4"};
    struct umdev_error error = {""};
    struct umdev_host *host = NULL;

    (void)state;
    assert_int_equal(umdev_host_new(NULL, &host), 0);
    unsetenv("UMDEV_DRIVER_PATH");
    assert_int_equal(umdev_host_add_parent(host, "nothing", NULL, NULL, 0, &error), -ENOENT);
    assert_non_null(strstr(error.message, "no driver 'nothing'"));
    setenv("UMDEV_DRIVER_PATH", UMDEV_TEST_DRIVERS, 1);
    assert_int_equal(umdev_host_add_parent(host, "stranger", NULL, NULL, 0, &error), -ENOEXEC);
    assert_int_equal(umdev_host_add_parent(host, "good", NULL, params + 2, 1, &error), -EINVAL);
    assert_string_equal(error.message, "unknown parameter 'volume': driver good has level");
    assert_int_equal(umdev_host_add_parent(host, "good", NULL, params, 2, &error), -EINVAL);
    assert_false(is_loaded("umdev-good.so"));
    assert_int_equal(umdev_host_add_parent(host, "good", NULL, params, 1, &error), 0);
    assert_int_equal(umdev_host_add_parent(host, "good", "good0", NULL, 0, &error), -EEXIST);
    assert_int_equal(umdev_host_create(host, "good0", "good-1", UUID_A, NULL, NULL), 0);
    assert_true(is_loaded("umdev-good.so"));
    assert_int_equal(umdev_host_remove_parent(host, "good0"), 0);
    assert_false(is_loaded("umdev-good.so"));
    assert_int_equal(umdev_host_remove_parent(host, "good0"), -ENOENT);
    assert_int_equal(umdev_host_remove(host, UUID_A), -ENODEV);
    umdev_host_free(host);
}

static int check_type(void *opaque, const struct umdev_host_type *type)
{
    int *seen = opaque;

    assert_string_equal(type->parent, "p");
    assert_string_equal(type->driver, "small");
    assert_string_equal(type->device_api, "vfio-pci");
    if (++*seen == 1) {
        assert_string_equal(type->name, "small-1");
        assert_string_equal(type->pretty_name, "small-1");
        assert_string_equal(type->description, "one square");
        assert_int_equal(type->available, 7);
        return 0;
    }
    assert_string_equal(type->name, "small-2");
    assert_string_equal(type->pretty_name, "Two");
    assert_null(type->description);
    assert_int_equal(type->available, 1);
    return 5;
}

static void test_types(void **state)
{
    struct umdev_host *host = new_host();
    int seen = 0;

    (void)state;
    assert_int_equal(umdev_host_create(host, NULL, "small-1", NULL, NULL, NULL), 0);
    assert_int_equal(umdev_host_for_each_type(host, check_type, &seen), 5);
    assert_int_equal(seen, 2);
    free_host(host);
}

/* ------------------------------------------------------------------ devices */

static int check_device(void *opaque, const struct umdev_host_device *device)
{
    ++*(int *)opaque;
    assert_string_equal(device->uuid, UUID_A);
    assert_string_equal(device->type, "small-2");
    assert_string_equal(device->parent, "p");
    assert_string_equal(device->driver, "small");
    assert_null(device->socket);
    assert_false(device->connected);
    return 0;
}

static void test_devices(void **state)
{
    struct umdev_host *host = new_host();
    char uuid[UMDEV_UUID_STR_SIZE] = "";
    int seen = 0;

    (void)state;
    assert_int_equal(umdev_host_create(host, NULL, "small-2", UUID_A, uuid, NULL), 0);
    assert_string_equal(uuid, UUID_A);
    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_A, NULL, NULL), -EEXIST);
    assert_int_equal(umdev_host_create(host, NULL, "small-2", UUID_B, NULL, NULL), -EUSERS);
    assert_int_equal(umdev_host_create(host, NULL, "small-3", UUID_B, NULL, NULL), -ENOENT);
    assert_int_equal(umdev_host_create(host, NULL, "small-1", "x", NULL, NULL), -EINVAL);
    assert_int_equal(umdev_host_for_each_device(host, check_device, &seen), 0);
    assert_int_equal(seen, 1);
    assert_int_equal(umdev_host_remove(host, UUID_B), -ENODEV);
    assert_int_equal(umdev_host_remove(host, "AAAAAAAA-0000-4000-8000-000000000001"), 0);
    assert_int_equal(umdev_host_remove(host, UUID_A), -ENODEV);
    free_host(host);
}

static void test_stats_of_other_versions(void **state)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct umdev_host *host = new_host();
    struct {
        struct umdev_host_stats known;
        uint64_t unknown;
    } newer = {.known.struct_size = sizeof(newer), .unknown = 7};

    (void)state;
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), -ENODEV);
    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_A, NULL, NULL), 0);
    memset(&stats, 0xff, sizeof(stats));
    stats.struct_size = sizeof(stats);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.errors, 0);
    assert_int_equal(stats.struct_size, sizeof(stats));
    /* An older caller's struct ends earlier. */
    memset(&stats, 0xff, sizeof(stats));
    stats.struct_size = offsetof(struct umdev_host_stats, connected);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    assert_int_equal(stats.sessions, 0);
    assert_true(stats.connected == UINT64_MAX);
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &newer.known), 0);
    assert_int_equal(newer.unknown, 7);
    stats.struct_size = 0;
    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), -EINVAL);
    free_host(host);
}

static void test_sigbus(void **state)
{
    int here = 0;

    (void)state;
    assert_false(umdev_host_sigbus(&here));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_options_of_other_versions),
        cmocka_unit_test(test_hosts_are_independent),
        cmocka_unit_test(test_every_error_path),
        cmocka_unit_test(test_parent_from_a_file),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_stats_of_other_versions),
        cmocka_unit_test(test_sigbus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
