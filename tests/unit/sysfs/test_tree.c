/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree's shape and files on a host that is a table: that look-ups and listings agree, limits,
 * counters, and what is written.
 */
#include "fake.h"

#include "failnth.h"
#include "sysfs/files.h"
#include "sysfs/tree.h"

#include <stdlib.h>

#define UUID "aaaaaaaa-0000-4000-8000-000000000001"

static struct fake *fake_of(void **state)
{
    return *state;
}

static int setup(void **state)
{
    static struct fake fake;
    static const struct umdev_host_type type = {
        .parent = "p",
        .driver = "drv",
        .name = "drv-1",
        .pretty_name = "One",
        .device_api = "vfio-pci",
        .available = UINT32_MAX,
        .parent_id = 1,
    };

    memset(&fake, 0, sizeof(fake));
    fake.types[0] = type;
    fake.types[1] = type;
    fake.types[1].name = "drv-2";
    fake.types[1].description = "words";
    fake.types[1].available = 3;
    fake.types[2] = type;
    fake.types[2].parent = "q";
    fake.types[2].parent_id = 2;
    fake.ntypes = 3;
    fake.devices[0] = (struct umdev_host_device){
        .uuid = UUID,
        .type = "drv-2",
        .parent = "p",
        .driver = "drv",
        .socket = "/s",
        .id = 3,
        .parent_id = 1,
    };
    fake.ndevices = 1;
    fake.attrs[0] = (struct umdev_host_attr){"speed", 0644};
    fake.nattrs = 1;
    *state = &fake;
    return 0;
}

/* ------------------------------------------------------------------ names */

struct walk {
    const struct sysfs_ops *ops;
    struct node folder;
    unsigned nodes, depth;
    struct tree_child children[64];
    char names[64][FIND_NAME_SIZE];
    unsigned count;
};

static int collect(void *opaque, const struct tree_child *child)
{
    struct walk *walk = opaque;

    assert_true(walk->count < ARRAY_SIZE(walk->children));
    snprintf(walk->names[walk->count], FIND_NAME_SIZE, "%s", child->name);
    walk->children[walk->count++] = *child;
    return 0;
}

/* Each that is listed is found by its name, with the same node; and has a mode, and above it is us.
 */
static unsigned walk_all(const struct sysfs_ops *ops, struct node folder)
{
    struct walk *walk = calloc(1, sizeof(*walk));
    unsigned nodes = 0;

    assert_non_null(walk);
    assert_int_equal(tree_for_each(ops, folder, collect, walk), 0);
    for (unsigned i = 0; i < walk->count; i++) {
        const struct tree_child *child = &walk->children[i];
        struct tree_child found;
        char target[256] = "";

        assert_int_equal(tree_lookup(ops, folder, walk->names[i], &found), 0);
        assert_true(node_number(found.node) == node_number(child->node));
        assert_int_equal(found.mode, child->mode);
        assert_int_equal(tree_mode(ops, child->node), child->mode);
        assert_true(find_owner(ops, child->node));
        nodes++;
        if (S_ISLNK(child->mode))
            assert_int_equal(tree_link(ops, child->node, target, sizeof(target)), 0);
        if (!S_ISDIR(child->mode))
            continue;
        /* A driver's folder is reached by the table alone. */
        assert_true(node_number(tree_above(ops, child->node)) == node_number(folder));
        nodes += walk_all(ops, child->node);
    }
    free(walk);
    return nodes;
}

static void test_look_ups_and_listings_agree(void **state)
{
    const struct sysfs_ops ops = fake_ops(fake_of(state));
    unsigned with_device = walk_all(&ops, (struct node){.slot = NODE_ROOT});
    unsigned counters = 0;

    while (files_counter(counters))
        counters++;
    fake_of(state)->ndevices = 0;
    /* Its folder, four links to and three in it, four files, two folders, counters, an attribute.
     */
    assert_int_equal(with_device - walk_all(&ops, (struct node){.slot = NODE_ROOT}),
                     1 + 3 + 3 + 2 + 2 + 2 + counters + 1);
}

static void test_what_is_gone(void **state)
{
    const struct sysfs_ops ops = fake_ops(fake_of(state));
    static const unsigned folders[] = {NODE_PARENT,       NODE_TYPES,  NODE_TYPE,
                                       NODE_TYPE_DEVICES, NODE_DEVICE, NODE_DEVICE_UMDEV,
                                       NODE_DEVICE_STATS};
    struct tree_child child;
    char text[FILES_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const struct node node = {99, folders[i] >= NODE_TYPE && folders[i] < NODE_DEVICE,
                                  folders[i]};

        assert_int_equal(tree_lookup(&ops, node, "uevent", &child), -ENOENT);
        assert_false(find_owner(&ops, node));
    }
    for (unsigned slot = NODE_PARENT; slot <= NODE_ATTR_LAST; slot++) {
        const struct node node = {99, 0, slot};

        assert_int_equal(files_show(&ops, node, text), -ENODEV);
        assert_true(files_store(&ops, NULL, node, "1", 1) < 0);
        assert_true(tree_mode(&ops, node) != 0);
        assert_true(tree_link(&ops, node, text, sizeof(text)) < 0);
    }
}

static void test_a_link_that_does_not_fit(void **state)
{
    const struct sysfs_ops ops = fake_ops(fake_of(state));
    const struct node link = {.id = 3, .slot = NODE_DEVICE_TYPE};
    char target[64];

    assert_int_equal(tree_link(&ops, link, target, sizeof("../mdev_supported_types/drv-2")), 0);
    assert_string_equal(target, "../mdev_supported_types/drv-2");
    assert_int_equal(tree_link(&ops, link, target, sizeof("../mdev_supported_types/drv-2") - 1),
                     -ENAMETOOLONG);
}

static int count_children(void *opaque, const struct tree_child *child)
{
    (void)child;
    ++*(unsigned *)opaque;
    return 0;
}

/* More types and attributes than a number has room for are left out; an id that has none, too. */
static void test_limits(void **state)
{
    struct fake *fake = fake_of(state);
    const struct sysfs_ops ops = fake_ops(fake);
    unsigned count = 0;

    for (size_t i = 3; i < FAKE_MAX; i++) {
        fake->types[i] = fake->types[2];
        fake->attrs[i] = fake->attrs[0];
    }
    fake->ntypes = FAKE_MAX;
    assert_int_equal(
        tree_for_each(&ops, (struct node){.id = 2, .slot = NODE_TYPES}, count_children, &count), 0);
    assert_int_equal(count, NODE_TYPE_MAX);
    fake->devices[0].id = NODE_ID_MAX + 1;
    count = 0;
    assert_int_equal(
        tree_for_each(&ops, (struct node){.slot = NODE_BUS_DEVICES}, count_children, &count), 0);
    assert_int_equal(count, 0);
}

static void test_without_attributes(void **state)
{
    struct sysfs_ops ops = fake_ops(fake_of(state));
    struct tree_child child;

    ops.for_each_attr = NULL;
    assert_int_equal(
        tree_lookup(&ops, (struct node){.id = 3, .slot = NODE_DEVICE}, "speed", &child), -ENOENT);
    assert_int_equal(
        tree_lookup(&ops, (struct node){.id = 3, .slot = NODE_DEVICE}, "remove", &child), 0);
}

/* ------------------------------------------------------------------ files */

static void expect(const struct sysfs_ops *ops, struct node node, const char *wanted)
{
    char text[FILES_SIZE];
    int length = files_show(ops, node, text);

    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(text, wanted, (size_t)length);
}

static void test_contents(void **state)
{
    struct fake *fake = fake_of(state);
    const struct sysfs_ops ops = fake_ops(fake);
    static char long_text[3 * FILES_SIZE];
    char text[FILES_SIZE];

    expect(&ops, (struct node){1, 1, NODE_TYPE_NAME}, "One\n");
    expect(&ops, (struct node){1, 1, NODE_TYPE_API}, "vfio-pci\n");
    /* No limit: as much as an int holds. */
    expect(&ops, (struct node){1, 1, NODE_TYPE_AVAILABLE}, "2147483647\n");
    expect(&ops, (struct node){1, 2, NODE_TYPE_AVAILABLE}, "3\n");
    expect(&ops, (struct node){1, 2, NODE_TYPE_DESCRIPTION}, "words\n");
    assert_int_equal(files_show(&ops, (struct node){1, 1, NODE_TYPE_DESCRIPTION}, text), -ENODEV);
    assert_int_equal(files_show(&ops, (struct node){1, 3, NODE_TYPE_NAME}, text), -ENODEV);
    expect(&ops, (struct node){3, 0, NODE_DEVICE_SOCKET}, "/s\n");
    expect(&ops, (struct node){3, 0, NODE_ATTR}, "speed!");
    assert_int_equal(files_show(&ops, (struct node){3, 0, NODE_ATTR + 1}, text), -ENODEV);
    /* A text that does not fit is cut. */
    memset(long_text, 'z', sizeof(long_text) - 1);
    fake->types[1].description = long_text;
    assert_int_equal(files_show(&ops, (struct node){1, 2, NODE_TYPE_DESCRIPTION}, text),
                     FILES_SIZE - 1);
    fake->devices[0].driver = long_text;
    assert_int_equal(files_show(&ops, (struct node){3, 0, NODE_DEVICE_UEVENT}, text),
                     FILES_SIZE - 1);
}

/* Every member of the struct but `connected` has a file, and each shows its own. */
static void test_counters(void **state)
{
    const struct sysfs_ops ops = fake_ops(fake_of(state));
    bool seen[sizeof(struct umdev_host_stats) / sizeof(uint64_t)] = {false};
    char text[FILES_SIZE];
    unsigned count = 0;

    for (; files_counter(count); count++) {
        unsigned place = 0;

        assert_true(files_show(&ops, (struct node){3, 0, NODE_STAT + count}, text) > 0);
        assert_int_equal(sscanf(text, "%u\n", &place), 1);
        assert_true(place > 0 && place < ARRAY_SIZE(seen) && !seen[place]);
        seen[place] = true;
    }
    /* Nor is its size a counter. */
    assert_int_equal(count, ARRAY_SIZE(seen) - 2);
    assert_int_equal(files_show(&ops, (struct node){3, 0, NODE_STAT + count}, text), -EIO);
}

static void test_writes(void **state)
{
    struct fake *fake = fake_of(state);
    const struct sysfs_ops ops = fake_ops(fake);
    const struct node create = {1, 2, NODE_TYPE_CREATE}, remove = {3, 0, NODE_DEVICE_REMOVE};

    assert_int_equal(files_store(&ops, NULL, create, UUID "\n", 37), 0);
    assert_string_equal(fake->created, "p drv-2 " UUID);
    assert_int_equal(files_store(&ops, NULL, remove, "1\n", 2), 0);
    assert_string_equal(fake->removed, UUID);
    assert_int_equal(files_store(&ops, NULL, (struct node){3, 0, NODE_ATTR}, "fast", 4), 0);
    assert_string_equal(fake->written, UUID " speed fast");
    /* The host's errno is the writer's, but for a type that was there a moment ago. */
    fake->result = -EUSERS;
    assert_int_equal(files_store(&ops, NULL, create, UUID, 36), -EUSERS);
    fake->result = -ENOENT;
    assert_int_equal(files_store(&ops, NULL, create, UUID, 36), -ENODEV);
    fake->result = -EAGAIN;
    assert_int_equal(files_store(&ops, NULL, remove, "1", 1), -EAGAIN);
    fake->removed[0] = '\0';
    assert_int_equal(files_store(&ops, NULL, remove, "0", 1), 0);
    assert_string_equal(fake->removed, "");
}

/* ------------------------------------------------------------------ out of memory */

static int list_drivers(void *opaque)
{
    unsigned count = 0;

    return tree_for_each(opaque, (struct node){.slot = NODE_BUS_DRIVERS}, count_children, &count);
}

static void test_out_of_memory(void **state)
{
    struct sysfs_ops ops = fake_ops(fake_of(state));

    assert_int_equal(failnth_run(list_drivers, NULL, &ops), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_look_ups_and_listings_agree, setup),
        cmocka_unit_test_setup(test_what_is_gone, setup),
        cmocka_unit_test_setup(test_a_link_that_does_not_fit, setup),
        cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_without_attributes, setup),
        cmocka_unit_test_setup(test_contents, setup),
        cmocka_unit_test_setup(test_counters, setup),
        cmocka_unit_test_setup(test_writes, setup),
        cmocka_unit_test_setup(test_out_of_memory, setup),
    };

    return cmocka_run_group_tests_name("the tree", tests, NULL, NULL);
}
