/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VERSION: what two ends agree on.
 *
 * A capability that is not in the JSON text has the specification's default. `offered` tells which
 * were there: a reply names only what the other end offered, and so stays shorter than its
 * request, which some clients insist on.
 */
#ifndef WIRE_VERSION_H
#define WIRE_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION_MAJOR 0
#define WIRE_VERSION_MINOR 1
/* The newest version of the fault channel. */
#define WIRE_UMDEV_FAULT_VERSION 1
/* … and of DMA_PROTECT. */
#define WIRE_UMDEV_PROTECT_VERSION 1
/* … and of write tracking. */
#define WIRE_UMDEV_TRACK_VERSION 1

enum wire_capability {
    WIRE_CAPABILITY_MAX_MSG_FDS = 1 << 0,
    WIRE_CAPABILITY_MAX_DATA_XFER_SIZE = 1 << 1,
    WIRE_CAPABILITY_MAX_DMA_MAPS = 1 << 2,
    WIRE_CAPABILITY_PGSIZES = 1 << 3,
    WIRE_CAPABILITY_WRITE_MULTIPLE = 1 << 4,
    WIRE_CAPABILITY_ALL = (1 << 5) - 1, /* the specification's */
    WIRE_CAPABILITY_UMDEV_FAULT = 1 << 5,
    WIRE_CAPABILITY_UMDEV_PROTECT = 1 << 6,
    WIRE_CAPABILITY_UMDEV_TRACK = 1 << 7,
    WIRE_CAPABILITY_UMDEV =
        WIRE_CAPABILITY_UMDEV_FAULT | WIRE_CAPABILITY_UMDEV_PROTECT | WIRE_CAPABILITY_UMDEV_TRACK,
};

struct wire_version {
    uint16_t major, minor;
    uint32_t offered; /* enum wire_capability */
    uint32_t max_msg_fds;
    uint64_t max_data_xfer_size;
    uint64_t max_dma_maps;
    uint64_t pgsizes;
    bool write_multiple;
    uint32_t umdev_fault;   /* the fault channel's version; 0: none */
    uint32_t umdev_protect; /* DMA_PROTECT's */
    uint32_t umdev_track;   /* write tracking's */
};

/*
 * Parse a VERSION body. −EINVAL: too short, no NUL at its end, no JSON object, or a capability of
 * the wrong type or out of range; unknown ones are ignored.
 */
int wire_version_parse(const void *body, size_t size, struct wire_version *version);

/*
 * Write a VERSION body with the capabilities in version->offered. Returns its size with the NUL, or
 * −ENOMEM, −EMSGSIZE. With none offered the JSON text is "{}".
 */
int wire_version_format(const struct wire_version *version, void *body, size_t size);

#endif
