/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A log that each test finds off, and a report of it.
 */
#ifndef TESTS_IOMMU_DIRTY_FIXTURE_H
#define TESTS_IOMMU_DIRTY_FIXTURE_H

#include "iommu/dirty_log.h"
#include "unit.h"

#include <string.h>

#define PAGE      PAGE_SIZE_4K
#define GIB       (UINT64_C(1) << 30)
#define LEAF      (UINT64_C(256) << 20) /* bytes of client memory under one of the tree's leaves */
#define LEAF_COST 8320u                 /* what it takes */
#define MAX_WORDS 8192u

static struct dirty_log log_;
static uint64_t words[MAX_WORDS];

static inline int setup(void **state)
{
    (void)state;
    return dirty_log_init(&log_);
}

static inline int teardown(void **state)
{
    (void)state;
    dirty_log_fini(&log_);
    return 0;
}

static inline void start_all(void)
{
    assert_int_equal(dirty_log_start(&log_, PAGE, NULL, 0), 0);
}

static inline void mark(uint64_t iova, uint64_t length)
{
    dirty_log_mark(&log_, (struct range){iova, iova + (length - 1)});
}

/* A report into `words`; everything behind its bitmap must stay as it was. */
static inline int report(uint64_t iova, uint64_t length, uint64_t page_size)
{
    uint64_t bytes = 0;
    int ret = dirty_log_check(&log_, iova, length, page_size, &bytes);

    memset(words, 0xa5, sizeof(words));
    assert_true(bytes <= sizeof(words));
    assert_int_equal(dirty_log_report(&log_, iova, length, page_size, words), ret);
    for (size_t i = ret ? 0 : bytes / 8; i < MAX_WORDS; i++)
        assert_true(words[i] == UINT64_C(0xa5a5a5a5a5a5a5a5));
    return ret;
}

static inline bool reported(size_t bit)
{
    return words[bit / 64] >> bit % 64 & 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
