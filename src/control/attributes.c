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

/* A device, or a parent and maybe its type. */
static int find_owner(struct control_request *request)
{
    struct source_owner *owner = &request->owner;

    owner->uuid = request->device;
    if (!owner->uuid == !owner->parent || (owner->type && !owner->parent))
        return error_set(
            &request->error, EINVAL,
            "whose attributes? name a \"device\", or a \"parent\" and maybe its \"type\"");
    return 0;
}

static int attribute_error(struct control_request *request, int ret)
{
    const struct source_owner *owner = &request->owner;
    const char *name = owner->uuid ? owner->uuid : owner->parent;
    const char *kind = owner->uuid ? "device" : "parent";

    if (ret == -ENODEV)
        return error_set(&request->error, ENODEV, "there is no %s %.64s", kind, name);
    if (ret == -ENOENT)
        return error_set(&request->error, ENOENT, "%s %.64s has no such %s", kind, name,
                         owner->type ? "type or attribute" : "attribute");
    return error_set(&request->error, -ret, "attributes of %s %.64s: %s", kind, name,
                     log_errno(-ret));
}

int control_attributes(struct control_request *request)
{
    const struct source *source = request->source;
    json_t *attributes;
    int ret = find_owner(request);

    if (ret)
        return ret;
    attributes = json_array();
    ret = -ENOMEM;
    if (attributes)
        ret = source->for_each_attr(source->opaque, &request->owner, add_attribute, attributes);
    if (ret) {
        json_decref(attributes);
        return attribute_error(request, ret);
    }
    request->result = json_pack("{s:o}", "attributes", attributes);
    return 0;
}

static int attribute_read(struct control_request *request)
{
    const struct source *source = request->source;
    char text[UMDEV_ATTR_SIZE];
    json_t *value;
    int ret =
        source->attr_read(source->opaque, &request->owner, request->attribute, text, sizeof(text));

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
    int ret = find_owner(request);

    if (ret)
        return ret;
    if (!request->value)
        return attribute_read(request);
    ret = source->attr_write(source->opaque, &request->owner, request->attribute, request->value,
                             strlen(request->value));
    if (ret < 0)
        return attribute_error(request, ret);
    request->result = json_object();
    return 0;
}
