/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs/files.h"

#include "base/range.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UUID_LENGTH (UMDEV_UUID_STR_SIZE - 1)

/* ------------------------------------------------------------------ counters */

#define COUNTER(name)                                                                              \
    {                                                                                              \
#name, offsetof(struct umdev_host_stats, name)                                             \
    }
static const struct counter {
    const char *name;
    size_t offset;
} counters[] = {
    COUNTER(sessions),         COUNTER(messages),
    COUNTER(traps_read),       COUNTER(traps_write),
    COUNTER(trap_bytes_read),  COUNTER(trap_bytes_written),
    COUNTER(dma_maps),         COUNTER(dma_mapped_bytes),
    COUNTER(dma_bytes_read),   COUNTER(dma_bytes_written),
    COUNTER(dma_pinned_bytes), COUNTER(interrupts),
    COUNTER(resets),           COUNTER(errors),
    COUNTER(failed),           COUNTER(faults),
    COUNTER(refused),          COUNTER(revoked),
    COUNTER(refusal_errno),    COUNTER(refusal_region),
    COUNTER(refusal_offset),   COUNTER(refusal_access),
    COUNTER(refusal_age_ms),   COUNTER(tracked_pages),
    COUNTER(compared_pages),   COUNTER(track_notify),
    COUNTER(track_method),
};
#define NUM_COUNTERS (sizeof(counters) / sizeof(counters[0]))

const char *files_counter(unsigned index)
{
    return index < NUM_COUNTERS ? counters[index].name : NULL;
}

static int show_counter(const struct sysfs_ops *ops, const char *uuid, unsigned index, char *text)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};
    uint64_t value;
    int ret = index < NUM_COUNTERS ? ops->get_stats(ops->opaque, uuid, &stats) : -EIO;

    if (ret)
        return ret;
    memcpy(&value, (const char *)&stats + counters[index].offset, sizeof(value));
    return snprintf(text, FILES_SIZE, "%" PRIu64 "\n", value);
}

/* ------------------------------------------------------------------ reading */

/* Made where the host shows its types and devices: their strings are valid there only. */
struct show {
    struct node node;
    char *text;
    int length; /* −errno: it is not there, or can't be read */
    struct type_counter counter;
};

/* A line of two parts; the host's texts may be longer than a file. */
static int show_words(char *text, const char *first, const char *second)
{
    return MIN(snprintf(text, FILES_SIZE, "%s%s\n", first, second), FILES_SIZE - 1);
}

static int show_line(char *text, const char *line)
{
    return show_words(text, "", line);
}

static int show_type(void *opaque, const struct umdev_host_type *type)
{
    struct show *show = opaque;

    if (type_counter_next(&show->counter, type) != show->node.type ||
        type->parent_id != show->node.id)
        return 0;
    switch (show->node.slot) {
    case NODE_TYPE_API:
        show->length = show_line(show->text, type->device_api);
        break;
    case NODE_TYPE_NAME:
        show->length = show_line(show->text, type->pretty_name);
        break;
    case NODE_TYPE_DESCRIPTION:
        show->length = type->description ? show_line(show->text, type->description) : -ENODEV;
        break;
    case NODE_TYPE_AVAILABLE:
        /* Readers take it for an int. */
        show->length =
            snprintf(show->text, FILES_SIZE, "%u\n", MIN(type->available, (unsigned)INT_MAX));
        break;
    default:
        show->length = -EIO;
        break;
    }
    return 1;
}

static int show_device(void *opaque, const struct umdev_host_device *device)
{
    struct show *show = opaque;

    if (device->id != show->node.id)
        return 0;
    switch (show->node.slot) {
    case NODE_DEVICE_UEVENT:
        show->length = show_words(show->text, "DRIVER=", device->driver);
        break;
    case NODE_DEVICE_SOCKET:
        show->length = device->socket ? show_line(show->text, device->socket) : -ENODEV;
        break;
    case NODE_DEVICE_CONNECTED:
        show->length = show_line(show->text, device->connected ? "1" : "0");
        break;
    default:
        show->length = -EIO;
        break;
    }
    return 1;
}

static int show_attr(const struct sysfs_ops *ops, const char *uuid, unsigned index, char *text)
{
    struct found_attr attr;
    int ret = find_attr(ops, uuid, index, &attr);

    if (!ret)
        ret = ops->attr_read(ops->opaque, uuid, attr.name, text, FILES_SIZE);
    return ret;
}

/* A parent's or a type's. */
static int find_whose(const struct sysfs_ops *ops, struct node node, struct found_type *type,
                      struct found_attr *attr)
{
    if (find_type(ops, node.id, MAX(node.type, 1u), type))
        return -ENODEV;
    return find_parent_attr(ops, type->parent, node.type ? type->name : NULL,
                            node.slot - NODE_PARENT_ATTR, attr);
}

static int show_parent_attr(const struct sysfs_ops *ops, struct node node, char *text)
{
    struct found_type type;
    struct found_attr attr;
    int ret = find_whose(ops, node, &type, &attr);

    return ret ? ret
               : ops->parent_attr_read(ops->opaque, type.parent, node.type ? type.name : NULL,
                                       attr.name, text, FILES_SIZE);
}

int files_show(const struct sysfs_ops *ops, struct node node, char text[FILES_SIZE])
{
    struct show show = {.node = node, .text = text, .length = -ENODEV};
    struct found_device device;

    if (node.slot == NODE_PARENT_UEVENT)
        return find_owner(ops, node) ? 0 : -ENODEV;
    if (node.slot >= NODE_PARENT_ATTR)
        return show_parent_attr(ops, node, text);
    if (node.slot < NODE_DEVICE) {
        ops->for_each_type(ops->opaque, show_type, &show);
        return show.length;
    }
    if (node.slot < NODE_STAT) {
        ops->for_each_device(ops->opaque, show_device, &show);
        return show.length;
    }
    if (find_device(ops, node.id, &device))
        return -ENODEV;
    return node.slot < NODE_ATTR ? show_counter(ops, device.uuid, node.slot - NODE_STAT, text)
                                 : show_attr(ops, device.uuid, node.slot - NODE_ATTR, text);
}

/* ------------------------------------------------------------------ writing */

static int store_create(const struct sysfs_ops *ops, const struct log *log, struct node node,
                        const char *data, size_t len)
{
    char uuid[UMDEV_UUID_STR_SIZE] = "";
    struct umdev_error error = {""};
    struct found_type type;
    int ret;

    if (len < UUID_LENGTH || len > UUID_LENGTH + 1 ||
        (len == UUID_LENGTH + 1 && data[UUID_LENGTH] != '\n' && data[UUID_LENGTH] != '\0'))
        return -EINVAL;
    memcpy(uuid, data, UUID_LENGTH);
    ret = find_type(ops, node.id, node.type, &type);
    if (ret)
        return ret;
    ret = ops->create(ops->opaque, type.parent, type.name, uuid, &error);
    if (ret)
        log_print(log, UMDEV_LOG_INFO, type.parent, "no device by way of the tree: %s",
                  error.message[0] ? error.message : log_errno(-ret));
    /* The folder was there: its parent has gone since. */
    return ret == -ENOENT ? -ENODEV : ret;
}

/*
 * A number as Linux's files take it: an optional '+', a base by its prefix (0x, 0, none), at most a
 * newline after it.
 */
static int parse_number_of_kernel(const char *data, size_t len, unsigned long *value)
{
    char text[64] = "";
    char *end = NULL;

    if (len >= sizeof(text))
        return -EINVAL;
    memcpy(text, data, len);
    if (!isdigit((unsigned char)text[text[0] == '+' ? 1 : 0]))
        return -EINVAL;
    errno = 0;
    *value = strtoul(text, &end, 0);
    if (*end == '\n')
        end++;
    return errno || *end != '\0' ? -EINVAL : 0;
}

static int store_remove(const struct sysfs_ops *ops, const char *uuid, const char *data, size_t len)
{
    unsigned long value = 0;
    int ret = parse_number_of_kernel(data, len, &value);

    if (ret || value == 0)
        return ret;
    return ops->remove(ops->opaque, uuid);
}

/* Nobody hears of it; but tools write it to all devices they find. */
static int store_uevent(const char *data, size_t len)
{
    static const char *const actions[] = {"add",    "remove",  "change", "move",
                                          "online", "offline", "bind",   "unbind"};
    size_t word = 0;

    while (word < len && isalpha((unsigned char)data[word]))
        word++;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strlen(actions[i]) == word && memcmp(actions[i], data, word) == 0)
            return word == len || data[word] == '\n' || data[word] == ' ' || data[word] == '\0'
                       ? 0
                       : -EINVAL;
    }
    return -EINVAL;
}

static int store_attr(const struct sysfs_ops *ops, const char *uuid, unsigned index,
                      const char *data, size_t len)
{
    struct found_attr attr;
    int ret = find_attr(ops, uuid, index, &attr);

    return ret ? ret : ops->attr_write(ops->opaque, uuid, attr.name, data, len);
}

static int store_parent_attr(const struct sysfs_ops *ops, struct node node, const char *data,
                             size_t len)
{
    struct found_type type;
    struct found_attr attr;
    int ret = find_whose(ops, node, &type, &attr);

    return ret ? ret
               : ops->parent_attr_write(ops->opaque, type.parent, node.type ? type.name : NULL,
                                        attr.name, data, len);
}

int files_store(const struct sysfs_ops *ops, const struct log *log, struct node node,
                const char *data, size_t len)
{
    struct found_device device;

    if (node.slot == NODE_TYPE_CREATE)
        return store_create(ops, log, node, data, len);
    if (node.slot == NODE_PARENT_UEVENT)
        return find_owner(ops, node) ? store_uevent(data, len) : -ENODEV;
    if (node.slot >= NODE_PARENT_ATTR)
        return store_parent_attr(ops, node, data, len);
    if (node.slot < NODE_DEVICE)
        return -EIO;
    if (find_device(ops, node.id, &device))
        return -ENODEV;
    if (node.slot == NODE_DEVICE_REMOVE)
        return store_remove(ops, device.uuid, data, len);
    if (node.slot == NODE_DEVICE_UEVENT)
        return store_uevent(data, len);
    return node.slot >= NODE_ATTR ? store_attr(ops, device.uuid, node.slot - NODE_ATTR, data, len)
                                  : -EIO;
}
