/* SPDX-License-Identifier: BSD-3-Clause */
/* Pictures of a device's screen. */
#include "device/device_priv.h"

int umdev_picture_alloc(struct umdev_picture *picture, uint32_t width, uint32_t height)
{
    umdev_picture_free(picture);
    if (picture->struct_size < sizeof(*picture) || width == 0 || width > UMDEV_PICTURE_MAX ||
        height == 0 || height > UMDEV_PICTURE_MAX)
        return -EINVAL;
    picture->pixels = calloc((size_t)width * height, sizeof(*picture->pixels));
    if (!picture->pixels)
        return -ENOMEM;
    picture->width = width;
    picture->height = height;
    return 0;
}

void umdev_picture_free(struct umdev_picture *picture)
{
    if (!picture)
        return;
    free(TAKE_POINTER(picture->pixels));
    picture->width = 0;
    picture->height = 0;
}

static int driver_screenshot(struct umdev_device *dev, struct umdev_picture *picture)
{
    SERIALISE_FOR_SCOPE(dev);
    int ret;

    device_set_operator(dev, true);
    ret = driver_result(dev->driver->screenshot(dev, picture));
    device_set_operator(dev, false);

    return ret == 0 && !picture->pixels ? -EIO : ret;
}

int device_screenshot(struct umdev_device *dev, struct umdev_picture *picture)
{
    int ret;

    if (picture->struct_size < sizeof(*picture))
        return -EINVAL;
    picture->width = 0;
    picture->height = 0;
    picture->pixels = NULL;
    if (!dev->driver->screenshot)
        return -EOPNOTSUPP;
    ret = driver_screenshot(dev, picture);
    if (ret < 0)
        umdev_picture_free(picture);
    return ret;
}
