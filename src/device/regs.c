/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/regs.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/range.h"
#include "device/bytes.h"

#include <inttypes.h>
#include <string.h>

/* What a hook of the oldest driver has at least. */
#define HOOK_MIN_SIZE (offsetof(struct umdev_reg_hook, size) + sizeof(uint32_t))

static uint64_t hook_end(const struct umdev_reg_hook *hook)
{
    return (uint64_t)hook->offset + hook->size;
}

static int hook_compare(const void *left, const void *right)
{
    const struct umdev_reg_hook *a = left, *b = right;

    return (a->offset > b->offset) - (a->offset < b->offset);
}

static int hook_check(const struct umdev_reg_hook *hook, uint64_t size, const char *where,
                      struct umdev_error *error)
{
    if (!is_power_of_two(hook->size) || hook->size > 8)
        return error_set(error, EINVAL,
                         "%s: register 0x%" PRIx32 ": size %" PRIu32 " is not 1, 2, 4 or 8", where,
                         hook->offset, hook->size);
    if (!is_aligned(hook->offset, hook->size))
        return error_set(error, EINVAL,
                         "%s: register 0x%" PRIx32 " is not aligned to its size, %" PRIu32, where,
                         hook->offset, hook->size);
    if (hook_end(hook) > size)
        return error_set(error, EINVAL,
                         "%s: register 0x%" PRIx32 " lies outside of the BAR's 0x%" PRIx64 " bytes",
                         where, hook->offset, size);
    if (hook->size < 8 && hook->reset_value >> (8 * hook->size))
        return error_set(error, EINVAL,
                         "%s: register 0x%" PRIx32 ": reset value 0x%" PRIx64
                         " does not fit in %" PRIu32 " bytes",
                         where, hook->offset, hook->reset_value, hook->size);
    return 0;
}

/* Every hook as this umdev knows it: a shorter one's missing members are zero. */
static int hooks_copy(const struct umdev_regs_desc *desc, struct umdev_reg_hook **hooks,
                      const char *where, struct umdev_error *error)
{
    const uint8_t *from = (const uint8_t *)desc->hooks;

    *hooks = NULL;
    if (desc->nhooks == 0)
        return 0;
    if (!from || desc->hook_size < HOOK_MIN_SIZE)
        return error_set(error, EINVAL, "%s: hooks are missing: describe them with UMDEV_REGS()",
                         where);
    *hooks = calloc(desc->nhooks, sizeof(**hooks));
    if (!*hooks)
        return error_set(error, ENOMEM, "%s: out of memory for %zu register hooks", where,
                         desc->nhooks);
    for (size_t i = 0; i < desc->nhooks; i++) {
        memcpy(&(*hooks)[i], from + i * desc->hook_size, MIN(desc->hook_size, sizeof(**hooks)));
        if ((*hooks)[i].size == 0)
            (*hooks)[i].size = 4;
    }
    qsort(*hooks, desc->nhooks, sizeof(**hooks), hook_compare);
    return 0;
}

static int hooks_check(const struct umdev_reg_hook *hooks, size_t nhooks, uint64_t size,
                       const char *where, struct umdev_error *error)
{
    for (size_t i = 0; i < nhooks; i++) {
        int ret = hook_check(&hooks[i], size, where, error);

        if (ret < 0)
            return ret;
        if (i > 0 && hook_end(&hooks[i - 1]) > hooks[i].offset)
            return error_set(error, EINVAL, "%s: registers 0x%" PRIx32 " and 0x%" PRIx32 " overlap",
                             where, hooks[i - 1].offset, hooks[i].offset);
    }
    return 0;
}

static void hooks_reset(const struct regs_file *file)
{
    for (size_t i = 0; i < file->nhooks; i++)
        bytes_store_le(file->regs->bytes + file->hooks[i].offset, file->hooks[i].size,
                       file->hooks[i].reset_value);
}

static int regs_no_memory(uint64_t size, const char *where, struct umdev_error *error)
{
    return error_set(error, ENOMEM, "%s: out of memory for 0x%" PRIx64 " bytes of registers", where,
                     size);
}

int regs_file_init(struct regs_file *file, struct umdev_regs *regs,
                   const struct umdev_regs_desc *desc, uint64_t size, const char *where,
                   struct umdev_error *error)
{
    CLEANUP_FREE struct umdev_reg_hook *hooks = NULL;
    int ret = hooks_copy(desc, &hooks, where, error);

    memset(file, 0, sizeof(*file));
    if (ret == 0 && size > 0)
        ret = hooks_check(hooks, desc->nhooks, size, where, error);
    if (ret < 0)
        return ret;
    if (size > 0) {
        regs->bytes = calloc(1, size);
        if (!regs->bytes)
            return regs_no_memory(size, where, error);
    }
    regs->size = size;
    file->regs = regs;
    file->hooks = TAKE_POINTER(hooks);
    file->nhooks = desc->nhooks;
    if (size > 0)
        hooks_reset(file);
    return 0;
}

void regs_file_fini(struct regs_file *file)
{
    if (file->regs) {
        free(file->regs->bytes);
        file->regs->bytes = NULL;
        file->regs->size = 0;
    }
    free(file->hooks);
    free(file->saved);
    memset(file, 0, sizeof(*file));
}

int regs_file_resize(struct regs_file *file, uint64_t size, const char *where,
                     struct umdev_error *error)
{
    int ret = hooks_check(file->hooks, file->nhooks, size, where, error);
    uint8_t *bytes;

    if (ret < 0)
        return ret;
    bytes = calloc(1, size);
    if (!bytes)
        return regs_no_memory(size, where, error);
    free(file->regs->bytes);
    file->regs->bytes = bytes;
    file->regs->size = size;
    hooks_reset(file);
    return 0;
}

int regs_file_save(struct regs_file *file)
{
    const struct umdev_regs *regs = file->regs;
    size_t used = regs->size;

    while (used > 0 && regs->bytes[used - 1] == 0)
        used--;
    if (used == 0)
        return 0;
    file->saved = malloc(regs->size);
    if (!file->saved)
        return -ENOMEM;
    bytes_load(file->saved, regs->bytes, regs->size);
    return 0;
}

static void bytes_clear(uint8_t *shared, size_t len)
{
    static const uint8_t zeros[256];

    for (size_t done = 0; done < len; done += MIN(len - done, sizeof(zeros)))
        bytes_store(shared + done, zeros, MIN(len - done, sizeof(zeros)));
}

/* The bytes of one stretch without hooks go back to what create() left there. */
static void bytes_restore(const struct regs_file *file, uint64_t first, uint64_t end)
{
    if (file->saved)
        bytes_store(file->regs->bytes + first, file->saved + first, end - first);
    else
        bytes_clear(file->regs->bytes + first, end - first);
}

void regs_file_reset(struct regs_file *file)
{
    uint64_t position = 0;

    /* Stretch by stretch, so that no thread sees a hooked register at a value it never had. */
    for (size_t i = 0; i < file->nhooks; i++) {
        bytes_restore(file, position, file->hooks[i].offset);
        position = hook_end(&file->hooks[i]);
    }
    bytes_restore(file, position, file->regs->size);
    hooks_reset(file);
}

/* The first hook that ends after `offset`; nhooks if there is none. */
static size_t hook_find(const struct regs_file *file, uint64_t offset)
{
    size_t low = 0, high = file->nhooks;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (hook_end(&file->hooks[middle]) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void regs_file_read(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                    void *buf, size_t len)
{
    uint64_t end = offset + len;
    uint8_t *out = buf;

    bytes_load(out, file->regs->bytes + offset, len);
    for (size_t i = hook_find(file, offset); i < file->nhooks; i++) {
        const struct umdev_reg_hook *hook = &file->hooks[i];
        uint64_t value, first, last;

        if (hook->offset >= end)
            break;
        if (!hook->read)
            continue;
        value = hook->read(dev);
        first = MAX(offset, hook->offset);
        last = MIN(end, hook_end(hook)) - 1;
        for (uint64_t at = first; at <= last; at++)
            out[at - offset] = (uint8_t)(value >> (8 * (at - hook->offset)));
    }
}

/* The part of a hook's register that an access covers, as a mask and a value. */
struct hook_bits {
    uint64_t mask, value;
};

static struct hook_bits hook_bits_written(const struct umdev_reg_hook *hook, uint64_t offset,
                                          const uint8_t *buf, size_t len)
{
    uint64_t first = MAX(offset, hook->offset), end = MIN(offset + len, hook_end(hook));
    struct hook_bits bits = {0};

    for (uint64_t at = first; at < end; at++) {
        unsigned shift = (unsigned)(8 * (at - hook->offset));

        bits.mask |= UINT64_C(0xff) << shift;
        bits.value |= (uint64_t)buf[at - offset] << shift;
    }
    bits.mask &= ~hook->read_only;
    bits.value &= bits.mask;
    return bits;
}

static void regs_file_store(const struct regs_file *file, uint64_t offset, const uint8_t *buf,
                            size_t len)
{
    uint64_t position = offset, end = offset + len;

    for (size_t i = hook_find(file, offset); i < file->nhooks; i++) {
        const struct umdev_reg_hook *hook = &file->hooks[i];
        struct hook_bits bits;

        if (hook->offset >= end)
            break;
        if (hook->offset > position)
            bytes_store(file->regs->bytes + position, buf + (position - offset),
                        hook->offset - position);
        bits = hook_bits_written(hook, offset, buf, len);
        bytes_merge_le(file->regs->bytes + hook->offset, hook->size, bits.mask, bits.value);
        position = hook_end(hook);
    }
    if (position < end)
        bytes_store(file->regs->bytes + position, buf + (position - offset), end - position);
}

void regs_file_write(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                     const void *buf, size_t len)
{
    uint64_t end = offset + len;

    regs_file_store(file, offset, buf, len);
    for (size_t i = hook_find(file, offset); i < file->nhooks; i++) {
        const struct umdev_reg_hook *hook = &file->hooks[i];
        struct hook_bits bits;
        uint64_t stored;

        if (hook->offset >= end)
            break;
        if (!hook->write)
            continue;
        /* The bits written come from this access, not from the store: of two parallel writes to a
         * doorbell each is announced with its own value. */
        bits = hook_bits_written(hook, offset, buf, len);
        stored = bytes_load_le(file->regs->bytes + hook->offset, hook->size);
        hook->write(dev, (stored & ~bits.mask) | bits.value);
    }
}

void regs_file_ring(const struct regs_file *file, struct umdev_device *dev, uint64_t offset,
                    size_t len)
{
    for (size_t i = hook_find(file, offset); i < file->nhooks; i++) {
        const struct umdev_reg_hook *hook = &file->hooks[i];

        if (hook->offset >= offset + len)
            break;
        if (hook->write)
            hook->write(dev, bytes_load_le(file->regs->bytes + hook->offset, hook->size));
    }
}

bool regs_file_hears(const struct regs_file *file, uint64_t offset, size_t len)
{
    for (size_t i = hook_find(file, offset); i < file->nhooks; i++) {
        if (file->hooks[i].offset >= offset + len)
            break;
        if (file->hooks[i].write)
            return true;
    }
    return false;
}

uint64_t umdev_regs_get64(const struct umdev_regs *regs, uint32_t offset)
{
    uint64_t value = 0;

    if (!span_fits(offset, sizeof(value), regs->size))
        return 0;
    bytes_load(&value, regs->bytes + offset, sizeof(value));
    return le64toh(value);
}

uint32_t umdev_regs_get32(const struct umdev_regs *regs, uint32_t offset)
{
    uint32_t value = 0;

    if (!span_fits(offset, sizeof(value), regs->size))
        return 0;
    bytes_load(&value, regs->bytes + offset, sizeof(value));
    return le32toh(value);
}

void umdev_regs_set64(struct umdev_regs *regs, uint32_t offset, uint64_t value)
{
    if (span_fits(offset, sizeof(value), regs->size))
        bytes_store_le(regs->bytes + offset, sizeof(value), value);
}

void umdev_regs_set32(struct umdev_regs *regs, uint32_t offset, uint32_t value)
{
    if (span_fits(offset, sizeof(value), regs->size))
        bytes_store_le(regs->bytes + offset, sizeof(value), value);
}
