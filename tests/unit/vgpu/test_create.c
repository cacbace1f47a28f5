/* SPDX-License-Identifier: BSD-3-Clause */
/* Every error path of a parent's and a device's birth: the driver is linked in, not loaded. */
#include "failnth.h"
#include "unit.h"

#include <umdev/driver.h>
#include <umdev/host.h>

/* The driver's, by UMDEV_DRIVER(). */
const struct umdev_driver *umdev_driver_entry(void);

static const char *const params[] = {"vram=8M", "engines=2"};

static unsigned available;

static int note_available(void *opaque, const struct umdev_host_type *type)
{
    (void)opaque;
    available = type->available;
    return 1; /* the first is enough */
}

static int open_parent(void *host)
{
    return umdev_host_add_parent_static(host, umdev_driver_entry(), "gpu", params, 2, NULL);
}

static void close_parent(void *host)
{
    assert_int_equal(umdev_host_remove_parent(host, "gpu"), 0);
}

static void test_parent(void **state)
{
    assert_true(failnth_run(open_parent, close_parent, *state) >= 3);
}

#define UUID "0a0a0a0a-0000-4000-8000-000000000000"

static int create(void *host)
{
    int ret = umdev_host_create(host, "gpu", "vgpu-1", UUID, NULL, NULL);

    umdev_host_for_each_type(host, note_available, NULL);
    assert_int_equal(available, ret ? 8 : 7);
    return ret;
}

static void undo(void *host)
{
    assert_int_equal(umdev_host_remove(host, UUID), 0);
}

/* The VRAM's bits, the table, the keeper. */
static void test_device(void **state)
{
    assert_int_equal(open_parent(*state), 0);
    assert_true(failnth_run(create, undo, *state) >= 3);
    close_parent(*state);
}

static int setup(void **state)
{
    const struct umdev_host_options options = {.struct_size = sizeof(options)};

    return umdev_host_new(&options, (struct umdev_host **)state);
}

static int teardown(void **state)
{
    umdev_host_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_device, setup, teardown),
    };

    return cmocka_run_group_tests_name("vgpu create", tests, NULL, NULL);
}
