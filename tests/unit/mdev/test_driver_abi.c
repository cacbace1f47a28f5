/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drivers of other header versions, made in memory: structs cut short, structs grown, and
 * descriptions that contradict themselves.
 */
#include "unit.h"

#include "base/range.h"
#include "failnth.h"
#include "mdev/driver_abi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int nothing_to_open(struct umdev_parent *parent)
{
    (void)parent;
    return 0;
}

static const struct umdev_type types[] = {
    {.name = "1", .description = "small", .instances = 4},
    {.name = "2.big", .instances = 2, .data = types},
};
static const struct umdev_param params[] = {
    {.name = "vram", .kind = UMDEV_PARAM_SIZE, .value = "1M", .min = 4096, .max = 1 << 30},
    {.name = "label"},
};
struct priv {
    struct umdev_regs regs;
};
static const struct umdev_reg_hook hooks[] = {{.offset = 8, .reset_value = 7}, {.offset = 16}};
static const struct umdev_doorbell doorbells[] = {{.offset = 32}, {.offset = 64, .match = 3}};
static const struct umdev_extra_region extra[] = {
    {.type = 5, .subtype = 6, .size = 64, .regs = UMDEV_REGS(struct priv, regs, hooks)},
    {.type = 7, .size = 4096, .flags = UMDEV_BAR_MEMORY},
};
static const struct umdev_pci *const pci_of_today =
    UMDEV_PCI(.vendor = 1, .device = 2, .class_code = 0x30000,
              .bar = {UMDEV_BAR(.size = 4096, .regs = UMDEV_REGS(struct priv, regs, hooks),
                                .doorbells = UMDEV_DOORBELLS(doorbells))},
              .vendor_cap = "abc", .vendor_cap_size = 3, UMDEV_EXTRA_REGIONS(extra));

static int show_nothing(struct umdev_device *dev, char *buf, size_t size)
{
    (void)dev, (void)buf, (void)size;
    return 0;
}

static int store_nothing(struct umdev_device *dev, const char *buf, size_t len)
{
    (void)dev, (void)buf, (void)len;
    return 0;
}

static const struct umdev_attr attrs[] = {
    {.name = "speed", .show = show_nothing},
    {.name = "2.weight", .store = store_nothing},
};

static struct umdev_driver whole(void)
{
    return (struct umdev_driver){
        .struct_size = sizeof(struct umdev_driver),
        .api_version = UMDEV_DRIVER_API_VERSION,
        .type_size = sizeof(struct umdev_type),
        .param_size = sizeof(struct umdev_param),
        .name = "test_1",
        .types = types,
        .ntypes = ARRAY_SIZE(types),
        .params = params,
        .nparams = ARRAY_SIZE(params),
        .max_instances = 5,
        .priv_size = sizeof(struct priv),
        .pci = pci_of_today,
        .parent_open = nothing_to_open,
        UMDEV_ATTRS(attrs),
    };
}

/*
 * A heap copy of the first `size` bytes of a struct that says so in its first member. Nothing
 * follows them, so that ASan sees a read past a short struct.
 */
static void *cut_short(const void *from, size_t size)
{
    size_t *copy = malloc(size);

    assert_non_null(copy);
    memcpy(copy, from, size);
    copy[0] = size;
    return copy;
}

static void assert_refused(const struct umdev_driver *driver, int errno_value, const char *words)
{
    struct umdev_error error = {""};
    struct adopted_driver *adopted = NULL;

    assert_int_equal(driver_adopt(driver, &adopted, &error), -errno_value);
    assert_null(adopted);
    if (!strstr(error.message, words))
        fail_msg("'%s' lacks '%s'", error.message, words);
}

static void test_a_driver_of_today(void **state)
{
    struct umdev_driver driver = whole();
    struct adopted_driver *adopted = NULL;
    const struct umdev_driver *ours;

    (void)state;
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    ours = driver_adopted(adopted);
    assert_string_equal(ours->name, "test_1");
    assert_ptr_equal(ours->parent_open, nothing_to_open);
    assert_int_equal(ours->ntypes, 2);
    assert_string_equal(ours->types[1].name, "2.big");
    assert_ptr_equal(ours->types[1].data, types);
    assert_int_equal(ours->nparams, 2);
    assert_int_equal(ours->params[0].max, 1 << 30);
    assert_int_equal(ours->nattrs, 2);
    assert_ptr_not_equal(ours->attrs, attrs);
    assert_string_equal(ours->attrs[1].name, "2.weight");
    assert_ptr_equal(ours->attrs[1].store, store_nothing);
    assert_int_equal(ours->pci->device, 2);
    assert_int_equal(ours->pci->bar[0]->size, 4096);
    assert_int_equal(ours->pci->bar[0]->regs->nhooks, 2);
    assert_int_equal(ours->pci->bar[0]->regs->hooks[0].reset_value, 7);
    assert_int_equal(ours->pci->bar[0]->doorbells->ndoorbells, 2);
    assert_int_equal(ours->pci->bar[0]->doorbells->doorbells[1].match, 3);
    assert_null(ours->pci->bar[1]);
    assert_memory_equal(ours->pci->vendor_cap, "abc", ours->pci->vendor_cap_size);
    assert_int_equal(ours->pci->nextra, 2);
    assert_ptr_not_equal(ours->pci->extra, extra);
    assert_int_equal(ours->pci->extra[0].subtype, 6);
    assert_int_equal(ours->pci->extra[0].regs->nhooks, 2);
    assert_ptr_not_equal(ours->pci->extra[0].regs, extra[0].regs);
    assert_int_equal(ours->pci->extra[1].flags, UMDEV_BAR_MEMORY);
    driver_release(adopted);
}

static void test_an_older_driver(void **state)
{
    struct umdev_driver full = whole();
    size_t size = offsetof(struct umdev_driver, params);
    struct umdev_driver *driver = cut_short(&full, size);
    struct adopted_driver *adopted = NULL;
    const struct umdev_driver *ours;

    (void)state;
    assert_int_equal(driver_adopt(driver, &adopted, NULL), 0);
    ours = driver_adopted(adopted);
    assert_int_equal(ours->struct_size, sizeof(struct umdev_driver));
    assert_int_equal(ours->ntypes, 2);
    assert_null(ours->params);
    assert_int_equal(ours->nparams, 0);
    assert_int_equal(ours->max_instances, 0);
    assert_null(ours->pci);
    assert_null(ours->parent_open);
    assert_null(ours->dma_unmap);
    assert_null(ours->screenshot);
    driver_release(adopted);
    free(driver);
}

/* Each of the structs a driver points at, cut to what it must have at least. */
static void test_older_structs_below_the_driver(void **state)
{
    struct umdev_driver driver = whole();
    const char *old_types[2] = {"a", "b"};
    const char *old_params[2] = {"x", "y"};
    struct umdev_pci *pci = cut_short(driver.pci, 24);
    struct umdev_bar bar = *driver.pci->bar[0];
    struct adopted_driver *adopted = NULL;
    const struct umdev_driver *ours;

    (void)state;
    driver.types = (const void *)old_types;
    driver.type_size = sizeof(char *);
    driver.params = (const void *)old_params;
    driver.param_size = sizeof(char *);
    driver.pci = pci;
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    ours = driver_adopted(adopted);
    assert_string_equal(ours->types[1].name, "b");
    assert_null(ours->types[1].description);
    assert_int_equal(ours->types[1].instances, 0);
    assert_string_equal(ours->params[1].name, "y");
    assert_int_equal(ours->params[1].kind, UMDEV_PARAM_STRING);
    assert_int_equal(ours->pci->vendor, 1);
    assert_int_equal(ours->pci->class_code, 0x30000);
    assert_int_equal(ours->pci->msix.vectors, 0);
    assert_null(ours->pci->bar[0]);
    driver_release(adopted);
    free(pci);

    driver = whole();
    bar.struct_size = offsetof(struct umdev_bar, flags);
    driver.pci = UMDEV_PCI(.vendor = 1, .bar = {&bar});
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->size, 4096);
    assert_null(driver_adopted(adopted)->pci->bar[0]->regs);
    driver_release(adopted);
}

/* A driver from before there were device-specific regions, and one from the first days of them. */
static void test_older_extra_regions(void **state)
{
    struct umdev_driver driver = whole();
    struct umdev_pci *before = cut_short(driver.pci, offsetof(struct umdev_pci, vendor_cap));
    const struct {
        uint32_t type, subtype;
        uint64_t size;
    } first[] = {{1, 2, 3}, {4, 5, 6}};
    struct adopted_driver *adopted = NULL;
    const struct umdev_pci *ours;

    (void)state;
    driver.pci = before;
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    ours = driver_adopted(adopted)->pci;
    assert_int_equal(ours->nextra, 0);
    assert_null(ours->extra);
    assert_int_equal(ours->vendor_cap_size, 0);
    assert_int_equal(ours->bar[0]->size, 4096);
    driver_release(adopted);
    free(before);

    driver.pci = UMDEV_PCI(.extra = (const void *)first, .nextra = 2, .extra_size = 16);
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    ours = driver_adopted(adopted)->pci;
    assert_int_equal(ours->extra[1].type, 4);
    assert_int_equal(ours->extra[1].size, 6);
    assert_int_equal(ours->extra[1].flags, 0);
    assert_null(ours->extra[1].regs);
    assert_int_equal(ours->extra_size, sizeof(struct umdev_extra_region));
    driver_release(adopted);
}

struct newer_driver {
    struct umdev_driver known;
    void *unknown;
};
struct newer_type {
    struct umdev_type known;
    uint64_t unknown;
};
struct newer_extra {
    struct umdev_extra_region known;
    uint64_t unknown;
};
struct newer_hook {
    struct umdev_reg_hook known;
    uint64_t unknown;
};

struct newer_doorbell {
    struct umdev_doorbell known;
    uint64_t unknown;
};

static void test_a_newer_doorbell(void **state)
{
    struct newer_doorbell newer[2] = {{.known = doorbells[0]}, {.known = doorbells[1]}};
    struct umdev_doorbells_desc list = {&newer[0].known, 2, sizeof(newer[0])};
    struct umdev_driver driver = whole();
    struct adopted_driver *adopted = NULL;

    (void)state;
    driver.pci = UMDEV_PCI(.bar = {UMDEV_BAR(.size = 16, .doorbells = &list)});
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->doorbells->doorbells[1].offset, 64);
    driver_release(adopted);
    newer[1].unknown = 1;
    assert_refused(&driver, ENOEXEC, "struct umdev_doorbell uses something newer");
    list.doorbell_size = 16;
    assert_refused(&driver, ENOEXEC, "UMDEV_DOORBELLS()");
    list = (struct umdev_doorbells_desc){NULL, 2, sizeof(struct umdev_doorbell)};
    assert_refused(&driver, EINVAL, "there is no array");
}

/* A hook that ends where doorbells were not thought of: its flags are zero. */
static void test_an_older_hook(void **state)
{
    struct umdev_reg_hook older[2] = {hooks[0], hooks[1]};
    const size_t size = offsetof(struct umdev_reg_hook, flags);
    unsigned char packed[2 * sizeof(older[0])];
    const struct umdev_regs_desc regs = {
        .hooks = (const void *)packed, .nhooks = 2, .hook_size = size};
    struct umdev_driver driver = whole();
    struct adopted_driver *adopted = NULL;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        older[i].flags = UINT64_MAX;
        memcpy(packed + i * size, &older[i], size);
    }
    driver.pci = UMDEV_PCI(.bar = {UMDEV_BAR(.size = 16, .regs = &regs)});
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->regs->hooks[1].offset, 16);
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->regs->hooks[0].flags, 0);
    driver_release(adopted);
}

static void test_a_newer_driver(void **state)
{
    struct newer_driver newer = {.known = whole()};
    struct newer_type newer_types[2] = {{.known = types[0]}, {.known = types[1]}};
    struct newer_hook newer_hooks[2] = {{.known = hooks[0]}, {.known = hooks[1]}};
    struct newer_extra newer_extra[1] = {{.known = extra[0]}};
    const struct umdev_regs_desc regs = {
        .hooks = &newer_hooks[0].known, .nhooks = 2, .hook_size = sizeof(newer_hooks[0])};
    struct adopted_driver *adopted = NULL;

    (void)state;
    newer.known.struct_size = sizeof(newer);
    newer.known.types = &newer_types[0].known;
    newer.known.type_size = sizeof(newer_types[0]);
    newer.known.pci = UMDEV_PCI(.bar = {UMDEV_BAR(.size = 16, .regs = &regs)});
    assert_int_equal(driver_adopt(&newer.known, &adopted, NULL), 0);
    assert_string_equal(driver_adopted(adopted)->types[1].name, "2.big");
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->regs->hooks[1].offset, 16);
    assert_int_equal(driver_adopted(adopted)->pci->bar[0]->regs->hook_size,
                     sizeof(struct umdev_reg_hook));
    driver_release(adopted);
    adopted = NULL;

    newer_hooks[1].unknown = 1;
    assert_refused(&newer.known, ENOEXEC, "struct umdev_reg_hook uses something newer");
    newer_hooks[1].unknown = 0;
    newer_types[1].unknown = UINT64_C(1) << 63;
    assert_refused(&newer.known, ENOEXEC, "struct umdev_type uses something newer");
    newer_types[1].unknown = 0;
    newer_extra[0].unknown = 1;
    newer.known.pci = UMDEV_PCI(.extra = &newer_extra[0].known, .nextra = 1,
                                .extra_size = sizeof(newer_extra[0]));
    assert_refused(&newer.known, ENOEXEC, "struct umdev_extra_region uses something newer");
    newer_extra[0].unknown = 0;
    newer.unknown = &newer;
    assert_refused(&newer.known, ENOEXEC, "struct umdev_driver uses something newer");
}

static void test_another_api_version(void **state)
{
    struct umdev_driver driver = whole();

    (void)state;
    driver.api_version = 2;
    assert_refused(&driver, ENOEXEC, "API version 2, this umdev has 1");
    driver.api_version = 0;
    assert_refused(&driver, ENOEXEC, "API version 0");
    /* Another version may have another struct: the version is what is told. */
    driver.struct_size = 16;
    assert_refused(&driver, ENOEXEC, "API version 0");
    assert_int_equal(driver_abi_check(NULL, NULL), -ENOEXEC);
}

static void test_sizes_that_cannot_be(void **state)
{
    const size_t wrong[] = {0,     8,        offsetof(struct umdev_driver, ntypes),
                            65544, SIZE_MAX, sizeof(struct umdev_driver) + 1};
    struct umdev_driver driver = whole();
    struct umdev_pci pci = *driver.pci;
    struct umdev_bar bar = *driver.pci->bar[0];
    struct umdev_regs_desc regs = *bar.regs;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        driver.struct_size = wrong[i];
        assert_refused(&driver, ENOEXEC, "struct umdev_driver says it has");
    }
    driver = whole();
    driver.type_size = 0;
    assert_refused(&driver, ENOEXEC, "struct umdev_type says it has 0 bytes");
    driver = whole();
    driver.param_size = 12;
    assert_refused(&driver, ENOEXEC, "struct umdev_param says it has 12 bytes");
    driver = whole();
    driver.pci = &pci;
    pci.bar[0] = &bar;
    bar.regs = &regs;
    regs.hook_size = 4;
    assert_refused(&driver, ENOEXEC, "UMDEV_REGS()");
    bar.struct_size = 8;
    assert_refused(&driver, ENOEXEC, "UMDEV_BAR()");
    pci.struct_size = 0;
    assert_refused(&driver, ENOEXEC, "UMDEV_PCI()");
    driver = whole();
    driver.pci = UMDEV_PCI(.extra = extra, .nextra = 2);
    assert_refused(&driver, ENOEXEC, "UMDEV_EXTRA_REGIONS()");
    driver.pci = UMDEV_PCI(.nextra = 2, .extra_size = sizeof(extra[0]));
    assert_refused(&driver, EINVAL, "no array");
    driver = whole();
    driver.ntypes = SIZE_MAX / 2;
    assert_refused(&driver, ENOMEM, "memory");
    driver.types = NULL;
    assert_refused(&driver, EINVAL, "no array");
}

static void assert_description_refused(struct umdev_driver driver, const char *words)
{
    assert_refused(&driver, EINVAL, words);
}

#define WITH(...)                                                                                  \
    __extension__({                                                                                \
        struct umdev_driver d = whole();                                                           \
        __VA_ARGS__;                                                                               \
        d;                                                                                         \
    })

static void test_names_and_limits(void **state)
{
    static const char too_long[] =
        "a234567890123456789012345678901234567890123456789012345678901234x";
    static const struct umdev_type twice[] = {{.name = "a"}, {.name = "a"}};
    static const struct umdev_type slash[] = {{.name = "a/b"}};
    static const struct umdev_type nameless[] = {{.instances = 1}};
    static const struct umdev_type many[] = {{.name = "a", .instances = 6}};

    (void)state;
    assert_description_refused(WITH(d.name = NULL), "''");
    assert_description_refused(WITH(d.name = ""), "''");
    assert_description_refused(WITH(d.name = "a-b"), "'a-b'");
    assert_description_refused(WITH(d.name = "../a"), "'../a'");
    assert_description_refused(WITH(d.name = "caf\xc3\xa9"), "'caf?"
                                                             "?'");
    assert_description_refused(WITH(d.name = too_long), "1 to 64");
    assert_description_refused(WITH(d.threads = 7), "thread model 7");
    assert_description_refused(WITH(d.types = NULL; d.ntypes = 0), "at least one");
    assert_description_refused(WITH(d.types = twice), "two types 'a'");
    assert_description_refused(WITH(d.types = slash; d.ntypes = 1), "'a/b'");
    assert_description_refused(WITH(d.types = nameless; d.ntypes = 1), "type 0 ''");
    assert_description_refused(WITH(d.types = many; d.ntypes = 1), "6 instances of type a");
}

static void test_declared_parameters(void **state)
{
    static const struct {
        struct umdev_param params[2];
        const char *words;
    } rows[] = {
        {{{.name = NULL}, {.name = "b"}}, "parameter 0 ''"},
        {{{.name = "a"}, {.name = "b="}}, "parameter 1 'b='"},
        {{{.name = "a"}, {.name = "a"}}, "two parameters 'a'"},
        {{{.name = "a", .kind = (enum umdev_param_kind)9}, {.name = "b"}}, "unknown kind 9"},
        {{{.name = "a", .max = 3}, {.name = "b"}}, "only numbers"},
        {{{.name = "a", .kind = UMDEV_PARAM_NUMBER, .min = 2, .max = 1}, {.name = "b"}}, "2 to 1"},
        {{{.name = "a", .kind = UMDEV_PARAM_NUMBER, .min = 2}, {.name = "b"}}, "2 to 0"},
        {{{.name = "a", .kind = UMDEV_PARAM_NUMBER, .value = "x"}, {.name = "b"}},
         "a=x: not a num"},
        {{{.name = "a", .kind = UMDEV_PARAM_SIZE, .value = "1K", .max = 1}, {.name = "b"}},
         "a=1K: out of range"},
        {{{.name = "a"}, {.name = "b", .kind = UMDEV_PARAM_BOOL, .value = ""}}, "b=: not a switch"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_description_refused(WITH(d.params = rows[i].params), rows[i].words);
}

static void test_attributes(void **state)
{
    static const struct {
        struct umdev_attr attrs[2];
        const char *words;
    } rows[] = {
        {{{.name = NULL}, {.name = "b"}}, "attribute 0 ''"},
        {{{.name = "a", .show = show_nothing}, {.name = "b/c"}}, "attribute 1 'b/c'"},
        {{{.name = ".a", .show = show_nothing}, {.name = "b"}}, "attribute 0 '.a'"},
        {{{.name = "a", .show = show_nothing}, {.name = "a"}}, "two attributes 'a'"},
        {{{.name = "a", .show = show_nothing}, {.name = "b"}}, "neither read nor written"},
        {{{.name = "remove", .show = show_nothing}, {.name = "b"}}, "an attribute 'remove'"},
        {{{.name = "umdev", .show = show_nothing}, {.name = "b"}}, "an attribute 'umdev'"},
        {{{.name = "mdev_type", .show = show_nothing}, {.name = "b"}}, "an attribute 'mdev_type'"},
    };
    struct {
        struct umdev_attr known;
        uint64_t later;
    } newer[2] = {{.known = attrs[0]}, {.known = attrs[1]}};
    struct umdev_driver driver = whole();
    struct adopted_driver *adopted = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_description_refused(WITH(d.attrs = rows[i].attrs), rows[i].words);
    assert_description_refused(WITH(d.nattrs = 1025), "1025 attributes");
    driver.attr_size = offsetof(struct umdev_attr, store);
    assert_refused(&driver, ENOEXEC, "UMDEV_ATTRS()");
    /* A newer driver's, as long as what only it knows is not used. */
    driver.attrs = &newer[0].known;
    driver.attr_size = sizeof(newer[0]);
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    assert_string_equal(driver_adopted(adopted)->attrs[1].name, "2.weight");
    assert_int_equal(driver_adopted(adopted)->attr_size, sizeof(struct umdev_attr));
    driver_release(adopted);
    newer[1].later = 1;
    adopted = NULL;
    assert_refused(&driver, ENOEXEC, "newer");
}

static int parent_show(struct umdev_parent *parent, unsigned type, char *buf, size_t size)
{
    (void)parent, (void)type, (void)buf, (void)size;
    return 0;
}

static void test_attributes_of_parents_and_types(void **state)
{
    static const struct umdev_parent_attr good[] = {{.name = "a", .show = parent_show}};
    static const struct umdev_parent_attr of_type[] = {{.name = "create", .show = parent_show}};
    static const struct umdev_parent_attr of_parent[] = {
        {.name = "mdev_supported_types", .show = parent_show}};
    static const struct umdev_parent_attr of_device[] = {
        {.name = "123e4567-e89b-12d3-a456-426614174000", .show = parent_show}};
    static const struct umdev_parent_attr neither[] = {{.name = "a"}};
    struct umdev_driver driver = whole();
    struct adopted_driver *adopted = NULL;

    (void)state;
    driver = WITH(d.parent_attrs = good; d.nparent_attrs = 1; d.parent_attr_size = sizeof(good[0]);
                  d.type_attrs = good; d.ntype_attrs = 1; d.type_attr_size = sizeof(good[0]));
    assert_int_equal(driver_adopt(&driver, &adopted, NULL), 0);
    assert_ptr_not_equal(driver_adopted(adopted)->parent_attrs, good);
    assert_string_equal(driver_adopted(adopted)->type_attrs[0].name, "a");
    driver_release(adopted);
    adopted = NULL;
    driver.type_attrs = of_type;
    assert_description_refused(driver, "'create'");
    driver.type_attrs = neither;
    assert_description_refused(driver, "neither read nor written");
    driver.type_attrs = of_parent;
    driver.parent_attrs = of_parent;
    assert_description_refused(driver, "'mdev_supported_types'");
    driver.parent_attrs = of_device;
    assert_description_refused(driver, "'123e4567");
    driver.type_attr_size = 8;
    driver.parent_attrs = good;
    assert_refused(&driver, ENOEXEC, "UMDEV_TYPE_ATTRS()");
    driver.parent_attr_size = 8;
    assert_refused(&driver, ENOEXEC, "UMDEV_PARENT_ATTRS()");
}

static int adopt_whole(void *opaque)
{
    struct umdev_driver driver = whole();

    return driver_adopt(&driver, opaque, NULL);
}

static void release_adopted(void *opaque)
{
    driver_release(*(struct adopted_driver **)opaque);
}

static void test_out_of_memory(void **state)
{
    struct adopted_driver *adopted = NULL;

    (void)state;
    assert_true(failnth_run(adopt_whole, release_adopted, &adopted) >= 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_driver_of_today),
        cmocka_unit_test(test_an_older_driver),
        cmocka_unit_test(test_older_structs_below_the_driver),
        cmocka_unit_test(test_older_extra_regions),
        cmocka_unit_test(test_a_newer_doorbell),
        cmocka_unit_test(test_an_older_hook),
        cmocka_unit_test(test_a_newer_driver),
        cmocka_unit_test(test_another_api_version),
        cmocka_unit_test(test_sizes_that_cannot_be),
        cmocka_unit_test(test_names_and_limits),
        cmocka_unit_test(test_declared_parameters),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_attributes_of_parents_and_types),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
