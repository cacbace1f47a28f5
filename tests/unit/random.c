/* SPDX-License-Identifier: BSD-3-Clause */
#include "random.h"

#include "unit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((random_next(state) >> 32) * limit >> 32);
}

uint64_t random_seed(void)
{
    const char *given = getenv("UMDEV_TEST_SEED"); /* NOLINT(concurrency-mt-unsafe) */
    uint64_t seed = 0;

    if (given)
        seed = strtoull(given, NULL, 0);
    else
        assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
    print_message("# UMDEV_TEST_SEED=0x%" PRIx64 "\n", seed);
    return seed;
}

uint64_t random_steps(uint64_t otherwise)
{
    const char *given = getenv("UMDEV_TEST_STEPS"); /* NOLINT(concurrency-mt-unsafe) */

    return given ? strtoull(given, NULL, 0) : otherwise;
}
