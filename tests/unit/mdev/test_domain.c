/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver may say of its parent's bus addresses, and when.
 */
#include "fixture.h"

static int map(struct umdev_device *dev, umdev_bus_t bus, void *memory, uint64_t size,
               unsigned prot)
{
    (void)dev, (void)bus, (void)memory, (void)size, (void)prot;
    return 0;
}

static void unmap(struct umdev_device *dev, umdev_bus_t bus, uint64_t size)
{
    (void)dev, (void)bus, (void)size;
}

static struct umdev_domain domain;
static int domain_result, second_result;
static struct umdev_parent *opened;

static int open_with_domain(struct umdev_parent *parent)
{
    opened = parent;
    domain_result = umdev_parent_set_domain(parent, &domain);
    second_result = umdev_parent_set_domain(parent, &domain);
    return domain_result;
}

static const struct umdev_type types[] = {{.name = "1"}};
static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .name = "bus",
    .types = types,
    .ntypes = 1,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 1),
    .parent_open = open_with_domain,
};

static char last_line[LOG_LINE_MAX];

static void keep_line(void *opaque, enum umdev_log_level level, const char *line)
{
    (void)opaque, (void)level;
    snprintf(last_line, sizeof(last_line), "%s", line);
}

/* The result of opening a parent with `domain`; it is removed again. */
static int try_domain(void)
{
    const struct log log = {keep_line, NULL, UMDEV_LOG_ERROR};
    struct mdev_registry *registry = NULL;
    int ret;

    assert_int_equal(mdev_registry_new(&log, NULL, &registry), 0);
    ret = mdev_parent_add(registry, &driver, NULL, NULL, 0, NULL, NULL, NULL);
    assert_int_equal(ret, domain_result);
    if (!ret) {
        /* Too late. */
        assert_int_equal(umdev_parent_set_domain(opened, &domain), -EBUSY);
        assert_int_equal(second_result, -EBUSY);
        assert_int_equal(mdev_create(registry, NULL, "bus-1", NULL, NULL, NULL), 0);
    }
    mdev_registry_free(registry);
    return ret;
}

static void good(enum umdev_bus_mode mode)
{
    domain = (struct umdev_domain){.struct_size = sizeof(domain), .mode = mode};
    if (mode != UMDEV_BUS_IDENTITY) {
        domain.map = map;
        domain.unmap = unmap;
    }
}

static void refused(const char *word)
{
    assert_int_equal(try_domain(), -EINVAL);
    if (!strstr(last_line, word))
        fail_msg("\"%s\" does not say \"%s\"", last_line, word);
}

static void domains_that_can_be(void **state)
{
    static const struct umdev_area reserved[] = {{0xfee00000, 0x100000}, {0xfef00000, 1}};

    (void)state;
    for (int mode = UMDEV_BUS_IDENTITY; mode <= UMDEV_BUS_PAGED; mode++) {
        good((enum umdev_bus_mode)mode);
        assert_int_equal(try_domain(), 0);
    }
    good(UMDEV_BUS_CONTIGUOUS);
    domain.first = UINT64_MAX - 0xffff;
    domain.last = UINT64_MAX;
    domain.align = 4096;
    domain.reserved = reserved;
    domain.nreserved = 2;
    assert_int_equal(try_domain(), 0);
}

static void domains_that_can_not(void **state)
{
    static const struct umdev_area wrapping = {UINT64_MAX - 0xfff, 0x2000}, all = {0, 0x10000};

    (void)state;
    good(UMDEV_BUS_PAGED);
    domain.struct_size = 0;
    refused("struct umdev_domain");
    good(UMDEV_BUS_PAGED);
    domain.struct_size++;
    refused("struct umdev_domain");
    good(UMDEV_BUS_PAGED);
    domain.unmap = NULL;
    refused("map and unmap");
    good(UMDEV_BUS_IDENTITY);
    domain.map = map;
    refused("identity");
    good(UMDEV_BUS_PAGED);
    domain.mode = (enum umdev_bus_mode)7;
    refused("7");
    good(UMDEV_BUS_PAGED);
    domain.align = 0x3000;
    refused("0x3000");
    good(UMDEV_BUS_PAGED);
    domain.first = 0x1000;
    domain.last = 0x1800;
    refused("whole pages");
    good(UMDEV_BUS_PAGED);
    domain.nreserved = 1;
    refused("no array");
    good(UMDEV_BUS_PAGED);
    domain.reserved = &wrapping;
    domain.nreserved = 1;
    refused("wraps");
    good(UMDEV_BUS_PAGED);
    domain.first = 0x1000;
    domain.last = 0xffff;
    domain.reserved = &all;
    domain.nreserved = 1;
    refused("0xffff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_that_can_be),
        cmocka_unit_test(domains_that_can_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
