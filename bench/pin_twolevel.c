/* SPDX-License-Identifier: BSD-3-Clause */
/* Pinned pages in arrays of 512, found through one array of pointers. */
#include "pin_tracker.h"

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512

struct block {
    uint32_t used;
    uint8_t state[BLOCK];
    uint32_t bus[]; /* of BLOCK pages, or of none */
};

struct twolevel {
    uint64_t npages, pinned, nblocks;
    struct block **blocks;
    size_t bytes; /* of the blocks */
    bool with_bus;
};

/* The pages of a block that a call is about. */
struct slice {
    struct block **block;
    size_t at, n;
};

static struct slice slice_make(const struct twolevel *table, uint64_t page, size_t count)
{
    size_t at = page % BLOCK;

    return (struct slice){&table->blocks[page / BLOCK], at, MIN(count, BLOCK - at)};
}

static uint32_t *block_bus(const struct twolevel *table, struct block *block, size_t at)
{
    return table->with_bus ? block->bus + at : NULL;
}

static size_t block_size(const struct twolevel *table)
{
    return sizeof(struct block) + (table->with_bus ? BLOCK * sizeof(uint32_t) : 0);
}

static bool block_make(struct twolevel *table, struct block **block)
{
    if (*block)
        return true;
    *block = malloc(block_size(table));
    if (!*block)
        return false;
    memset(*block, 0, sizeof(**block));
    table->bytes += (block_size(table) + 8 + 15) / 16 * 16;
    return true;
}

static void block_settle(struct twolevel *table, struct block **block)
{
    if (!*block || (*block)->used > 0)
        return;
    table->bytes -= (block_size(table) + 8 + 15) / 16 * 16;
    free(*block);
    *block = NULL;
}

static int twolevel_create(uint64_t npages, bool with_bus, void **table)
{
    struct twolevel *new = calloc(1, sizeof(*new));

    if (!new)
        return -ENOMEM;
    new->npages = npages;
    new->nblocks = (npages + BLOCK - 1) / BLOCK;
    new->with_bus = with_bus;
    new->blocks = pin_lazy_new(new->nblocks * sizeof(struct block *));
    if (!new->blocks) {
        free(new);
        return -ENOMEM;
    }
    *table = new;
    return 0;
}

static void twolevel_destroy(void *opaque)
{
    struct twolevel *table = opaque;

    if (!table)
        return;
    for (uint64_t i = 0; i < table->nblocks && table->bytes > 0; i++) {
        if (table->blocks[i])
            table->blocks[i]->used = 0;
        block_settle(table, &table->blocks[i]);
    }
    pin_lazy_free(table->blocks, table->nblocks * sizeof(struct block *));
    free(table);
}

static size_t twolevel_count_new(const void *table, uint64_t first, size_t count)
{
    size_t pinned = 0;

    for (size_t i = 0; i < count;) {
        struct slice slice = slice_make(table, first + i, count - i);

        if (*slice.block)
            pinned += pin_bytes_count((*slice.block)->state + slice.at, slice.n);
        i += slice.n;
    }
    return count - pinned;
}

static int twolevel_pin(void *opaque, uint64_t first, size_t count, bool write, const uint32_t *bus,
                        uint64_t fresh[PIN_WORDS])
{
    struct twolevel *table = opaque;
    struct pin_change change = {.write = write, .bus = bus, .changed = fresh};

    memset(fresh, 0, PIN_WORDS * sizeof(*fresh));
    for (size_t i = 0; i < count;) {
        struct slice slice = slice_make(table, first + i, count - i);

        if (*slice.block && pin_bytes_full((*slice.block)->state + slice.at, slice.n))
            return -EOVERFLOW;
        i += slice.n;
    }
    for (size_t i = 0; i < count;) {
        struct slice slice = slice_make(table, first + i, count - i);

        if (!block_make(table, slice.block)) {
            block_settle(table, &table->blocks[first / BLOCK]);
            return -ENOMEM;
        }
        i += slice.n;
    }
    while (change.offset < count) {
        struct slice slice = slice_make(table, first + change.offset, count - change.offset);
        struct block *block = *slice.block;
        size_t n = pin_bytes_pin(block->state + slice.at, block_bus(table, block, slice.at),
                                 slice.n, &change);

        block->used += (uint32_t)n;
        table->pinned += n;
        if (change.bus)
            change.bus += n;
        change.offset += slice.n;
    }
    return 0;
}

static size_t twolevel_unpin(void *opaque, uint64_t first, size_t count, uint64_t freed[PIN_WORDS],
                             uint32_t *freed_bus, uint64_t written[PIN_WORDS])
{
    struct twolevel *table = opaque;
    struct pin_change change = {.freed_bus = freed_bus, .changed = freed, .written = written};
    size_t pinned = 0;

    memset(freed, 0, PIN_WORDS * sizeof(*freed));
    memset(written, 0, PIN_WORDS * sizeof(*written));
    while (change.offset < count) {
        struct slice slice = slice_make(table, first + change.offset, count - change.offset);
        struct block *block = *slice.block;
        size_t gone;

        if (block) {
            pinned += pin_bytes_unpin(block->state + slice.at, block_bus(table, block, slice.at),
                                      slice.n, &change, &gone);
            block->used -= (uint32_t)gone;
            table->pinned -= gone;
            block_settle(table, slice.block);
        }
        change.offset += slice.n;
    }
    return count - pinned;
}

static bool twolevel_get(const void *opaque, uint64_t page, struct pin_page *out)
{
    const struct twolevel *table = opaque;
    const struct block *block = table->blocks[page / BLOCK];

    return block && pin_byte_get(block->state[page % BLOCK],
                                 table->with_bus ? block->bus[page % BLOCK] : 0, out);
}

static size_t twolevel_get_bus(const void *table, uint64_t first, size_t count, uint32_t *bus)
{
    size_t found = 0;

    for (size_t i = 0; i < count;) {
        struct slice slice = slice_make(table, first + i, count - i);

        if (*slice.block)
            found += pin_bytes_get_bus((*slice.block)->state + slice.at,
                                       (*slice.block)->bus + slice.at, slice.n, bus + found);
        i += slice.n;
    }
    return found;
}

static bool twolevel_next(const void *opaque, uint64_t from, struct pin_run *run)
{
    const struct twolevel *table = opaque;

    while (from < table->npages) {
        const struct block *block = table->blocks[from / BLOCK];
        size_t at = from % BLOCK, found = BLOCK;

        if (block)
            found = at + pin_bytes_next(block->state + at, BLOCK - at);
        from += found - at;
        if (found < BLOCK) {
            run->first = from;
            run->count = pin_state_run(block->state + found, BLOCK - found);
            run->write = block->state[found] & PIN_BYTE_WRITE;
            return true;
        }
    }
    return false;
}

static uint64_t twolevel_pinned(const void *opaque)
{
    const struct twolevel *table = opaque;

    return table->pinned;
}

static size_t twolevel_bytes(const void *opaque)
{
    const struct twolevel *table = opaque;

    return sizeof(*table) + table->bytes +
           pin_lazy_bytes(table->blocks, table->nblocks * sizeof(struct block *));
}

const struct pin_tracker pin_twolevel_tracker = {
    .name = "twolevel",
    .max_count = PIN_BYTE_MAX,
    .create = twolevel_create,
    .destroy = twolevel_destroy,
    .count_new = twolevel_count_new,
    .pin = twolevel_pin,
    .unpin = twolevel_unpin,
    .get = twolevel_get,
    .get_bus = twolevel_get_bus,
    .next = twolevel_next,
    .pinned = twolevel_pinned,
    .bytes = twolevel_bytes,
};
