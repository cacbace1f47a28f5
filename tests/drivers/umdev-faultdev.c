/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faultdev: a device whose pages are mapped as they are touched.
 *
 *   BAR0     registers (enum faultdev_reg)
 *   BAR2     1 MiB that faults: each page is what its entry in a table says, in the manner of a
 *            GPU's GGTT
 *   BAR4     64 KiB that faults, a window into object 1 from page 4 on
 *   BAR5     16 KiB that faults, read-only, 1:1
 *   region 9 5 pages that fault, a window into object 2
 *   region 10 16 pages that fault, each asked for by itself: object 0 from page 16 on (identity)
 *
 * There are three objects of 64 pages, and a fourth that all devices of the parent share. The
 * first eight bytes of each page are its object and its number.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define PAGE         4096u
#define OBJECTS      4
#define SHARED       3 /* the last one */
#define OBJECT_PAGES 64u
#define ENTRIES      256u

enum {
    TABLE_BAR = 2,
    WINDOW_BAR = 4,
    READONLY_BAR = 5,
    SMALL_REGION = UMDEV_NUM_REGIONS,
    IDENTITY_REGION,
};

enum faultdev_reg {
    REG_INDEX = 0x00,   /* of an entry in the table */
    REG_ENTRY = 0x04,   /* written: sets it; bits below, the object << 8, its page << 16 */
    REG_FIRST = 0x08,   /* a page of BAR2 */
    REG_LAST = 0x0c,    /* written: invalidates FIRST to LAST, in the callback */
    REG_ROUNDS = 0x10,  /* written: the device's thread invalidates FIRST to LAST so often */
    REG_DONE = 0x14,    /* invalidations that have returned */
    REG_RESULT = 0x18,  /* the errno of the last one, or of DISCARD */
    REG_ASKED = 0x1c,   /* map requests */
    REG_EXTEND = 0x20,  /* 1: answers cover all neighbours that go on in their object */
    REG_WRONG = 0x24,   /* enum wrong */
    REG_DELAY = 0x28,   /* milliseconds that a map request takes */
    REG_DISCARD = 0x2c, /* written: gives a page of an object back; object << 8, page << 16 */
    REG_REGION = 0x30,  /* that FIRST and LAST are pages of; BAR2 after a reset */
    REG_DENY = 0x34,    /* a bit for each page of region 10 that is refused */
};

enum {
    ENTRY_VALID = 1 << 0,
    ENTRY_WRITABLE = 1 << 1,
};

/* What is wrong with the answers. */
enum wrong {
    WRONG_NOTHING,
    WRONG_BEYOND_OBJECT,
    WRONG_BEYOND_REGION,
    WRONG_OTHER_PAGE,
    WRONG_NO_PROT,
    WRONG_NO_OBJECT,
    WRONG_POSITIVE,
    WRONG_INVALIDATES, /* inside the map request: EDEADLK is its answer */
};

struct faultdev {
    struct umdev_regs regs;
    struct umdev_device *dev;
    struct umdev_mem *objects[OBJECTS];
    atomic_uint table[ENTRIES];
    atomic_uint asked, done, rounds;
    atomic_int result;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
};

struct faultdev_parent {
    struct umdev_mem *shared;
};

static uint32_t get(struct faultdev *f, uint32_t reg)
{
    return umdev_regs_get32(&f->regs, reg);
}

/* ------------------------------------------------------------------ what a page shows */

static bool entry_continues(unsigned entry, unsigned next)
{
    return (next & 0xffff) == (entry & 0xffff) && next >> 16 == (entry >> 16) + 1;
}

/* The entries around `page` that go on in its object. */
static void extend(struct faultdev *f, uint64_t page, uint64_t *first, uint64_t *last)
{
    *first = *last = page;
    while (*first > 0 &&
           entry_continues(atomic_load(&f->table[*first - 1]), atomic_load(&f->table[*first])))
        --*first;
    while (*last + 1 < ENTRIES &&
           entry_continues(atomic_load(&f->table[*last]), atomic_load(&f->table[*last + 1])))
        ++*last;
}

static int look_up(struct faultdev *f, uint64_t offset, struct umdev_map *map)
{
    uint64_t page = offset / PAGE, first = page, last = page;
    unsigned entry = atomic_load(&f->table[page]);

    if (!(entry & ENTRY_VALID))
        return -EFAULT;
    if (get(f, REG_EXTEND))
        extend(f, page, &first, &last);
    *map = (struct umdev_map){
        .mem = f->objects[entry >> 8 & (OBJECTS - 1)],
        .mem_offset = ((uint64_t)(entry >> 16) - (page - first)) * PAGE,
        .first = first * PAGE,
        .last = (last + 1) * PAGE - 1,
        .prot = entry & ENTRY_WRITABLE ? UMDEV_RW : UMDEV_READ,
    };
    return 0;
}

static int spoil(struct faultdev *f, uint64_t offset, struct umdev_map *map)
{
    switch ((enum wrong)get(f, REG_WRONG)) {
    case WRONG_BEYOND_OBJECT:
        map->mem_offset = (uint64_t)OBJECT_PAGES * PAGE;
        break;
    case WRONG_BEYOND_REGION:
        map->last = (uint64_t)ENTRIES * PAGE + PAGE - 1;
        break;
    case WRONG_OTHER_PAGE:
        map->first = map->last + 1;
        map->last = map->first + PAGE - 1;
        break;
    case WRONG_NO_PROT:
        map->prot = 0;
        break;
    case WRONG_NO_OBJECT:
        map->mem = NULL;
        break;
    case WRONG_POSITIVE:
        return 7; /* none that map_request() may give */
    case WRONG_INVALIDATES:
        return umdev_region_invalidate(f->dev, TABLE_BAR, offset, offset);
    case WRONG_NOTHING:
        break;
    }
    return 0;
}

static int look_up_identity(struct faultdev *f, uint64_t offset, struct umdev_map *map)
{
    map->mem_offset += offset;
    map->first = offset;
    map->last = offset + PAGE - 1;
    return get(f, REG_DENY) >> offset / PAGE & 1 ? -EACCES : 0;
}

static int faultdev_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                                unsigned access, struct umdev_map *map)
{
    struct faultdev *f = umdev_device_priv(dev);
    struct timespec delay = {0, (long)get(f, REG_DELAY) * 1000000};
    int ret;

    (void)access;
    atomic_fetch_add(&f->asked, 1);
    if (delay.tv_nsec)
        nanosleep(&delay, NULL);
    if (region == IDENTITY_REGION)
        return look_up_identity(f, offset, map);
    if (region != TABLE_BAR)
        return 0;
    ret = look_up(f, offset, map);
    return ret ? ret : spoil(f, offset, map);
}

/* ------------------------------------------------------------------ registers */

static void entry_write(struct umdev_device *dev, uint64_t value)
{
    struct faultdev *f = umdev_device_priv(dev);

    atomic_store(&f->table[get(f, REG_INDEX) % ENTRIES], (unsigned)value);
}

static void invalidate(struct faultdev *f)
{
    uint64_t first = (uint64_t)get(f, REG_FIRST) * PAGE;
    uint64_t last = (uint64_t)get(f, REG_LAST) * PAGE + PAGE - 1;

    atomic_store(&f->result, -umdev_region_invalidate(f->dev, get(f, REG_REGION), first, last));
    atomic_fetch_add(&f->done, 1);
}

static void last_write(struct umdev_device *dev, uint64_t value)
{
    (void)value;
    invalidate(umdev_device_priv(dev));
}

static void rounds_write(struct umdev_device *dev, uint64_t value)
{
    struct faultdev *f = umdev_device_priv(dev);

    pthread_mutex_lock(&f->lock);
    atomic_store(&f->rounds, (unsigned)value);
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void discard_write(struct umdev_device *dev, uint64_t value)
{
    struct faultdev *f = umdev_device_priv(dev);

    atomic_store(&f->result, -umdev_mem_discard(f->objects[value >> 8 & (OBJECTS - 1)],
                                                (value >> 16) * PAGE, PAGE));
}

static uint64_t done_read(struct umdev_device *dev)
{
    return atomic_load(&((struct faultdev *)umdev_device_priv(dev))->done);
}

static uint64_t result_read(struct umdev_device *dev)
{
    return (uint64_t)atomic_load(&((struct faultdev *)umdev_device_priv(dev))->result);
}

static uint64_t asked_read(struct umdev_device *dev)
{
    return atomic_load(&((struct faultdev *)umdev_device_priv(dev))->asked);
}

static const struct umdev_reg_hook hooks[] = {
    {.offset = REG_ENTRY, .write = entry_write},
    {.offset = REG_LAST, .write = last_write},
    {.offset = REG_ROUNDS, .write = rounds_write},
    {.offset = REG_DONE, .read = done_read},
    {.offset = REG_RESULT, .read = result_read},
    {.offset = REG_ASKED, .read = asked_read},
    {.offset = REG_DISCARD, .write = discard_write},
    {.offset = REG_REGION, .reset_value = TABLE_BAR},
};

/* ------------------------------------------------------------------ the thread */

/* Waits for rounds. false: the end. */
static bool round_begins(struct faultdev *f)
{
    bool begins;

    pthread_mutex_lock(&f->lock);
    while (!f->stopping && atomic_load(&f->rounds) == 0)
        pthread_cond_wait(&f->changed, &f->lock);
    begins = !f->stopping;
    if (begins)
        atomic_fetch_sub(&f->rounds, 1);
    pthread_mutex_unlock(&f->lock);
    return begins;
}

static void *faultdev_run(void *argument)
{
    struct faultdev *f = argument;

    while (round_begins(f))
        invalidate(f);
    return NULL;
}

/* ------------------------------------------------------------------ life */

static void number_pages(struct umdev_mem *mem, uint32_t object)
{
    uint32_t *page = umdev_mem_ptr(mem);

    for (uint32_t i = 0; i < OBJECT_PAGES; i++, page += PAGE / sizeof(*page)) {
        page[0] = object;
        page[1] = i;
    }
}

static int faultdev_parent_open(struct umdev_parent *parent)
{
    struct faultdev_parent *p = umdev_parent_priv(parent);
    int ret = umdev_parent_mem_create(parent, "faultdev-shared", OBJECT_PAGES * PAGE, &p->shared);

    if (!ret)
        number_pages(p->shared, SHARED);
    return ret;
}

static int make_objects(struct umdev_device *dev, struct faultdev *f)
{
    struct faultdev_parent *p = umdev_parent_priv(umdev_device_parent(dev));
    struct umdev_mem *read_only;
    int ret = 0;

    for (uint32_t i = 0; i < SHARED && !ret; i++) {
        ret = umdev_mem_create(dev, "faultdev", OBJECT_PAGES * PAGE, &f->objects[i]);
        if (!ret)
            number_pages(f->objects[i], i);
    }
    f->objects[SHARED] = p->shared;
    if (!ret)
        ret = umdev_region_set_mem(dev, WINDOW_BAR, f->objects[1], 4 * PAGE, NULL, 0);
    if (!ret)
        ret = umdev_region_set_mem(dev, SMALL_REGION, f->objects[2], 0, NULL, 0);
    if (!ret)
        ret = umdev_region_set_mem(dev, IDENTITY_REGION, f->objects[0], 16 * PAGE, NULL, 0);
    if (!ret)
        ret = umdev_mem_create(dev, "faultdev-ro", 4 * PAGE, &read_only);
    if (!ret)
        ret = umdev_region_set_mem(dev, READONLY_BAR, read_only, 0, NULL, 0);
    return ret;
}

static int faultdev_create(struct umdev_device *dev)
{
    struct faultdev *f = umdev_device_priv(dev);
    int ret = make_objects(dev, f);

    if (ret)
        return ret;
    f->dev = dev;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return -pthread_create(&f->thread, NULL, faultdev_run, f);
}

static void faultdev_remove(struct umdev_device *dev)
{
    struct faultdev *f = umdev_device_priv(dev);

    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
}

/* The table and the pages' numbers are a new client's. */
static int faultdev_reset(struct umdev_device *dev)
{
    struct faultdev *f = umdev_device_priv(dev);

    atomic_store(&f->rounds, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        atomic_store(&f->table[i], 0);
    for (uint32_t i = 0; i < SHARED; i++)
        number_pages(f->objects[i], i);
    atomic_store(&f->asked, 0);
    atomic_store(&f->done, 0);
    return umdev_region_invalidate(dev, TABLE_BAR, 0, ENTRIES * PAGE - 1);
}

static const struct umdev_extra_region extra[] = {
    {UINT32_C(1) << 31 | 0x1b36, 9, 5 * PAGE, UMDEV_BAR_FAULT, NULL},
    {UINT32_C(1) << 31 | 0x1b36, 10, 16 * PAGE, UMDEV_BAR_FAULT | UMDEV_BAR_FAULT_IDENTITY, NULL},
};

static const struct umdev_type types[] = {{.name = "1"}};

/* clang-format off */
UMDEV_DRIVER(faultdev,
    .types = types, .ntypes = 1, .priv_size = sizeof(struct faultdev),
    .parent_priv_size = sizeof(struct faultdev_parent),
    .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x00c5, .class_code = 0x088000,
        .bar = {
            UMDEV_BAR(.size = PAGE, .regs = UMDEV_REGS(struct faultdev, regs, hooks)),
            NULL,
            UMDEV_BAR(.size = ENTRIES * PAGE, .flags = UMDEV_BAR_FAULT),
            NULL,
            UMDEV_BAR(.size = 16 * PAGE, .flags = UMDEV_BAR_FAULT),
            UMDEV_BAR(.size = 4 * PAGE, .flags = UMDEV_BAR_FAULT | UMDEV_BAR_READONLY),
        },
        UMDEV_EXTRA_REGIONS(extra)),
    .parent_open = faultdev_parent_open, .create = faultdev_create, .remove = faultdev_remove,
    .reset = faultdev_reset, .map_request = faultdev_map_request);
