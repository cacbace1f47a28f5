/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * treeserver MOUNTPOINT: a host and its management tree, driven by lines on standard input. Each is
 * answered by one line of JSON: {"ret": 0 or −errno, …}.
 *
 *   parent NAME DRIVER [key=value…]   unparent NAME   create PARENT TYPE UUID   remove UUID
 *   listen UUID PATH   serve UUID: a client that only connects   unserve: all of them leave
 *   types   devices: what the host says   second MOUNTPOINT: one more tree   unmount   mount
 *   usage: fds and threads of this process
 *
 * It ends with its input.
 */
#include "sysfs/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <umdev/client.h>
#include <unistd.h>

#define MAX_WORDS   32
#define MAX_CLIENTS 64

struct server {
    struct umdev_host *host;
    const char *mountpoint;
    struct log log;
    struct sysfs *tree, *second;
    struct umdev_client *clients[MAX_CLIENTS];
    unsigned nclients;
};

/* ------------------------------------------------------------------ what the host says */

static int add_type(void *opaque, const struct umdev_host_type *type)
{
    return json_array_append_new(
        opaque, json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:I}", "parent", type->parent, "driver",
                          type->driver, "name", type->name, "pretty_name", type->pretty_name,
                          "description", type->description, "device_api", type->device_api,
                          "available", (json_int_t)type->available));
}

static int add_device(void *opaque, const struct umdev_host_device *device)
{
    return json_array_append_new(
        opaque, json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b, s:I}", "uuid", device->uuid, "type",
                          device->type, "parent", device->parent, "driver", device->driver,
                          "socket", device->socket, "connected", (int)device->connected, "id",
                          (json_int_t)device->id));
}

static json_int_t count_entries(const char *path)
{
    DIR *folder = opendir(path);
    json_int_t count = 0;

    if (!folder)
        return -errno;
    while (readdir(folder)) /* NOLINT(concurrency-mt-unsafe): the stream is ours */
        count++;
    closedir(folder);
    /* ".", ".." */
    return count - 2;
}

/* ------------------------------------------------------------------ commands */

static int serve(struct server *server, const char *uuid)
{
    int socks[2];
    int ret;

    if (server->nclients == MAX_CLIENTS ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
        return -EMFILE;
    ret = umdev_host_serve_fd(server->host, uuid, socks[0]);
    if (ret) {
        close(socks[0]);
        close(socks[1]);
        return ret;
    }
    return umdev_connect_fd(socks[1], NULL, &server->clients[server->nclients++]);
}

static int unserve(struct server *server)
{
    while (server->nclients > 0)
        umdev_client_close(server->clients[--server->nclients]);
    return 0;
}

static int mount_tree(struct server *server, const char *mountpoint, struct sysfs **tree)
{
    const struct sysfs_ops ops = sysfs_host_ops(server->host);

    return sysfs_mount(mountpoint, &ops, &server->log, tree);
}

static int unmount_trees(struct server *server)
{
    sysfs_unmount(server->tree);
    sysfs_unmount(server->second);
    server->tree = NULL;
    server->second = NULL;
    return 0;
}

static int run(struct server *server, char **word, unsigned words, json_t *answer)
{
    struct umdev_host *host = server->host;
    struct umdev_error error = {""};
    int ret = -ENOSYS;

    if (strcmp(word[0], "parent") == 0 && words >= 3)
        ret = umdev_host_add_parent(host, word[2], word[1], (const char *const *)word + 3,
                                    words - 3, &error);
    else if (strcmp(word[0], "unparent") == 0 && words == 2)
        ret = umdev_host_remove_parent(host, word[1]);
    else if (strcmp(word[0], "create") == 0 && words == 4)
        ret = umdev_host_create(host, word[1], word[2], word[3], NULL, &error);
    else if (strcmp(word[0], "remove") == 0 && words == 2)
        ret = umdev_host_remove(host, word[1]);
    else if (strcmp(word[0], "listen") == 0 && words == 3)
        ret = umdev_host_listen(host, word[1], word[2], 0, &error);
    else if (strcmp(word[0], "serve") == 0 && words == 2)
        ret = serve(server, word[1]);
    else if (strcmp(word[0], "unserve") == 0)
        ret = unserve(server);
    else if (strcmp(word[0], "second") == 0 && words == 2)
        ret = mount_tree(server, word[1], &server->second);
    else if (strcmp(word[0], "mount") == 0)
        ret = mount_tree(server, server->mountpoint, &server->tree);
    else if (strcmp(word[0], "unmount") == 0)
        ret = unmount_trees(server);
    else if (strcmp(word[0], "types") == 0 || strcmp(word[0], "devices") == 0) {
        json_t *list = json_array();

        ret = word[0][0] == 't' ? umdev_host_for_each_type(host, add_type, list)
                                : umdev_host_for_each_device(host, add_device, list);
        json_object_set_new(answer, "list", list);
    } else if (strcmp(word[0], "usage") == 0) {
        ret = 0;
        json_object_set_new(answer, "fds", json_integer(count_entries("/proc/self/fd")));
        json_object_set_new(answer, "threads", json_integer(count_entries("/proc/self/task")));
    }
    if (ret)
        json_object_set_new(answer, "error", json_string(error.message));
    return ret;
}

static void run_line(struct server *server, char *line)
{
    json_t *answer = json_object();
    char *word[MAX_WORDS + 1] = {NULL};
    unsigned words = 0;
    char *rest = NULL;

    for (char *next = strtok_r(line, " \n", &rest); next && words < MAX_WORDS;
         next = strtok_r(NULL, " \n", &rest))
        word[words++] = next;
    json_object_set_new(answer, "ret",
                        json_integer(words ? run(server, word, words, answer) : -EINVAL));
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(answer);
}

int main(int argc, char **argv)
{
    struct server server = {.log = {.level = UMDEV_LOG_INFO}};
    char *line = NULL;
    size_t room = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: treeserver MOUNTPOINT\n");
        return 2;
    }
    server.mountpoint = argv[1];
    if (umdev_host_new(NULL, &server.host))
        return 1;
    while (getline(&line, &room, stdin) > 0)
        run_line(&server, line);
    free(line);
    unserve(&server);
    unmount_trees(&server);
    umdev_host_free(server.host);
    return 0;
}
