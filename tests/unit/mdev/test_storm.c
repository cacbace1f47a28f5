/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that create, remove, look, and take parents away, all at once. Whatever the order was,
 * no parent ever has more devices than places, each callback finds what it must, and the counts
 * are exact at the end.
 *
 * The threads' seeds are printed; UMDEV_TEST_SEED sets the first.
 */
#include "fixture.h"

#include <stdlib.h>
#include <time.h>

#define THREADS 6
#define STEPS   400
#define UUIDS   12
#define PLACES  4

struct storm_parent {
    atomic_int devices;
};

static struct {
    atomic_int parents, created, removed;
    atomic_int mistakes; /* counted, as a thread of cmocka's can't fail */
} storm;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition) && atomic_fetch_add(&storm.mistakes, 1) == 0)                             \
            print_error("line %d: %s\n", __LINE__, #condition);                                    \
    } while (0)

/* ------------------------------------------------------------------ the driver */

static int storm_parent_open(struct umdev_parent *parent)
{
    struct storm_parent *storm_parent = umdev_parent_priv(parent);

    EXPECT(atomic_load(&storm_parent->devices) == 0);
    atomic_fetch_add(&storm.parents, 1);
    return 0;
}

static void storm_parent_close(struct umdev_parent *parent)
{
    struct storm_parent *storm_parent = umdev_parent_priv(parent);

    EXPECT(atomic_load(&storm_parent->devices) == 0);
    atomic_fetch_sub(&storm.parents, 1);
}

static unsigned storm_available(struct umdev_parent *parent, unsigned type)
{
    struct storm_parent *storm_parent = umdev_parent_priv(parent);
    int devices = atomic_load(&storm_parent->devices);

    (void)type;
    EXPECT(devices >= 0 && devices <= PLACES);
    return (unsigned)(PLACES - devices);
}

/* Now and then one fails. */
static int storm_create(struct umdev_device *dev)
{
    struct storm_parent *storm_parent = umdev_parent_priv(umdev_device_parent(dev));

    if (atomic_load(&storm.created) % 8 == 7) {
        atomic_fetch_add(&storm.created, 1);
        atomic_fetch_add(&storm.removed, 1);
        return -EIO;
    }
    EXPECT(atomic_fetch_add(&storm_parent->devices, 1) < PLACES);
    atomic_fetch_add(&storm.created, 1);
    return 0;
}

static void storm_remove(struct umdev_device *dev)
{
    struct storm_parent *storm_parent = umdev_parent_priv(umdev_device_parent(dev));

    EXPECT(atomic_fetch_sub(&storm_parent->devices, 1) > 0);
    atomic_fetch_add(&storm.removed, 1);
}

#define STORM_DRIVER                                                                               \
    .struct_size = sizeof(struct umdev_driver), .api_version = UMDEV_DRIVER_API_VERSION,           \
    .type_size = sizeof(struct umdev_type), .types = counting_types,                               \
    .ntypes = ARRAY_SIZE(counting_types), .name = "storm", .max_instances = PLACES,                \
    .parent_priv_size = sizeof(struct storm_parent), .parent_open = storm_parent_open,             \
    .parent_close = storm_parent_close, .create = storm_create, .remove = storm_remove,            \
    .pci = UMDEV_PCI(.vendor = 1, .bar = {UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)})

static const struct umdev_driver counted = {STORM_DRIVER};
static const struct umdev_driver asked = {STORM_DRIVER, .available = storm_available};

/* ------------------------------------------------------------------ the threads */

struct worker {
    pthread_t thread;
    struct mdev_registry *registry;
    const struct umdev_driver *driver;
    unsigned seed;
};

static const char *const parents[] = {"p", "q"};

static unsigned dice(struct worker *worker, unsigned sides)
{
    return (unsigned)rand_r(&worker->seed) / 16 % sides;
}

static bool is_one_of(int ret, const int *expected)
{
    while (*expected && *expected != ret)
        expected++;
    return *expected || ret == 0;
}
/* 0 or one of these. */
#define RESULTS(...) ((const int[]){__VA_ARGS__, 0})

static int check_entry(void *opaque, const struct mdev_device_info *info)
{
    ++*(int *)opaque;
    EXPECT(strcmp(umdev_device_uuid(info->dev), info->uuid) == 0);
    EXPECT(!device_is_open(info->dev));
    return 0;
}

static void look(struct worker *worker, const char *uuid)
{
    struct mdev_device *entry = NULL;
    int count = 0;

    mdev_for_each_device(worker->registry, check_entry, &count);
    EXPECT(count <= UUIDS);
    if (mdev_get(worker->registry, uuid, &entry))
        return;
    if (mdev_ref(entry) == 0)
        mdev_put(entry);
    EXPECT(strcmp(umdev_device_uuid(mdev_umdev(entry)), uuid) == 0);
    mdev_put(entry);
}

static void step(struct worker *worker)
{
    struct mdev_registry *registry = worker->registry;
    const char *parent = parents[dice(worker, 2)];
    const char *type = dice(worker, 2) ? "storm-small" : "storm-large";
    char uuid[UMDEV_UUID_STR_SIZE];

    snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-%012u", dice(worker, UUIDS));
    switch (dice(worker, 16)) {
    case 0:
        EXPECT(is_one_of(mdev_parent_remove(registry, parent), RESULTS(-ENOENT, -ENODEV)));
        break;
    case 1:
    case 2:
        EXPECT(is_one_of(add_parent(registry, worker->driver, parent), RESULTS(-EEXIST)));
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        EXPECT(is_one_of(mdev_remove(registry, uuid), RESULTS(-ENODEV, -EAGAIN)));
        break;
    case 7:
    case 8:
        look(worker, uuid);
        break;
    default:
        EXPECT(is_one_of(
            mdev_create(registry, dice(worker, 3) ? NULL : parent, type, uuid, NULL, NULL),
            RESULTS(-EEXIST, -EUSERS, -ENODEV, -ENOENT, -EIO)));
    }
}

static void *work(void *argument)
{
    for (int i = 0; i < STEPS; i++)
        step(argument);
    return NULL;
}

/* ------------------------------------------------------------------ the end */

static int count_left(void *opaque, const struct mdev_type_info *info)
{
    int *left = opaque;

    /* The small type has as many places as the parent, so that it shows the parent's. */
    if (strcmp(info->name, "storm-small") == 0)
        *left += (int)info->available;
    return 0;
}

static void run_storm(const struct umdev_driver *driver)
{
    const char *given = getenv("UMDEV_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    struct worker workers[THREADS];
    struct mdev_registry *registry = NULL;
    int places_left = 0;
    int devices;

    print_message("# seed %u\n", seed);
    memset(&storm, 0, sizeof(storm));
    assert_int_equal(mdev_registry_new(NULL, NULL, &registry), 0);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){0, registry, driver, seed + (unsigned)i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);

    assert_int_equal(atomic_load(&storm.mistakes), 0);
    assert_true(atomic_load(&storm.created) > 0);
    devices = count_devices(registry);
    assert_int_equal(atomic_load(&storm.created) - atomic_load(&storm.removed), devices);
    assert_int_equal(mdev_for_each_type(registry, count_left, &places_left), 0);
    assert_int_equal(atomic_load(&storm.parents) * PLACES - devices, places_left);
    mdev_registry_free(registry);
    assert_int_equal(atomic_load(&storm.created), atomic_load(&storm.removed));
    assert_int_equal(atomic_load(&storm.parents), 0);
    assert_int_equal(atomic_load(&storm.mistakes), 0);
}

static void test_counted_places(void **state)
{
    (void)state;
    run_storm(&counted);
}

static void test_places_as_the_driver_says(void **state)
{
    (void)state;
    run_storm(&asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counted_places),
        cmocka_unit_test(test_places_as_the_driver_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
