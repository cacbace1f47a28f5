/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: set a mode of the first screen through the kernel's DRM driver, and draw.
 *
 *   kms-pattern WIDTH HEIGHT SEED
 *
 * Says "shown" when the picture is on the screen, and keeps it there until it is killed. Pixel (x,
 * y) is pattern(x, y, SEED), below.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <drm.h>
#include <drm_mode.h>

#define MAX_MODES 256

struct screen {
    int card;
    uint32_t connector, crtc;
    struct drm_mode_modeinfo mode;
};

static uint32_t pattern(uint32_t x, uint32_t y, uint32_t seed)
{
    uint32_t red = (7 * x + seed) & 0xff, green = (5 * y + 3 * seed) & 0xff;
    uint32_t blue = ((x ^ y) + seed) & 0xff;

    return red << 16 | green << 8 | blue;
}

static int complain(const char *what)
{
    fprintf(stderr, "kms-pattern: %s: %s\n", what, strerrordesc_np(errno));
    return -1;
}

/* The first CRTC and the first connector. */
static int find_screen(struct screen *screen)
{
    uint32_t crtcs[8], connectors[8], encoders[8];
    struct drm_mode_card_res resources = {
        .crtc_id_ptr = (uintptr_t)crtcs,
        .connector_id_ptr = (uintptr_t)connectors,
        .encoder_id_ptr = (uintptr_t)encoders,
        .count_crtcs = 8,
        .count_connectors = 8,
        .count_encoders = 8,
    };

    if (ioctl(screen->card, DRM_IOCTL_MODE_GETRESOURCES, &resources))
        return complain("GETRESOURCES");
    if (resources.count_crtcs != 1 || resources.count_connectors != 1) {
        fputs("kms-pattern: this is no card with one screen\n", stderr);
        return -1;
    }
    screen->crtc = crtcs[0];
    screen->connector = connectors[0];
    return 0;
}

static int find_mode(struct screen *screen, uint32_t width, uint32_t height)
{
    static struct drm_mode_modeinfo modes[MAX_MODES];
    struct drm_mode_get_connector connector = {.connector_id = screen->connector};

    /* The first call counts the modes anew. */
    if (ioctl(screen->card, DRM_IOCTL_MODE_GETCONNECTOR, &connector))
        return complain("GETCONNECTOR");
    connector.modes_ptr = (uintptr_t)modes;
    connector.count_modes = MAX_MODES;
    connector.count_props = connector.count_encoders = 0;
    if (ioctl(screen->card, DRM_IOCTL_MODE_GETCONNECTOR, &connector))
        return complain("GETCONNECTOR");
    for (uint32_t i = 0; i < connector.count_modes && i < MAX_MODES; i++) {
        if (modes[i].hdisplay == width && modes[i].vdisplay == height) {
            screen->mode = modes[i];
            return 0;
        }
    }
    fprintf(stderr, "kms-pattern: no mode of %ux%u among %u\n", width, height,
            connector.count_modes);
    return -1;
}

static int draw(int card, const struct drm_mode_create_dumb *buffer, uint32_t seed)
{
    struct drm_mode_map_dumb map = {.handle = buffer->handle};
    uint8_t *bytes;

    if (ioctl(card, DRM_IOCTL_MODE_MAP_DUMB, &map))
        return complain("MAP_DUMB");
    bytes = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)map.offset);
    if (bytes == MAP_FAILED)
        return complain("mmap");
    for (uint32_t y = 0; y < buffer->height; y++) {
        uint32_t *row = (uint32_t *)(bytes + (size_t)y * buffer->pitch);

        for (uint32_t x = 0; x < buffer->width; x++)
            row[x] = pattern(x, y, seed);
    }
    munmap(bytes, buffer->size);
    return 0;
}

static int show(const struct screen *screen, uint32_t seed)
{
    struct drm_mode_create_dumb buffer = {
        .width = screen->mode.hdisplay,
        .height = screen->mode.vdisplay,
        .bpp = 32,
    };
    struct drm_mode_fb_cmd framebuffer = {
        .width = buffer.width,
        .height = buffer.height,
        .bpp = 32,
        .depth = 24,
    };
    struct drm_mode_crtc crtc = {
        .crtc_id = screen->crtc,
        .set_connectors_ptr = (uintptr_t)&screen->connector,
        .count_connectors = 1,
        .mode_valid = 1,
        .mode = screen->mode,
    };

    if (ioctl(screen->card, DRM_IOCTL_MODE_CREATE_DUMB, &buffer))
        return complain("CREATE_DUMB");
    framebuffer.pitch = buffer.pitch;
    framebuffer.handle = buffer.handle;
    if (ioctl(screen->card, DRM_IOCTL_MODE_ADDFB, &framebuffer))
        return complain("ADDFB");
    crtc.fb_id = framebuffer.fb_id;
    if (draw(screen->card, &buffer, seed))
        return -1;
    if (ioctl(screen->card, DRM_IOCTL_MODE_SETCRTC, &crtc))
        return complain("SETCRTC");
    return 0;
}

int main(int argc, char **argv)
{
    struct screen screen;

    if (argc != 4) {
        fputs("kms-pattern WIDTH HEIGHT SEED\n", stderr);
        return 2;
    }
    screen.card = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
    if (screen.card < 0)
        return -complain("/dev/dri/card0");
    if (find_screen(&screen) ||
        find_mode(&screen, (uint32_t)strtoul(argv[1], NULL, 0),
                  (uint32_t)strtoul(argv[2], NULL, 0)) ||
        show(&screen, (uint32_t)strtoul(argv[3], NULL, 0)))
        return 1;
    puts("shown");
    fflush(stdout);
    pause();
    return 0;
}
