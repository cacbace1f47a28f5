/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/spec.h"

#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "umdev-"
#define SUFFIX ".so"

/* Cut off the first part of `text`, with ",," made one comma. NULL: there is no more. */
static char *part_take(char **text)
{
    char *part = *text;
    char *to = part;
    const char *from = part;

    if (!part)
        return NULL;
    *text = NULL;
    while (*from) {
        if (*from == ',' && *++from != ',') {
            *text = (char *)from;
            break;
        }
        *to++ = *from++;
    }
    *to = '\0';
    return part;
}

static int part_add(struct parent_spec *spec, const char *part, struct umdev_error *error)
{
    static const char name[] = "name=";
    static const char isolate[] = "isolate=";

    if (strncmp(part, name, strlen(name)) == 0) {
        free(spec->name);
        spec->name = strdup(part + strlen(name));
        return spec->name ? 0 : error_set(error, ENOMEM, "out of memory");
    }
    if (strncmp(part, isolate, strlen(isolate)) == 0) {
        if (parse_bool(part + strlen(isolate), &spec->isolate))
            return error_set(error, EINVAL, "isolate= takes yes or no, not '%s'",
                             part + strlen(isolate));
        return 0;
    }
    if (!strchr(part, '='))
        return error_set(error, EINVAL,
                         "'%s' is no KEY=VALUE; a parent is DRIVER[,name=NAME][,isolate=yes]"
                         "[,KEY=VALUE]...",
                         part);
    spec->params[spec->nparams++] = part;
    return 0;
}

int spec_parse(struct parent_spec *spec, const char *text, struct umdev_error *error)
{
    char *rest, *part;
    int ret = 0;

    *spec = (struct parent_spec){.text = strdup(text)};
    spec->params = calloc(strlen(text) + 1, sizeof(*spec->params));
    if (!spec->text || !spec->params) {
        spec_free(spec);
        return error_set(error, ENOMEM, "out of memory");
    }
    rest = spec->text;
    spec->driver = part_take(&rest);
    if (!*spec->driver)
        ret = error_set(error, EINVAL, "'%s' names no driver; a name (vgpu) or a file comes first",
                        text);
    while (!ret && (part = part_take(&rest)))
        ret = part_add(spec, part, error);
    if (ret)
        spec_free(spec);
    return ret;
}

void spec_free(struct parent_spec *spec)
{
    free(spec->name);
    free(spec->params);
    free(spec->text);
    *spec = (struct parent_spec){.name = NULL};
}

void spec_stem(const struct parent_spec *spec, char *stem, size_t size)
{
    const char *slash = strrchr(spec->driver, '/');
    const char *name = slash ? slash + 1 : spec->driver;
    size_t len;

    if (slash && strncmp(name, PREFIX, strlen(PREFIX)) == 0)
        name += strlen(PREFIX);
    len = strlen(name);
    if (slash && len > strlen(SUFFIX) && strcmp(name + len - strlen(SUFFIX), SUFFIX) == 0)
        len -= strlen(SUFFIX);
    snprintf(stem, size, "%.*s", (int)len, name);
}
