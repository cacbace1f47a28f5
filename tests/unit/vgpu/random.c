/* SPDX-License-Identifier: BSD-3-Clause */
#include "random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((random_next(state) >> 32) * limit >> 32);
}

uint64_t random_seed(void)
{
    const char *given = getenv("UMDEV_TEST_SEED"); /* NOLINT(concurrency-mt-unsafe) */
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

    printf("# UMDEV_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}
