/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/pin_leaf.h"

#include "base/range.h"

#include <stdlib.h>
#include <string.h>

#define WIDE_WRITE (UINT32_C(1) << 31)
#define WIDE_COUNT (~WIDE_WRITE)

/* ------------------------------------------------------------------ layout */

static uint32_t *few_bus(const struct pin_leaf *leaf)
{
    return (uint32_t *)leaf->words;
}

static uint16_t *few_index(const struct pin_leaf *leaf)
{
    return (uint16_t *)(leaf->words + (leaf->with_bus ? leaf->capacity : 0));
}

static uint8_t *few_state(const struct pin_leaf *leaf)
{
    return (uint8_t *)(few_index(leaf) + leaf->capacity);
}

static uint8_t *dense_state(const struct pin_leaf *leaf)
{
    return (uint8_t *)leaf->words;
}

/* Of the page `at`; NULL: there are none. */
static uint32_t *dense_bus(const struct pin_leaf *leaf, size_t at)
{
    return leaf->with_bus ? (uint32_t *)leaf->words + PIN_BLOCK / sizeof(uint32_t) + at : NULL;
}

static uint32_t *wide_state(const struct pin_leaf *leaf)
{
    return (uint32_t *)leaf->words;
}

static uint32_t *wide_bus(const struct pin_leaf *leaf)
{
    return (uint32_t *)leaf->words + PIN_BLOCK;
}

static size_t few_pin_size(bool with_bus)
{
    return sizeof(uint16_t) + sizeof(uint8_t) + (with_bus ? sizeof(uint32_t) : 0);
}

size_t pin_few_capacity(size_t pins, bool with_bus)
{
    size_t bytes = sizeof(struct pin_leaf) + pins * few_pin_size(with_bus);
    size_t step = bytes < 128 ? 16 : bytes < 256 ? 32 : bytes < 512 ? 64 : 128;
    size_t usable = (bytes + 8 + step - 1) / step * step - 8;

    return MIN((usable - sizeof(struct pin_leaf)) / few_pin_size(with_bus), pin_few_max(with_bus));
}

static size_t leaf_size(enum pin_leaf_kind kind, size_t capacity, bool with_bus)
{
    size_t bus = with_bus ? sizeof(uint32_t) : 0;

    switch (kind) {
    case PIN_FEW:
        return sizeof(struct pin_leaf) + capacity * few_pin_size(with_bus);
    case PIN_DENSE:
        return sizeof(struct pin_leaf) + PIN_BLOCK * (sizeof(uint8_t) + bus);
    case PIN_WIDE:
    default:
        return sizeof(struct pin_leaf) + PIN_BLOCK * (sizeof(uint32_t) + bus);
    }
}

size_t pin_leaf_bytes(const struct pin_leaf *leaf)
{
    return pin_chunk(leaf_size(leaf->kind, leaf->capacity, leaf->with_bus));
}

struct pin_leaf *pin_leaf_new(enum pin_leaf_kind kind, size_t pins, bool with_bus)
{
    size_t capacity = kind == PIN_FEW ? pin_few_capacity(pins, with_bus) : 0;
    struct pin_leaf *leaf = malloc(leaf_size(kind, capacity, with_bus));

    if (!leaf)
        return NULL;
    *leaf = (struct pin_leaf){
        .kind = (uint8_t)kind & 0x7f, .with_bus = with_bus, .capacity = (uint8_t)capacity};
    if (kind == PIN_DENSE)
        memset(dense_state(leaf), 0, PIN_BLOCK * sizeof(uint8_t));
    else if (kind == PIN_WIDE)
        memset(wide_state(leaf), 0, PIN_BLOCK * sizeof(uint32_t));
    return leaf;
}

/* ------------------------------------------------------------------ few */

/* How many pins are of pages below `at`. */
static size_t few_rank(const struct pin_leaf *leaf, size_t at)
{
    const uint16_t *index = few_index(leaf), *base = index;
    size_t left = leaf->used;

    if (left == 0)
        return 0;
    while (left > 1) {
        size_t half = left / 2;

        base = base[half - 1] < at ? base + half : base;
        left -= half;
    }
    return (size_t)(base - index) + (*base < at);
}

/* The pins [*begin, *end) are those of the pages [at, at + n). */
static void few_slice(const struct pin_leaf *leaf, size_t at, size_t n, size_t *begin, size_t *end)
{
    const uint16_t *index = few_index(leaf);

    *begin = few_rank(leaf, at);
    if (n == 1)
        *end = *begin + (*begin < leaf->used && index[*begin] == at);
    else
        *end = few_rank(leaf, at + n);
}

/* Move the pins from `from` to the end so that the first of them is at `to`. */
static void few_move(struct pin_leaf *leaf, size_t from, size_t to)
{
    size_t n = leaf->used - from;

    if (n == 0 || from == to)
        return;
    memmove(few_index(leaf) + to, few_index(leaf) + from, n * sizeof(uint16_t));
    memmove(few_state(leaf) + to, few_state(leaf) + from, n);
    if (leaf->with_bus)
        memmove(few_bus(leaf) + to, few_bus(leaf) + from, n * sizeof(uint32_t));
}

static size_t few_pin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    uint8_t flag = change->write ? PIN_BYTE_WRITE : 0;
    uint16_t *index = few_index(leaf);
    uint8_t *state = few_state(leaf);
    uint32_t *bus = few_bus(leaf);
    size_t begin, from, fresh, left;

    few_slice(leaf, at, n, &begin, &from);
    fresh = left = n - (from - begin);
    if (fresh > 0)
        few_move(leaf, from, begin + n);
    leaf->used += fresh;
    /* From the last page to the first, so that nothing is written over before it is read. */
    for (size_t i = n; i-- > 0;) {
        size_t to = begin + i;

        if (from > begin && index[from - 1] == at + i) {
            from--;
            state[to] = (uint8_t)(state[from] + 1) | flag;
            if (leaf->with_bus)
                bus[to] = bus[from];
        } else {
            left--;
            state[to] = 1 | flag;
            if (leaf->with_bus)
                bus[to] = change->bus[left];
            pin_bitmap_set(change->changed, change->offset + i, 1);
        }
        index[to] = (uint16_t)(at + i);
    }
    return fresh;
}

static size_t few_unpin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    uint16_t *index = few_index(leaf);
    uint8_t *state = few_state(leaf);
    uint32_t *bus = few_bus(leaf);
    size_t begin, end, to;

    few_slice(leaf, at, n, &begin, &end);
    to = begin;
    for (size_t i = begin; i < end; i++) {
        if ((state[i] & PIN_BYTE_MAX) == 1) {
            size_t bit = change->offset + (index[i] - at);

            pin_bitmap_set(change->changed, bit, 1);
            pin_bitmap_set(change->written, bit, state[i] >> 7);
            if (change->freed_bus)
                *change->freed_bus++ = bus[i];
            continue;
        }
        index[to] = index[i];
        state[to] = state[i] - 1;
        if (leaf->with_bus)
            bus[to] = bus[i];
        to++;
    }
    few_move(leaf, end, to);
    leaf->used -= end - to;
    return end - begin;
}

/* ------------------------------------------------------------------ wide */

static size_t wide_pin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    uint32_t *state = wide_state(leaf) + at, *bus = wide_bus(leaf) + at;
    size_t fresh = 0;

    for (size_t i = 0; i < n; i++) {
        if (state[i] == 0) {
            pin_bitmap_set(change->changed, change->offset + i, 1);
            if (leaf->with_bus)
                bus[i] = change->bus[fresh];
            fresh++;
        }
        state[i] = (state[i] + 1) | (change->write ? WIDE_WRITE : 0);
    }
    leaf->used += fresh;
    return fresh;
}

static size_t wide_unpin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    uint32_t *state = wide_state(leaf) + at, *bus = wide_bus(leaf) + at;
    size_t pinned = 0;

    for (size_t i = 0; i < n; i++) {
        if (state[i] == 0)
            continue;
        pinned++;
        if ((state[i] & WIDE_COUNT) > 1) {
            state[i]--;
            continue;
        }
        pin_bitmap_set(change->changed, change->offset + i, 1);
        pin_bitmap_set(change->written, change->offset + i, state[i] >> 31);
        if (change->freed_bus)
            *change->freed_bus++ = bus[i];
        state[i] = 0;
        leaf->used--;
    }
    return pinned;
}

/* ------------------------------------------------------------------ any */

size_t pin_leaf_pin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    size_t fresh;

    switch (leaf->kind) {
    case PIN_FEW:
        fresh = few_pin(leaf, at, n, change);
        break;
    case PIN_DENSE:
        fresh = pin_bytes_pin(dense_state(leaf) + at, dense_bus(leaf, at), n, change);
        leaf->used += fresh;
        break;
    default:
        fresh = wide_pin(leaf, at, n, change);
        break;
    }
    if (leaf->with_bus)
        change->bus += fresh;
    return fresh;
}

size_t pin_leaf_unpin(struct pin_leaf *leaf, size_t at, size_t n, struct pin_change *change)
{
    size_t pinned, freed;

    switch (leaf->kind) {
    case PIN_FEW:
        return few_unpin(leaf, at, n, change);
    case PIN_DENSE:
        pinned = pin_bytes_unpin(dense_state(leaf) + at, dense_bus(leaf, at), n, change, &freed);
        leaf->used -= freed;
        return pinned;
    default:
        return wide_unpin(leaf, at, n, change);
    }
}

size_t pin_leaf_next(const struct pin_leaf *leaf, size_t at, size_t end)
{
    size_t rank;

    switch (leaf->kind) {
    case PIN_FEW:
        rank = few_rank(leaf, at);
        return rank < leaf->used ? MIN(few_index(leaf)[rank], end) : end;
    case PIN_DENSE:
        return at + pin_bytes_next(dense_state(leaf) + at, end - at);
    default:
        while (at < end && wide_state(leaf)[at] == 0)
            at++;
        return at;
    }
}

static size_t wide_count(const struct pin_leaf *leaf, size_t at, size_t n, bool *full)
{
    size_t count = 0;

    for (size_t i = at; i < at + n; i++) {
        count += wide_state(leaf)[i] != 0;
        if (full)
            *full |= (wide_state(leaf)[i] & WIDE_COUNT) == PIN_MAX_COUNT;
    }
    return count;
}

size_t pin_leaf_count(const struct pin_leaf *leaf, size_t at, size_t n, bool *full)
{
    size_t begin, end;

    if (full)
        *full = false;
    switch (leaf->kind) {
    case PIN_FEW:
        few_slice(leaf, at, n, &begin, &end);
        if (full)
            *full = pin_bytes_full(few_state(leaf) + begin, end - begin);
        return end - begin;
    case PIN_DENSE:
        if (full)
            *full = pin_bytes_full(dense_state(leaf) + at, n);
        return pin_bytes_count(dense_state(leaf) + at, n);
    default:
        return wide_count(leaf, at, n, full);
    }
}

bool pin_leaf_exceeds(const struct pin_leaf *leaf, uint32_t most)
{
    if (leaf->kind == PIN_WIDE)
        for (size_t i = 0; i < PIN_BLOCK; i++)
            if ((wide_state(leaf)[i] & WIDE_COUNT) > most)
                return true;
    return false;
}

void pin_leaf_narrow(struct pin_leaf *leaf, size_t at)
{
    switch (leaf->kind) {
    case PIN_FEW:
        few_state(leaf)[few_rank(leaf, at)] &= PIN_BYTE_MAX;
        break;
    case PIN_DENSE:
        dense_state(leaf)[at] &= PIN_BYTE_MAX;
        break;
    default:
        wide_state(leaf)[at] &= WIDE_COUNT;
        break;
    }
}

bool pin_leaf_get(const struct pin_leaf *leaf, size_t at, struct pin_page *page)
{
    uint32_t state;
    size_t rank;

    switch (leaf->kind) {
    case PIN_FEW:
        rank = few_rank(leaf, at);
        if (rank == leaf->used || few_index(leaf)[rank] != at)
            return false;
        return pin_byte_get(few_state(leaf)[rank], leaf->with_bus ? few_bus(leaf)[rank] : 0, page);
    case PIN_DENSE:
        return pin_byte_get(dense_state(leaf)[at], leaf->with_bus ? *dense_bus(leaf, at) : 0, page);
    default:
        state = wide_state(leaf)[at];
        *page = (struct pin_page){state & WIDE_COUNT, state & WIDE_WRITE,
                                  leaf->with_bus ? wide_bus(leaf)[at] : 0};
        return state != 0;
    }
}

size_t pin_leaf_get_bus(const struct pin_leaf *leaf, size_t at, size_t n, uint32_t *bus)
{
    size_t begin, end, found = 0;

    switch (leaf->kind) {
    case PIN_FEW:
        few_slice(leaf, at, n, &begin, &end);
        memcpy(bus, few_bus(leaf) + begin, (end - begin) * sizeof(*bus));
        return end - begin;
    case PIN_DENSE:
        return pin_bytes_get_bus(dense_state(leaf) + at, dense_bus(leaf, at), n, bus);
    default:
        for (size_t i = at; i < at + n; i++)
            if (wide_state(leaf)[i] != 0)
                bus[found++] = wide_bus(leaf)[i];
        return found;
    }
}

void pin_leaf_append(struct pin_leaf *leaf, size_t at, const struct pin_page *page)
{
    uint8_t narrow = (uint8_t)(page->count | (page->write ? PIN_BYTE_WRITE : 0));

    switch (leaf->kind) {
    case PIN_FEW:
        few_index(leaf)[leaf->used] = (uint16_t)at;
        few_state(leaf)[leaf->used] = narrow;
        if (leaf->with_bus)
            few_bus(leaf)[leaf->used] = page->bus;
        break;
    case PIN_DENSE:
        dense_state(leaf)[at] = narrow;
        if (leaf->with_bus)
            *dense_bus(leaf, at) = page->bus;
        break;
    default:
        wide_state(leaf)[at] = page->count | (page->write ? WIDE_WRITE : 0);
        if (leaf->with_bus)
            wide_bus(leaf)[at] = page->bus;
    }
    leaf->used++;
}

void pin_leaf_copy(struct pin_leaf *to, const struct pin_leaf *from, size_t at, size_t end,
                   ptrdiff_t down)
{
    struct pin_page page;

    for (size_t i = pin_leaf_next(from, at, end); i < end; i = pin_leaf_next(from, i + 1, end)) {
        if (pin_leaf_get(from, i, &page))
            pin_leaf_append(to, (size_t)((ptrdiff_t)i - down), &page);
    }
}
