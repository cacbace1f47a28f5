/* SPDX-License-Identifier: BSD-3-Clause */
/* What --parent says, the run directory, what is kept: with every call failing once. */
#include "base/range.h"
#include "daemon/rundir.h"
#include "daemon/spec.h"
#include "daemon/state.h"
#include "failnth.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID  "12345678-1234-1234-1234-123456789abc"
#define OTHER "22345678-1234-1234-1234-123456789abc"

/* ------------------------------------------------------------------ --parent */

static void test_spec(void **state)
{
    static const struct {
        const char *text, *driver, *name, *params, *stem;
        bool isolate;
    } right[] = {
        {"vgpu", "vgpu", NULL, "", "vgpu", false},
        {"vgpu,vram=1G", "vgpu", NULL, "vram=1G;", "vgpu", false},
        {"./umdev-x.so,name=a,isolate=yes,b=,c=1,,2,d==", "./umdev-x.so", "a", "b=;c=1,2;d==;", "x",
         true},
        {"a,,b,x=,,,y=,,", "a,b", NULL, "x=,;y=,;", "a,b", false},
        {"x,name=a,name=b,isolate=yes,isolate=no", "x", "b", "", "x", false},
        {"/x/y", "/x/y", NULL, "", "y", false},
        {"umdev-x.so", "umdev-x.so", NULL, "", "umdev-x.so", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        struct umdev_error error = {.message = ""};
        struct parent_spec spec;
        char params[64] = "";
        char stem[64];

        assert_int_equal(spec_parse(&spec, right[i].text, &error), 0);
        assert_string_equal(spec.driver, right[i].driver);
        assert_int_equal(spec.isolate, right[i].isolate);
        if (right[i].name)
            assert_string_equal(spec.name, right[i].name);
        else
            assert_null(spec.name);
        for (size_t k = 0; k < spec.nparams; k++) {
            strcat(params, spec.params[k]);
            strcat(params, ";");
        }
        assert_string_equal(params, right[i].params);
        spec_stem(&spec, stem, sizeof(stem));
        assert_string_equal(stem, right[i].stem);
        spec_free(&spec);
    }
}

static void test_wrong_spec(void **state)
{
    static const char *const wrong[] = {"",   ",",   "x,",         ",x=1",
                                        "x,", "x,y", "x,isolate=", "x,isolate=maybe"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct umdev_error error = {.message = ""};
        struct parent_spec spec;

        assert_int_equal(spec_parse(&spec, wrong[i], &error), -EINVAL);
        assert_int_not_equal(error.message[0], 0);
    }
}

/* ------------------------------------------------------------------ the run directory */

struct scene {
    char folder[32];
    char path[64];
    struct rundir rundir;
    struct state state;
    char *socket;
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.folder = "/tmp/umdev-daemon-XXXXXX"};
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof(scene->path), "%s/run", scene->folder);
    rundir_init(&scene->rundir);
}

static void scene_end(struct scene *scene)
{
    /* Nothing is left, or it would not be empty. */
    assert_int_equal(rmdir(scene->folder), 0);
}

static int open_rundir(void *opaque)
{
    struct scene *scene = opaque;
    struct umdev_error error = {.message = ""};
    int ret;

    rundir_init(&scene->rundir);
    ret = rundir_open(&scene->rundir, scene->path, 0600, (gid_t)-1, &error);
    if (!ret)
        ret = rundir_device_make(&scene->rundir, UUID, &scene->socket, &error);
    if (ret) {
        assert_int_not_equal(error.message[0], 0);
        rundir_close(&scene->rundir);
        assert_int_equal(access(scene->path, F_OK), -1);
    }
    return ret;
}

static void close_rundir(void *opaque)
{
    struct scene *scene = opaque;

    free(scene->socket);
    scene->socket = NULL;
    rundir_close(&scene->rundir);
}

static void test_rundir_fails(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    assert_true(failnth_run(open_rundir, close_rundir, &scene) >= 2);
    scene_end(&scene);
}

/* A lock file that was removed after it was opened is not the lock. */
static void test_lock_of_a_file_that_is_gone(void **state)
{
    struct umdev_error error;
    struct scene scene;
    struct rundir second;
    char lock[80];
    struct stat status;

    (void)state;
    scene_init(&scene);
    assert_int_equal(open_rundir(&scene), 0);
    rundir_init(&second);
    assert_int_equal(rundir_open(&second, scene.path, 0600, (gid_t)-1, &error), -EBUSY);
    assert_non_null(strstr(error.message, "another daemon"));
    rundir_close(&second);
    snprintf(lock, sizeof(lock), "%s/lock", scene.path);
    assert_int_equal(stat(lock, &status), 0);
    /* Nobody else can hold it. */
    assert_int_equal(status.st_mode & 077, 0);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(rundir_open(&second, scene.path, 0600, (gid_t)-1, &error), 0);
    rundir_close(&second);
    close_rundir(&scene);
    scene_end(&scene);
}

enum { LOCK_THREADS = 3, LOCK_ROUNDS = 1000 };

struct contest {
    const char *path;
    atomic_uint holders, won, most;
};

static void *lock_and_unlock(void *opaque)
{
    struct contest *contest = opaque;

    for (unsigned i = 0; i < LOCK_ROUNDS; i++) {
        struct rundir rundir;
        unsigned holders;

        rundir_init(&rundir);
        if (rundir_open(&rundir, contest->path, 0600, (gid_t)-1, NULL) == 0) {
            holders = atomic_fetch_add(&contest->holders, 1) + 1;
            if (holders > atomic_load(&contest->most))
                atomic_store(&contest->most, holders);
            atomic_fetch_add(&contest->won, 1);
            sched_yield();
            atomic_fetch_sub(&contest->holders, 1);
        }
        rundir_close(&rundir);
    }
    return NULL;
}

/* Whoever comes while it is given up finds one owner or none. */
static void test_never_two_owners(void **state)
{
    pthread_t threads[LOCK_THREADS];
    struct contest contest = {0};
    struct scene scene;

    (void)state;
    scene_init(&scene);
    contest.path = scene.path;
    for (unsigned i = 0; i < LOCK_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, lock_and_unlock, &contest), 0);
    for (unsigned i = 0; i < LOCK_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(contest.most, 1);
    assert_true(contest.won > 0);
    rmdir(scene.path);
    scene_end(&scene);
}

/* ------------------------------------------------------------------ what is kept */

static int keep(void *opaque)
{
    struct scene *scene = opaque;
    struct umdev_error error = {.message = ""};
    int ret = state_open(&scene->state, scene->path, &error);

    if (!ret)
        ret = state_keep(&scene->state, UUID, "a-1", "a", &error);
    if (ret) {
        assert_int_not_equal(error.message[0], 0);
        assert_false(state_has(&scene->state, UUID));
        state_close(&scene->state);
    }
    return ret;
}

static void unkeep(void *opaque)
{
    struct scene *scene = opaque;

    assert_true(state_has(&scene->state, UUID));
    assert_int_equal(state_drop(&scene->state, UUID), 0);
    assert_int_equal(state_drop(&scene->state, UUID), -ENOENT);
    state_close(&scene->state);
}

static void test_state_fails(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    failnth_run(keep, unkeep, &scene);
    /* No half of a file, and no temporary one. */
    assert_int_equal(rmdir(scene.path), 0);
    scene_end(&scene);
}

static void collect(void *opaque, const struct state_device *device)
{
    char *list = opaque;

    strcat(list, device->uuid);
    strcat(list, device->type);
    strcat(list, device->parent);
}

static void test_state_in_order(void **state)
{
    struct scene scene;
    char list[256] = "";

    (void)state;
    scene_init(&scene);
    assert_int_equal(state_open(&scene.state, scene.path, NULL), 0);
    assert_int_equal(state_keep(&scene.state, OTHER, "b-1", "b", NULL), 0);
    assert_int_equal(state_keep(&scene.state, UUID, "x", "y", NULL), 0);
    assert_int_equal(state_keep(&scene.state, UUID, "a-1", "a", NULL), 0);
    state_for_each(&scene.state, NULL, collect, list);
    assert_string_equal(list, UUID "a-1"
                                   "a" OTHER "b-1"
                                   "b");
    assert_int_equal(state_drop(&scene.state, UUID), 0);
    assert_int_equal(state_drop(&scene.state, OTHER), 0);
    state_close(&scene.state);
    assert_int_equal(rmdir(scene.path), 0);
    scene_end(&scene);
}

static void test_nothing_is_kept(void **state)
{
    struct state none;
    char list[8] = "";

    (void)state;
    assert_int_equal(state_open(&none, NULL, NULL), 0);
    assert_int_equal(state_keep(&none, UUID, "a", "b", NULL), -EOPNOTSUPP);
    assert_int_equal(state_drop(&none, UUID), -ENOENT);
    assert_false(state_has(&none, UUID));
    state_for_each(&none, NULL, collect, list);
    state_close(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_wrong_spec),
        cmocka_unit_test(test_rundir_fails),
        cmocka_unit_test(test_lock_of_a_file_that_is_gone),
        cmocka_unit_test(test_never_two_owners),
        cmocka_unit_test(test_state_fails),
        cmocka_unit_test(test_state_in_order),
        cmocka_unit_test(test_nothing_is_kept),
    };

    return cmocka_run_group_tests_name("the daemon's files", tests, NULL, NULL);
}
