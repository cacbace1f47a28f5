/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's parents and devices: one source (control/source.h) made of several.
 *
 * Data model. A parent has a name, unique in the daemon, and a source that has it: the host of this
 * process has many, a worker process has one. A device is a record: its UUID, unique over all
 * sources, its source, and a state: creating, active, removing. The record comes first and goes
 * last, so a UUID and its directory are one device's at any time; only an active one is shown or
 * removed. Sources know nothing of directories, groups and what is kept: the model does that.
 *
 * The ids of host.h are the model's own, for they have to be unique over all sources.
 *
 * A source can lose its devices at once, when its process ends: model_lose() forgets those that are
 * active, and raises the parent's generation, by which a creation under way sees that what it has
 * made is gone already.
 *
 * Locks. `lock` guards the records and the generations, and is the innermost: no source is called
 * under it, but sources' `each` functions take it. Parents are fixed once the model has started.
 */
#ifndef DAEMON_MODEL_H
#define DAEMON_MODEL_H

#include "base/log.h"
#include "control/source.h"
#include "daemon/rundir.h"
#include "daemon/state.h"

struct model;

struct model_options {
    const struct log *log;
    const struct rundir *rundir;
    const struct state *state;
    /* The number of devices has changed. Any thread; may be NULL. */
    void (*changed)(void *opaque, size_t devices);
    void *opaque;
};

/* The options' objects must outlive it. −ENOMEM. */
int model_new(const struct model_options *options, struct model **model);
/* Forgets all devices, whose sources must be gone already, and removes their directories. */
void model_free(struct model *model);

/*
 * A parent of `source` (copied) by that name. In this order they are listed and tried. EEXIST: the
 * name is taken. Before any other thread uses the model.
 */
int model_add_parent(struct model *model, const struct source *source, const char *name,
                     struct umdev_error *error);
bool model_has_parent(const struct model *model, const char *name);
size_t model_count_parents(const struct model *model);

/* Create the devices of `parent` (NULL: of any) that are kept and not there. */
void model_restore(struct model *model, const char *parent);
/* The process of `parent` has ended: its devices are gone. How many there were. */
size_t model_lose(struct model *model, const char *parent);

/*
 * The functions of a source, as control/source.h says, over all parents. A parent that does not
 * answer has no types and no devices.
 */
int model_for_each_type(struct model *model, source_each_type each, void *opaque);
int model_for_each_device(struct model *model, source_each_device each, void *opaque);
int model_find_device(struct model *model, const char *uuid, source_each_device each, void *opaque);
/* ENODEV: the parent's process has just ended. EBUSY, EOPNOTSUPP …: what is kept can't be. */
int model_create(struct model *model, const struct source_create *create,
                 char uuid[UMDEV_UUID_STR_SIZE], struct umdev_error *error);
/*
 * What is kept is kept no more, whether the device is there or not. EAGAIN: on its way. Others as
 * unlink(2): the device is gone, but is still kept.
 */
int model_remove(struct model *model, const char *uuid, struct umdev_error *error);
int model_get_stats(struct model *model, const char *uuid, struct umdev_host_stats *stats);
int model_screenshot(struct model *model, const char *uuid, struct umdev_picture *picture);
int model_for_each_attr(struct model *model, const struct source_owner *owner,
                        source_each_attr each, void *opaque);
int model_attr_read(struct model *model, const struct source_owner *owner, const char *name,
                    char *buf, size_t size);
int model_attr_write(struct model *model, const struct source_owner *owner, const char *name,
                     const char *buf, size_t len);
bool model_is_persistent(struct model *model, const char *uuid);

/* All of these. */
struct source model_source(struct model *model);

#endif
