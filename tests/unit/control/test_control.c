/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's server: what fails inside of it, its deadlines, and its end. */
#include "control/control.h"

#include "base/range.h"
#include "base/socket.h"
#include "failnth.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <umdev/driver.h>
#include <unistd.h>

static int grey_screenshot(struct umdev_device *dev, struct umdev_picture *picture)
{
    int ret = umdev_picture_alloc(picture, 3, 2);

    (void)dev;
    for (unsigned i = 0; !ret && i < 6; i++)
        picture->pixels[i] = 0x808080;
    return ret;
}

static int zero_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                     size_t len)
{
    (void)dev;
    (void)region;
    (void)offset;
    memset(buf, 0, len);
    return 0;
}

static const struct umdev_type types[] = {{.name = "1"}};
static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .param_size = sizeof(struct umdev_param),
    .name = "grey",
    .types = types,
    .ntypes = ARRAY_SIZE(types),
    .read = zero_read,
    .screenshot = grey_screenshot,
    .pci = UMDEV_PCI(.vendor = 1, .bar[0] = UMDEV_BAR(.size = 4096)),
};

struct scene {
    struct umdev_host *host;
    struct source source;
    struct control *control;
    char folder[32], path[64];
};

static void scene_init(struct scene *scene, unsigned devices)
{
    *scene = (struct scene){.folder = "/tmp/umdev-control-XXXXXX"};
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof(scene->path), "%s/control", scene->folder);
    assert_int_equal(umdev_host_new(NULL, &scene->host), 0);
    assert_int_equal(umdev_host_add_parent_static(scene->host, &driver, "p", NULL, 0, NULL), 0);
    scene->source = source_of_host(scene->host, false);
    while (devices--)
        assert_int_equal(umdev_host_create(scene->host, NULL, "grey-1", NULL, NULL, NULL), 0);
}

static void scene_end(struct scene *scene)
{
    control_stop(scene->control);
    umdev_host_free(scene->host);
    /* The socket's file is gone, or the folder would not be empty. */
    assert_int_equal(rmdir(scene->folder), 0);
}

static int scene_connect(const struct scene *scene)
{
    int fd = -1;

    assert_int_equal(socket_connect(scene->path, &fd, NULL), 0);
    return fd;
}

/* The server hangs up: the end of the stream, or a reset where it left something unread. */
static void expect_hang_up(int fd)
{
    char byte;

    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

/* ------------------------------------------------------------------ failures inside */

static int start(void *opaque)
{
    struct scene *scene = opaque;
    struct umdev_error error = {.message = ""};
    int ret = control_start(&scene->source, scene->path, 0, 0, &scene->control, &error);

    if (ret) {
        assert_int_not_equal(error.message[0], 0);
        assert_int_equal(access(scene->path, F_OK), -1);
    }
    return ret;
}

static void stop(void *opaque)
{
    struct scene *scene = opaque;

    control_stop(scene->control);
    scene->control = NULL;
}

static void test_start_fails(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene, 1);
    assert_true(failnth_run(start, stop, &scene) >= 5);
    scene_end(&scene);
}

struct question {
    const struct source *source;
    const char *line;
};

static int execute(void *opaque)
{
    const struct question *question = opaque;
    char *answer = NULL;
    int fd = -1;
    int ret =
        control_execute(question->source, question->line, strlen(question->line), &answer, &fd);

    if (ret)
        return ret;
    assert_int_equal(strchr(answer, '\n') - answer, strlen(answer) - 1);
    /* An fd goes with a picture, and with nothing else. */
    assert_int_equal(fd >= 0, strstr(answer, "XRGB8888") != NULL);
    if (fd >= 0)
        close(fd);
    free(answer);
    return 0;
}

static void test_requests_fail(void **state)
{
    static const char *const lines[] = {"{\"command\": \"screenshot\"}", "{\"command\": \"show\"}",
                                        "{\"command\": \"none\"}", "x"};
    struct scene scene;

    (void)state;
    scene_init(&scene, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        struct question question = {&scene.source, lines[i]};

        assert_true(failnth_run(execute, NULL, &question) >= 1);
    }
    scene_end(&scene);
}

/* ------------------------------------------------------------------ which device */

static void expect_answer(const struct source *source, const char *line, const char *words)
{
    char *answer = NULL;
    int fd = -1;

    assert_int_equal(control_execute(source, line, strlen(line), &answer, &fd), 0);
    if (!strstr(answer, words))
        fail_msg("no '%s' in %s", words, answer);
    if (fd >= 0)
        close(fd);
    free(answer);
}

static void test_none_and_several_devices(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene, 0);
    expect_answer(&scene.source, "{\"command\": \"show\"}", "{\"devices\":[]}");
    expect_answer(&scene.source, "{\"command\": \"screenshot\"}", "there is no device");
    scene_end(&scene);
    scene_init(&scene, 3);
    expect_answer(&scene.source, "{\"command\": \"screenshot\"}", "which one of the 3 devices?");
    scene_end(&scene);
}

/* ------------------------------------------------------------------ deadlines and ends */

/* Silent, in the middle of a request, or deaf: each is cut off, and the next one is served. */
static void test_deadlines(void **state)
{
    struct umdev_error error = {.message = ""};
    struct scene scene;
    json_t *result = NULL;
    int silent, half, deaf;
    char many[21 * 100] = "";

    (void)state;
    scene_init(&scene, 1);
    assert_int_equal(control_start(&scene.source, scene.path, 0, 50, &scene.control, &error), 0);
    silent = scene_connect(&scene);
    half = scene_connect(&scene);
    deaf = scene_connect(&scene);
    assert_int_equal(write(half, "{\"comm", 6), 6);
    for (unsigned i = 0; i < 100; i++)
        strcat(many, "{\"command\": \"show\"}\n");
    /* Until the server stops reading, and then hangs up. */
    while (send(deaf, many, strlen(many), MSG_NOSIGNAL) > 0)
        ;
    close(deaf);
    expect_hang_up(silent);
    expect_hang_up(half);
    assert_int_equal(
        control_ask(scene.path, control_request_new("show", NULL), &result, NULL, &error), 0);
    json_decref(result);
    scene_end(&scene);
}

static void test_stop_with_clients(void **state)
{
    struct umdev_error error = {.message = ""};
    struct scene scene;
    int clients[CONTROL_CLIENTS_MAX + 4];

    (void)state;
    scene_init(&scene, 1);
    assert_int_equal(control_start(&scene.source, scene.path, 0660, 0, &scene.control, &error), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = scene_connect(&scene);
        assert_int_equal(write(clients[i], "{", 1), 1);
    }
    control_stop(scene.control);
    scene.control = NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
        expect_hang_up(clients[i]);
    control_stop(NULL);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_requests_fail),
        cmocka_unit_test(test_none_and_several_devices),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_stop_with_clients),
    };

    return cmocka_run_group_tests_name("control socket", tests, NULL, NULL);
}
