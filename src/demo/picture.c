/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo/picture.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int picture_new(uint32_t width, uint32_t height, struct picture *picture)
{
    *picture = (struct picture){.width = width, .height = height};
    picture->pixels = calloc((size_t)width * height, sizeof(uint32_t));
    return picture->pixels ? 0 : -ENOMEM;
}

void picture_free(struct picture *picture)
{
    free(picture->pixels);
    picture->pixels = NULL;
}

uint64_t picture_differences(const struct picture *a, const struct picture *b)
{
    uint64_t differences = 0;

    for (size_t i = 0; i < (size_t)a->width * a->height; i++)
        differences += a->pixels[i] != b->pixels[i];
    return differences;
}

/* ------------------------------------------------------------------ files */

int picture_read(const char *path, struct picture *picture, struct umdev_error *error)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    FILE *file = fopen(path, "re");
    int ret = 0;

    if (!file)
        return error_set(error, errno, "can't read '%s': %s", path, strerrordesc_np(errno));
    if (!png_image_begin_read_from_stdio(&image, file)) {
        ret = error_set(error, EINVAL, "'%s' is no PNG picture: %s", path, image.message);
    } else if (image.width > PICTURE_MAX || image.height > PICTURE_MAX) {
        ret = error_set(error, EINVAL, "'%s' has %u×%u pixels, at most %d×%d can be shown", path,
                        image.width, image.height, PICTURE_MAX, PICTURE_MAX);
    } else {
        image.format = PNG_FORMAT_BGRA;
        ret = picture_new(image.width, image.height, picture);
        if (ret) {
            error_set(error, ENOMEM, "out of memory for '%s'", path);
        } else if (!png_image_finish_read(&image, NULL, picture->pixels, 0, NULL)) {
            ret = error_set(error, EINVAL, "'%s' is damaged: %s", path, image.message);
            picture_free(picture);
        }
    }
    png_image_free(&image);
    fclose(file);
    return ret;
}

int picture_write(const char *path, const struct picture *picture, struct umdev_error *error)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = picture->width,
        .height = picture->height,
        .format = PNG_FORMAT_BGR,
    };
    size_t count = (size_t)picture->width * picture->height;
    uint8_t *bytes = malloc(count * 3);
    int ret = 0;

    if (!bytes)
        return error_set(error, ENOMEM, "out of memory for '%s'", path);
    for (size_t i = 0; i < count; i++) {
        bytes[i * 3] = (uint8_t)picture->pixels[i];
        bytes[i * 3 + 1] = (uint8_t)(picture->pixels[i] >> 8);
        bytes[i * 3 + 2] = (uint8_t)(picture->pixels[i] >> 16);
    }
    if (!png_image_write_to_file(&image, path, 0, bytes, 0, NULL))
        ret = error_set(error, EIO, "can't write '%s': %s", path, image.message);
    png_image_free(&image);
    free(bytes);
    return ret;
}

/* ------------------------------------------------------------------ a picture of our own */

/* A repeatable height for a mountain line: sums of triangle waves. */
static uint32_t ridge(uint32_t x, uint32_t seed, uint32_t amplitude)
{
    uint32_t height = 0;

    for (uint32_t octave = 0; octave < 5; octave++) {
        uint32_t period = (257 + seed * 61) >> octave;
        uint32_t phase = (x + seed * 97 + octave * 31) % period;
        uint32_t wave = phase < period / 2 ? phase : period - phase;

        height += wave * amplitude / period >> octave;
    }
    return height;
}

static uint32_t rgb(uint32_t r, uint32_t g, uint32_t b)
{
    return 0xff000000u | r << 16 | g << 8 | b;
}

static uint32_t sky(uint32_t x, uint32_t y, const struct picture *picture)
{
    int32_t dx = (int32_t)x - (int32_t)(picture->width * 3 / 4);
    int32_t dy = (int32_t)y - (int32_t)(picture->height / 4);
    uint32_t radius = picture->height / 10;
    uint32_t distance2 = (uint32_t)(dx * dx + dy * dy);
    uint32_t hash = (x * 73856093u ^ y * 19349663u) * 2654435761u;
    uint32_t glow = y * 110 / picture->height;

    if (distance2 < radius * radius)
        return rgb(250, 246 - y % 3, 214);
    if (hash >> 20 == 0x5a5)
        return rgb(230, 235, 255);
    return rgb(18 + glow, 22 + glow * 2 / 3, 60 + glow / 2);
}

int picture_make(uint32_t width, uint32_t height, struct picture *picture)
{
    int ret = picture_new(width, height, picture);

    for (uint32_t y = 0; !ret && y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint32_t pixel = sky(x, y, picture);

            for (uint32_t layer = 0; layer < 3; layer++) {
                uint32_t top = height / 2 + layer * height / 8 -
                               ridge(x * 640 / width, layer + 1, height / 3) / (layer + 1);

                if (y >= top)
                    pixel = rgb(52 - layer * 14, 64 - layer * 14 + (y - top) / 12,
                                96 - layer * 26 + (y - top) / 16);
            }
            picture->pixels[(size_t)y * width + x] = pixel;
        }
    }
    return ret;
}
