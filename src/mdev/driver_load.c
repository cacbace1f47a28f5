/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/driver_load.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "mdev/driver_abi.h"
#include "mdev/text.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ENTRY_SYMBOL "umdev_driver_entry"

/* ------------------------------------------------------------------ finding the file */

/* A search for umdev-NAME.so: the places looked at so far, and the file once it is found. */
struct search {
    const char *name;
    struct text_list places;
    char *file; /* the first that exists */
};

/* 0 also when there is no such file there: only search->file tells. −ENOMEM. */
static int search_directory(struct search *search, const char *directory, size_t length)
{
    char *file = NULL;

    if (search->file || length == 0)
        return 0;
    if (asprintf(&file, "%.*s/umdev-%s.so", (int)length, directory, search->name) < 0)
        return -ENOMEM;
    if (access(file, F_OK) == 0) {
        search->file = file;
        return 0;
    }
    file[length] = '\0';
    text_list_add(&search->places, file);
    free(file);
    return 0;
}

static int search_path_variable(struct search *search)
{
    const char *path = secure_getenv("UMDEV_DRIVER_PATH");
    int ret = 0;

    while (path && *path && !ret) {
        size_t length = strcspn(path, ":");

        ret = search_directory(search, path, length);
        path += length + (path[length] == ':');
    }
    return ret;
}

/* The directory above the one this library lies in, if that one is a build's src/; or NULL. */
static char *find_build_directory(void)
{
    Dl_info info;
    char *directory = NULL;
    char *slash = NULL;

    if (!dladdr((void *)(uintptr_t)&driver_load, &info) || !info.dli_fname)
        return NULL;
    directory = realpath(info.dli_fname, NULL);
    if (!directory)
        return NULL;
    slash = strrchr(directory, '/');
    *slash = '\0';
    slash = strrchr(directory, '/');
    if (!slash || strcmp(slash, "/src") != 0) {
        free(directory);
        return NULL;
    }
    *slash = '\0';
    return directory;
}

static int search_build(struct search *search)
{
    CLEANUP_FREE char *build = find_build_directory();
    CLEANUP_FREE char *directory = NULL;

    if (!build)
        return 0;
    if (asprintf(&directory, "%s/drivers/%s", build, search->name) < 0)
        return -ENOMEM;
    return search_directory(search, directory, strlen(directory));
}

/* *file: to be freed. */
static int find_by_name(const char *name, char **file, struct umdev_error *error)
{
    struct search search = {.name = name};
    int ret;

    if (!text_is_name(name, "_", DRIVER_NAME_MAX))
        return error_set(error, EINVAL,
                         "'%s' names no driver: write its name (letters, digits and '_'), or the "
                         "path of its file, with a '/'",
                         text_quote(name).text);
    ret = search_path_variable(&search);
    if (!ret)
        ret = search_build(&search);
    if (!ret)
        ret = search_directory(&search, UMDEV_DRIVER_DIR, strlen(UMDEV_DRIVER_DIR));
    if (ret) {
        free(search.file);
        return error_set(error, -ret, "out of memory");
    }
    if (!search.file)
        return error_set(error, ENOENT,
                         "no driver '%s': umdev-%s.so is not in %s (set UMDEV_DRIVER_PATH to "
                         "look elsewhere)",
                         name, name, search.places.text);
    *file = search.file;
    return 0;
}

static int find_by_path(const char *path, char **file, struct umdev_error *error)
{
    if (access(path, R_OK)) {
        int errno_value = errno;

        return error_set(error, errno_value, "no driver '%s': %s", text_quote(path).text,
                         log_errno(errno_value));
    }
    *file = strdup(path);
    return *file ? 0 : error_set(error, ENOMEM, "out of memory");
}

/* ------------------------------------------------------------------ loading it */

/* `name` NULL: any. */
static int ask_entry(void *handle, const char *file, const char *name,
                     const struct umdev_driver **driver, struct umdev_error *error)
{
    const struct umdev_driver *(*entry)(void) = NULL;
    struct umdev_error why = {""};
    int ret;

    /* POSIX's way around ISO C, which knows no conversion from an object's to a function's. */
    *(void **)&entry = dlsym(handle, ENTRY_SYMBOL);
    if (!entry)
        return error_set(error, ENOEXEC,
                         "%s is not a umdev driver: it has no " ENTRY_SYMBOL
                         " (which UMDEV_DRIVER() makes)",
                         text_quote(file).text);
    *driver = entry();
    ret = driver_abi_check(*driver, &why);
    if (ret)
        return error_set(error, -ret, "%s: %.350s", text_quote(file).text, why.message);
    if (name && (!(*driver)->name || strcmp((*driver)->name, name) != 0))
        return error_set(error, ENOEXEC,
                         "%s is a driver called '%s': a driver found by its name must be "
                         "umdev-NAME.so",
                         text_quote(file).text, text_quote((*driver)->name).text);
    return 0;
}

int driver_load(const char *name, const struct umdev_driver **driver, void **module,
                struct umdev_error *error)
{
    bool is_path = strchr(name, '/');
    CLEANUP_FREE char *file = NULL;
    void *handle = NULL;
    int ret = is_path ? find_by_path(name, &file, error) : find_by_name(name, &file, error);

    if (ret)
        return ret;
    handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        /* glibc keeps dlerror()'s text per thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        return error_set(error, ENOEXEC, "not a driver: %.400s", dlerror());
    ret = ask_entry(handle, file, is_path ? NULL : name, driver, error);
    if (ret) {
        dlclose(handle);
        return ret;
    }
    *module = handle;
    return 0;
}

void driver_unload(void *module)
{
    if (module)
        dlclose(module);
}
