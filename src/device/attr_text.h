/* SPDX-License-Identifier: BSD-3-Clause */
/* The texts of attributes between who asks and a driver, of devices and of parents. */
#ifndef DEVICE_ATTR_TEXT_H
#define DEVICE_ATTR_TEXT_H

#include "base/range.h"

#include <errno.h>
#include <string.h>
#include <umdev/attr.h>

/* To a driver; a NUL follows it. Zeroed, for what one says it wrote and did not is told. */
struct attr_text {
    char bytes[UMDEV_ATTR_SIZE + 1];
};

/* What a show() that returned `ret` gave: how many bytes of it are in `buf`, or −errno. */
static inline int attr_text_give(const struct attr_text *text, int ret, char *buf, size_t size)
{
    size_t count = MIN((size_t)MAX(ret, 0), size);

    if (ret > UMDEV_ATTR_SIZE)
        return -EIO;
    memcpy(buf, text->bytes, count);
    return ret < 0 ? ret : (int)count;
}

/* For a store(). −EINVAL: nothing, or too much. */
static inline int attr_text_take(struct attr_text *text, const char *buf, size_t len)
{
    if (len == 0 || len > UMDEV_ATTR_SIZE)
        return -EINVAL;
    memcpy(text->bytes, buf, len);
    text->bytes[len] = '\0';
    return 0;
}

#endif
