/* SPDX-License-Identifier: BSD-3-Clause */
#include "picture/picture.h"

#include "base/log.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* A file that could not be finished does not stay, but a device must. */
static void remove_regular(const char *path, FILE *file)
{
    struct stat st;

    if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode))
        unlink(path);
}

static int write_png(const char *path, png_image *image, const uint8_t *bytes,
                     struct umdev_error *error)
{
    FILE *file = fopen(path, "we");
    int ret = 0;

    if (!file)
        return error_set(error, errno, "can't write '%s': %s", path, strerrordesc_np(errno));
    if (!png_image_write_to_stdio(image, file, 0, bytes, 0, NULL))
        ret = error_set(error, EIO, "can't write '%s': %s", path, image->message);
    else if (fflush(file))
        ret = error_set(error, errno, "can't write '%s': %s", path, strerrordesc_np(errno));
    if (ret)
        remove_regular(path, file);
    if (fclose(file) && !ret)
        ret = error_set(error, errno, "can't write '%s': %s", path, strerrordesc_np(errno));
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
    ret = write_png(path, &image, bytes, error);
    png_image_free(&image);
    free(bytes);
    return ret;
}
