/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's attributes. */
#include "device/device_priv.h"

const struct umdev_attr *device_attrs(const struct umdev_device *dev, size_t *count)
{
    *count = dev->driver->nattrs;
    return dev->driver->attrs;
}

static const struct umdev_attr *find_attr(const struct umdev_device *dev, const char *name)
{
    for (size_t i = 0; i < dev->driver->nattrs; i++) {
        if (strcmp(dev->driver->attrs[i].name, name) == 0)
            return &dev->driver->attrs[i];
    }
    return NULL;
}

static int driver_show(struct umdev_device *dev, const struct umdev_attr *attr, char *text)
{
    SERIALISE_FOR_SCOPE(dev);
    int ret;

    device_set_operator(dev, true);
    ret = attr->show(dev, text, UMDEV_ATTR_SIZE);
    device_set_operator(dev, false);
    return ret;
}

static int driver_store(struct umdev_device *dev, const struct umdev_attr *attr, const char *text,
                        size_t len)
{
    SERIALISE_FOR_SCOPE(dev);
    int ret;

    device_set_operator(dev, true);
    ret = driver_result(attr->store(dev, text, len));
    device_set_operator(dev, false);
    return ret;
}

int device_attr_read(struct umdev_device *dev, const char *name, char *buf, size_t size)
{
    const struct umdev_attr *attr = find_attr(dev, name);
    /* Zeroed: a driver that says more than it wrote must not tell what was there. */
    char text[UMDEV_ATTR_SIZE] = {0};
    int ret;

    if (!attr)
        return -ENOENT;
    if (!attr->show)
        return -EIO;
    ret = driver_show(dev, attr, text);
    if (ret > UMDEV_ATTR_SIZE)
        return -EIO;
    if (ret > 0)
        memcpy(buf, text, MIN((size_t)ret, size));
    return ret > 0 ? (int)MIN((size_t)ret, size) : ret;
}

int device_attr_write(struct umdev_device *dev, const char *name, const char *buf, size_t len)
{
    const struct umdev_attr *attr = find_attr(dev, name);
    char text[UMDEV_ATTR_SIZE + 1];

    if (!attr)
        return -ENOENT;
    if (!attr->store)
        return -EIO;
    if (len == 0 || len > UMDEV_ATTR_SIZE)
        return -EINVAL;
    memcpy(text, buf, len);
    text[len] = '\0';
    return driver_store(dev, attr, text, len);
}
