/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user messages as they lie on the wire: numbers and layouts, no behaviour.
 *
 * All fields are in the host's byte order. A message can start at any address of a receive buffer,
 * so every layout is packed: the compiler then reads its fields byte-safely.
 */
#ifndef WIRE_VFIO_USER_H
#define WIRE_VFIO_USER_H

#include <stdint.h>

enum wire_command {
    WIRE_VERSION = 1,
    WIRE_DMA_MAP = 2,
    WIRE_DMA_UNMAP = 3,
    WIRE_DEVICE_GET_INFO = 4,
    WIRE_DEVICE_GET_REGION_INFO = 5,
    WIRE_DEVICE_GET_REGION_IO_FDS = 6,
    WIRE_DEVICE_GET_IRQ_INFO = 7,
    WIRE_DEVICE_SET_IRQS = 8,
    WIRE_REGION_READ = 9,
    WIRE_REGION_WRITE = 10,
    WIRE_DMA_READ = 11,
    WIRE_DMA_WRITE = 12,
    WIRE_DEVICE_RESET = 13,
    WIRE_REGION_WRITE_MULTI = 15,
    WIRE_DEVICE_FEATURE = 16,
    WIRE_MIG_DATA_READ = 17,
    WIRE_MIG_DATA_WRITE = 18,
    WIRE_COMMAND_MAX = 19,
    /* umdev's own, for who negotiated it */
    WIRE_UMDEV_FAULT_CHANNEL = 0x8001,
    WIRE_UMDEV_FAULT_IDENTITY = 0x8002,
    WIRE_UMDEV_DMA_PROTECT = 0x8003,
    WIRE_UMDEV_TRACK_INFO = 0x8010,
    WIRE_UMDEV_TRACK = 0x8011,
    WIRE_UMDEV_DMA_MAP_AT = 0x8012,
};

enum wire_flags {
    WIRE_TYPE_MASK = 0xf,
    WIRE_TYPE_COMMAND = 0,
    WIRE_TYPE_REPLY = 1,
    WIRE_NO_REPLY = 1 << 4,
    WIRE_ERROR = 1 << 5,
    WIRE_FLAGS_KNOWN = WIRE_TYPE_MASK | WIRE_NO_REPLY | WIRE_ERROR,
};

/* The kernel's MAX_ERRNO: nothing above it is an errno. */
#define WIRE_ERRNO_MAX 4095

#define WIRE_PACKED __attribute__((packed))

struct wire_header {
    uint16_t id;
    uint16_t command;
    uint32_t size; /* of the whole message */
    uint32_t flags;
    uint32_t error; /* errno, in a reply with WIRE_ERROR */
} WIRE_PACKED;

struct wire_version_body {
    uint16_t major, minor;
    /* JSON text and a NUL may follow */
} WIRE_PACKED;

struct wire_dma_map {
    uint32_t argsz, flags;
    uint64_t offset, address, size;
} WIRE_PACKED;
enum {
    WIRE_DMA_MAP_READ = 1 << 0,
    WIRE_DMA_MAP_WRITE = 1 << 1,
};

struct wire_dma_unmap {
    uint32_t argsz, flags;
    uint64_t address, size;
} WIRE_PACKED;
enum {
    WIRE_DMA_UNMAP_GET_DIRTY_BITMAP = 1 << 0,
    WIRE_DMA_UNMAP_ALL = 1 << 1,
};

/* With WIRE_DMA_UNMAP_GET_DIRTY_BITMAP this follows, and in the reply the bitmap. */
struct wire_dirty_bitmap {
    uint64_t pgsize, size; /* of the bitmap, in bytes */
} WIRE_PACKED;

struct wire_device_info {
    uint32_t argsz, flags, num_regions, num_irqs;
} WIRE_PACKED;

struct wire_region_info {
    uint32_t argsz, flags, index, cap_offset;
    uint64_t size, offset;
} WIRE_PACKED;
enum {
    WIRE_REGION_FLAG_READ = 1 << 0,
    WIRE_REGION_FLAG_WRITE = 1 << 1,
    WIRE_REGION_FLAG_MMAP = 1 << 2,
    WIRE_REGION_FLAG_CAPS = 1 << 3,
};

struct wire_cap_header {
    uint16_t id, version;
    uint32_t next; /* from the start of struct wire_region_info; 0: the last */
} WIRE_PACKED;
enum {
    WIRE_CAP_SPARSE_MMAP = 1,
    WIRE_CAP_TYPE = 2,
    WIRE_CAP_MSIX_MAPPABLE = 3,
    WIRE_CAP_UMDEV_FAULT = 0x554d,
};

struct wire_cap_sparse_mmap {
    struct wire_cap_header header;
    uint32_t nr_areas, reserved;
    struct {
        uint64_t offset, size;
    } WIRE_PACKED areas[];
} WIRE_PACKED;

struct wire_cap_type {
    struct wire_cap_header header;
    uint32_t type, subtype;
} WIRE_PACKED;

/* The region's pages are mapped through the fault channel. */
struct wire_cap_umdev_fault {
    struct wire_cap_header header;
    uint32_t flags, reserved;
} WIRE_PACKED;
enum {
    WIRE_CAP_UMDEV_FAULT_IDENTITY = 1 << 0, /* FAULT_IDENTITY works on it */
};

struct wire_region_io_fds {
    uint32_t argsz, flags, index, count; /* `count` struct wire_io_fd follow in a reply */
} WIRE_PACKED;

struct wire_io_fd {
    uint64_t offset, size;
    uint32_t fd_index; /* of the message's fds */
    uint32_t type, flags, padding;
    uint64_t datamatch; /* an ioregionfd's user_data */
} WIRE_PACKED;
enum {
    WIRE_IO_FD_IOEVENTFD = 0,
    WIRE_IO_FD_IOREGIONFD = 1,
};
enum { /* KVM_IOEVENTFD_FLAG_* */
       WIRE_IOEVENTFD_DATAMATCH = 1 << 0,
       WIRE_IOEVENTFD_PIO = 1 << 1,
};

struct wire_irq_info {
    uint32_t argsz, flags, index, count;
} WIRE_PACKED;

struct wire_irq_set {
    uint32_t argsz, flags, index, start, count;
    uint8_t data[];
} WIRE_PACKED;

struct wire_region_access {
    uint64_t offset;
    uint32_t region, count;
    uint8_t data[];
} WIRE_PACKED;

/* VFIO_USER_REGION_WRITE_MULTI: `count` writes of up to 8 bytes */
struct wire_write_multi {
    uint64_t count;
    struct wire_write_multi_entry {
        uint64_t offset;
        uint32_t region, count;
        uint8_t data[8];
    } WIRE_PACKED writes[];
} WIRE_PACKED;

struct wire_feature {
    uint32_t argsz, flags;
} WIRE_PACKED;
enum {
    WIRE_FEATURE_MASK = 0xffff, /* of `flags`: enum wire_feature_index */
    WIRE_FEATURE_GET = 1 << 16,
    WIRE_FEATURE_SET = 1 << 17,
    WIRE_FEATURE_PROBE = 1 << 18,
};
enum wire_feature_index {
    WIRE_FEATURE_MIGRATION = 1,
    WIRE_FEATURE_MIG_DEVICE_STATE = 2,
    WIRE_FEATURE_DMA_LOGGING_START = 6,
    WIRE_FEATURE_DMA_LOGGING_STOP = 7,
    WIRE_FEATURE_DMA_LOGGING_REPORT = 8,
};

/* DMA_LOGGING_START's data, and its ranges */
struct wire_dma_logging_control {
    uint64_t page_size;
    uint32_t num_ranges, reserved;
} WIRE_PACKED;
struct wire_dma_logging_range {
    uint64_t iova, length;
} WIRE_PACKED;

/* DMA_LOGGING_REPORT's data; in the reply the bitmap follows */
struct wire_dma_logging_report {
    uint64_t iova, length, page_size;
} WIRE_PACKED;

struct wire_dma_access {
    uint64_t address, count;
    uint8_t data[];
} WIRE_PACKED;

/* ------------------------------------------------------------------ umdev's own */

/* New flags, WIRE_DMA_MAP_*, for the mappings of a range. */
struct wire_umdev_dma_protect {
    uint32_t argsz, flags;
    uint64_t address, size;
} WIRE_PACKED;

/* TRACK_INFO, both ways, and TRACK, with the userfaultfd and the pagemap. */
struct wire_umdev_track {
    uint32_t argsz, flags;
} WIRE_PACKED;
enum {
    WIRE_TRACK_NOTIFY = 1 << 0, /* TRACK_INFO's reply: a synchronous userfaultfd is wanted */
    WIRE_TRACK_SYNC = 1 << 0,   /* TRACK: it is one */
};

/* DMA_MAP, and where the client has the memory. */
struct wire_umdev_dma_map_at {
    struct wire_dma_map map;
    uint64_t hva;
} WIRE_PACKED;

struct wire_umdev_fault_channel {
    uint32_t argsz, flags;
} WIRE_PACKED;

/* The pages of a region that is its own memory object, shown at an address of the client. */
struct wire_umdev_fault_identity {
    uint32_t argsz, flags, region, reserved;
    uint64_t offset, size, address;
} WIRE_PACKED;
enum {
    WIRE_FAULT_IDENTITY_OPEN = 1 << 0,
    WIRE_FAULT_IDENTITY_ADD = 1 << 1,
    WIRE_FAULT_IDENTITY_REMOVE = 1 << 2,
};
/* Windows that a client may have added. */
#define WIRE_FAULT_IDENTITY_MAX 16

/* A packet of the fault channel; what its type does not use is 0. */
struct wire_fault_packet {
    uint16_t type, flags;
    uint32_t tag, region;
    uint32_t error; /* MAP: an errno, or 0 */
    uint64_t first; /* FAULT: the byte that was touched */
    uint64_t last;
    uint64_t object_offset; /* of `first` */
    uint32_t object, prot;
    uint8_t zero[16];
} WIRE_PACKED;
_Static_assert(sizeof(struct wire_fault_packet) == 64, "a packet has 64 bytes");
enum wire_fault_type {
    WIRE_FAULT_FAULT = 1,      /* client to server */
    WIRE_FAULT_MAP = 2,        /* server to client: the answer */
    WIRE_FAULT_INVALIDATE = 3, /* server to client */
    WIRE_FAULT_ACK = 4,        /* client to server */
};
enum {
    WIRE_FAULT_MAP_FD = 1 << 0, /* the object's fd comes with it */
};
enum {
    WIRE_FAULT_PROT_READ = 1 << 0,
    WIRE_FAULT_PROT_WRITE = 1 << 1,
};
/* FAULTs without an answer that a client may have. */
#define WIRE_FAULTS_MAX 64

#endif
