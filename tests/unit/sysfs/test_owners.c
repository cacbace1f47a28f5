/* SPDX-License-Identifier: BSD-3-Clause */
/* Changed owners: against an array, and that those of what is gone are dropped. */
#include "unit.h"

#include "base/range.h"
#include "failnth.h"
#include "random.h"
#include "sysfs/owners.h"

#include <errno.h>
#include <string.h>

#define NUMBERS 3000

struct world {
    bool gone[NUMBERS];
    bool set[NUMBERS];
    struct owner owner[NUMBERS];
    size_t asked;
};

static bool is_there(void *opaque, uint64_t number)
{
    struct world *world = opaque;

    world->asked++;
    return !world->gone[number];
}

static void test_against_an_array(void **state)
{
    static struct world world;
    uint64_t random = random_seed();
    struct owners owners;

    (void)state;
    owners_init(&owners, is_there, &world);
    for (uint64_t step = 0, steps = random_steps(20000); step < steps; step++) {
        uint32_t number = random_below(&random, NUMBERS);
        struct owner owner = {random_below(&random, 07777), random_below(&random, 100), 5};
        struct owner got = {0, 0, 0};

        switch (random_below(&random, 4)) {
        case 0:
            world.gone[number] = true;
            break;
        case 1:
            /* A number is never used again. */
            if (world.gone[number])
                break;
            assert_int_equal(owners_set(&owners, number, &owner), 0);
            world.owner[number] = owner;
            world.set[number] = true;
            break;
        default:
            if (world.gone[number])
                break;
            assert_true(owners_get(&owners, number, &got) == world.set[number]);
            if (world.set[number])
                assert_memory_equal(&got, &world.owner[number], sizeof(got));
            break;
        }
    }
    owners_fini(&owners);
}

static void test_those_of_what_is_gone_are_dropped(void **state)
{
    static struct world world;
    const struct owner owner = {0600, 1, 2};
    struct owners owners;
    struct owner got;

    (void)state;
    owners_init(&owners, is_there, &world);
    for (uint64_t number = 0; number < NUMBERS; number++) {
        assert_int_equal(owners_set(&owners, number, &owner), 0);
        /* One in a hundred stays. */
        world.gone[number] = number % 100 != 0;
    }
    assert_true(owners.count < 400);
    for (uint64_t number = 0; number < NUMBERS; number += 100)
        assert_true(owners_get(&owners, number, &got));
    /* That is not looked for at each. */
    assert_true(world.asked < 4 * NUMBERS);
    owners_fini(&owners);
}

static int change_some(void *opaque)
{
    struct owners owners;
    int ret = 0;

    owners_init(&owners, is_there, opaque);
    for (uint64_t number = 0; number < 8 && !ret; number++)
        ret = owners_set(&owners, number, &(struct owner){0600, 1, 2});
    owners_fini(&owners);
    return ret;
}

static void test_out_of_memory(void **state)
{
    static struct world world;

    (void)state;
    assert_true(failnth_run(change_some, NULL, &world) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_those_of_what_is_gone_are_dropped),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests_name("owners", tests, NULL, NULL);
}
