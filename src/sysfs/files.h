/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in the files, and what writing to them does. A file's content is made whole when it is
 * read; a write is one value.
 */
#ifndef SYSFS_FILES_H
#define SYSFS_FILES_H

#include "sysfs/find.h"

/* The largest content, and write. */
#define FILES_SIZE 4096

/* The names of the counters, in their order; NULL: there is none at `index`. */
const char *files_counter(unsigned index);

/*
 * The content of a file; returns how many bytes. −ENODEV: what it belongs to is gone. −EIO: it
 * can't be read. Others of an attribute's driver.
 */
int files_show(const struct sysfs_ops *ops, struct node node, char text[FILES_SIZE]);
/*
 * Write `len` (1 to FILES_SIZE) bytes. −ENODEV, −EIO as above. −EINVAL: no such value. Others of
 * create(), remove() and of an attribute's driver.
 */
int files_store(const struct sysfs_ops *ops, const struct log *log, struct node node,
                const char *data, size_t len);

#endif
