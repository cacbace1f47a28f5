/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pictures: ARGB8888 pixels in memory (bytes B, G, R, A; alpha not multiplied in), PNG in files.
 */
#ifndef PICTURE_PICTURE_H
#define PICTURE_PICTURE_H

#include <stdint.h>
#include <umdev/types.h>

struct picture {
    uint32_t width, height;
    uint32_t *pixels; /* width × height, rows packed */
};

#define PICTURE_MAX 4096 /* pixels each way */

/* An empty (zeroed) picture. −ENOMEM. */
int picture_new(uint32_t width, uint32_t height, struct picture *picture);
void picture_free(struct picture *picture);

/* EINVAL: no PNG, or larger than PICTURE_MAX. ENOENT, EACCES, … The error names the file. */
int picture_read(const char *path, struct picture *picture, struct umdev_error *error);
/* Opaque: alpha is not written. */
int picture_write(const char *path, const struct picture *picture, struct umdev_error *error);

/* How many pixels of two pictures of one size differ. */
uint64_t picture_differences(const struct picture *a, const struct picture *b);

#endif
