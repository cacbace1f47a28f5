/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM of the demo: its own process, with a device at a socket and nothing else. */
#include "demo/demo.h"

#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct scene_kind {
    const char *name;
    uint64_t (*memory)(const struct vm_job *job);
    int (*draw)(struct scene *scene, unsigned frame, struct picture *result);
    int (*check)(struct scene *scene, unsigned frame, const struct picture *result); /* or NULL */
};

static const struct scene_kind scene_kinds[] = {
    {"render", scene_render_memory, scene_render, scene_render_check},
    {"compose", scene_compose_memory, scene_compose, scene_compose_check},
    {"shrink", scene_aperture_memory, scene_shrink, NULL},
    {"grow", scene_aperture_memory, scene_grow, NULL},
    {"trespass", scene_aperture_memory, scene_trespass, NULL},
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void scene_progress(struct scene *scene, unsigned done, unsigned of)
{
    fprintf(scene->control, "progress %u\n", done * 100 / of);
}

int scene_read_framebuffer(struct scene *scene, uint32_t width, uint32_t height,
                           struct picture *picture)
{
    size_t size = (size_t)width * height * sizeof(uint32_t);
    int ret = picture_new(width, height, picture);

    if (ret)
        return ret;
    memcpy(picture->pixels, scene->guest.vram, size);
    scene->report.mapped_bytes += size;
    return 0;
}

static const struct scene_kind *scene_kind(const char *name)
{
    for (size_t i = 0; i < sizeof(scene_kinds) / sizeof(scene_kinds[0]); i++)
        if (strcmp(scene_kinds[i].name, name) == 0)
            return &scene_kinds[i];
    return NULL;
}

/* A first write through the mapping: the screen's corner, which the work then paints over. */
static void touch_framebuffer(struct scene *scene)
{
    memset(scene->guest.vram, 0x55, 4096);
    scene->report.mapped_bytes += 4096;
}

static int draw_frames(struct scene *scene, const struct scene_kind *kind)
{
    const struct vm_job *job = scene->job;
    struct picture result = {0};
    unsigned frame = 0;
    int ret;

    touch_framebuffer(scene);
    do {
        picture_free(&result);
        ret = kind->draw(scene, frame, &result);
        frame++;
        if (job->frames > 1)
            scene_progress(scene, frame, job->frames);
        else if (!job->frames)
            fprintf(scene->control, "progress 0\n");
    } while (!ret && frame != job->frames);
    if (!ret && kind->check)
        ret = kind->check(scene, frame - 1, &result);
    if (!ret && job->output)
        ret = picture_write(job->output, &result, &scene->error);
    picture_free(&result);
    return ret;
}

/* The register set tells what is wrong with a ring that stopped. */
static int explain(struct scene *scene, int ret)
{
    uint32_t code = 0;

    if (scene->error.message[0])
        return ret;
    if (ret == -EIO && scene->guest.client &&
        !vgpu_guest_read32(&scene->guest, VGPU_REG_ERROR, &code) && code)
        return error_set(&scene->error, EIO, "the GPU stopped its ring with error %" PRIu32, code);
    return error_set(&scene->error, -ret, "%s", strerrordesc_np(-ret));
}

int demo_vm_main(const struct vm_job *job)
{
    struct scene scene = {.job = job, .control = fdopen(job->control, "w")};
    const struct scene_kind *kind = scene_kind(job->scene);
    uint64_t start = now_ms();
    int ret;

    if (!scene.control || !kind)
        return CLI_USAGE;
    setvbuf(scene.control, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_DFL);
    ret = vgpu_guest_open(job->socket, VGPU_GUEST_RING + kind->memory(job), &scene.guest);
    if (!ret)
        ret = draw_frames(&scene, kind);
    if (!ret)
        ret = vgpu_guest_read64(&scene.guest, VGPU_REG_CNT_COMMANDS, &scene.report.commands);
    if (ret)
        explain(&scene, ret);
    vgpu_guest_close(&scene.guest);
    if (ret)
        fprintf(scene.control, "failed %s\n", scene.error.message);
    else
        fprintf(scene.control,
                "done commands=%" PRIu64 " mapped=%" PRIu64 " differences=%" PRIu64 " ms=%" PRIu64
                "\n",
                scene.report.commands, scene.report.mapped_bytes, scene.report.differences,
                now_ms() - start);
    fclose(scene.control);
    return ret ? CLI_FAILED : CLI_OK;
}
