/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the iommu tests share: an iommu with a log that can be looked at, and client files.
 */
#ifndef TESTS_IOMMU_FIXTURE_H
#define TESTS_IOMMU_FIXTURE_H

#include "iommu/iommu.h"
#include "unit.h"

#include <pthread.h>

#define PAGE PAGE_SIZE_4K
#define IOVA umdev_iova

struct fixture {
    struct log log;
    pthread_mutex_t lock; /* of what is logged */
    unsigned lines;       /* logged as warnings or worse */
    char line[LOG_LINE_MAX];
    struct iommu *iommu;
    int fd; /* a memfd of FIXTURE_PAGES pages, open for reading and writing */
    bool watched;
};
#define FIXTURE_PAGES 16

/*
 * cmocka's setup and teardown; *state is a struct fixture. Teardown checks that nothing is left,
 * unless the test watches for itself, or makes too many things to be watched.
 */
int fixture_setup(void **state);
int fixture_setup_unwatched(void **state);
int fixture_teardown(void **state);

/* A memfd of `size` bytes, all zeros. */
int fixture_memfd(uint64_t size);
/* The same file opened again with other flags. */
int fixture_reopen(int fd, int flags);

/* Map and expect success. */
void fixture_map(struct fixture *fixture, uint64_t iova, uint64_t size, uint64_t offset,
                 unsigned prot);
/* Unmap without waiting; expect success and the number of bytes. */
void fixture_unmap(struct fixture *fixture, uint64_t iova, uint64_t size, uint64_t expected);
/* The log's last line has these words. */
void fixture_assert_logged(const struct fixture *fixture, const char *words);

/* How many mappings of client files the process has: their lines in /proc/self/maps. */
unsigned fixture_count_maps(void);

#endif
