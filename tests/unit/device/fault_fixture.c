/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault_fixture.h"

#include <errno.h>
#include <stdio.h>

/* ------------------------------------------------------------------ the driver */

static int map_request(struct umdev_device *dev, unsigned region, uint64_t offset, unsigned access,
                       struct umdev_map *map)
{
    struct fault_state *s = context_of(dev);
    uint64_t page = offset / PAGE;

    atomic_fetch_add(&s->calls, 1);
    s->asked_access = access;
    if (s->hook)
        s->hook(dev, s, page);
    if (s->result)
        return s->result;
    if (s->canned_everywhere || (s->canned && region == TABLE))
        *map = s->answer;
    else if (region == TABLE)
        *map = (struct umdev_map){s->objects[s->scatter ? page % 3 : 0], offset, offset,
                                  offset + PAGE - 1, UMDEV_RW};
    return s->refuse_page && region == TABLE && page == s->refuse_page ? -ENOENT : 0;
}

static void mark_pages(struct umdev_mem *mem, unsigned object)
{
    for (unsigned i = 0; i < umdev_mem_size(mem) / PAGE; i++)
        *(uint32_t *)(void *)((uint8_t *)umdev_mem_ptr(mem) + i * PAGE) = page_mark(object, i);
}

static int create(struct umdev_device *dev)
{
    struct fault_state *s = context_of(dev);
    int ret = 0;

    for (unsigned i = 0; i < 3 && !ret; i++) {
        ret = umdev_mem_create(dev, "fault", PAGES * PAGE, &s->objects[i]);
        if (!ret)
            mark_pages(s->objects[i], i);
    }
    if (!ret)
        ret = umdev_region_set_mem(dev, WINDOW, s->objects[1], 4 * PAGE, NULL, 0);
    if (ret || !umdev_device_type(dev)->data)
        return ret;
    ret = umdev_mem_create(dev, "read-only", 4 * PAGE, &s->read_only);
    if (!ret)
        ret = umdev_region_set_mem(dev, READONLY, s->read_only, 0, NULL, 0);
    return ret;
}

static int on_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                   size_t len)
{
    (void)dev;
    (void)region;
    (void)offset;
    memset(buf, 0xee, len);
    return 0;
}

static const struct umdev_type full_type[] = {{.name = "1", .data = "all regions"}};

const struct umdev_driver fault_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "fault",
    .types = full_type,
    .ntypes = 1,
    .create = create,
    .read = on_read,
    .map_request = map_request,
    .pci =
        UMDEV_PCI(.bar[TABLE] = UMDEV_BAR(.size = PAGES * PAGE, .flags = UMDEV_BAR_FAULT),
                  .bar[WINDOW] = UMDEV_BAR(.size = WINDOW_PAGES * PAGE, .flags = UMDEV_BAR_FAULT),
                  .bar[READONLY] =
                      UMDEV_BAR(.size = 4 * PAGE, .flags = UMDEV_BAR_FAULT | UMDEV_BAR_READONLY)),
};

/* ------------------------------------------------------------------ the mapper */

static struct fake_mapper *fake_of(struct device_mapper *mapper)
{
    return (struct fake_mapper *)(void *)mapper;
}

static int fake_answer(struct device_mapper *mapper, void *opaque, const struct device_map *map,
                       int error)
{
    struct fake_mapper *fake = fake_of(mapper);

    assert_ptr_equal(opaque, fake);
    if (fake->answer_result)
        return fake->answer_result;
    atomic_fetch_add(&fake->answers, 1);
    fake->map = *map;
    fake->error = error;
    return 0;
}

static int fake_invalidate(struct device_mapper *mapper, struct device_invalidation *invalidation)
{
    struct fake_mapper *fake = fake_of(mapper);

    if (fake->no_room) {
        fake->no_room--;
        return -EAGAIN;
    }
    atomic_fetch_add(&fake->invalidations, 1);
    fake->last = *invalidation;
    return 0;
}

static int fake_wait_room(struct device_mapper *mapper, uint64_t deadline_ns)
{
    (void)deadline_ns;
    return fake_of(mapper)->wait_result;
}

static int fake_wait(struct device_mapper *mapper, struct device_invalidation *invalidation,
                     uint64_t deadline_ns)
{
    struct fake_mapper *fake = fake_of(mapper);

    (void)invalidation;
    (void)deadline_ns;
    if (fake->while_waiting)
        fake->while_waiting(fake->opaque);
    return fake->wait_result;
}

/* ------------------------------------------------------------------ the device */

int faults_try(struct faults *f, const struct umdev_driver *driver)
{
    static const struct umdev_type bare_type = {.name = "1"};
    struct device_setup setup = {
        .driver = driver,
        .type = driver->pci == fault_driver.pci ? full_type : &bare_type,
        .parent = (struct umdev_parent *)(void *)&f->driver,
        .parent_mems = &f->driver.parent,
        .uuid = TEST_UUID,
        .log = &f->fixture.log,
    };
    int ret;

    memset(f, 0, sizeof(*f));
    f->fixture.client.disconnect = fixture_disconnect;
    f->fixture.log = (struct log){fixture_log, &f->fixture, UMDEV_LOG_DEBUG};
    f->fake.mapper =
        (struct device_mapper){fake_answer, fake_invalidate, fake_wait_room, fake_wait};
    mem_list_init_shared(&f->driver.parent);
    ret = mem_list_add(&f->driver.parent, "shared", 2 * PAGE, &f->driver.shared);
    if (!ret) {
        mark_pages(f->driver.shared, 9);
        ret = device_new(&setup, &f->fixture.dev, &f->fixture.error);
    }
    if (ret)
        mem_list_fini(&f->driver.parent);
    return ret;
}

void faults_start(struct faults *f, const struct umdev_driver *driver)
{
    int ret = faults_try(f, driver);

    if (ret < 0)
        fail_msg("device_new: %d: %s", ret, f->fixture.error.message);
    assert_int_equal(device_open(f->fixture.dev, &f->fixture.client), 0);
    assert_int_equal(device_set_mapper(f->fixture.dev, &f->fake.mapper), 0);
}

void faults_end(struct faults *f)
{
    device_unset_mapper(f->fixture.dev);
    fixture_end(&f->fixture);
    mem_list_fini(&f->driver.parent);
}

void faults_expect_refused(const struct umdev_driver *driver, const char *word)
{
    struct faults f;

    assert_int_equal(faults_try(&f, driver), -EINVAL);
    if (!strstr(f.fixture.error.message, word))
        fail_msg("\"%s\" does not say \"%s\"", f.fixture.error.message, word);
}

/* ------------------------------------------------------------------ what a test does */

void say(struct faults *f, uint64_t first, uint64_t last, unsigned object, uint64_t mem_offset,
         unsigned prot)
{
    f->driver.canned = true;
    f->driver.answer = (struct umdev_map){f->driver.objects[object], mem_offset, first, last, prot};
}

void say_shared(struct faults *f)
{
    f->driver.canned = true;
    f->driver.answer = (struct umdev_map){f->driver.shared, 0, 0, PAGE - 1, UMDEV_RW};
}

int fault(struct faults *f, unsigned region, uint64_t offset, unsigned access)
{
    return device_fault(f->fixture.dev, &f->fake.mapper, region, offset, access, &f->fake);
}

void expect_map(struct faults *f, unsigned region, uint64_t offset, unsigned access,
                uint64_t first_page, uint64_t last_page, uint64_t mem_page, unsigned prot)
{
    const struct device_map *map = &f->fake.map;

    assert_int_equal(fault(f, region, offset, access), 0);
    assert_int_equal(f->fake.error, 0);
    assert_int_equal(map->region, region);
    assert_int_equal(map->first, first_page * PAGE);
    assert_int_equal(map->last, last_page * PAGE + PAGE - 1);
    assert_int_equal(map->offset, mem_page * PAGE);
    assert_int_equal(map->prot, prot);
    assert_true(map->fd >= 0);
    assert_int_not_equal(map->object, 0);
}

void expect_refused(struct faults *f, unsigned region, uint64_t offset, unsigned access, int error)
{
    const struct device_map *map = &f->fake.map;

    assert_int_equal(fault(f, region, offset, access), 0);
    assert_int_equal(f->fake.error, error);
    assert_int_equal(map->region, region);
    assert_int_equal(map->first, align_down(offset, PAGE));
    assert_int_equal(map->last, align_down(offset, PAGE) + PAGE - 1);
    assert_int_equal(map->fd, -1);
    assert_int_equal(map->object | map->prot | map->offset, 0);
}

int trapped_read(struct faults *f, unsigned region, uint64_t offset)
{
    uint32_t value;

    return device_read(f->fixture.dev, region, offset, &value, sizeof(value));
}
