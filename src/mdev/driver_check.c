/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "mdev/driver_abi.h"
#include "mdev/params.h"
#include "mdev/text.h"
#include "mdev/uuid.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int check_names(const struct umdev_driver *driver, struct umdev_error *error)
{
    if (!text_is_name(driver->name, "_", DRIVER_NAME_MAX))
        return error_set(error, EINVAL,
                         "a driver calls itself '%s': a driver's name is 1 to %d letters, digits "
                         "and '_'",
                         text_quote(driver->name).text, DRIVER_NAME_MAX);
    if (driver->threads != UMDEV_THREADS_SERIALISED && driver->threads != UMDEV_THREADS_PARALLEL)
        return error_set(error, EINVAL,
                         "driver %s asks for the unknown thread model %d: it can be %d "
                         "(serialised) or %d (parallel)",
                         driver->name, (int)driver->threads, UMDEV_THREADS_SERIALISED,
                         UMDEV_THREADS_PARALLEL);
    return 0;
}

static int check_types(const struct umdev_driver *driver, struct umdev_error *error)
{
    if (driver->ntypes == 0)
        return error_set(error, EINVAL, "driver %s has no types: it needs at least one",
                         driver->name);
    for (size_t i = 0; i < driver->ntypes; i++) {
        const char *name = driver->types[i].name;

        if (!text_is_name(name, "_.-", DRIVER_NAME_MAX))
            return error_set(error, EINVAL,
                             "driver %s calls its type %zu '%s': a type's name is 1 to %d letters, "
                             "digits, '_', '.' and '-'",
                             driver->name, i, text_quote(name).text, DRIVER_NAME_MAX);
        for (size_t other = 0; other < i; other++) {
            if (strcmp(driver->types[other].name, name) == 0)
                return error_set(error, EINVAL,
                                 "driver %s has two types '%s': types' names must differ",
                                 driver->name, name);
        }
        if (driver->types[i].pin_mode > UMDEV_PIN_ALL)
            return error_set(error, EINVAL,
                             "driver %s gives its type %s the pin_mode %" PRIu64
                             ": UMDEV_PIN_SPARSE and UMDEV_PIN_ALL are all there is",
                             driver->name, name, driver->types[i].pin_mode);
        if (driver->max_instances && driver->types[i].instances > driver->max_instances)
            return error_set(error, EINVAL,
                             "driver %s offers %u instances of type %s, but its parents hold %u "
                             "devices (max_instances)",
                             driver->name, driver->types[i].instances, name, driver->max_instances);
    }
    return 0;
}

static int check_kind(const struct umdev_driver *driver, const struct umdev_param *param,
                      struct umdev_error *error)
{
    switch (param->kind) {
    case UMDEV_PARAM_NUMBER:
    case UMDEV_PARAM_SIZE:
        if (param->min <= param->max)
            return 0;
        return error_set(error, EINVAL,
                         "driver %s lets its parameter %s be %" PRIu64 " to %" PRIu64
                         ": the first must not be the larger",
                         driver->name, param->name, param->min, param->max);
    case UMDEV_PARAM_STRING:
    case UMDEV_PARAM_BOOL:
        if (param->min == 0 && param->max == 0)
            return 0;
        return error_set(error, EINVAL,
                         "driver %s gives its parameter %s a min or max: only numbers and sizes "
                         "have them",
                         driver->name, param->name);
    }
    return error_set(error, EINVAL, "driver %s has the parameter %s of the unknown kind %d",
                     driver->name, param->name, (int)param->kind);
}

static int check_default(const struct umdev_driver *driver, const struct umdev_param *param,
                         struct umdev_error *error)
{
    struct umdev_error why;

    if (!param->value || params_check_value(param, param->value, &why) == 0)
        return 0;
    return error_set(error, EINVAL, "driver %s has a bad default: %.300s", driver->name,
                     why.message);
}

static int check_params(const struct umdev_driver *driver, struct umdev_error *error)
{
    for (size_t i = 0; i < driver->nparams; i++) {
        const struct umdev_param *param = &driver->params[i];
        int ret;

        if (!text_is_name(param->name, "_-", DRIVER_NAME_MAX))
            return error_set(error, EINVAL,
                             "driver %s calls its parameter %zu '%s': a parameter's name is 1 to "
                             "%d letters, digits, '_' and '-'",
                             driver->name, i, text_quote(param->name).text, DRIVER_NAME_MAX);
        for (size_t other = 0; other < i; other++) {
            if (strcmp(driver->params[other].name, param->name) == 0)
                return error_set(error, EINVAL,
                                 "driver %s has two parameters '%s': their names must differ",
                                 driver->name, param->name);
        }
        ret = check_kind(driver, param, error);
        if (!ret)
            ret = check_default(driver, param, error);
        if (ret)
            return ret;
    }
    return 0;
}

/* ------------------------------------------------------------------ attributes */

/* What the check needs to know of one, of a device's or of a parent's. */
struct attr_facts {
    const char *name;
    bool callable;
};

static const char *const own_of_device[] = {
    "driver", "iommu_group", "mdev_type", "power", "remove", "subsystem", "uevent", "umdev", NULL};
static const char *const own_of_parent[] = {
    "driver", "mdev_supported_types", "power", "subsystem", "uevent", "umdev", NULL};
static const char *const own_of_type[] = {
    "available_instances", "create", "description", "device_api", "devices", "name", NULL};

static struct attr_facts device_attr_facts(const struct umdev_driver *driver, size_t index)
{
    const struct umdev_attr *attr = &driver->attrs[index];

    return (struct attr_facts){attr->name, attr->show || attr->store};
}

static struct attr_facts parent_attr_facts(const struct umdev_driver *driver, size_t index)
{
    const struct umdev_parent_attr *attr = &driver->parent_attrs[index];

    return (struct attr_facts){attr->name, attr->show || attr->store};
}

static struct attr_facts type_attr_facts(const struct umdev_driver *driver, size_t index)
{
    const struct umdev_parent_attr *attr = &driver->type_attrs[index];

    return (struct attr_facts){attr->name, attr->show || attr->store};
}

typedef struct attr_facts facts_fn(const struct umdev_driver *driver, size_t index);

static int check_attr(const struct umdev_driver *driver, facts_fn *facts_of, size_t index,
                      const char *const *own, struct umdev_error *error)
{
    struct attr_facts attr = facts_of(driver, index);
    char uuid[UMDEV_UUID_STR_SIZE];

    if (!text_is_name(attr.name, "_.-", DRIVER_NAME_MAX) || strchr("_.-", attr.name[0]))
        return error_set(error, EINVAL,
                         "driver %s calls its attribute %zu '%s': an attribute's name is 1 to %d "
                         "letters, digits, '_', '.' and '-', a letter or digit first",
                         driver->name, index, text_quote(attr.name).text, DRIVER_NAME_MAX);
    while (*own && strcmp(*own, attr.name) != 0)
        own++;
    if (*own || mdev_uuid_parse(attr.name, uuid) == 0)
        return error_set(error, EINVAL,
                         "driver %s calls an attribute '%s': umdev has a file of that name itself",
                         driver->name, attr.name);
    for (size_t other = 0; other < index; other++) {
        if (strcmp(facts_of(driver, other).name, attr.name) == 0)
            return error_set(error, EINVAL,
                             "driver %s has two attributes '%s': their names must differ",
                             driver->name, attr.name);
    }
    if (!attr.callable)
        return error_set(error, EINVAL,
                         "driver %s has the attribute %s that can be neither read nor written: it "
                         "needs show() or store()",
                         driver->name, attr.name);
    return 0;
}

static int check_attrs(const struct umdev_driver *driver, struct umdev_error *error)
{
    int ret = 0;

    for (size_t i = 0; i < driver->nattrs && !ret; i++)
        ret = check_attr(driver, device_attr_facts, i, own_of_device, error);
    for (size_t i = 0; i < driver->nparent_attrs && !ret; i++)
        ret = check_attr(driver, parent_attr_facts, i, own_of_parent, error);
    for (size_t i = 0; i < driver->ntype_attrs && !ret; i++)
        ret = check_attr(driver, type_attr_facts, i, own_of_type, error);
    return ret;
}

/* ------------------------------------------------------------------ all of it */

int driver_check(const struct umdev_driver *driver, struct umdev_error *error)
{
    int ret = check_names(driver, error);

    if (!ret)
        ret = check_types(driver, error);
    if (!ret)
        ret = check_params(driver, error);
    if (!ret)
        ret = check_attrs(driver, error);
    return ret;
}
