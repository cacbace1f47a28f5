/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket does for devices that come and go. */
#include "base/log.h"
#include "control/request.h"

#include <errno.h>
#include <limits.h>

static int add_type(void *opaque, const struct umdev_host_type *type)
{
    json_t *available =
        type->available == UINT_MAX ? json_null() : json_integer((json_int_t)type->available);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:o}", "name", type->name, "parent",
                             type->parent, "driver", type->driver, "pretty_name", type->pretty_name,
                             "description", type->description, "device_api", type->device_api,
                             "available", available);

    return json_array_append_new(opaque, json) ? -ENOMEM : 0;
}

int control_types(struct control_request *request)
{
    json_t *types = json_array();
    int ret = -ENOMEM;

    if (types)
        ret = request->source->for_each_type(request->source->opaque, add_type, types);
    if (ret) {
        json_decref(types);
        return error_set(&request->error, ENOMEM, "out of memory");
    }
    request->result = json_pack("{s:o}", "types", types);
    return 0;
}

static int not_here(struct control_request *request)
{
    return error_set(&request->error, EOPNOTSUPP,
                     "the devices of this umdev do not come and go; those of 'umdev daemon' do");
}

static int answer_device(void *opaque, const struct umdev_host_device *device)
{
    json_t **answer = opaque;

    *answer =
        json_pack("{s:s, s:s, s:s, s:s, s:s?}", "uuid", device->uuid, "type", device->type,
                  "parent", device->parent, "driver", device->driver, "socket", device->socket);
    return 0;
}

int control_create(struct control_request *request)
{
    const struct source *source = request->source;
    char uuid[UMDEV_UUID_STR_SIZE];
    json_t *answer = NULL;
    int ret;

    if (!source->create)
        return not_here(request);
    if (!request->create.type)
        return error_set(&request->error, EINVAL, "create what? name a \"type\"");
    ret = source->create(source->opaque, &request->create, uuid, &request->error);
    if (ret)
        return ret;
    source->find_device(source->opaque, uuid, answer_device, &answer);
    /* Somebody else may have removed it already. */
    request->result = answer ? answer : json_pack("{s:s}", "uuid", uuid);
    return 0;
}

int control_remove(struct control_request *request)
{
    const struct source *source = request->source;
    int ret;

    if (!source->remove)
        return not_here(request);
    if (!request->device)
        return error_set(&request->error, EINVAL, "remove what? name a \"device\"");
    ret = source->remove(source->opaque, request->device, &request->error);
    if (!ret)
        request->result = json_pack("{s:s}", "uuid", request->device);
    return ret;
}
