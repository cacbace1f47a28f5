/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that track one client's memory, in this process: it is the client, too. The memory is a
 * memfd, which the client has mapped at `memory`; devices see it by their iommus.
 */
#ifndef TESTS_TRACK_RIG_H
#define TESTS_TRACK_RIG_H

#include "iommu/iommu.h"
#include "track/track.h"
#include "unit.h"

#include <stdatomic.h>

#define PAGE PAGE_SIZE_4K
#define IOVA umdev_iova

struct rig_device {
    struct iommu *iommu;
    struct track *track;
    struct track_ops ops;
    atomic_uint told; /* IOVA pages that `written` was called for */
    void (*on_written)(struct rig_device *device, struct range range); /* may be NULL */
    void *opaque;
};

struct rig {
    struct log log;
    struct track_hub *hub;
    int fd;
    size_t pages;
    uint8_t *memory;
    int uffd, pagemap; /* −1: none was made */
    bool sync;
};

/* Whether this kernel can do it; else says so, for the test to be skipped. */
bool rig_can_track(void);
int rig_uffd(bool sync);
int rig_pagemap(void);

void rig_begin(struct rig *rig, size_t pages);
/* The client's userfaultfd, of all of its memory. */
void rig_register(struct rig *rig, bool sync);
void rig_end(struct rig *rig);

/* A device without a client's fds; `notify`: with a callback, and in that mode. */
void rig_add_device(struct rig *rig, struct rig_device *device, bool notify);
/* It gets copies of the rig's fds. */
void rig_give(struct rig *rig, struct rig_device *device);
void rig_remove_device(struct rig_device *device);

/* Map memory pages at an IOVA; `at`: with their HVA. */
int rig_map(struct rig *rig, struct rig_device *device, uint64_t iova, size_t page, size_t count,
            bool at);
void rig_unmap(struct rig_device *device, uint64_t iova, size_t count);

/* A collect that must work. Their number. */
size_t rig_collect(struct rig_device *device, const struct umdev_track_range **ranges);
/* Collect: exactly one range, as said; or with size 0 none. */
void rig_expect(struct rig_device *device, uint64_t iova, uint64_t size, uint64_t flags);

#endif
