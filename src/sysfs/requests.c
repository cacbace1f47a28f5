/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel asks about nodes. It forgets a name at once, so that it always asks for it; what
 * it knows of a node stays true, for only it can change that.
 */
#include "sysfs/sysfs_priv.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* In seconds. */
#define FOR_EVER 1e9

void sysfs_stat(struct sysfs *tree, struct node node, mode_t mode, struct stat *stat)
{
    struct owner owner = {mode, tree->uid, tree->gid};

    owners_get(&tree->owners, node_number(node), &owner);
    *stat = (struct stat){
        .st_ino = node_number(node),
        .st_mode = owner.mode,
        .st_uid = owner.uid,
        .st_gid = owner.gid,
        /* As sysfs has it for files; 1 for folders: how many it holds is not told by this. */
        .st_nlink = 1,
        .st_size = S_ISREG(mode) ? FILES_SIZE : 0,
        .st_blksize = FILES_SIZE,
        .st_atim = tree->made,
        .st_mtim = tree->made,
        .st_ctim = tree->made,
    };
}

static void request_lookup(fuse_req_t req, fuse_ino_t folder, const char *name)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct fuse_entry_param entry = {.generation = 1, .attr_timeout = FOR_EVER};
    struct tree_child child;
    int ret = tree_lookup(&tree->ops, node_of(folder), name, &child);

    if (ret) {
        fuse_reply_err(req, -ret);
        return;
    }
    sysfs_stat(tree, child.node, child.mode, &entry.attr);
    entry.ino = entry.attr.st_ino;
    if (node_is_of_tree(child.node))
        entry.entry_timeout = FOR_EVER;
    fuse_reply_entry(req, &entry);
}

static void request_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct node node = node_of(number);
    struct stat stat;

    (void)info;
    sysfs_stat(tree, node, tree_mode(&tree->ops, node), &stat);
    fuse_reply_attr(req, &stat, FOR_EVER);
}

/* Modes and owners; a new size is nothing, for a shell's redirection asks for it; nor are times. */
static void request_setattr(fuse_req_t req, fuse_ino_t number, struct stat *wanted, int what,
                            struct fuse_file_info *info)
{
    struct sysfs *tree = fuse_req_userdata(req);
    struct node node = node_of(number);
    struct stat stat;
    struct owner owner;
    int ret = 0;

    (void)info;
    sysfs_stat(tree, node, tree_mode(&tree->ops, node), &stat);
    owner = (struct owner){stat.st_mode, stat.st_uid, stat.st_gid};
    if (what & FUSE_SET_ATTR_MODE)
        owner.mode = (stat.st_mode & S_IFMT) | (wanted->st_mode & 07777);
    if (what & FUSE_SET_ATTR_UID)
        owner.uid = wanted->st_uid;
    if (what & FUSE_SET_ATTR_GID)
        owner.gid = wanted->st_gid;
    if (what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        ret = find_owner(&tree->ops, node) ? owners_set(&tree->owners, number, &owner) : -ENOENT;
    if (ret) {
        fuse_reply_err(req, -ret);
        return;
    }
    stat.st_mode = owner.mode;
    stat.st_uid = owner.uid;
    stat.st_gid = owner.gid;
    fuse_reply_attr(req, &stat, FOR_EVER);
}

static void request_readlink(fuse_req_t req, fuse_ino_t number)
{
    struct sysfs *tree = fuse_req_userdata(req);
    char target[PATH_MAX];
    int ret = tree_link(&tree->ops, node_of(number), target, sizeof(target));

    if (ret)
        fuse_reply_err(req, -ret);
    else
        fuse_reply_readlink(req, target);
}

/* ------------------------------------------------------------------ what sysfs refuses */

static void refuse_mknod(fuse_req_t req, fuse_ino_t folder, const char *name, mode_t mode,
                         dev_t device)
{
    (void)folder, (void)name, (void)device;
    fuse_reply_err(req, S_ISREG(mode) ? EACCES : EPERM);
}

static void refuse_create(fuse_req_t req, fuse_ino_t folder, const char *name, mode_t mode,
                          struct fuse_file_info *info)
{
    (void)folder, (void)name, (void)mode, (void)info;
    fuse_reply_err(req, EACCES);
}

static void refuse_mkdir(fuse_req_t req, fuse_ino_t folder, const char *name, mode_t mode)
{
    (void)folder, (void)name, (void)mode;
    fuse_reply_err(req, EPERM);
}

static void refuse_unlink(fuse_req_t req, fuse_ino_t folder, const char *name)
{
    (void)folder, (void)name;
    fuse_reply_err(req, EPERM);
}

static void refuse_symlink(fuse_req_t req, const char *target, fuse_ino_t folder, const char *name)
{
    (void)target, (void)folder, (void)name;
    fuse_reply_err(req, EPERM);
}

static void refuse_rename(fuse_req_t req, fuse_ino_t folder, const char *name,
                          fuse_ino_t new_folder, const char *new_name, unsigned flags)
{
    (void)folder, (void)name, (void)new_folder, (void)new_name, (void)flags;
    fuse_reply_err(req, EPERM);
}

static void refuse_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t folder, const char *name)
{
    (void)number, (void)folder, (void)name;
    fuse_reply_err(req, EPERM);
}

const struct fuse_lowlevel_ops sysfs_requests = {
    .lookup = request_lookup,
    .getattr = request_getattr,
    .setattr = request_setattr,
    .readlink = request_readlink,
    .mknod = refuse_mknod,
    .create = refuse_create,
    .mkdir = refuse_mkdir,
    .unlink = refuse_unlink,
    .rmdir = refuse_unlink,
    .symlink = refuse_symlink,
    .rename = refuse_rename,
    .link = refuse_link,
    .open = handle_open,
    .read = handle_read,
    .write = handle_write,
    .release = handle_release,
    .opendir = handle_opendir,
    .readdir = handle_readdir,
    .releasedir = handle_release,
};
