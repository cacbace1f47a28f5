/* SPDX-License-Identifier: BSD-3-Clause */
/* The GGTT, VRAM that comes and goes, and their commands, against the plainest model. */
#include "machine.h"
#include "random.h"
#include "unit.h"

#include <string.h>

#define VRAM    (64 * VGPU_PAGE)
#define GROW    ((uint32_t)(MACHINE_GROW / VGPU_PAGE))
#define PAGES   (64 + GROW)
#define USED    300u /* entries that the model has */
#define RW      ((uint64_t)(VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE))
#define VALID   ((uint64_t)VGPU_GGTT_VALID)
#define ENTRIES 0x3000 /* in guest memory */

struct model {
    uint64_t entries[USED];
    bool there[PAGES];
    uint32_t pool;
    bool changed;
    uint32_t first, last;
};

static void store(struct model *model, uint32_t index, uint64_t entry)
{
    if (model->entries[index] == entry)
        return;
    model->entries[index] = entry;
    model->first = !model->changed || index < model->first ? index : model->first;
    model->last = !model->changed || index > model->last ? index : model->last;
    model->changed = true;
}

static bool is_entry(const struct model *model, uint64_t entry)
{
    uint64_t page = entry / VGPU_PAGE;

    if (entry & 0xefc)
        return false;
    return entry & VGPU_SPACE_GUEST || (page < PAGES && model->there[page]);
}

static void write_entry(struct model *model, uint32_t index, uint64_t entry)
{
    store(model, index, is_entry(model, entry) ? entry : entry & ~VALID);
}

static uint64_t random_entry(uint64_t *random)
{
    uint64_t entry = random_below(random, PAGES + 4) * VGPU_PAGE;

    switch (random_below(random, 10)) {
    case 0:
        return entry | RW | VGPU_SPACE_GUEST;
    case 1:
        return random_next(random);
    case 2:
        return entry | VALID | UINT64_C(1) << random_below(random, 64);
    case 3:
        return entry | VALID;
    case 4:
        return 0;
    default:
        return entry | RW;
    }
}

/* ------------------------------------------------------------------ commands */

static void do_fill(struct machine *machine, struct model *model, uint64_t *random)
{
    uint32_t count = 1 + random_below(random, 60);
    bool step = random_below(random, 2);
    struct vgpu_ggtt_fill p = {
        .header.word = VGPU_HEADER(VGPU_OP_GGTT_FILL, step ? VGPU_GGTT_FILL_STEP : 0, sizeof(p)),
        .first = random_below(random, USED - count + 1),
        .count = count,
        .entry = random_entry(random),
    };

    machine_do(machine, &p, sizeof(p));
    for (uint32_t i = 0; i < count; i++)
        write_entry(model, p.first + i, p.entry + (step ? i * VGPU_PAGE : 0));
}

static void do_load(struct machine *machine, struct model *model, uint64_t *random)
{
    uint32_t count = 1 + random_below(random, 60);
    struct vgpu_ggtt_load p = {
        .header = {VGPU_HEADER(VGPU_OP_GGTT_LOAD, 0, sizeof(p)), VGPU_SPACE_GUEST},
        .address = MACHINE_IOVA + ENTRIES + 8 * random_below(random, 600),
        .first = random_below(random, USED - count + 1),
        .count = count,
    };

    for (uint32_t i = 0; i < count; i++) {
        uint64_t entry = random_entry(random);

        machine_poke(machine, p.address + 8 * i, &entry, sizeof(entry));
        write_entry(model, p.first + i, entry);
    }
    machine_do(machine, &p, sizeof(p));
}

static void do_alloc(struct machine *machine, struct model *model, uint64_t *random)
{
    uint32_t count = 1 + random_below(random, 30), missing = 0;
    uint32_t first = 64 + random_below(random, GROW - count + 1);
    struct vgpu_alloc p = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, VGPU_ALLOC_RESULT, sizeof(p)),
        .address = first * VGPU_PAGE,
        .bytes = count * VGPU_PAGE,
        .result = MACHINE_IOVA + ENTRIES - 8,
    };
    uint64_t result;

    machine_do(machine, &p, sizeof(p));
    machine_peek(machine, p.result, &result, sizeof(result));
    for (uint32_t i = first; i < first + count; i++)
        missing += !model->there[i];
    assert_int_equal(result, missing > model->pool ? VGPU_ERR_NO_VRAM : VGPU_ERR_NONE);
    for (uint32_t i = first; !result && i < first + count; i++) {
        /* New pages are zero: settling emptied them. */
        if (!model->there[i])
            assert_int_equal(machine->vram[i * VGPU_PAGE], 0);
        machine->vram[i * VGPU_PAGE] = 0x5a;
        model->there[i] = true;
    }
    model->pool -= result ? 0 : missing;
}

static void do_free(struct machine *machine, struct model *model, uint64_t *random)
{
    uint32_t count = 1 + random_below(random, 30);
    uint32_t first = 64 + random_below(random, GROW - count + 1);
    struct vgpu_free p = {
        .header.word = VGPU_HEADER(VGPU_OP_FREE, 0, sizeof(p)),
        .address = first * VGPU_PAGE,
        .bytes = count * VGPU_PAGE,
    };

    machine_do(machine, &p, sizeof(p));
    for (uint32_t i = 0; i < USED; i++) {
        uint64_t entry = model->entries[i], page = entry / VGPU_PAGE;

        if (entry & VALID && !(entry & VGPU_SPACE_GUEST) && model->there[page] && page >= first &&
            page < first + count)
            store(model, i, 0);
    }
    for (uint32_t i = first; i < first + count; i++) {
        model->pool += model->there[i];
        model->there[i] = false;
    }
}

/* ------------------------------------------------------------------ touches */

static bool continues(const struct model *model, uint32_t index)
{
    return model->entries[index] & VALID && model->entries[index + 1] & VALID &&
           model->entries[index + 1] - model->entries[index] == VGPU_PAGE;
}

static void check_touch(struct machine *machine, const struct model *model, uint32_t index)
{
    uint64_t entry = model->entries[index];
    uint32_t first = index, last = index;
    struct vgpu_run run;
    enum vgpu_touch touch = vgpu_ggtt_touch(&machine->ggtt, index, false, &run);

    if (!(entry & VALID)) {
        assert_int_equal(touch, VGPU_TOUCH_REFUSED);
        return;
    }
    assert_int_equal(run.writable, !!(entry & VGPU_GGTT_WRITABLE));
    if (entry & VGPU_SPACE_GUEST) {
        assert_int_equal(touch, VGPU_TOUCH_GUEST);
        assert_true(run.first == index && run.last == index && run.address == (entry & -VGPU_PAGE));
        return;
    }
    while (first > 0 && continues(model, first - 1))
        first--;
    while (last + 1 < USED && continues(model, last))
        last++;
    assert_int_equal(touch, VGPU_TOUCH_VRAM);
    assert_int_equal(run.first, first);
    assert_int_equal(run.last, last);
    assert_true(run.address == (model->entries[first] & -VGPU_PAGE));
}

static void check_all(struct machine *machine, struct model *model)
{
    uint64_t kept[USED], allocated = 0;

    vgpu_ggtt_get(&machine->ggtt, 0, kept, USED);
    assert_memory_equal(kept, model->entries, sizeof(kept));
    for (uint32_t i = 0; i < PAGES; i++) {
        assert_int_equal(vgpu_vram_holds(&machine->pages, i * VGPU_PAGE, 1), model->there[i]);
        allocated += i >= 64 && model->there[i];
    }
    assert_true(machine->pages.allocated == allocated);
    assert_true(vgpu_pool_free(&machine->pool) == model->pool);
    /* Exactly what changed is taken back. */
    assert_int_equal(machine->settled.entries, model->changed);
    if (model->changed) {
        assert_int_equal(machine->settled.first, model->first);
        assert_int_equal(machine->settled.last, model->last);
    }
}

static void test_model(void **state)
{
    static struct model model;
    uint64_t random = random_seed();
    struct machine machine;

    (void)state;
    machine_init(&machine, VRAM, false, random);
    for (uint32_t i = 0; i < 64; i++)
        model.there[i] = true;
    model.pool = MACHINE_POOL;
    for (unsigned round = 0; round < 5000; round++) {
        machine.settled = (struct vgpu_settle){0};
        model.changed = false;
        switch (random_below(&random, 5)) {
        case 0:
            do_load(&machine, &model, &random);
            break;
        case 1:
            do_alloc(&machine, &model, &random);
            break;
        case 2:
            do_free(&machine, &model, &random);
            break;
        default:
            do_fill(&machine, &model, &random);
            break;
        }
        check_all(&machine, &model);
        for (unsigned i = 0; i < 20; i++)
            check_touch(&machine, &model, random_below(&random, USED));
    }
    {
        struct vgpu_settle settle = {0};

        vgpu_ggtt_clear(&machine.ggtt, &settle);
        assert_true(machine.pages.allocated == 0 && machine.ggtt.faults == 0);
        assert_true(settle.pages + model.pool == MACHINE_POOL);
    }
    machine_free(&machine);
}

/* ------------------------------------------------------------------ slices, errors */

/* More than a slice; the command is not done before its last one. */
static void test_load_in_slices(void **state)
{
    struct vgpu_ggtt_load p = {
        .header = {VGPU_HEADER(VGPU_OP_GGTT_LOAD, 0, sizeof(p)), VGPU_SPACE_GUEST},
        .address = MACHINE_IOVA + ENTRIES,
        .count = MACHINE_ENTRIES,
    };
    struct machine machine;
    uint64_t entry = RW;

    (void)state;
    machine_init(&machine, VRAM, false, 3);
    for (uint32_t i = 0; i < MACHINE_ENTRIES; i++)
        machine_poke(&machine, p.address + 8 * i, &entry, sizeof(entry));
    machine_do(&machine, &p, sizeof(p));
    assert_true(machine.ring.counters.commands == 1 && machine.ring.counters.slices == 3);
    vgpu_ggtt_get(&machine.ggtt, MACHINE_ENTRIES - 1, &entry, 1);
    assert_true(entry == RW);
    /* A page in the middle is missing: up to it the entries are new, and were settled. */
    entry = 0;
    for (uint32_t i = 0; i < MACHINE_ENTRIES; i++)
        machine_poke(&machine, p.address + 8 * i, &entry, sizeof(entry));
    machine.guest.prot[ENTRIES / MACHINE_PAGE + 20] = 0;
    machine_expect(&machine, &p, sizeof(p), VGPU_ERR_DMA_UNMAPPED);
    assert_true(machine.settled.first == 8192 && machine.settled.last == 20 * 512 - 1);
    vgpu_ggtt_get(&machine.ggtt, 20 * 512 - 1, &entry, 1);
    assert_true(entry == 0);
    vgpu_ggtt_get(&machine.ggtt, 20 * 512, &entry, 1);
    assert_true(entry == RW);
    machine_free(&machine);
}

static void test_alloc_errors(void **state)
{
    struct vgpu_alloc p = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, 0, sizeof(p)),
        .address = VRAM,
        .bytes = (MACHINE_POOL + 1) * VGPU_PAGE,
    };
    struct machine machine;

    (void)state;
    machine_init(&machine, VRAM, false, 4);
    machine_expect(&machine, &p, sizeof(p), VGPU_ERR_NO_VRAM);
    assert_true(vgpu_pool_free(&machine.pool) == MACHINE_POOL);
    p.bytes -= VGPU_PAGE;
    machine_do(&machine, &p, sizeof(p));
    assert_true(vgpu_pool_free(&machine.pool) == 0);
    /* A surface from the share into what is there now; and one page too far. */
    {
        struct vgpu_fill fill = {
            .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
            .dst = {VGPU_FORMAT_R8, 4096, 4096, MACHINE_POOL + 1, VRAM - VGPU_PAGE},
            .rect = {0, 0, 4096, MACHINE_POOL + 1},
            .value = 0xa5,
        };

        machine_do(&machine, &fill, sizeof(fill));
        for (uint64_t i = VRAM - VGPU_PAGE; i < VRAM + MACHINE_POOL * VGPU_PAGE; i++)
            assert_int_equal(machine.vram[i], 0xa5);
        assert_int_equal(machine.vram[VRAM + MACHINE_POOL * VGPU_PAGE], 0);
        fill.dst.height++;
        machine_expect(&machine, &fill, sizeof(fill), VGPU_ERR_BOUNDS);
    }
    /* The result can't be written. */
    p.header.word = VGPU_HEADER(VGPU_OP_ALLOC, VGPU_ALLOC_RESULT, sizeof(p));
    p.result = MACHINE_IOVA;
    machine.guest.prot[0] = UMDEV_READ;
    machine_expect(&machine, &p, sizeof(p), VGPU_ERR_DMA_PROTECTION);
    machine_free(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_load_in_slices),
        cmocka_unit_test(test_alloc_errors),
    };

    return cmocka_run_group_tests_name("vgpu paging", tests, NULL, NULL);
}
