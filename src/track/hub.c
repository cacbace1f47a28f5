/* SPDX-License-Identifier: BSD-3-Clause */
#include "track/hub.h"

#include "base/cleanup.h"
#include "track/events.h"
#include "track/private.h"
#include "track/uffd.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

/* Mappings come and go while devices write all the time: they must have their turn. */
static int init_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    int ret;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    ret = pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    return -ret;
}

int track_hub_new(struct track_hub **hub)
{
    CLEANUP_FREE struct track_hub *made = calloc(1, sizeof(*made));
    int ret;

    if (!made)
        return -ENOMEM;
    ret = init_lock(&made->lock);
    if (ret)
        return ret;
    pthread_mutex_init(&made->joins, NULL);
    pthread_mutex_init(&made->writing, NULL);
    *hub = TAKE_POINTER(made);
    return 0;
}

void track_hub_free(struct track_hub *hub)
{
    if (!hub)
        return;
    pthread_mutex_destroy(&hub->joins);
    pthread_mutex_destroy(&hub->writing);
    pthread_rwlock_destroy(&hub->lock);
    free(hub);
}

void track_hub_begin(struct track_hub *hub)
{
    atomic_fetch_add(&hub->active, 1);
    /*
     * A thread that has written, and found that nobody listens, may have looked before its bytes
     * left the processor. Now they have.
     */
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void track_hub_end(struct track_hub *hub)
{
    atomic_fetch_sub(&hub->active, 1);
}

/* ------------------------------------------------------------------ files */

static struct track_file **bucket_of(struct track_hub *hub, dev_t device, ino_t inode)
{
    uint64_t hash = ((uint64_t)inode ^ (uint64_t)device << 32) * UINT64_C(0x9e3779b97f4a7c15);

    return &hub->files[(hash >> 32) % TRACK_FILE_BUCKETS];
}

static struct track_file *find_file(struct track_hub *hub, dev_t device, ino_t inode)
{
    struct track_file *file = *bucket_of(hub, device, inode);

    while (file && (file->device != device || file->inode != inode))
        file = file->next;
    return file;
}

static bool id_is_taken(const struct track_hub *hub, uint64_t id)
{
    for (unsigned i = 0; i < TRACK_FILE_BUCKETS; i++) {
        for (const struct track_file *file = hub->files[i]; file; file = file->next)
            if (file->id == id)
                return true;
    }
    return false;
}

/* Numbers are given again when all were: hence the look at those that are there. */
static uint64_t take_id(struct track_hub *hub)
{
    bool again = hub->next_id >= TRACK_MAX_FILES;

    while (again && id_is_taken(hub, hub->next_id % TRACK_MAX_FILES))
        hub->next_id++;
    return hub->next_id++ % TRACK_MAX_FILES;
}

static struct track_file *get_file(struct track_hub *hub, dev_t device, ino_t inode)
{
    struct track_file **bucket = bucket_of(hub, device, inode);
    struct track_file *file = find_file(hub, device, inode);

    if (file)
        return file;
    file = malloc(sizeof(*file));
    if (!file)
        return NULL;
    *file = (struct track_file){
        .next = *bucket,
        .device = device,
        .inode = inode,
        .id = take_id(hub),
    };
    *bucket = file;
    return file;
}

static void drop_file(struct track_hub *hub, struct track_file *file)
{
    struct track_file **link = bucket_of(hub, file->device, file->inode);

    if (file->subs)
        return;
    while (*link != file)
        link = &(*link)->next;
    *link = file->next;
    free(file);
}

static struct track_sub *get_sub(struct track_file *file, struct track *track)
{
    struct track_sub *sub = file->subs;

    while (sub && sub->track != track)
        sub = sub->next;
    if (sub)
        return sub;
    sub = malloc(sizeof(*sub));
    if (!sub)
        return NULL;
    *sub = (struct track_sub){.next = file->subs, .track = track, .file = file};
    file->subs = sub;
    return sub;
}

int track_sub_get(struct track *track, dev_t device, ino_t inode, struct track_sub **result)
{
    struct track_hub *hub = track->hub;
    struct track_sub *sub = NULL;
    struct track_file *file;

    pthread_rwlock_wrlock(&hub->lock);
    file = get_file(hub, device, inode);
    if (file) {
        sub = get_sub(file, track);
        if (sub)
            sub->names++;
        else
            drop_file(hub, file);
    }
    pthread_rwlock_unlock(&hub->lock);
    *result = sub;
    return sub ? 0 : -ENOMEM;
}

void track_sub_put(struct track_sub *sub)
{
    struct track_sub **link;
    struct track_hub *hub;

    if (!sub)
        return;
    hub = sub->track->hub;
    pthread_rwlock_wrlock(&hub->lock);
    if (--sub->names == 0) {
        struct track_file *file = sub->file;

        link = &file->subs;
        while (*link != sub)
            link = &(*link)->next;
        *link = sub->next;
        free(sub);
        drop_file(hub, file);
    }
    pthread_rwlock_unlock(&hub->lock);
}

void track_hub_note(struct track_hub *hub, dev_t device, ino_t inode, struct range bytes)
{
    const struct track_file *file;

    pthread_rwlock_rdlock(&hub->lock);
    file = find_file(hub, device, inode);
    for (struct track_sub *sub = file ? file->subs : NULL; sub; sub = sub->next)
        track_note_file(sub, bytes);
    pthread_rwlock_unlock(&hub->lock);
}

/* ------------------------------------------------------------------ writers */

void track_hub_add_writer(struct track_hub *hub, struct track_writer *writer)
{
    LOCK_FOR_SCOPE(&hub->writing);

    writer->next = hub->writers;
    hub->writers = writer;
}

void track_hub_remove_writer(struct track_hub *hub, struct track_writer *writer)
{
    LOCK_FOR_SCOPE(&hub->writing);
    struct track_writer **link = &hub->writers;

    while (*link != writer)
        link = &(*link)->next;
    *link = writer->next;
}

void track_hub_note_held(struct track_hub *hub)
{
    LOCK_FOR_SCOPE(&hub->writing);

    for (struct track_writer *writer = hub->writers; writer; writer = writer->next)
        writer->held(writer->opaque);
}

/* ------------------------------------------------------------------ spaces */

static void space_free(struct track_space *space)
{
    track_events_stop(space->events);
    close(space->uffd);
    close(space->pagemap);
    pthread_mutex_destroy(&space->lock);
    free(space);
}

/* With the hub's lock. */
static void space_unlink(struct track_space *space)
{
    struct track_space **link = &space->hub->spaces;

    while (*link != space)
        link = &(*link)->next;
    *link = space->next;
}

/* One more reference to a space that is known. EINVAL: it is of the other kind. */
static int space_find(struct track_hub *hub, bool sync, dev_t device, ino_t inode,
                      struct track_space **result)
{
    struct track_space *space;
    int ret = 0;

    pthread_rwlock_wrlock(&hub->lock);
    space = hub->spaces;
    while (space && (space->device != device || space->inode != inode))
        space = space->next;
    if (space && space->sync != sync) {
        ret = -EINVAL;
        space = NULL;
    }
    if (space)
        space->refs++;
    pthread_rwlock_unlock(&hub->lock);
    *result = space;
    return ret;
}

void track_space_put(struct track_space *space)
{
    struct track_hub *hub;
    bool last;

    if (!space)
        return;
    hub = space->hub;
    pthread_rwlock_wrlock(&hub->lock);
    last = --space->refs == 0;
    if (last)
        space_unlink(space);
    pthread_rwlock_unlock(&hub->lock);
    if (last)
        space_free(space);
}

static void space_enter(struct track_space *space, struct track *track)
{
    LOCK_FOR_SCOPE(&space->lock);

    pthread_rwlock_wrlock(&space->hub->lock);
    track->next_in_space = space->tracks;
    space->tracks = track;
    track->space = space;
    track->event = 0;
    pthread_rwlock_unlock(&space->hub->lock);
}

static int space_new(struct track_hub *hub, int uffd, int pagemap, bool sync, dev_t device,
                     ino_t inode, struct track_space **space)
{
    struct track_space *made = malloc(sizeof(*made));
    int ret = 0;

    if (!made)
        return -ENOMEM;
    *made = (struct track_space){
        .hub = hub,
        .refs = 1,
        .uffd = uffd,
        .pagemap = pagemap,
        .sync = sync,
        .device = device,
        .inode = inode,
    };
    pthread_mutex_init(&made->lock, NULL);
    if (sync)
        ret = track_events_start(made, &made->events);
    if (ret) {
        pthread_mutex_destroy(&made->lock);
        free(made);
        return ret;
    }
    pthread_rwlock_wrlock(&hub->lock);
    made->next = hub->spaces;
    hub->spaces = made;
    pthread_rwlock_unlock(&hub->lock);
    *space = made;
    return 0;
}

int track_space_join(struct track *track, int uffd, int pagemap, bool sync)
{
    LOCK_FOR_SCOPE(&track->hub->joins);
    struct track_space *space = NULL;
    dev_t device;
    ino_t inode;
    int ret = track_uffd_check(uffd, &device, &inode);

    if (!ret)
        ret = track_pagemap_check(pagemap);
    if (!ret)
        ret = space_find(track->hub, sync, device, inode, &space);
    if (ret)
        return ret;
    if (space) {
        close(uffd);
        close(pagemap);
    } else {
        ret = space_new(track->hub, uffd, pagemap, sync, device, inode, &space);
        if (ret)
            return ret;
    }
    space_enter(space, track);
    return 0;
}

struct track_space *track_space_leave(struct track *track)
{
    struct track_space *space = track->space;
    struct track **link;

    if (!space)
        return NULL;
    pthread_mutex_lock(&space->lock);
    pthread_rwlock_wrlock(&space->hub->lock);
    /* Nobody listens to it any more: who waits, and will wait, goes on. */
    if (space->sync && space->tracks == track && !track->next_in_space)
        track_disarm(track);
    link = &space->tracks;
    while (*link != track)
        link = &(*link)->next_in_space;
    *link = track->next_in_space;
    track->space = NULL;
    pthread_rwlock_unlock(&space->hub->lock);
    pthread_mutex_unlock(&space->lock);
    return space;
}
