/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry from inside: what mdev.h describes, as structs. Everything but the members marked
 * fixed is guarded by the registry's lock; `changed` is broadcast whenever a state, a reference
 * count that reaches zero, or a list changes.
 */
#ifndef MDEV_REGISTRY_H
#define MDEV_REGISTRY_H

#include "device/mem.h"
#include "mdev/driver_abi.h"
#include "mdev/mdev.h"
#include "mdev/params.h"

#include <pthread.h>
#include <sys/queue.h>

TAILQ_HEAD(parent_list, umdev_parent);
TAILQ_HEAD(entry_list, mdev_device);

struct mdev_registry {
    const struct log *log;
    struct mdev_owner owner;
    struct track_hub *track_hub; /* of all devices */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct parent_list parents;
    struct entry_list entries; /* in any state */
    uint64_t last_id;          /* of a parent or an entry, from 1 */
};

struct parent_type {
    char *public_name; /* fixed: <driver>-<name> */
    unsigned used;     /* slots taken */
};

enum parent_state { PARENT_OPENING, PARENT_ACTIVE, PARENT_REMOVING };

struct umdev_parent {
    TAILQ_ENTRY(umdev_parent) link;
    struct mdev_registry *registry;
    /* Fixed once the parent is listed. */
    char *name;
    uint64_t id;
    struct adopted_driver *adopted;
    const struct umdev_driver *driver; /* adopted's */
    struct params *params;
    void *priv;
    struct mem_list mems; /* that its devices share */
    void (*release)(void *opaque);
    void *opaque;
    /* How it addresses client memory, by parent_open(). NULL: as struct umdev_domain's default. */
    struct iommu_domain *domain;
    struct umdev_domain domain_ops; /* its callbacks */

    enum parent_state state;
    struct parent_type *types; /* driver->ntypes */
    unsigned used;             /* slots taken, of all types: devices in any state */
    unsigned creating;         /* devices in state creating */
    unsigned calls;            /* of its attributes' callbacks, under way */
};

enum entry_state { ENTRY_CREATING, ENTRY_ACTIVE, ENTRY_REMOVING };

struct mdev_device {
    TAILQ_ENTRY(mdev_device) link;
    /* Fixed once the entry is listed. */
    char uuid[UMDEV_UUID_STR_SIZE];
    uint64_t id;
    struct umdev_parent *parent;
    unsigned type;
    /* Fixed once it is active. */
    struct umdev_device *dev;
    void *attached;

    enum entry_state state;
    unsigned refs;
};

/* With the lock held. NULL: none, in any state. */
struct umdev_parent *registry_find_parent(struct mdev_registry *registry, const char *name);
struct mdev_device *registry_find_entry(struct mdev_registry *registry, const char *uuid);

/* With the lock held: how many more devices of a type; asks the driver. UINT_MAX: no limit. */
unsigned type_available(struct umdev_parent *parent, unsigned type);
/* With the lock held. */
void type_take_slot(struct umdev_parent *parent, unsigned type);
void type_give_slot(struct umdev_parent *parent, unsigned type);
/* The index of the type with that public name; driver->ntypes if there is none. */
unsigned type_find(const struct umdev_parent *parent, const char *public_name);

/* With the lock held, for an active entry: no new references from now on. */
void entry_begin_remove(struct mdev_device *entry);
/* Without it, after entry_begin_remove(): cuts off, waits, frees, and gives the slot back. */
void entry_finish_remove(struct mdev_device *entry);

#endif
