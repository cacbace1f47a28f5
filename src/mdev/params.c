/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/params.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"
#include "mdev/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct param_value {
    char *text; /* NULL: neither given nor with a default */
    uint64_t number;
    bool flag;
    bool given;
};

struct params {
    const struct umdev_driver *driver;
    struct param_value values[]; /* driver->nparams */
};

/* ------------------------------------------------------------------ one value */

static void format_limit(const struct umdev_param *decl, uint64_t limit,
                         char text[PARSE_SIZE_TEXT_MAX])
{
    if (decl->kind == UMDEV_PARAM_SIZE)
        parse_size_format(limit, text);
    else
        snprintf(text, PARSE_SIZE_TEXT_MAX, "%" PRIu64, limit);
}

static int check_range(const struct umdev_param *decl, const char *text, uint64_t value,
                       struct umdev_error *error)
{
    char min[PARSE_SIZE_TEXT_MAX];
    char max[PARSE_SIZE_TEXT_MAX];

    if ((decl->min == 0 && decl->max == 0) || (value >= decl->min && value <= decl->max))
        return 0;
    format_limit(decl, decl->min, min);
    format_limit(decl, decl->max, max);
    return error_set(error, EINVAL, "%s=%s: out of range; it can be %s to %s", decl->name,
                     text_quote(text).text, min, max);
}

static int parse_quantity(const struct umdev_param *decl, const char *text, uint64_t *value,
                          struct umdev_error *error)
{
    bool is_size = decl->kind == UMDEV_PARAM_SIZE;
    int ret = is_size ? parse_size(text, value) : parse_number(text, value);

    if (ret == -ERANGE)
        return error_set(error, EINVAL, "%s=%s: too large; 64 bits is all there is", decl->name,
                         text_quote(text).text);
    if (ret)
        return error_set(error, EINVAL, "%s=%s: not a %s", decl->name, text_quote(text).text,
                         is_size ? "size; write bytes, or with K, M, G or T for powers of 1024, "
                                   "such as 64M"
                                 : "number; write decimal, or hexadecimal with 0x");
    return check_range(decl, text, *value, error);
}

/* Fills in what the declaration's kind needs of *value. */
static int convert(const struct umdev_param *decl, const char *text, struct param_value *value,
                   struct umdev_error *error)
{
    switch (decl->kind) {
    case UMDEV_PARAM_STRING:
        return 0;
    case UMDEV_PARAM_NUMBER:
    case UMDEV_PARAM_SIZE:
        return parse_quantity(decl, text, &value->number, error);
    case UMDEV_PARAM_BOOL:
        if (parse_bool(text, &value->flag))
            return error_set(error, EINVAL,
                             "%s=%s: not a switch; write yes, no, on, off, true, false, 1 or 0",
                             decl->name, text_quote(text).text);
        return 0;
    }
    return error_set(error, EINVAL, "parameter %s is of the unknown kind %d", decl->name,
                     (int)decl->kind);
}

int params_check_value(const struct umdev_param *decl, const char *text, struct umdev_error *error)
{
    struct param_value value = {0};

    return convert(decl, text, &value, error);
}

/* ------------------------------------------------------------------ all of them */

static int set_value(const struct umdev_param *decl, const char *text, struct param_value *value,
                     struct umdev_error *error)
{
    int ret = convert(decl, text, value, error);

    if (ret)
        return ret;
    value->text = strdup(text);
    return value->text ? 0 : error_set(error, ENOMEM, "out of memory");
}

static int unknown_key(const struct umdev_driver *driver, const char *key,
                       struct umdev_error *error)
{
    struct text_list known = {0};

    for (size_t i = 0; i < driver->nparams; i++)
        text_list_add(&known, driver->params[i].name);
    if (driver->nparams == 0)
        return error_set(error, EINVAL, "unknown parameter '%s': driver %s takes none",
                         text_quote(key).text, driver->name);
    return error_set(error, EINVAL, "unknown parameter '%s': driver %s has %s",
                     text_quote(key).text, driver->name, known.text);
}

/* driver->nparams: not declared. */
static size_t find_decl(const struct umdev_driver *driver, const char *key)
{
    size_t i = 0;

    while (i < driver->nparams && strcmp(driver->params[i].name, key) != 0)
        i++;
    return i;
}

static int parse_one(struct params *params, const char *arg, struct umdev_error *error)
{
    const struct umdev_driver *driver = params->driver;
    const char *equals = arg ? strchr(arg, '=') : NULL;
    CLEANUP_FREE char *key = NULL;
    size_t i;

    if (!equals || equals == arg)
        return error_set(error, EINVAL, "parameter '%s' is not of the form KEY=VALUE",
                         text_quote(arg).text);
    key = strndup(arg, (size_t)(equals - arg));
    if (!key)
        return error_set(error, ENOMEM, "out of memory");
    i = find_decl(driver, key);
    if (i == driver->nparams)
        return unknown_key(driver, key, error);
    if (params->values[i].given)
        return error_set(error, EINVAL, "parameter %s is given twice: as '%s' and as '%s'",
                         driver->params[i].name, text_quote(params->values[i].text).text,
                         text_quote(equals + 1).text);
    params->values[i].given = true;
    return set_value(&driver->params[i], equals + 1, &params->values[i], error);
}

static int fill_defaults(struct params *params, struct umdev_error *error)
{
    for (size_t i = 0; i < params->driver->nparams; i++) {
        const struct umdev_param *decl = &params->driver->params[i];
        int ret;

        if (params->values[i].given || !decl->value)
            continue;
        ret = set_value(decl, decl->value, &params->values[i], error);
        if (ret)
            return ret;
    }
    return 0;
}

int params_parse(const struct umdev_driver *driver, const char *const *args, size_t nargs,
                 struct params **params, struct umdev_error *error)
{
    struct params *all = calloc(1, sizeof(*all) + driver->nparams * sizeof(struct param_value));
    int ret = 0;

    if (!all)
        return error_set(error, ENOMEM, "out of memory");
    all->driver = driver;
    for (size_t i = 0; i < nargs && !ret; i++)
        ret = parse_one(all, args[i], error);
    if (!ret)
        ret = fill_defaults(all, error);
    if (ret) {
        params_free(all);
        return ret;
    }
    *params = all;
    return 0;
}

void params_free(struct params *params)
{
    if (!params)
        return;
    for (size_t i = 0; i < params->driver->nparams; i++)
        free(params->values[i].text);
    free(params);
}

/* ------------------------------------------------------------------ what the driver asks */

static const struct param_value *find_value(const struct params *params, const char *name,
                                            enum umdev_param_kind kind)
{
    size_t i = name ? find_decl(params->driver, name) : params->driver->nparams;

    if (i == params->driver->nparams || params->driver->params[i].kind != kind)
        return NULL;
    return &params->values[i];
}

int params_get_text(const struct params *params, const char *name, const char **value)
{
    const struct param_value *found = find_value(params, name, UMDEV_PARAM_STRING);

    *value = found && found->text ? found->text : "";
    return found ? 0 : -EINVAL;
}

int params_get_number(const struct params *params, const char *name, enum umdev_param_kind kind,
                      uint64_t *value)
{
    const struct param_value *found = find_value(params, name, kind);

    *value = found ? found->number : 0;
    return found ? 0 : -EINVAL;
}

int params_get_bool(const struct params *params, const char *name, bool *value)
{
    const struct param_value *found = find_value(params, name, UMDEV_PARAM_BOOL);

    *value = found && found->flag;
    return found ? 0 : -EINVAL;
}
