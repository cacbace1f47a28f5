/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words shared by every umdev header: addresses, protections, region and interrupt indices, limits.
 *
 * Sizes and offsets are bytes. Ranges written [first, last] are inclusive at both ends. Functions
 * return 0 (or a count where they say so) or a negative errno.
 */
#ifndef UMDEV_TYPES_H
#define UMDEV_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what libumdev exports; everything else in it is hidden. */
#define UMDEV_API __attribute__((visibility("default")))

/*
 * An address as the device uses it for DMA. A struct, so that an IOVA, a pointer and a plain
 * number can't be mixed up: the compiler refuses.
 */
typedef struct {
    uint64_t value;
} umdev_iova_t;

static inline umdev_iova_t umdev_iova(uint64_t value)
{
    return (umdev_iova_t){value};
}

/* An address as the parent uses it for DMA: what pinning gives. A struct for the same reason. */
typedef struct {
    uint64_t value;
} umdev_bus_t;

static inline umdev_bus_t umdev_bus(uint64_t value)
{
    return (umdev_bus_t){value};
}

/* Protections, from the device's point of view: READ lets the device read client memory. */
enum {
    UMDEV_READ = 1,
    UMDEV_WRITE = 2,
    UMDEV_RW = UMDEV_READ | UMDEV_WRITE,
};

/* Region indices: VFIO's for a PCI device. */
enum {
    UMDEV_REGION_BAR0 = 0,
    UMDEV_REGION_BAR1,
    UMDEV_REGION_BAR2,
    UMDEV_REGION_BAR3,
    UMDEV_REGION_BAR4,
    UMDEV_REGION_BAR5,
    UMDEV_REGION_ROM,
    UMDEV_REGION_CONFIG,
    UMDEV_REGION_VGA,
    UMDEV_NUM_REGIONS,
};
#define UMDEV_NUM_BARS 6

/* Interrupt indices: VFIO's for a PCI device. */
enum {
    UMDEV_IRQ_INTX = 0,
    UMDEV_IRQ_MSI,
    UMDEV_IRQ_MSIX,
    UMDEV_IRQ_ERR,
    UMDEV_IRQ_REQ,
    UMDEV_NUM_IRQS,
};

/* Log levels, the most severe first. */
enum umdev_log_level {
    UMDEV_LOG_ERROR = 0,
    UMDEV_LOG_WARNING,
    UMDEV_LOG_INFO,
    UMDEV_LOG_DEBUG,
};

/* Bytes of text that an attribute of a device (driver.h) can have. */
#define UMDEV_ATTR_SIZE 4096

/* A canonical lower-case UUID with its terminating NUL. */
#define UMDEV_UUID_STR_SIZE 37

/*
 * Where a function takes one of these, it may be NULL. On failure the message says in one line,
 * without a newline, what was wrong, with which value, and what would be right; on success it is
 * left alone.
 */
struct umdev_error {
    char message[512];
};

/* A part of a region: `offset` from the region's start, `size` bytes. */
struct umdev_area {
    uint64_t offset;
    uint64_t size;
};

/*
 * A picture of a screen. Who wants one sets struct_size and leaves the rest zero; who makes one
 * allocates the pixels with umdev_picture_alloc(); who got one frees them with
 * umdev_picture_free().
 */
struct umdev_picture {
    size_t struct_size;     /* sizeof(struct umdev_picture) */
    uint32_t width, height; /* in pixels */
    uint32_t *pixels; /* XRGB8888: 0x00RRGGBB; rows from the top, packed; malloc'ed by umdev */
};
#define UMDEV_PICTURE_MAX 16384 /* pixels each way */

/*
 * Room for width × height pixels, all black; what was there before is freed. EINVAL: a side is 0 or
 * above UMDEV_PICTURE_MAX, or struct_size is missing. ENOMEM. The picture is empty then.
 */
UMDEV_API int umdev_picture_alloc(struct umdev_picture *picture, uint32_t width, uint32_t height);
/* Free the pixels; the picture is empty afterwards. An empty one, and NULL, are ignored. */
UMDEV_API void umdev_picture_free(struct umdev_picture *picture);

#ifdef __cplusplus
}
#endif

#endif
