/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon makes of a worker's answers: right, wrong, late or none. */
#include "base/clock.h"
#include "base/range.h"
#include "daemon/worker_priv.h"
#include "failnth.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct scene {
    struct parent_spec spec;
    struct log log;
    struct worker *worker;
    struct source source;
    int peer;
};

/* The worker is a process that does nothing, and its end of the socket is ours. */
static void scene_init(struct scene *scene)
{
    const struct timeval short_time = {.tv_usec = 50000};
    struct worker_options options = {&scene->log, &scene->spec, UMDEV_LOG_ERROR, false};
    int pair[2];

    *scene = (struct scene){.peer = -1};
    scene->spec.name = strdup("w");
    assert_int_equal(worker_new(&options, &scene->worker), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof(short_time));
    scene->worker->sock = pair[0];
    scene->peer = pair[1];
    scene->worker->pid = fork();
    if (scene->worker->pid == 0) {
        for (;;)
            pause();
    }
    scene->source = worker_source(scene->worker);
}

static void scene_end(struct scene *scene)
{
    if (scene->worker->pid > 0)
        kill(scene->worker->pid, SIGKILL);
    worker_stop(scene->worker);
    worker_free(scene->worker);
    if (scene->peer >= 0)
        close(scene->peer);
    free(scene->spec.name);
}

/* What the worker will answer, before it is asked. */
static void answer(const struct scene *scene, const char *text)
{
    assert_int_equal(write(scene->peer, text, strlen(text)), strlen(text));
}

static int each_type(void *opaque, const struct umdev_host_type *type)
{
    unsigned *count = opaque;

    assert_non_null(type->name);
    (*count)++;
    return 0;
}

static int each_device(void *opaque, const struct umdev_host_device *device)
{
    unsigned *count = opaque;

    assert_non_null(device->uuid);
    (*count)++;
    return 0;
}

/* Asks all there is to ask; the number of things that were told. */
static unsigned ask_all(struct scene *scene, const char *text)
{
    const struct source *source = &scene->source;
    const struct source_create create = {.type = "t", .socket = "/s"};
    struct umdev_picture picture = {.struct_size = sizeof(picture)};
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    struct umdev_error error = {.message = ""};
    const struct source_owner owner = {.uuid = "u"};
    char uuid[UMDEV_UUID_STR_SIZE], attr[UMDEV_ATTR_SIZE];
    unsigned count = 0;

    answer(scene, text);
    source->for_each_type(source->opaque, each_type, &count);
    answer(scene, text);
    source->for_each_device(source->opaque, each_device, &count);
    answer(scene, text);
    source->get_stats(source->opaque, "u", &stats);
    answer(scene, text);
    assert_int_not_equal(source->screenshot(source->opaque, "u", &picture), 0);
    assert_null(picture.pixels);
    answer(scene, text);
    assert_int_not_equal(source->create(source->opaque, &create, uuid, &error), 0);
    assert_int_not_equal(error.message[0], 0);
    answer(scene, text);
    source->attr_read(source->opaque, &owner, "a", attr, sizeof(attr));
    return count;
}

/* JSON that is none of what was asked for is as good as nothing. */
static void test_answers_that_make_no_sense(void **state)
{
    static const char *const texts[] = {
        "{\"result\":{}}\n",
        "{\"result\":{\"types\":5,\"devices\":\"x\"}}\n",
        "{\"result\":{\"types\":[5,null,{}],\"devices\":[{\"uuid\":5},[]]}}\n",
        "{\"result\":{\"devices\":[{\"stats\":[],\"last_refusal\":{\"errno\":7}}]}}\n",
        "{\"result\":{\"width\":100000,\"height\":-1,\"uuid\":[]}}\n",
        "{\"error\":{\"errno\":\"ENODEV\",\"message\":\"m\"}}\n",
        "{\"error\":{\"errno\":\"NOSUCH\",\"message\":\"m\"}}\n",
    };
    struct scene scene;

    (void)state;
    scene_init(&scene);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(ask_all(&scene, texts[i]), 0);
    assert_true(scene.worker->sock >= 0);
    scene_end(&scene);
}

static int remove_of(struct scene *scene, struct umdev_error *error)
{
    return scene->source.remove(scene->source.opaque, "u", error);
}

static void test_errors_are_the_workers(void **state)
{
    struct umdev_error error;
    struct scene scene;

    (void)state;
    scene_init(&scene);
    answer(&scene, "{\"error\":{\"errno\":\"EAGAIN\",\"message\":\"its words\"}}\n");
    assert_int_equal(remove_of(&scene, &error), -EAGAIN);
    assert_string_equal(error.message, "its words");
    answer(&scene, "{\"result\":{}}\n");
    assert_int_equal(remove_of(&scene, &error), 0);
    scene_end(&scene);
}

/* No answer in time: it is ended, and nobody waits for it again. */
static void test_no_answer(void **state)
{
    struct umdev_error error;
    struct scene scene;
    int status;

    (void)state;
    scene_init(&scene);
    assert_int_equal(remove_of(&scene, &error), -EIO);
    assert_non_null(strstr(error.message, "gave no answer"));
    assert_int_equal(scene.worker->sock, -1);
    assert_int_equal(waitpid(scene.worker->pid, &status, 0), scene.worker->pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    scene.worker->pid = -1;
    assert_int_equal(remove_of(&scene, &error), -EIO);
    assert_non_null(strstr(error.message, "has ended"));
    scene_end(&scene);
}

static void test_answers_that_are_none(void **state)
{
    static const char *const texts[] = {"garbage\n", "{}\n", "[]\n", "\n", "{\"result\":5}\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct umdev_error error;
        struct scene scene;

        scene_init(&scene);
        answer(&scene, texts[i]);
        assert_int_equal(remove_of(&scene, &error), -EIO);
        assert_int_equal(scene.worker->sock, -1);
        scene_end(&scene);
    }
}

/* Out of memory in the middle of it: the next request does not get what is left of this answer. */
static void test_every_call_fails_once(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned n = 1; failed; n++) {
        struct umdev_error error;
        struct scene scene;
        char byte;
        int ret;

        scene_init(&scene);
        answer(&scene, "{\"result\":{}}\n");
        failnth_arm(n);
        ret = remove_of(&scene, &error);
        failed = failnth_disarm();
        if (ret == -ENOMEM)
            assert_int_equal(recv(scene.peer, &byte, 1, MSG_DONTWAIT), -1);
        else if (ret)
            assert_int_equal(scene.worker->sock, -1);
        assert_true(failed || !ret);
        scene_end(&scene);
    }
}

static void test_half_an_answer(void **state)
{
    struct umdev_error error;
    struct scene scene;

    (void)state;
    scene_init(&scene);
    answer(&scene, "{\"result\":");
    close(scene.peer);
    scene.peer = -1;
    assert_int_equal(remove_of(&scene, &error), -EIO);
    scene_end(&scene);
}

/* Who only looks is told what was told before, while somebody else's request takes its time. */
static void test_busy(void **state)
{
    const struct source_create create = {.type = "t", .socket = "/s"};
    char uuid[UMDEV_UUID_STR_SIZE];
    struct umdev_error error;
    struct scene scene;
    unsigned types = 0, devices = 0, one = 0;
    const struct source *source = &scene.source;

    (void)state;
    scene_init(&scene);
    answer(&scene,
           "{\"result\":{\"types\":[{\"name\":\"t\",\"parent\":\"w\",\"driver\":\"d\"}]}}\n");
    assert_int_equal(source->for_each_type(source->opaque, each_type, &types), 0);
    for (unsigned i = 0; i < 3; i++) {
        char text[160];

        snprintf(
            text, sizeof(text),
            "{\"result\":{\"uuid\":\"%u\",\"type\":\"t\",\"parent\":\"w\",\"driver\":\"d\"}}\n", i);
        answer(&scene, text);
        assert_int_equal(source->create(source->opaque, &create, uuid, &error), 0);
    }
    answer(&scene, "{\"result\":{}}\n");
    assert_int_equal(source->remove(source->opaque, "1", &error), 0);
    pthread_mutex_lock(&scene.worker->lock);
    source->for_each_type(source->opaque, each_type, &types);
    source->for_each_device(source->opaque, each_device, &devices);
    assert_int_equal(source->find_device(source->opaque, "2", each_device, &one), 0);
    assert_int_equal(source->find_device(source->opaque, "1", each_device, &one), -ENODEV);
    pthread_mutex_unlock(&scene.worker->lock);
    assert_int_equal(types, 2);
    assert_int_equal(devices, 2);
    assert_int_equal(one, 1);
    /* What has ended has nothing, busy or not. */
    answer(&scene, "garbage\n");
    assert_int_equal(remove_of(&scene, &error), -EIO);
    pthread_mutex_lock(&scene.worker->lock);
    source->for_each_type(source->opaque, each_type, &types);
    source->for_each_device(source->opaque, each_device, &devices);
    pthread_mutex_unlock(&scene.worker->lock);
    assert_int_equal(types, 2);
    assert_int_equal(devices, 2);
    scene_end(&scene);
}

/* Its end is seen once, and puts off the next start a little longer each time. */
static void test_reap(void **state)
{
    uint64_t first, second;
    struct scene scene;
    siginfo_t info;

    (void)state;
    scene_init(&scene);
    assert_int_equal(worker_reap(scene.worker), 0);
    assert_int_equal(worker_due_ns(scene.worker), UINT64_MAX);
    pthread_mutex_lock(&scene.worker->lock);
    assert_int_equal(worker_reap(scene.worker), -EBUSY);
    pthread_mutex_unlock(&scene.worker->lock);
    kill(scene.worker->pid, SIGKILL);
    waitid(P_PID, (id_t)scene.worker->pid, &info, WEXITED | WNOWAIT);
    scene.worker->since_ns = clock_now_ns();
    assert_int_equal(worker_reap(scene.worker), 1);
    assert_int_equal(worker_reap(scene.worker), 0);
    first = (uint64_t)scene.worker->pause_ms;
    scene.worker->pid = fork();
    if (scene.worker->pid == 0)
        _exit(3);
    waitid(P_PID, (id_t)scene.worker->pid, &info, WEXITED | WNOWAIT);
    assert_int_equal(worker_reap(scene.worker), 1);
    second = (uint64_t)scene.worker->pause_ms;
    assert_int_equal(second, 2 * first);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_that_make_no_sense),
        cmocka_unit_test(test_errors_are_the_workers),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_every_call_fails_once),
        cmocka_unit_test(test_half_an_answer),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_reap),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("the daemon's workers", tests, NULL, NULL);
}
