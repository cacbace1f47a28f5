/* SPDX-License-Identifier: BSD-3-Clause */
/* A driver's attributes as the host shows them, and the ids that tell devices and parents apart. */
#include "fixture.h"

static int ten_show(struct umdev_device *dev, char *buf, size_t size)
{
    (void)dev;
    return snprintf(buf, size, "10\n");
}

static int none_store(struct umdev_device *dev, const char *buf, size_t len)
{
    (void)dev, (void)buf, (void)len;
    return -ERANGE;
}

static const struct umdev_attr attrs[] = {
    {.name = "ten", .show = ten_show},
    {.name = "none", .store = none_store},
    {.name = "both", .show = ten_show, .store = none_store},
};

static struct umdev_host *host_with_attrs(void)
{
    static struct umdev_driver driver;
    struct umdev_host *host = NULL;

    driver = small_driver;
    driver.attrs = attrs;
    driver.nattrs = ARRAY_SIZE(attrs);
    driver.attr_size = sizeof(attrs[0]);
    assert_int_equal(umdev_host_new(NULL, &host), 0);
    assert_int_equal(umdev_host_add_parent_static(host, &driver, "p", NULL, 0, NULL), 0);
    return host;
}

static int list_attr(void *opaque, const struct umdev_host_attr *attr)
{
    char *list = opaque;

    sprintf(list + strlen(list), "%s:%o ", attr->name, attr->mode);
    return strcmp(attr->name, "none") == 0 && list[0] == '!' ? 7 : 0;
}

static void test_attributes(void **state)
{
    struct umdev_host *host = host_with_attrs();
    char list[100] = "", buf[UMDEV_ATTR_SIZE];

    (void)state;
    assert_int_equal(umdev_host_for_each_attr(host, UUID_A, list_attr, list), -ENODEV);
    assert_int_equal(umdev_host_attr_read(host, UUID_A, "ten", buf, sizeof(buf)), -ENODEV);
    assert_int_equal(umdev_host_attr_write(host, UUID_A, "none", "1", 1), -ENODEV);
    assert_int_equal(umdev_host_create(host, NULL, "small-1", UUID_A, NULL, NULL), 0);
    assert_int_equal(umdev_host_for_each_attr(host, UUID_A, list_attr, list), 0);
    assert_string_equal(list, "ten:444 none:200 both:644 ");
    strcpy(list, "!");
    assert_int_equal(umdev_host_for_each_attr(host, UUID_A, list_attr, list), 7);
    assert_string_equal(list, "!ten:444 none:200 ");
    assert_int_equal(umdev_host_attr_read(host, UUID_A, "ten", buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "10\n", 3);
    assert_int_equal(umdev_host_attr_read(host, UUID_A, "none", buf, sizeof(buf)), -EIO);
    assert_int_equal(umdev_host_attr_read(host, UUID_A, "what", buf, sizeof(buf)), -ENOENT);
    assert_int_equal(umdev_host_attr_write(host, UUID_A, "none", "1", 1), -ERANGE);
    assert_int_equal(umdev_host_attr_write(host, UUID_A, "ten", "1", 1), -EIO);
    free_host(host);
}

static int level_show(struct umdev_parent *parent, unsigned type, char *buf, size_t size)
{
    return snprintf(buf, size, "%s %u", umdev_parent_name(parent), type);
}

static int level_store(struct umdev_parent *parent, unsigned type, const char *buf, size_t len)
{
    (void)parent, (void)type, (void)buf;
    /* Of one byte: a mistake. */
    return len == 1 ? 5 : -EBUSY;
}

static const struct umdev_parent_attr parent_attrs[] = {
    {.name = "level", .show = level_show},
    {.name = "none", .store = level_store},
};

static void test_attributes_of_parents_and_types(void **state)
{
    static struct umdev_driver driver;
    struct umdev_host *host = NULL;
    char list[100] = "", buf[UMDEV_ATTR_SIZE] = "";

    (void)state;
    driver = small_driver;
    driver.parent_attrs = driver.type_attrs = parent_attrs;
    driver.nparent_attrs = 2;
    driver.ntype_attrs = 1;
    driver.parent_attr_size = driver.type_attr_size = sizeof(parent_attrs[0]);
    assert_int_equal(umdev_host_new(NULL, &host), 0);
    assert_int_equal(umdev_host_for_each_parent_attr(host, "p", NULL, list_attr, list), -ENODEV);
    assert_int_equal(umdev_host_parent_attr_read(host, "p", NULL, "level", buf, 9), -ENODEV);
    assert_int_equal(umdev_host_add_parent_static(host, &driver, "p", NULL, 0, NULL), 0);
    assert_int_equal(umdev_host_for_each_parent_attr(host, "p", NULL, list_attr, list), 0);
    assert_int_equal(umdev_host_for_each_parent_attr(host, "p", "small-2", list_attr, list), 0);
    assert_string_equal(list, "level:444 none:200 level:444 ");
    assert_int_equal(umdev_host_for_each_parent_attr(host, "p", "small-3", list_attr, list),
                     -ENOENT);
    assert_int_equal(umdev_host_parent_attr_read(host, "p", NULL, "level", buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "p 0", 3);
    assert_int_equal(umdev_host_parent_attr_read(host, "p", "small-2", "level", buf, 9), 3);
    assert_memory_equal(buf, "p 1", 3);
    assert_int_equal(umdev_host_parent_attr_read(host, "p", NULL, "none", buf, 9), -EIO);
    assert_int_equal(umdev_host_parent_attr_read(host, "p", "small-2", "none", buf, 9), -ENOENT);
    assert_int_equal(umdev_host_parent_attr_write(host, "p", NULL, "none", "12", 2), -EBUSY);
    assert_int_equal(umdev_host_parent_attr_write(host, "p", NULL, "none", "1", 1), -EIO);
    assert_int_equal(umdev_host_parent_attr_write(host, "p", NULL, "none", "", 0), -EINVAL);
    assert_int_equal(umdev_host_parent_attr_write(host, "p", NULL, "level", "1", 1), -EIO);
    assert_int_equal(umdev_host_parent_attr_write(host, "p", NULL, "what", "1", 1), -ENOENT);
    free_host(host);
}

struct ids {
    uint64_t device, parent;
};

static int note_device(void *opaque, const struct umdev_host_device *device)
{
    struct ids *ids = opaque;

    ids->device = device->id;
    ids->parent = device->parent_id;
    return 0;
}

static int note_type(void *opaque, const struct umdev_host_type *type)
{
    uint64_t *id = opaque;

    assert_true(*id == 0 || *id == type->parent_id);
    *id = type->parent_id;
    return 0;
}

/* The same names, but never the same ids. */
static void test_ids(void **state)
{
    struct umdev_host *host = new_host();
    uint64_t last = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct ids ids = {0};
        uint64_t parent = 0;

        umdev_host_for_each_type(host, note_type, &parent);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(umdev_host_create(host, "p", "small-1", UUID_A, NULL, NULL), 0);
            umdev_host_for_each_device(host, note_device, &ids);
            assert_true(ids.parent == parent && ids.device > parent && ids.device > last);
            last = ids.device;
            assert_int_equal(umdev_host_remove(host, UUID_A), 0);
        }
        assert_int_equal(umdev_host_remove_parent(host, "p"), 0);
        assert_int_equal(umdev_host_add_parent_static(host, &small_driver, "p", NULL, 0, NULL), 0);
    }
    free_host(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_attributes_of_parents_and_types),
        cmocka_unit_test(test_ids),
    };

    return cmocka_run_group_tests_name("attributes", tests, NULL, NULL);
}
