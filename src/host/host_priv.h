/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct umdev_host, for the files of src/host only: a registry (who is there) and a server (who
 * is connected), joined by what the host keeps for each device.
 *
 * Data model. A host device is attached to its registry entry before the device can be found and
 * released after its last reference is gone. It is the server's target: a session takes a reference
 * to the entry for as long as it has the device open. A removal goes through the registry, which
 * refuses new references, then detaches the host device: `going` is set, its listener closed, its
 * sessions cut off and waited for. So once detached, no session knows the host device.
 *
 * Locks. `lock` guards the members of host devices that are marked so, and is the innermost: the
 * registry and the server are never called under it. A socket that comes up while the device goes
 * down is seen by one of the two: whoever brings it up looks at `going` afterwards.
 */
#ifndef HOST_HOST_PRIV_H
#define HOST_HOST_PRIV_H

#include "mdev/mdev.h"
#include "server/server.h"

#include <pthread.h>
#include <umdev/host.h>

struct umdev_host {
    struct log log;
    struct mdev_registry *registry;
    struct server *server;
    bool trust_clients; /* fixed */
    pthread_mutex_t lock;
};

struct host_device {
    struct umdev_host *host;
    struct mdev_device *entry;
    /* Guarded by the host's lock. */
    bool going;
    bool has_socket; /* a listener is there or on its way */
    struct server_listener *listener;
    char *path; /* the listener's, or NULL */
};

/* The registry's owner: `opaque` is the host. */
int host_device_attach(void *opaque, struct mdev_device *entry, void **attached);
void host_device_detach(void *opaque, void *attached);
void host_device_release(void *opaque, void *attached);

#endif
