/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev demo: VMs share one GPU.
 *
 * The command's process is the GPU's: it opens a vgpu parent and serves three devices. Each VM is a
 * process of its own that knows its device's socket only: it maps its own memory, programs its
 * GPU through regions, ring and interrupts, and checks the result against a CPU reference. A VM
 * reports over a control socket, in lines of text:
 *
 *     progress PERCENT
 *     done KEY=VALUE…       (struct demo_report)
 *     failed TEXT
 */
#ifndef DEMO_DEMO_H
#define DEMO_DEMO_H

#include "picture/picture.h"
#include "vgpu_guest.h"

#include <stdbool.h>
#include <stdio.h>

/* What a VM is told to do. */
struct vm_job {
    const char *scene;  /* "render", "compose", "shrink", "grow", "trespass" */
    const char *socket; /* its device */
    const char *image;  /* PNG to compose, or NULL: one of our own */
    const char *output; /* PNG to write, or NULL: none */
    unsigned frames;    /* how often to do the work; 0: until killed */
    int control;        /* fd of the control socket */
};

struct vm_report {
    uint64_t commands;     /* packets the GPU executed */
    uint64_t mapped_bytes; /* read and written through the mapped framebuffer or aperture */
    uint64_t differences;  /* pixels that are not the reference's, pages that are not as left */
    uint64_t milliseconds;
};

/* A VM's life, in its process. An exit code. */
int demo_vm_main(const struct vm_job *job);

/* What a scene has to work with. */
struct scene {
    struct vgpu_guest guest;
    const struct vm_job *job;
    FILE *control;
    struct vm_report report;
    struct umdev_error error; /* why it failed */
};

/* The scenes: do the work once, frame `frame`, and fill in `result` from the framebuffer. −errno.
 */
int scene_render(struct scene *scene, unsigned frame, struct picture *result);
int scene_render_check(struct scene *scene, unsigned frame, const struct picture *result);
int scene_compose(struct scene *scene, unsigned frame, struct picture *result);
int scene_compose_check(struct scene *scene, unsigned frame, const struct picture *result);
/* Those of the aperture make no picture. */
int scene_shrink(struct scene *scene, unsigned frame, struct picture *result);
int scene_grow(struct scene *scene, unsigned frame, struct picture *result);
int scene_trespass(struct scene *scene, unsigned frame, struct picture *result);
/* What the scene takes of guest memory, besides its ring. */
uint64_t scene_render_memory(const struct vm_job *job);
uint64_t scene_compose_memory(const struct vm_job *job);
uint64_t scene_aperture_memory(const struct vm_job *job);

void scene_progress(struct scene *scene, unsigned done, unsigned of);
/* The framebuffer's first rows, read through the mapped BAR. −ENOMEM. */
int scene_read_framebuffer(struct scene *scene, uint32_t width, uint32_t height,
                           struct picture *picture);

#endif
