/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scenes with the aperture. VM 1 takes all the VRAM that is free, marks each page through its
 * aperture, and then gives it back piece by piece, while VM 2 takes what comes free and must find
 * it empty. VM 3 touches a page that its page table has not.
 */
#include "demo/demo.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

enum {
    PAGE = 4096,
    PIECES = 8, /* of 4 MiB: what is in no device's share */
    PIECE_PAGES = 1024,
    TIMEOUT_MS = 30000,
};
#define PIECE ((uint64_t)PIECE_PAGES * PAGE)

static void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
}

/* ------------------------------------------------------------------ pages of the aperture */

/* Without fault-mapping the pages are reached by messages. */
static int open_aperture(struct scene *scene)
{
    int ret = vgpu_guest_map_aperture(&scene->guest);

    return ret == -ENOTSUP ? 0 : ret;
}

static int page_read(struct scene *scene, uint32_t page, uint64_t *value)
{
    uint64_t offset = (uint64_t)page * PAGE;

    scene->report.mapped_bytes += sizeof(*value);
    if (!scene->guest.aperture)
        return umdev_client_read64(scene->guest.client, VGPU_BAR_APERTURE, offset, value);
    *value = *(const volatile uint64_t *)(const void *)(scene->guest.aperture + offset);
    return 0;
}

static int page_write(struct scene *scene, uint32_t page, uint64_t value)
{
    uint64_t offset = (uint64_t)page * PAGE;

    scene->report.mapped_bytes += sizeof(value);
    if (!scene->guest.aperture)
        return umdev_client_write64(scene->guest.client, VGPU_BAR_APERTURE, offset, value);
    *(volatile uint64_t *)(void *)(scene->guest.aperture + offset) = value;
    return 0;
}

/* What a VM writes into its page, so that nobody takes it for another's. */
static uint64_t mark_of(uint64_t vm, uint32_t page)
{
    return (page + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ vm;
}

static int pages_mark(struct scene *scene, uint64_t vm, uint32_t first, uint32_t count)
{
    int ret = 0;

    for (uint32_t page = first; !ret && page < first + count; page++)
        ret = page_write(scene, page, mark_of(vm, page));
    return ret;
}

/* Pages that do not have the VM's mark; `vm` 0: that are not empty. */
static int pages_check(struct scene *scene, uint64_t vm, uint32_t first, uint32_t count)
{
    int ret = 0;

    for (uint32_t page = first; !ret && page < first + count; page++) {
        uint64_t value = 0;

        ret = page_read(scene, page, &value);
        scene->report.differences += value != (vm ? mark_of(vm, page) : 0);
    }
    return ret;
}

/* ------------------------------------------------------------------ the scenes */

/* VRAM and the same pages of the aperture; ENOSPC where another VM has it. */
static int grow(struct scene *scene, uint32_t first, uint32_t count)
{
    struct vgpu_guest *guest = &scene->guest;
    uint64_t address = guest->vram_size + (uint64_t)first * PAGE, bytes = (uint64_t)count * PAGE;
    int ret = vgpu_guest_vram_alloc(guest, address, bytes, TIMEOUT_MS);

    if (!ret)
        ret = vgpu_guest_ggtt_map(guest, first, address, bytes);
    return ret ? ret : vgpu_guest_finish(guest, TIMEOUT_MS);
}

static int wait_pool_empty(struct scene *scene)
{
    uint64_t free = 1;
    int ret = 0;

    for (unsigned i = 0; !ret && free && i < TIMEOUT_MS; i++) {
        pause_ms(1);
        ret = vgpu_guest_read64(&scene->guest, VGPU_REG_VRAM_POOL, &free);
    }
    return !ret && free ? -ETIMEDOUT : ret;
}

int scene_shrink(struct scene *scene, unsigned frame, struct picture *result)
{
    int ret = open_aperture(scene);

    (void)frame;
    (void)result;
    if (!ret)
        ret = grow(scene, 0, PIECES * PIECE_PAGES);
    if (!ret)
        ret = pages_mark(scene, 1, 0, PIECES * PIECE_PAGES);
    scene_progress(scene, 0, PIECES);
    pause_ms(100); /* VM 2 asks in vain */
    for (uint32_t left = PIECES; !ret && left > 0; left--) {
        uint32_t keep = (left - 1) * PIECE_PAGES;

        ret = wait_pool_empty(scene);
        if (!ret)
            ret = vgpu_guest_vram_free(&scene->guest, scene->guest.vram_size + keep * PAGE, PIECE,
                                       TIMEOUT_MS);
        if (!ret)
            ret = pages_check(scene, 1, 0, keep);
        scene_progress(scene, PIECES + 1 - left, PIECES);
    }
    return ret;
}

int scene_grow(struct scene *scene, unsigned frame, struct picture *result)
{
    int ret = open_aperture(scene);

    (void)frame;
    (void)result;
    for (uint32_t piece = 0; !ret && piece < PIECES; piece++) {
        uint32_t first = piece * PIECE_PAGES;

        for (unsigned i = 0; (ret = grow(scene, first, PIECE_PAGES)) == -ENOSPC; i++) {
            if (i == TIMEOUT_MS)
                return ret;
            pause_ms(1);
        }
        if (!ret)
            ret = pages_check(scene, 0, first, PIECE_PAGES);
        if (!ret)
            ret = pages_mark(scene, 2, first, PIECE_PAGES);
        scene_progress(scene, piece + 1, PIECES);
    }
    return ret ? ret : pages_check(scene, 2, 0, PIECES * PIECE_PAGES);
}

/* A page that is there, then one that is not: the last thing that this VM does. */
int scene_trespass(struct scene *scene, unsigned frame, struct picture *result)
{
    const uint64_t entry = VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE;
    uint64_t value;
    int ret = open_aperture(scene);

    (void)frame;
    (void)result;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    signal(SIGBUS, SIG_DFL);
    if (!ret)
        ret = vgpu_guest_ggtt_write(&scene->guest, 0, &entry, 1);
    if (!ret)
        ret = pages_mark(scene, 3, 0, 1);
    if (!ret)
        ret = pages_check(scene, 3, 0, 1);
    if (!ret)
        ret = page_read(scene, 1000, &value);
    if (ret == -EFAULT) /* by message: what a hypervisor would do to its guest */
        raise(SIGBUS);
    return ret;
}

uint64_t scene_aperture_memory(const struct vm_job *job)
{
    (void)job;
    return 0;
}
