/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inclusive ranges [first, last] of 64-bit addresses, and arithmetic that can't overflow.
 *
 * Invariant: first <= last. A range is never empty, and the last byte of the address space needs
 * no special case.
 */
#ifndef BASE_RANGE_H
#define BASE_RANGE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t first, last;
};

/* Both are true when the sum or product does not fit; *result is then unspecified. */
#define ADD_OVERFLOW(a, b, result) __builtin_add_overflow((a), (b), (result))
#define MUL_OVERFLOW(a, b, result) __builtin_mul_overflow((a), (b), (result))

/* [first, first + size): EINVAL for size 0, EOVERFLOW past the end of the address space. */
static inline int range_make(uint64_t first, uint64_t size, struct range *range)
{
    if (size == 0)
        return -EINVAL;
    range->first = first;
    return ADD_OVERFLOW(first, size - 1, &range->last) ? -EOVERFLOW : 0;
}

/* The number of bytes, less one: that of the whole address space does not fit in 64 bits. */
static inline uint64_t range_size_minus_1(struct range range)
{
    return range.last - range.first;
}

static inline bool range_overlaps(struct range a, struct range b)
{
    return a.first <= b.last && b.first <= a.last;
}

static inline bool range_contains(struct range outer, struct range inner)
{
    return outer.first <= inner.first && inner.last <= outer.last;
}

static inline bool range_has(struct range range, uint64_t address)
{
    return range.first <= address && address <= range.last;
}

/* For qsort(): by first address. */
static inline int range_compare(const void *a, const void *b)
{
    const struct range *left = a, *right = b;

    return (left->first > right->first) - (left->first < right->first);
}

/* Whether [offset, offset + len) lies in [0, size); len 0 is inside up to offset == size. */
static inline bool span_fits(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

static inline bool is_power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

static inline bool is_aligned(uint64_t value, uint64_t power_of_two)
{
    return !(value & (power_of_two - 1));
}

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

/* EOVERFLOW when the result does not fit. */
static inline int align_up(uint64_t value, uint64_t power_of_two, uint64_t *result)
{
    if (ADD_OVERFLOW(value, power_of_two - 1, result))
        return -EOVERFLOW;
    *result = align_down(*result, power_of_two);
    return 0;
}

#define PAGE_SIZE_4K      UINT64_C(4096)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)         ((a) < (b) ? (a) : (b))
#define MAX(a, b)         ((a) > (b) ? (a) : (b))

#endif
