/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A register file: the bytes behind a BAR that a driver described with UMDEV_REGS().
 *
 * Data model. The bytes live in the driver's struct umdev_regs, so that its engine threads reach
 * them without a lock; the file here holds a checked copy of the hooks, sorted by offset and
 * disjoint, and the bytes as create() left them, which a reset brings back. A hook's register is
 * changed in one atomic step, so a client's write never undoes what an engine thread stores into
 * the register's read-only bits.
 */
#ifndef DEVICE_REGS_H
#define DEVICE_REGS_H

#include <umdev/driver.h>

struct regs_file {
    struct umdev_regs *regs; /* in the device's private struct; NULL: there is no register file */
    struct umdev_reg_hook *hooks;
    size_t nhooks;
    uint8_t *saved; /* NULL: all zeros */
};

/*
 * Check the hooks, allocate the bytes, store the reset values. `where` names the BAR in errors.
 * EINVAL: a hook of an odd size, misaligned, over another, outside `size`, or with a reset value
 * that does not fit. ENOMEM. On failure *file is empty.
 */
int regs_file_init(struct regs_file *file, struct umdev_regs *regs,
                   const struct umdev_regs_desc *desc, uint64_t size, const char *where,
                   struct umdev_error *error);
void regs_file_fini(struct regs_file *file);

/* Another size, before anybody else knows of the file; the bytes start anew. EINVAL: a hook would
 * lie outside. ENOMEM. The file is unchanged then. */
int regs_file_resize(struct regs_file *file, uint64_t size, const char *where,
                     struct umdev_error *error);

/* Remember the bytes for regs_file_reset(). ENOMEM. */
int regs_file_save(struct regs_file *file);
/* The remembered bytes, then the hooks' reset values. Calls no hook. */
void regs_file_reset(struct regs_file *file);

/* [offset, offset + len) lies in the file. Calls the hooks. */
void regs_file_read(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                    void *buf, size_t len);
void regs_file_write(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                     const void *buf, size_t len);
/* As a write of what is stored there already. */
void regs_file_ring(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                    size_t len);
/* Whether a write to [offset, offset + len) calls a hook. */
bool regs_file_hears(const struct regs_file *file, uint64_t offset, size_t len);

#endif
