/* SPDX-License-Identifier: BSD-3-Clause */
/* Random numbers with a printed seed: splitmix64. */
#ifndef TESTS_VGPU_RANDOM_H
#define TESTS_VGPU_RANDOM_H

#include <stdint.h>

uint64_t random_next(uint64_t *state);
/* Below `limit`, which is not 0. */
uint32_t random_below(uint64_t *state, uint32_t limit);
/* UMDEV_TEST_SEED, or one from the clock; printed. */
uint64_t random_seed(void);

#endif
