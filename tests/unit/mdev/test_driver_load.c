/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Real shared objects (drivers/), found by name and by path. UMDEV_TEST_DRIVERS is their directory.
 */
#include "unit.h"

#include "leaks.h"
#include "mdev/driver_load.h"
#include "mdev/mdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64]; /* a test's own, empty */

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/umdev-test-load-XXXXXX");
    unsetenv("UMDEV_DRIVER_PATH");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return system(command);
}

static const char *in_directory(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static const char *built(const char *name)
{
    static char path[1024];

    snprintf(path, sizeof(path), "%s/%s", UMDEV_TEST_DRIVERS, name);
    return path;
}

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    struct stat status;

    assert_true(in >= 0 && out >= 0);
    assert_int_equal(fstat(in, &status), 0);
    for (off_t left = status.st_size; left > 0;) {
        ssize_t sent = sendfile(out, in, NULL, (size_t)left);

        assert_true(sent > 0);
        left -= sent;
    }
    close(in);
    close(out);
}

static void assert_loads(const char *name, const char *called)
{
    const struct umdev_driver *driver = NULL;
    struct umdev_error error = {""};
    void *module = NULL;

    if (driver_load(name, &driver, &module, &error))
        fail_msg("%s: %s", name, error.message);
    assert_string_equal(driver->name, called);
    driver_unload(module);
}

static void assert_refused(const char *name, int errno_value, const char *words)
{
    const struct umdev_driver *driver = NULL;
    struct umdev_error error = {""};
    void *module = NULL;
    int ret;

    ret = driver_load(name, &driver, &module, &error);
    if (ret != -errno_value || !strstr(error.message, words))
        fail_msg("%s: %d, '%s' lacks '%s'", name, ret, error.message, words);
    assert_null(module);
}

static void test_by_path(void **state)
{
    (void)state;
    assert_loads(built("umdev-good.so"), "good");
    assert_loads(built("umdev-older.so"), "older");
    /* A path says which file, not what it is called. */
    assert_loads(built("umdev-renamed.so"), "liar");
    assert_refused("/nowhere/umdev-good.so", ENOENT, "'/nowhere/umdev-good.so': No such file");
    assert_refused("./umdev-good.so", ENOENT, "'./umdev-good.so'");
    assert_refused(in_directory(""), ENOEXEC, "not a driver");
}

static void test_by_name(void **state)
{
    char path[1200];

    (void)state;
    snprintf(path, sizeof(path), ":%s::%s:", directory, UMDEV_TEST_DRIVERS);
    setenv("UMDEV_DRIVER_PATH", path, 1);
    assert_loads("good", "good");
    /* The first place wins, whatever is there. */
    copy_file(built("umdev-stranger.so"), in_directory("umdev-good.so"));
    assert_refused("good", ENOEXEC, in_directory("umdev-good.so"));
}

static void test_not_found_lists_the_places(void **state)
{
    (void)state;
    setenv("UMDEV_DRIVER_PATH", directory, 1);
    assert_refused("good", ENOENT,
                   "no driver 'good': umdev-good.so is not in /tmp/umdev-test-load-");
    assert_refused("good", ENOENT, UMDEV_DRIVER_DIR);
    unsetenv("UMDEV_DRIVER_PATH");
    assert_refused("good", ENOENT, "is not in " UMDEV_DRIVER_DIR);
}

static void test_names_no_driver_can_have(void **state)
{
    (void)state;
    assert_refused("", EINVAL, "''");
    assert_refused("a-b", EINVAL, "'a-b'");
    assert_refused("umdev-good.so", EINVAL, "with a '/'");
    assert_refused("..", EINVAL, "'..'");
}

static void test_what_is_no_driver(void **state)
{
    FILE *garbage = fopen(in_directory("umdev-garbage.so"), "w");

    (void)state;
    assert_non_null(garbage);
    fputs("this is not an ELF file", garbage);
    fclose(garbage);
    setenv("UMDEV_DRIVER_PATH", directory, 1);
    assert_refused("garbage", ENOEXEC, "umdev-garbage.so: file too short");
    setenv("UMDEV_DRIVER_PATH", UMDEV_TEST_DRIVERS, 1);
    assert_refused("stranger", ENOEXEC, "no umdev_driver_entry");
    assert_refused("future", ENOEXEC, "API version 2, this umdev has 1");
    assert_refused("renamed", ENOEXEC, "called 'liar'");
    assert_refused("unresolved", ENOEXEC, "undefined symbol: umdev_function_of_tomorrow");
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void test_an_older_driver_is_a_parent(void **state)
{
    const struct umdev_driver *driver = NULL;
    struct mdev_registry *registry = NULL;
    bool released = false;
    void *module = NULL;

    (void)state;
    assert_int_equal(driver_load(built("umdev-older.so"), &driver, &module, NULL), 0);
    assert_int_equal(mdev_registry_new(NULL, NULL, &registry), 0);
    assert_int_equal(mdev_parent_add(registry, driver, "p", NULL, 0, set_true, &released, NULL), 0);
    assert_false(released);
    mdev_registry_free(registry);
    assert_true(released);
    driver_unload(module);
}

static int level_of(void *opaque, const struct mdev_type_info *info)
{
    snprintf(opaque, 64, "%s %s %u", info->parent, info->name, info->available);
    return 0;
}

/* Loaded, opened, listed, and unloaded by the removal of its parent. */
static void test_a_driver_calls_back(void **state)
{
    const char *const params[] = {"level=9"};
    const struct umdev_driver *driver = NULL;
    struct mdev_registry *registry = NULL;
    void *module = NULL;
    char listed[64] = "";

    (void)state;
    assert_int_equal(driver_load(built("umdev-good.so"), &driver, &module, NULL), 0);
    assert_int_equal(mdev_registry_new(NULL, NULL, &registry), 0);
    assert_int_equal(
        mdev_parent_add(registry, driver, NULL, params, 1, driver_unload, module, NULL), 0);
    assert_int_equal(mdev_for_each_type(registry, level_of, listed), 0);
    assert_string_equal(listed, "good0 good-1 2");
    assert_int_equal(mdev_create(registry, NULL, "good-1", NULL, NULL, NULL), 0);
    assert_int_equal(mdev_parent_remove(registry, "good0"), 0);
    mdev_registry_free(registry);
}

/* A copy of this program as BUILD/src/program finds BUILD/drivers/good/umdev-good.so. */
static void test_uninstalled(void **state)
{
    char program[256];
    int status = 0;
    pid_t child;

    (void)state;
    assert_int_equal(mkdir(in_directory("src"), 0755), 0);
    assert_int_equal(mkdir(in_directory("lib"), 0755), 0);
    assert_int_equal(mkdir(in_directory("drivers"), 0755), 0);
    assert_int_equal(mkdir(in_directory("drivers/good"), 0755), 0);
    copy_file(built("umdev-good.so"), in_directory("drivers/good/umdev-good.so"));
    for (int installed = 0; installed < 2; installed++) {
        snprintf(program, sizeof(program), "%s/%s/program", directory, installed ? "lib" : "src");
        copy_file("/proc/self/exe", program);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            execl(program, program, "--load", "good", (char *)NULL);
            _exit(127);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), installed ? ENOENT : 0);
    }
}

static int load_only(const char *name)
{
    const struct umdev_driver *driver = NULL;
    void *module = NULL;
    int ret = driver_load(name, &driver, &module, NULL);

    driver_unload(module);
    return -ret;
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(test_by_path),
        TEST(test_by_name),
        TEST(test_not_found_lists_the_places),
        TEST(test_names_no_driver_can_have),
        TEST(test_what_is_no_driver),
        TEST(test_an_older_driver_is_a_parent),
        TEST(test_a_driver_calls_back),
        TEST(test_uninstalled),
    };

    if (argc == 3 && strcmp(argv[1], "--load") == 0)
        return load_only(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
