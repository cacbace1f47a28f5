/* SPDX-License-Identifier: BSD-3-Clause */
/* Random numbers with a printed seed, which repeats a run: splitmix64. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

uint64_t random_next(uint64_t *state);
/* Below `limit`, which is not 0. */
uint32_t random_below(uint64_t *state, uint32_t limit);
/* UMDEV_TEST_SEED, or any; printed. */
uint64_t random_seed(void);
/* UMDEV_TEST_STEPS, or as many as the test has else. */
uint64_t random_steps(uint64_t otherwise);

#endif
