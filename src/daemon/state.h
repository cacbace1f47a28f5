/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that come back when the daemon starts again.
 *
 * Data model. DIR/UUID.json is one device: an object with its "uuid", "type" and "parent". A file
 * is written beside its place and renamed, so it is whole or not there, whenever the machine stops.
 * The state directory may be shared with nobody. A file that is broken is left alone.
 *
 * Any thread may call these functions, for different devices at the same time.
 */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include "base/log.h"

struct state {
    int dir; /* −1: nothing is kept */
    const char *path;
};

/* `path` (NULL: nothing is kept) must outlive it; it is made if need be. As mkdir(2), open(2). */
int state_open(struct state *state, const char *path, struct umdev_error *error);
void state_close(struct state *state);

/* EOPNOTSUPP: nothing is kept. Others as write(2). Nothing is left of a failure. */
int state_keep(const struct state *state, const char *uuid, const char *type, const char *parent,
               struct umdev_error *error);
/* −ENOENT: it was not kept. */
int state_drop(const struct state *state, const char *uuid);

bool state_has(const struct state *state, const char *uuid);

struct state_device {
    const char *uuid, *type, *parent;
};
/* All of them, by their UUIDs' order; broken files are told to `log`. The structs are the call's.
 */
void state_for_each(const struct state *state, const struct log *log,
                    void (*each)(void *opaque, const struct state_device *device), void *opaque);

#endif
