/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines' page table: against a naive one, out of memory, and walked while it changes. */
#include "failnth.h"
#include "mmu.h"
#include "random.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <umdev/driver.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)
#define TOP ((uint64_t)1 << VGPU_BUS_BITS)

/* Memory that nobody touches: what matters is its address. */
static uint8_t *fake(uint64_t address)
{
    return (uint8_t *)(uintptr_t)address;
}

static void expect(const struct vgpu_mmu *mmu, uint64_t bus, size_t len, unsigned prot,
                   uint64_t memory, size_t got)
{
    uint8_t *ptr = NULL;

    assert_int_equal(vgpu_mmu_walk(mmu, bus, len, prot, &ptr), got);
    if (got)
        assert_ptr_equal(ptr, fake(memory));
}

static void init(struct vgpu_mmu *mmu)
{
    assert_int_equal(vgpu_mmu_init(mmu, false), 0);
}

/* ------------------------------------------------------------------ one thread */

static void test_map(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    expect(&mmu, 0, 1, UMDEV_READ, 0, 0);
    assert_int_equal(vgpu_mmu_map(&mmu, 0x10000, fake(0x700000), 8 * KIB, UMDEV_READ), 0);
    expect(&mmu, 0x10000, 8 * KIB, UMDEV_READ, 0x700000, 8 * KIB);
    expect(&mmu, 0x10ffc, 100, UMDEV_READ, 0x700ffc, 100);
    expect(&mmu, 0x11ff0, 100, UMDEV_READ, 0x701ff0, 16);
    expect(&mmu, 0xfff0, 100, UMDEV_READ, 0, 0);
    expect(&mmu, 0x10000, 1, UMDEV_WRITE, 0, 0);
    expect(&mmu, 0x10000, 1, UMDEV_RW, 0, 0);
    /* More rights for a page; the run is as long as they go. */
    assert_int_equal(vgpu_mmu_map(&mmu, 0x11000, fake(0x701000), 4 * KIB, UMDEV_RW), 0);
    expect(&mmu, 0x10000, 8 * KIB, UMDEV_READ, 0x700000, 8 * KIB);
    expect(&mmu, 0x11000, 8 * KIB, UMDEV_RW, 0x701000, 4 * KIB);
    /* The next page is elsewhere in this process. */
    assert_int_equal(vgpu_mmu_map(&mmu, 0x12000, fake(0x900000), 4 * KIB, UMDEV_RW), 0);
    expect(&mmu, 0x10800, 12 * KIB, UMDEV_READ, 0x700800, 6 * KIB);
    vgpu_mmu_unmap(&mmu, 0x10000, 4 * KIB);
    vgpu_mmu_flush(&mmu);
    expect(&mmu, 0x10000, 1, UMDEV_READ, 0, 0);
    expect(&mmu, 0x11000, 1, UMDEV_READ, 0x701000, 1);
    vgpu_mmu_fini(&mmu);
}

static void test_bounds(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    assert_int_equal(vgpu_mmu_map(&mmu, TOP, fake(0x1000), 4 * KIB, UMDEV_READ), -EFAULT);
    assert_int_equal(vgpu_mmu_map(&mmu, TOP - 4 * KIB, fake(0x1000), 8 * KIB, UMDEV_READ), -EFAULT);
    assert_int_equal(vgpu_mmu_map(&mmu, UINT64_MAX - 4095, fake(0x1000), 8 * KIB, UMDEV_READ),
                     -EFAULT);
    assert_int_equal(vgpu_mmu_map(&mmu, 0x800, fake(0x1000), 4 * KIB, UMDEV_READ), -EFAULT);
    assert_int_equal(vgpu_mmu_map(&mmu, 0, fake(0x1000), 0, UMDEV_READ), -EFAULT);
    assert_int_equal(vgpu_mmu_map(&mmu, TOP - 4 * KIB, fake(0x1000), 4 * KIB, UMDEV_READ), 0);
    expect(&mmu, TOP - 4 * KIB, 8 * KIB, UMDEV_READ, 0x1000, 4 * KIB);
    expect(&mmu, UINT64_MAX, 1, UMDEV_READ, 0, 0);
    expect(&mmu, 2 * TOP - 4 * KIB, 1, UMDEV_READ, 0, 0);
    vgpu_mmu_unmap(&mmu, TOP, 4 * KIB);
    vgpu_mmu_fini(&mmu);
}

static void test_identity(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    assert_int_equal(vgpu_mmu_init(&mmu, true), 0);
    expect(&mmu, 0x123456, 3 * MIB, UMDEV_RW, 0x123456, 3 * MIB);
    vgpu_mmu_fini(&mmu);
}

/* What one device has is nothing to another, under whatever address. */
static void test_isolation(void **state)
{
    struct vgpu_mmu mine, other;

    (void)state;
    init(&mine);
    init(&other);
    assert_int_equal(vgpu_mmu_map(&mine, 0x10000, fake(0x700000), 4 * KIB, UMDEV_RW), 0);
    assert_int_equal(vgpu_mmu_map(&other, 0x11000, fake(0x701000), 4 * KIB, UMDEV_RW), 0);
    expect(&mine, 0x11000, 1, UMDEV_READ, 0, 0);
    expect(&mine, 0x10ff0, 32, UMDEV_READ, 0x700ff0, 16);
    expect(&other, 0x10000, 1, UMDEV_READ, 0, 0);
    expect(&other, 0x701000, 1, UMDEV_READ, 0, 0);
    vgpu_mmu_fini(&mine);
    vgpu_mmu_fini(&other);
}

/* A guest of terabytes, in few nodes; pages of it taken out, which splits what is large. */
static void test_large(void **state)
{
    const uint64_t bus = TIB + 12 * KIB, memory = 0x7000000000, size = 2 * TIB;
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    /* Sixteen allocations are more than enough. */
    failnth_arm(16);
    assert_int_equal(vgpu_mmu_map(&mmu, bus, fake(memory), size, UMDEV_RW), 0);
    assert_false(failnth_disarm());
    expect(&mmu, bus, size, UMDEV_RW, memory, size);
    expect(&mmu, bus + 5 * GIB + 77, MIB, UMDEV_RW, memory + 5 * GIB + 77, MIB);
    vgpu_mmu_unmap(&mmu, bus + 600 * GIB, 4 * KIB);
    expect(&mmu, bus, size, UMDEV_RW, memory, 600 * GIB);
    expect(&mmu, bus + 600 * GIB, 1, UMDEV_RW, 0, 0);
    expect(&mmu, bus + 600 * GIB + 4 * KIB, size, UMDEV_RW, memory + 600 * GIB + 4 * KIB,
           size - 600 * GIB - 4 * KIB);
    vgpu_mmu_unmap(&mmu, bus, size);
    vgpu_mmu_flush(&mmu);
    expect(&mmu, bus, 1, UMDEV_READ, 0, 0);
    expect(&mmu, bus + size - 1, 1, UMDEV_READ, 0, 0);
    vgpu_mmu_fini(&mmu);
}

/* ------------------------------------------------------------------ against a naive table */

/* Pages on both sides of a gigabyte's border, so that runs take several levels. */
#define MODEL_PAGES 3000u
#define MODEL_BUS   (5 * GIB - 1400 * VGPU_PAGE)

struct model {
    struct vgpu_mmu mmu;
    uint64_t memory[MODEL_PAGES]; /* 0: nothing there */
    unsigned prot[MODEL_PAGES];
    uint64_t random;
    uint64_t next_memory;
};

static uint64_t model_bus(uint32_t page)
{
    return MODEL_BUS + page * VGPU_PAGE;
}

/* A run of empty pages, or of pages that are contiguous memory, from `page` on. */
static uint32_t model_run(const struct model *model, uint32_t page, uint32_t most)
{
    uint32_t run = 1;

    while (run < most && page + run < MODEL_PAGES &&
           (model->memory[page] ? model->memory[page + run] == model->memory[page] + run * VGPU_PAGE
                                : !model->memory[page + run]))
        run++;
    return run;
}

static uint32_t model_length(struct model *model)
{
    return 1 + random_below(&model->random, random_below(&model->random, 3) ? 40 : 1500);
}

static void model_map(struct model *model)
{
    uint32_t page = random_below(&model->random, MODEL_PAGES);
    uint32_t pages = model_run(model, page, model_length(model));
    unsigned prot = 1 + random_below(&model->random, 3);
    uint64_t memory = model->memory[page];

    if (!memory) {
        memory = model->next_memory;
        model->next_memory += pages * VGPU_PAGE;
        /* Often right behind the last one. */
        if (random_below(&model->random, 2))
            model->next_memory += VGPU_PAGE;
    }
    assert_int_equal(
        vgpu_mmu_map(&model->mmu, model_bus(page), fake(memory), pages * VGPU_PAGE, prot), 0);
    for (uint32_t i = 0; i < pages; i++) {
        model->memory[page + i] = memory + i * VGPU_PAGE;
        model->prot[page + i] = prot;
    }
}

static void model_unmap(struct model *model)
{
    uint32_t page = random_below(&model->random, MODEL_PAGES), pages = model_length(model);

    pages = pages < MODEL_PAGES - page ? pages : MODEL_PAGES - page;
    vgpu_mmu_unmap(&model->mmu, model_bus(page), pages * VGPU_PAGE);
    memset(&model->memory[page], 0, pages * sizeof(model->memory[0]));
    if (random_below(&model->random, 2))
        vgpu_mmu_flush(&model->mmu);
}

static size_t model_walk(const struct model *model, uint64_t bus, size_t len, unsigned prot)
{
    size_t got = 0;

    while (got < len) {
        uint64_t page = (bus + got - MODEL_BUS) / VGPU_PAGE, rest = VGPU_PAGE - (bus + got) % 4096;
        uint64_t first = (bus - MODEL_BUS) / VGPU_PAGE;

        if (page >= MODEL_PAGES || !model->memory[page] || prot & ~model->prot[page] ||
            model->memory[page] - model->memory[first] != (page - first) * VGPU_PAGE)
            break;
        got += rest < len - got ? rest : len - got;
    }
    return got;
}

static void model_check(struct model *model, unsigned walks)
{
    for (unsigned i = 0; i < walks; i++) {
        uint32_t page = random_below(&model->random, MODEL_PAGES);
        uint64_t bus = model_bus(page) + random_below(&model->random, 4096);
        size_t len = 1 + random_below(&model->random, i % 8 ? 20000 : 20000000);
        unsigned prot = 1 + random_below(&model->random, 3);

        expect(&model->mmu, bus, len, prot, model->memory[page] + bus % 4096,
               model_walk(model, bus, len, prot));
    }
}

static void test_model(void **state)
{
    static struct model model;

    (void)state;
    model = (struct model){.random = random_seed(), .next_memory = 0x10000000};
    init(&model.mmu);
    for (unsigned round = 0; round < 4000; round++) {
        if (random_below(&model.random, 2))
            model_map(&model);
        else
            model_unmap(&model);
        model_check(&model, 20);
    }
    vgpu_mmu_fini(&model.mmu);
}

/* ------------------------------------------------------------------ out of memory */

static int map_across(void *opaque)
{
    struct vgpu_mmu *mmu = opaque;
    int ret = vgpu_mmu_map(mmu, 5 * GIB - 8 * KIB, fake(0x700000), 16 * KIB + 2 * MIB, UMDEV_READ);

    if (ret)
        expect(mmu, 5 * GIB - 8 * KIB, 16 * KIB, UMDEV_READ, 0, 0);
    vgpu_mmu_flush(mmu);
    return ret;
}

static void unmap_across(void *opaque)
{
    vgpu_mmu_unmap(opaque, 5 * GIB - 8 * KIB, 16 * KIB + 2 * MIB);
    vgpu_mmu_flush(opaque);
}

static void test_map_fails(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    assert_true(failnth_run(map_across, unmap_across, &mmu) >= 5);
    vgpu_mmu_fini(&mmu);
}

/* Rights for a part of a large leaf: it stays whole where there is no memory to split it. */
static void test_widen_fails(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    assert_int_equal(vgpu_mmu_map(&mmu, 2 * MIB, fake(0x800000), 2 * MIB, UMDEV_READ), 0);
    failnth_arm(1);
    assert_int_equal(vgpu_mmu_map(&mmu, 3 * MIB, fake(0x900000), 4 * KIB, UMDEV_RW), -ENOMEM);
    assert_true(failnth_disarm());
    expect(&mmu, 2 * MIB, 2 * MIB, UMDEV_READ, 0x800000, 2 * MIB);
    assert_int_equal(vgpu_mmu_map(&mmu, 3 * MIB, fake(0x900000), 4 * KIB, UMDEV_RW), 0);
    expect(&mmu, 2 * MIB, 2 * MIB, UMDEV_READ, 0x800000, 2 * MIB);
    expect(&mmu, 3 * MIB, 2 * MIB, UMDEV_RW, 0x900000, 4 * KIB);
    vgpu_mmu_fini(&mmu);
}

/* An unmap can't fail: rather too much goes than too little. */
static void test_unmap_fails(void **state)
{
    struct vgpu_mmu mmu;

    (void)state;
    init(&mmu);
    assert_int_equal(vgpu_mmu_map(&mmu, 2 * MIB, fake(0x800000), 4 * MIB, UMDEV_READ), 0);
    failnth_arm(1);
    vgpu_mmu_unmap(&mmu, 3 * MIB, 4 * KIB);
    assert_true(failnth_disarm());
    expect(&mmu, 2 * MIB, 1, UMDEV_READ, 0, 0);
    expect(&mmu, 3 * MIB, 1, UMDEV_READ, 0, 0);
    expect(&mmu, 4 * MIB, 4 * MIB, UMDEV_READ, 0xa00000, 2 * MIB);
    vgpu_mmu_fini(&mmu);
}

/* ------------------------------------------------------------------ threads */

#define SPOTS  64u
#define ROUNDS 4000u

struct race {
    struct vgpu_mmu mmu;
    uint64_t seed;
    atomic_bool stop;
    atomic_uint hits;
    uint64_t *memory[SPOTS];
};

/* Far apart and close together: whole branches of the table come and go. */
static uint64_t spot_bus(uint32_t spot)
{
    return (spot % 8) * VGPU_PAGE + (spot / 8 % 4) * (600 * GIB) + (spot / 32) * 6 * MIB;
}

/* Whatever is found inside a slice stays what it was until the slice ends. */
static void *walker_main(void *opaque)
{
    struct race *race = opaque;
    uint64_t random = race->seed + 1;

    while (!atomic_load(&race->stop)) {
        uint64_t *found[4];
        uint32_t spots[4];

        vgpu_mmu_enter(&race->mmu);
        for (unsigned i = 0; i < 4; i++) {
            uint8_t *ptr = NULL;

            spots[i] = random_below(&random, SPOTS);
            found[i] = NULL;
            if (vgpu_mmu_walk(&race->mmu, spot_bus(spots[i]), 8, UMDEV_READ, &ptr) == 8)
                found[i] = (uint64_t *)(void *)ptr;
        }
        for (unsigned i = 0; i < 4; i++) {
            if (found[i] && atomic_fetch_add(&race->hits, 1) < UINT32_MAX)
                assert_true(__atomic_load_n(found[i], __ATOMIC_RELAXED) == spots[i] + 1);
        }
        vgpu_mmu_leave(&race->mmu);
    }
    return NULL;
}

static void toggle(struct race *race, uint32_t spot)
{
    uint64_t *memory = race->memory[spot];

    if (!memory) {
        memory = aligned_alloc(VGPU_PAGE, VGPU_PAGE);
        assert_non_null(memory);
        *memory = spot + 1;
        race->memory[spot] = memory;
        assert_int_equal(vgpu_mmu_map(&race->mmu, spot_bus(spot), memory, VGPU_PAGE, UMDEV_READ),
                         0);
        return;
    }
    vgpu_mmu_unmap(&race->mmu, spot_bus(spot), VGPU_PAGE);
    vgpu_mmu_flush(&race->mmu);
    *memory = 0;
    free(memory);
    race->memory[spot] = NULL;
}

static void test_race(void **state)
{
    struct race race = {.seed = random_seed()};
    uint64_t random = race.seed;
    pthread_t walker;

    (void)state;
    init(&race.mmu);
    assert_int_equal(pthread_create(&walker, NULL, walker_main, &race), 0);
    for (unsigned i = 0; i < ROUNDS || atomic_load(&race.hits) < 1000; i++)
        toggle(&race, random_below(&random, SPOTS));
    atomic_store(&race.stop, true);
    pthread_join(walker, NULL);
    for (uint32_t i = 0; i < SPOTS; i++) {
        if (race.memory[i])
            toggle(&race, i);
    }
    vgpu_mmu_fini(&race.mmu);
}

struct wait {
    struct vgpu_mmu mmu;
    atomic_bool flushing, flushed;
};

static void *flush_main(void *opaque)
{
    struct wait *wait = opaque;

    atomic_store(&wait->flushing, true);
    vgpu_mmu_flush(&wait->mmu);
    atomic_store(&wait->flushed, true);
    return NULL;
}

/* A flush waits for the slice that is under way elsewhere, and for that one alone. */
static void test_flush(void **state)
{
    struct wait wait = {0};
    pthread_t thread;

    (void)state;
    init(&wait.mmu);
    vgpu_mmu_flush(&wait.mmu);
    vgpu_mmu_enter(&wait.mmu);
    vgpu_mmu_flush(&wait.mmu); /* one's own is not waited for */
    assert_int_equal(pthread_create(&thread, NULL, flush_main, &wait), 0);
    while (!atomic_load(&wait.flushing))
        ;
    for (unsigned i = 0; i < 1000; i++) {
        vgpu_mmu_flush(&wait.mmu);
        assert_false(atomic_load(&wait.flushed));
    }
    vgpu_mmu_leave(&wait.mmu);
    vgpu_mmu_enter(&wait.mmu);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&wait.flushed));
    vgpu_mmu_leave(&wait.mmu);
    vgpu_mmu_fini(&wait.mmu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),         cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_identity),    cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_large),       cmocka_unit_test(test_model),
        cmocka_unit_test(test_map_fails),   cmocka_unit_test(test_widen_fails),
        cmocka_unit_test(test_unmap_fails), cmocka_unit_test(test_race),
        cmocka_unit_test(test_flush),
    };

    return cmocka_run_group_tests_name("vgpu mmu", tests, NULL, NULL);
}
