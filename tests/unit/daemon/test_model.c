/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's model over sources that fail, are full, or end in the middle of things. */
#include "daemon/model.h"

#include "base/range.h"
#include "failnth.h"
#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "12345678-1234-1234-1234-123456789abc"

/* A source that has what it is told to have. */
struct fake {
    const char *parent;
    unsigned available;
    bool silent;                  /* its process has ended */
    int create_ret;               /* what create() returns */
    struct model *lost_in_create; /* its process ends while it creates … */
    bool made_again;              /* … and the next one creates, too */
    struct model *busy_in_remove; /* somebody else comes while it removes */
    unsigned devices;
    char uuid[UMDEV_UUID_STR_SIZE], socket[128]; /* of the last one that was created */
};

static int fake_types(void *opaque, source_each_type each, void *each_opaque)
{
    const struct fake *fake = opaque;
    const struct umdev_host_type type = {
        .parent = fake->parent,
        .driver = "fake",
        .name = "fake-1",
        .pretty_name = "1",
        .device_api = "vfio-pci",
        .available = fake->available,
        .parent_id = 7,
    };

    return fake->silent ? -EIO : each(each_opaque, &type);
}

static int fake_devices(void *opaque, source_each_device each, void *each_opaque)
{
    const struct fake *fake = opaque;
    const struct umdev_host_device device = {
        .uuid = fake->uuid,
        .type = "fake-1",
        .parent = fake->parent,
        .driver = "fake",
        .socket = fake->socket,
        .id = 7,
        .parent_id = 7,
    };

    return fake->devices ? each(each_opaque, &device) : 0;
}

static int fake_create(void *opaque, const struct source_create *create,
                       char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error)
{
    struct fake *fake = opaque;
    struct stat status;
    char folder[128];

    /* All is said, and the socket has a place. */
    assert_string_equal(create->parent, fake->parent);
    assert_false(create->persist);
    snprintf(folder, sizeof(folder), "%.*s", (int)(strlen(create->socket) - strlen("/socket")),
             create->socket);
    assert_int_equal(stat(folder, &status), 0);
    if (fake->available == 0)
        return error_set(error, EUSERS, "it is full");
    if (fake->create_ret)
        return error_set(error, -fake->create_ret, "it did not want to");
    snprintf(fake->uuid, sizeof(fake->uuid), "%s", create->uuid);
    snprintf(fake->socket, sizeof(fake->socket), "%s", create->socket);
    snprintf(uuid, UMDEV_UUID_STR_SIZE, "%s", create->uuid);
    fake->devices++;
    if (fake->lost_in_create) {
        fake->devices = fake->made_again;
        model_lose(fake->lost_in_create, fake->parent);
    }
    return 0;
}

static int fake_remove(void *opaque, const char *uuid, struct umdev_error *error)
{
    struct fake *fake = opaque;

    (void)error;
    assert_string_equal(uuid, fake->uuid);
    if (fake->devices == 0)
        return -EIO;
    if (fake->busy_in_remove) {
        struct source_create again = {.type = "fake-1", .uuid = uuid};
        char made[UMDEV_UUID_STR_SIZE];

        assert_int_equal(model_remove(fake->busy_in_remove, uuid, NULL), -EAGAIN);
        assert_int_equal(model_create(fake->busy_in_remove, &again, made, NULL), -EEXIST);
    }
    fake->devices--;
    return 0;
}

static struct source fake_source(struct fake *fake)
{
    return (struct source){
        .for_each_type = fake_types,
        .for_each_device = fake_devices,
        .create = fake_create,
        .remove = fake_remove,
        .opaque = fake,
    };
}

/* ------------------------------------------------------------------ the scene */

struct scene {
    char folder[32], run[48], kept[48];
    struct log log;
    struct rundir rundir;
    struct state state;
    struct model *model;
    struct fake a, b;
    struct source_create want;
};

static void scene_init(struct scene *scene)
{
    struct model_options options = {&scene->log, &scene->rundir, &scene->state, NULL, NULL};
    struct source a = fake_source(&scene->a), b = fake_source(&scene->b);

    *scene = (struct scene){
        .folder = "/tmp/umdev-daemon-XXXXXX",
        .a = {.parent = "a", .available = UINT_MAX},
        .b = {.parent = "b", .available = UINT_MAX},
        .want = {.type = "fake-1"},
    };
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->run, sizeof(scene->run), "%s/run", scene->folder);
    snprintf(scene->kept, sizeof(scene->kept), "%s/state", scene->folder);
    rundir_init(&scene->rundir);
    assert_int_equal(rundir_open(&scene->rundir, scene->run, 0600, (gid_t)-1, NULL), 0);
    assert_int_equal(state_open(&scene->state, scene->kept, NULL), 0);
    assert_int_equal(model_new(&options, &scene->model), 0);
    assert_int_equal(model_add_parent(scene->model, &a, "a", NULL), 0);
    assert_int_equal(model_add_parent(scene->model, &a, "a", NULL), -EEXIST);
    assert_int_equal(model_add_parent(scene->model, &b, "b", NULL), 0);
}

static void scene_end(struct scene *scene)
{
    model_free(scene->model);
    state_close(&scene->state);
    rundir_close(&scene->rundir);
    assert_int_equal(rmdir(scene->kept), 0);
    assert_int_equal(rmdir(scene->folder), 0);
}

static int count(void *opaque, const struct umdev_host_device *device)
{
    uint64_t *ids = opaque;

    assert_true(device->id > ids[0]);
    assert_true(device->parent_id == 1 || device->parent_id == 2);
    ids[0] = device->id;
    ids[1]++;
    return 0;
}

/* How many are shown; their ids, which are not the sources', go up. */
static unsigned shown(struct scene *scene)
{
    uint64_t ids[2] = {0, 0};

    assert_int_equal(model_for_each_device(scene->model, count, ids), 0);
    return (unsigned)ids[1];
}

static int create(void *opaque)
{
    struct scene *scene = opaque;
    struct umdev_error error = {.message = ""};
    char uuid[UMDEV_UUID_STR_SIZE];
    int ret = model_create(scene->model, &scene->want, uuid, &error);

    if (ret) {
        assert_int_not_equal(error.message[0], 0);
        assert_int_equal(shown(scene), 0);
    }
    return ret;
}

static void undo(void *opaque)
{
    struct scene *scene = opaque;

    assert_int_equal(shown(scene), 1);
    assert_int_equal(model_remove(scene->model, UUID, NULL), 0);
    assert_int_equal(shown(scene), 0);
}

/* ------------------------------------------------------------------ tests */

static void test_every_call_fails_once(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.want = (struct source_create){.type = "fake-1", .uuid = UUID, .persist = true};
    assert_true(failnth_run(create, undo, &scene) >= 2);
    scene_end(&scene);
}

static void test_a_source_refuses(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.a.create_ret = -ENOMEM;
    assert_int_equal(create(&scene), -ENOMEM);
    /* One that has become full meanwhile is passed over. */
    scene.a.create_ret = -EUSERS;
    assert_int_equal(create(&scene), 0);
    assert_int_equal(scene.b.devices, 1);
    scene.b.available = 0;
    scene.want.parent = "b";
    {
        struct umdev_error error = {.message = ""};
        char uuid[UMDEV_UUID_STR_SIZE];

        assert_int_equal(model_create(scene.model, &scene.want, uuid, &error), -EUSERS);
        assert_non_null(strstr(error.message, "with parent b"));
    }
    scene_end(&scene);
}

static void test_a_process_ends_while_it_creates(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.want = (struct source_create){.type = "fake-1", .uuid = UUID, .persist = true};
    scene.a.lost_in_create = scene.model;
    assert_int_equal(create(&scene), -ENODEV);
    assert_false(state_has(&scene.state, UUID));
    /* The next process was so fast that it has made it: it does not keep it. */
    scene.a.made_again = true;
    assert_int_equal(create(&scene), -ENODEV);
    assert_int_equal(scene.a.devices, 0);
    scene.a.lost_in_create = NULL;
    assert_int_equal(create(&scene), 0);
    undo(&scene);
    scene_end(&scene);
}

static void test_a_process_ends(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.want = (struct source_create){.type = "fake-1", .uuid = UUID, .persist = true};
    assert_int_equal(create(&scene), 0);
    assert_int_equal(model_lose(scene.model, "b"), 0);
    assert_int_equal(shown(&scene), 1);
    scene.a.devices = 0;
    scene.a.silent = true;
    assert_int_equal(model_lose(scene.model, "a"), 1);
    assert_int_equal(model_lose(scene.model, "a"), 0);
    assert_int_equal(shown(&scene), 0);
    scene.want.parent = "a";
    scene.want.uuid = NULL;
    assert_int_equal(create(&scene), -ENODEV);
    /* It comes back with its process, once. */
    model_restore(scene.model, "b");
    assert_int_equal(scene.a.devices, 0);
    scene.a.silent = false;
    model_restore(scene.model, "a");
    model_restore(scene.model, "a");
    assert_int_equal(scene.a.devices, 1);
    assert_true(model_is_persistent(scene.model, UUID));
    undo(&scene);
    assert_false(state_has(&scene.state, UUID));
    scene_end(&scene);
}

/* A device that will come back is not said to be gone for good. */
static void test_what_is_kept_cannot_be_dropped(void **state)
{
    struct umdev_error error = {.message = ""};
    struct scene scene;
    char path[128];

    (void)state;
    scene_init(&scene);
    scene.want.uuid = UUID;
    snprintf(path, sizeof(path), "%s/" UUID ".json", scene.kept);
    assert_int_equal(create(&scene), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(model_remove(scene.model, UUID, &error), -EISDIR);
    assert_non_null(strstr(error.message, "will come back"));
    assert_int_equal(shown(&scene), 0);
    assert_int_equal(scene.a.devices, 0);
    assert_int_equal(model_remove(scene.model, UUID, &error), -EISDIR);
    rmdir(path);
    assert_int_equal(model_remove(scene.model, UUID, &error), -ENODEV);
    scene_end(&scene);
}

static void test_others_meanwhile(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.want.uuid = UUID;
    assert_int_equal(create(&scene), 0);
    scene.a.busy_in_remove = scene.model;
    undo(&scene);
    assert_int_equal(model_remove(scene.model, UUID, NULL), -ENODEV);
    scene_end(&scene);
}

static void test_names(void **state)
{
    struct scene scene;
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    (void)state;
    scene_init(&scene);
    scene.want.uuid = "12345678-1234-1234-1234-123456789ABC";
    assert_int_equal(create(&scene), 0);
    assert_string_equal(scene.a.uuid, UUID);
    assert_int_equal(model_get_stats(scene.model, "x", &stats), -ENODEV);
    assert_int_equal(model_remove(scene.model, "", NULL), -ENODEV);
    assert_int_equal(model_remove(scene.model, scene.want.uuid, NULL), 0);
    scene_end(&scene);
}

/* ------------------------------------------------------------------ threads */

static void *lose_again_and_again(void *opaque)
{
    struct scene *scene = opaque;

    for (unsigned i = 0; i < 2000; i++)
        model_lose(scene->model, "a");
    return NULL;
}

static void *remove_again_and_again(void *opaque)
{
    struct scene *scene = opaque;

    for (unsigned i = 0; i < 2000; i++)
        model_is_persistent(scene->model, UUID);
    return NULL;
}

/* Devices that are lost at any moment leave nothing behind. */
static void test_lost_at_any_time(void **state)
{
    struct scene scene;
    pthread_t threads[2];
    unsigned there = 0;

    (void)state;
    scene_init(&scene);
    scene.want = (struct source_create){.type = "fake-1", .uuid = UUID, .parent = "a"};
    assert_int_equal(pthread_create(&threads[0], NULL, lose_again_and_again, &scene), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, remove_again_and_again, &scene), 0);
    for (unsigned i = 0; i < 1000; i++) {
        char uuid[UMDEV_UUID_STR_SIZE];
        int ret = model_create(scene.model, &scene.want, uuid, NULL);

        assert_true(ret == 0 || ret == -ENODEV || ret == -EEXIST);
        there += ret == 0;
        ret = model_remove(scene.model, UUID, NULL);
        assert_true(ret == 0 || ret == -ENODEV || ret == -EAGAIN);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_true(there > 0);
    model_lose(scene.model, "a");
    assert_int_equal(shown(&scene), 0);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once),
        cmocka_unit_test(test_a_source_refuses),
        cmocka_unit_test(test_a_process_ends_while_it_creates),
        cmocka_unit_test(test_a_process_ends),
        cmocka_unit_test(test_what_is_kept_cannot_be_dropped),
        cmocka_unit_test(test_others_meanwhile),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lost_at_any_time),
    };

    return cmocka_run_group_tests_name("the daemon's model", tests, NULL, NULL);
}
