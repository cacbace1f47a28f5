/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files and folders. As in sysfs, what is read at offset 0 makes the content, and what is read
 * further on is of the same one; and each write is one value, whatever its offset.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "sysfs/sysfs_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A folder is told in parts of at most so many bytes; each entry is smaller. */
#define LIST_SIZE 65536

/* ------------------------------------------------------------------ life */

static struct handle *handle_new(struct sysfs *tree, struct node node, bool folder)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle)
        return NULL;
    if (!folder)
        handle->text = malloc(FILES_SIZE);
    if (!folder && !handle->text) {
        free(handle);
        return NULL;
    }
    handle->node = node;
    pthread_mutex_init(&handle->lock, NULL);
    LOCK_FOR_SCOPE(&tree->lock);
    TAILQ_INSERT_TAIL(&tree->handles, handle, link);
    return handle;
}

static void forget_listed(struct handle *handle)
{
    while (handle->count > 0)
        free(handle->listed[--handle->count].name);
}

static void handle_free(struct handle *handle)
{
    forget_listed(handle);
    free(handle->listed);
    free(handle->text);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}

void handles_free(struct sysfs *tree)
{
    struct handle *handle;

    while ((handle = TAILQ_FIRST(&tree->handles)) != NULL) {
        TAILQ_REMOVE(&tree->handles, handle, link);
        handle_free(handle);
    }
}

static struct handle *handle_of(const struct fuse_file_info *info)
{
    return (struct handle *)(uintptr_t)info->fh;
}

static void open_handle(fuse_req_t req, struct node node, bool folder, struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct handle *handle = handle_new(tree, node, folder);

    if (!handle) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    info->fh = (uintptr_t)handle;
    /* A client that was killed meanwhile does not release it. */
    if (fuse_reply_open(req, info) == -ENOENT) {
        pthread_mutex_lock(&tree->lock);
        TAILQ_REMOVE(&tree->handles, handle, link);
        pthread_mutex_unlock(&tree->lock);
        handle_free(handle);
    }
}

void handle_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct handle *handle = handle_of(info);

    (void)number;
    pthread_mutex_lock(&tree->lock);
    TAILQ_REMOVE(&tree->handles, handle, link);
    pthread_mutex_unlock(&tree->lock);
    handle_free(handle);
    fuse_reply_err(req, 0);
}

/* ------------------------------------------------------------------ files */

void handle_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct node node = node_of(number);
    int access = info->flags & O_ACCMODE;
    struct stat stat;

    /* What nobody may do, root may not do either. */
    sysfs_stat(tree, node, tree_mode(&tree->ops, node), &stat);
    if ((access != O_WRONLY && !(stat.st_mode & 0444)) ||
        (access != O_RDONLY && !(stat.st_mode & 0222))) {
        fuse_reply_err(req, EACCES);
        return;
    }
    /* The size is not that of the content. */
    info->direct_io = 1;
    info->noflush = 1;
    open_handle(req, node, false, info);
}

/* With the lock held: make the content, if it is to be made. */
static int make_content(struct sysfs *tree, struct handle *handle, off_t offset)
{
    int ret;

    if (handle->made && offset > 0)
        return (size_t)offset < handle->length || find_owner(&tree->ops, handle->node) ? 0
                                                                                       : -ENODEV;
    ret = files_show(&tree->ops, handle->node, handle->text);
    handle->made = ret >= 0;
    handle->length = ret >= 0 ? (size_t)ret : 0;
    return ret >= 0 ? 0 : ret;
}

/* A part of the content; returns how many bytes, or −errno. */
static int read_part(struct sysfs *tree, struct handle *handle, off_t offset, char *part,
                     size_t size)
{
    size_t from, count;
    int ret;

    LOCK_FOR_SCOPE(&handle->lock);
    ret = make_content(tree, handle, offset);
    if (ret)
        return ret;
    from = MIN((size_t)offset, handle->length);
    count = MIN(size, handle->length - from);
    memcpy(part, handle->text + from, count);
    return (int)count;
}

void handle_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
                 struct fuse_file_info *info)
{
    char part[FILES_SIZE];
    int ret = read_part(fuse_req_userdata(req), handle_of(info), offset, part, size);

    (void)number;
    /* Answered without the lock: once it is answered the handle may be released. */
    if (ret < 0)
        fuse_reply_err(req, -ret);
    else
        fuse_reply_buf(req, part, (size_t)ret);
}

void handle_write(fuse_req_t req, fuse_ino_t number, const char *data, size_t size, off_t offset,
                  struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    size_t len = MIN(size, (size_t)FILES_SIZE);
    int ret = 0;

    (void)offset, (void)info;
    if (len > 0)
        ret = files_store(&tree->ops, tree->log, node_of(number), data, len);
    if (ret)
        fuse_reply_err(req, -ret);
    else
        fuse_reply_write(req, len);
}

/* ------------------------------------------------------------------ folders */

void handle_opendir(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    open_handle(req, node_of(number), true, info);
}

static int list(void *opaque, const struct tree_child *child)
{
    struct handle *handle = opaque;
    struct listed *listed;
    char *name = NULL;

    if (handle->count == handle->room) {
        size_t room = handle->room * 2 + 32;

        listed = reallocarray(handle->listed, room, sizeof(*listed));
        if (!listed)
            return -ENOMEM;
        handle->listed = listed;
        handle->room = room;
    }
    name = strdup(child->name);
    if (!name)
        return -ENOMEM;
    handle->listed[handle->count++] = (struct listed){name, node_number(child->node), child->mode};
    return 0;
}

/* With the handle's lock held. */
static int list_folder(struct sysfs *tree, struct handle *handle)
{
    const struct tree_child self = {".", handle->node, S_IFDIR};
    const struct tree_child above = {"..", tree_above(&tree->ops, handle->node), S_IFDIR};
    int ret;

    forget_listed(handle);
    ret = list(handle, &self);
    if (!ret)
        ret = list(handle, &above);
    if (!ret)
        ret = tree_for_each(&tree->ops, handle->node, list, handle);
    /* One that is gone is empty. */
    if (ret == -ENOENT)
        ret = 0;
    handle->made = ret == 0;
    return ret;
}

/*
 * Entries from `offset` on, an entry's offset being the place of the next; returns how many bytes,
 * or −errno.
 */
static int list_part(fuse_req_t req, struct handle *handle, off_t offset, char *part, size_t size)
{
    struct sysfs *tree = fuse_req_userdata(req);
    size_t used = 0;
    int ret = 0;

    LOCK_FOR_SCOPE(&handle->lock);
    if (!handle->made || offset == 0)
        ret = list_folder(tree, handle);
    if (ret)
        return ret;
    for (size_t i = (size_t)offset; i < handle->count; i++) {
        const struct listed *listed = &handle->listed[i];
        const struct stat stat = {.st_ino = listed->number, .st_mode = listed->mode};
        size_t need =
            fuse_add_direntry(req, part + used, size - used, listed->name, &stat, (off_t)i + 1);

        if (need > size - used)
            break;
        used += need;
    }
    return (int)used;
}

void handle_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    CLEANUP_FREE char *part = malloc(MIN(size, (size_t)LIST_SIZE));
    int ret = part ? list_part(req, handle_of(info), offset, part, MIN(size, (size_t)LIST_SIZE))
                   : -ENOMEM;

    (void)number;
    /* As above. */
    if (ret < 0)
        fuse_reply_err(req, -ret);
    else
        fuse_reply_buf(req, part, (size_t)ret);
}
