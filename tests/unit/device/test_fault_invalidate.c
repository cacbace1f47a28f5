/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking pages back: who is told, what becomes of answers under way, and threads that do all of it
 * at once.
 */
#include "fault_fixture.h"

#include "device/device_priv.h"
#include "random.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>

static void start(struct faults *f)
{
    faults_start(f, &fault_driver);
    f->driver.scatter = true;
}

static int take_back(struct faults *f, unsigned region, uint64_t first_page, uint64_t last_page)
{
    return umdev_region_invalidate(f->fixture.dev, region, first_page * PAGE,
                                   last_page * PAGE + PAGE - 1);
}

/* ------------------------------------------------------------------ who is told */

static void test_arguments(void **state)
{
    struct faults f;
    struct umdev_device *dev;

    (void)state;
    start(&f);
    dev = f.fixture.dev;
    assert_int_equal(umdev_region_invalidate(dev, TABLE, 0, PAGES * PAGE - 1), 0);
    assert_int_equal(umdev_region_invalidate(dev, TABLE, PAGES * PAGE - 1, PAGES * PAGE - 1), 0);
    assert_int_equal(umdev_region_invalidate(dev, TABLE, 0, PAGES * PAGE), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, TABLE, 0, UINT64_MAX), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, TABLE, 1, 0), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, TABLE, UINT64_MAX, 0), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, UMDEV_REGION_CONFIG, 0, 0), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, UMDEV_REGION_BAR0, 0, 0), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, UMDEV_NUM_REGIONS, 0, 0), -EINVAL);
    assert_int_equal(umdev_region_invalidate(dev, UINT_MAX, 0, 0), -EINVAL);
    assert_int_equal(f.fake.invalidations, 0);
    faults_end(&f);
}

/* Outwards to whole pages. */
static void test_rounding(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 3 * PAGE, UMDEV_READ);
    assert_int_equal(umdev_region_invalidate(f.fixture.dev, TABLE, 3 * PAGE + 100, 4 * PAGE + 1),
                     0);
    assert_int_equal(f.fake.invalidations, 1);
    assert_int_equal(f.fake.last.region, TABLE);
    assert_int_equal(f.fake.last.first, 3 * PAGE);
    assert_int_equal(f.fake.last.last, 5 * PAGE - 1);
    faults_end(&f);
}

/* Against a plain array of flags: a message where, and only where, something was told. */
static void test_told_model(void **state)
{
    bool told[PAGES] = {false};
    struct device_fault_stats stats;
    uint64_t seed = random_seed(), revoked = 0;
    unsigned messages = 0;
    struct faults f;

    (void)state;
    start(&f);
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t first = random_next(&seed) % PAGES;
        uint64_t last = first + random_next(&seed) % (PAGES - first);
        bool any = false;

        if (random_next(&seed) % 2) {
            uint64_t page = first + random_next(&seed) % (last - first + 1);

            say(&f, first * PAGE, last * PAGE + PAGE - 1, 0, 0, UMDEV_RW);
            f.driver.result = random_next(&seed) % 4 ? 0 : -ENXIO;
            fault(&f, TABLE, page * PAGE, UMDEV_READ);
            if (f.driver.result)
                told[page] = true;
            for (uint64_t i = first; !f.driver.result && i <= last; i++)
                told[i] = true;
            continue;
        }
        for (uint64_t i = first; i <= last; i++) {
            any = any || told[i];
            revoked += told[i];
            told[i] = false;
        }
        messages += any;
        assert_int_equal(take_back(&f, TABLE, first, last), 0);
        assert_int_equal(f.fake.invalidations, messages);
    }
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.revoked, revoked);
    faults_end(&f);
}

static int big_create(struct umdev_device *dev)
{
    struct umdev_mem *mem;
    int ret = umdev_mem_create(dev, NULL, 300 * PAGE, &mem);

    return ret ? ret : umdev_region_set_mem(dev, UMDEV_NUM_REGIONS, mem, 0, NULL, 0);
}

/* Borders of the words that the bits are kept in; a region whose last word is not full. */
static void test_told_words(void **state)
{
    static const struct umdev_extra_region extra[] = {{1, 1, 300 * PAGE, UMDEV_BAR_FAULT, NULL}};
    static const uint64_t edges[] = {0, 1, 62, 63, 64, 65, 127, 128, 191, 192, 255, 256, 298, 299};
    const struct umdev_driver driver = {
        .struct_size = sizeof(driver),
        .name = "big",
        .create = big_create,
        .pci = UMDEV_PCI(UMDEV_EXTRA_REGIONS(extra)),
    };
    struct umdev_device *dev;
    struct faults f;

    (void)state;
    faults_start(&f, &driver);
    dev = f.fixture.dev;
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        for (size_t j = i; j < ARRAY_SIZE(edges); j++) {
            const struct range range = {edges[i] * PAGE, edges[j] * PAGE + PAGE - 1};
            const struct range all = {0, 300 * PAGE - 1};

            fault_told_add(dev, UMDEV_NUM_REGIONS, range);
            for (size_t k = 0; k < ARRAY_SIZE(edges); k++)
                assert_int_equal(
                    fault_told_any(dev, UMDEV_NUM_REGIONS,
                                   (struct range){edges[k] * PAGE, edges[k] * PAGE + PAGE - 1}),
                    i <= k && k <= j);
            assert_int_equal(fault_told_remove(dev, UMDEV_NUM_REGIONS, all),
                             edges[j] - edges[i] + 1);
            fault_told_add(dev, UMDEV_NUM_REGIONS, all);
            assert_int_equal(fault_told_remove(dev, UMDEV_NUM_REGIONS, range),
                             edges[j] - edges[i] + 1);
            assert_int_equal(fault_told_remove(dev, UMDEV_NUM_REGIONS, all),
                             300 - (edges[j] - edges[i] + 1));
        }
    }
    faults_end(&f);
}

/* Another one for a page that the client has not taken back yet: it must wait for it, too. */
static void invalidate_once_more(void *opaque)
{
    struct faults *f = opaque;

    f->fake.while_waiting = NULL;
    assert_int_equal(take_back(f, TABLE, 6, 7), 0);
    assert_int_equal(f->fake.invalidations, 1);
    assert_int_equal(take_back(f, WINDOW, 5, 5), 0);
    assert_int_equal(f->fake.invalidations, 1);
    assert_int_equal(take_back(f, TABLE, 5, 7), 0);
    assert_int_equal(f->fake.invalidations, 2);
    assert_int_equal(f->fake.last.first, 5 * PAGE);
}

static void test_pending(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 5 * PAGE, UMDEV_READ);
    f.fake.while_waiting = invalidate_once_more;
    f.fake.opaque = &f;
    assert_int_equal(take_back(&f, TABLE, 4, 5), 0);
    assert_int_equal(f.fake.invalidations, 2);
    assert_int_equal(take_back(&f, TABLE, 0, PAGES - 1), 0);
    assert_int_equal(f.fake.invalidations, 2);
    faults_end(&f);
}

/* What is told while the client takes back is told. */
static void fault_meanwhile(void *opaque)
{
    struct faults *f = opaque;

    f->fake.while_waiting = NULL;
    assert_int_equal(fault(f, TABLE, 5 * PAGE, UMDEV_READ), 0);
}

static void test_told_while_pending(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 5 * PAGE, UMDEV_READ);
    f.fake.while_waiting = fault_meanwhile;
    f.fake.opaque = &f;
    assert_int_equal(take_back(&f, TABLE, 5, 5), 0);
    assert_int_equal(take_back(&f, TABLE, 5, 5), 0);
    assert_int_equal(f.fake.invalidations, 2);
    faults_end(&f);
}

static void test_without_a_client(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 0, UMDEV_READ);
    device_unset_mapper(f.fixture.dev);
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    /* A new one has been told of nothing. */
    assert_int_equal(device_set_mapper(f.fixture.dev, &f.fake.mapper), 0);
    assert_int_equal(device_set_mapper(f.fixture.dev, &f.fake.mapper), -EEXIST);
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    assert_int_equal(f.fake.invalidations, 0);
    faults_end(&f);
}

/* ------------------------------------------------------------------ a client that does not */

static void test_never_acknowledged(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 0, UMDEV_READ);
    f.fake.wait_result = -ETIMEDOUT;
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    assert_int_equal(f.fixture.disconnects, 1);
    assert_non_null(strstr(f.fixture.last_line, "cut off"));
    faults_end(&f);
}

static void test_no_room_for_a_while(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 0, UMDEV_READ);
    f.fake.no_room = 3;
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    assert_int_equal(f.fake.invalidations, 1);
    assert_int_equal(f.fixture.disconnects, 0);
    faults_end(&f);
}

static void test_never_room(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    fault(&f, TABLE, 0, UMDEV_READ);
    f.fake.no_room = 1;
    f.fake.wait_result = -ETIMEDOUT;
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    assert_int_equal(f.fake.invalidations, 0);
    assert_int_equal(f.fixture.disconnects, 1);
    /* A client that is lost is nothing to wait for, and not ours to end. */
    f.fake.no_room = 1;
    f.fake.wait_result = -EPIPE;
    assert_int_equal(take_back(&f, TABLE, 0, 0), 0);
    assert_int_equal(f.fixture.disconnects, 1);
    faults_end(&f);
}

/* ------------------------------------------------------------------ answers under way */

struct other_thread {
    struct faults *f;
    unsigned region;
    uint64_t first, last;
};

static void *invalidate_in_thread(void *argument)
{
    struct other_thread *other = argument;

    assert_int_equal(take_back(other->f, other->region, other->first, other->last), 0);
    return NULL;
}

static void from_a_thread(struct faults *f, unsigned region, uint64_t first, uint64_t last)
{
    struct other_thread other = {f, region, first, last};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, invalidate_in_thread, &other), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static struct faults *faults_of(struct fault_state *s)
{
    return (struct faults *)(void *)((uint8_t *)s - offsetof(struct faults, driver));
}

/* While the driver answers for the first time, the page changes under it. */
static void hit_the_page(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    (void)dev;
    s->hook = NULL;
    from_a_thread(faults_of(s), TABLE, page, page);
    s->result = -ENXIO; /* what it says now is too old */
}

static void heal(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    (void)dev;
    (void)page;
    s->result = 0;
}

static void hit_then_heal(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    hit_the_page(dev, s, page);
    s->hook = heal;
}

static void test_hit_is_asked_again(void **state)
{
    struct device_fault_stats stats;
    struct faults f;

    (void)state;
    start(&f);
    f.driver.hook = hit_then_heal;
    expect_map(&f, TABLE, 5 * PAGE, UMDEV_READ, 5, 5, 5, UMDEV_RW);
    assert_int_equal(f.driver.calls, 2);
    f.driver.hook = hit_then_heal;
    assert_int_equal(read32(f.fixture.dev, TABLE, 5 * PAGE), page_mark(2, 5));
    assert_int_equal(f.driver.calls, 4);
    device_get_fault_stats(f.fixture.dev, &stats);
    assert_int_equal(stats.refused, 0);
    faults_end(&f);
}

static void hit_around(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    (void)dev;
    s->hook = NULL;
    if (page == 8)
        from_a_thread(faults_of(s), TABLE, 9, 9);
    else
        from_a_thread(faults_of(s), WINDOW, 0, WINDOW_PAGES - 1);
}

/* A hit on other pages of the answer leaves the one that was asked for; one elsewhere, all. */
static void test_hit_beside(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    say(&f, 2 * PAGE, 12 * PAGE - 1, 0, 3 * PAGE, UMDEV_RW);
    f.driver.hook = hit_around;
    expect_map(&f, TABLE, 8 * PAGE + 1, UMDEV_READ, 8, 8, 9, UMDEV_RW);
    assert_int_equal(f.driver.calls, 1);
    f.driver.hook = hit_around;
    expect_map(&f, TABLE, 7 * PAGE, UMDEV_READ, 2, 11, 3, UMDEV_RW);
    assert_int_equal(f.driver.calls, 2);
    faults_end(&f);
}

static void hit_always(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    (void)dev;
    from_a_thread(faults_of(s), TABLE, page, page);
}

static void test_hit_for_ever(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    f.driver.hook = hit_always;
    f.fixture.dev->faults.timeout_ms = 150;
    expect_refused(&f, TABLE, 5 * PAGE, UMDEV_READ, EAGAIN);
    assert_int_equal(trapped_read(&f, TABLE, 5 * PAGE), -EAGAIN);
    faults_end(&f);
}

static void deadlock(struct umdev_device *dev, struct fault_state *s, uint64_t page)
{
    (void)page;
    s->result = umdev_region_invalidate(dev, TABLE, 0, 0);
}

static void test_inside_map_request(void **state)
{
    struct faults f;

    (void)state;
    start(&f);
    f.driver.hook = deadlock;
    expect_refused(&f, TABLE, 0, UMDEV_READ, EDEADLK);
    assert_int_equal(trapped_read(&f, TABLE, 0), -EDEADLK);
    faults_end(&f);
}

/* ------------------------------------------------------------------ threads */

#define ACCESSORS 3
#define ROUNDS    3000 /* accesses; invalidations as often as there is time */
#define GOOD      UINT32_C(0x600d600d)
#define POISON    UINT32_C(0xdeaddead)

/* A region of one page that shows one of two, in turn. The other belongs to the driver, which
 * poisons it: nobody may see that, or write there. */
struct flip {
    struct umdev_mem *mem;
    atomic_uint shown;
    atomic_bool stop;
    atomic_uint accesses;
    struct fixture fixture;
};

static int flip_create(struct umdev_device *dev)
{
    struct flip *flip = context_of(dev);

    return umdev_mem_create(dev, NULL, 2 * PAGE, &flip->mem);
}

static int flip_map(struct umdev_device *dev, unsigned region, uint64_t offset, unsigned access,
                    struct umdev_map *map)
{
    struct flip *flip = context_of(dev);

    (void)region;
    (void)offset;
    (void)access;
    *map = (struct umdev_map){flip->mem, atomic_load(&flip->shown) * PAGE, 0, PAGE - 1, UMDEV_RW};
    sched_yield();
    return 0;
}

static uint32_t *flip_word(struct flip *flip, unsigned page)
{
    return (uint32_t *)(void *)((uint8_t *)umdev_mem_ptr(flip->mem) + page * PAGE);
}

static void *flip_access(void *argument)
{
    struct flip *flip = argument;
    uint32_t value = GOOD;

    while (!atomic_load(&flip->stop)) {
        assert_int_equal(device_read(flip->fixture.dev, 0, 0, &value, sizeof(value)), 0);
        assert_int_equal(value, GOOD);
        assert_int_equal(device_write(flip->fixture.dev, 0, 0, &value, sizeof(value)), 0);
        atomic_fetch_add(&flip->accesses, 1);
    }
    return NULL;
}

static void flip_run(enum umdev_threads model)
{
    const struct umdev_driver driver = {
        .struct_size = sizeof(driver),
        .name = "flip",
        .threads = model,
        .create = flip_create,
        .map_request = flip_map,
        .pci = UMDEV_PCI(.bar[0] = UMDEV_BAR(.size = PAGE, .flags = UMDEV_BAR_FAULT)),
    };
    struct flip flip = {.mem = NULL};
    pthread_t threads[ACCESSORS];

    fixture_new(&flip.fixture, &driver, &flip);
    __atomic_store_n(flip_word(&flip, 0), GOOD, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < ACCESSORS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flip_access, &flip), 0);
    while (atomic_load(&flip.accesses) < ROUNDS) {
        unsigned old = atomic_load(&flip.shown);

        __atomic_store_n(flip_word(&flip, !old), GOOD, __ATOMIC_RELEASE);
        atomic_store(&flip.shown, !old);
        assert_int_equal(umdev_region_invalidate(flip.fixture.dev, 0, 0, 0), 0);
        __atomic_store_n(flip_word(&flip, old), POISON, __ATOMIC_RELEASE);
        sched_yield();
        assert_int_equal(__atomic_load_n(flip_word(&flip, old), __ATOMIC_ACQUIRE), POISON);
    }
    atomic_store(&flip.stop, true);
    for (unsigned i = 0; i < ACCESSORS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    fixture_end(&flip.fixture);
}

static void test_trapped_against_invalidation(void **state)
{
    (void)state;
    flip_run(UMDEV_THREADS_SERIALISED);
}

static void test_trapped_against_invalidation_parallel(void **state)
{
    (void)state;
    flip_run(UMDEV_THREADS_PARALLEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_told_model),
        cmocka_unit_test(test_told_words),
        cmocka_unit_test(test_pending),
        cmocka_unit_test(test_told_while_pending),
        cmocka_unit_test(test_without_a_client),
        cmocka_unit_test(test_never_acknowledged),
        cmocka_unit_test(test_no_room_for_a_while),
        cmocka_unit_test(test_never_room),
        cmocka_unit_test(test_hit_is_asked_again),
        cmocka_unit_test(test_hit_beside),
        cmocka_unit_test(test_hit_for_ever),
        cmocka_unit_test(test_inside_map_request),
        cmocka_unit_test(test_trapped_against_invalidation),
        cmocka_unit_test(test_trapped_against_invalidation_parallel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
