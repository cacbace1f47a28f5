/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parents: their coming and going, and what their driver asks about them.
 */
#include "base/cleanup.h"
#include "mdev/registry.h"
#include "mdev/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PARENT_NAME_MAX (DRIVER_NAME_MAX + sizeof("4294967295"))

/* ------------------------------------------------------------------ birth */

static void free_parent(struct umdev_parent *parent)
{
    if (parent->types) {
        for (size_t i = 0; i < parent->driver->ntypes; i++)
            free(parent->types[i].public_name);
    }
    free(parent->types);
    iommu_domain_free(parent->domain);
    free(parent->priv);
    mem_list_fini(&parent->mems);
    params_free(parent->params);
    driver_release(parent->adopted);
    free(parent->name);
    free(parent);
}

static int name_types(struct umdev_parent *parent)
{
    const struct umdev_driver *driver = parent->driver;

    parent->types = calloc(driver->ntypes, sizeof(*parent->types));
    for (size_t i = 0; parent->types && i < driver->ntypes; i++) {
        if (asprintf(&parent->types[i].public_name, "%s-%s", driver->name, driver->types[i].name) <
            0) {
            parent->types[i].public_name = NULL;
            return -ENOMEM;
        }
    }
    return parent->types ? 0 : -ENOMEM;
}

static int prepare_parent(struct umdev_parent *parent, const struct umdev_driver *driver,
                          const char *const *params, size_t nparams, struct umdev_error *error)
{
    int ret = driver_adopt(driver, &parent->adopted, error);

    if (ret)
        return ret;
    parent->driver = driver_adopted(parent->adopted);
    ret = params_parse(parent->driver, params, nparams, &parent->params, error);
    if (ret)
        return ret;
    if (parent->driver->parent_priv_size) {
        parent->priv = calloc(1, parent->driver->parent_priv_size);
        if (!parent->priv)
            return error_set(error, ENOMEM, "out of memory");
    }
    ret = name_types(parent);
    return ret ? error_set(error, -ret, "out of memory") : 0;
}

/* With the lock held: the driver's name with the first number that is free. */
static int number_parent(struct umdev_parent *parent)
{
    for (unsigned number = 0;; number++) {
        if (asprintf(&parent->name, "%s%u", parent->driver->name, number) < 0) {
            parent->name = NULL;
            return -ENOMEM;
        }
        if (!registry_find_parent(parent->registry, parent->name))
            return 0;
        free(parent->name);
    }
}

/* `name` NULL: choose one. From here on the name is taken. */
static int list_parent(struct umdev_parent *parent, const char *name, struct umdev_error *error)
{
    int ret = 0;

    LOCK_FOR_SCOPE(&parent->registry->lock);
    if (!name)
        ret = number_parent(parent);
    else if (registry_find_parent(parent->registry, name))
        return error_set(error, EEXIST, "there is a parent '%s' already", name);
    else if (!(parent->name = strdup(name)))
        ret = -ENOMEM;
    if (ret)
        return error_set(error, -ret, "out of memory");
    parent->state = PARENT_OPENING;
    parent->id = ++parent->registry->last_id;
    TAILQ_INSERT_TAIL(&parent->registry->parents, parent, link);
    return 0;
}

static void unlist_parent(struct umdev_parent *parent)
{
    LOCK_FOR_SCOPE(&parent->registry->lock);
    TAILQ_REMOVE(&parent->registry->parents, parent, link);
}

static int open_parent(struct umdev_parent *parent, struct umdev_error *error)
{
    int ret = 0;

    if (parent->driver->parent_open)
        ret = parent->driver->parent_open(parent);
    if (ret > 0) /* not what driver.h asks for, and not to be taken for a success */
        ret = -EIO;
    if (ret)
        return error_set(error, -ret, "driver %s could not open parent %s: %s",
                         parent->driver->name, parent->name, log_errno(-ret));
    log_print(parent->registry->log, UMDEV_LOG_INFO, parent->name, "registered, driver %s",
              parent->driver->name);
    pthread_mutex_lock(&parent->registry->lock);
    parent->state = PARENT_ACTIVE;
    pthread_mutex_unlock(&parent->registry->lock);
    return 0;
}

static int check_parent_name(const char *name, struct umdev_error *error)
{
    if (name && (!text_is_name(name, "_.-:", PARENT_NAME_MAX) || strchr("_.-:", name[0])))
        return error_set(error, EINVAL,
                         "a parent can't be called '%s': its name is 1 to %zu letters, digits, "
                         "'_', '.', '-' and ':', a letter or digit first",
                         text_quote(name).text, PARENT_NAME_MAX);
    return 0;
}

int mdev_parent_add(struct mdev_registry *registry, const struct umdev_driver *driver,
                    const char *name, const char *const *params, size_t nparams,
                    void (*release)(void *opaque), void *opaque, struct umdev_error *error)
{
    struct umdev_parent *parent = NULL;
    int ret = check_parent_name(name, error);

    if (ret)
        return ret;
    parent = calloc(1, sizeof(*parent));
    if (!parent)
        return error_set(error, ENOMEM, "out of memory");
    parent->registry = registry;
    parent->release = release;
    parent->opaque = opaque;
    mem_list_init_shared(&parent->mems);
    ret = prepare_parent(parent, driver, params, nparams, error);
    if (!ret)
        ret = list_parent(parent, name, error);
    if (ret)
        goto fail;
    ret = open_parent(parent, error);
    if (ret) {
        unlist_parent(parent);
        goto fail;
    }
    return 0;
fail:
    free_parent(parent);
    return ret;
}

/* ------------------------------------------------------------------ end */

/* With the lock held. NULL: none of the parent's devices is active. */
static struct mdev_device *find_active_entry(const struct umdev_parent *parent)
{
    struct mdev_device *entry;

    TAILQ_FOREACH(entry, &parent->registry->entries, link)
    {
        if (entry->parent == parent && entry->state == ENTRY_ACTIVE)
            break;
    }
    return entry;
}

/* With the lock held, which is given up for each. Others may be creating and removing, too. */
static void remove_devices(struct umdev_parent *parent)
{
    struct mdev_registry *registry = parent->registry;

    while (parent->used > 0) {
        struct mdev_device *entry = find_active_entry(parent);

        if (!entry) {
            pthread_cond_wait(&registry->changed, &registry->lock);
            continue;
        }
        entry_begin_remove(entry);
        pthread_mutex_unlock(&registry->lock);
        entry_finish_remove(entry);
        pthread_mutex_lock(&registry->lock);
    }
}

static int begin_remove(struct mdev_registry *registry, const char *name,
                        struct umdev_parent **parent)
{
    LOCK_FOR_SCOPE(&registry->lock);
    *parent = registry_find_parent(registry, name);
    if (!*parent || (*parent)->state == PARENT_OPENING)
        return -ENOENT;
    if ((*parent)->state == PARENT_REMOVING)
        return -ENODEV;
    (*parent)->state = PARENT_REMOVING;
    /* Whoever waits to create with it must hear of it. */
    pthread_cond_broadcast(&registry->changed);
    remove_devices(*parent);
    while ((*parent)->calls > 0)
        pthread_cond_wait(&registry->changed, &registry->lock);
    return 0;
}

int mdev_parent_remove(struct mdev_registry *registry, const char *name)
{
    struct umdev_parent *parent = NULL;
    void (*release)(void *opaque) = NULL;
    void *opaque = NULL;
    int ret = begin_remove(registry, name, &parent);

    if (ret)
        return ret;
    if (parent->driver->parent_close)
        parent->driver->parent_close(parent);
    log_print(registry->log, UMDEV_LOG_INFO, parent->name, "unregistered");
    unlist_parent(parent);
    release = parent->release;
    opaque = parent->opaque;
    free_parent(parent);
    /* Only now: the parent's names and structs are in the driver's memory. */
    if (release)
        release(opaque);
    return 0;
}

/* ------------------------------------------------------------------ for drivers */

void *umdev_parent_priv(struct umdev_parent *parent)
{
    return parent->priv;
}

const char *umdev_parent_name(const struct umdev_parent *parent)
{
    return parent->name;
}

int umdev_parent_mem_create(struct umdev_parent *parent, const char *name, uint64_t size,
                            struct umdev_mem **mem)
{
    return mem_list_add(&parent->mems, name, size, mem);
}

void umdev_parent_log(struct umdev_parent *parent, enum umdev_log_level level, const char *format,
                      ...)
{
    va_list args;

    va_start(args, format);
    log_vprint(parent->registry->log, level, parent->name, format, args);
    va_end(args);
}

int umdev_parent_set_domain(struct umdev_parent *parent, const struct umdev_domain *domain)
{
    struct umdev_domain config = {0};
    struct umdev_error error;
    int ret;

    if (parent->state != PARENT_OPENING || parent->domain)
        return -EBUSY;
    ret = driver_adopt_domain(domain, &config, &error);
    if (!ret)
        ret = iommu_domain_new(&config, &parent->domain, &error);
    if (ret) {
        log_print(parent->registry->log, UMDEV_LOG_ERROR, parent->name,
                  "driver %s describes a bus domain that can't be: %s", parent->driver->name,
                  error.message);
        return ret;
    }
    parent->domain_ops = config;
    return 0;
}

static void wrong_parameter(const struct umdev_parent *parent, const char *name, const char *kind)
{
    log_print(parent->registry->log, UMDEV_LOG_ERROR, parent->name,
              "driver %s asks for the %s parameter '%s', which it does not declare",
              parent->driver->name, kind, text_quote(name).text);
}

const char *umdev_param_string(const struct umdev_parent *parent, const char *name)
{
    const char *value;

    if (params_get_text(parent->params, name, &value))
        wrong_parameter(parent, name, "string");
    return value;
}

uint64_t umdev_param_number(const struct umdev_parent *parent, const char *name)
{
    uint64_t value;

    if (params_get_number(parent->params, name, UMDEV_PARAM_NUMBER, &value))
        wrong_parameter(parent, name, "number");
    return value;
}

uint64_t umdev_param_size(const struct umdev_parent *parent, const char *name)
{
    uint64_t value;

    if (params_get_number(parent->params, name, UMDEV_PARAM_SIZE, &value))
        wrong_parameter(parent, name, "size");
    return value;
}

bool umdev_param_bool(const struct umdev_parent *parent, const char *name)
{
    bool value;

    if (params_get_bool(parent->params, name, &value))
        wrong_parameter(parent, name, "switch");
    return value;
}
