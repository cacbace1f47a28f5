/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's attributes. */
#include "device/attr_text.h"
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
    struct attr_text text = {""};

    if (!attr)
        return -ENOENT;
    if (!attr->show)
        return -EIO;
    return attr_text_give(&text, driver_show(dev, attr, text.bytes), buf, size);
}

int device_attr_write(struct umdev_device *dev, const char *name, const char *buf, size_t len)
{
    const struct umdev_attr *attr = find_attr(dev, name);
    struct attr_text text;
    int ret;

    if (!attr)
        return -ENOENT;
    if (!attr->store)
        return -EIO;
    ret = attr_text_take(&text, buf, len);
    return ret ? ret : driver_store(dev, attr, text.bytes, len);
}
