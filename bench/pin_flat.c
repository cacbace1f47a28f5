/* SPDX-License-Identifier: BSD-3-Clause */
/* Pinned pages in an array of all pages. */
#include "pin_tracker.h"

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flat {
    uint64_t npages, pinned;
    uint8_t *state;
    uint32_t *bus; /* NULL: without */
};

static void flat_destroy(void *table)
{
    struct flat *flat = table;

    if (!flat)
        return;
    pin_lazy_free(flat->state, flat->npages);
    pin_lazy_free(flat->bus, flat->npages * sizeof(*flat->bus));
    free(flat);
}

static int flat_create(uint64_t npages, bool with_bus, void **table)
{
    struct flat *flat = calloc(1, sizeof(*flat));

    if (!flat)
        return -ENOMEM;
    flat->npages = npages;
    flat->state = pin_lazy_new(npages);
    if (with_bus)
        flat->bus = pin_lazy_new(npages * sizeof(*flat->bus));
    if (!flat->state || (with_bus && !flat->bus)) {
        flat_destroy(flat);
        return -ENOMEM;
    }
    *table = flat;
    return 0;
}

static uint32_t *flat_bus(const struct flat *flat, uint64_t page)
{
    return flat->bus ? flat->bus + page : NULL;
}

static size_t flat_count_new(const void *table, uint64_t first, size_t count)
{
    const struct flat *flat = table;

    return count - pin_bytes_count(flat->state + first, count);
}

static int flat_pin(void *table, uint64_t first, size_t count, bool write, const uint32_t *bus,
                    uint64_t fresh[PIN_WORDS])
{
    struct flat *flat = table;
    struct pin_change change = {.write = write, .bus = bus, .changed = fresh};

    memset(fresh, 0, PIN_WORDS * sizeof(*fresh));
    if (pin_bytes_full(flat->state + first, count))
        return -EOVERFLOW;
    flat->pinned += pin_bytes_pin(flat->state + first, flat_bus(flat, first), count, &change);
    return 0;
}

static size_t flat_unpin(void *table, uint64_t first, size_t count, uint64_t freed[PIN_WORDS],
                         uint32_t *freed_bus, uint64_t written[PIN_WORDS])
{
    struct flat *flat = table;
    struct pin_change change = {.freed_bus = freed_bus, .changed = freed, .written = written};
    size_t pinned, gone;

    memset(freed, 0, PIN_WORDS * sizeof(*freed));
    memset(written, 0, PIN_WORDS * sizeof(*written));
    pinned = pin_bytes_unpin(flat->state + first, flat_bus(flat, first), count, &change, &gone);
    flat->pinned -= gone;
    return count - pinned;
}

static bool flat_get(const void *table, uint64_t page, struct pin_page *out)
{
    const struct flat *flat = table;

    return pin_byte_get(flat->state[page], flat->bus ? flat->bus[page] : 0, out);
}

static size_t flat_get_bus(const void *table, uint64_t first, size_t count, uint32_t *bus)
{
    const struct flat *flat = table;

    return pin_bytes_get_bus(flat->state + first, flat->bus + first, count, bus);
}

static bool flat_next(const void *table, uint64_t from, struct pin_run *run)
{
    const struct flat *flat = table;

    if (from >= flat->npages)
        return false;
    from += pin_bytes_next(flat->state + from, flat->npages - from);
    if (from == flat->npages)
        return false;
    run->first = from;
    run->count = pin_state_run(flat->state + from, MIN(flat->npages - from, PIN_MAX_PAGES));
    run->write = flat->state[from] & PIN_BYTE_WRITE;
    return true;
}

static uint64_t flat_pinned(const void *table)
{
    const struct flat *flat = table;

    return flat->pinned;
}

static size_t flat_bytes(const void *table)
{
    const struct flat *flat = table;

    return sizeof(*flat) + pin_lazy_bytes(flat->state, flat->npages) +
           pin_lazy_bytes(flat->bus, flat->npages * sizeof(*flat->bus));
}

const struct pin_tracker pin_flat_tracker = {
    .name = "flat",
    .max_count = PIN_BYTE_MAX,
    .create = flat_create,
    .destroy = flat_destroy,
    .count_new = flat_count_new,
    .pin = flat_pin,
    .unpin = flat_unpin,
    .get = flat_get,
    .get_bus = flat_get_bus,
    .next = flat_next,
    .pinned = flat_pinned,
    .bytes = flat_bytes,
};
