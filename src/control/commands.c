/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket can be asked: from a request's text to an answer's. */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"
#include "control/request.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ the commands */

/* What a command's request may have besides "command". */
enum takes { TAKES_NOTHING, TAKES_DEVICE, TAKES_OWNER, TAKES_ATTRIBUTE, TAKES_CREATE };

/* clang-format off */
static const struct control_command {
    const char *name;
    enum takes takes;
    int (*run)(struct control_request *request);
} commands[] = {
    {"attribute", TAKES_ATTRIBUTE, control_attribute},
    {"attributes", TAKES_OWNER, control_attributes},
    {"create", TAKES_CREATE, control_create},
    {"list", TAKES_DEVICE, control_list},
    {"remove", TAKES_DEVICE, control_remove},
    {"screenshot", TAKES_DEVICE, control_screenshot},
    {"show", TAKES_DEVICE, control_show},
    {"types", TAKES_NOTHING, control_types},
};
/* clang-format on */

static const char *const forms[] = {
    [TAKES_NOTHING] = "{\"command\": NAME}",
    [TAKES_DEVICE] = "{\"command\": NAME} or {\"command\": NAME, \"device\": UUID}",
    [TAKES_OWNER] = "{\"command\": \"attributes\"}, and \"device\" or \"parent\", maybe \"type\"",
    [TAKES_ATTRIBUTE] = "{\"command\": \"attribute\", \"attribute\": NAME}, and \"device\" or "
                        "\"parent\", maybe \"type\" and \"value\"",
    [TAKES_CREATE] = "{\"command\": \"create\", \"type\": TYPE}, and maybe \"uuid\", \"parent\" "
                     "and \"persist\"",
};

static int request_unpack(struct control_request *request, enum takes takes, json_t *json)
{
    struct source_create *create = &request->create;
    const char *command;
    json_error_t error;
    int persist = 0;
    json_int_t mode = 0;
    int ret;

    switch (takes) {
    case TAKES_CREATE:
        ret = json_unpack_ex(json, &error, JSON_STRICT, "{s:s, s?s, s?s, s?s, s?s, s?I, s?b}",
                             "command", &command, "type", &create->type, "uuid", &create->uuid,
                             "parent", &create->parent, "socket", &create->socket, "mode", &mode,
                             "persist", &persist);
        if (!ret && (mode < 0 || mode > 0777))
            return error_set(&request->error, EINVAL, "a \"mode\" is permissions, 0 to 511");
        create->mode = (unsigned)mode;
        create->persist = persist != 0;
        break;
    case TAKES_OWNER:
        ret = json_unpack_ex(json, &error, JSON_STRICT, "{s:s, s?s, s?s, s?s}", "command", &command,
                             "device", &request->device, "parent", &request->owner.parent, "type",
                             &request->owner.type);
        break;
    case TAKES_ATTRIBUTE:
        ret = json_unpack_ex(json, &error, JSON_STRICT, "{s:s, s:s, s?s, s?s, s?s, s?s}", "command",
                             &command, "attribute", &request->attribute, "device", &request->device,
                             "parent", &request->owner.parent, "type", &request->owner.type,
                             "value", &request->value);
        break;
    case TAKES_DEVICE:
        ret = json_unpack_ex(json, &error, JSON_STRICT, "{s:s, s?s}", "command", &command, "device",
                             &request->device);
        break;
    default:
        ret = json_unpack_ex(json, &error, JSON_STRICT, "{s:s}", "command", &command);
        break;
    }
    if (ret)
        return error_set(&request->error, EINVAL, "%s; a request is %s", error.text, forms[takes]);
    return 0;
}

/* ------------------------------------------------------------------ requests and answers */

static int no_such_command(struct control_request *request, const char *name)
{
    char known[128] = "";
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(commands) && used < sizeof(known); i++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, " %s", commands[i].name);
    return error_set(&request->error, EINVAL, "no command '%.64s'; there are%s", name, known);
}

static int request_run(struct control_request *request, json_t *json)
{
    json_t *name = json_object_get(json, "command");

    if (!json_is_string(name))
        return error_set(&request->error, EINVAL, "no \"command\" with a name; a request is %s",
                         forms[TAKES_DEVICE]);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, json_string_value(name)) == 0) {
            int ret = request_unpack(request, commands[i].takes, json);

            return ret ? ret : commands[i].run(request);
        }
    }
    return no_such_command(request, json_string_value(name));
}

static int request_execute(struct control_request *request, const char *line, size_t len)
{
    json_error_t error;
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    int ret;

    if (!json)
        return error_set(&request->error, EINVAL, "not a line of JSON: %s", error.text);
    ret = request_run(request, json);
    json_decref(json);
    return ret;
}

/* What a message quotes of a request may have been cut inside a character. */
static void message_clean(char *message)
{
    json_t *test = json_string(message);

    for (char *c = message; !test && *c; c++)
        if (*c & 0x80)
            *c = '?';
    json_decref(test);
}

static json_t *error_json(struct control_request *request, int ret)
{
    const char *name = strerrorname_np(-ret);

    message_clean(request->error.message);
    return json_pack("{s:{s:s, s:s}}", "error", "errno", name ? name : "EIO", "message",
                     request->error.message);
}

int control_execute(const struct source *source, const char *line, size_t len, char **answer,
                    int *fd)
{
    struct control_request request = {.source = source, .fd = -1};
    int ret = request_execute(&request, line, len);
    json_t *json = ret ? error_json(&request, ret) : json_pack("{s:o}", "result", request.result);
    CLEANUP_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (!text || asprintf(answer, "%s\n", text) < 0) {
        if (request.fd >= 0)
            close(request.fd);
        return -ENOMEM;
    }
    *fd = request.fd;
    return 0;
}
