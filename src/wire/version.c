/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/version.h"

#include "wire/vfio_user.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* A number of the capabilities object; absent: *value stays. */
static int version_get_number(const json_t *caps, const char *name, uint64_t max, uint32_t bit,
                              struct wire_version *version, uint64_t *value)
{
    const json_t *member = json_object_get(caps, name);

    if (!member)
        return 0;
    if (!json_is_integer(member) || json_integer_value(member) < 1 ||
        (uint64_t)json_integer_value(member) > max)
        return -EINVAL;
    *value = (uint64_t)json_integer_value(member);
    version->offered |= bit;
    return 0;
}

/* umdev's own extensions, in an object of their own. */
static int version_get_umdev(const json_t *caps, struct wire_version *version)
{
    const json_t *umdev = json_object_get(caps, "umdev");
    uint64_t fault = 0, protect = 0, track = 0;
    int ret;

    if (!umdev)
        return 0;
    if (!json_is_object(umdev))
        return -EINVAL;
    ret = version_get_number(umdev, "fault", UINT32_MAX, WIRE_CAPABILITY_UMDEV_FAULT, version,
                             &fault);
    if (!ret)
        ret = version_get_number(umdev, "protect", UINT32_MAX, WIRE_CAPABILITY_UMDEV_PROTECT,
                                 version, &protect);
    if (!ret)
        ret = version_get_number(umdev, "track", UINT32_MAX, WIRE_CAPABILITY_UMDEV_TRACK, version,
                                 &track);
    version->umdev_fault = (uint32_t)fault;
    version->umdev_protect = (uint32_t)protect;
    version->umdev_track = (uint32_t)track;
    return ret;
}

static int version_get_capabilities(const json_t *caps, struct wire_version *version)
{
    const json_t *multiple = json_object_get(caps, "write_multiple");
    uint64_t max_msg_fds = version->max_msg_fds;
    int ret;

    if (!json_is_object(caps))
        return -EINVAL;
    ret = version_get_number(caps, "max_msg_fds", UINT32_MAX, WIRE_CAPABILITY_MAX_MSG_FDS, version,
                             &max_msg_fds);
    if (!ret)
        ret = version_get_number(caps, "max_data_xfer_size", INT64_MAX,
                                 WIRE_CAPABILITY_MAX_DATA_XFER_SIZE, version,
                                 &version->max_data_xfer_size);
    if (!ret)
        ret = version_get_number(caps, "max_dma_maps", INT64_MAX, WIRE_CAPABILITY_MAX_DMA_MAPS,
                                 version, &version->max_dma_maps);
    if (!ret)
        ret = version_get_number(caps, "pgsizes", INT64_MAX, WIRE_CAPABILITY_PGSIZES, version,
                                 &version->pgsizes);
    if (!ret)
        ret = version_get_umdev(caps, version);
    if (ret)
        return ret;
    version->max_msg_fds = (uint32_t)max_msg_fds;
    if (multiple) {
        if (!json_is_boolean(multiple))
            return -EINVAL;
        version->write_multiple = json_is_true(multiple);
        version->offered |= WIRE_CAPABILITY_WRITE_MULTIPLE;
    }
    return 0;
}

int wire_version_parse(const void *body, size_t size, struct wire_version *version)
{
    const char *text = (const char *)body + sizeof(struct wire_version_body);
    size_t text_size = size - sizeof(struct wire_version_body);
    struct wire_version_body numbers;
    json_t *root, *caps;
    int ret = 0;

    if (size < sizeof(numbers))
        return -EINVAL;
    memcpy(&numbers, body, sizeof(numbers));
    *version = (struct wire_version){
        .major = numbers.major,
        .minor = numbers.minor,
        .max_msg_fds = 1,
        .max_data_xfer_size = 1048576,
        .max_dma_maps = 65535,
        .pgsizes = 4096,
    };
    if (text_size == 0)
        return 0;
    if (text[text_size - 1] != '\0')
        return -EINVAL;
    root = json_loadb(text, strlen(text), 0, NULL);
    if (!root)
        return -EINVAL;
    caps = json_object_get(root, "capabilities");
    if (!json_is_object(root))
        ret = -EINVAL;
    else if (caps)
        ret = version_get_capabilities(caps, version);
    json_decref(root);
    return ret;
}

static json_t *version_umdev_json(const struct wire_version *version)
{
    json_t *umdev = json_object();

    if (version->offered & WIRE_CAPABILITY_UMDEV_FAULT)
        json_object_set_new(umdev, "fault", json_integer(version->umdev_fault));
    if (version->offered & WIRE_CAPABILITY_UMDEV_PROTECT)
        json_object_set_new(umdev, "protect", json_integer(version->umdev_protect));
    if (version->offered & WIRE_CAPABILITY_UMDEV_TRACK)
        json_object_set_new(umdev, "track", json_integer(version->umdev_track));
    return umdev;
}

static json_t *version_capabilities_json(const struct wire_version *version)
{
    json_t *caps = json_object();
    uint32_t offered = version->offered;

    if (offered & WIRE_CAPABILITY_MAX_MSG_FDS)
        json_object_set_new(caps, "max_msg_fds", json_integer(version->max_msg_fds));
    if (offered & WIRE_CAPABILITY_MAX_DATA_XFER_SIZE)
        json_object_set_new(caps, "max_data_xfer_size",
                            json_integer((json_int_t)version->max_data_xfer_size));
    if (offered & WIRE_CAPABILITY_MAX_DMA_MAPS)
        json_object_set_new(caps, "max_dma_maps", json_integer((json_int_t)version->max_dma_maps));
    if (offered & WIRE_CAPABILITY_PGSIZES)
        json_object_set_new(caps, "pgsizes", json_integer((json_int_t)version->pgsizes));
    if (offered & WIRE_CAPABILITY_WRITE_MULTIPLE)
        json_object_set_new(caps, "write_multiple", json_boolean(version->write_multiple));
    if (offered & WIRE_CAPABILITY_UMDEV)
        json_object_set_new(caps, "umdev", version_umdev_json(version));
    return caps;
}

int wire_version_format(const struct wire_version *version, void *body, size_t size)
{
    struct wire_version_body numbers = {.major = version->major, .minor = version->minor};
    char *text = (char *)body + sizeof(numbers);
    json_t *root;
    size_t used;

    if (size < sizeof(numbers) + 1)
        return -EMSGSIZE;
    root = json_object();
    if (!root)
        return -ENOMEM;
    if (version->offered)
        json_object_set_new(root, "capabilities", version_capabilities_json(version));
    used = json_dumpb(root, text, size - sizeof(numbers) - 1, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(root);
    if (used == 0)
        return -ENOMEM;
    if (used > size - sizeof(numbers) - 1)
        return -EMSGSIZE;
    memcpy(body, &numbers, sizeof(numbers));
    text[used] = '\0';
    return (int)(sizeof(numbers) + used + 1);
}
