/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket tells of the driver's attributes of a device, and sets. */
#include "base/log.h"
#include "control/request.h"

#include <errno.h>
#include <string.h>

static int add_attribute(void *opaque, const struct umdev_host_attr *attr)
{
    json_t *json = json_pack("{s:s, s:b, s:b}", "name", attr->name, "readable",
                             (attr->mode & 0444) != 0, "writable", (attr->mode & 0222) != 0);

    return json_array_append_new(opaque, json) ? -ENOMEM : 0;
}

static int no_device(struct control_request *request, int ret)
{
    if (ret == -ENODEV)
        return error_set(&request->error, ENODEV, "there is no device %s", request->device);
    return error_set(&request->error, -ret, "%s", log_errno(-ret));
}

int control_attributes(struct control_request *request)
{
    const struct source *source = request->source;
    json_t *attributes;
    int ret = -ENOMEM;

    if (!request->device)
        return error_set(&request->error, EINVAL, "whose attributes? name a \"device\"");
    attributes = json_array();
    if (attributes)
        ret = source->for_each_attr(source->opaque, request->device, add_attribute, attributes);
    if (ret) {
        json_decref(attributes);
        return no_device(request, ret);
    }
    request->result = json_pack("{s:o}", "attributes", attributes);
    return 0;
}

static int attribute_error(struct control_request *request, int ret)
{
    if (ret == -ENODEV)
        return no_device(request, ret);
    if (ret == -ENOENT)
        return error_set(&request->error, ENOENT, "device %s has no attribute '%.64s'",
                         request->device, request->attribute);
    return error_set(&request->error, -ret, "attribute '%.64s' of device %s: %s",
                     request->attribute, request->device, log_errno(-ret));
}

static int attribute_read(struct control_request *request)
{
    const struct source *source = request->source;
    char text[UMDEV_ATTR_SIZE];
    json_t *value;
    int ret =
        source->attr_read(source->opaque, request->device, request->attribute, text, sizeof(text));

    if (ret < 0)
        return attribute_error(request, ret);
    /* A NUL is no text for most who read JSON. */
    value = memchr(text, '\0', (size_t)ret) ? NULL : json_stringn(text, (size_t)ret);
    if (!value)
        return attribute_error(request, -EILSEQ);
    request->result = json_pack("{s:o}", "value", value);
    return 0;
}

int control_attribute(struct control_request *request)
{
    const struct source *source = request->source;
    int ret;

    if (!request->value)
        return attribute_read(request);
    ret = source->attr_write(source->opaque, request->device, request->attribute, request->value,
                             strlen(request->value));
    if (ret < 0)
        return attribute_error(request, ret);
    request->result = json_object();
    return 0;
}
