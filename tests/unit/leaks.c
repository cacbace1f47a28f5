/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of what is alive. It is called from inside malloc() and makes no call that failnth.c
 * wraps.
 */
#include "leaks.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ITEMS 65536
#define MAX_FDS   65536

/* The linker's: addresses in the program's file count from here. */
extern char __executable_start[];

struct item {
    struct range range;
    void *caller;
    bool is_map;
};

static struct {
    pthread_mutex_t mutex;
    bool watching;
    pthread_t watcher;
    struct item items[MAX_ITEMS]; /* in no order */
    unsigned num_items;
    bool overflowed;
    bool had_fd[MAX_FDS];
} leaks = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Mark the open fds in `open`, which may be NULL; returns how many there are. */
static unsigned list_fds(bool open[MAX_FDS])
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    struct dirent *entry;

    if (!dir) {
        perror("leaks: /proc/self/fd");
        abort();
    }
    if (open)
        memset(open, 0, MAX_FDS * sizeof(*open));
    while ((entry = readdir(dir))) { /* NOLINT(concurrency-mt-unsafe): the stream is ours */
        char *end;
        unsigned long fd = strtoul(entry->d_name, &end, 10);

        if (*end || end == entry->d_name || fd == (unsigned long)dirfd(dir))
            continue;
        count++;
        if (open && fd < MAX_FDS)
            open[fd] = true;
    }
    closedir(dir);
    return count;
}

unsigned leaks_count_fds(void)
{
    return list_fds(NULL);
}

void leaks_begin(void)
{
    LOCK_FOR_SCOPE(&leaks.mutex);

    list_fds(leaks.had_fd);
    leaks.num_items = 0;
    leaks.overflowed = false;
    leaks.watcher = pthread_self();
    leaks.watching = true;
}

static unsigned report_fds(const char *what)
{
    static bool open[MAX_FDS];
    unsigned count = 0;

    list_fds(open);
    for (unsigned fd = 0; fd < MAX_FDS; fd++) {
        char path[32], target[PATH_MAX];
        ssize_t len;

        if (open[fd] == leaks.had_fd[fd])
            continue;
        count++;
        snprintf(path, sizeof(path), "/proc/self/fd/%u", fd);
        len = readlink(path, target, sizeof(target));
        if (!open[fd])
            fprintf(stderr, "%s: fd %u is closed, which was open before\n", what, fd);
        else
            fprintf(stderr, "%s: fd %u (%.*s) is left open\n", what, fd, (int)MAX(len, 0), target);
    }
    return count;
}

unsigned leaks_end(const char *what)
{
    LOCK_FOR_SCOPE(&leaks.mutex);

    leaks.watching = false;
    for (unsigned i = 0; i < leaks.num_items; i++) {
        const struct item *item = &leaks.items[i];

        fprintf(stderr, "%s: %llu bytes at %#llx, %s by the code at +%#tx (addr2line), are left\n",
                what, (unsigned long long)range_size_minus_1(item->range) + 1,
                (unsigned long long)item->range.first, item->is_map ? "mapped" : "allocated",
                (char *)item->caller - __executable_start);
    }
    if (leaks.overflowed)
        fprintf(stderr, "%s: more than %d things are alive: too many to watch\n", what, MAX_ITEMS);
    return report_fds(what) + leaks.num_items + leaks.overflowed;
}

static void item_add(struct range range, void *caller, bool is_map)
{
    if (leaks.num_items == MAX_ITEMS)
        leaks.overflowed = true;
    else
        leaks.items[leaks.num_items++] = (struct item){range, caller, is_map};
}

static void item_remove(unsigned index)
{
    leaks.items[index] = leaks.items[--leaks.num_items];
}

/* Whether the calling thread is the one whose items are kept; under the mutex. */
static bool is_watcher(void)
{
    return leaks.watching && pthread_equal(pthread_self(), leaks.watcher);
}

void leaks_note_alloc(void *pointer, size_t size, void *caller)
{
    LOCK_FOR_SCOPE(&leaks.mutex);
    uintptr_t first = (uintptr_t)pointer;

    if (pointer && is_watcher())
        item_add((struct range){first, first + (size ? size - 1 : 0)}, caller, false);
}

void leaks_note_free(void *pointer)
{
    LOCK_FOR_SCOPE(&leaks.mutex);

    for (unsigned i = leaks.num_items; i-- > 0;) {
        if (!leaks.items[i].is_map && leaks.items[i].range.first == (uintptr_t)pointer) {
            item_remove(i);
            return;
        }
    }
}

/* Take a range out of the mappings; what reaches over it at either end is kept. */
static void unmap_locked(struct range hole)
{
    for (unsigned i = leaks.num_items; i-- > 0;) {
        struct item item = leaks.items[i];

        if (!item.is_map || !range_overlaps(item.range, hole))
            continue;
        item_remove(i);
        if (item.range.first < hole.first)
            item_add((struct range){item.range.first, hole.first - 1}, item.caller, true);
        if (item.range.last > hole.last)
            item_add((struct range){hole.last + 1, item.range.last}, item.caller, true);
    }
}

void leaks_note_map(void *address, size_t len, void *caller)
{
    LOCK_FOR_SCOPE(&leaks.mutex);
    struct range range;

    if (range_make((uintptr_t)address, len, &range))
        return;
    /* One mapping over another: the older is gone there, whoever made it. */
    unmap_locked(range);
    if (is_watcher())
        item_add(range, caller, true);
}

void leaks_note_unmap(void *address, size_t len)
{
    LOCK_FOR_SCOPE(&leaks.mutex);
    struct range range;

    if (!range_make((uintptr_t)address, len, &range))
        unmap_locked(range);
}
