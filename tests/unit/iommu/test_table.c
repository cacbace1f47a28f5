/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table with thousands of mappings: random maps, unmaps and protections, each compared with a
 * model that has an array of pages; and the table's own invariants.
 *
 * UMDEV_TEST_SEED repeats a run, UMDEV_TEST_STEPS makes it longer.
 */
#include "fixture.h"

#include "failnth.h"
#include "iommu/pool.h"
#include "iommu/private.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_STEPS 400000
#define NUM_PAGES     UINT64_C(16384)
#define NUM_FILES     3 /* one for reading and writing, the same for reading, none */
#define BASE          (UINT64_C(0) - NUM_PAGES * PAGE)

struct mapping {
    bool used;
    uint64_t page, pages, offset;
    int file;
    unsigned prot;
};

struct model {
    struct iommu *iommu;
    uint64_t random;
    int fds[NUM_FILES];
    struct mapping mappings[NUM_PAGES]; /* by their first page */
    int32_t owner[NUM_PAGES];           /* the first page of the mapping there; −1: none */
    uint64_t count;
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return random_next(&m->random) % limit;
}

static uint64_t page_iova(uint64_t page)
{
    return BASE + page * PAGE;
}

/* Each page of the file begins with its number. */
static int numbered_file(void)
{
    int fd = fixture_memfd(NUM_PAGES * PAGE);

    for (uint64_t page = 0; page < NUM_PAGES; page++)
        assert_int_equal(pwrite(fd, &page, sizeof(page), (off_t)(page * PAGE)), sizeof(page));
    return fd;
}

static void map_at(struct model *m, uint64_t page, uint64_t pages)
{
    struct mapping mapping = {.used = true, .page = page, .pages = pages};
    int expected = 0;

    mapping.file = (int)below(m, NUM_FILES);
    mapping.offset = below(m, NUM_PAGES - pages);
    mapping.prot = mapping.file == 1 ? UMDEV_READ : 1 + (unsigned)below(m, 3);
    for (uint64_t i = page; i < page + pages; i++)
        expected = m->owner[i] >= 0 ? -EEXIST : expected;
    assert_int_equal(iommu_map(m->iommu, IOVA(page_iova(page)), pages * PAGE, m->fds[mapping.file],
                               mapping.offset * PAGE, mapping.prot),
                     expected);
    if (expected)
        return;
    m->mappings[page] = mapping;
    for (uint64_t i = page; i < page + pages; i++)
        m->owner[i] = (int32_t)page;
    m->count++;
}

static void step_map(struct model *m)
{
    uint64_t page = below(m, NUM_PAGES);
    uint64_t pages = 1 + below(m, below(m, 8) ? 1 : 4);

    map_at(m, page, MIN(pages, NUM_PAGES - page));
}

/* Many in order, up or down: leaves are filled at one end. */
static void step_map_run(struct model *m)
{
    uint64_t page = below(m, NUM_PAGES);
    bool up = below(m, 2);
    uint64_t count = below(m, 400);

    for (uint64_t i = 0; i < count && (up ? page + i < NUM_PAGES : i <= page); i++)
        map_at(m, up ? page + i : page - i, 1);
}

/* A range, and whether it cuts a mapping. */
static bool random_range(struct model *m, uint64_t *page, uint64_t *pages)
{
    static const uint64_t sizes[] = {1, 1, 1, 2, 8, 64, 500, 3000};
    uint64_t end;

    *page = below(m, NUM_PAGES);
    *pages = 1 + below(m, sizes[below(m, ARRAY_SIZE(sizes))]);
    *pages = MIN(*pages, NUM_PAGES - *page);
    /* Mostly such that nothing is cut. */
    if (m->owner[*page] >= 0 && below(m, 8)) {
        *pages += *page - (uint64_t)m->owner[*page];
        *page = (uint64_t)m->owner[*page];
    }
    end = *page + *pages;
    if (m->owner[end - 1] >= 0 && below(m, 8)) {
        const struct mapping *last = &m->mappings[m->owner[end - 1]];

        end = MAX(end, last->page + last->pages);
        *pages = end - *page;
    }
    return (m->owner[*page] >= 0 && (uint64_t)m->owner[*page] < *page) ||
           (end < NUM_PAGES && m->owner[end] >= 0 && (uint64_t)m->owner[end] < end);
}

static void step_unmap(struct model *m)
{
    uint64_t unmapped = 1;
    uint64_t page;
    uint64_t pages;
    uint64_t expected = 0;
    bool cuts = random_range(m, &page, &pages);
    int ret = iommu_unmap(m->iommu, IOVA(page_iova(page)), pages * PAGE, 0, &unmapped);

    assert_int_equal(ret, cuts ? -EINVAL : 0);
    for (uint64_t i = page; i < page + pages && !cuts; i++) {
        if (m->owner[i] < 0)
            continue;
        m->count -= m->mappings[i].used;
        m->mappings[i].used = false;
        m->owner[i] = -1;
        expected += PAGE;
    }
    assert_int_equal(unmapped, expected);
}

static void step_protect(struct model *m)
{
    unsigned prot = 1 + (unsigned)below(m, 3);
    uint64_t page;
    uint64_t pages;
    bool cuts = random_range(m, &page, &pages);
    int expected = cuts ? -EINVAL : -ENOENT;

    for (uint64_t i = page; i < page + pages && !cuts && expected != -EPERM; i++) {
        if (m->mappings[i].used)
            expected = (prot & UMDEV_WRITE) && m->mappings[i].file == 1 ? -EPERM : 0;
    }
    assert_int_equal(iommu_protect(m->iommu, IOVA(page_iova(page)), pages * PAGE, prot), expected);
    for (uint64_t i = page; i < page + pages && !expected; i++)
        m->mappings[i].prot = prot;
}

static void check_page(struct model *m, uint64_t page)
{
    const struct mapping *mapping = m->owner[page] < 0 ? NULL : &m->mappings[m->owner[page]];
    uint64_t found = 0;
    int expected = mapping ? 0 : -EFAULT;
    int ret = iommu_read(m->iommu, IOVA(page_iova(page)), &found, sizeof(found));

    if (mapping && !(mapping->prot & UMDEV_READ))
        expected = -EPERM;
    else if (mapping && m->fds[mapping->file] < 0)
        expected = -EOPNOTSUPP;
    assert_int_equal(ret, expected);
    if (!expected)
        assert_int_equal(found, mapping->offset + (page - mapping->page));
}

/* From here on: the table from inside. */
static void check_leaf(const struct model *m, const struct iommu_leaf *leaf, uint64_t *at)
{
    assert_in_range(leaf->count, 1, IOMMU_LEAF_ENTRIES);
    for (size_t i = 0; i < leaf->count; i++, ++*at) {
        const struct iommu_entry *entry = &leaf->entries[i];
        const struct mapping *mapping;

        while (*at < NUM_PAGES && !m->mappings[*at].used)
            ++*at;
        assert_true(*at < NUM_PAGES);
        mapping = &m->mappings[*at];
        assert_int_equal(leaf->first[i], page_iova(*at));
        assert_int_equal(entry->first, page_iova(*at));
        assert_int_equal(entry->last, page_iova(*at) + mapping->pages * PAGE - 1);
        assert_int_equal(iommu_entry_prot(entry), mapping->prot);
        assert_int_equal(iommu_entry_mapping(entry)->range.first, entry->first);
    }
}

static size_t count_nodes(const struct iommu_table *table, uint32_t capacity, size_t *directories)
{
    size_t leaves = 0;

    *directories = 0;
    for (const struct iommu_leaf *leaf = table->spare_leaves; leaf; leaf = leaf->next)
        leaves++;
    assert_int_equal(leaves, table->num_spare_leaves);
    for (const struct iommu_leaf *leaf = table->retired_leaves; leaf; leaf = leaf->next)
        leaves++;
    for (const struct iommu_directory *d = table->spare_directories; d; d = d->next)
        *directories += d->capacity >= capacity;
    for (const struct iommu_directory *d = table->retired_directories; d; d = d->next)
        *directories += d->capacity >= capacity;
    return leaves;
}

static void check_table(const struct model *m)
{
    const struct iommu_directory *root = iommu_table_root(&m->iommu->table);
    size_t directories;
    uint64_t at = 0;

    if (!root) {
        assert_int_equal(m->count, 0);
        return;
    }
    assert_int_equal(root->maps, m->count);
    for (uint32_t i = 0; i < root->count; i++) {
        const struct iommu_leaf *leaf = iommu_directory_leaves(root)[i];

        assert_int_equal(root->first[i], leaf->first[0]);
        check_leaf(m, leaf, &at);
        if (i > 0)
            assert_true(leaf->count + iommu_directory_leaves(root)[i - 1]->count >
                        IOMMU_LEAF_ENTRIES / 2);
    }
    assert_true(count_nodes(&m->iommu->table, root->count, &directories) >= IOMMU_REMOVAL_LEAVES);
    assert_true(directories >= IOMMU_REMOVAL_DIRECTORIES);
}

/* In turn mostly maps and mostly unmaps, so that it is full at times and empty at others. */
static void step(struct model *m, uint64_t i)
{
    bool filling = i / 20000 % 2 == 0;
    uint64_t choice = below(m, 1000);

    if (choice < (filling ? 500u : 100u))
        step_map(m);
    else if (choice < (filling ? 505u : 101u))
        step_map_run(m);
    else if (choice < 600)
        step_unmap(m);
    else if (choice < 650)
        step_protect(m);
    else
        check_page(m, below(m, NUM_PAGES));
    if (i % 500 == 0)
        check_table(m);
}

static struct model *model_new(const struct fixture *f)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->random = random_seed();
    m->iommu = f->iommu;
    m->fds[0] = numbered_file();
    m->fds[1] = fixture_reopen(m->fds[0], O_RDONLY);
    m->fds[2] = -1;
    memset(m->owner, 0xff, sizeof(m->owner));
    return m;
}

static void model_free(struct model *m)
{
    close(m->fds[0]);
    close(m->fds[1]);
    free(m);
}

static void test_against_the_model(void **state)
{
    struct model *m = model_new(*state);
    uint64_t steps = random_steps(DEFAULT_STEPS);

    for (uint64_t i = 0; i < steps; i++)
        step(m, i);
    check_table(m);
    for (uint64_t page = 0; page < NUM_PAGES; page++)
        check_page(m, page);
    assert_int_equal(iommu_unmap_all(m->iommu, 0), 0);
    model_free(m);
}

/* Every call for memory fails, from here on: unmaps don't care. */
static void test_unmaps_need_no_memory(void **state)
{
    struct model *m = model_new(*state);

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 60; i++)
            step_map_run(m);
        for (int i = 0; i < 300; i++) {
            failnth_arm(1);
            step_unmap(m);
            failnth_disarm();
        }
        check_table(m);
    }
    failnth_arm(1);
    assert_int_equal(iommu_unmap_all(m->iommu, 0), 0);
    assert_false(failnth_disarm());
    model_free(m);
}

static void test_failed_protect_changes_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned prot = UMDEV_READ;
    unsigned refused = 0;
    bool failed = true;

    for (uint64_t i = 0; i < 20000; i++)
        assert_int_equal(iommu_map(f->iommu, IOVA(i * PAGE), PAGE, f->fd, 0, prot), 0);
    for (unsigned n = 1; failed; n++) {
        unsigned other = prot ^ UMDEV_RW;
        bool remote;
        int ret;

        failnth_arm(n);
        ret = iommu_protect(f->iommu, IOVA(10 * PAGE), 19900 * PAGE, other);
        failed = failnth_disarm();
        assert_true(ret == 0 || (failed && ret == -ENOMEM));
        refused += ret != 0;
        prot = ret ? prot : other;
        assert_int_equal(iommu_check(f->iommu, IOVA(10 * PAGE), 19900 * PAGE, prot, &remote), 0);
        assert_int_equal(iommu_check(f->iommu, IOVA(10 * PAGE), PAGE, prot ^ UMDEV_RW, &remote),
                         -EPERM);
    }
    assert_true(refused > 3);
    assert_int_equal(iommu_unmap_all(f->iommu, 0), 0);
}

static void test_protect_errors(void **state)
{
    struct fixture *f = *state;
    int reading = fixture_reopen(f->fd, O_RDONLY);
    uint64_t word = 1;

    fixture_map(f, 0x10000, 2 * PAGE, 0, UMDEV_READ);
    assert_int_equal(iommu_map(f->iommu, IOVA(0x20000), PAGE, reading, 0, UMDEV_READ), 0);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 0, UMDEV_READ), -EINVAL);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 100, UMDEV_READ), -EINVAL);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), PAGE, UMDEV_READ), -EINVAL);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 2 * PAGE, 0), -EINVAL);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 2 * PAGE, 4), -EINVAL);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x30000), 2 * PAGE, UMDEV_RW), -ENOENT);
    /* All of them or none. */
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 0x11000, UMDEV_RW), -EPERM);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x10000), &word, 8), -EPERM);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0x10000), 2 * PAGE, UMDEV_RW), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x10000), &word, 8), 0);
    assert_int_equal(iommu_protect(f->iommu, IOVA(0), 0x100000, UMDEV_READ), 0);
    assert_int_equal(iommu_write(f->iommu, IOVA(0x10000), &word, 8), -EPERM);
    close(reading);
}

static void test_unmap_begin(void **state)
{
    struct fixture *f = *state;
    const struct iommu_directory *root;

    fixture_map(f, 0x1000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x2000, PAGE, 0, UMDEV_RW);
    fixture_map(f, 0x4000, 2 * PAGE, 0, UMDEV_RW);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0x2000), 0x3000), -EINVAL);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0x2001), 0x1000), -EINVAL);
    assert_int_equal(iommu_unmap_begin(f->iommu, IOVA(0x2000), 0x2000), 0);
    root = iommu_table_root(&f->iommu->table);
    for (size_t i = 0; i < 3; i++) {
        const struct iommu_entry *entry = &iommu_directory_leaves(root)[0]->entries[i];

        assert_int_equal(iommu_entry_mapping(entry)->leaving, entry->first == 0x2000);
    }
    fixture_unmap(f, 0x2000, 0x2000, PAGE);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define TEST_UNWATCHED(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, fixture_setup_unwatched, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST_UNWATCHED(test_against_the_model),
        TEST_UNWATCHED(test_unmaps_need_no_memory),
        TEST_UNWATCHED(test_failed_protect_changes_nothing),
        TEST(test_protect_errors),
        TEST(test_unmap_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
