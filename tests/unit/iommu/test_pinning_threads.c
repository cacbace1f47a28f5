/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Engines that pin, work and unpin, while the client maps and unmaps under them.
 *
 * Each engine keeps what it has pinned under a lock of its own, which the test's dma_unmap() takes,
 * as driver.h says. So no pin is ever torn, every address leads to the memory that the engine
 * pinned, and in a paged domain no two engines ever have the same address.
 */
#include "pin_domain.h"

#include "iommu/dirty_log.h"
#include "random.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NUM_ENGINES 3
#define ROUNDS      4000 /* at least, and until so many pins succeeded: */
#define PINS        2000
#define NUM_SLOTS   8 /* of IOVA space, each a mapping or nothing */
#define SLOT_PAGES  4
#define BASE        UINT64_C(0x200000)
#define MAX_PINNED  6

struct shared;

struct engine {
    struct shared *shared;
    uint64_t random;
    pthread_mutex_t lock;
    bool holds;
    uint64_t iova;
    size_t count;
    pthread_t thread;
    unsigned refused, wrong;
};

struct shared {
    struct iommu *iommu;
    struct test_domain domain;
    pthread_mutex_t domain_lock; /* the test's IOMMU is not made for threads */
    int fd;
    atomic_bool stop;
    atomic_uint pins; /* that succeeded */
    struct engine engines[NUM_ENGINES];
};

/* Each page of the file says which it is. An IOVA's page shows page slot * SLOT_PAGES + offset. */
static uint64_t tag_of(uint64_t iova)
{
    return UINT64_C(0x746167000000) + (iova - BASE) / PAGE;
}

/* ------------------------------------------------------------------ an engine */

static void engine_let_go(struct engine *e)
{
    if (!e->holds)
        return;
    e->holds = false;
    e->wrong += iommu_unpin(e->shared->iommu, IOVA(e->iova), e->count) != 0;
}

static void engine_look(struct engine *e, const umdev_bus_t *bus)
{
    struct shared *s = e->shared;

    for (size_t i = 0; i < e->count; i++) {
        const struct domain_page *page;
        const uint8_t *memory;
        uint64_t tag;

        pthread_mutex_lock(&s->domain_lock);
        page = test_domain_at(&s->domain, bus[i].value);
        memory = page ? page->memory : NULL;
        pthread_mutex_unlock(&s->domain_lock);
        if (memory)
            tag = __atomic_load_n((const uint64_t *)(const void *)memory, __ATOMIC_RELAXED);
        e->wrong += !memory || tag != tag_of(e->iova + i * PAGE);
    }
}

static void *engine_run(void *opaque)
{
    struct engine *e = opaque;
    umdev_bus_t bus[MAX_PINNED];

    while (!e->shared->stop) {
        int ret;

        pthread_mutex_lock(&e->lock);
        e->count = 1 + random_next(&e->random) % MAX_PINNED;
        e->iova = BASE + random_next(&e->random) % (NUM_SLOTS * SLOT_PAGES - e->count) * PAGE;
        ret = iommu_pin(e->shared->iommu, IOVA(e->iova), e->count, UMDEV_RW, bus);
        e->holds = !ret;
        e->shared->pins += !ret;
        e->refused += ret == -EINVAL;
        e->wrong += ret && ret != -EINVAL;
        if (!ret)
            engine_look(e, bus);
        if (random_next(&e->random) % 2)
            engine_let_go(e);
        pthread_mutex_unlock(&e->lock);
        sched_yield();
        pthread_mutex_lock(&e->lock);
        engine_let_go(e);
        pthread_mutex_unlock(&e->lock);
    }
    return NULL;
}

/* ------------------------------------------------------------------ the client */

static void driver_dma_unmap(struct shared *s, struct range range)
{
    for (unsigned i = 0; i < NUM_ENGINES; i++) {
        struct engine *e = &s->engines[i];
        struct range held;

        pthread_mutex_lock(&e->lock);
        held = (struct range){e->iova, e->iova + e->count * PAGE - 1};
        if (e->holds && range_overlaps(held, range))
            engine_let_go(e);
        pthread_mutex_unlock(&e->lock);
    }
}

static void client_run(struct shared *s, uint64_t seed)
{
    bool mapped[NUM_SLOTS] = {false};

    for (unsigned round = 0; round < ROUNDS || s->pins < PINS; round++) {
        uint64_t slot = random_next(&seed) % NUM_SLOTS, bytes;
        uint64_t iova = BASE + slot * SLOT_PAGES * PAGE;

        if (mapped[slot]) {
            assert_int_equal(iommu_unmap_begin(s->iommu, IOVA(iova), SLOT_PAGES * PAGE), 0);
            driver_dma_unmap(s, (struct range){iova, iova + SLOT_PAGES * PAGE - 1});
            assert_int_equal(iommu_unmap(s->iommu, IOVA(iova), SLOT_PAGES * PAGE, 1000, &bytes), 0);
            assert_int_equal(bytes, SLOT_PAGES * PAGE);
            assert_int_equal(iommu_take_torn(s->iommu), 0);
        } else {
            assert_int_equal(iommu_map(s->iommu, IOVA(iova), SLOT_PAGES * PAGE, s->fd,
                                       slot * SLOT_PAGES * PAGE, UMDEV_RW),
                             0);
        }
        mapped[slot] = !mapped[slot];
        sched_yield();
    }
}

/* ------------------------------------------------------------------ the IOMMU, locked */

static struct iommu_domain_ops plain_ops;

static int locked_map(void *opaque, uint64_t bus, void *memory, uint64_t size, unsigned prot)
{
    struct shared *s = opaque;
    int ret;

    pthread_mutex_lock(&s->domain_lock);
    ret = plain_ops.map(&s->domain, bus, memory, size, prot);
    pthread_mutex_unlock(&s->domain_lock);
    return ret;
}

static void locked_unmap(void *opaque, uint64_t bus, uint64_t size)
{
    struct shared *s = opaque;

    pthread_mutex_lock(&s->domain_lock);
    plain_ops.unmap(&s->domain, bus, size);
    pthread_mutex_unlock(&s->domain_lock);
}

static void locked_flush(void *opaque)
{
    struct shared *s = opaque;

    pthread_mutex_lock(&s->domain_lock);
    plain_ops.flush(&s->domain);
    pthread_mutex_unlock(&s->domain_lock);
}

static void run(struct fixture *fixture, enum umdev_bus_mode mode, uint64_t seed)
{
    static struct shared s;
    unsigned refused = 0;
    struct iommu_pinning pinning;

    s = (struct shared){.iommu = fixture->iommu};
    pthread_mutex_init(&s.domain_lock, NULL);
    pinning = test_domain_bind(&s.domain, fixture->iommu, mode, 256, false, 0);
    plain_ops = pinning.ops;
    if (mode != UMDEV_BUS_IDENTITY)
        pinning.ops = (struct iommu_domain_ops){locked_map, locked_unmap, locked_flush};
    pinning.opaque = &s;
    iommu_set_pinning(fixture->iommu, &pinning);
    s.fd = fixture_memfd(NUM_SLOTS * SLOT_PAGES * PAGE);
    for (uint64_t page = 0; page < NUM_SLOTS * SLOT_PAGES; page++) {
        uint64_t tag = tag_of(BASE + page * PAGE);

        assert_int_equal(pwrite(s.fd, &tag, sizeof(tag), (off_t)(page * PAGE)), sizeof(tag));
    }
    for (unsigned i = 0; i < NUM_ENGINES; i++) {
        s.engines[i] = (struct engine){.shared = &s, .random = seed + i};
        pthread_mutex_init(&s.engines[i].lock, NULL);
        assert_int_equal(pthread_create(&s.engines[i].thread, NULL, engine_run, &s.engines[i]), 0);
    }
    client_run(&s, seed);
    s.stop = true;
    for (unsigned i = 0; i < NUM_ENGINES; i++) {
        pthread_join(s.engines[i].thread, NULL);
        assert_int_equal(s.engines[i].wrong, 0);
        refused += s.engines[i].refused;
        pthread_mutex_destroy(&s.engines[i].lock);
    }
    printf("# mode %d: %u pins, %u refused\n", (int)mode, (unsigned)s.pins, refused);
    assert_int_equal(iommu_unmap_all(fixture->iommu, 0), 0);
    assert_int_equal(iommu_take_torn(fixture->iommu), 0);
    test_domain_end(&s.domain);
    close(s.fd);
    pthread_mutex_destroy(&s.domain_lock);
}

static void engines_pin_while_the_client_unmaps(void **state)
{
    uint64_t seed = random_seed();

    run(*state, UMDEV_BUS_IDENTITY, seed);
    run(*state, UMDEV_BUS_CONTIGUOUS, seed);
    run(*state, UMDEV_BUS_PAGED, seed);
}

/* ------------------------------------------------------------------ reports */

struct reporter {
    struct iommu *iommu;
    atomic_bool stop;
    atomic_uint reports;
};

static void *reporter_run(void *opaque)
{
    struct reporter *r = opaque;
    uint64_t bitmap[1];

    while (!r->stop) {
        int ret = dirty_log_report(iommu_dirty_log(r->iommu), BASE, 64 * PAGE, PAGE, bitmap);

        r->reports += !ret;
    }
    return NULL;
}

/* Whoever asks what is pinned may come while what was pinned is cut, and its table freed. */
static void reports_look_at_what_is_cut(void **state)
{
    struct fixture *fixture = *state;
    struct reporter reporter = {.iommu = fixture->iommu};
    static struct test_domain domain;
    unsigned torn = 0;
    pthread_t thread;

    test_domain_bind(&domain, fixture->iommu, UMDEV_BUS_PAGED, 256, false, 0);
    assert_int_equal(dirty_log_start(iommu_dirty_log(fixture->iommu), PAGE, NULL, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, reporter_run, &reporter), 0);
    while (torn < 20000 || !reporter.reports) {
        for (uint64_t i = 0; i < 4; i++)
            fixture_map(fixture, BASE + i * PAGE, PAGE, i * PAGE, UMDEV_RW);
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(iommu_pin(fixture->iommu, IOVA(BASE + i * PAGE), 1, UMDEV_RW, NULL),
                             0);
        fixture_unmap(fixture, BASE, 4 * PAGE, 4 * PAGE);
        torn += (unsigned)iommu_take_torn(fixture->iommu);
    }
    reporter.stop = true;
    pthread_join(thread, NULL);
    dirty_log_stop(iommu_dirty_log(fixture->iommu));
    test_domain_end(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reports_look_at_what_is_cut, fixture_setup_unwatched,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(engines_pin_while_the_client_unmaps,
                                        fixture_setup_unwatched, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
