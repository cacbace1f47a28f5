/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices' errnos and the order of things, as of the kernel's mdev core. What takes two threads is
 * held still at the driver's callbacks, so that each moment is reached for certain.
 */
#include "fixture.h"

#include <sched.h>

static const struct umdev_driver capped = {COUNTING_DRIVER, .name = "capped", .max_instances = 4};

/* ------------------------------------------------------------------ creation */

static void test_create_names(void **state)
{
    struct mdev_registry *registry = *state;
    struct umdev_error error = {""};
    char uuid[UMDEV_UUID_STR_SIZE] = "";

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(add_parent(registry, &capped, "q"), 0);
    assert_int_equal(mdev_create(registry, "q", "capped-small",
                                 "AAAAAAAA-0000-4000-8000-000000000001", uuid, NULL),
                     0);
    assert_string_equal(uuid, UUID_A);
    /* Unique over all parents. */
    assert_int_equal(mdev_create(registry, "p", "counting-small", UUID_A, NULL, &error), -EEXIST);
    assert_non_null(strstr(error.message, UUID_A));
    assert_int_equal(available(registry, "p", "counting-small"), 4);
    assert_int_equal(create(registry, "counting-small", "not a uuid"), -EINVAL);
    assert_int_equal(create(registry, "counting-small", UUID_B "\n"), -EINVAL);
    assert_int_equal(mdev_create(registry, NULL, "counting-small", NULL, uuid, NULL), 0);
    assert_int_equal(strlen(uuid), 36);
    assert_int_equal(mdev_remove(registry, uuid), 0);

    assert_int_equal(mdev_create(registry, NULL, "small", NULL, NULL, &error), -ENOENT);
    assert_string_equal(error.message, "no type 'small'; known: counting-small, counting-large, "
                                       "capped-small, capped-large");
    assert_int_equal(mdev_create(registry, "p", "capped-small", NULL, NULL, &error), -ENOENT);
    assert_string_equal(error.message, "no type 'capped-small' with parent p; known: "
                                       "counting-small, counting-large");
    assert_int_equal(mdev_create(registry, "r", "capped-small", NULL, NULL, &error), -ENOENT);
    assert_string_equal(error.message, "no parent 'r'; known: p, q");
    assert_int_equal(count_devices(registry), 1);
}

static void test_failed_create_unwinds(void **state)
{
    struct mdev_registry *registry = *state;
    struct umdev_error error = {""};

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    atomic_store(&driver_state.create_result, -ENOSPC);
    assert_int_equal(mdev_create(registry, NULL, "counting-large", UUID_A, NULL, &error), -ENOSPC);
    assert_non_null(strstr(error.message, "creating a counting-large with parent p: "));
    assert_non_null(strstr(error.message, "No space left on device"));
    assert_int_equal(available(registry, "p", "counting-large"), 2);
    assert_int_equal(count_devices(registry), 0);
    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
    atomic_store(&driver_state.create_result, 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
}

static void test_device_that_is_being_created(void **state)
{
    struct mdev_registry *registry = *state;
    struct job job = {.registry = registry, .type = "counting-large", .name = UUID_A};
    struct mdev_device *entry = NULL;

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    atomic_store(&driver_state.create.shut, true);
    job_start(&job);
    gate_wait(&driver_state.create);
    assert_int_equal(mdev_remove(registry, UUID_A), -EAGAIN);
    assert_int_equal(mdev_get(registry, UUID_A, &entry), -ENODEV);
    assert_int_equal(count_devices(registry), 0);
    assert_int_equal(available(registry, "p", "counting-large"), 1);
    assert_int_equal(create(registry, "counting-small", UUID_A), -EEXIST);
    gate_let_on(&driver_state.create);
    assert_int_equal(job_join(&job), 0);
    assert_int_equal(mdev_remove(registry, UUID_A), 0);
}

/* ------------------------------------------------------------------ removal */

static void test_device_that_is_not_there(void **state)
{
    struct mdev_registry *registry = *state;
    struct mdev_device *entry = NULL;

    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
    assert_int_equal(mdev_remove(registry, "nonsense"), -ENODEV);
    assert_int_equal(mdev_get(registry, UUID_A, &entry), -ENODEV);
    assert_int_equal(mdev_get(registry, "nonsense", &entry), -ENODEV);
    assert_int_equal(mdev_parent_remove(registry, "p"), -ENOENT);
}

static void test_device_that_is_being_removed(void **state)
{
    struct mdev_registry *registry = *state;
    struct job job = {.registry = registry, .name = UUID_A};
    struct mdev_device *entry = NULL;

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
    atomic_store(&driver_state.remove.shut, true);
    job_start(&job);
    gate_wait(&driver_state.remove);
    assert_int_equal(mdev_remove(registry, UUID_A), -EAGAIN);
    assert_int_equal(mdev_get(registry, UUID_A, &entry), -ENODEV);
    assert_int_equal(count_devices(registry), 0);
    assert_int_equal(available(registry, "p", "counting-large"), 1);
    gate_let_on(&driver_state.remove);
    assert_int_equal(job_join(&job), 0);
    assert_int_equal(available(registry, "p", "counting-large"), 2);
}

static void wait_until_removing(struct mdev_registry *registry, const char *uuid)
{
    struct mdev_device *entry = NULL;

    while (mdev_get(registry, uuid, &entry) == 0) {
        mdev_put(entry);
        sched_yield();
    }
}

/* The place and the name come back with the last reference, not with the order to remove. */
static void test_references_hold_the_slot(void **state)
{
    struct mdev_registry *registry = *state;
    struct job job = {.registry = registry, .name = UUID_A};
    struct mdev_device *entry = NULL;

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
    assert_int_equal(create(registry, "counting-large", UUID_B), 0);
    assert_int_equal(mdev_get(registry, UUID_A, &entry), 0);
    assert_string_equal(mdev_uuid(entry), UUID_A);
    job_start(&job);
    wait_until_removing(registry, UUID_A);
    assert_int_equal(mdev_ref(entry), -ENODEV);
    assert_int_equal(mdev_remove(registry, UUID_A), -EAGAIN);
    assert_int_equal(create(registry, "counting-large", UUID_C), -EUSERS);
    assert_int_equal(create(registry, "counting-small", UUID_A), -EEXIST);
    assert_int_equal(atomic_load(&driver_state.devices), 2);
    mdev_put(entry);
    assert_int_equal(job_join(&job), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
}

struct client {
    struct device_client client;
    sem_t cut;
};

static void client_disconnect(struct device_client *client)
{
    sem_post(&((struct client *)client)->cut);
}

static void test_open_client_is_cut_off(void **state)
{
    struct mdev_registry *registry = *state;
    struct job job = {.registry = registry, .name = UUID_A};
    struct client client = {.client.disconnect = client_disconnect};
    struct client late = {.client.disconnect = client_disconnect};
    struct mdev_device *entry = NULL;

    sem_init(&client.cut, 0, 0);
    sem_init(&late.cut, 0, 0);
    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
    assert_int_equal(mdev_get(registry, UUID_A, &entry), 0);
    assert_int_equal(device_open(mdev_umdev(entry), &client.client), 0);
    job_start(&job);
    while (sem_wait(&client.cut))
        ;
    device_close(mdev_umdev(entry));
    assert_int_equal(device_open(mdev_umdev(entry), &late.client), -ESHUTDOWN);
    mdev_put(entry);
    assert_int_equal(job_join(&job), 0);
    assert_int_equal(atomic_load(&driver_state.devices), 0);
}

/* ------------------------------------------------------------------ a parent on its way out */

static void test_parent_that_is_being_removed(void **state)
{
    struct mdev_registry *registry = *state;
    struct job job = {.registry = registry, .parent = true, .name = "p"};
    struct umdev_error error = {""};

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    assert_int_equal(create(registry, "counting-large", UUID_A), 0);
    assert_int_equal(create(registry, "counting-large", UUID_B), 0);
    atomic_store(&driver_state.remove.shut, true);
    job_start(&job);
    gate_wait(&driver_state.remove);
    assert_int_equal(mdev_create(registry, NULL, "counting-small", UUID_C, NULL, &error), -ENODEV);
    assert_string_equal(error.message, "parent p is being removed");
    assert_int_equal(mdev_create(registry, "p", "counting-small", UUID_C, NULL, NULL), -ENODEV);
    assert_int_equal(mdev_parent_remove(registry, "p"), -ENODEV);
    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
    assert_int_equal(mdev_remove(registry, UUID_B), -ENODEV);
    assert_int_equal(add_parent(registry, &counting, "p"), -EEXIST);
    assert_int_equal(available(registry, "p", "counting-small"), -1);
    /* Another parent of the type is taken instead. */
    assert_int_equal(add_parent(registry, &counting, "q"), 0);
    assert_int_equal(create(registry, "counting-small", UUID_C), 0);
    gate_let_on(&driver_state.remove);
    assert_int_equal(job_join(&job), 0);
    assert_int_equal(atomic_load(&driver_state.devices), 1);
    assert_int_equal(mdev_parent_remove(registry, "p"), -ENOENT);
}

/* Removal waits for a creation that has begun, then removes its device, too. */
static void test_parent_removed_while_creating(void **state)
{
    struct mdev_registry *registry = *state;
    struct job creation = {.registry = registry, .type = "counting-large", .name = UUID_A};
    struct job removal = {.registry = registry, .parent = true, .name = "p"};

    assert_int_equal(add_parent(registry, &counting, "p"), 0);
    atomic_store(&driver_state.create.shut, true);
    job_start(&creation);
    gate_wait(&driver_state.create);
    job_start(&removal);
    while (available(registry, "p", "counting-small") >= 0)
        sched_yield();
    assert_int_equal(atomic_load(&driver_state.parents), 1);
    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
    gate_let_on(&driver_state.create);
    assert_int_equal(job_join(&creation), 0);
    assert_int_equal(job_join(&removal), 0);
    assert_int_equal(atomic_load(&driver_state.created), 1);
    assert_int_equal(atomic_load(&driver_state.devices), 0);
    assert_int_equal(mdev_remove(registry, UUID_A), -ENODEV);
}

/* Who waits for a place at a parent that goes is told so. */
static void test_parent_removed_under_a_waiting_create(void **state)
{
    struct umdev_driver asking = {COUNTING_DRIVER, .name = "asking"};
    struct mdev_registry *registry = *state;
    struct job first = {.registry = registry, .type = "asking-small", .name = UUID_A};
    struct job second = {.registry = registry, .type = "asking-small", .name = UUID_B};
    struct job removal = {.registry = registry, .parent = true, .name = "p"};

    asking.available = counting_available;
    atomic_store(&driver_state.places, 8);
    assert_int_equal(add_parent(registry, &asking, "p"), 0);
    atomic_store(&driver_state.create.shut, true);
    job_start(&first);
    gate_wait(&driver_state.create);
    job_start(&second);
    job_start(&removal);
    /* The first is still held in create(), so this does not depend on its outcome. */
    assert_int_equal(job_join(&second), -ENODEV);
    gate_let_on(&driver_state.create);
    assert_int_equal(job_join(&first), 0);
    assert_int_equal(job_join(&removal), 0);
}

/* ------------------------------------------------------------------ the owner */

static struct {
    char order[8];
    int attach_result;
    struct mdev_registry *registry;
} owner_state;

static void owner_note(char what)
{
    size_t length = strlen(owner_state.order);

    assert_true(length + 1 < sizeof(owner_state.order));
    owner_state.order[length] = what;
}

static int owner_attach(void *opaque, struct mdev_device *entry, void **attached)
{
    struct mdev_device *found = NULL;

    assert_ptr_equal(opaque, &owner_state);
    owner_note('a');
    assert_int_equal(mdev_get(owner_state.registry, mdev_uuid(entry), &found), -ENODEV);
    assert_non_null(mdev_umdev(entry));
    *attached = entry;
    return owner_state.attach_result;
}

static void owner_detach(void *opaque, void *attached)
{
    assert_ptr_equal(opaque, &owner_state);
    owner_note('d');
    assert_int_equal(mdev_ref(attached), -ENODEV);
    assert_int_equal(atomic_load(&driver_state.devices), 1);
}

static void owner_release(void *opaque, void *attached)
{
    assert_ptr_equal(opaque, &owner_state);
    assert_non_null(attached);
    owner_note('r');
    assert_int_equal(atomic_load(&driver_state.devices), 0);
}

static void test_owner(void **state)
{
    const struct mdev_owner owner = {owner_attach, owner_detach, owner_release, &owner_state};
    struct mdev_device *entry = NULL;

    (void)state;
    memset(&owner_state, 0, sizeof(owner_state));
    assert_int_equal(mdev_registry_new(NULL, &owner, &owner_state.registry), 0);
    assert_int_equal(add_parent(owner_state.registry, &counting, "p"), 0);
    assert_int_equal(create(owner_state.registry, "counting-large", UUID_A), 0);
    assert_int_equal(mdev_get(owner_state.registry, UUID_A, &entry), 0);
    assert_ptr_equal(mdev_attached(entry), entry);
    mdev_put(entry);
    assert_int_equal(mdev_remove(owner_state.registry, UUID_A), 0);
    assert_string_equal(owner_state.order, "adr");

    owner_state.attach_result = -EMFILE;
    assert_int_equal(create(owner_state.registry, "counting-large", UUID_A), -EMFILE);
    assert_string_equal(owner_state.order, "adra");
    assert_int_equal(atomic_load(&driver_state.devices), 0);
    assert_int_equal(available(owner_state.registry, "p", "counting-large"), 2);
    owner_state.attach_result = 0;
    assert_int_equal(create(owner_state.registry, "counting-large", UUID_A), 0);
    mdev_registry_free(owner_state.registry);
    assert_string_equal(owner_state.order, "adraadr");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_create_names),
        TEST(test_failed_create_unwinds),
        TEST(test_device_that_is_being_created),
        TEST(test_device_that_is_not_there),
        TEST(test_device_that_is_being_removed),
        TEST(test_references_hold_the_slot),
        TEST(test_open_client_is_cut_off),
        TEST(test_parent_that_is_being_removed),
        TEST(test_parent_removed_while_creating),
        TEST(test_parent_removed_under_a_waiting_create),
        TEST(test_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
