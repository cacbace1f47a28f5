/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/driver_abi.h"

#include "base/log.h"
#include "base/range.h"
#include "mdev/text.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* A struct grows at its end only if its last member ends it: padding would hide a new member. */
#define MEMBER_END(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
#define NO_PADDING(type, last)                                                                     \
    _Static_assert(sizeof(type) == MEMBER_END(type, last), #type " ends in padding")
NO_PADDING(struct umdev_driver, type_attr_size);
NO_PADDING(struct umdev_parent_attr, store); /* NOLINT(bugprone-sizeof-expression): likewise */
NO_PADDING(struct umdev_attr, store);        /* NOLINT(bugprone-sizeof-expression): a pointer */
NO_PADDING(struct umdev_type, pin_mode);
NO_PADDING(struct umdev_param, max);
NO_PADDING(struct umdev_domain, flush); /* NOLINT(bugprone-sizeof-expression): a pointer */
NO_PADDING(struct umdev_pci, extra_size);
NO_PADDING(struct umdev_extra_region, regs); /* NOLINT(bugprone-sizeof-expression): a pointer */
NO_PADDING(struct umdev_bar, doorbells);     /* NOLINT(bugprone-sizeof-expression): likewise */
NO_PADDING(struct umdev_reg_hook, match);
NO_PADDING(struct umdev_doorbell, flags);

/* Larger than any struct will ever be: what claims more was not written as one of ours. */
#define STRUCT_SIZE_MAX ((size_t)65536)

/* A foreign struct, or array of them: how large one is, here and there. */
struct layout {
    const char *what;
    size_t theirs, ours;
    size_t least;         /* the end of the last member that must be there */
    const char *say_size; /* how a driver tells its size */
};

struct block {
    struct block *next;
    alignas(max_align_t) unsigned char bytes[];
};

struct adopted_driver {
    struct umdev_driver driver;
    struct block *blocks; /* every copy it points at */
};

/* ------------------------------------------------------------------ copying */

static int layout_check(const struct layout *layout, struct umdev_error *error)
{
    if (layout->theirs < layout->least || layout->theirs > STRUCT_SIZE_MAX ||
        layout->theirs % alignof(void *) != 0)
        return error_set(error, ENOEXEC,
                         "%s says it has %zu bytes: it needs at least %zu (set it by %s)",
                         layout->what, layout->theirs, layout->least, layout->say_size);
    return 0;
}

/* The bytes that are ours, the rest of `to` being zero. */
static int copy_struct(const struct layout *layout, void *to, const void *from,
                       struct umdev_error *error)
{
    const unsigned char *bytes = from;

    for (size_t i = layout->ours; i < layout->theirs; i++) {
        if (bytes[i])
            return error_set(error, ENOEXEC,
                             "%s uses something newer than this umdev, at byte %zu of %zu: build "
                             "the driver with this umdev's header, or update umdev",
                             layout->what, i, layout->theirs);
    }
    memcpy(to, from, MIN(layout->ours, layout->theirs));
    return 0;
}

static void *take_block(struct adopted_driver *adopted, size_t count, size_t size)
{
    struct block *block = NULL;
    size_t total;

    if (MUL_OVERFLOW(count, size, &total) || ADD_OVERFLOW(total, sizeof(*block), &total))
        return NULL;
    block = calloc(1, total);
    if (!block)
        return NULL;
    block->next = adopted->blocks;
    adopted->blocks = block;
    return block->bytes;
}

/* *copy: `count` structs of our size; NULL if there are none. */
static int copy_array(struct adopted_driver *adopted, const struct layout *layout,
                      const void *foreign, size_t count, void **copy, struct umdev_error *error)
{
    unsigned char *array = NULL;
    int ret = 0;

    *copy = NULL;
    if (count == 0)
        return 0;
    if (!foreign)
        return error_set(error, EINVAL, "%s: %zu announced, but there is no array", layout->what,
                         count);
    ret = layout_check(layout, error);
    if (ret)
        return ret;
    array = take_block(adopted, count, layout->ours);
    if (!array)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < count && !ret; i++)
        ret = copy_struct(layout, array + i * layout->ours,
                          (const unsigned char *)foreign + i * layout->theirs, error);
    *copy = array;
    return ret;
}

/* ------------------------------------------------------------------ struct by struct */

static int adopt_regs(struct adopted_driver *adopted, const struct umdev_regs_desc **regs,
                      struct umdev_error *error)
{
    const struct umdev_regs_desc *foreign = *regs;
    const struct layout layout = {
        .what = "struct umdev_reg_hook",
        .theirs = foreign->hook_size,
        .ours = sizeof(struct umdev_reg_hook),
        .least = MEMBER_END(struct umdev_reg_hook, write),
        .say_size = "UMDEV_REGS()",
    };
    struct umdev_regs_desc *copy = take_block(adopted, 1, sizeof(*copy));
    void *hooks = NULL;
    int ret;

    if (!copy)
        return error_set(error, ENOMEM, "out of memory");
    ret = copy_array(adopted, &layout, foreign->hooks, foreign->nhooks, &hooks, error);
    if (ret)
        return ret;
    *copy = *foreign;
    copy->hooks = hooks;
    copy->hook_size = sizeof(struct umdev_reg_hook);
    *regs = copy;
    return 0;
}

static int adopt_doorbells(struct adopted_driver *adopted,
                           const struct umdev_doorbells_desc **doorbells, struct umdev_error *error)
{
    const struct umdev_doorbells_desc *foreign = *doorbells;
    const struct layout layout = {
        .what = "struct umdev_doorbell",
        .theirs = foreign->doorbell_size,
        .ours = sizeof(struct umdev_doorbell),
        .least = MEMBER_END(struct umdev_doorbell, flags),
        .say_size = "UMDEV_DOORBELLS()",
    };
    struct umdev_doorbells_desc *copy = take_block(adopted, 1, sizeof(*copy));
    void *array = NULL;
    int ret;

    if (!copy)
        return error_set(error, ENOMEM, "out of memory");
    ret = copy_array(adopted, &layout, foreign->doorbells, foreign->ndoorbells, &array, error);
    if (ret)
        return ret;
    *copy = (struct umdev_doorbells_desc){array, foreign->ndoorbells, layout.ours};
    *doorbells = copy;
    return 0;
}

static int adopt_bar(struct adopted_driver *adopted, const struct umdev_bar **bar,
                     struct umdev_error *error)
{
    const struct layout layout = {
        .what = "struct umdev_bar",
        .theirs = (*bar)->struct_size,
        .ours = sizeof(struct umdev_bar),
        .least = MEMBER_END(struct umdev_bar, size),
        .say_size = "UMDEV_BAR()",
    };
    struct umdev_bar *copy = NULL;
    void *array = NULL;
    int ret = copy_array(adopted, &layout, *bar, 1, &array, error);

    if (ret)
        return ret;
    copy = array;
    copy->struct_size = sizeof(*copy);
    *bar = copy;
    if (copy->regs)
        ret = adopt_regs(adopted, &copy->regs, error);
    if (!ret && copy->doorbells)
        ret = adopt_doorbells(adopted, &copy->doorbells, error);
    return ret;
}

static int adopt_extra(struct adopted_driver *adopted, struct umdev_pci *pci,
                       struct umdev_error *error)
{
    const struct layout layout = {
        .what = "struct umdev_extra_region",
        .theirs = pci->extra_size,
        .ours = sizeof(struct umdev_extra_region),
        .least = MEMBER_END(struct umdev_extra_region, size),
        .say_size = "UMDEV_EXTRA_REGIONS()",
    };
    struct umdev_extra_region *copy = NULL;
    void *array = NULL;
    int ret = copy_array(adopted, &layout, pci->extra, pci->nextra, &array, error);

    copy = array;
    for (size_t i = 0; !ret && i < pci->nextra; i++) {
        if (copy[i].regs)
            ret = adopt_regs(adopted, &copy[i].regs, error);
    }
    pci->extra = copy;
    pci->extra_size = sizeof(*copy);
    return ret;
}

static int adopt_pci(struct adopted_driver *adopted, const struct umdev_pci **pci,
                     struct umdev_error *error)
{
    const struct layout layout = {
        .what = "struct umdev_pci",
        .theirs = (*pci)->struct_size,
        .ours = sizeof(struct umdev_pci),
        .least = MEMBER_END(struct umdev_pci, device),
        .say_size = "UMDEV_PCI()",
    };
    struct umdev_pci *copy = NULL;
    void *array = NULL;
    int ret = copy_array(adopted, &layout, *pci, 1, &array, error);

    if (ret)
        return ret;
    copy = array;
    copy->struct_size = sizeof(*copy);
    *pci = copy;
    for (unsigned i = 0; i < UMDEV_NUM_BARS && !ret; i++) {
        if (copy->bar[i])
            ret = adopt_bar(adopted, &copy->bar[i], error);
    }
    return ret ? ret : adopt_extra(adopted, copy, error);
}

static int adopt_types(struct adopted_driver *adopted, struct umdev_error *error)
{
    struct umdev_driver *driver = &adopted->driver;
    const struct layout layout = {
        .what = "struct umdev_type",
        .theirs = driver->type_size,
        .ours = sizeof(struct umdev_type),
        .least = MEMBER_END(struct umdev_type, name),
        .say_size = "UMDEV_DRIVER()",
    };
    struct umdev_type *types = NULL;
    void *array = NULL;
    int ret = copy_array(adopted, &layout, driver->types, driver->ntypes, &array, error);

    types = array;
    for (size_t i = 0; !ret && i < driver->ntypes; i++) {
        if (types[i].pci)
            ret = adopt_pci(adopted, &types[i].pci, error);
    }
    driver->types = types;
    driver->type_size = sizeof(struct umdev_type);
    return ret;
}

static int adopt_params(struct adopted_driver *adopted, struct umdev_error *error)
{
    struct umdev_driver *driver = &adopted->driver;
    const struct layout layout = {
        .what = "struct umdev_param",
        .theirs = driver->param_size,
        .ours = sizeof(struct umdev_param),
        .least = MEMBER_END(struct umdev_param, name),
        .say_size = "UMDEV_DRIVER()",
    };
    void *array = NULL;
    int ret = copy_array(adopted, &layout, driver->params, driver->nparams, &array, error);

    driver->params = array;
    driver->param_size = sizeof(struct umdev_param);
    return ret;
}

static int adopt_attr_array(struct adopted_driver *adopted, const struct layout *layout,
                            const void *foreign, size_t count, void **copy,
                            struct umdev_error *error)
{
    if (count > DRIVER_ATTRS_MAX)
        return error_set(error, EINVAL, "driver %s has %zu attributes of a kind: %d are allowed",
                         text_quote(adopted->driver.name).text, count, DRIVER_ATTRS_MAX);
    return copy_array(adopted, layout, foreign, count, copy, error);
}

static int adopt_parent_attrs(struct adopted_driver *adopted, const char *say_size,
                              const struct umdev_parent_attr **attrs, size_t count, size_t *size,
                              struct umdev_error *error)
{
    const struct layout layout = {
        .what = "struct umdev_parent_attr",
        .theirs = *size,
        .ours = sizeof(struct umdev_parent_attr),
        .least = MEMBER_END(struct umdev_parent_attr, store),
        .say_size = say_size,
    };
    void *array = NULL;
    int ret = adopt_attr_array(adopted, &layout, *attrs, count, &array, error);

    *attrs = array;
    *size = layout.ours;
    return ret;
}

static int adopt_attrs(struct adopted_driver *adopted, struct umdev_error *error)
{
    struct umdev_driver *driver = &adopted->driver;
    const struct layout layout = {
        .what = "struct umdev_attr",
        .theirs = driver->attr_size,
        .ours = sizeof(struct umdev_attr),
        .least = MEMBER_END(struct umdev_attr, store),
        .say_size = "UMDEV_ATTRS()",
    };
    void *array = NULL;
    int ret = adopt_attr_array(adopted, &layout, driver->attrs, driver->nattrs, &array, error);

    driver->attrs = array;
    driver->attr_size = layout.ours;
    if (!ret)
        ret = adopt_parent_attrs(adopted, "UMDEV_PARENT_ATTRS()", &driver->parent_attrs,
                                 driver->nparent_attrs, &driver->parent_attr_size, error);
    if (!ret)
        ret = adopt_parent_attrs(adopted, "UMDEV_TYPE_ATTRS()", &driver->type_attrs,
                                 driver->ntype_attrs, &driver->type_attr_size, error);
    return ret;
}

/* ------------------------------------------------------------------ the bus domain */

int driver_adopt_domain(const struct umdev_domain *foreign, struct umdev_domain *domain,
                        struct umdev_error *error)
{
    const struct layout layout = {
        .what = "struct umdev_domain",
        .theirs = foreign->struct_size,
        .ours = sizeof(*domain),
        .least = MEMBER_END(struct umdev_domain, unmap),
        .say_size = ".struct_size = sizeof(struct umdev_domain)",
    };

    *domain = (struct umdev_domain){0};
    if (layout_check(&layout, error) || copy_struct(&layout, domain, foreign, error))
        return -EINVAL;
    domain->struct_size = sizeof(*domain);
    if (domain->mode != UMDEV_BUS_IDENTITY && (!domain->map || !domain->unmap))
        return error_set(error, EINVAL,
                         "its bus addresses are not those of this process: it needs map and unmap");
    if (domain->mode == UMDEV_BUS_IDENTITY && (domain->map || domain->unmap || domain->flush))
        return error_set(error, EINVAL, "identity has no IOMMU: no map, no unmap and no flush");
    return 0;
}

/* ------------------------------------------------------------------ the driver */

static struct layout driver_layout(const struct umdev_driver *foreign)
{
    return (struct layout){
        .what = "struct umdev_driver",
        .theirs = foreign->struct_size,
        .ours = sizeof(struct umdev_driver),
        .least = MEMBER_END(struct umdev_driver, ntypes),
        .say_size = "UMDEV_DRIVER()",
    };
}

int driver_abi_check(const struct umdev_driver *foreign, struct umdev_error *error)
{
    struct layout layout;

    if (!foreign)
        return error_set(error, ENOEXEC, "the driver describes nothing: its entry gave NULL");
    layout = driver_layout(foreign);
    /* The version first: of another version's struct nothing else is known. */
    if (layout.theirs >= MEMBER_END(struct umdev_driver, api_version) &&
        foreign->api_version != UMDEV_DRIVER_API_VERSION)
        return error_set(error, ENOEXEC,
                         "the driver has API version %u, this umdev has %u: build it again with "
                         "this umdev's header",
                         foreign->api_version, UMDEV_DRIVER_API_VERSION);
    return layout_check(&layout, error);
}

static int adopt_all(struct adopted_driver *adopted, const struct umdev_driver *foreign,
                     struct umdev_error *error)
{
    struct layout layout = driver_layout(foreign);
    int ret = copy_struct(&layout, &adopted->driver, foreign, error);

    adopted->driver.struct_size = sizeof(struct umdev_driver);
    if (!ret)
        ret = adopt_types(adopted, error);
    if (!ret)
        ret = adopt_params(adopted, error);
    if (!ret)
        ret = adopt_attrs(adopted, error);
    if (!ret && adopted->driver.pci)
        ret = adopt_pci(adopted, &adopted->driver.pci, error);
    if (!ret)
        ret = driver_check(&adopted->driver, error);
    return ret;
}

int driver_adopt(const struct umdev_driver *foreign, struct adopted_driver **adopted,
                 struct umdev_error *error)
{
    struct adopted_driver *all = NULL;
    int ret = driver_abi_check(foreign, error);

    if (ret)
        return ret;
    all = calloc(1, sizeof(*all));
    if (!all)
        return error_set(error, ENOMEM, "out of memory");
    ret = adopt_all(all, foreign, error);
    if (ret) {
        driver_release(all);
        return ret;
    }
    *adopted = all;
    return 0;
}

const struct umdev_driver *driver_adopted(const struct adopted_driver *adopted)
{
    return &adopted->driver;
}

void driver_release(struct adopted_driver *adopted)
{
    if (!adopted)
        return;
    while (adopted->blocks) {
        struct block *block = adopted->blocks;

        adopted->blocks = block->next;
        free(block);
    }
    free(adopted);
}
