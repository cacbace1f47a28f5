/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory objects: memfds whose pages a client can map.
 *
 * Data model. A memory object belongs to one device and to no other, because a client that was
 * given its fd can reach all of it; or to a parent, whose devices then share it among clients that
 * are trusted. It has its full size from birth and is sealed against any
 * other, so neither side can be hurt by a shrunk file. An object behind a read-only BAR is also
 * sealed against new writable mappings and write(); this process's own mapping, made before, stays
 * writable. That is known only when the device's regions are, so the last seal (no more seals) is
 * set by mem_list_seal(); before it no client has the fd.
 *
 * A client keeps the fd it was given, and its mappings, after it has left. So each client gets
 * files of its own: mem_list_renew() moves the content of objects that were given out to new files,
 * which take the place of the old ones at the same address here. Shared ones stay as they are.
 */
#ifndef DEVICE_MEM_H
#define DEVICE_MEM_H

#include <pthread.h>
#include <stdatomic.h>
#include <umdev/driver.h>

/* Ids of shared objects have this bit, so that they are nobody's among a device's own. */
#define MEM_ID_SHARED UINT32_C(0x80000000)

struct umdev_mem {
    struct umdev_mem *next;
    struct mem_list *list;
    uint32_t id;    /* 1, 2, … in its list */
    uint8_t *bytes; /* the whole object, mapped shared */
    uint64_t size;
    int fd;
    bool read_only;    /* for the client */
    atomic_bool given; /* a client has the fd */
};

struct mem_list {
    pthread_mutex_t mutex;
    struct umdev_mem *first;
    uint32_t last_id;
    bool sealed; /* objects are sealed for good as they are made */
    bool shared; /* a parent's */
};

void mem_list_init(struct mem_list *list);
/* For a parent's objects. */
void mem_list_init_shared(struct mem_list *list);
/* Frees every object. */
void mem_list_fini(struct mem_list *list);
/* As umdev_mem_create(). `name` is for /proc only, may be NULL and is cut if too long. */
int mem_list_add(struct mem_list *list, const char *name, uint64_t size, struct umdev_mem **mem);
void mem_list_remove(struct mem_list *list, struct umdev_mem *mem);
bool mem_list_has(struct mem_list *list, const struct umdev_mem *mem);
/* Seal every object as its `read_only` says, and those to come. −errno of fcntl. */
int mem_list_seal(struct mem_list *list);
/*
 * Take every object that was given out away from who was given it; nobody may write to them
 * meanwhile. −errno: out of memory or fds; the objects are as they were or renewed.
 */
int mem_list_renew(struct mem_list *list);

#endif
