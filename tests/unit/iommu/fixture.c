/* SPDX-License-Identifier: BSD-3-Clause */
#include "fixture.h"

#include "base/cleanup.h"
#include "leaks.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void keep_line(void *opaque, enum umdev_log_level level, const char *line)
{
    struct fixture *fixture = opaque;
    LOCK_FOR_SCOPE(&fixture->lock);

    fixture->lines += level <= UMDEV_LOG_WARNING;
    snprintf(fixture->line, sizeof(fixture->line), "%s", line);
}

/* What a process makes once and keeps, like the guard's table, is no leak of the test's. */
static void make_lasting_things(void)
{
    struct iommu *iommu;
    int fd = fixture_memfd(PAGE);

    assert_int_equal(iommu_new(NULL, NULL, &iommu), 0);
    assert_int_equal(iommu_map(iommu, IOVA(0), PAGE, fd, 0, UMDEV_RW), 0);
    iommu_free(iommu);
    close(fd);
}

static int setup(void **state, bool watched)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    make_lasting_things();
    fixture->watched = watched;
    pthread_mutex_init(&fixture->lock, NULL);
    if (watched)
        leaks_begin();
    fixture->log = (struct log){keep_line, fixture, UMDEV_LOG_DEBUG};
    fixture->fd = fixture_memfd(FIXTURE_PAGES * PAGE);
    assert_int_equal(iommu_new(&fixture->log, "dev", &fixture->iommu), 0);
    *state = fixture;
    return 0;
}

int fixture_setup(void **state)
{
    return setup(state, true);
}

int fixture_setup_unwatched(void **state)
{
    return setup(state, false);
}

int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;

    iommu_free(fixture->iommu);
    close(fixture->fd);
    if (fixture->watched && leaks_end("iommu test"))
        return -1;
    pthread_mutex_destroy(&fixture->lock);
    free(fixture);
    return 0;
}

int fixture_memfd(uint64_t size)
{
    int fd = memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

int fixture_reopen(int fd, int flags)
{
    char path[64];
    int reopened;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    reopened = open(path, flags | O_CLOEXEC);
    assert_true(reopened >= 0);
    return reopened;
}

void fixture_map(struct fixture *fixture, uint64_t iova, uint64_t size, uint64_t offset,
                 unsigned prot)
{
    int ret = iommu_map(fixture->iommu, IOVA(iova), size, fixture->fd, offset, prot);

    if (ret)
        fail_msg("map gave %d: %s", ret, fixture->line);
}

void fixture_unmap(struct fixture *fixture, uint64_t iova, uint64_t size, uint64_t expected)
{
    uint64_t unmapped = ~expected;

    assert_int_equal(iommu_unmap(fixture->iommu, IOVA(iova), size, 0, &unmapped), 0);
    assert_int_equal(unmapped, expected);
}

void fixture_assert_logged(const struct fixture *fixture, const char *words)
{
    if (!strstr(fixture->line, words))
        fail_msg("\"%s\" is not in \"%s\"", words, fixture->line);
}

unsigned fixture_count_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned lines = 0;
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps))
        lines += strstr(line, "memfd:client") != NULL;
    fclose(maps);
    return lines;
}
