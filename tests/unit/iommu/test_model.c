/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations, each compared with a naive model that looks at every byte by itself.
 *
 * The model: NUM_PAGES pages of IOVA space, half of them at an arbitrary place and half at the very
 * end of the address space, each with the mapping that covers it; and the files, byte by byte.
 * UMDEV_TEST_SEED repeats a run, UMDEV_TEST_STEPS makes it longer.
 */
#include "fixture.h"

#include "random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_STEPS   500000
#define NUM_PAGES       48
#define LOW_PAGES       24
#define LOW_BASE        UINT64_C(0x7f0000)
#define HIGH_BASE       (UINT64_C(0) - (NUM_PAGES - LOW_PAGES) * PAGE)
#define NUM_FILES       3
#define FILE_PAGES      12
#define MAX_HELD        6
#define MAX_MOVED_PAGES 7

struct model_mapping {
    bool used;
    struct range range;
    int file; /* −1: none */
    uint64_t offset;
    unsigned prot;
};

struct held {
    int file;
    uint64_t offset;
    size_t len;
    uint8_t *ptr;
    void *hold;
    int mapping; /* while it is mapped; −1: it was unmapped */
};

struct model {
    struct iommu *iommu;
    uint64_t random;
    uint64_t bytes_read, bytes_written;
    struct model_mapping mappings[NUM_PAGES];
    int page[NUM_PAGES]; /* the mapping over it; −1: none */
    int fds[NUM_FILES];
    uint8_t files[NUM_FILES][FILE_PAGES * PAGE];
    struct held held[MAX_HELD];
    size_t num_held;
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return random_next(&m->random) % limit;
}

static uint64_t page_iova(size_t page)
{
    return page < LOW_PAGES ? LOW_BASE + page * PAGE : HIGH_BASE + (page - LOW_PAGES) * PAGE;
}

/* The mapping over an address; NULL: none. */
static struct model_mapping *mapping_at(struct model *m, uint64_t iova)
{
    for (size_t page = 0; page < NUM_PAGES; page++) {
        if (iova - page_iova(page) < PAGE)
            return m->page[page] < 0 ? NULL : &m->mappings[m->page[page]];
    }
    return NULL;
}

/* The model's byte for an address; with −errno where it can't be accessed so. */
static int byte_at(struct model *m, uint64_t iova, unsigned prot, uint8_t **byte)
{
    struct model_mapping *mapping = mapping_at(m, iova);

    if (!mapping)
        return -EFAULT;
    if (prot & ~mapping->prot)
        return -EPERM;
    if (mapping->file < 0)
        return -EOPNOTSUPP;
    *byte = &m->files[mapping->file][mapping->offset + (iova - mapping->range.first)];
    return 0;
}

static int check_range(struct model *m, uint64_t iova, size_t len, unsigned prot)
{
    uint8_t *byte;
    int ret = 0;

    if (len > 0 && iova + len - 1 < iova)
        return -EOVERFLOW;
    /* Of every page that is touched, one byte. */
    for (uint64_t i = 0; i < len && !ret; i += PAGE - (iova + i) % PAGE)
        ret = byte_at(m, iova + i, prot, &byte);
    return ret;
}

/* An address in or near the pages, and a length: mostly short, sometimes over several mappings. */
static uint64_t random_span(struct model *m, size_t *len)
{
    uint64_t iova = page_iova(below(m, NUM_PAGES)) + below(m, PAGE);

    if (below(m, 3) == 0)
        iova = align_down(iova, PAGE) - below(m, 9);
    switch (below(m, 8)) {
    case 0:
        *len = 1 + below(m, (MAX_MOVED_PAGES - 2) * PAGE);
        break;
    case 1:
        *len = 1 + below(m, 2 * PAGE);
        break;
    case 2:
    case 3:
        *len = (size_t)1 << below(m, 4);
        iova = align_down(iova, *len);
        break;
    default:
        *len = below(m, 40);
    }
    return iova;
}

static void step_map(struct model *m)
{
    size_t page = below(m, NUM_PAGES);
    size_t pages = 1 + below(m, 4);
    uint64_t iova = page_iova(page);
    int file = (int)below(m, NUM_FILES + 1) - 1;
    uint64_t offset = below(m, FILE_PAGES) * PAGE;
    unsigned prot = (unsigned)below(m, 8) % 5;
    size_t slot = 0;
    int expected = 0;
    int ret;

    /* Past the low half nothing is modelled; past the high one there is nothing. */
    if (page < LOW_PAGES)
        pages = MIN(pages, LOW_PAGES - page);
    ret = iommu_map(m->iommu, IOVA(iova), pages * PAGE, file < 0 ? -1 : m->fds[file], offset, prot);
    if (prot == 0 || prot > UMDEV_RW || iova + pages * PAGE - 1 < iova)
        expected = -EINVAL;
    for (size_t i = 0; i < pages && !expected; i++) {
        if (mapping_at(m, iova + i * PAGE))
            expected = -EEXIST;
    }
    if (!expected && file >= 0 && offset + pages * PAGE > FILE_PAGES * PAGE)
        expected = -EINVAL;
    /* Both wrong: either may be said. */
    if (expected == -EEXIST && ret == -EINVAL)
        expected = -EINVAL;
    assert_int_equal(ret, expected);
    if (ret)
        return;
    while (m->mappings[slot].used)
        slot++;
    m->mappings[slot] =
        (struct model_mapping){true, {iova, iova + pages * PAGE - 1}, file, offset, prot};
    for (size_t i = 0; i < NUM_PAGES; i++) {
        if (range_has(m->mappings[slot].range, page_iova(i)))
            m->page[i] = (int)slot;
    }
}

/* Takes a mapping out of the model; whether a window held it. */
static bool forget_mapping(struct model *m, int index)
{
    bool was_held = false;

    m->mappings[index].used = false;
    for (size_t i = 0; i < NUM_PAGES; i++) {
        if (m->page[i] == index)
            m->page[i] = -1;
    }
    for (size_t i = 0; i < m->num_held; i++) {
        if (m->held[i].mapping == index) {
            m->held[i].mapping = -1;
            was_held = true;
        }
    }
    return was_held;
}

static void step_unmap(struct model *m)
{
    uint64_t first = page_iova(below(m, NUM_PAGES));
    uint64_t size = (1 + below(m, 6)) * PAGE;
    struct range range;
    uint64_t unmapped = 1;
    uint64_t expected_bytes = 0;
    int expected;

    /* The exact range of a mapping, a few pages, or nearly everything. */
    if (below(m, 2) && mapping_at(m, first)) {
        range = mapping_at(m, first)->range;
        first = range.first;
        size = range.last - range.first + 1;
    } else if (below(m, 16) == 0) {
        size = -first;
    }
    expected = range_make(first, size, &range) ? -EINVAL : 0;
    for (size_t i = 0; i < NUM_PAGES && !expected; i++) {
        if (m->mappings[i].used && range_overlaps(m->mappings[i].range, range) &&
            !range_contains(range, m->mappings[i].range))
            expected = -EINVAL;
    }
    assert_int_equal(iommu_unmap_begin(m->iommu, IOVA(first), size), expected);
    for (size_t i = 0; i < NUM_PAGES && (!expected || expected == -ETIMEDOUT); i++) {
        if (!m->mappings[i].used || !range_contains(range, m->mappings[i].range))
            continue;
        expected_bytes += range_size_minus_1(m->mappings[i].range) + 1;
        if (forget_mapping(m, (int)i))
            expected = -ETIMEDOUT;
    }
    assert_int_equal(iommu_unmap(m->iommu, IOVA(first), size, 0, &unmapped), expected);
    assert_int_equal(unmapped, expected_bytes);
}

static void step_unmap_all(struct model *m)
{
    int expected = 0;

    for (size_t i = 0; i < NUM_PAGES; i++) {
        if (m->mappings[i].used && forget_mapping(m, (int)i))
            expected = -ETIMEDOUT;
    }
    assert_int_equal(iommu_unmap_all(m->iommu, 0), expected);
}

static void step_read(struct model *m)
{
    static uint8_t found[MAX_MOVED_PAGES * PAGE];
    size_t len;
    uint64_t iova = random_span(m, &len);
    int expected = check_range(m, iova, len, UMDEV_READ);

    assert_int_equal(iommu_read(m->iommu, IOVA(iova), found, len), expected);
    if (expected)
        return;
    for (size_t i = 0; i < len; i++) {
        uint8_t *byte = NULL;

        assert_int_equal(byte_at(m, iova + i, UMDEV_READ, &byte), 0);
        if (found[i] != *byte)
            fail_msg("IOVA 0x%" PRIx64 ": %u instead of %u", iova + i, found[i], *byte);
    }
    m->bytes_read += len;
}

static void step_write(struct model *m)
{
    static uint8_t out[MAX_MOVED_PAGES * PAGE];
    size_t len;
    uint64_t iova = random_span(m, &len);
    int expected = check_range(m, iova, len, UMDEV_WRITE);

    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)below(m, 256);
    assert_int_equal(iommu_write(m->iommu, IOVA(iova), out, len), expected);
    if (expected)
        return;
    for (size_t i = 0; i < len; i++) {
        uint8_t *byte = NULL;

        assert_int_equal(byte_at(m, iova + i, UMDEV_WRITE, &byte), 0);
        *byte = out[i];
    }
    m->bytes_written += len;
}

static void step_copy(struct model *m)
{
    static uint8_t bytes[MAX_MOVED_PAGES * PAGE];
    size_t len;
    uint64_t src = random_span(m, &len);
    size_t unused;
    uint64_t dst = below(m, 2) ? random_span(m, &unused) : src + below(m, 4000) - 2000;
    int expected = check_range(m, src, len, UMDEV_READ);

    if (len > 0 && (src + len - 1 < src || dst + len - 1 < dst))
        expected = -EOVERFLOW;
    if (!expected)
        expected = check_range(m, dst, len, UMDEV_WRITE);
    assert_int_equal(iommu_copy(m->iommu, IOVA(dst), IOVA(src), len), expected);
    if (expected)
        return;
    for (size_t i = 0; i < len; i++) {
        uint8_t *byte = NULL;

        assert_int_equal(byte_at(m, src + i, UMDEV_READ, &byte), 0);
        bytes[i] = *byte;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t *byte = NULL;

        assert_int_equal(byte_at(m, dst + i, UMDEV_WRITE, &byte), 0);
        *byte = bytes[i];
    }
    m->bytes_read += len;
    m->bytes_written += len;
}

static void step_acquire(struct model *m)
{
    size_t len;
    uint64_t iova = random_span(m, &len);
    unsigned prot = 1 + (unsigned)below(m, 3);
    struct held *held = &m->held[m->num_held];
    struct model_mapping *mapping = mapping_at(m, iova);
    void *ptr;
    int expected = len == 0 ? -EINVAL : check_range(m, iova, 1, prot);

    if (m->num_held == MAX_HELD)
        return;
    if (len > 0 && iova + len - 1 < iova)
        expected = -EOVERFLOW;
    assert_int_equal(iommu_acquire(m->iommu, IOVA(iova), len, prot, &ptr, &held->len, &held->hold),
                     expected);
    if (expected)
        return;
    assert_int_equal(held->len, MIN(len, mapping->range.last - iova + 1));
    held->ptr = ptr;
    held->file = mapping->file;
    held->offset = mapping->offset + (iova - mapping->range.first);
    held->mapping = (int)(mapping - m->mappings);
    m->num_held++;
    m->bytes_read += prot & UMDEV_READ ? held->len : 0;
    m->bytes_written += prot & UMDEV_WRITE ? held->len : 0;
}

/* Whatever was unmapped since: a window still shows the memory it was given for. */
static void step_release(struct model *m)
{
    size_t index;

    if (m->num_held == 0)
        return;
    index = below(m, m->num_held);
    assert_memory_equal(m->held[index].ptr, &m->files[m->held[index].file][m->held[index].offset],
                        m->held[index].len);
    iommu_release(m->iommu, m->held[index].hold);
    m->held[index] = m->held[--m->num_held];
}

struct walk {
    struct model *m;
    uint64_t count, bytes;
    bool any;
    uint64_t last;
};

static void check_mapping(void *opaque, struct range range)
{
    struct walk *walk = opaque;
    struct model_mapping *mapping = mapping_at(walk->m, range.first);

    assert_non_null(mapping);
    assert_true(mapping->range.first == range.first && mapping->range.last == range.last);
    assert_true(!walk->any || range.first > walk->last);
    walk->any = true;
    walk->last = range.last;
    walk->count++;
    walk->bytes += range_size_minus_1(range) + 1;
}

/* Everything at once: the list of mappings, the counters, the files. */
static void check_all(struct model *m)
{
    static uint8_t bytes[FILE_PAGES * PAGE];
    struct walk walk = {.m = m};
    struct iommu_stats stats;
    uint64_t used = 0;

    for (size_t i = 0; i < NUM_PAGES; i++)
        used += m->mappings[i].used;
    assert_int_equal(iommu_for_each(m->iommu, check_mapping, &walk), 0);
    assert_int_equal(walk.count, used);
    iommu_get_stats(m->iommu, &stats);
    assert_int_equal(stats.maps, used);
    assert_int_equal(stats.mapped_bytes, walk.bytes);
    assert_int_equal(stats.bytes_read, m->bytes_read);
    assert_int_equal(stats.bytes_written, m->bytes_written);
    for (size_t i = 0; i < NUM_FILES; i++) {
        assert_int_equal(pread(m->fds[i], bytes, sizeof(bytes), 0), sizeof(bytes));
        assert_memory_equal(bytes, m->files[i], sizeof(bytes));
    }
    assert_false(iommu_lost(m->iommu));
}

static void step(struct model *m)
{
    uint64_t choice = below(m, 1000);

    if (choice < 180)
        step_map(m);
    else if (choice < 240)
        step_unmap(m);
    else if (choice < 242)
        step_unmap_all(m);
    else if (choice < 480)
        step_read(m);
    else if (choice < 700)
        step_write(m);
    else if (choice < 880)
        step_copy(m);
    else if (choice < 938)
        step_acquire(m);
    else if (choice < 998)
        step_release(m);
    else
        check_all(m);
}

static void test_against_the_model(void **state)
{
    struct fixture *f = *state;
    static struct model m;
    uint64_t steps = random_steps(DEFAULT_STEPS);

    m.random = random_seed();
    m.iommu = f->iommu;
    for (size_t i = 0; i < NUM_FILES; i++)
        m.fds[i] = fixture_memfd(FILE_PAGES * PAGE);
    memset(m.page, 0xff, sizeof(m.page));
    for (uint64_t i = 0; i < steps; i++)
        step(&m);
    check_all(&m);
    while (m.num_held > 0)
        step_release(&m);
    for (size_t i = 0; i < NUM_FILES; i++)
        close(m.fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_the_model, fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
