/* SPDX-License-Identifier: BSD-3-Clause */
/* Node numbers: there and back, and none twice. */
#include "unit.h"

#include "base/range.h"
#include "random.h"
#include "sysfs/node.h"

static void test_root(void **state)
{
    (void)state;
    /* FUSE's own number for it. */
    assert_int_equal(node_number((struct node){.slot = NODE_ROOT}), 1);
}

static void check(struct node node)
{
    struct node back = node_of(node_number(node));

    assert_true(back.id == node.id && back.type == node.type && back.slot == node.slot);
}

static void test_there_and_back(void **state)
{
    static const uint64_t ids[] = {0, 1, 77, NODE_ID_MAX - 1, NODE_ID_MAX};
    static const unsigned types[] = {0, 1, NODE_TYPE_MAX};
    static const unsigned slots[] = {NODE_ROOT, NODE_PARENT, NODE_DEVICE, NODE_ATTR,
                                     NODE_ATTR_LAST};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
            for (size_t s = 0; s < ARRAY_SIZE(slots); s++)
                check((struct node){ids[i], types[t], slots[s]});
        }
    }
    check((struct node){.id = 0, .slot = NODE_DRIVER});
    check((struct node){.id = ~NODE_DRIVER_BIT, .slot = NODE_DRIVER});
}

/* Any number is some node, and of no other number. */
static void test_any_number(void **state)
{
    uint64_t random = random_seed();

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t number = random_next(&random);

        if (number & NODE_DRIVER_BIT || node_of(number).slot != NODE_DRIVER)
            assert_true(node_number(node_of(number)) == number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_any_number),
    };

    return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}
