/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting with each call that can fail failing: nothing stays mounted, open or allocated. */
#include "fake.h"

#include "failnth.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    struct sysfs_ops ops;
    struct log log;
    char path[64];
    struct sysfs *tree;
};

static void no_log(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)opaque, (void)level, (void)line;
}

static int mount_it(void *opaque)
{
    struct place *place = opaque;

    return sysfs_mount(place->path, &place->ops, &place->log, &place->tree);
}

static void unmount_it(void *opaque)
{
    struct place *place = opaque;

    sysfs_unmount(place->tree);
}

static bool is_mounted(const char *path)
{
    struct stat here, above;
    char up[80];

    snprintf(up, sizeof(up), "%s/..", path);
    return stat(path, &here) || stat(up, &above) || here.st_dev != above.st_dev;
}

static void test_failures(void **state)
{
    static struct fake fake;
    struct place place = {.ops = fake_ops(&fake), .log = {.sink = no_log}};
    int ret;

    (void)state;
    strcpy(place.path, "/tmp/umdev-mount-XXXXXX");
    assert_non_null(mkdtemp(place.path));
    ret = mount_it(&place);
    if (ret == 0) {
        assert_true(is_mounted(place.path));
        unmount_it(&place);
        assert_true(failnth_run(mount_it, unmount_it, &place) >= 4);
        assert_false(is_mounted(place.path));
    }
    rmdir(place.path);
    if (ret) {
        print_message("no tree can be mounted here: %s\n", log_errno(-ret));
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failures)};

    return cmocka_run_group_tests_name("mounting", tests, NULL, NULL);
}
