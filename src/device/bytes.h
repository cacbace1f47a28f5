/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies to and from bytes that other threads, or the client, use at the same moment: a naturally
 * aligned 1, 2, 4 or 8 bytes moves as one, so that nobody sees half a register. Loads acquire and
 * stores release: who sees a flag also sees what was stored before it.
 */
#ifndef DEVICE_BYTES_H
#define DEVICE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t __attribute__((may_alias)) bytes_u16;
typedef uint32_t __attribute__((may_alias)) bytes_u32;
typedef uint64_t __attribute__((may_alias)) bytes_u64;

/* The largest piece that may move as one: aligned at `shared`, not longer than `len`. */
static inline size_t bytes_piece(const uint8_t *shared, size_t len)
{
    size_t piece = 8;

    while (piece > len || ((uintptr_t)shared & (piece - 1)))
        piece /= 2;
    return piece;
}

static inline void bytes_load_piece(uint8_t *to, const uint8_t *shared, size_t piece)
{
    uint64_t eight;
    uint32_t four;
    uint16_t two;

    switch (piece) {
    case 8:
        eight = __atomic_load_n((const bytes_u64 *)(const void *)shared, __ATOMIC_ACQUIRE);
        memcpy(to, &eight, sizeof(eight));
        break;
    case 4:
        four = __atomic_load_n((const bytes_u32 *)(const void *)shared, __ATOMIC_ACQUIRE);
        memcpy(to, &four, sizeof(four));
        break;
    case 2:
        two = __atomic_load_n((const bytes_u16 *)(const void *)shared, __ATOMIC_ACQUIRE);
        memcpy(to, &two, sizeof(two));
        break;
    default:
        *to = __atomic_load_n(shared, __ATOMIC_ACQUIRE);
        break;
    }
}

static inline void bytes_store_piece(uint8_t *shared, const uint8_t *from, size_t piece)
{
    uint64_t eight;
    uint32_t four;
    uint16_t two;

    switch (piece) {
    case 8:
        memcpy(&eight, from, sizeof(eight));
        __atomic_store_n((bytes_u64 *)(void *)shared, eight, __ATOMIC_RELEASE);
        break;
    case 4:
        memcpy(&four, from, sizeof(four));
        __atomic_store_n((bytes_u32 *)(void *)shared, four, __ATOMIC_RELEASE);
        break;
    case 2:
        memcpy(&two, from, sizeof(two));
        __atomic_store_n((bytes_u16 *)(void *)shared, two, __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n(shared, *from, __ATOMIC_RELEASE);
        break;
    }
}

static inline void bytes_load(void *buf, const uint8_t *shared, size_t len)
{
    uint8_t *to = (uint8_t *)buf;

    while (len > 0) {
        size_t piece = bytes_piece(shared, len);

        bytes_load_piece(to, shared, piece);
        to += piece;
        shared += piece;
        len -= piece;
    }
}

static inline void bytes_store(uint8_t *shared, const void *buf, size_t len)
{
    const uint8_t *from = (const uint8_t *)buf;

    while (len > 0) {
        size_t piece = bytes_piece(shared, len);

        bytes_store_piece(shared, from, piece);
        from += piece;
        shared += piece;
        len -= piece;
    }
}

/* A little-endian register of 1, 2, 4 or 8 bytes, naturally aligned. */
static inline uint64_t bytes_load_le(const uint8_t *shared, size_t size)
{
    uint64_t value = 0;

    bytes_load(&value, shared, size);
    return le64toh(value);
}

static inline void bytes_store_le(uint8_t *shared, size_t size, uint64_t value)
{
    value = htole64(value);
    bytes_store(shared, &value, size);
}

/* Change the bits of `mask` to those of `value`, at once, and return the whole new register. */
static inline uint64_t bytes_merge_le(uint8_t *shared, size_t size, uint64_t mask, uint64_t value)
{
    for (;;) {
        uint64_t old = bytes_load_le(shared, size);
        uint64_t new = (old & ~mask) | (value & mask);
        uint16_t old2 = htole16((uint16_t)old), new2 = htole16((uint16_t) new);
        uint32_t old4 = htole32((uint32_t)old), new4 = htole32((uint32_t) new);
        uint64_t old8 = htole64(old), new8 = htole64(new);
        uint8_t old1 = (uint8_t)old, new1 = (uint8_t) new;
        bool done;

        switch (size) {
        case 8:
            done = __atomic_compare_exchange_n((bytes_u64 *)(void *)shared, &old8, new8, false,
                                               __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
            break;
        case 4:
            done = __atomic_compare_exchange_n((bytes_u32 *)(void *)shared, &old4, new4, false,
                                               __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
            break;
        case 2:
            done = __atomic_compare_exchange_n((bytes_u16 *)(void *)shared, &old2, new2, false,
                                               __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
            break;
        default:
            done = __atomic_compare_exchange_n(shared, &old1, new1, false, __ATOMIC_ACQ_REL,
                                               __ATOMIC_ACQUIRE);
            break;
        }
        if (done)
            return new;
    }
}

#endif
