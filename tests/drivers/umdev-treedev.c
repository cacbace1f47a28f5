/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * treedev: what the management tree can show, for tests. A page of memory on a card.
 *
 * Types: "small", of which there can be any number; "big", with a description and a name of its
 * own, two at once; "slow", whose create() and remove() take long: the parameter `slow_ms`, or as
 * long as the file `hold` is there, to which each adds a byte when it begins. Attributes that can
 * be read, written, both; that fail, fill a file, take long. Of a parent and of each type: a
 * number.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TYPE_SMALL, TYPE_BIG, TYPE_SLOW };

struct treeparent {
    unsigned level, weights[3];
};

struct treedev {
    char value[64];
    unsigned kicks;
};

static const struct umdev_type types[] = {
    {.name = "small"},
    {.name = "big", .description = "two at once", .pretty_name = "A big one", .instances = 2},
    {.name = "slow", .description = "takes its time", .instances = 8},
};

static const struct umdev_param params[] = {
    {.name = "slow_ms", .kind = UMDEV_PARAM_NUMBER, .value = "0", .max = 60000},
    {.name = "hold", .kind = UMDEV_PARAM_STRING, .value = ""},
};

static void be_slow(const struct umdev_parent *parent)
{
    const char *hold = umdev_param_string(parent, "hold");
    int fd = open(hold, O_WRONLY | O_APPEND | O_CLOEXEC);

    usleep((useconds_t)umdev_param_number(parent, "slow_ms") * 1000);
    if (fd < 0)
        return;
    if (write(fd, ".", 1) == 1) {
        while (access(hold, F_OK) == 0)
            usleep(1000);
    }
    close(fd);
}

static int treedev_create(struct umdev_device *dev)
{
    struct treedev *t = umdev_device_priv(dev);

    snprintf(t->value, sizeof(t->value), "unset");
    if (umdev_device_type_index(dev) == TYPE_SLOW)
        be_slow(umdev_device_parent(dev));
    return 0;
}

static void treedev_remove(struct umdev_device *dev)
{
    if (umdev_device_type_index(dev) == TYPE_SLOW)
        be_slow(umdev_device_parent(dev));
}

/* ------------------------------------------------------------------ attributes */

static int value_show(struct umdev_device *dev, char *buf, size_t size)
{
    const struct treedev *t = umdev_device_priv(dev);

    return snprintf(buf, size, "%s\n", t->value);
}

/* A word of letters; "bad" is none. */
static int value_store(struct umdev_device *dev, const char *buf, size_t len)
{
    struct treedev *t = umdev_device_priv(dev);
    char word[sizeof(t->value)] = "";

    if (len >= sizeof(word) || sscanf(buf, "%63[a-z]", word) != 1 || strcmp(word, "bad") == 0)
        return -EINVAL;
    memcpy(t->value, word, sizeof(word));
    return 0;
}

static int kick_store(struct umdev_device *dev, const char *buf, size_t len)
{
    struct treedev *t = umdev_device_priv(dev);

    (void)buf;
    t->kicks += (unsigned)len;
    return 0;
}

static int kicks_show(struct umdev_device *dev, char *buf, size_t size)
{
    const struct treedev *t = umdev_device_priv(dev);

    return snprintf(buf, size, "%u\n", t->kicks);
}

static int broken_show(struct umdev_device *dev, char *buf, size_t size)
{
    (void)dev, (void)buf, (void)size;
    return -EBUSY;
}

static int page_show(struct umdev_device *dev, char *buf, size_t size)
{
    (void)dev;
    memset(buf, 'x', size);
    return (int)size;
}

/* More than it was asked for. */
static int liar_show(struct umdev_device *dev, char *buf, size_t size)
{
    (void)dev, (void)buf;
    return (int)size + 1;
}

static int slow_show(struct umdev_device *dev, char *buf, size_t size)
{
    be_slow(umdev_device_parent(dev));
    return snprintf(buf, size, "at last\n");
}

static const struct umdev_attr attrs[] = {
    {.name = "value", .show = value_show, .store = value_store},
    {.name = "kick", .store = kick_store},
    {.name = "kicks", .show = kicks_show},
    {.name = "broken", .show = broken_show},
    {.name = "page", .show = page_show},
    {.name = "liar", .show = liar_show},
    {.name = "slow", .show = slow_show},
};

/* ------------------------------------------------------------------ of parents and types */

static int level_show(struct umdev_parent *parent, unsigned type, char *buf, size_t size)
{
    const struct treeparent *p = umdev_parent_priv(parent);

    return snprintf(buf, size, "%u\n", p->level + type);
}

static int level_store(struct umdev_parent *parent, unsigned type, const char *buf, size_t len)
{
    struct treeparent *p = umdev_parent_priv(parent);

    (void)type, (void)len;
    return sscanf(buf, "%u", &p->level) == 1 ? 0 : -EINVAL;
}

static int weight_show(struct umdev_parent *parent, unsigned type, char *buf, size_t size)
{
    const struct treeparent *p = umdev_parent_priv(parent);

    be_slow(parent);
    return snprintf(buf, size, "%u of %u\n", p->weights[type], type);
}

static int weight_store(struct umdev_parent *parent, unsigned type, const char *buf, size_t len)
{
    struct treeparent *p = umdev_parent_priv(parent);

    (void)len;
    return sscanf(buf, "%u", &p->weights[type]) == 1 ? 0 : -ERANGE;
}

static const struct umdev_parent_attr parent_attrs[] = {
    {.name = "level", .show = level_show, .store = level_store},
};
static const struct umdev_parent_attr type_attrs[] = {
    {.name = "weight", .show = weight_show, .store = weight_store},
};

/* clang-format off */
UMDEV_DRIVER(treedev,
    .types = types, .ntypes = sizeof(types) / sizeof(types[0]),
    .params = params, .nparams = sizeof(params) / sizeof(params[0]),
    .parent_priv_size = sizeof(struct treeparent), .priv_size = sizeof(struct treedev),
    .create = treedev_create, .remove = treedev_remove, UMDEV_ATTRS(attrs),
    UMDEV_PARENT_ATTRS(parent_attrs), UMDEV_TYPE_ATTRS(type_attrs),
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x1106, .class_code = 0x050000,
                     .bar[0] = UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)));
