/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/pin_bytes.h"

#include "base/range.h"

#include <endian.h>
#include <string.h>

/* The first page's state is the lowest byte. Counts have 7 bits: no sum reaches the next byte. */
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))
#define GROUP      8

static uint64_t group_load(const uint8_t *state, size_t n)
{
    uint64_t word = 0;

    if (n == GROUP) {
        memcpy(&word, state, sizeof(word));
        return le64toh(word);
    }
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)state[i] << (8 * i);
    return word;
}

static void group_store(uint8_t *state, uint64_t word, size_t n)
{
    if (n == GROUP) {
        word = htole64(word);
        memcpy(state, &word, sizeof(word));
        return;
    }
    for (size_t i = 0; i < n; i++)
        state[i] = (uint8_t)(word >> (8 * i));
}

/* 0x80 in each byte whose count is not 0. */
static uint64_t group_pinned(uint64_t word)
{
    return ((word & EACH(PIN_BYTE_MAX)) + EACH(PIN_BYTE_MAX)) & EACH(0x80);
}

/* The bits 0x80 of eight bytes as eight bits. */
static unsigned group_bits(uint64_t flags)
{
    return (unsigned)((flags >> 7) * UINT64_C(0x0102040810204080) >> 56);
}

/* How many bits 0x80 there are: not every processor that umdev is built for can count bits. */
static size_t group_count(uint64_t flags)
{
    return (size_t)((flags >> 7) * EACH(1) >> 56);
}

/* 0x80 in each byte of a group. */
static uint64_t group_flags(size_t n)
{
    return EACH(0x80) >> (8 * (GROUP - n));
}

static unsigned group_all(size_t n)
{
    return (1u << n) - 1;
}

/* The bus pages of the pages in `bits`, from or to an array that has only theirs. */
static void group_put_bus(uint32_t *bus, unsigned bits, const uint32_t *from)
{
    if (bits == group_all(GROUP)) {
        memcpy(bus, from, GROUP * sizeof(*bus));
        return;
    }
    for (; bits; bits &= bits - 1)
        bus[__builtin_ctz(bits)] = *from++;
}

static void group_get_bus(const uint32_t *bus, unsigned bits, uint32_t *to)
{
    if (bits == group_all(GROUP)) {
        memcpy(to, bus, GROUP * sizeof(*bus));
        return;
    }
    for (; bits; bits &= bits - 1)
        *to++ = bus[__builtin_ctz(bits)];
}

size_t pin_bytes_count(const uint8_t *state, size_t n)
{
    size_t count = 0, group;

    for (size_t i = 0; i < n; i += group) {
        group = MIN(n - i, GROUP);
        count += group_count(group_pinned(group_load(state + i, group)));
    }
    return count;
}

bool pin_bytes_full(const uint8_t *state, size_t n)
{
    size_t group;

    for (size_t i = 0; i < n; i += group) {
        uint64_t counts;

        group = MIN(n - i, GROUP);
        counts = group_load(state + i, group) & EACH(PIN_BYTE_MAX);
        if ((counts + EACH(1)) & EACH(0x80))
            return true;
    }
    return false;
}

size_t pin_bytes_next(const uint8_t *state, size_t n)
{
    size_t group;

    for (size_t i = 0; i < n; i += group) {
        uint64_t pinned;

        group = MIN(n - i, GROUP);
        pinned = group_pinned(group_load(state + i, group));
        if (pinned)
            return i + (size_t)__builtin_ctzll(pinned) / 8;
    }
    return n;
}

size_t pin_bytes_pin(uint8_t *state, uint32_t *bus, size_t n, struct pin_change *change)
{
    uint64_t flags = change->write ? EACH(PIN_BYTE_WRITE) : 0;
    size_t fresh = 0, group;

    for (size_t i = 0; i < n; i += group) {
        uint64_t word, unpinned;
        unsigned bits;

        group = MIN(n - i, GROUP);
        word = group_load(state + i, group);
        unpinned = ~group_pinned(word) & group_flags(group);
        bits = group_bits(unpinned);
        group_store(state + i, (word + EACH(1)) | flags, group);
        pin_bitmap_set(change->changed, change->offset + i, bits);
        if (bus)
            group_put_bus(bus + i, bits, change->bus + fresh);
        fresh += group_count(unpinned);
    }
    return fresh;
}

size_t pin_bytes_unpin(uint8_t *state, const uint32_t *bus, size_t n, struct pin_change *change,
                       size_t *freed)
{
    size_t pinned = 0, group;

    *freed = 0;
    for (size_t i = 0; i < n; i += group) {
        uint64_t word, held, last;
        unsigned bits;

        group = MIN(n - i, GROUP);
        word = group_load(state + i, group);
        held = group_pinned(word);
        word -= held >> 7;
        last = held & ~group_pinned(word);
        bits = group_bits(last);
        pin_bitmap_set(change->changed, change->offset + i, bits);
        pin_bitmap_set(change->written, change->offset + i, group_bits(last & word));
        /* Of those with a count of 0 only the flag may be left. */
        group_store(state + i, word & ~last, group);
        if (bus && change->freed_bus) {
            group_get_bus(bus + i, bits, change->freed_bus);
            change->freed_bus += group_count(last);
        }
        pinned += group_count(held);
        *freed += group_count(last);
    }
    return pinned;
}

size_t pin_bytes_get_bus(const uint8_t *state, const uint32_t *bus, size_t n, uint32_t *to)
{
    size_t found = 0, group;

    for (size_t i = 0; i < n; i += group) {
        uint64_t pinned;

        group = MIN(n - i, GROUP);
        pinned = group_pinned(group_load(state + i, group));
        group_get_bus(bus + i, group_bits(pinned), to + found);
        found += group_count(pinned);
    }
    return found;
}
